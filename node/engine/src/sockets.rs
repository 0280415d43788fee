//! Which extra sockets are in use, and for what. The shell opens one when a datagram first leaves by it, and closes what
//! is given back here.

use std::collections::BTreeMap;

use crate::Socket;

/// Extra sockets in use at one time: a search takes 256, and what it found stays.
const MAX_SOCKETS: usize = 448;

/// Numbers are given out in turn up to this, so that none comes again soon after it was given back.
pub(crate) const NUMBERS: u16 = 0x3fff;

/// What an extra socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To look how the NAT behaves.
    Look,
    /// To search a way to a peer.
    Search,
    /// A path uses it, or may.
    Path,
}

/// The extra sockets in use.
#[derive(Debug, Default)]
pub(crate) struct ExtraSockets {
    open: BTreeMap<u16, Purpose>,
    last: u16,
    closed: Vec<Socket>,
}

impl ExtraSockets {
    /// One more, unless there are too many.
    pub(crate) fn open(&mut self, purpose: Purpose) -> Option<Socket> {
        if self.open.len() >= MAX_SOCKETS {
            return None;
        }
        // Number 0 is a supernode's second socket.
        let next = |number: u16| number % NUMBERS + 1;
        let mut number = next(self.last);
        while self.open.contains_key(&number) {
            number = next(number);
        }
        self.last = number;
        self.open.insert(number, purpose);
        Some(Socket::Extra(number))
    }

    /// Uses one for something else from now on.
    pub(crate) fn keep_for(&mut self, socket: Socket, purpose: Purpose) {
        if let Socket::Extra(number) = socket
            && let Some(before) = self.open.get_mut(&number)
        {
            *before = purpose;
        }
    }

    /// Gives one back.
    pub(crate) fn close(&mut self, socket: Socket) {
        if let Socket::Extra(number) = socket
            && self.open.remove(&number).is_some()
        {
            self.closed.push(socket);
        }
    }

    /// Gives back all that serve a purpose, but for those that `keep` wants.
    pub(crate) fn close_all(&mut self, purpose: Purpose, keep: impl Fn(Socket) -> bool) {
        let of = self.open.iter().filter(|(_, serves)| **serves == purpose);
        let of: Vec<Socket> = of.map(|(number, _)| Socket::Extra(*number)).collect();
        for socket in of.into_iter().filter(|socket| !keep(*socket)) {
            self.close(socket);
        }
    }

    /// Those that serve a purpose.
    pub(crate) fn count(&self, purpose: Purpose) -> usize {
        self.open.values().filter(|serves| **serves == purpose).count()
    }

    /// What was given back since this was last asked.
    pub(crate) fn take_closed(&mut self) -> Vec<Socket> {
        std::mem::take(&mut self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_few_and_a_number_that_was_given_back_rests() {
        let mut sockets = ExtraSockets::default();
        let open: Vec<Socket> = std::iter::from_fn(|| sockets.open(Purpose::Search)).collect();
        assert_eq!(open.len(), MAX_SOCKETS);
        assert!(!open.contains(&Socket::Extra(0)));
        sockets.keep_for(open[3], Purpose::Path);
        sockets.close_all(Purpose::Search, |socket| socket == open[5]);
        assert_eq!((sockets.count(Purpose::Search), sockets.count(Purpose::Path)), (1, 1));
        assert_eq!(sockets.take_closed().len(), MAX_SOCKETS - 2);
        assert!(sockets.take_closed().is_empty());
        for _ in 0..3 * usize::from(NUMBERS) {
            let socket = sockets.open(Purpose::Look).unwrap();
            assert!(socket != open[3] && socket != open[5]);
            sockets.close(socket);
        }
    }
}

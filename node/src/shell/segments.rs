//! Segmentation offload of the underlay: which datagrams leave in one system call, and where that is of no use.

use std::{
    io::IoSlice,
    net::SocketAddr,
    time::{Duration, Instant},
};

use farlan_engine::Transmit;

/// Datagrams that follow each other to one destination, of one length but for the last, which may be shorter unless they are
/// [`alike`].
///
/// [`alike`]: Transmit::alike
///
/// They need not be adjacent in memory: the kernel takes a list of places as readily.
#[derive(Debug)]
pub(super) struct Group<'a> {
    transmit: Option<Transmit>,
    datagrams: [IoSlice<'a>; MAX_SEGMENTS],
    count: usize,
    bytes: usize,
    /// Nothing more may join.
    closed: bool,
    limit: usize,
}

impl<'a> Group<'a> {
    /// An empty group, which takes up to `limit` datagrams at a time; 0 and 1 mean that there is no such offload.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            transmit: None,
            datagrams: [IoSlice::new(&[]); MAX_SEGMENTS],
            count: 0,
            bytes: 0,
            closed: true,
            limit: limit.min(MAX_SEGMENTS),
        }
    }

    /// Forgets what there is, and begins anew with `datagram`.
    pub(super) fn start(&mut self, transmit: Transmit, datagram: &'a [u8]) {
        self.transmit = Some(transmit);
        self.datagrams[0] = IoSlice::new(datagram);
        self.count = 1;
        self.bytes = datagram.len();
        // One with a time to live of its own is sent alone, and an empty one has no length that others could share.
        self.closed = self.limit <= 1 || transmit.ttl.is_some() || datagram.is_empty();
    }

    /// Adds `datagram` if it may leave together with those that are there.
    pub(super) fn join(&mut self, transmit: Transmit, datagram: &'a [u8]) -> bool {
        let segment = self.segment();
        let fits = !self.closed
            && self.transmit == Some(transmit)
            && (1..=segment).contains(&datagram.len())
            && (!transmit.alike || datagram.len() == segment)
            && self.bytes + datagram.len() <= MAX_BYTES;
        if !fits {
            return false;
        }
        self.datagrams[self.count] = IoSlice::new(datagram);
        self.count += 1;
        self.bytes += datagram.len();
        self.closed = self.count == self.limit || datagram.len() < segment;
        true
    }

    /// Where they go, unless there is none.
    pub(super) fn transmit(&self) -> Option<Transmit> {
        self.transmit
    }

    /// The length of each but the last.
    pub(super) fn segment(&self) -> usize {
        self.datagrams[0].len()
    }

    /// The datagrams.
    pub(super) fn datagrams(&self) -> &[IoSlice<'a>] {
        &self.datagrams[..self.count]
    }
}

/// Destinations to which groups do not go although each datagram of them does: the way there leads through a device or
/// a transformation (IPsec) that cannot take them.
///
/// The kernel says so with the same errors as for a length that is too large for the link, so one error says nothing
/// about the socket, and every entry ends some time: routes change.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    destinations: Vec<(SocketAddr, Instant)>,
}

impl Refusals {
    /// Whether nothing is known, which spares the question and the look at the clock.
    pub(super) fn is_empty(&self) -> bool {
        self.destinations.is_empty()
    }

    /// Whether a group to `destination` is worth trying. Where very many refuse, none is: the machine's way out cannot.
    pub(super) fn permit(&mut self, destination: SocketAddr, now: Instant) -> bool {
        self.destinations.retain(|(_, until)| *until > now);
        self.destinations.len() < MAX_REFUSALS && self.destinations.iter().all(|(known, _)| *known != destination)
    }

    /// Notes that a group was refused whose first datagram then went alone.
    pub(super) fn note(&mut self, destination: SocketAddr, now: Instant) {
        if self.permit(destination, now) {
            self.destinations.push((destination, now + REFUSAL));
        }
    }
}

/// Datagrams in one system call: what kernels have taken since there is the offload (`UDP_MAX_SEGMENTS`).
pub(super) const MAX_SEGMENTS: usize = 64;

/// Bytes in one system call. With all headers of the link, of the tunnels below and of IP it stays under 64 KiB, beyond
/// which a device leaves the segmentation to the kernel.
const MAX_BYTES: usize = 64_000;

/// Destinations that are remembered as refusing.
const MAX_REFUSALS: usize = 64;

/// How long a refusal is believed: one failed call a minute and destination costs nothing.
const REFUSAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use farlan_engine::Leg;

    use super::*;

    fn to(port: u16) -> Transmit {
        Leg::from(SocketAddr::new([192, 0, 2, 1].into(), port)).into()
    }

    /// The sizes of the groups in which datagrams of these lengths to these ports leave.
    fn groups(limit: usize, datagrams: &[(Transmit, usize)]) -> Vec<usize> {
        let bytes = vec![0; 66_000];
        let mut group = Group::new(limit);
        let mut sizes = Vec::new();
        for (transmit, length) in datagrams {
            if !group.join(*transmit, &bytes[..*length]) {
                sizes.push(group.datagrams().len());
                group.start(*transmit, &bytes[..*length]);
            }
        }
        sizes.push(group.datagrams().len());
        sizes.remove(0);
        sizes
    }

    #[test]
    fn a_group_has_one_destination_and_one_length_but_for_the_last() {
        let (a, b) = (to(1), to(2));
        assert_eq!(groups(64, &[(a, 100), (a, 100), (a, 100)]), [3]);
        assert_eq!(groups(64, &[(a, 100), (a, 100), (b, 100), (a, 100)]), [2, 1, 1]);
        assert_eq!(groups(64, &[(a, 100), (a, 99), (a, 99), (a, 100)]), [2, 1, 1]);
        assert_eq!(groups(64, &[(a, 0), (a, 0), (a, 5), (a, 0)]), [1, 1, 1, 1]);
        let short_lived = Transmit { ttl: Some(5), ..a };
        assert_eq!(groups(64, &[(short_lived, 9), (short_lived, 9), (a, 9)]), [1, 1, 1]);
    }

    #[test]
    fn what_may_be_too_large_takes_no_other_with_it() {
        let a = to(1);
        let tries = Transmit { alike: true, ..a };
        let datagrams = [(a, 90), (tries, 90), (tries, 80), (a, 80), (a, 70)];
        assert_eq!(groups(64, &datagrams), [1, 1, 1, 2]);
        assert_eq!(
            groups(64, &[(tries, 90), (tries, 90), (tries, 80), (tries, 80)]),
            [2, 2]
        );
    }

    #[test]
    fn a_group_stays_within_the_limits_of_the_kernel() {
        let many = vec![(to(1), 10); 150];
        assert_eq!(groups(64, &many), [64, 64, 22]);
        assert_eq!(groups(1000, &many), [64, 64, 22]);
        assert_eq!(groups(1, &many), vec![1; 150]);
        assert_eq!(groups(0, &many), vec![1; 150]);
        assert_eq!(groups(64, &vec![(to(1), 9000); 8]), [7, 1]);
        assert_eq!(groups(64, &[(to(1), 65_000), (to(1), 65_000)]), [1, 1]);
    }

    #[test]
    fn a_refusal_concerns_one_destination_and_ends() {
        let now = Instant::now();
        let mut refusals = Refusals::default();
        refusals.note(to(1).destination.endpoint, now);
        assert!(!refusals.permit(to(1).destination.endpoint, now));
        assert!(refusals.permit(to(2).destination.endpoint, now));
        assert!(refusals.permit(to(1).destination.endpoint, now + REFUSAL));
        assert!(refusals.is_empty());
    }

    #[test]
    fn where_very_many_refuse_none_is_asked() {
        let now = Instant::now();
        let mut refusals = Refusals::default();
        for port in 0..1000 {
            refusals.note(to(port).destination.endpoint, now);
        }
        assert_eq!(refusals.destinations.len(), MAX_REFUSALS);
        assert!(!refusals.permit(to(5000).destination.endpoint, now));
        assert!(refusals.permit(to(5000).destination.endpoint, now + REFUSAL));
    }
}

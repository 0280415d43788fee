//! What the data-plane thread waits for: an epoll set, and an eventfd by which others wake the thread.
//!
//! Readiness is level-triggered: a descriptor is reported as long as there is something to read, so nothing has to be
//! read to its end, and whoever stops early is called again after all others.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
};

/// The descriptors to wait for, each under a number of the caller's.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    ready: Vec<Ready>,
    wake: Arc<OwnedFd>,
}

/// Wakes the thread that waits. Dropping it does too.
#[derive(Debug)]
pub(super) struct Waker(Arc<OwnedFd>);

/// What there is to do for one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// The [`Waker`] was used.
    Woken,
    /// The descriptor of this number can be read, or reading it tells an error.
    Readable(u64),
    /// The descriptor of this number reports an error or its end, for ever; reading may say more.
    Broken(u64),
}

impl Poller {
    /// A set of none but its waker.
    ///
    /// # Errors
    /// Those of making the descriptors.
    pub(super) fn new() -> io::Result<(Self, Waker)> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let poller = Self {
            epoll,
            ready: Vec::with_capacity(AT_ONCE),
            wake: Arc::clone(&wake),
        };
        Ok((poller, Waker(wake)))
    }

    /// Waits for `descriptor` too, under `number`, until it is closed.
    ///
    /// # Errors
    /// Those of the system: it is no descriptor that can be waited for, or is waited for already.
    pub(super) fn add(&self, descriptor: impl AsFd, number: u64) -> io::Result<()> {
        debug_assert_ne!(number, WAKE);
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN)?)
    }

    /// Waits until there is something to do or `timeout` has passed (rounded up to the kernel's milliseconds; none: for
    /// ever), and returns what. Of more than [`AT_ONCE`] descriptors, all have their turn.
    ///
    /// # Errors
    /// Those of the system, none of which passes by itself.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<&[Ready]> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = [MaybeUninit::uninit(); AT_ONCE];
        let events = match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        self.ready.clear();
        for event in events {
            let (number, flags) = (event.data.u64(), event.flags);
            self.ready.push(if number == WAKE {
                // What was written is of no interest, and there is something: it is readable.
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                Ready::Woken
            } else if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                Ready::Broken(number)
            } else {
                Ready::Readable(number)
            });
        }
        Ok(&self.ready)
    }
}

impl Waker {
    /// Lets [`Poller::wait`] return [`Ready::Woken`], now or when it is called next.
    pub(super) fn wake(&self) {
        // The one failure is a counter that is full, which wakes as well.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Descriptors that can be reported at once: every network's card, the underlay and the waker, and some.
const AT_ONCE: usize = 32;

/// The waker's number.
const WAKE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream, thread, time::Instant};

    use super::*;

    fn wait(poller: &mut Poller, timeout: Duration) -> Vec<Ready> {
        poller.wait(Some(timeout)).unwrap().to_vec()
    }

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_readable_is_reported_until_it_is_read() {
        let (mut poller, _waker) = Poller::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        poller.add(&near, 7).unwrap();
        assert_eq!(wait(&mut poller, Duration::ZERO), []);
        far.write_all(b"x").unwrap();
        for _ in 0..3 {
            assert_eq!(wait(&mut poller, LONG), [Ready::Readable(7)]);
        }
        rustix::io::read(&near, &mut [0; 8]).unwrap();
        assert_eq!(wait(&mut poller, Duration::ZERO), []);
        drop(far);
        assert_eq!(wait(&mut poller, LONG), [Ready::Broken(7)]);
        drop(near);
        assert_eq!(wait(&mut poller, Duration::ZERO), []);
    }

    #[test]
    fn a_set_that_is_too_large_is_reported_in_turns() {
        let (mut poller, _waker) = Poller::new().unwrap();
        let pairs: Vec<_> = (0..2 * AT_ONCE as u64).map(|_| UnixStream::pair().unwrap()).collect();
        for (number, (near, far)) in (0..).zip(&pairs) {
            poller.add(near, number).unwrap();
            (&*far).write_all(b"x").unwrap();
        }
        let first = wait(&mut poller, LONG);
        let second = wait(&mut poller, LONG);
        assert_eq!((first.len(), second.len()), (AT_ONCE, AT_ONCE));
        assert!(first.iter().all(|ready| !second.contains(ready)));
        assert_eq!(wait(&mut poller, LONG), first);
    }

    #[test]
    fn a_waker_wakes_once_from_any_thread_and_once_more_when_it_is_dropped() {
        let (mut poller, waker) = Poller::new().unwrap();
        let other = thread::spawn(move || {
            waker.wake();
            waker.wake();
            waker
        });
        let waker = other.join().unwrap();
        assert_eq!(wait(&mut poller, LONG), [Ready::Woken]);
        assert_eq!(wait(&mut poller, Duration::ZERO), []);
        drop(waker);
        assert_eq!(wait(&mut poller, LONG), [Ready::Woken]);
    }

    #[test]
    fn a_timeout_is_not_cut_short() {
        let (mut poller, _waker) = Poller::new().unwrap();
        let begin = Instant::now();
        assert_eq!(wait(&mut poller, Duration::from_micros(1500)), []);
        assert!(begin.elapsed() >= Duration::from_micros(1500));
    }
}

//! What the data-plane thread waits for: an epoll set, an eventfd by which others wake the thread, and a timer.
//!
//! Readiness is level-triggered: a descriptor is reported as long as there is something to read, so nothing has to be
//! read to its end, and whoever stops early is called again after all others.
//!
//! The timer is a descriptor too, and is left alone as long as it goes off early enough. A time-out of the waiting call
//! itself would be set and taken back around every packet, which under a hypervisor costs more than the packet.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use farlan_engine::Time;
use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

/// The descriptors to wait for, each under a number of the caller's.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    ready: Vec<Ready>,
    wake: Arc<OwnedFd>,
    timer: OwnedFd,
    /// When the timer goes off, unless it has.
    alarm: Option<Time>,
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
    /// The descriptor of this number takes more, where that is waited for.
    Writable(u64),
    /// The descriptor of this number reports an error or its end, for ever; reading may say more.
    Broken(u64),
}

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Nothing but its end.
    Nothing,
    /// That it can be read.
    Read,
    /// That, and that it takes more.
    ReadAndWrite,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Nothing => epoll::EventFlags::empty(),
            Self::Read => epoll::EventFlags::IN,
            Self::ReadAndWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        }
    }
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
        let timer = timerfd_create(
            // So that it goes off when a sleep ends in which it should have.
            TimerfdClockId::Boottime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        // Edge-triggered, so that nobody has to read how often it went off.
        let once = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), once)?;
        let poller = Self {
            epoll,
            ready: Vec::with_capacity(AT_ONCE),
            wake: Arc::clone(&wake),
            timer,
            alarm: None,
        };
        Ok((poller, Waker(wake)))
    }

    /// Waits for `descriptor` too, under `number`, until it is closed.
    ///
    /// # Errors
    /// Those of the system: it is no descriptor that can be waited for, or is waited for already.
    pub(super) fn add(&self, descriptor: impl AsFd, number: u64) -> io::Result<()> {
        self.watch(descriptor, number, Interest::Read)
    }

    /// Waits for `descriptor` as said, under `number`, until it is closed.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) fn watch(&self, descriptor: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        debug_assert!(number < TIMER);
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::add(&self.epoll, descriptor, data, interest.flags())?)
    }

    /// Waits for `descriptor`, which is waited for already, otherwise.
    ///
    /// # Errors
    /// Those of the system: it is not waited for.
    pub(super) fn change(&self, descriptor: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::modify(&self.epoll, descriptor, data, interest.flags())?)
    }

    /// Waits until there is something to do or the time is `until` (none: for ever), and returns what. It may return
    /// earlier with nothing. Of more than [`AT_ONCE`] descriptors, all have their turn.
    ///
    /// `now` is the time on the clock of `until`, which runs as the system's own since its start, sleep included.
    ///
    /// # Errors
    /// Those of the system, none of which passes by itself.
    pub(super) fn wait(&mut self, now: Time, until: Option<Time>) -> io::Result<&[Ready]> {
        let timeout = match until {
            Some(until) if until <= now => Some(Timespec::default()),
            Some(until) => {
                self.set_alarm(now, until)?;
                None
            }
            None => None,
        };
        let mut events = [MaybeUninit::uninit(); AT_ONCE];
        let events = match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        self.ready.clear();
        for event in events {
            let (number, flags) = (event.data.u64(), event.flags);
            if number == WAKE {
                // What was written is of no interest, and there is something: it is readable.
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                self.ready.push(Ready::Woken);
            } else if number == TIMER {
                self.alarm = None;
            } else if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                self.ready.push(Ready::Broken(number));
            } else {
                if flags.contains(epoll::EventFlags::IN) {
                    self.ready.push(Ready::Readable(number));
                }
                if flags.contains(epoll::EventFlags::OUT) {
                    self.ready.push(Ready::Writable(number));
                }
            }
        }
        Ok(&self.ready)
    }

    /// Lets the timer go off at `until` or before, but after `now`.
    fn set_alarm(&mut self, now: Time, until: Time) -> io::Result<()> {
        if self.alarm.is_some_and(|alarm| now < alarm && alarm <= until) {
            return Ok(());
        }
        // Longer than the kernel can count is for ever.
        let Ok(value) = Timespec::try_from(until.since(now)) else {
            return Ok(());
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.alarm = Some(until);
        Ok(())
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

/// The timer's number.
const TIMER: u64 = u64::MAX - 1;

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::unix::net::UnixStream,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    fn wait(poller: &mut Poller, timeout: Duration) -> Vec<Ready> {
        poller.wait(Time::ZERO, Some(Time::ZERO + timeout)).unwrap().to_vec()
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
    fn a_wait_ends_in_time_whatever_was_waited_for_before() {
        let (mut poller, _waker) = Poller::new().unwrap();
        let begin = Instant::now();
        let now = || Time::ZERO + begin.elapsed();
        for length in [1500, 4000, 100] {
            let until = now() + Duration::from_micros(length);
            let mut returns = 0;
            while now() < until {
                assert_eq!(poller.wait(now(), Some(until)).unwrap(), []);
                returns += 1;
            }
            assert!((1..=2).contains(&returns), "{returns}");
        }
        // An alarm that is too late gives way.
        let early = now() + Duration::from_millis(1);
        poller.set_alarm(now(), early + Duration::from_secs(100)).unwrap();
        assert_eq!(poller.wait(now(), Some(early)).unwrap(), []);
        assert!((early..early + Duration::from_secs(90)).contains(&now()));
    }

    #[test]
    fn an_alarm_that_is_early_enough_stays() {
        let (mut poller, waker) = Poller::new().unwrap();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        for (until, alarm) in [(50, 50), (60, 50), (40, 40), (50, 40)] {
            waker.wake();
            assert_eq!(poller.wait(at(1), Some(at(until))).unwrap(), [Ready::Woken]);
            assert_eq!(poller.alarm, Some(at(alarm)));
        }
        // It should have gone off by now.
        waker.wake();
        assert_eq!(poller.wait(at(41), Some(at(90))).unwrap(), [Ready::Woken]);
        assert_eq!(poller.alarm, Some(at(90)));
    }
}

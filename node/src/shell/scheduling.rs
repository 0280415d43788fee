//! How the kernel schedules the data-plane thread.
#![allow(unsafe_code)]

use std::{io, time::Duration};

/// Asks for short turns on the processor: the kernel's scheduler (EEVDF, Linux 6.6; `sched_runtime` since 6.12) lets
/// whoever asks for less at a time go on sooner after waking, with the same share in all. A packet that wakes the
/// thread so waits less for programs that compute. Needs no privilege; older kernels ignore it.
///
/// The call sets policy and nice value too. Those are the administrator's (`nice`, systemd's `Nice=` and
/// `CPUSchedulingPolicy=`) and stay: nothing is asked for under another policy.
pub(super) fn ask_for_short_turns() {
    let asked = attributes().and_then(|mut wanted| {
        if wanted.sched_policy != libc::SCHED_OTHER as u32 {
            return Ok(());
        }
        wanted.sched_runtime = TURN.as_nanos() as u64;
        // SAFETY: the pointer is to one `sched_attr` of at least the size it states, which the kernel reads only.
        done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) })
    });
    if let Err(error) = asked {
        tracing::debug!(%error, "the kernel takes no wishes for the processor");
    }
}

/// How this thread is scheduled.
fn attributes() -> io::Result<libc::sched_attr> {
    // SAFETY: all fields are integers, for which zero bytes are valid.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: the pointer is to one `sched_attr`, of which the kernel writes at most the stated size.
    done(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) })?;
    Ok(attributes)
}

/// The result of a system call that gives a negative number on failure.
fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// What is asked for: the shortest that the kernel takes (`kernel/sched/syscalls.c`).
const TURN: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What `ask_for_short_turns` leaves of a thread's policy and nice value.
    fn left_of(policy: libc::c_int, nice: i32) -> (u32, i32, u64) {
        let thread = thread::spawn(move || {
            let mut before = attributes().unwrap();
            before.sched_policy = policy as u32;
            before.sched_nice = nice;
            // SAFETY: as above.
            done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const before, 0) }).unwrap();
            ask_for_short_turns();
            let after = attributes().unwrap();
            (after.sched_policy, after.sched_nice, after.sched_runtime)
        });
        thread.join().unwrap()
    }

    #[test]
    fn nice_value_and_policy_stay_as_they_were_set() {
        for nice in [15, 19] {
            let (policy, left, turn) = left_of(libc::SCHED_OTHER, nice);
            assert_eq!((policy, left), (libc::SCHED_OTHER as u32, nice));
            // 0 where the kernel knows no such wish.
            assert!([0, TURN.as_nanos() as u64].contains(&turn), "{turn}");
            let (policy, left, turn) = left_of(libc::SCHED_BATCH, nice);
            assert_eq!((policy, left), (libc::SCHED_BATCH as u32, nice));
            assert_ne!(turn, TURN.as_nanos() as u64);
        }
    }
}

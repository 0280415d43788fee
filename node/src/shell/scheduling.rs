//! How the kernel schedules the data-plane thread.
#![allow(unsafe_code)]

use std::{io, mem, time::Duration};

/// Asks for short turns on the processor: the kernel's scheduler (EEVDF, Linux 6.6; `sched_runtime` since 6.12) lets
/// whoever asks for less at a time go on sooner after waking, with the same share in all. A packet that wakes the
/// thread so waits less for programs that compute. Needs no privilege; older kernels ignore it.
pub(super) fn ask_for_short_turns() {
    if let Err(error) = attributes().and_then(|present| {
        // The rest stays as it is, the niceness that the administrator has chosen with it.
        set_attributes(&libc::sched_attr {
            sched_runtime: TURN.as_nanos() as u64,
            ..present
        })
    }) {
        tracing::debug!(%error, "the kernel takes no wishes for the processor");
    }
}

/// How this thread is scheduled.
fn attributes() -> io::Result<libc::sched_attr> {
    // SAFETY: all fields are integers, for which zero bytes are valid.
    let mut present: libc::sched_attr = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to one `sched_attr` of the size that is passed, into which the kernel writes no more.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut present, SIZE, 0) };
    done(result).map(|()| present)
}

fn set_attributes(wanted: &libc::sched_attr) -> io::Result<()> {
    let wanted = libc::sched_attr { size: SIZE, ..*wanted };
    // SAFETY: the pointer is to one `sched_attr` of the size it states, which the kernel reads only.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) })
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

const SIZE: u32 = size_of::<libc::sched_attr>() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turns_become_short_and_the_niceness_stays() {
        // On Linux each thread has its own.
        let thread = std::thread::spawn(|| {
            // SAFETY: three integers.
            assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 15) }, 0);
            let before = attributes().unwrap();
            ask_for_short_turns();
            let after = attributes().unwrap();
            assert_eq!((before.sched_nice, after.sched_nice), (15, 15));
            // Kernels that know of no turns tell of none.
            if before.sched_runtime != 0 {
                assert_eq!(u128::from(after.sched_runtime), TURN.as_nanos());
            }
        });
        thread.join().unwrap();
    }
}

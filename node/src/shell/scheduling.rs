//! How the kernel schedules the data-plane thread.
#![allow(unsafe_code)]

use std::time::Duration;

/// Asks for short turns on the processor: the kernel's scheduler (EEVDF, Linux 6.6; `sched_runtime` since 6.12) lets whoever asks for
/// less at a time go on sooner after waking, with the same share in all. A packet that wakes the thread so waits less for
/// programs that compute. Needs no privilege; older kernels ignore it.
pub(super) fn ask_for_short_turns() {
    // SAFETY: all fields are integers, for which zero bytes are valid.
    let mut wanted: libc::sched_attr = unsafe { std::mem::zeroed() };
    wanted.size = size_of::<libc::sched_attr>() as u32;
    wanted.sched_policy = libc::SCHED_OTHER as u32;
    wanted.sched_runtime = TURN.as_nanos() as u64;
    // SAFETY: the pointer is to one `sched_attr` of the size it states, which the kernel reads only.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
    if result != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "the kernel takes no wishes for the processor");
    }
}

/// What is asked for: the shortest that the kernel takes (`kernel/sched/syscalls.c`).
const TURN: Duration = Duration::from_micros(100);

//! System calls that fail at a wish, by seccomp: the calling thread's alone, for as long as it lives.
#![allow(unsafe_code)]

use std::io;

/// For which values of an ioctl's argument.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    /// All.
    Any,
    /// This one.
    Is(u32),
    /// Those with one of these bits.
    Has(u32),
}

/// What becomes of the call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// It fails with this error number.
    Error(i32),
    /// It ends the process, as a crash would.
    Kill,
}

/// Makes an ioctl of this thread, and of what it starts, fail.
pub(crate) fn refuse_ioctl(ioctl: libc::Ioctl, argument: Argument, outcome: Outcome) {
    let (test, operand) = match argument {
        Argument::Any => (libc::BPF_JGE, 0),
        Argument::Is(value) => (libc::BPF_JEQ, value),
        Argument::Has(bits) => (libc::BPF_JSET, bits),
    };
    let failure = match outcome {
        Outcome::Error(errno) => libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(),
        Outcome::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = |test| libc::BPF_JMP | test | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let number = u32::try_from(libc::SYS_ioctl).expect("it is a small number");
    let filter = [
        instruction(load, NUMBER, 0, 0),
        instruction(jump(libc::BPF_JEQ), number, 0, 5),
        instruction(load, argument_at(1), 0, 0),
        instruction(jump(libc::BPF_JEQ), ioctl as u32, 0, 3),
        instruction(load, argument_at(2), 0, 0),
        instruction(jump(test), operand, 0, 1),
        instruction(end, failure, 0, 0),
        instruction(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("eight"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which is as long as it says, and only this thread gets it.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    assert_eq!(
        done,
        0,
        "these tests need seccomp filters: {}",
        io::Error::last_os_error()
    );
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = u16::try_from(code).expect("codes have 16 bits");
    libc::sock_filter { code, jt, jf, k }
}

/// Where `struct seccomp_data` has the number of the system call.
const NUMBER: u32 = 0;

/// Where it has the low half of an argument.
const fn argument_at(index: u32) -> u32 {
    let high_first = if cfg!(target_endian = "big") { 4 } else { 0 };
    16 + 8 * index + high_first
}

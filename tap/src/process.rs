//! What the helper's process does about itself that no safe call offers.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;

/// Gives the calling thread a name, which is the process's if it is the first.
pub(crate) fn name(name: &CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// Ignores what a terminal, or a service manager, sends to all processes of a service at once.
pub(crate) fn ignore_ending_signals() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: SIG_IGN is a disposition that runs no code of ours.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes every descriptor above those of standard input, output and error.
///
/// Only for a program that has opened none yet: it was handed all there are.
pub(crate) fn close_all_but_standard() -> io::Result<()> {
    // SAFETY: close_range takes integers. Nothing in this process owns a descriptor above 2, says the contract above.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    let error = io::Error::last_os_error();
    match result {
        0 => Ok(()),
        // Linux before 5.9. What farlan itself opens is not handed on anyway.
        _ if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        _ => Err(error),
    }
}

//! Giving privileges up for good, and handing on that for cards to the helper, and that for packet sockets to the listener.
//!
//! Capabilities belong to threads, so all of this is for a program that has one thread yet.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_ambient_set, capability_is_in_bounding_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What a program keeps of its capabilities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keep {
    /// None.
    Nothing,
    /// CAP_NET_ADMIN, if it has that.
    Cards,
    /// CAP_NET_RAW, if it has that.
    Listening,
}

/// Gives up every capability of the calling thread but those of `keep`, in all sets, and the way to get any by executing
/// a program (`no_new_privs`).
///
/// The bounding set becomes empty where the thread may change it (CAP_SETPCAP); where not, it only says what executing
/// a program could gain, which is nothing any more.
///
/// # Errors
/// The kernel refused, or shows afterwards that something is left. The caller must not go on then.
pub fn give_up_capabilities(keep: Keep) -> io::Result<()> {
    set_no_new_privs(true)?;
    let may_bound = capabilities(None)?.effective.contains(CapabilitySet::SETPCAP);
    if may_bound {
        for capability in all() {
            if in_bounding_set(capability)? {
                remove_capability_from_bounding_set(capability)?;
            }
        }
    }
    clear_ambient_capability_set()?;
    let kept = capabilities(None)?.permitted & keep.capabilities();
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    // A sandbox may forbid the call where it would change nothing.
    if capabilities(None)? != sets {
        set_capabilities(None, sets)?;
    }

    let left = capabilities(None)? != sets || !no_new_privs()?;
    let mut bounded = false;
    for capability in all() {
        // What the kernel does not know is in no set.
        bounded |= capability_is_in_ambient_set(capability).unwrap_or(false);
        bounded |= may_bound && in_bounding_set(capability)?;
    }
    if left || bounded {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

/// Lets the programs that the calling thread executes have the capabilities of `keep`, if it has those, and CAP_SETPCAP, by which they
/// can empty their bounding set, and no others. [`give_up_capabilities`] takes it back.
///
/// # Errors
/// The kernel refused.
pub(crate) fn hand_on_capabilities(keep: Keep) -> io::Result<()> {
    clear_ambient_capability_set()?;
    let mut sets = capabilities(None)?;
    let handed_on = sets.permitted & (keep.capabilities() | CapabilitySet::SETPCAP);
    sets.inheritable = handed_on;
    sets.effective |= handed_on;
    set_capabilities(None, sets)?;
    for capability in handed_on.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Keeps what the process has in its memory, keys above all, from others of its user, and from files: nobody without
/// CAP_SYS_PTRACE may look at it or attach to it, and a crash leaves no core file.
///
/// # Errors
/// The kernel refused.
pub fn close_memory() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

impl Keep {
    fn capabilities(self) -> CapabilitySet {
        match self {
            Self::Nothing => CapabilitySet::empty(),
            Self::Cards => CapabilitySet::NET_ADMIN,
            Self::Listening => CapabilitySet::NET_RAW,
        }
    }
}

/// Every capability there can be, also those of kernels to come.
fn all() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}

/// Whether the bounding set holds a capability; not if the kernel does not know it.
fn in_bounding_set(capability: CapabilitySet) -> io::Result<bool> {
    match capability_is_in_bounding_set(capability) {
        Err(rustix::io::Errno::INVAL) => Ok(false),
        result => Ok(result?),
    }
}

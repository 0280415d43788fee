//! Broadcasts in networks too large for copies to all: *implicit social switching*.
//!
//! In a network, or a channel, of more than 128 members a broadcast goes to those the sender has to do with, to those they have
//! to do with, and at most one step further. It costs the same however large the network is. This is the whole of it as a
//! state machine without input or output: no clock, no randomness, no tasks. The engine and the simulator of large
//! networks drive the same code.
//!
//! # Words
//!
//! * **contact**: a member with whom unicast frames go both ways. *Active* within 30 s, *recent* within 600 s.
//! * **need**: how many deliveries a member could make use of: its active contacts (up to 64) and recent ones (up to 16).
//! * **heard**: whoever a broadcast came from within two levels, lately. **Bootstrap**: members at random for who has fewer than
//!   four contacts. **Long link**: one of two members at random that everybody has.
//! * **ceiling**: the most deliveries that a broadcast may cause in all; signed by its origin.
//! * **budget**, **share**: the deliveries that whoever gets a copy may still cause; what is given to one.
//! * **level**: 1 for a copy from the origin, 2 for one from whoever had that, 3 for one that goes nowhere from here.
//! * **tag**: 16 bits that stand for a member in one message: it has it already, or is sent it.
//! * **forwarders**, **token**, **anchor**: those whom the origin let send a broadcast on, 16 bytes that it gave to them alone, and the
//!   hash of both, which it signs. Whoever else claims level 2 causes nothing.
//! * **direct copy**: one from the origin that is not to go on: the session proves where it comes from, so that it carries the
//!   broadcast's id as a number instead of a signature.
//!
//! # Steps
//!
//! 1. [`Contacts`] counts who has to do with whom: [`Contacts::sent`], [`Contacts::received`].
//! 2. [`Spreading::originate`] makes a [`Plan`] of who gets a copy and what share of the ceiling, signs, and returns the copies.
//! 3. [`Spreading::arrive`] takes a copy: parse, known already?, fresh?, let in?, and the allowance for checking signatures.
//!    [`Spreading::direct`] takes a direct copy.
//! 4. The node checks the signature when it likes; [`Spreading::verified`] delivers, makes the plan of the next level, keeps to the
//!    limits, and returns the copies to be sent on, and the acknowledgement.
//! 5. [`Spreading::acknowledged`] ends a copy, [`Spreading::due`] sends it again, [`Spreading::unsent`] and
//!    [`Spreading::release`] let it wait for a session. Who misses all tries is no longer counted on.

#![forbid(unsafe_code)]

mod arrival;
mod choices;
mod circle;
mod contacts;
mod copies;
mod copy;
mod counts;
mod heard;
mod late;
mod limits;
mod links;
mod message;
mod nearest;
mod neighbours;
mod origins;
mod plan;
mod rates;
mod reach;
mod score;
mod seen;
mod spreading;
mod time;

pub use arrival::{Accepted, Arrival, Delivery, Pending, Refusal};
pub use circle::{Circle, Neighbour};
pub use contacts::Contacts;
pub use copies::{Acknowledged, Copies, Outgoing, Tended, Tries};
pub use copy::{CopyTo, Form, Spread};
pub use counts::Counts;
pub use limits::Allowances;
pub use message::{ANCHOR_DOMAIN, ID_DOMAIN, MAX_TAGS, Malformed, Message, SIGNING_DOMAIN, anchor_of, salt_of, tag_of};
pub use neighbours::{ChannelOf, Neighbours, Signer, Verifier};
pub use plan::{Plan, Planned, Why};
pub use rates::{Meter, Meters, Rate};
pub use reach::{Origination, Reach};
pub use spreading::{MAX_CEILING, Spreading};
pub use time::Time;

// The body of the fuzz target names the crate as its own program does.
#[cfg(test)]
extern crate self as farlan_spreading;

#[cfg(test)]
mod fuzzing;
#[cfg(test)]
mod tests;

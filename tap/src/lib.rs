//! The TAP device of farlan: creation, addresses, MTU, link state and routes.
//!
//! Everything here is Linux: `/dev/net/tun` for the device, rtnetlink for its settings, `/proc/sys/net` for the few
//! settings rtnetlink cannot write. Calls are synchronous, keep no state between them and act in the network
//! namespace of the calling thread. Arguments and results are plain data and one file descriptor, so that the card
//! helper, a process with CAP_NET_ADMIN and nothing else, makes the calls for a daemon without privileges.
//!
//! A device of ours is known by its interface alias, `farlan:<owner>`. No call alters or removes a device without
//! that mark.
//!
//! * [`create`] makes a device, [`Card`] holds it; it vanishes with the last descriptor. [`Offloads`] tells whether
//!   super-frames go through it.
//! * [`add_address`], [`remove_address`], [`set_link`] and [`set_mtu`] alter one.
//! * [`card_state`] tells whether it is still there, [`restore_addresses`] puts back what somebody took from it.
//! * [`card_addresses`] lists what others put on it too.
//! * [`remove_stale`] clears what a crash left behind.
//! * [`underlay_cards`] lists the machine's other cards, [`underlay_addresses`] their addresses, [`default_gateways`] the
//!   routers it sends to.
//! * [`ChangeMonitor`] tells when to look at either again.
//! * [`CardHelper`] starts the helper and asks it for these; [`run_helper`] is the helper.
//!   [`requests`] is what they say to each other.
//! * [`give_up_capabilities`] and [`close_memory`] are for the daemon, once it has started it.
//! * [`LanListener`] starts the listener, which hears what leaves the machine's other cards; [`run_listener`] is it.
//! * [`Memberships`] has the kernel take what comes to groups at a card.
//! * The helper also sets routes to groups ([`CardHelper::set_group_routes`]) and directs names: [`CardHelper::direct_names`] and [`CardHelper::set_hosts`].
//! * [`clashing_routes`] finds what a network's subnet would collide with.

mod addresses;
mod client;
mod dbus;
mod device;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gateways;
mod groups;
mod helper;
mod hosts;
mod listener;
mod machine;
mod monitor;
mod netlink;
mod offloads;
mod privileges;
mod process;
pub mod requests;
mod resolved;
mod routes;
mod tun;

pub use addresses::card_addresses;
pub use client::{CardHelper, pair};
pub use device::{
    Address, Card, CardState, Create, Restored, add_address, card_state, create, remove_address, remove_stale,
    restore_addresses, set_link, set_mtu,
};
pub use error::TapError;
pub use gateways::{Gateway, default_gateways};
pub use groups::{Memberships, is_game_group};
pub use helper::{HelperError, PREFIX, run_helper, serve};
pub use listener::{
    LONGEST_FRAME, LanListener, MOST_CARDS, MOST_RANGES, NoMessage, Ports, Report, Told, Watch, run_listener,
    serve_listener,
};
pub use machine::{UnderlayCard, underlay_addresses, underlay_cards};
pub use monitor::{ChangeMonitor, Changes};
pub use offloads::Offloads;
pub use privileges::{Keep, close_memory, give_up_capabilities};
pub use routes::{Route, clashing_routes};

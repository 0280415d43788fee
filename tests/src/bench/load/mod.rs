//! The subcommands that run inside the namespaces: a generator and a counter of UDP packets, and an echo that is asked.

mod count;
mod datagrams;
mod echo;
mod forward;
mod send;

use std::net::SocketAddr;

use anyhow::Result;
use clap::Subcommand;

pub use send::Options as Sending;

/// What to do in a namespace. Each prints JSON as its last line.
#[derive(Subcommand, Clone, Debug)]
pub enum Load {
    /// Send UDP packets with numbers at a steady rate.
    #[command(hide = true)]
    Send(Sending),
    /// Count UDP packets by their numbers.
    #[command(hide = true)]
    Receive {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Send back whatever comes, until killed.
    #[command(hide = true)]
    Echo {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Ask an echo once a millisecond and time its answers.
    #[command(hide = true)]
    Ask {
        /// The echo.
        address: SocketAddr,
        /// How many times.
        #[arg(long)]
        count: u32,
    },
    /// Carry the frames of a card of its own to a peer and back, until killed.
    #[command(hide = true)]
    Forward {
        /// The card's name.
        #[arg(long)]
        card: String,
        /// The card's MTU.
        #[arg(long)]
        mtu: u16,
        /// With super-frames, as they are.
        #[arg(long)]
        whole: bool,
        /// Where to listen.
        local: SocketAddr,
        /// The peer.
        peer: SocketAddr,
    },
}

impl Load {
    /// Does it.
    ///
    /// # Errors
    /// A socket fails.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Send(options) => send::send(options),
            Self::Receive { address } => count::receive(*address),
            Self::Echo { address } => echo::echo(*address),
            Self::Ask { address, count } => echo::ask(*address, *count),
            Self::Forward {
                card,
                mtu,
                whole: true,
                local,
                peer,
            } => forward::forward_whole(card, *mtu, *local, *peer),
            Self::Forward {
                card,
                mtu,
                whole: false,
                local,
                peer,
            } => forward::forward(card, *mtu, *local, *peer),
        }
    }
}

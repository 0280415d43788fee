//! What follows from what was found out: pure functions, which ask nobody and know no clock.
//!
//! `verdict` judges what stands between this node and one peer, `obstacles` what stands in the way at this node. The codes of both
//! are in `docs/DIAGNOSIS.md`, and stay what they are.

mod obstacles;
mod verdict;

pub use obstacles::{Checked, Found, ObstacleCode, obstacles};
pub use verdict::{Case, Code, Verdict, verdict};

/// Defines an enum of codes, each with the word that documents and scripts know it by.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it, which does not change.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

use codes;

/// What to say of somebody who speaks another version of the protocol.
pub fn speaks_version(who: &str, version: u8) -> String {
    let own = farlan_engine::PROTOCOL_VERSION;
    let older = if version < own { "the other end" } else { "this one" };
    format!("{who} speaks version {version} of the farlan protocol, this farlan version {own}: update {older}")
}

#[cfg(test)]
mod tests;

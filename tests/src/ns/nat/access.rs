//! How a home gets to the Internet: its own router, and a carrier's behind it where there is one.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use super::{Behaviour, Dependence, Nat, PortRule};

/// The routers between a home's hosts and the core. As text: `port`, `full~` with hairpin, `port/sym` with a symmetric
/// carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The home's router.
    pub router: Nat,
    /// Whether that one lets hosts of its LAN reach each other by their outside endpoints.
    pub hairpins: bool,
    /// The carrier's router.
    pub carrier: Option<Nat>,
}

impl Access {
    /// The kinds that the lab proves: each router by itself, four behind a carrier's, two with hairpin.
    pub const ALL: [Self; 17] = [
        Self::of(Nat::Absent),
        Self::of(Nat::FullCone),
        Self::of(Nat::AddressRestricted),
        Self::of(Nat::Port),
        Self::of(Nat::PortStrict),
        Self::of(Nat::PortShuffled),
        Self::of(Nat::Poison),
        Self::of(Nat::Symmetric),
        Self::of(Nat::SymmetricSequential),
        Self::of(Nat::SymmetricByAddress),
        Self::of(Nat::UdpBlocked),
        Self::behind(Nat::Port, Nat::FullCone),
        Self::behind(Nat::Port, Nat::Port),
        Self::behind(Nat::FullCone, Nat::FullCone),
        Self::behind(Nat::Port, Nat::Symmetric),
        Self::with_hairpin(Nat::FullCone),
        Self::with_hairpin(Nat::Port),
    ];

    /// The kinds of which all pairs are measured.
    pub const MATRIX: [Self; 11] = [
        Self::of(Nat::Absent),
        Self::of(Nat::FullCone),
        Self::of(Nat::AddressRestricted),
        Self::of(Nat::Port),
        Self::of(Nat::PortShuffled),
        Self::of(Nat::Poison),
        Self::of(Nat::SymmetricByAddress),
        Self::of(Nat::SymmetricSequential),
        Self::of(Nat::Symmetric),
        Self::behind(Nat::Port, Nat::FullCone),
        Self::behind(Nat::Port, Nat::Symmetric),
    ];

    /// A home with a router of that kind.
    pub const fn of(router: Nat) -> Self {
        Self {
            router,
            hairpins: false,
            carrier: None,
        }
    }

    /// A home whose router is behind a carrier's.
    pub const fn behind(router: Nat, carrier: Nat) -> Self {
        Self {
            router,
            hairpins: false,
            carrier: Some(carrier),
        }
    }

    /// A home with a router that also translates between the hosts of its LAN.
    pub const fn with_hairpin(router: Nat) -> Self {
        Self {
            router,
            hairpins: true,
            carrier: None,
        }
    }

    /// What it does to UDP, all routers together; none if it lets none out.
    pub fn behaviour(self) -> Option<Behaviour> {
        let own = self.router.behaviour()?;
        let own = Behaviour {
            hairpins: own.hairpins || self.hairpins,
            ..own
        };
        let Some(carrier) = self.carrier else {
            return Some(own);
        };
        let carrier = carrier.behaviour()?;
        // The stricter of two counts, and a port is only kept if both keep it; what the home's router does to it is
        // not to be seen behind a carrier's that does not.
        let port = match (own.port, carrier.port) {
            (PortRule::Kept, other) | (other, PortRule::Kept) => other,
            (_, other) => other,
        };
        Some(Behaviour {
            mapping: own.mapping.max(carrier.mapping),
            filtering: own.filtering.max(carrier.filtering),
            port,
            // Each router knows its own outside address only, which is not the one that is seen at the core.
            hairpins: false,
            poisonable: own.poisonable && carrier.filtering == Dependence::Nothing || carrier.poisonable,
        })
    }

    /// Whether each destination sees another port, so that one end must guess.
    pub fn is_hard(self) -> bool {
        self.behaviour()
            .is_some_and(|behaviour| behaviour.mapping != Dependence::Nothing)
    }

    /// Checks that the routers can be built.
    ///
    /// # Errors
    /// They cannot; the message says why.
    pub fn check(self) -> Result<()> {
        ensure!(
            !self.hairpins || self.router.can_hairpin(),
            "a router of kind {} does not know whose its ports are, so it cannot hairpin",
            self.router.name()
        );
        ensure!(
            self.carrier.is_none() || self.router != Nat::Absent,
            "a home with public addresses has no carrier that translates"
        );
        ensure!(
            self.carrier != Some(Nat::Absent),
            "a carrier without translation is none"
        );
        Ok(())
    }
}

impl From<Nat> for Access {
    fn from(router: Nat) -> Self {
        Self::of(router)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.router.name())?;
        if self.hairpins {
            f.write_str("~")?;
        }
        match self.carrier {
            Some(carrier) => write!(f, "/{}", carrier.name()),
            None => Ok(()),
        }
    }
}

impl FromStr for Access {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let router = |name: &str| {
            let found = Nat::ALL.into_iter().find(|nat| nat.name() == name);
            let names = Nat::ALL.map(Nat::name).join(", ");
            found.with_context(|| {
                format!("no router is called {name:?}; there are {names}, each also as X~ or X/Y behind a carrier's Y")
            })
        };
        let (home, carrier) = match text.split_once('/') {
            Some((home, carrier)) => (home, Some(router(carrier)?)),
            None => (text, None),
        };
        let (home, hairpins) = match home.strip_suffix('~') {
            Some(home) => (home, true),
            None => (home, false),
        };
        let access = Self {
            router: router(home)?,
            hairpins,
            carrier,
        };
        access.check()?;
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for access in Access::ALL {
            assert_eq!(access.to_string().parse::<Access>().unwrap(), access);
        }
        for text in ["", "cone", "port/", "/port", "sym~", "none/port", "port/none", "port~~"] {
            assert!(text.parse::<Access>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn four_of_the_eleven_kinds_are_hard() {
        let hard: Vec<_> = Access::MATRIX.into_iter().filter(|access| access.is_hard()).collect();
        let names: Vec<_> = hard.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["sym-addr", "sym-seq", "sym", "port/sym"]);
    }

    #[test]
    fn a_carriers_rules_count_as_well_as_the_homes() {
        let behaviour = |text: &str| text.parse::<Access>().unwrap().behaviour();
        assert_eq!(behaviour("full/port"), behaviour("port"));
        assert_eq!(behaviour("port/full"), behaviour("port"));
        assert_eq!(behaviour("port/sym"), behaviour("sym"));
        assert_eq!(behaviour("poison/full"), behaviour("poison"));
        assert_eq!(behaviour("poison/port"), behaviour("port"));
        assert_eq!(behaviour("full/udp-blocked"), None);
    }
}

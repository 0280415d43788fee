//! The kinds of router that homes are behind, under the names that the lab of kernels has for them, too.

use std::{fmt, str::FromStr};

use super::{
    lab::Lab,
    nat::{Filtering, Mapping, NatKind, Ports},
    underlay::NatId,
};

impl NatKind {
    /// `full`: the full cone. One port for all destinations, kept, open to anybody.
    pub const FULL: Self = Self::HOME.filtering(Filtering::EndpointIndependent);

    /// `addr`: the same, open to addresses that the home has sent to.
    pub const ADDR: Self = Self::HOME.filtering(Filtering::AddressDependent);

    /// `port`: the ordinary home router. One port for all destinations, kept, open to endpoints that the home has sent to.
    pub const PORT: Self = Self::HOME;

    /// `port-strict`: the same by a table of mappings of its own instead of the kernel's. Nothing outside tells the two apart.
    pub const PORT_STRICT: Self = Self::HOME;

    /// `port-rand`: the same with other ports outside than inside, always the same one for one inside endpoint.
    pub const PORT_RAND: Self = Self::HOME.ports(Ports::Hashed);

    /// `poison`: the ordinary router without a firewall for itself. Whoever is refused leaves an entry behind.
    pub const POISON: Self = Self::HOME.poisoned();

    /// `sym`: a random port for each destination.
    pub const SYM: Self = Self::SYMMETRIC;

    /// `sym-seq`: the next port for each destination.
    pub const SYM_SEQ: Self = Self::SYMMETRIC.ports(Ports::Sequential);

    /// `sym-addr`: a port for each destination address.
    pub const SYM_ADDR: Self = Self {
        mapping: Mapping::AddressDependent,
        ports: Ports::Hashed,
        ..Self::SYMMETRIC
    };

    /// `udp-blocked`: an ordinary router that lets no UDP out.
    pub const UDP_BLOCKED: Self = Self::HOME.without_udp();
}

/// How a home gets to the Internet. As text: `port`, `full~` with hairpin, `port/sym` behind a symmetric carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    name: &'static str,
    /// Its own router; without one its hosts have public addresses.
    pub router: Option<NatKind>,
    /// The carrier's router.
    pub carrier: Option<NatKind>,
}

impl Home {
    /// The kinds that the lab proves: each router by itself, four behind a carrier's, two with hairpin.
    pub const ALL: [Self; 17] = [
        Self::of("none", None),
        Self::of("full", Some(NatKind::FULL)),
        Self::of("addr", Some(NatKind::ADDR)),
        Self::of("port", Some(NatKind::PORT)),
        Self::of("port-strict", Some(NatKind::PORT_STRICT)),
        Self::of("port-rand", Some(NatKind::PORT_RAND)),
        Self::of("poison", Some(NatKind::POISON)),
        Self::of("sym", Some(NatKind::SYM)),
        Self::of("sym-seq", Some(NatKind::SYM_SEQ)),
        Self::of("sym-addr", Some(NatKind::SYM_ADDR)),
        Self::of("udp-blocked", Some(NatKind::UDP_BLOCKED)),
        Self::behind("port/full", NatKind::PORT, NatKind::FULL),
        Self::behind("port/port", NatKind::PORT, NatKind::PORT),
        Self::behind("full/full", NatKind::FULL, NatKind::FULL),
        Self::behind("port/sym", NatKind::PORT, NatKind::SYM),
        Self::of("full~", Some(NatKind::FULL.hairpin())),
        Self::of("port~", Some(NatKind::PORT.hairpin())),
    ];

    /// The kinds of which the lab measures all pairs.
    pub const MATRIX: [&'static str; 11] = [
        "none",
        "full",
        "addr",
        "port",
        "port-rand",
        "poison",
        "sym-addr",
        "sym-seq",
        "sym",
        "port/full",
        "port/sym",
    ];

    const fn of(name: &'static str, router: Option<NatKind>) -> Self {
        Self {
            name,
            router,
            carrier: None,
        }
    }

    const fn behind(name: &'static str, router: NatKind, carrier: NatKind) -> Self {
        Self {
            name,
            router: Some(router),
            carrier: Some(carrier),
        }
    }

    /// The kinds of [`Self::MATRIX`].
    ///
    /// # Panics
    /// Never: they are all known.
    pub fn matrix() -> [Self; 11] {
        Self::MATRIX.map(|name| name.parse().expect("the name of a kind"))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its routers, the own one first.
    pub fn routers(self) -> Vec<NatKind> {
        self.router.into_iter().chain(self.carrier).collect()
    }

    /// The same with another router of its own.
    pub fn map_router(self, change: impl FnOnce(NatKind) -> NatKind) -> Self {
        Self {
            router: self.router.map(change),
            ..self
        }
    }

    /// Builds it: the place where its hosts are.
    pub fn build(self, lab: &mut Lab) -> Option<NatId> {
        let carrier = self.carrier.map(|kind| lab.add_nat(kind));
        self.build_behind(lab, carrier)
    }

    /// Builds its own router behind a carrier's that is there already.
    pub fn build_behind(self, lab: &mut Lab, carrier: Option<NatId>) -> Option<NatId> {
        let router = self.router?;
        Some(match carrier {
            Some(carrier) => lab.add_nat_behind(carrier, router),
            None => lab.add_nat(router),
        })
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl FromStr for Home {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|home| home.name == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no kind of home is called {name:?}; there are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for home in Home::ALL {
            assert_eq!(home.to_string().parse(), Ok(home));
        }
        assert!("cone".parse::<Home>().is_err());
        assert_eq!(Home::matrix().map(Home::name), Home::MATRIX);
    }
}

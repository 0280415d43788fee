//! Which pairs must come to a direct path, by the properties of their NATs (RFC 4787, RFC 6092) and nothing else.
//!
//! Both ends know each other's endpoints from the supernodes and send at once. A datagram of one end passes the other
//! end's NAT if that end has spoken to where the datagram comes from, as far as its filter asks. A NAT that gives another
//! port for another peer (a *hard* one) sends from a port that the other end cannot know, so the other end has not spoken
//! to it; it may have spoken to the address.

use super::{
    lab::{HostId, Lab},
    nat::{Filtering, Mapping, NatKind},
    underlay::NatId,
};

/// What to expect of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A direct path.
    Direct,
    /// The relay, for ever.
    Relay,
    /// Either: it hangs on what else was sent through these NATs, and when.
    Open,
}

/// What to expect of two hosts, if both speak.
pub fn expected(lab: &Lab, a: HostId, b: HostId) -> Expected {
    let (of_a, of_b) = (lab.nats_of(a), lab.nats_of(b));
    // On one LAN, or both on the open Internet.
    if of_a.first() == of_b.first() {
        return Expected::Direct;
    }
    let has_ipv6 = |host| lab.endpoints(host).iter().any(std::net::SocketAddr::is_ipv6);
    // A firewall does not translate, so both ends know where the other one sends from.
    if has_ipv6(a) && has_ipv6(b) {
        return Expected::Direct;
    }
    match shared(&of_a, &of_b) {
        None => across(&of_a, &of_b),
        // What lies between them and the NAT in common is all that they have to pass if they use its inside addresses,
        // which they learn only if something tells them; its outside ones lead back in only with hairpin.
        Some((a_side, b_side, common)) => {
            let through = across(&[a_side, &[common]].concat(), &[b_side, &[common]].concat());
            match (common.1.hairpin, through) {
                (true, Expected::Direct) => Expected::Direct,
                _ => Expected::Open,
            }
        }
    }
}

type Chain = [(NatId, NatKind)];

/// What each of two chains has before the first NAT that is in both.
fn shared<'a>(a: &'a Chain, b: &'a Chain) -> Option<(&'a Chain, &'a Chain, (NatId, NatKind))> {
    let place = a.iter().position(|nat| b.contains(nat))?;
    let other = b.iter().position(|nat| *nat == a[place])?;
    Some((&a[..place], &b[..other], a[place]))
}

/// What to expect where each has its own NATs up to the core.
fn across(a: &Chain, b: &Chain) -> Expected {
    let (a, b) = (Side::of(a), Side::of(b));
    if a.poisoned || b.poisoned {
        // Whether an entry is left behind is a matter of milliseconds.
        let hard = a.mapping != Mapping::EndpointIndependent || b.mapping != Mapping::EndpointIndependent;
        if hard {
            return Expected::Open;
        }
    }
    match (a.is_hard(), b.is_hard()) {
        (false, false) => Expected::Direct,
        (true, false) => reaches(a, b),
        (false, true) => reaches(b, a),
        (true, true) => match (a.filtering, b.filtering) {
            // Neither knows a port of the other one.
            (Filtering::EndpointIndependent, _) | (_, Filtering::EndpointIndependent) => Expected::Open,
            _ => Expected::Relay,
        },
    }
}

/// What to expect between a hard end and one that is not.
fn reaches(hard: Side, easy: Side) -> Expected {
    match easy.filtering {
        // Its datagrams come from another port of the address that the easy end speaks to, and are let in; the answer goes
        // back where they came from.
        Filtering::EndpointIndependent | Filtering::AddressDependent => Expected::Direct,
        // The easy end would have to speak to the very port, or the hard one to let it in at the port it knows.
        Filtering::AddressAndPortDependent => match hard.filtering {
            Filtering::AddressAndPortDependent => Expected::Relay,
            _ => Expected::Open,
        },
    }
}

/// A chain of NATs as one: it maps as its hardest does, and filters as its strictest does.
#[derive(Clone, Copy, Debug)]
struct Side {
    mapping: Mapping,
    filtering: Filtering,
    poisoned: bool,
}

impl Side {
    fn of(chain: &Chain) -> Self {
        let open = Self {
            mapping: Mapping::EndpointIndependent,
            filtering: Filtering::EndpointIndependent,
            poisoned: false,
        };
        chain.iter().fold(open, |side, (_, kind)| {
            let mapping = match (side.mapping, kind.mapping) {
                (Mapping::Symmetric, _) | (_, Mapping::Symmetric) => Mapping::Symmetric,
                (Mapping::AddressDependent, _) | (_, Mapping::AddressDependent) => Mapping::AddressDependent,
                _ => Mapping::EndpointIndependent,
            };
            let filtering = match (side.filtering, kind.filtering) {
                (Filtering::AddressAndPortDependent, _) | (_, Filtering::AddressAndPortDependent) => {
                    Filtering::AddressAndPortDependent
                }
                (Filtering::AddressDependent, _) | (_, Filtering::AddressDependent) => Filtering::AddressDependent,
                _ => Filtering::EndpointIndependent,
            };
            Self {
                mapping,
                filtering,
                poisoned: side.poisoned || kind.poisoned,
            }
        })
    }

    /// Whether the port towards a peer is another than the one that supernodes see.
    fn is_hard(self) -> bool {
        self.mapping != Mapping::EndpointIndependent
    }
}

//! Which pairs must come to a direct path, by the properties of their NATs (RFC 4787, RFC 6092) and nothing else.
//!
//! A datagram gets from one end to the other if it goes to an outside port that lets it in: of a NAT that filters by endpoint
//! only one from which the very endpoint of the sender was spoken to. The answer then goes back where it came from, and so
//! passes. So the question is what each end must guess, and how many datagrams that takes:
//!
//! * nothing, where a NAT maps by the inside endpoint alone: supernodes see the port that everybody sees;
//! * a number among the next few, where ports are given in sequence;
//! * one of all ports otherwise.
//!
//! If one end guesses among all ports and the other one's are known, many sockets of the first and many guesses of the second
//! meet soon, as birthdays do. If both guess, and one of them among all ports, every single combination takes a datagram of its
//! own: too many. ([`BUDGET`] says what is polite.) Such a pair may stay relayed and must lose nothing by whatever it tries: an end
//! that cannot know that its NAT is one of the hard ones, as behind a single supernode, tries what would do for another, and
//! then chance alone may make a path.
//!
//! An entry that a refused datagram leaves in a *poisoned* NAT does not decide anything: as long as both ends' datagrams die
//! between the two NATs, each end opens its own before anything gets to the other one. That takes a core in between.

use std::net::SocketAddr;

use super::{
    lab::{HostId, Lab},
    nat::{Filtering, Mapping, NatKind, Ports},
    underlay::NatId,
};

/// What to expect of a pair, if both speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A direct path.
    Direct,
    /// The relay, for ever: nothing gets through.
    Relay,
    /// The relay, unless an end guesses a port by luck. One datagram in 64,512 is such luck, for each port to be guessed.
    Unlikely,
    /// Either: it hangs on what else is sent through these NATs, and when.
    Either,
}

/// What to expect of two hosts of a lab.
pub fn expected(lab: &Lab, a: HostId, b: HostId) -> Expected {
    let has_ipv6 = |host| lab.endpoints(host).iter().any(SocketAddr::is_ipv6);
    expected_of(&lab.nats_of(a), &lab.nats_of(b), has_ipv6(a) && has_ipv6(b))
}

/// What to expect of two ends, each behind a chain of NATs, its own first; `ipv6` says whether both have IPv6. A NAT that is in
/// both chains has the same number in both.
pub fn expected_of(a: &[(NatId, NatKind)], b: &[(NatId, NatKind)], ipv6: bool) -> Expected {
    if a.first().map(|nat| nat.0) == b.first().map(|nat| nat.0) {
        // On one LAN, or both on the open Internet.
        return Expected::Direct;
    }
    let (own_a, own_b, common) = match meeting(a, b) {
        Some((a_side, b_side, common)) => (a_side, b_side, Some(common)),
        None => (a, b, None),
    };
    let blocked = |own: &[(NatId, NatKind)]| own.iter().any(|(_, kind)| kind.blocks_udp || kind.blocks_udp_in);
    if blocked(own_a) || blocked(own_b) {
        return Expected::Relay;
    }
    if ipv6 {
        // A firewall does not translate: both ends know where the other one sends from, and open theirs by sending.
        return Expected::Direct;
    }
    let Some(common) = common else {
        return across(Side::of(own_a), Side::of(own_b));
    };
    if own_a.is_empty() || own_b.is_empty() {
        // One is in the common NAT's own network, and the other one reaches it there by the address of its card.
        return Expected::Direct;
    }
    // Both know outside addresses of the common NAT, which lead back in only with hairpin; then whatever it filters.
    if !common.hairpin {
        return Expected::Relay;
    }
    // It keeps a port for one end only (RFC 4787 §4.2.1). Where both count through the same ports, the one that comes second at a
    // number gets any other, so that nothing follows from those before; who that is, and how often, hangs on when each speaks.
    let counts = |own: &[(NatId, NatKind)]| Side::of(own).guess == Guess::Next;
    if common.ports == Ports::Preserved && counts(own_a) && counts(own_b) {
        return Expected::Either;
    }
    let common = common.filtering(Filtering::EndpointIndependent);
    let through = |own: &[(NatId, NatKind)]| {
        let side = Side::of(own).then(common);
        // Nothing dies between the two NATs here.
        (side, side.poisoned)
    };
    match (through(own_a), through(own_b)) {
        ((a, false), (b, false)) => across(a, b),
        _ => Expected::Either,
    }
}

type Chain = [(NatId, NatKind)];

/// What each of two chains has before the first NAT that is in both, and that one.
fn meeting<'a>(a: &'a Chain, b: &'a Chain) -> Option<(&'a Chain, &'a Chain, NatKind)> {
    let place = a.iter().position(|nat| b.iter().any(|other| other.0 == nat.0))?;
    let other = b.iter().position(|nat| nat.0 == a[place].0)?;
    Some((&a[..place], &b[..other], a[place].1))
}

/// Datagrams that a pair may spend on guesses at one go: 256 sockets, and 1000 guesses a second for 2 s.
const BUDGET: f64 = 256.0 + 2_000.0;

/// Sockets with which an end waits for guesses.
const SOCKETS: f64 = 256.0;

/// The ports a NAT picks from: those above the well-known ones.
const PORTS: f64 = 64_512.0;

/// How many of the next ports of a sequence are worth a guess: as many flows may begin meanwhile.
const SEQUENCE: f64 = 32.0;

/// Guesses until a chance of one in `n` has come up with 99.9 %: so many times `n`.
const SURE: f64 = 6.9;

/// What to expect where each end has its own NATs and there is a core between them.
fn across(a: Side, b: Side) -> Expected {
    if datagrams(a, b).min(datagrams(b, a)) <= BUDGET {
        return Expected::Direct;
    }
    // A port that is open to more than whom it was given for is open to somebody whose own port is a guess, and to
    // whoever finds it by chance.
    let strict = |side: Side| side.filtering == Filtering::AddressAndPortDependent;
    if strict(a) && strict(b) {
        Expected::Unlikely
    } else {
        Expected::Either
    }
}

/// How many datagrams it takes until one of `sender` gets in at `receiver`.
fn datagrams(sender: Side, receiver: Side) -> f64 {
    use Guess::{All, Next, None};
    match receiver.filtering {
        // Whatever port it has for whomever.
        Filtering::EndpointIndependent => 1.0,
        // Any port from which it spoke to that address.
        Filtering::AddressDependent => found(receiver.guess),
        // The port from which it spoke to that endpoint: both matter.
        Filtering::AddressAndPortDependent => match (sender.guess, receiver.guess) {
            (None, guess) | (guess, None) => found(guess),
            (Next, Next) => SEQUENCE * SEQUENCE,
            // Each further guess of the end in sequence leaves from another port, which the other end must have guessed
            // for that very one.
            (Next, All) | (All, Next) | (All, All) => PORTS * SURE,
        },
    }
}

/// How many datagrams it takes to find one port, if everything else is known.
fn found(guess: Guess) -> f64 {
    match guess {
        Guess::None => 1.0,
        Guess::Next => SEQUENCE,
        Guess::All => SOCKETS + PORTS / SOCKETS * SURE,
    }
}

/// What others must guess of the port that an end has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    None,
    Next,
    All,
}

/// A chain of NATs as one.
#[derive(Clone, Copy, Debug)]
struct Side {
    guess: Guess,
    filtering: Filtering,
    poisoned: bool,
}

impl Side {
    fn of(chain: &Chain) -> Self {
        let open = Self {
            guess: Guess::None,
            filtering: Filtering::EndpointIndependent,
            poisoned: false,
        };
        chain.iter().fold(open, |side, (_, kind)| side.then(*kind))
    }

    /// The same behind one more NAT.
    fn then(self, kind: NatKind) -> Self {
        let guess = match (kind.mapping, kind.ports, self.guess) {
            // What it gets from inside as another endpoint it gives another port, which follows from the inside one or not.
            (Mapping::EndpointIndependent, Ports::Preserved, inner) => inner,
            (Mapping::EndpointIndependent, _, Guess::None) => Guess::None,
            (_, Ports::Sequential, _) => Guess::Next,
            (Mapping::EndpointIndependent, _, _) => Guess::All,
            (Mapping::AddressDependent | Mapping::Symmetric, ..) => Guess::All,
        };
        // It takes two to let a datagram in.
        let filtering = match (self.filtering, kind.filtering) {
            (Filtering::AddressAndPortDependent, _) | (_, Filtering::AddressAndPortDependent) => {
                Filtering::AddressAndPortDependent
            }
            (Filtering::AddressDependent, _) | (_, Filtering::AddressDependent) => Filtering::AddressDependent,
            _ => Filtering::EndpointIndependent,
        };
        Self {
            guess,
            filtering,
            poisoned: self.poisoned || kind.poisoned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::homes::Home, *};

    /// The chain of a home whose NATs are numbered from `first` on.
    fn chain(home: Home, first: usize) -> Vec<(NatId, NatKind)> {
        let numbers = (first..).map(NatId);
        numbers.zip(home.routers()).collect()
    }

    fn of_pair(a: Home, b: Home) -> Expected {
        expected_of(&chain(a, 0), &chain(b, 10), false)
    }

    #[test]
    fn of_eleven_kinds_fifty_seven_pairs_are_direct_and_nine_are_not() {
        let kinds = Home::matrix();
        let mut direct = 0;
        let mut relayed = Vec::new();
        for (first, &a) in kinds.iter().enumerate() {
            for &b in &kinds[first..] {
                assert_eq!(of_pair(a, b), of_pair(b, a), "{a} × {b}");
                match of_pair(a, b) {
                    Expected::Direct => direct += 1,
                    Expected::Unlikely => relayed.push((a.name(), b.name())),
                    Expected::Relay | Expected::Either => panic!("{a} × {b} is not decided"),
                }
            }
        }
        // As measured with a plain puncher on a kernel.
        let measured = [
            ("sym-addr", "sym-addr"),
            ("sym-addr", "sym-seq"),
            ("sym-addr", "sym"),
            ("sym-addr", "port/sym"),
            ("sym-seq", "sym"),
            ("sym-seq", "port/sym"),
            ("sym", "sym"),
            ("sym", "port/sym"),
            ("port/sym", "port/sym"),
        ];
        assert_eq!((direct, relayed), (57, measured.to_vec()));
    }

    #[test]
    fn all_seventeen_kinds_are_decided() {
        for a in Home::ALL {
            for b in Home::ALL {
                let expected = of_pair(a, b);
                assert_ne!(expected, Expected::Either, "{a} × {b}");
                if a.name() == "udp-blocked" {
                    assert_eq!(expected, Expected::Relay);
                }
            }
        }
    }

    #[test]
    fn what_lies_between_two_hosts_decides_and_nothing_beyond() {
        let home: Home = "udp-blocked".parse().unwrap();
        let one = chain(home, 0);
        assert_eq!(expected_of(&one, &one, false), Expected::Direct, "on one LAN");
        let sym: Home = "sym".parse().unwrap();
        let strangers = (chain(sym, 0), chain(sym, 10));
        assert_eq!(
            expected_of(&strangers.0, &strangers.1, true),
            Expected::Direct,
            "by IPv6"
        );
        assert_eq!(expected_of(&one, &chain(sym, 10), true), Expected::Relay, "blocked");
        // Two homes behind one carrier.
        let behind = |own: NatKind, number, carrier| [(NatId(number), own), (NatId(20), carrier)];
        let pair = |a, b, carrier| expected_of(&behind(a, 0, carrier), &behind(b, 10, carrier), false);
        assert_eq!(pair(NatKind::PORT, NatKind::PORT, NatKind::PORT), Expected::Relay);
        let hairpin = NatKind::PORT.hairpin();
        assert_eq!(pair(NatKind::PORT, NatKind::PORT, hairpin), Expected::Direct);
        assert_eq!(pair(NatKind::PORT, NatKind::SYM, hairpin), Expected::Direct);
        assert_eq!(pair(NatKind::SYM, NatKind::SYM, hairpin), Expected::Unlikely);
        assert_eq!(pair(NatKind::PORT, NatKind::POISON, hairpin), Expected::Either);
        assert_eq!(pair(NatKind::SYM_SEQ, NatKind::PORT, hairpin), Expected::Direct);
        assert_eq!(pair(NatKind::SYM_SEQ, NatKind::SYM_SEQ, hairpin), Expected::Either);
        // Whatever the carrier gives a home that lets in anybody, supernodes see a port of it, and by hairpin that leads in.
        for other in [NatKind::FULL, NatKind::PORT, NatKind::SYM] {
            let carrier = NatKind::SYM.hairpin();
            assert_eq!(pair(NatKind::FULL, other, carrier), Expected::Direct);
        }
        assert_eq!(
            pair(NatKind::PORT, NatKind::PORT, NatKind::SYM.hairpin()),
            Expected::Unlikely
        );
        // One of them in the carrier's own network.
        let carrier = (NatId(20), NatKind::SYM);
        assert_eq!(
            expected_of(&[carrier], &[(NatId(0), NatKind::SYM), carrier], false),
            Expected::Direct
        );
    }

    #[test]
    fn chains_are_as_hard_as_their_hardest_link_unless_that_is_covered() {
        let guess = |kinds: &[NatKind]| {
            let numbered: Vec<_> = (0..).map(NatId).zip(kinds.iter().copied()).collect();
            Side::of(&numbered).guess
        };
        assert_eq!(guess(&[NatKind::PORT, NatKind::PORT_RAND]), Guess::None);
        assert_eq!(guess(&[NatKind::SYM_SEQ, NatKind::PORT]), Guess::Next);
        assert_eq!(guess(&[NatKind::SYM_SEQ, NatKind::PORT_RAND]), Guess::All);
        assert_eq!(guess(&[NatKind::SYM, NatKind::SYM_SEQ]), Guess::Next);
        assert_eq!(guess(&[NatKind::PORT, NatKind::SYM]), Guess::All);
    }
}

//! Which technique may open a way between two NATs, and which ports it aims at.

use crate::{Behaviour, Filtering, Mapping, Ports};

/// Extra sockets of a node whose ports are predicted. All aim at one port, or are aimed at as one range, so that as many
/// mappings of others in between as half of them do no harm.
pub(crate) const PREDICTED_SOCKETS: usize = 25;

/// The mapping, counted from the one that was seen last, at which the other end aims.
const AIM: i32 = 13;

/// Ports that the other end tries where it can try many: the mappings 1 to this.
const TRIED: i32 = 40;

/// Ports there are for NATs to pick: from 1024.
pub(crate) const FIRST_PORT: u16 = 1024;
pub(crate) const PORTS: u32 = 65_536 - FIRST_PORT as u32;

/// How two ends search a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Technique {
    /// The hard end has many ports open, the other one tries random ones.
    Birthday,
    /// The hard end has some ports open, the other one tries those that the NAT is likely to have picked.
    Predicted,
    /// Both ends aim at the port that the other's NAT is likely to pick.
    BothPredicted,
    /// One end is hard, and nobody knows which: both do what either end of a birthday search does.
    Either,
}

impl Technique {
    /// Whether it goes by what the hard end's NAT is expected to pick.
    pub(crate) fn predicts(self) -> bool {
        matches!(self, Self::Predicted | Self::BothPredicted)
    }

    /// Whether both ends do the same.
    pub(crate) fn is_alike(self) -> bool {
        matches!(self, Self::BothPredicted | Self::Either)
    }
}

/// What a search that may help waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing else can help.
    AtOnce,
    /// Opening both at once may do as well.
    AfterOthers,
    /// One end does not know yet what its own NAT is like, and will tell soon: a search by the wrong technique finds nothing.
    WhenTold,
}

/// What can be done about two NATs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Opening both at once suffices.
    Open,
    /// Nothing that would work: the relay stays.
    Relay,
    /// A search; whether this end is a hard one, and what it waits for.
    Search {
        technique: Technique,
        hard: bool,
        start: Start,
    },
}

/// What to do about this end's NAT and the other's; `in_vain` is whether nothing was found for long, `mispredicted` whether
/// ports of one end that were predicted were not those that were picked: any port may be, then. Where both ends count there is
/// nothing else, and one prediction may have missed.
pub(crate) fn plan(own: &Behaviour, theirs: &Behaviour, in_vain: bool, mispredicted: bool) -> Plan {
    let sequential = |behaviour: &Behaviour| matches!(behaviour.ports, Ports::Sequential { .. });
    // A mapping of which nothing is known may be a dependent one. One that keeps the inside port seldom is.
    let doubtful = |behaviour: &Behaviour| {
        let likely = in_vain || behaviour.ports == Ports::Changed;
        behaviour.mapping == Mapping::Unknown && behaviour.translated != Some(false) && likely
    };
    let hard = |behaviour: &Behaviour| behaviour.mapping.is_dependent();
    let (hard_end, easy_end, own_is_hard) = match (hard(own), hard(theirs)) {
        (true, true) if sequential(own) && sequential(theirs) => {
            return Plan::Search {
                technique: Technique::BothPredicted,
                hard: true,
                start: Start::AtOnce,
            };
        }
        (true, true) => return Plan::Relay,
        (true, false) => (own, theirs, true),
        (false, true) => (theirs, own, false),
        (false, false) if doubtful(own) && doubtful(theirs) => {
            return Plan::Search {
                technique: Technique::Either,
                hard: true,
                start: Start::AfterOthers,
            };
        }
        (false, false) if doubtful(own) => (own, theirs, true),
        (false, false) if doubtful(theirs) => (theirs, own, false),
        (false, false) => return Plan::Open,
    };
    if easy_end.filtering == Filtering::NotByPort && !in_vain {
        return Plan::Open;
    }
    let untold = (hard(hard_end) && hard_end.ports == Ports::Unknown) || is_untold(easy_end);
    Plan::Search {
        technique: if sequential(hard_end) && !mispredicted {
            Technique::Predicted
        } else {
            Technique::Birthday
        },
        hard: own_is_hard,
        start: if untold && !in_vain {
            Start::WhenTold
        } else if easy_end.filtering == Filtering::ByPort && hard(hard_end) {
            Start::AtOnce
        } else {
            Start::AfterOthers
        },
    }
}

/// Whether an end has not found out yet what its NAT does to its port: it may be hard.
fn is_untold(behaviour: &Behaviour) -> bool {
    let unknown = behaviour.mapping == Mapping::Unknown && behaviour.ports == Ports::Unknown;
    unknown && behaviour.translated != Some(false)
}

/// The port that a NAT picks for a mapping `count` after the one that was given `port`.
fn predicted(port: u16, stride: i16, count: i32) -> Option<u16> {
    let port = i32::from(port) + i32::from(stride) * count;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// The port at which to aim where both ends are predicted.
pub(crate) fn aim(port: u16, stride: i16) -> Option<u16> {
    predicted(port, stride, AIM)
}

/// The ports to try where one end is predicted, the likeliest first.
pub(crate) fn likely(port: u16, stride: i16) -> Vec<u16> {
    let mut counts: Vec<i32> = (1..=TRIED).collect();
    counts.sort_by_key(|count| (count - AIM).abs());
    let ports = counts.into_iter().filter_map(|count| predicted(port, stride, count));
    ports.collect()
}

/// All ports from [`FIRST_PORT`], each once, in an order that two random numbers make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortOrder {
    step: u32,
    start: u32,
}

impl PortOrder {
    pub(crate) fn new(random: u64) -> Self {
        // Steps that have no factor in common with the number of ports, 2^10 · 3^2 · 7, come to each of them.
        let mut step = u32::try_from((random >> 32) % u64::from(PORTS)).unwrap_or(1) | 1;
        while step.is_multiple_of(3) || step.is_multiple_of(7) {
            step += 2;
        }
        Self {
            step: step % PORTS,
            start: u32::try_from(random % u64::from(PORTS)).unwrap_or_default(),
        }
    }

    /// The port at a position below [`PORTS`].
    pub(crate) fn port(&self, position: u32) -> u16 {
        let place = (u64::from(self.start) + u64::from(self.step) * u64::from(position)) % u64::from(PORTS);
        u16::try_from(place).unwrap_or_default().saturating_add(FIRST_PORT)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const EASY: Behaviour = Behaviour {
        translated: Some(true),
        mapping: Mapping::Independent,
        filtering: Filtering::ByPort,
        ports: Ports::Kept,
        hairpin: None,
    };

    const HARD: Behaviour = Behaviour {
        mapping: Mapping::PortDependent,
        ports: Ports::Random,
        ..EASY
    };

    const SEQUENTIAL: Behaviour = Behaviour {
        ports: Ports::Sequential { stride: 1 },
        ..HARD
    };

    fn search(technique: Technique, hard: bool) -> Plan {
        Plan::Search {
            technique,
            hard,
            start: Start::AtOnce,
        }
    }

    #[test]
    fn a_search_is_for_one_hard_end_or_two_sequential_ones() {
        assert_eq!(plan(&EASY, &EASY, true, false), Plan::Open);
        assert_eq!(plan(&HARD, &EASY, false, false), search(Technique::Birthday, true));
        assert_eq!(plan(&EASY, &HARD, false, false), search(Technique::Birthday, false));
        assert_eq!(
            plan(&SEQUENTIAL, &EASY, false, false),
            search(Technique::Predicted, true)
        );
        assert_eq!(plan(&SEQUENTIAL, &EASY, false, true), search(Technique::Birthday, true));
        assert_eq!(
            plan(&SEQUENTIAL, &SEQUENTIAL, false, false),
            search(Technique::BothPredicted, true)
        );
        assert_eq!(
            plan(&SEQUENTIAL, &SEQUENTIAL, false, true),
            search(Technique::BothPredicted, true),
            "one end's ports may have been predicted while the other was taken for an easy one"
        );
        for (one, other) in [(HARD, HARD), (HARD, SEQUENTIAL), (SEQUENTIAL, HARD)] {
            assert_eq!(plan(&one, &other, true, false), Plan::Relay);
        }
        let open = Behaviour {
            filtering: Filtering::NotByPort,
            ..EASY
        };
        assert_eq!(plan(&HARD, &open, false, false), Plan::Open);
        assert!(matches!(
            plan(&HARD, &open, true, false),
            Plan::Search {
                start: Start::AfterOthers,
                ..
            }
        ));
    }

    #[test]
    fn what_is_not_known_may_be_hard_once_opening_has_failed() {
        let last = |technique, hard| Plan::Search {
            technique,
            hard,
            start: Start::AfterOthers,
        };
        let unknown = Behaviour::default();
        assert_eq!(plan(&unknown, &EASY, false, false), Plan::Open);
        assert_eq!(plan(&unknown, &EASY, true, false), last(Technique::Birthday, true));
        let changed = Behaviour {
            ports: Ports::Changed,
            ..unknown
        };
        assert_eq!(plan(&changed, &EASY, false, false), last(Technique::Birthday, true));
        assert_eq!(plan(&EASY, &changed, false, false), last(Technique::Birthday, false));
        assert_eq!(plan(&changed, &changed, false, false), last(Technique::Either, true));
        assert_eq!(plan(&changed, &HARD, false, false), last(Technique::Birthday, false));
        let kept = Behaviour {
            ports: Ports::Kept,
            ..unknown
        };
        assert_eq!(plan(&kept, &EASY, false, false), Plan::Open);
        assert_eq!(plan(&kept, &changed, false, false), last(Technique::Birthday, false));
        assert_eq!(plan(&kept, &kept, true, false), last(Technique::Either, true));
        let public = Behaviour {
            translated: Some(false),
            ..kept
        };
        assert_eq!(plan(&public, &EASY, true, false), Plan::Open);
    }

    #[test]
    fn a_search_waits_for_what_an_end_is_about_to_find_out() {
        let start = |own: &Behaviour, theirs: &Behaviour, in_vain| match plan(own, theirs, in_vain, false) {
            Plan::Search { start, .. } => start,
            plan => panic!("{plan:?}"),
        };
        let unknown = Behaviour::default();
        let filter_known = Behaviour {
            filtering: Filtering::ByPort,
            ..unknown
        };
        for other in [unknown, filter_known] {
            assert_eq!(start(&SEQUENTIAL, &other, false), Start::WhenTold);
            assert_eq!(start(&other, &HARD, false), Start::WhenTold);
            assert_ne!(start(&SEQUENTIAL, &other, true), Start::WhenTold, "not for ever");
        }
        let sampling = Behaviour {
            ports: Ports::Unknown,
            ..HARD
        };
        assert_eq!(start(&sampling, &EASY, false), Start::WhenTold);
        // One supernode with one address cannot tell more.
        let kept = Behaviour {
            mapping: Mapping::Unknown,
            ..EASY
        };
        assert_eq!(start(&HARD, &kept, false), Start::AtOnce);
        let public = Behaviour {
            translated: Some(false),
            ..filter_known
        };
        assert_eq!(start(&HARD, &public, false), Start::AtOnce);
    }

    #[test]
    fn predicted_ports_lie_where_the_next_mappings_will() {
        assert_eq!(aim(20_000, 1), Some(20_013));
        assert_eq!(aim(20_000, -2), Some(19_974));
        assert_eq!(aim(65_530, 1), None);
        let ports = likely(20_000, 1);
        assert_eq!(ports[0], 20_013);
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 40);
        assert!(ports.iter().all(|port| (20_001..=20_040).contains(port)));
    }

    proptest! {
        #[test]
        fn every_port_comes_once(random: u64) {
            let order = PortOrder::new(random);
            let mut seen = vec![false; 1 << 16];
            for position in 0..PORTS {
                let port = order.port(position);
                prop_assert!(port >= FIRST_PORT);
                prop_assert!(!std::mem::replace(&mut seen[usize::from(port)], true));
            }
        }
    }
}

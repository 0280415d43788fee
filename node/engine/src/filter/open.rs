//! What of this machine anybody may speak to: ports that were opened by hand, and those of listed games.

/// A protocol with ports, or with what does for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    /// Pings, by their identifier.
    Echo,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Ports of this machine that the members of a *strangers* network may speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenPorts {
    /// Of which protocol.
    pub transport: Transport,
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

/// All opened ports of a network: per protocol in order, apart from each other.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    tcp: Vec<(u16, u16)>,
    udp: Vec<(u16, u16)>,
}

impl Opened {
    pub(crate) fn new(ports: &[OpenPorts]) -> Self {
        let of = |transport| {
            let mut ranges: Vec<(u16, u16)> = ports
                .iter()
                .filter(|ports| ports.transport == transport && ports.first <= ports.last)
                .map(|ports| (ports.first, ports.last))
                .collect();
            join(&mut ranges);
            ranges
        };
        Self {
            tcp: of(Transport::Tcp),
            udp: of(Transport::Udp),
        }
    }

    /// Adds all of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        for (own, other) in [(&mut self.tcp, &other.tcp), (&mut self.udp, &other.udp)] {
            own.extend_from_slice(other);
            join(own);
        }
    }

    /// Whether anybody may speak to a port.
    pub(crate) fn contains(&self, protocol: Protocol, port: u16) -> bool {
        let ranges = match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
            Protocol::Echo => return false,
        };
        let at = ranges.partition_point(|(first, _)| *first <= port);
        at.checked_sub(1)
            .and_then(|at| ranges.get(at))
            .is_some_and(|(_, last)| port <= *last)
    }
}

/// Sorts ranges, and makes one of those that touch.
fn join(ranges: &mut Vec<(u16, u16)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let joined = next.0 <= before.1.saturating_add(1);
        if joined {
            before.1 = before.1.max(next.1);
        }
        joined
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_port_is_open_where_one_of_the_ranges_has_it(
            ranges in proptest::collection::vec((any::<bool>(), 0_u16..60, 0_u16..60), 0..12),
            high in any::<bool>(),
        ) {
            let shift = if high { u16::MAX - 59 } else { 0 };
            let transport = |tcp| if tcp { Transport::Tcp } else { Transport::Udp };
            let ports: Vec<_> = ranges
                .iter()
                .map(|(tcp, first, last)| OpenPorts {
                    transport: transport(*tcp),
                    first: first + shift,
                    last: last + shift,
                })
                .collect();
            let opened = Opened::new(&ports);
            for port in (0..60).map(|port| port + shift) {
                for (protocol, transport) in [(Protocol::Tcp, Transport::Tcp), (Protocol::Udp, Transport::Udp)] {
                    let expected = ports
                        .iter()
                        .any(|range| range.transport == transport && (range.first..=range.last).contains(&port));
                    prop_assert_eq!(opened.contains(protocol, port), expected, "{}", port);
                }
                prop_assert!(!opened.contains(Protocol::Echo, port));
            }
        }
    }
}

//! Ports as people write them, and sets of them: `25565/tcp`, `27015-27030/udp`, `7777` for both protocols.

use std::{fmt, str::FromStr};

use farlan_engine::{OpenPorts, Transport};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A set of ports, each of TCP or UDP. It is written as a list of ranges in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct PortSet(Vec<OpenPorts>);

/// A text that is no port and no range of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no port; write it like 25565, 25565/tcp or 27015-27030/udp, with ports from 1 to 65535")]
pub struct PortError(pub String);

impl PortSet {
    /// The ranges, in order and apart from each other.
    pub fn ranges(&self) -> &[OpenPorts] {
        &self.0
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a port is in it.
    pub fn contains(&self, transport: Transport, port: u16) -> bool {
        self.0
            .iter()
            .any(|range| range.transport == transport && (range.first..=range.last).contains(&port))
    }

    /// These and those.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// These but not those.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = self.0.clone();
        for gone in &other.0 {
            let cut = |range: OpenPorts| {
                if range.transport != gone.transport || range.last < gone.first || gone.last < range.first {
                    return vec![range];
                }
                let below = gone.first.checked_sub(1).filter(|last| range.first <= *last);
                let above = gone.last.checked_add(1).filter(|first| *first <= range.last);
                let below = below.map(|last| OpenPorts { last, ..range });
                let above = above.map(|first| OpenPorts { first, ..range });
                below.into_iter().chain(above).collect()
            };
            left = left.into_iter().flat_map(cut).collect();
        }
        Self(left)
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|range| {
            let protocol = match range.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            };
            if range.first == range.last {
                format!("{}/{protocol}", range.first)
            } else {
                format!("{}-{}/{protocol}", range.first, range.last)
            }
        })
    }
}

/// Ranges in any order, which may overlap; those that are none are left out.
impl FromIterator<OpenPorts> for PortSet {
    fn from_iter<I: IntoIterator<Item = OpenPorts>>(ranges: I) -> Self {
        let sound = |range: &OpenPorts| 0 < range.first && range.first <= range.last;
        let mut all: Vec<OpenPorts> = ranges.into_iter().filter(sound).collect();
        all.sort_unstable();
        all.dedup_by(|next, before| {
            let touches = next.transport == before.transport && next.first <= before.last.saturating_add(1);
            if touches {
                before.last = before.last.max(next.last);
            }
            touches
        });
        Self(all)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.texts().collect();
        f.write_str(&texts.join(", "))
    }
}

/// One port or range: `PORT[-PORT][/tcp|/udp]`.
impl FromStr for PortSet {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let wrong = || PortError(text.to_owned());
        let (ports, transports) = match text.split_once('/') {
            None => (text, &[Transport::Tcp, Transport::Udp][..]),
            Some((ports, "tcp")) => (ports, &[Transport::Tcp][..]),
            Some((ports, "udp")) => (ports, &[Transport::Udp][..]),
            Some(_) => return Err(wrong()),
        };
        let port = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|port| digits && *port > 0)
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (Some(first), Some(last)) = (port(first), port(last)) else {
            return Err(wrong());
        };
        if first > last {
            return Err(wrong());
        }
        let ranges = transports.iter().map(|&transport| OpenPorts { transport, first, last });
        Ok(Self(ranges.collect()))
    }
}

impl TryFrom<Vec<String>> for PortSet {
    type Error = PortError;

    fn try_from(texts: Vec<String>) -> Result<Self, PortError> {
        texts
            .iter()
            .try_fold(Self::default(), |set, text| Ok(set.with(&text.parse()?)))
    }
}

impl From<PortSet> for Vec<String> {
    fn from(set: PortSet) -> Self {
        set.texts().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> PortSet {
        PortSet::try_from(texts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn ports_are_read_and_written() {
        for (text, shown) in [
            ("25565/tcp", "25565/tcp"),
            ("1/udp", "1/udp"),
            ("7777", "7777/tcp, 7777/udp"),
            ("27015-27030/udp", "27015-27030/udp"),
            ("65535-65535", "65535/tcp, 65535/udp"),
        ] {
            assert_eq!(text.parse::<PortSet>().unwrap().to_string(), shown);
        }
        for wrong in [
            "", "0", "65536", "-1", "1-", "-", "5-4", "+5", "80/sctp", "80/TCP", "80/", "/tcp", " 80", "1-2-3", "http",
        ] {
            assert_eq!(wrong.parse::<PortSet>(), Err(PortError(wrong.to_owned())));
        }
    }

    #[test]
    fn sets_are_joined_and_taken_apart() {
        let all = set(&["10-20/tcp", "21/tcp", "15-25/tcp", "80", "30-40/udp"]);
        assert_eq!(all.to_string(), "10-25/tcp, 80/tcp, 30-40/udp, 80/udp");
        assert_eq!(set(&["65535/tcp", "65535/tcp"]).to_string(), "65535/tcp");
        for (gone, left) in [
            ("80", "10-25/tcp, 30-40/udp"),
            ("12-13/tcp", "10-11/tcp, 14-25/tcp, 80/tcp, 30-40/udp, 80/udp"),
            ("1-65535/udp", "10-25/tcp, 80/tcp"),
            ("5-15/tcp", "16-25/tcp, 80/tcp, 30-40/udp, 80/udp"),
            ("26/tcp", "10-25/tcp, 80/tcp, 30-40/udp, 80/udp"),
        ] {
            assert_eq!(all.without(&gone.parse().unwrap()).to_string(), left, "{gone}");
        }
        assert!(all.without(&set(&["1-65535"])).is_empty());
    }

    #[test]
    fn a_port_is_in_a_set_of_its_protocol() {
        let ports = set(&["25565/tcp", "27015-27030/udp"]);
        assert!(ports.contains(Transport::Tcp, 25565) && !ports.contains(Transport::Udp, 25565));
        for (port, within) in [(27014, false), (27015, true), (27030, true), (27031, false)] {
            assert_eq!(ports.contains(Transport::Udp, port), within);
        }
    }

    #[test]
    fn a_set_is_written_as_a_list() {
        let ports = set(&["25565", "27015-27030/udp"]);
        let text = serde_json::to_string(&ports).unwrap();
        assert_eq!(text, r#"["25565/tcp","25565/udp","27015-27030/udp"]"#);
        assert_eq!(serde_json::from_str::<PortSet>(&text).unwrap(), ports);
        assert!(serde_json::from_str::<PortSet>(r#"["x"]"#).is_err());
    }
}

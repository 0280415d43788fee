//! What is kept of the networks between runs: `networks.toml`.

use std::{fmt::Display, net::Ipv4Addr};

use farlan_crypto::Work;
use farlan_netconf::{DnsLabel, Link};
use serde::{Deserialize, Serialize};

use super::{Dormant, Marked, Membership, Networks};
use crate::{
    daemon::private::{self, Kept},
    failure::Failure,
    games::LanGames,
    ports::PortSet,
    secret_text::SecretText,
    state::StateDir,
};

/// `networks.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "network")]
    networks: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Everything about the network, as its link; none of a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<SecretText>,
    /// The name its card had last.
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    /// The IPv4 address this node had there last.
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<Ipv4Addr>,
    /// Ports opened to strangers by hand.
    #[serde(default, skip_serializing_if = "PortSet::is_empty")]
    opened: PortSet,
    /// What becomes of searches of games on the real LAN, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lan_games: Option<LanGames>,
    /// The ids of members whose broadcasts are not heard, and who get none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    muted: Vec<String>,
    /// The ids of members who are the first to get broadcasts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pinned: Vec<String>,
    /// What this machine is called there, if that was said when it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Everything about a private network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    private: Option<private::Entry>,
}

impl Networks {
    /// Reads the memberships of the last run; none of them is joined yet.
    pub(in crate::daemon) fn load(state: &StateDir, work: Work) -> Result<Self, Failure> {
        let file = state.load::<File>(FILE)?.unwrap_or_default();
        Self::of(file, work).map_err(|reason| state.damaged(FILE, reason))
    }

    /// The memberships of a file, or what is wrong with it.
    fn of(file: File, work: Work) -> Result<Self, String> {
        let mut networks = Self::default();
        for (i, entry) in file.networks.into_iter().enumerate() {
            let damaged = |reason: &dyn Display| format!("network {}: {reason}", i + 1);
            let kept = match (&entry.link, &entry.private) {
                (Some(link), None) => match Link::parse(link, work) {
                    Ok(Link::Network(link)) => Membership::of(link),
                    Ok(Link::Supernode(_)) => return Err(damaged(&"this is the link of a supernode")),
                    Ok(Link::Private(_)) => return Err(damaged(&"this is the link of a private network")),
                    Err(error) => return Err(damaged(&error)),
                },
                (None, Some(private)) => {
                    let (kept, world) = Kept::of(private, work).map_err(|error| damaged(&error))?;
                    Membership::private(kept, world)
                }
                _ => {
                    return Err(damaged(
                        &"there is to be either a link or what is known of a private network",
                    ));
                }
            };
            let name = entry.name.as_deref().map(DnsLabel::parse).transpose();
            let membership = Membership {
                interface: entry.interface,
                ipv4: entry.ipv4,
                opened: entry.opened,
                lan_games: entry.lan_games,
                muted: Marked::parse(&entry.muted).map_err(|error| damaged(&error))?,
                pinned: Marked::parse(&entry.pinned).map_err(|error| damaged(&error))?,
                name: name.map_err(|error| damaged(&error))?,
                ..kept
            };
            networks.dormant.push(Dormant {
                membership,
                reason: "the daemon has just started".into(),
            });
        }
        Ok(networks)
    }

    pub(in crate::daemon) fn save(&self, state: &StateDir) -> Result<(), Failure> {
        state.save(FILE, &self.file())
    }

    fn file(&self) -> File {
        let entry = |membership: &Membership| Entry {
            link: match membership.private {
                Some(_) => None,
                None => Some(Link::Network(membership.link.clone()).to_string().into()),
            },
            interface: membership.interface.clone(),
            ipv4: membership.ipv4,
            opened: membership.opened.clone(),
            lan_games: membership.lan_games,
            muted: membership.muted.texts(),
            pinned: membership.pinned.texts(),
            name: membership.name.as_ref().map(ToString::to_string),
            private: membership
                .private
                .as_ref()
                .map(|kept| kept.entry(&membership.link.world)),
        };
        File {
            networks: self.memberships().map(entry).collect(),
        }
    }

    /// A text taken for the file, as it would be written again.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(in crate::daemon) fn rewritten(text: &str) -> Option<String> {
        let networks = Self::of(toml::from_str(text).ok()?, Work::NONE).ok()?;
        toml::to_string(&networks.file()).ok()
    }
}

/// The file in the state directory.
pub(in crate::daemon) const FILE: &str = "networks.toml";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AddRequest, HostReply, JoinRequest};

    #[test]
    fn debug_shows_no_link() {
        // As it would be in a message of a state that was not expected.
        let link = "farlan:abcdefghijklmnopqrstuvwxyz234567";
        let file: File = toml::from_str(&format!("[[network]]\nlink = \"{link}\"\n")).unwrap();
        let join = JoinRequest {
            target: link.to_owned().into(),
            name: None,
        };
        let add = AddRequest {
            link: link.to_owned().into(),
        };
        let joined = r#"{"name":"lan","network_id":"n","interface":"fl-lan","ipv6":null,"policy":"friends",
            "mac":"02:00:00:00:00:01","mtu":1372,"subnet":"10.128.0.0/20","world":"w","members":1,"ipv4_pending":false,"notes":[]}"#;
        let reach = r#"{"kind":"lan","addresses":[],"text":""}"#;
        let host: HostReply = serde_json::from_str(&format!(
            r#"{{"schema":1,"link":"{link}","network":{joined},"reach":{reach}}}"#
        ))
        .unwrap();
        for text in [
            format!("{file:?} {file:#?}"),
            format!("{join:?} {join:#?}"),
            format!("{add:?} {add:#?}"),
            format!("{host:?} {host:#?}"),
        ] {
            assert!(text.contains("SecretText(..)"), "{text}");
            assert!(!text.contains("farlan:") && !text.contains("abcd"), "{text}");
        }
        // What is written and sent is the text itself.
        assert!(toml::to_string(&file).unwrap().contains(link));
        assert_eq!(
            serde_json::to_string(&join).unwrap(),
            format!("{{\"target\":\"{link}\"}}")
        );
    }
}

//! Who is called what.
//!
//! * A network's domain is its label, as far as that can be one. Two networks of one label are told apart by `-2`, `-3` …; the first
//!   seen keeps it.
//! * So are two members of one name. A name stays with its node, whoever else comes, and over restarts, because it is pinned: nobody
//!   takes a name over by calling himself so. This machine is first in its own directory. Where a controller certified the names,
//!   they are as it certified them.
//! * Among strangers anybody may call himself anything. There a name is followed by the first letters of the node's id,
//!   `ann-wcsghuf2mb`, which nobody can choose; the bare name is shown, and leads nowhere.
//! * Who is away keeps name and addresses. So a name that was good once is not asked for elsewhere. Who was thrown out of a private
//!   network loses both.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use farlan_crypto::NodeId;
use farlan_netconf::{DnsLabel, NetworkId};

use super::{
    DOMAIN,
    pins::{MemberPin, NetworkPin, Pins},
};

/// A network that this node is in, with all that is known of its members now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// What people, or its config, call it.
    pub label: String,
    /// Whether its members are strangers, who are believed nothing.
    pub strangers: bool,
    /// Who was thrown out of it, with the highest number of a certificate that does not count any more: whoever came in again has a
    /// higher one.
    pub out: BTreeMap<NodeId, u64>,
    /// The subnets in which this node answers for reverse names: those of its card.
    pub subnets: Vec<(IpAddr, u8)>,
    /// Its members, this node among them.
    pub members: Vec<Member>,
}

/// A member, as far as it is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// What it is called; none if it did not say, or does not say now.
    pub name: Option<DnsLabel>,
    /// Whether a controller gave it that name, and nobody else there has it.
    pub certified: bool,
    /// The number of its certificate; 0 without one.
    pub issue: u64,
    /// Whether it is this node.
    pub own: bool,
    /// Its IPv4 address, if known.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// The names, and what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    networks: BTreeMap<NetworkId, Known>,
}

/// A network with those of its members that have names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Its label in the DNS.
    domain: String,
    strangers: bool,
    subnets: Vec<(IpAddr, u8)>,
    members: BTreeMap<NodeId, Named>,
    /// Grows with each member that is seen, so that those unseen the longest are known.
    seen: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    /// What it calls itself.
    base: DnsLabel,
    /// What it is called here, a DNS label of at most 63 characters.
    name: String,
    certified: bool,
    /// The number of its certificate when it was seen last; 0 without one.
    issue: u64,
    own: bool,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    seen: u64,
}

/// A name that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The whole name.
    pub name: String,
    /// Whose it is.
    pub node: NodeId,
    /// In which network.
    pub network: NetworkId,
    /// Whether it is this node.
    pub own: bool,
    /// Its IPv4 address, if known.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

/// Why a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Nobody is called that.
    Unknown,
    /// Several are, in different networks: their whole names.
    Several(Vec<String>),
}

/// What is known of a whole name in the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is a member's.
    Member(Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// It is an address's, and this is the member's name.
    Pointer(String),
    /// There are names below it, or it is the domain itself.
    Empty,
    /// There is no such name.
    Nothing,
    /// It is none that this node answers for.
    Foreign,
}

impl Directory {
    /// What the last run wrote down. Networks of which there is more than one of a domain, and what else cannot be, is left out.
    pub fn restore(pins: &Pins) -> Self {
        let mut directory = Self::default();
        for pin in &pins.networks {
            let Ok(id) = pin.id.parse() else { continue };
            if !is_label(&pin.domain) || directory.networks.contains_key(&id) || directory.is_taken(&pin.domain, &id) {
                continue;
            }
            let mut known = Known {
                domain: pin.domain.clone(),
                strangers: pin.strangers,
                ..Known::default()
            };
            for member in &pin.members {
                let (Ok(node), Ok(base)) = (member.node.parse(), DnsLabel::parse(&member.base)) else {
                    continue;
                };
                let is_known = known.members.contains_key(&node) || known.owner(&member.name).is_some();
                if !is_label(&member.name) || is_known {
                    continue;
                }
                known.seen += 1;
                let named = Named {
                    base,
                    name: member.name.clone(),
                    certified: false,
                    issue: member.issue,
                    own: false,
                    ipv4: member.ipv4,
                    ipv6: member.ipv6,
                    seen: known.seen,
                };
                known.members.insert(node, named);
            }
            directory.networks.insert(id, known);
        }
        directory
    }

    /// What is to be written down, those unseen the longest first.
    pub fn pins(&self) -> Pins {
        let network = |(id, known): (&NetworkId, &Known)| {
            let mut members: Vec<_> = known.members.iter().collect();
            members.sort_by_key(|(_, named)| named.seen);
            let member = |(node, named): (&NodeId, &Named)| MemberPin {
                node: node.to_string(),
                base: named.base.to_string(),
                name: named.name.clone(),
                issue: named.issue,
                ipv4: named.ipv4,
                ipv6: named.ipv6,
            };
            NetworkPin {
                id: id.to_string(),
                domain: known.domain.clone(),
                strangers: known.strangers,
                members: members.into_iter().map(member).collect(),
            }
        };
        Pins {
            networks: self.networks.iter().map(network).collect(),
        }
    }

    /// Takes in what is known now. All networks of this node are in the list, those that are asleep too, without members: what is
    /// not in it was left, and is forgotten.
    pub fn update(&mut self, networks: &[Network]) {
        self.networks
            .retain(|id, _| networks.iter().any(|network| network.id == *id));
        for network in networks {
            if !self.networks.contains_key(&network.id) {
                let known = Known {
                    domain: self.free_domain(network),
                    ..Known::default()
                };
                self.networks.insert(network.id, known);
            }
            if let Some(known) = self.networks.get_mut(&network.id) {
                known.update(network);
            }
        }
    }

    /// Somebody is no member of a network any more.
    pub fn forget(&mut self, network: &NetworkId, node: &NodeId) {
        if let Some(known) = self.networks.get_mut(network) {
            known.members.retain(|other, named| named.own || other != node);
        }
    }

    fn is_taken(&self, domain: &str, by_other_than: &NetworkId) -> bool {
        let mut others = self.networks.iter().filter(|(id, _)| *id != by_other_than);
        others.any(|(_, known)| known.domain == domain)
    }

    fn free_domain(&self, network: &Network) -> String {
        let stem = DnsLabel::nearest(&network.label).map(|label| label.to_string());
        let id = network.id.to_string();
        let stem = stem.unwrap_or_else(|| id.get(..ID_LETTERS).unwrap_or(&id).to_owned());
        free(&stem, |domain| self.is_taken(domain, &network.id))
    }

    /// The domain of a network below [`DOMAIN`].
    pub fn domain(&self, network: &NetworkId) -> Option<String> {
        let known = self.networks.get(network)?;
        Some(format!("{}.{DOMAIN}", known.domain))
    }

    /// What a member is called in a network, the first label alone.
    pub fn name(&self, network: &NetworkId, node: &NodeId) -> Option<&str> {
        let named = self.networks.get(network)?.members.get(node)?;
        Some(&named.name)
    }

    /// All names, network by network.
    pub fn all(&self) -> impl Iterator<Item = Resolved> {
        self.networks.iter().flat_map(|(id, known)| {
            let members = known.members.iter();
            members.map(|(node, named)| known.resolved(id, node, named))
        })
    }

    /// The names of networks that have a card now.
    pub fn all_with_card(&self) -> impl Iterator<Item = Resolved> {
        let is_there = |found: &Resolved| {
            self.networks
                .get(&found.network)
                .is_some_and(|known| !known.subnets.is_empty())
        };
        self.all().filter(is_there)
    }

    /// Whom a text means that a person wrote: `NAME`, `NAME.NETWORK` or the whole name, in small letters or large ones.
    ///
    /// # Errors
    /// Nobody is called that, or several are.
    pub fn resolve(&self, text: &str) -> Result<Resolved, Unresolved> {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        let short = text
            .strip_suffix(DOMAIN)
            .and_then(|rest| rest.strip_suffix('.'))
            .unwrap_or(&text);
        let (name, domain) = match short.split_once('.') {
            Some((name, domain)) => (name, Some(domain)),
            None if short.len() < text.len() => return Err(Unresolved::Unknown),
            None => (short, None),
        };
        let mut found = self
            .networks
            .iter()
            .filter(|(_, known)| domain.is_none_or(|domain| known.domain == domain))
            .filter_map(|(id, known)| {
                let (node, named) = known.owner(name)?;
                Some(known.resolved(id, node, named))
            });
        let Some(first) = found.next() else {
            return Err(Unresolved::Unknown);
        };
        let others: Vec<_> = found.filter(|other| other.node != first.node).collect();
        if others.is_empty() {
            return Ok(first);
        }
        let names = std::iter::once(first).chain(others).map(|found| found.name);
        Err(Unresolved::Several(names.collect()))
    }

    /// The name of an address.
    pub fn reverse(&self, address: IpAddr) -> Option<Resolved> {
        let all = self.networks.iter().flat_map(|(id, known)| {
            let here = known.members.iter().filter(move |(_, named)| named.has(address));
            here.map(move |(node, named)| (id, known, node, named))
        });
        // An address may have passed on from somebody who is away.
        let (id, known, node, named) = all.max_by_key(|(.., named)| named.seen)?;
        Some(known.resolved(id, node, named))
    }

    /// What is known of a name given by its labels, the first one first, in small letters.
    pub fn look_up(&self, labels: &[&str]) -> Found {
        let domain: Vec<_> = DOMAIN.split('.').collect();
        if let Some(below) = labels.strip_suffix(&domain[..]) {
            return match below {
                [] => Found::Empty,
                [network] if self.by_domain(network).is_some() => Found::Empty,
                [name, network] => match self.by_domain(network).and_then(|known| known.owner(name)) {
                    Some((_, named)) => Found::Member(named.ipv4, named.ipv6),
                    None => Found::Nothing,
                },
                _ => Found::Nothing,
            };
        }
        match ReverseName::of(labels) {
            Some(ReverseName::Whole(address)) if self.covers(address, full(address)) => match self.reverse(address) {
                Some(found) => Found::Pointer(found.name),
                None => Found::Nothing,
            },
            Some(ReverseName::Part(address, bits)) if self.covers(address, bits) => Found::Empty,
            _ => Found::Foreign,
        }
    }

    /// Whether all addresses with these first bits are in one of the subnets.
    fn covers(&self, address: IpAddr, bits: u8) -> bool {
        let mut subnets = self.networks.values().flat_map(|known| &known.subnets);
        subnets.any(|(subnet, prefix)| *prefix <= bits && agree(*subnet, address, *prefix))
    }

    fn by_domain(&self, domain: &str) -> Option<&Known> {
        self.networks.values().find(|known| known.domain == domain)
    }
}

impl Known {
    fn update(&mut self, network: &Network) {
        self.strangers = network.strangers;
        self.subnets.clone_from(&network.subnets);
        let is_out = |node: &NodeId, issue: u64| network.out.get(node).is_some_and(|voided| issue <= *voided);
        self.members
            .retain(|node, named| named.own || !is_out(node, named.issue));
        // Certified names go before others, and this node's before those of others.
        let stay = network.members.iter();
        let mut members: Vec<_> = stay
            .filter(|member| member.own || !is_out(&member.node, member.issue))
            .collect();
        members.sort_by_key(|member| (!member.certified, !member.own));
        for member in members {
            self.take(member);
        }
        while self.members.len() > MOST_MEMBERS {
            let oldest = self.members.iter().filter(|(_, named)| !named.own);
            let Some(node) = oldest.min_by_key(|(_, named)| named.seen).map(|(node, _)| *node) else {
                return;
            };
            self.members.remove(&node);
        }
    }

    fn take(&mut self, member: &Member) {
        self.seen += 1;
        let seen = self.seen;
        let before = self.members.get(&member.node).cloned();
        let name = match (&before, &member.name) {
            (None, None) => return,
            (Some(named), None) => named.name.clone(),
            (Some(named), Some(base)) if named.base == *base && !member.certified => named.name.clone(),
            (_, Some(base)) => self.name_for(member, base),
        };
        let before_issue = before.as_ref().map_or(0, |named| named.issue);
        let base = member
            .name
            .clone()
            .or_else(|| before.as_ref().map(|named| named.base.clone()));
        let Some(base) = base else { return };
        let ipv4 = member.ipv4.or_else(|| before.and_then(|named| named.ipv4));
        let named = Named {
            base,
            name,
            certified: member.certified,
            // Of somebody who shows nothing for the moment the last one counts.
            issue: member.issue.max(before_issue),
            own: member.own,
            ipv4,
            ipv6: Some(member.ipv6),
            seen,
        };
        self.members.insert(member.node, named);
    }

    /// A name that nobody else has. Whoever has one that was certified to somebody else gets another.
    fn name_for(&mut self, member: &Member, base: &DnsLabel) -> String {
        if self.strangers && !member.own {
            let id = member.node.to_string();
            let stem = format!("{base}-{}", id.get(..ID_LETTERS).unwrap_or(&id));
            return free(&stem, |name| self.has_other(name, &member.node));
        }
        if member.certified {
            let holder = self.owner(base.as_str()).map(|(node, named)| (*node, named.certified));
            if let Some((holder, false)) = holder.filter(|(node, _)| *node != member.node) {
                let renamed = free(base.as_str(), |name| {
                    name == base.as_str() || self.has_other(name, &holder)
                });
                if let Some(named) = self.members.get_mut(&holder) {
                    named.name = renamed;
                }
            }
        }
        free(base.as_str(), |name| self.has_other(name, &member.node))
    }

    fn has_other(&self, name: &str, node: &NodeId) -> bool {
        self.owner(name).is_some_and(|(owner, _)| owner != node)
    }

    fn owner(&self, name: &str) -> Option<(&NodeId, &Named)> {
        self.members.iter().find(|(_, named)| named.name == name)
    }

    fn resolved(&self, id: &NetworkId, node: &NodeId, named: &Named) -> Resolved {
        Resolved {
            name: format!("{}.{}.{DOMAIN}", named.name, self.domain),
            node: *node,
            network: *id,
            own: named.own,
            ipv4: named.ipv4,
            ipv6: named.ipv6,
        }
    }
}

impl Named {
    fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.ipv4 == Some(v4),
            IpAddr::V6(v6) => self.ipv6 == Some(v6),
        }
    }
}

/// A name below `in-addr.arpa` or `ip6.arpa`.
enum ReverseName {
    Whole(IpAddr),
    /// Its first bits alone.
    Part(IpAddr, u8),
}

impl ReverseName {
    fn of(labels: &[&str]) -> Option<Self> {
        if let Some(octets) = labels.strip_suffix(&["in-addr", "arpa"]) {
            let mut address = [0; 4];
            for (octet, label) in address.iter_mut().zip(octets.iter().rev()) {
                // Written otherwise it is another name.
                *octet = label.parse().ok().filter(|octet: &u8| octet.to_string() == **label)?;
            }
            let address = IpAddr::from(address);
            return match octets.len() {
                4 => Some(Self::Whole(address)),
                count @ 0..4 => Some(Self::Part(address, 8 * u8::try_from(count).ok()?)),
                _ => None,
            };
        }
        let digits = labels.strip_suffix(&["ip6", "arpa"])?;
        let mut address = 0_u128;
        for (place, label) in digits.iter().rev().enumerate() {
            if label.len() != 1 || place >= 32 {
                return None;
            }
            let digit = u128::from_str_radix(label, 16).ok()?;
            address |= digit << (124 - 4 * place);
        }
        let address = IpAddr::from(Ipv6Addr::from_bits(address));
        match digits.len() {
            32 => Some(Self::Whole(address)),
            count => Some(Self::Part(address, 4 * u8::try_from(count).ok()?)),
        }
    }
}

fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether the first bits of two addresses are the same.
fn agree(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits,
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

/// The stem, or with the first number from 2 on that makes it free.
fn free(stem: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u32..).map(|number| format!("{stem}-{number}"));
    let mut all = std::iter::once(stem.to_owned()).chain(numbered);
    all.find(|name| !is_taken(name)).unwrap_or_else(|| stem.to_owned())
}

/// Whether a text can be one label of a name here.
fn is_label(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

/// Letters of an id that tell nodes apart: 50 bits, as commands take them.
const ID_LETTERS: usize = 10;

/// Members of a network that have names; of more, those unseen the longest lose theirs.
const MOST_MEMBERS: usize = 512;

#[cfg(test)]
pub(super) mod tests;

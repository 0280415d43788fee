//! The card helper: the small process that keeps CAP_NET_ADMIN when the daemon gives everything up.
//!
//! It does what [`requests`](crate::requests) names and nothing else, for whoever holds the other end of its socket, and
//! believes that end as little as it would a stranger: a daemon that was taken over can make farlan's cards, and alter
//! those that were made here, within the bounds below. It cannot touch another interface, set a route of its own
//! choice by the helper but those below, or have it read a file or run a program. It can have names of farlan's, `….farlan.internal`, stand in
//! `/etc/hosts` for addresses of the cards' subnets, or be asked at a port of the loopback interface: no other name, and no other
//! address.
//!
//! By the routes to groups it can lead any 64 groups of 224.0.1.0 to 239.255.255.255 but SSDP's, and the broadcasts to 255.255.255.255 of
//! programs that name no card, away from the LAN and into a network, unless somebody else's route leads them elsewhere.
//!
//! One way to routes it has without the helper: the frames that it writes to a card come from the network for the kernel.
//! A card that was made to take router advertisements takes such from the daemon too, and with them a default route and
//! routes to subnets: IPv6 traffic that no narrower route leads elsewhere.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketType, recvmsg, sendmsg,
};
use thiserror::Error;

use crate::addresses::card_addresses;
use crate::device::{
    Address, Create, MARK, add_address, alias, card_state, check_name, create, remove_address, remove_stale,
    restore_addresses,
};
use crate::error::TapError;
use crate::groups::{GroupRoutes, is_game_group};
use crate::hosts;
use crate::netlink::{Link, Netlink};
use crate::privileges::{Keep, close_memory, give_up_capabilities};
use crate::process;
use crate::requests::{Answer, HostName, LONGEST, MOST, MOST_GROUPS, Made, Request, Wanted};
use crate::resolved;
use crate::routes::routes_over;

/// Why the helper did not begin, or ended early.
#[derive(Debug, Error)]
pub enum HelperError {
    /// Standard input is not the socket of a daemon.
    #[error("this is a helper, which farlan starts by itself; it is of no use alone")]
    Alone,
    /// The system refused something.
    #[error("this helper cannot {what}: {error}")]
    Refused {
        /// What, as a verb phrase.
        what: &'static str,
        /// Its error.
        error: io::Error,
    },
}

/// Is the helper: gives up all it does not need, and serves at standard input until the other end is closed.
///
/// The signals by which a terminal or a service manager ends all processes of a service do not end it; the daemon does,
/// which still needs it meanwhile.
///
/// # Errors
/// It was started by somebody else, or its privileges cannot be given up.
pub fn run_helper() -> Result<(), HelperError> {
    let input = confined(NAME, Keep::Cards)?;
    serve(input.as_fd()).map_err(refused("speak with farlan"))
}

/// Makes this process one that serves the daemon at its standard input, and can do nothing else.
///
/// # Errors
/// As those of [`run_helper`].
pub(crate) fn confined(name: &CStr, keep: Keep) -> Result<io::Stdin, HelperError> {
    let input = io::stdin();
    let is_sequenced = socket_type(&input).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    if !is_sequenced || socket_domain(&input) != Ok(AddressFamily::UNIX) {
        return Err(HelperError::Alone);
    }
    process::name(name).map_err(refused("take its name"))?;
    process::ignore_ending_signals().map_err(refused("ignore signals"))?;
    process::close_all_but_standard().map_err(refused("close what it inherited"))?;
    give_up_capabilities(keep).map_err(refused("give up its other privileges"))?;
    close_memory().map_err(refused("close its memory to others"))?;
    Ok(input)
}

/// What a step of a process's start that fails is said to be.
pub(crate) fn refused(what: &'static str) -> impl Fn(io::Error) -> HelperError {
    move |error| HelperError::Refused { what, error }
}

/// Answers requests at a socket of the kind SOCK_SEQPACKET until the other end is closed. Cards are made in the network
/// namespace of the calling thread.
///
/// # Errors
/// Those of the socket.
pub fn serve(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut helper = Helper::default();
    let served = helper.serve(socket);
    helper.take_names_back();
    served
}

impl Helper {
    fn serve(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut room = vec![0; LONGEST];
        loop {
            let received = recvmsg(
                socket,
                &mut [io::IoSliceMut::new(&mut room)],
                // Without room for them, descriptors that come along are closed by the kernel.
                &mut RecvAncillaryBuffer::new(&mut []),
                RecvFlags::empty(),
            );
            let received = match received {
                Err(rustix::io::Errno::INTR) => continue,
                // The daemon was killed.
                Err(rustix::io::Errno::CONNRESET) => return Ok(()),
                result => result?,
            };
            if received.bytes == 0 {
                return Ok(());
            }
            let message = room.get(..received.bytes).unwrap_or_default();
            let (answer, descriptor) = match Request::parse(message) {
                Ok(request) if !received.flags.contains(ReturnFlags::TRUNC) => self.answer(request),
                _ => (Answer::Error(refuse("do what it cannot read")), None),
            };
            match send(socket, &answer, descriptor.as_ref()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => result?,
            }
        }
    }
}

fn send(socket: BorrowedFd<'_>, answer: &Answer, descriptor: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(AsFd::as_fd);
    if descriptor.is_some() {
        control.push(SendAncillaryMessage::ScmRights(descriptors.as_slice()));
    }
    let bytes = answer.to_bytes();
    sendmsg(socket, &[io::IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What the helper knows.
#[derive(Debug, Default)]
struct Helper {
    /// Whose cards it makes, once that is said.
    owner: Option<String>,
    /// Names that cards may have besides those of farlan's own pattern: what they were called before this start.
    names: BTreeSet<String>,
    /// The cards it made.
    cards: Vec<Made>,
    /// The subnets that it gave cards outside the private ranges.
    public: BTreeSet<(Ipv4Addr, u8)>,
    /// The addresses that it gave cards, which decide what names may stand for.
    given: Vec<(u32, Address)>,
    /// The cards whose names it directed.
    directed: BTreeSet<u32>,
    /// Names for the hosts file of which more are to come.
    waiting: Vec<HostName>,
    /// The routes to groups that it set.
    routed: GroupRoutes,
}

impl Helper {
    /// Does what is asked; the descriptor belongs to a new card.
    fn answer(&mut self, request: Request) -> (Answer, Option<OwnedFd>) {
        let done = |result: Result<(), TapError>| result.map_or_else(Answer::Error, |()| Answer::Done);
        let answer = match request {
            Request::Begin { owner, names } => done(self.begin(owner, names)),
            Request::Create(wanted) => match self.create(wanted) {
                Ok((made, descriptor)) => return (Answer::Card(made), Some(descriptor)),
                Err(error) => Answer::Error(error),
            },
            Request::AddAddress { index, address } => done(
                self.own(index)
                    .and_then(|()| self.allow_on(Some(index), &[address]))
                    .and_then(|()| add_address(index, &address))
                    .map(|()| self.note_given(index, &[address])),
            ),
            Request::RemoveAddress { index, address } => {
                done(self.own(index).and_then(|()| remove_address(index, &address)))
            }
            Request::RestoreAddresses { index, addresses } => {
                let restored = self
                    .own(index)
                    .and_then(|()| self.allow_on(Some(index), &addresses))
                    .and_then(|()| restore_addresses(index, &addresses));
                if restored.is_ok() {
                    self.note_given(index, &addresses);
                }
                self.note_name(index);
                restored.map_or_else(Answer::Error, Answer::Restored)
            }
            Request::RemoveStale => {
                let removed = self.owner().and_then(|owner| remove_stale(&owner));
                removed.map_or_else(Answer::Error, Answer::Removed)
            }
            Request::DirectNames { index, port } => done(self.direct_names(index, port)),
            Request::RevertNames { index } => done(self.own(index).and_then(|()| {
                self.directed.remove(&index);
                resolved::revert(Path::new(resolved::SYSTEM_BUS), index)
            })),
            Request::Hosts { names, more } => done(self.set_hosts(names, more)),
            Request::GroupRoutes {
                index,
                groups,
                broadcast,
            } => done(self.set_group_routes(index, &groups, broadcast)),
        };
        (answer, None)
    }

    fn begin(&mut self, owner: String, names: Vec<String>) -> Result<(), TapError> {
        if self.owner.is_some() {
            return Err(refuse("serve another node"));
        }
        alias(&owner)?;
        names.iter().try_for_each(|name| check_name(name))?;
        self.owner = Some(owner);
        self.names = names.into_iter().collect();
        Ok(())
    }

    fn owner(&self) -> Result<String, TapError> {
        self.owner
            .clone()
            .ok_or_else(|| refuse("make cards before it knows whose"))
    }

    fn create(&mut self, wanted: Wanted) -> Result<(Made, OwnedFd), TapError> {
        let owner = self.owner()?;
        self.judge(&wanted)?;
        self.allow_on(None, &wanted.addresses)?;
        self.cards.retain(|card| matches!(card_state(card.index), Ok(Some(_))));
        if self.cards.len() >= MOST {
            return Err(refuse(format!("make more than {MOST} cards")));
        }
        let wanted_addresses = wanted.addresses.clone();
        let card = create(&Create {
            name: wanted.name,
            owner,
            mac: wanted.mac,
            mtu: wanted.mtu,
            addresses: wanted.addresses,
            tx_queue: wanted.tx_queue,
            accept_router_advertisements: wanted.accept_router_advertisements,
            offloads: wanted.offloads,
        })?;
        let made = Made {
            name: card.name,
            index: card.index,
            ipv6: card.ipv6,
            offloads: card.offloads,
        };
        self.given.retain(|(index, _)| *index != made.index);
        self.note_given(made.index, &wanted_addresses);
        self.cards.push(made.clone());
        Ok((made, card.fd))
    }

    /// Whether a card is one that farlan makes.
    fn judge(&self, wanted: &Wanted) -> Result<(), TapError> {
        check_name(&wanted.name)?;
        if !wanted.name.starts_with(PREFIX) && !self.names.contains(&wanted.name) {
            // The daemon then tries the next name.
            return Err(TapError::BadName {
                name: wanted.name.clone(),
            });
        }
        if wanted.mac[0] & 0b11 != LOCAL_UNICAST {
            return Err(refuse("give a card a hardware address that is not farlan's"));
        }
        if !MTUS.contains(&wanted.mtu) {
            return Err(refuse(format!("give a card the MTU {}", wanted.mtu)));
        }
        if wanted.tx_queue > LONGEST_QUEUE {
            return Err(refuse(format!("give a card a queue of {} frames", wanted.tx_queue)));
        }
        wanted.addresses.iter().try_for_each(allow)
    }

    /// Whether a card, new or that with `index`, may get addresses: they must not compete with the routes of others, which
    /// would draw in traffic that is not for a network. What the card has already is no question.
    fn allow_on(&mut self, index: Option<u32>, addresses: &[Address]) -> Result<(), TapError> {
        addresses.iter().try_for_each(allow)?;
        let present = index.map_or_else(|| Ok(Vec::new()), card_addresses)?;
        for address in addresses {
            if present.contains(address) {
                continue;
            }
            let shortest = match address.ip {
                IpAddr::V4(_) => *IPV4_PREFIXES.start(),
                // Every card has the subnet of these.
                IpAddr::V6(ip) if ip.is_unicast_link_local() => continue,
                IpAddr::V6(_) => SHORTEST_IPV6_ROUTE,
            };
            // Of the card's subnet other routes keep what they cover, for they are narrower; a wider one covers the
            // address too.
            let mut routes = routes_over(address.ip, index)?;
            routes.retain(|route| route.prefix >= shortest);
            if !routes.is_empty() {
                let own = self.own_interfaces(index)?;
                routes.retain(|route| !own.contains(&route.interface));
            }
            if let Some(route) = routes.first() {
                return Err(refuse(format!(
                    "give a card the address {}/{}, which the route {}/{} leads elsewhere",
                    address.ip, address.prefix, route.destination, route.prefix
                )));
            }
            let IpAddr::V4(ip) = address.ip else { continue };
            let hosts = u32::MAX.unbounded_shr(u32::from(address.prefix));
            let subnet = (Ipv4Addr::from_bits(ip.to_bits() & !hosts), address.prefix);
            if is_private(ip) || self.public.contains(&subnet) {
                continue;
            }
            if self.public.len() >= MOST_PUBLIC {
                return Err(refuse(format!(
                    "hide a further part of the Internet behind a card ({ip}/{}); start farlan again if it should",
                    address.prefix
                )));
            }
            self.public.insert(subnet);
        }
        Ok(())
    }

    /// The names of farlan's cards, and of what holds the one with `index`: a bridge has its addresses.
    fn own_interfaces(&self, index: Option<u32>) -> Result<Vec<String>, TapError> {
        let names = || -> io::Result<Vec<String>> {
            let links = Netlink::open()?.links()?;
            let holder = links
                .iter()
                .find(|link| Some(link.index) == index)
                .and_then(|link| link.master);
            // Several nodes may run on one machine, in one network, too.
            let is_own = |link: &Link| {
                Some(link.index) == holder
                    || self.cards.iter().any(|card| card.index == link.index)
                    || link.alias.as_ref().is_some_and(|alias| alias.starts_with(MARK))
            };
            Ok(links.into_iter().filter(is_own).map(|link| link.name).collect())
        };
        names().map_err(|error| TapError::refused("list the network interfaces", &error))
    }

    fn note_given(&mut self, index: u32, addresses: &[Address]) {
        for address in addresses {
            if !self.given.contains(&(index, *address)) && self.given.len() < MOST_GIVEN {
                self.given.push((index, *address));
            }
        }
    }

    /// The subnets of a card: those of addresses that it was given here and still has.
    fn subnets(&self, index: u32) -> Result<Vec<Address>, TapError> {
        let mut present = card_addresses(index)?;
        present.retain(|address| self.given.contains(&(index, *address)) && !is_link_local(address.ip));
        Ok(present)
    }

    /// Nobody but this program's user could answer at the port, and only names of farlan's are asked for there.
    fn direct_names(&mut self, index: u32, port: u16) -> Result<(), TapError> {
        self.own(index)?;
        if port == 0 {
            return Err(refuse("direct names to no port"));
        }
        let subnets = self.subnets(index)?;
        self.is_seen(index)?;
        resolved::direct(Path::new(resolved::SYSTEM_BUS), index, port, &subnets)?;
        self.directed.insert(index);
        Ok(())
    }

    /// Whether a card is one for the programs that share this program's files, too. Whoever runs in a network namespace alone has the
    /// hosts file and the bus of another one, in which the card's number is another card's.
    fn is_seen(&self, index: u32) -> Result<(), TapError> {
        let name = card_state(index)?.map(|state| state.name);
        let seen = name.and_then(|name| std::fs::read_to_string(format!("{CARDS}/{name}/ifindex")).ok());
        match seen.and_then(|seen| seen.trim().parse::<u32>().ok()) {
            Some(seen) if seen == index => Ok(()),
            _ => Err(TapError::NoResolver {
                reason: format!("this is another network namespace than that of {CARDS}"),
            }),
        }
    }

    fn set_hosts(&mut self, names: Vec<HostName>, more: bool) -> Result<(), TapError> {
        let owner = self.owner()?;
        let judged = names.iter().try_for_each(|name| self.judge_name(name));
        self.waiting.extend(names);
        if judged.is_err() || self.waiting.len() > MOST_HOSTS {
            self.waiting.clear();
            judged?;
            return Err(refuse(format!("write more than {MOST_HOSTS} names")));
        }
        if more {
            return Ok(());
        }
        let names = std::mem::take(&mut self.waiting);
        let cards: Vec<_> = self.cards.iter().map(|card| card.index).collect();
        if !names.is_empty() && !cards.into_iter().any(|index| self.is_seen(index).is_ok()) {
            return Err(TapError::Hosts {
                reason: format!("it belongs to another network namespace, as {CARDS} shows"),
            });
        }
        write_hosts(&owner, &names)
    }

    /// Whether a name may stand in the hosts file: one of farlan's, with addresses of farlan's subnets. So no other name can be
    /// led astray by it.
    fn judge_name(&self, name: &HostName) -> Result<(), TapError> {
        let in_subnet = |ip: IpAddr| self.given.iter().any(|(_, given)| shares_subnet(given, ip));
        if hosts::is_name(&name.name) && name.addresses().all(in_subnet) {
            return Ok(());
        }
        let addresses: Vec<_> = name.addresses().map(|address| address.to_string()).collect();
        Err(refuse(format!("call {} {:?}", addresses.join(", "), name.name)))
    }

    /// What others were told about names goes with the daemon, however it ends.
    fn take_names_back(&mut self) {
        for index in std::mem::take(&mut self.directed) {
            // With the card, which may be gone already, it goes too.
            let _ = resolved::revert(Path::new(resolved::SYSTEM_BUS), index);
        }
        if let Some(owner) = &self.owner {
            // Nobody is there any more to be told; the next start tries again.
            let _ = write_hosts(owner, &[]);
        }
    }

    /// Routes to groups are the only ones of the daemon's choice. They draw in what programs send to games' groups, and, where that
    /// is asked for, their broadcasts; so nothing that other services of a LAN need.
    fn set_group_routes(&mut self, index: u32, groups: &[Ipv4Addr], broadcast: bool) -> Result<(), TapError> {
        self.own(index)?;
        if let Some(group) = groups.iter().find(|group| !is_game_group(**group)) {
            return Err(refuse(format!("lead {group} to a card")));
        }
        self.routed.retain(|index| matches!(card_state(index), Ok(Some(_))));
        if groups.len() + self.routed.others(index) > MOST_GROUPS {
            return Err(refuse(format!("lead more than {MOST_GROUPS} groups to cards")));
        }
        self.routed.set(index, groups, broadcast)
    }

    /// Whether a card was made here.
    fn own(&self, index: u32) -> Result<(), TapError> {
        if self.cards.iter().any(|card| card.index == index) {
            return Ok(());
        }
        Err(refuse(format!(
            "alter the interface with index {index}, which it did not make"
        )))
    }

    /// What somebody called a card of ours may be its name again when it has to be made anew.
    fn note_name(&mut self, index: u32) {
        let Some(card) = self.cards.iter_mut().find(|card| card.index == index) else {
            return;
        };
        let Ok(Some(state)) = card_state(index) else { return };
        if state.name != card.name && check_name(&state.name).is_ok() && self.names.len() < MOST {
            card.name.clone_from(&state.name);
            self.names.insert(state.name);
        }
    }
}

/// Whether an address is one that farlan gives a card. A card's address brings the route to its subnet with it, so a
/// short prefix would draw in the machine's traffic to everywhere.
fn allow(address: &Address) -> Result<(), TapError> {
    let is_farlans = match address.ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_usable = !matches!((first, second), (0 | 127 | 224.., _) | (169, 254));
            is_usable && IPV4_PREFIXES.contains(&address.prefix)
        }
        IpAddr::V6(ip) => {
            let is_own = ip.octets()[0] == UNIQUE_LOCAL && address.prefix == IPV6_PREFIX;
            is_own || ip.is_unicast_link_local() && address.prefix == LINK_LOCAL_PREFIX
        }
    };
    if is_farlans {
        return Ok(());
    }
    Err(refuse(format!(
        "give a card the address {}/{}",
        address.ip, address.prefix
    )))
}

/// Whether an address is in a range that is not routed on the Internet (RFC 1918, RFC 6598).
fn is_private(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    ip.is_private() || first == 100 && second & 0b1100_0000 == 64
}

/// Whether an address lies in the subnet of another.
fn shares_subnet(given: &Address, ip: IpAddr) -> bool {
    let prefix = u32::from(given.prefix);
    match (given.ip, ip) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= prefix,
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            !is_link_local(other.into()) && (one.to_bits() ^ other.to_bits()).leading_zeros() >= prefix
        }
        _ => false,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn write_hosts(owner: &str, names: &[HostName]) -> Result<(), TapError> {
    hosts::replace(Path::new(hosts::FILE), owner, names).map_err(|error| TapError::Hosts {
        reason: error.to_string(),
    })
}

fn refuse(what: impl Into<String>) -> TapError {
    TapError::Refused { what: what.into() }
}

/// What the process is called, so that it can be told from the daemon; the kernel keeps 15 bytes.
const NAME: &CStr = c"farlan-cards";

/// What the names of farlan's cards begin with. A name that somebody gave one of them counts as well.
pub const PREFIX: &str = "fl-";

/// The two lowest bits of the first byte of every MAC that farlan derives: locally administered, and no group's.
const LOCAL_UNICAST: u8 = 0b10;

/// The MTUs that a network can have, in bytes.
const MTUS: std::ops::RangeInclusive<u16> = 1280..=9000;

/// The longest queue of a card in frames: ten times what the daemon asks for.
const LONGEST_QUEUE: u32 = 10_000;

/// The prefixes of networks' IPv4 subnets, in bits.
const IPV4_PREFIXES: std::ops::RangeInclusive<u8> = 8..=30;

/// How many subnets outside the private ranges the cards get. A network may have such a one, and hides a part of the Internet
/// by it; all of them together must not hide all of it.
const MOST_PUBLIC: usize = 4;

/// Where the kernel shows the cards of the network namespace that the file system was mounted in.
const CARDS: &str = "/sys/class/net";

/// Addresses given to cards that are remembered, which is many for each card.
const MOST_GIVEN: usize = 4096;

/// Names in the hosts file, at most.
const MOST_HOSTS: usize = 2048;

/// The first byte of networks' IPv6 addresses (RFC 4193).
const UNIQUE_LOCAL: u8 = 0xfd;

/// The prefix of networks' IPv6 subnets, in bits: `fd` and the 40 bits that tell networks apart. The /64 of another card goes
/// before it.
const IPV6_PREFIX: u8 = 48;

/// The shortest prefix of a route that an IPv6 address may compete with: no wider one is a site's (RFC 4193 gives it 48
/// bits), and whoever leads all of fd00::/8 somewhere can be in a network all the same.
const SHORTEST_IPV6_ROUTE: u8 = 16;

/// The prefix of link-local IPv6 addresses in bits (RFC 4291 §2.5.6).
const LINK_LOCAL_PREFIX: u8 = 64;

#[cfg(test)]
mod tests;

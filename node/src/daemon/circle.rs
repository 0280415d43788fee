//! Who hears this machine's broadcasts, and why; whom the user mutes or pins.

use std::{net::IpAddr, time::Duration};

use farlan_crypto::NodeId;
use farlan_engine::{
    Channel, ChannelSubscribers, CircleStatus, Neighbour, NetworkHandle, PathKind, PeerStatus, SpreadCounts, Target,
    Why,
};
use farlan_netconf::NetworkId;

use super::{
    Book, Daemon,
    networks::{Joined, Mark, Marked, Membership},
    views::host,
};
use crate::{
    api::{
        CircleChannel, CircleCounts, CircleMember, CircleReply, CircleRequest, MarkReply, MarkRequest, NetworkCircle,
        SCHEMA,
    },
    failure::Failure,
    games::List,
    local_programs::mac_of,
    names::Directory,
    shell::{Request, Snapshot},
};

/// A channel, and how it is written.
#[derive(Clone, Debug)]
struct Asked {
    channel: Channel,
    text: String,
}

/// What members of a network are shown from.
struct View<'a> {
    joined: &'a Joined,
    directory: &'a Directory,
    snapshot: &'a Snapshot,
}

impl Daemon {
    /// Who would get a copy of a broadcast of this machine now, in each network or in one.
    ///
    /// # Errors
    /// No network is called so; no game is listed under that name, or its clients do not search by broadcast; the data plane has ended.
    pub async fn circle(&self, request: &CircleRequest) -> Result<CircleReply, Failure> {
        let asked = asked(request, &self.lift.list())?;
        let snapshot = self.data_plane.snapshot().await?;
        let book = self.book.lock().await;
        self.take_names(&book, &snapshot);
        let only = request.network.as_deref().map(|name| book.networks.called(name));
        let only = only.transpose()?;
        let meant = |joined: &&Joined| only.is_none_or(|id| joined.id() == id);
        let mut told = Vec::new();
        for joined in book.networks.joined().filter(meant) {
            if let Some(status) = self.circle_of(joined.handle(), &asked).await? {
                told.push((joined, status));
            }
        }
        let directory = self.names.directory();
        let networks = told.into_iter().map(|(joined, (status, channel))| {
            let view = View {
                joined,
                directory: &directory,
                snapshot: &snapshot,
            };
            view.network(&status, channel)
        });
        let networks = networks.collect();
        Ok(CircleReply {
            schema: SCHEMA,
            networks,
        })
    }

    /// What the engine says of a network; of several channels of that which most subscribed to.
    async fn circle_of<'a>(
        &self,
        network: NetworkHandle,
        asked: &'a [Asked],
    ) -> Result<Option<(CircleStatus, Option<&'a str>)>, Failure> {
        let ask = async |channel| {
            self.data_plane
                .ask(|reply| Request::Circle {
                    network,
                    channel,
                    reply,
                })
                .await
        };
        let count = |status: &CircleStatus| status.subscribers.as_ref().map(|subscribers| subscribers.count);
        let mut best: Option<(CircleStatus, Option<&str>)> = None;
        for one in asked {
            let status = ask(Some(one.channel)).await?;
            let is_better = |status: &CircleStatus| best.as_ref().is_none_or(|(best, _)| count(status) > count(best));
            if let Some(status) = status.filter(is_better) {
                best = Some((status, Some(one.text.as_str())));
            }
        }
        if asked.is_empty() {
            best = ask(None).await?.map(|status| (status, None));
        }
        Ok(best)
    }

    /// Mutes a member, or ends that, and remembers it.
    ///
    /// # Errors
    /// Nobody or this node is called so; no network, or several can be meant; it is not muted; so many are muted already.
    pub async fn mute(&self, request: &MarkRequest, muted: bool) -> Result<MarkReply, Failure> {
        self.mark(request, Mark::Muted, muted).await
    }

    /// Pins a member, or ends that, and remembers it.
    ///
    /// # Errors
    /// As [`mute`](Self::mute).
    pub async fn pin(&self, request: &MarkRequest, pinned: bool) -> Result<MarkReply, Failure> {
        self.mark(request, Mark::Pinned, pinned).await
    }

    async fn mark(&self, request: &MarkRequest, mark: Mark, on: bool) -> Result<MarkReply, Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let mut book = self.book.lock().await;
        let book = &mut *book;
        self.take_names(book, &snapshot);
        let node = self.marked_node(book, &snapshot, &request.node)?;
        let id = network_of(book, &snapshot, request.network.as_deref(), &node)?;
        let gone = || Failure::negative("the network is gone again");
        let handle = book.networks.joined().find(|joined| joined.id() == id);
        let handle = handle.map(Joined::handle);
        let host = host(&self.names.directory(), &id, &node);
        let membership = book.networks.membership_mut(id).ok_or_else(gone)?;
        let name = membership.name().to_owned();
        let marked = membership.marked_mut(mark);
        let already = marked.contains(&node);
        if !on && !already {
            return Err(Failure::negative(format_args!(
                "{} is not {} in {name}",
                request.node,
                mark.word()
            )));
        }
        if on && !already && marked.is_full() {
            return Err(Failure::negative(format_args!(
                "{} members of {name} are {} already, which is the most that can be; end one with: farlan circle {} NODE",
                Marked::MOST,
                mark.word(),
                mark.end()
            )));
        }
        marked.set(node, on);
        let [muted, pinned] = [Mark::Muted, Mark::Pinned].map(|mark| membership.marked(mark).contains(&node));
        if on != already {
            tracing::info!(network = %name, peer = %node.short(), muted, pinned, "who is muted or pinned");
            if let Some(handle) = handle {
                self.data_plane.send(mark.request(handle, vec![node], on)).await?;
            }
            self.write_down(book);
        }
        let mut notes = self.troubles.unwritten_notes();
        if muted && pinned {
            notes.insert(
                0,
                "it is muted and pinned: as long as it is muted, it gets no broadcasts".to_owned(),
            );
        }
        Ok(MarkReply {
            schema: SCHEMA,
            name,
            network_id: id.to_string(),
            node_id: node.to_string(),
            host,
            muted,
            pinned,
            notes,
        })
    }

    /// Whom a user means who mutes or pins somebody: whom `ping` would take it for, else one who is away.
    fn marked_node(&self, book: &Book, snapshot: &Snapshot, text: &str) -> Result<NodeId, Failure> {
        match self.target(book, snapshot, text)? {
            Some(Target::Node(node)) => Ok(node),
            Some(Target::Address(network, address)) => at_address(snapshot, network, address).ok_or_else(|| {
                Failure::negative(format_args!(
                    "no member is known that has the address {address}; `farlan peers` shows those that are"
                ))
            }),
            None => self.node_away(book, text),
        }
    }

    /// One whose id begins so, of those met before, and those muted or pinned already.
    fn node_away(&self, book: &Book, text: &str) -> Result<NodeId, Failure> {
        let prefix = text.to_ascii_lowercase();
        let marked = book.networks.memberships().flat_map(|membership| {
            let all = [Mark::Muted, Mark::Pinned].map(|mark| membership.marked(mark).iter());
            all.into_iter().flatten()
        });
        let mut found: Vec<NodeId> = marked
            .filter(|node| node.to_string().starts_with(&prefix))
            .copied()
            .chain(book.contacts.by_prefix(&prefix).map(|key| key.node_id()))
            .collect();
        found.sort_unstable();
        found.dedup();
        match &found[..] {
            [only] => Ok(*only),
            [] => Err(Failure::negative(format_args!(
                "no member is known whose id begins with {text:?}; `farlan peers` shows those that are, and a whole id is taken as \
                 it is"
            ))),
            _ => Err(Failure::negative(format_args!(
                "several members' ids begin with {text:?}"
            ))),
        }
    }
}

/// The channels that are asked about.
fn asked(request: &CircleRequest, list: &List) -> Result<Vec<Asked>, Failure> {
    let broadcasts = |port: u16| Asked {
        channel: Channel::broadcasts(port),
        text: format!("{port}/udp"),
    };
    match (&request.game, request.port) {
        (None, None) => Ok(Vec::new()),
        (Some(_), Some(_)) => Err(Failure::usage("name either a game or a port")),
        (None, Some(0)) => Err(Failure::usage("a port is from 1 to 65535")),
        (None, Some(port)) => Ok(vec![broadcasts(port)]),
        (Some(name), None) => {
            let game = list.find(name).ok_or_else(|| {
                let names: Vec<_> = list.games().iter().map(|game| game.name.as_str()).collect();
                Failure::usage(format_args!(
                    "{name:?} is no listed game; listed are: {}",
                    names.join(", ")
                ))
            })?;
            let groups = game.groups.iter().map(|group| Asked {
                channel: Channel::multicast(mac_of(*group.address().ip())),
                text: group.to_string(),
            });
            let channels: Vec<_> = game.searched().map(broadcasts).chain(groups).collect();
            if channels.is_empty() {
                return Err(Failure::negative(format_args!(
                    "{} does not search by broadcast",
                    game.title
                )));
            }
            Ok(channels)
        }
    }
}

/// The network in which a member is meant: the one called so, else the only one, or the only one in which the member is known.
fn network_of(book: &Book, snapshot: &Snapshot, network: Option<&str>, node: &NodeId) -> Result<NetworkId, Failure> {
    if let Some(name) = network {
        return book.networks.called(name);
    }
    let all: Vec<&Membership> = book.networks.memberships().collect();
    match &all[..] {
        [] => return Err(Failure::negative("this node is in no network")),
        [only] => return Ok(only.id()),
        _ => {}
    }
    let status = snapshot.peers.iter().find(|status| status.node == *node);
    let is_known = |membership: &&&Membership| {
        let shared = status.is_some_and(|status| {
            let mut there = status.networks.iter();
            there.any(|there| {
                let joined = book.networks.by_handle(there.network);
                joined.is_some_and(|joined| joined.id() == membership.id())
            })
        });
        shared
            || [Mark::Muted, Mark::Pinned]
                .iter()
                .any(|mark| membership.marked(*mark).contains(node))
    };
    let known: Vec<_> = all.iter().filter(is_known).collect();
    match &known[..] {
        [only] => Ok(only.id()),
        several => {
            let meant = if several.is_empty() {
                all.iter().collect()
            } else {
                known
            };
            let names: Vec<_> = meant.iter().map(|membership| membership.name()).collect();
            Err(Failure::negative(format_args!(
                "several networks can be meant; name one of them after the node: {}",
                names.join(", ")
            )))
        }
    }
}

/// The member that has an address in a network, as far as it is known.
fn at_address(snapshot: &Snapshot, network: NetworkHandle, address: IpAddr) -> Option<NodeId> {
    let has = |status: &&PeerStatus| {
        let mut there = status.networks.iter().filter(|there| there.network == network);
        there.any(|there| match address {
            IpAddr::V4(v4) => there.ipv4 == Some(v4),
            IpAddr::V6(v6) => there.ipv6 == v6,
        })
    };
    snapshot.peers.iter().find(has).map(|status| status.node)
}

impl View<'_> {
    fn network(&self, status: &CircleStatus, channel: Option<&str>) -> NetworkCircle {
        let marked = self.joined.membership();
        let muted = marked.marked(Mark::Muted).iter();
        let mut view = NetworkCircle {
            name: self.joined.name().to_owned(),
            network_id: self.joined.id().to_string(),
            members: status.members,
            full_max: status.full_max,
            spreads: status.circle.is_some(),
            copies: Vec::new(),
            others: Vec::new(),
            muted: muted.map(|node| self.member(node)).collect(),
            deliveries: 0,
            ceiling: 0,
            need: 0,
            channel: None,
            counts: None,
        };
        let Some(circle) = &status.circle else {
            view.copies = self.all_members();
            view.deliveries = view.copies.len();
            return view;
        };
        let subscribers = status.subscribers.as_ref();
        let served = subscribers.filter(|subscribers| subscribers.served);
        let served = served.map_or(&[][..], |subscribers| &subscribers.known);
        view.copies = served
            .iter()
            .map(|node| CircleMember {
                why: Some(word(Why::Sample).to_owned()),
                ..self.member(node)
            })
            .collect();
        for neighbour in &circle.neighbours {
            match neighbour.copy {
                Some(_) => view.copies.push(self.neighbour(neighbour)),
                None if neighbour.muted || served.contains(&neighbour.node) => {}
                None => view.others.push(self.neighbour(neighbour)),
            }
        }
        let shares = view.copies.iter().map(|member| usize::from(member.share));
        view.deliveries = view.copies.len() + shares.sum::<usize>();
        view.ceiling = served.len() + usize::from(status.ceiling);
        view.need = circle.need;
        view.channel = channel.map(|channel| channel_view(channel, subscribers));
        view.counts = Some(counts(&status.counts));
        view
    }

    /// The members that are known, where each gets a copy: pinned ones first.
    fn all_members(&self) -> Vec<CircleMember> {
        let handle = self.joined.handle();
        let shares = |status: &&PeerStatus| status.networks.iter().any(|there| there.network == handle);
        let peers = self.snapshot.peers.iter().filter(shares);
        let mut members: Vec<_> = peers
            .map(|status| CircleMember {
                why: Some("member".to_owned()),
                ..self.member(&status.node)
            })
            .filter(|member| !member.muted)
            .collect();
        members.sort_by_key(|member| !member.pinned);
        members
    }

    fn neighbour(&self, neighbour: &Neighbour) -> CircleMember {
        CircleMember {
            why: neighbour.copy.map(|(why, _)| word(why).to_owned()),
            share: neighbour.copy.map_or(0, |(_, share)| share),
            need: neighbour.need,
            age_s: neighbour.age.map(tenths),
            score: neighbour.score,
            silent: neighbour.dead,
            ..self.member(&neighbour.node)
        }
    }

    fn member(&self, node: &NodeId) -> CircleMember {
        let status = self.snapshot.peers.iter().find(|status| status.node == *node);
        let marked = |mark| self.joined.membership().marked(mark).contains(node);
        CircleMember {
            node_id: node.to_string(),
            host: host(self.directory, &self.joined.id(), node),
            path: status.and_then(|status| status.path.as_ref()).map(PathKind::to_string),
            pinned: marked(Mark::Pinned),
            muted: marked(Mark::Muted),
            ..CircleMember::default()
        }
    }
}

fn channel_view(channel: &str, subscribers: Option<&ChannelSubscribers>) -> CircleChannel {
    CircleChannel {
        channel: channel.to_owned(),
        subscribers: subscribers.map(|subscribers| subscribers.count),
        known: subscribers.map_or(0, |subscribers| subscribers.known.len()),
        served: subscribers.is_some_and(|subscribers| subscribers.served),
    }
}

fn word(why: Why) -> &'static str {
    match why {
        Why::Pinned => "pinned",
        Why::Active => "active",
        Why::Heard => "heard",
        Why::Sample => "subscriber",
        Why::Recent => "recent",
        Why::Bootstrap => "bootstrap",
        Why::LongLink => "long_link",
    }
}

fn counts(counts: &SpreadCounts) -> CircleCounts {
    CircleCounts {
        sent: counts.originated,
        thinned: counts.thinned,
        suppressed: counts.suppressed,
        received: counts.taken,
        duplicates: counts.duplicates,
        refused: counts.refused,
        forged: counts.forged,
        forwarded: counts.forwarded,
        limited: counts.limited,
        resent: counts.resent,
        lost: counts.lost,
    }
}

/// Seconds to a tenth.
fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

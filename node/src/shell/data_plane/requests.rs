//! Step 4 of a turn: what the rest of the program asks of the data plane, and how it is carried out.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use farlan_crypto::{NodeId, PublicKey};
use farlan_engine::{
    Anchor, AnchorStatus, Channel, CircleStatus, Contact, Counters, Handed, Join, JoinError, NetworkHandle,
    NetworkStatus, OpenPorts, PeerStatus, SupernodeStatus, Surroundings, Target, Time,
};
use farlan_netconf::{
    DnsLabel, Seconds, World, WorldId,
    private::{Admission, Config, Credential, Delegation, Revocations},
};
use tokio::sync::{mpsc::error::TryRecvError, oneshot};

use super::{BEACONS, BeaconSockets, Loop, ShellCounters};
use crate::shell::{beacon::LinkCard, cards::AttachedCard};

/// What the rest of the program asks of the data plane.
#[derive(Debug)]
pub enum Request {
    /// Make a world known, or exchange the addresses of its supernodes.
    SetWorld {
        /// Which.
        world: WorldId,
        /// Its supernodes.
        anchors: Vec<Anchor>,
    },
    /// Hold the signed list of a world, to hand it on and to take newer ones.
    HoldWorld {
        /// The list.
        world: Box<World>,
    },
    /// Forget a world whose networks have been left.
    RemoveWorld {
        /// Which.
        world: WorldId,
    },
    /// Join a network; the answer holds the addresses its card needs.
    Join {
        /// Which, and how.
        join: Join,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<NetworkStatus, JoinError>>,
    },
    /// Take the card of a joined network.
    Attach {
        /// Which network.
        network: NetworkHandle,
        /// The card.
        card: AttachedCard,
        /// The card's MTU in bytes.
        mtu: u16,
        /// Where the answer goes.
        reply: oneshot::Sender<io::Result<()>>,
    },
    /// Leave a network and close its card.
    Leave {
        /// Which.
        network: NetworkHandle,
        /// Told when the card is closed.
        reply: oneshot::Sender<()>,
    },
    /// Tell peers of what others put on the card of a network.
    SetAddresses {
        /// Which network.
        network: NetworkHandle,
        /// The addresses besides those that the engine gave the card.
        addresses: Vec<IpAddr>,
    },
    /// Tell the members of a network what this machine is called there.
    SetName {
        /// Which network.
        network: NetworkHandle,
        /// The name, if any.
        name: Option<DnsLabel>,
    },
    /// Subscribe to channels of a network, and to no others but those to which this machine broadcasts.
    SetChannels {
        /// Which network.
        network: NetworkHandle,
        /// What its card's kernel and this machine's programs listen to.
        channels: Vec<Channel>,
    },
    /// Let the members of a network of strangers reach these ports of this machine, and no others.
    SetOpened {
        /// Which network.
        network: NetworkHandle,
        /// The ports.
        ports: Vec<OpenPorts>,
    },
    /// Mute members of a network, or end that.
    SetMuted {
        /// Which network.
        network: NetworkHandle,
        /// Whom.
        nodes: Vec<NodeId>,
        /// Whether they are muted from now on.
        muted: bool,
    },
    /// Pin members of a network, or end that.
    SetPinned {
        /// Which network.
        network: NetworkHandle,
        /// Whom.
        nodes: Vec<NodeId>,
        /// Whether they are pinned from now on.
        pinned: bool,
    },
    /// Tell who would get a copy of a broadcast of this machine.
    Circle {
        /// In which network.
        network: NetworkHandle,
        /// One of this channel.
        channel: Option<Channel>,
        /// Where the answer goes; none if the network is left.
        reply: oneshot::Sender<Option<CircleStatus>>,
    },
    /// Begin sessions with these peers once a supernode of their world answers.
    Greet {
        /// The world in which they were met.
        world: WorldId,
        /// Who.
        peers: Vec<PublicKey>,
    },
    /// Take note of this machine's own underlay endpoints.
    SetLocalEndpoints {
        /// All of them, with the underlay's port.
        endpoints: Vec<SocketAddr>,
    },
    /// Take note of the own addresses from which the rest of the world is reached.
    SetSources {
        /// One a family at most.
        sources: Vec<IpAddr>,
    },
    /// Send and hear beacons by these cards.
    SetLinkCards {
        /// All that there are.
        cards: Vec<LinkCard>,
    },
    /// Call peers of an earlier run where they answered.
    Remember {
        /// The world in which they were met.
        world: WorldId,
        /// Who, and where.
        contacts: Vec<Contact>,
    },
    /// Take note of where the home's router lets datagrams in to this machine.
    SetMappedEndpoints {
        /// All of them.
        endpoints: Vec<SocketAddr>,
    },
    /// Ask a supernode whether strangers get through; the answer comes as an event.
    ProveReach {
        /// Which.
        supernode: NodeId,
        /// To which port; 0 for the one at which the supernode sees this node.
        port: u16,
        /// The number by which the answer is recognised.
        token: u64,
    },
    /// Keep a NAT's port open by what is sent towards an endpoint.
    KeepOpen {
        /// Where to; nowhere any more.
        endpoint: Option<SocketAddr>,
    },
    /// Hide this machine's address from strangers, or do not.
    SetHideAddress {
        /// Whether to.
        hide: bool,
    },
    /// Ping somebody; the answer comes as an event.
    Ping {
        /// Whom.
        target: Target,
        /// The number by which the answer is recognised.
        token: u64,
    },
    /// Find out what stands between this node and a peer; the answer comes as an event.
    Examine {
        /// Whom.
        target: Target,
        /// The peer's key, where it was met before.
        key: Option<PublicKey>,
        /// The number by which the answer is recognised.
        token: u64,
    },
    /// Find out anew what the own network is like; snapshots tell.
    LookAround,
    /// Judge documents of private networks by this time of day.
    SetWallClock {
        /// The machine's clock.
        seconds: Seconds,
        /// The date of the build.
        build: Seconds,
    },
    /// Take documents of a private network that a controller made, whose signatures are good.
    SetDocuments {
        /// Which network.
        network: NetworkHandle,
        /// Its config.
        config: Box<Config>,
        /// Revocations.
        revocations: Box<Revocations>,
        /// This node's own credential, if there is another.
        credential: Option<Box<Credential>>,
    },
    /// Tell the highest version of a private network's sealed documents that was seen.
    DocumentVersion {
        /// Which network.
        network: NetworkHandle,
        /// Where the answer goes.
        reply: oneshot::Sender<u64>,
    },
    /// Have the supernodes keep sealed documents of a private network.
    Publish {
        /// Which network.
        network: NetworkHandle,
        /// The documents, one for each secret.
        documents: Vec<Vec<u8>>,
    },
    /// Ask the holders of a private network for this node's certificate anew.
    AskAgain {
        /// Which network.
        network: NetworkHandle,
    },
    /// Take what makes this node a renewer of a private network, whose signature is good.
    DelegationKnown {
        /// Which network.
        network: NetworkHandle,
        /// What lets it extend certificates.
        delegation: Box<Delegation>,
    },
    /// Hand a member of a private network a document of its own, now or when it is met.
    HandOver {
        /// Which network.
        network: NetworkHandle,
        /// Whom.
        node: PublicKey,
        /// What.
        paper: Handed,
    },
    /// Answer an application for a certificate where no controller is here.
    AnswerAsRenewer {
        /// Which network.
        network: NetworkHandle,
        /// Who asked.
        node: NodeId,
        /// The number of the request.
        request: u32,
    },
    /// Answer an application for a certificate.
    AnswerApplication {
        /// Which network.
        network: NetworkHandle,
        /// Who asked.
        node: NodeId,
        /// The number of the request.
        request: u32,
        /// The answer.
        admission: Box<Admission>,
    },
    /// Tell what credential a member has shown.
    ShownCredential {
        /// In which network.
        network: NetworkHandle,
        /// Who.
        node: NodeId,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Credential>>,
    },
    /// Take a frame as if the card of a network had sent it.
    SendFrame {
        /// Which network.
        network: NetworkHandle,
        /// The frame, Ethernet header first, its checksums complete.
        frame: Vec<u8>,
    },
    /// Tell how things stand.
    Snapshot {
        /// Where the answer goes.
        reply: oneshot::Sender<Snapshot>,
    },
    /// Say goodbye to everybody, close the cards and end the thread.
    Shutdown {
        /// Told when all is sent.
        reply: oneshot::Sender<()>,
    },
}

/// How things stand at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The supernodes of all worlds in use.
    pub supernodes: Vec<SupernodeStatus>,
    /// The joined networks.
    pub networks: Vec<NetworkStatus>,
    /// Peers in common networks, and those lately spoken to.
    pub peers: Vec<PeerStatus>,
    /// What the own network is like.
    pub surroundings: Surroundings,
    /// What is served, on a supernode.
    pub anchor: AnchorStatus,
    /// The engine's counters.
    pub counters: Counters,
    /// The shell's counters.
    pub shell: ShellCounters,
    /// The longest turn of the data plane since the last snapshot: so long did packets wait for it at the most.
    pub longest_turn: Duration,
}

impl Loop {
    /// Step 4.
    pub(super) fn take_requests(&mut self) -> Option<Option<oneshot::Sender<()>>> {
        for _ in 0..REQUESTS_PER_TURN {
            if !self.ready.requests {
                return None;
            }
            match self.requests.try_recv() {
                Ok(Request::Shutdown { reply }) => return Some(Some(reply)),
                Ok(request) => self.carry_out(request),
                Err(TryRecvError::Empty) => self.ready.requests = false,
                Err(TryRecvError::Disconnected) => return Some(None),
            }
        }
        None
    }

    fn carry_out(&mut self, request: Request) {
        let now = self.now();
        // An asker who has gone away needs no answer, so failures to answer are ignored throughout.
        match request {
            Request::SetWorld { world, anchors } => self.engine.set_world(now, world, anchors),
            Request::HoldWorld { world } => self.engine.hold_world(now, &world),
            Request::RemoveWorld { world } => self.engine.remove_world(now, world),
            Request::Join { join, reply } => {
                let _ = reply.send(self.join(now, join));
            }
            Request::Attach {
                network,
                card,
                mtu,
                reply,
            } => {
                let _ = reply.send(self.attach(network, card, mtu));
            }
            Request::Leave { network, reply } => {
                self.engine.leave(now, network);
                self.cards.detach(network);
                let _ = reply.send(());
            }
            Request::SetAddresses { network, addresses } => self.engine.set_addresses(now, network, &addresses),
            Request::SetName { network, name } => self.engine.set_name(now, network, name),
            Request::SetChannels { network, channels } => self.engine.set_channels(now, network, &channels),
            Request::SetOpened { network, ports } => self.engine.set_opened(network, &ports),
            // Whoever keeps them keeps no more than there is room for.
            Request::SetMuted { network, nodes, muted } => {
                for node in &nodes {
                    self.engine.set_muted(network, node, muted);
                }
            }
            Request::SetPinned { network, nodes, pinned } => {
                for node in &nodes {
                    self.engine.set_pinned(network, node, pinned);
                }
            }
            Request::Circle {
                network,
                channel,
                reply,
            } => {
                let _ = reply.send(self.engine.circle(now, network, channel));
                return;
            }
            Request::Greet { world, peers } => self.engine.greet(now, world, &peers),
            Request::SetLocalEndpoints { endpoints } => self.engine.set_local_endpoints(now, endpoints),
            Request::SetSources { sources } => self.engine.set_sources(now, &sources),
            Request::SetLinkCards { cards } => self.set_link_cards(now, &cards),
            Request::Remember { world, contacts } => self.engine.remember(now, world, &contacts),
            Request::SetMappedEndpoints { endpoints } => self.engine.set_mapped_endpoints(now, endpoints),
            Request::ProveReach { supernode, port, token } => self.engine.prove_reach(now, supernode, port, token),
            Request::KeepOpen { endpoint } => self.engine.keep_open(now, endpoint),
            Request::SetHideAddress { hide } => self.engine.set_hide_address(hide),
            Request::Ping { target, token } => self.engine.ping(now, target, token),
            Request::Examine { target, key, token } => self.engine.examine(now, target, key, token),
            Request::LookAround => self.engine.look_around(now),
            Request::SetWallClock { seconds, build } => self.engine.set_wall_clock(now, seconds, build),
            Request::SetDocuments {
                network,
                config,
                revocations,
                credential,
            } => {
                self.engine.set_documents(now, network, Some(*config), &revocations);
                if let Some(credential) = credential {
                    self.engine.credential_issued(now, network, *credential);
                }
            }
            Request::DocumentVersion { network, reply } => {
                let _ = reply.send(self.engine.document_version(network));
            }
            Request::AskAgain { network } => self.engine.ask_again(now, network),
            Request::Publish { network, documents } => {
                self.engine.publish(now, network, &documents);
            }
            Request::DelegationKnown { network, delegation } => {
                self.engine.delegation_known(now, network, *delegation);
            }
            Request::HandOver { network, node, paper } => self.engine.hand_over(now, network, &node, &paper),
            Request::AnswerAsRenewer { network, node, request } => {
                self.engine.answer_as_renewer(now, network, &node, request);
            }
            Request::AnswerApplication {
                network,
                node,
                request,
                admission,
            } => self.engine.answer_application(network, &node, request, &admission),
            Request::ShownCredential { network, node, reply } => {
                let _ = reply.send(self.engine.credential_of(network, &node).cloned());
            }
            Request::SendFrame { network, frame } => {
                // Each card's frames are gone by now.
                self.frames.push(network, &frame);
                self.engine.handle_frames(now, &mut self.frames, &mut self.outbox);
                self.frames.clear();
                self.flush();
            }
            Request::Snapshot { reply } => {
                let _ = reply.send(self.snapshot(now));
                return;
            }
            // `take_requests` takes it before it comes here.
            Request::Shutdown { .. } => return,
        }
        self.requested = true;
        self.chores(now);
    }

    pub(super) fn attach(&mut self, network: NetworkHandle, card: AttachedCard, mtu: u16) -> io::Result<()> {
        self.poller.add(&card.descriptor, network.as_u8().into())?;
        self.cards.attach(network, card, mtu);
        Ok(())
    }

    pub(super) fn join(&mut self, now: Time, join: Join) -> Result<NetworkStatus, JoinError> {
        let world = join.world;
        let handle = self.engine.join(now, join)?;
        let joined = self
            .engine
            .networks()
            .into_iter()
            .find(|network| network.handle == handle);
        // A network that was joined is listed.
        joined.ok_or(JoinError::UnknownWorld(world))
    }

    fn snapshot(&mut self, now: Time) -> Snapshot {
        Snapshot {
            supernodes: self.engine.supernodes(),
            networks: self.engine.networks(),
            peers: self.engine.peers(now),
            surroundings: self.engine.surroundings(),
            anchor: self.engine.anchor(),
            counters: self.engine.counters(),
            shell: ShellCounters {
                underlay_overrun: self.underlay.overrun().into(),
                stream_full: self.streams.full(),
                ..self.counters
            },
            longest_turn: std::mem::take(&mut self.longest_turn),
        }
    }

    /// Sends beacons by these cards from now on, and hears them. The sockets are opened when there are cards first.
    fn set_link_cards(&mut self, now: Time, cards: &[LinkCard]) {
        if self.beacons.descriptors().next().is_none() && !cards.is_empty() {
            self.beacons = BeaconSockets::open();
            for socket in self.beacons.descriptors() {
                if let Err(error) = self.poller.add(socket, BEACONS) {
                    tracing::debug!(%error, "cannot wait for beacons");
                }
            }
        }
        let possible = self.beacons.set_cards(cards);
        self.engine.set_beacon_cards(now, possible);
    }
}

/// Requests carried out in a turn.
pub(super) const REQUESTS_PER_TURN: usize = 8;

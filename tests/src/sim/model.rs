//! What must hold of every frame, by an independent model of the LANs.
//!
//! The model knows who is a member of which network under which addresses, and what every member's kernel sent. It
//! imports nothing of the engine. A frame that comes out of a card must be
//! * a frame that another member of the same network sent, byte for byte, at most once for each time it was sent, lately,
//!   and if it is for one member's MAC address, to that member only; or
//! * a true answer to a question about a neighbour that this card asked, given by its own engine.
//!
//! It panics at the first frame that is neither.
//!
//! It also knows what must arrive: a unicast frame for a member and a broadcast, if the way between the two was in order
//! for some time ([`Health`]). It panics when such a frame has not arrived 3 s later.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::{
    frames::{ARP_REPLY, ARP_REQUEST, MacAddress, Packet, claimed_source, parse},
    health::{CONVERGENCE, Health},
};

/// A host, by any number.
pub type MemberKey = usize;

/// A network, by its id.
pub type NetworkKey = [u8; 16];

/// A frame handed to a card by its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SendId(u64);

/// What a network lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Any Ethernet frame, except with the source MAC address of another member.
    Friends,
    /// Only frames whose source MAC and IP addresses are the sender's own.
    Strangers,
}

/// The judge of all frames of a run.
#[derive(Debug, Default)]
pub struct Model {
    networks: BTreeMap<NetworkKey, Network>,
    next: u64,
    health: Health,
    /// Frames that must arrive, in the order of their deadlines.
    owed: VecDeque<Owed>,
    demanded: u64,
    /// How long somebody on the way may hold a frame back.
    held_back: Duration,
}

/// A frame that must reach these members by the deadline, unless something happens to them.
#[derive(Debug)]
struct Owed {
    deadline: Duration,
    sent: Duration,
    network: NetworkKey,
    id: SendId,
    sender: MemberKey,
    receivers: Vec<MemberKey>,
    what: &'static str,
}

#[derive(Debug)]
struct Network {
    rules: Rules,
    members: BTreeMap<MemberKey, Member>,
    /// Frames by content, oldest first.
    sends: BTreeMap<Vec<u8>, VecDeque<Send>>,
    /// Who got which frame.
    reached: BTreeMap<SendId, BTreeSet<MemberKey>>,
    /// How many different frames are kept before old ones are looked for.
    room: usize,
}

#[derive(Debug)]
struct Member {
    mac: MacAddress,
    ipv6: Vec<Ipv6Addr>,
    /// Every IPv4 address held, with the moment it was given up.
    ipv4: Vec<(Ipv4Addr, Option<Duration>)>,
    joined: bool,
    /// When it joined last.
    since: Duration,
    /// When it left or crashed, if it is away.
    away: Option<Duration>,
    /// Questions about neighbours that were not answered yet.
    questions: BTreeMap<IpAddr, Vec<Duration>>,
}

#[derive(Debug)]
struct Send {
    id: SendId,
    at: Duration,
    sender: MemberKey,
    forbidden: Option<&'static str>,
    reached: BTreeSet<MemberKey>,
}

/// How old a frame may be when it arrives: it may wait 3 s for its destination, as long again at the receiver, and be
/// sent again when lost.
const MAX_AGE: Duration = Duration::from_secs(10);

/// How long a member that vanished without a word may be taken for present: its registration lives for 75 s.
const PRESUMED: Duration = Duration::from_secs(90);

/// When a frame that must arrive must have arrived: frames wait up to 3 s for a session.
const ARRIVAL: Duration = Duration::from_secs(3);

/// Members up to which a broadcast must reach all.
const GROUP: usize = 128;

/// See [`Network::room`].
const ROOM: usize = 4_096;

/// How long after the loss of an IPv4 address answers about it are still excused.
const GRACE: Duration = Duration::from_secs(10);

impl Model {
    /// `member` is in a network from now on, under these addresses.
    pub fn join(
        &mut self,
        now: Duration,
        network: NetworkKey,
        rules: Rules,
        member: MemberKey,
        mac: MacAddress,
        ipv6: Vec<Ipv6Addr>,
    ) {
        self.settle(now);
        let network = self.networks.entry(network).or_insert_with(|| Network {
            rules,
            members: BTreeMap::new(),
            sends: BTreeMap::new(),
            reached: BTreeMap::new(),
            room: ROOM,
        });
        assert_eq!(network.rules, rules, "one network, one policy");
        for (&other, known) in &network.members {
            assert!(
                other == member || known.mac != mac,
                "members {other} and {member} have one MAC address"
            );
        }
        let fresh = Member {
            mac,
            ipv6: Vec::new(),
            ipv4: Vec::new(),
            joined: true,
            since: now,
            away: None,
            questions: BTreeMap::new(),
        };
        let known = network.members.entry(member).or_insert(fresh);
        assert_eq!(known.mac, mac, "the MAC address of member {member} changed");
        assert!(
            known.ipv6.is_empty() || known.ipv6 == ipv6,
            "the IPv6 addresses of member {member} changed"
        );
        known.ipv6 = ipv6;
        known.joined = true;
        known.since = now;
        if known.away.take().is_some() {
            // It has forgotten what it got before.
            for send in network.sends.values_mut().flatten() {
                send.reached.remove(&member);
            }
        }
    }

    /// `member` is in a network no longer; frames it sent may still arrive.
    pub fn leave(&mut self, now: Duration, network: NetworkKey, member: MemberKey) {
        self.settle(now);
        if let Some(member) = self
            .networks
            .get_mut(&network)
            .and_then(|network| network.members.get_mut(&member))
        {
            member.joined = false;
            member.away = Some(now);
            member.questions.clear();
        }
    }

    /// `member` holds this IPv4 address from `now` on, or none.
    pub fn set_ipv4(&mut self, now: Duration, network: NetworkKey, member: MemberKey, address: Option<Ipv4Addr>) {
        let Some(member) = self
            .networks
            .get_mut(&network)
            .and_then(|network| network.members.get_mut(&member))
        else {
            return;
        };
        for (_, until) in &mut member.ipv4 {
            until.get_or_insert(now);
        }
        member.ipv4.extend(address.map(|address| (address, None)));
    }

    /// Who holds an IPv4 address at the moment; in a healthy network at most one.
    pub fn holders(&self, network: NetworkKey, address: Ipv4Addr) -> Vec<MemberKey> {
        let Some(network) = self.networks.get(&network) else {
            return Vec::new();
        };
        let holds = |member: &Member| member.joined && member.ipv4.contains(&(address, None));
        network
            .members
            .iter()
            .filter(|(_, member)| holds(member))
            .map(|(&key, _)| key)
            .collect()
    }

    /// The kernel of `sender` sends a frame.
    ///
    /// # Panics
    /// If it is no member, which is a mistake of the simulator.
    pub fn sent(&mut self, now: Duration, network: NetworkKey, sender: MemberKey, frame: &[u8]) -> SendId {
        self.settle(now);
        let id = SendId(self.next);
        self.next += 1;
        let key = network;
        let Some(network) = self.networks.get_mut(&network) else {
            panic!("an unknown network")
        };
        network.forget(now);
        let forbidden = network.forbidden(now, sender, frame);
        let Some(member) = network.members.get_mut(&sender).filter(|member| member.joined) else {
            panic!("{sender} is no member")
        };
        if let Some(address) = question(frame) {
            member.questions.entry(address).or_default().push(now);
        }
        network.sends.entry(frame.to_vec()).or_default().push_back(Send {
            id,
            at: now,
            sender,
            forbidden,
            reached: BTreeSet::new(),
        });
        if forbidden.is_none() {
            self.demand(now, key, id, sender, frame);
        }
        id
    }

    /// Enters a frame among those that must arrive, if it is one.
    fn demand(&mut self, now: Duration, key: NetworkKey, id: SendId, sender: MemberKey, frame: &[u8]) {
        let Some((destination, _, packet)) = parse(frame) else {
            return;
        };
        let Some(network) = self.networks.get(&key) else {
            return;
        };
        // Engines answer for neighbours, and need not pass on questions and answers about them.
        let what = match packet {
            Packet::Echo(echo) if echo.request => "an echo request",
            Packet::Echo(_) => "an echo reply",
            Packet::Other => "a frame",
            Packet::Arp(_) | Packet::Solicitation(_) | Packet::Advertisement(_) => return,
        };
        let multicast = destination[0] & 1 == 1;
        if multicast && network.members.values().filter(|member| member.joined).count() > GROUP {
            return;
        }
        if let Some(owner) = network
            .owner(destination)
            .filter(|owner| !multicast && *owner != sender)
        {
            self.health.spoke(now, sender, owner);
        }
        let addressed = |member: &Member| multicast || member.mac == destination;
        let receivers: Vec<MemberKey> = network
            .members
            .iter()
            .filter(|&(&other, member)| {
                other != sender
                    && addressed(member)
                    && network.is_settled(now, other)
                    && self.health.owes(now, sender, other)
            })
            .map(|(&other, _)| other)
            .collect();
        if receivers.is_empty() || !network.is_settled(now, sender) {
            return;
        }
        self.owed.push_back(Owed {
            deadline: now + ARRIVAL,
            sent: now,
            network: key,
            id,
            sender,
            receivers,
            what: if multicast { "a broadcast" } else { what },
        });
    }

    /// Asserts that what had to arrive by `now` did. What a fault has hit meanwhile is excused, so this comes before any
    /// news of faults.
    fn settle(&mut self, now: Duration) {
        while let Some(owed) = self.owed.pop_front_if(|owed| owed.deadline <= now) {
            let Some(network) = self.networks.get(&owed.network) else {
                continue;
            };
            let reached = network.reached.get(&owed.id);
            for &receiver in &owed.receivers {
                self.demanded += 1;
                let arrived = reached.is_some_and(|reached| reached.contains(&receiver));
                let excused = [owed.sender, receiver]
                    .iter()
                    .any(|&end| !network.is_settled(owed.sent, end))
                    || !self.health.owes(owed.sent, owed.sender, receiver);
                assert!(
                    arrived || excused,
                    "{} sent at {:?} by {} did not reach {receiver} within {ARRIVAL:?}, though all was well between them",
                    owed.what,
                    owed.sent,
                    owed.sender,
                );
            }
        }
    }

    /// Asserts that everything that had to arrive by `now` did.
    ///
    /// # Panics
    /// If something did not.
    pub fn check(&mut self, now: Duration) {
        self.settle(now);
    }

    /// From now on somebody on the way replays datagrams up to this much later: one whose original was lost comes so late.
    pub fn set_held_back(&mut self, time: Duration) {
        self.held_back = self.held_back.max(time);
    }

    /// How many arrivals were demanded so far.
    pub fn demanded(&self) -> u64 {
        self.demanded
    }

    /// What excuses frames, to be told of a fault that happens now.
    pub fn health(&mut self, now: Duration) -> &mut Health {
        self.settle(now);
        &mut self.health
    }

    /// Whether a frame between two hosts sent now must arrive.
    pub fn owes(&self, now: Duration, a: MemberKey, b: MemberKey) -> bool {
        self.health.owes(now, a, b)
    }

    /// A frame comes out of the card of `receiver`.
    ///
    /// # Panics
    /// If it must not.
    pub fn delivered(&mut self, now: Duration, network: NetworkKey, receiver: MemberKey, frame: &[u8]) {
        if let Err(fault) = self.judge(now, network, receiver, frame) {
            let contents = parse(frame);
            panic!("at {now:?} member {receiver} got a frame: {fault}: {contents:?} {frame:02x?}");
        }
    }

    /// Who got a frame so far; only for frames of the last minute.
    pub fn reached(&self, id: SendId) -> Vec<MemberKey> {
        let reached = self.networks.values().find_map(|network| network.reached.get(&id));
        reached.into_iter().flatten().copied().collect()
    }

    fn judge(
        &mut self,
        now: Duration,
        network: NetworkKey,
        receiver: MemberKey,
        frame: &[u8],
    ) -> Result<(), &'static str> {
        let network = self.networks.get_mut(&network).ok_or("of an unknown network")?;
        if !network.members.get(&receiver).is_some_and(|member| member.joined) {
            return Err("of a network it is not in");
        }
        let (destination, _, packet) = parse(frame).ok_or("that is no Ethernet frame")?;
        let remote = network.match_send(now, receiver, frame, MAX_AGE + self.held_back);
        if let Ok(id) = remote {
            network.reached.entry(id).or_default().insert(receiver);
            let multicast = destination[0] & 1 == 1;
            let owner = network.owner(destination);
            return match (network.rules, owner) {
                _ if multicast => Ok(()),
                (_, Some(owner)) if owner == receiver => Ok(()),
                (_, Some(_)) => Err("for another member's MAC address"),
                (Rules::Friends, None) => Ok(()),
                (Rules::Strangers, None) => Err("for a MAC address that no member has"),
            };
        }
        let (address, mac) = match packet {
            Packet::Arp(answer) if answer.operation == ARP_REPLY => (answer.sender.1.into(), answer.sender.0),
            Packet::Advertisement(answer) => (
                answer.target.into(),
                answer.link_layer.ok_or("an answer without an address")?,
            ),
            Packet::Arp(_) | Packet::Solicitation(_) | Packet::Echo(_) | Packet::Other => {
                return remote.map(|_| ());
            }
        };
        network.judge_answer((now, self.held_back), receiver, destination, address, mac)
    }
}

impl Network {
    /// The oldest frame with this content that `receiver` may still get.
    fn match_send(
        &mut self,
        now: Duration,
        receiver: MemberKey,
        frame: &[u8],
        oldest: Duration,
    ) -> Result<SendId, &'static str> {
        let sends = self.sends.get_mut(frame).ok_or("that nobody sent")?;
        let mut fault = "that nobody else sent";
        for send in sends {
            if send.sender == receiver {
                continue;
            }
            if let Some(reason) = send.forbidden {
                fault = reason;
            } else if now > send.at + oldest {
                fault = "that is too old";
            } else if send.reached.insert(receiver) {
                return Ok(send.id);
            } else {
                fault = "that it got before";
            }
        }
        Err(fault)
    }

    /// Whether the own engine's answer about a neighbour was asked for and is true.
    fn judge_answer(
        &mut self,
        (now, held_back): (Duration, Duration),
        receiver: MemberKey,
        destination: MacAddress,
        address: IpAddr,
        mac: MacAddress,
    ) -> Result<(), &'static str> {
        let holds = |member: &Member| match address {
            IpAddr::V4(v4) => member
                .ipv4
                .iter()
                .any(|&(held, until)| held == v4 && until.is_none_or(|until| now <= until + GRACE)),
            IpAddr::V6(v6) => member.ipv6.contains(&v6),
        };
        let present = |member: &Member| member.away.is_none_or(|since| now <= since + PRESUMED);
        let truth = self
            .members
            .iter()
            .any(|(&key, member)| key != receiver && member.mac == mac && present(member) && holds(member));
        let member = self.members.get_mut(&receiver).ok_or("of a network it is not in")?;
        if destination != member.mac {
            return Err("an answer for another MAC address");
        }
        let questions = member
            .questions
            .get_mut(&address)
            .ok_or("an answer that was not asked for")?;
        // An answer of the own engine and one that the owner sent may be the same bytes, and the one that came first was
        // taken for the other; the other may have been held back.
        questions.retain(|&asked| now <= asked + MAX_AGE + held_back);
        if questions.is_empty() {
            return Err("more answers than questions");
        }
        questions.remove(0);
        if truth {
            Ok(())
        } else {
            Err("a false answer about a neighbour")
        }
    }

    /// Why a frame must reach nobody.
    fn forbidden(&self, now: Duration, sender: MemberKey, frame: &[u8]) -> Option<&'static str> {
        let (_, source, packet) = parse(frame)?;
        let member = self.members.get(&sender)?;
        if let Some(owner) = self.owner(source) {
            if owner != sender {
                return Some("with the source MAC address of another member");
            }
        } else if self.rules == Rules::Strangers {
            return Some("with a source MAC address that is not the sender's");
        }
        if self.rules == Rules::Friends {
            return None;
        }
        let own = |address: IpAddr| match address {
            _ if address.is_unspecified() => true,
            IpAddr::V4(v4) => member
                .ipv4
                .iter()
                .any(|&(held, until)| held == v4 && until.is_none_or(|until| now <= until + GRACE)),
            IpAddr::V6(v6) => member.ipv6.contains(&v6),
        };
        let told = match packet {
            Packet::Arp(packet) if packet.sender.0 != member.mac => {
                return Some("an ARP packet about another MAC address");
            }
            Packet::Advertisement(packet) => Some(IpAddr::V6(packet.target)),
            _ => None,
        };
        let foreign = claimed_source(frame)
            .into_iter()
            .chain(told)
            .any(|address| !own(address));
        foreign.then_some("with a source address that is not the sender's")
    }

    /// Whether a member is in this network for so long that others must know it.
    fn is_settled(&self, now: Duration, member: MemberKey) -> bool {
        self.members
            .get(&member)
            .is_some_and(|member| member.joined && member.since + CONVERGENCE <= now)
    }

    fn owner(&self, mac: MacAddress) -> Option<MemberKey> {
        self.members
            .iter()
            .find(|(_, member)| member.mac == mac)
            .map(|(&key, _)| key)
    }

    /// Drops what can match no more.
    fn forget(&mut self, now: Duration) {
        // Rarely, since it goes over everything.
        if self.sends.len() < self.room {
            return;
        }
        let old = |at: Duration| now > at + Duration::from_secs(60);
        self.sends.retain(|_, sends| {
            sends.retain(|send| !old(send.at));
            !sends.is_empty()
        });
        let oldest = self.sends.values().flatten().map(|send| send.id).min();
        self.reached.retain(|id, _| oldest.is_some_and(|oldest| *id >= oldest));
        self.room = ROOM.max(2 * self.sends.len());
    }
}

/// The address that a frame asks for.
fn question(frame: &[u8]) -> Option<IpAddr> {
    match parse(frame)?.2 {
        Packet::Arp(packet) if packet.operation == ARP_REQUEST => Some(packet.target.1.into()),
        Packet::Solicitation(packet) => Some(packet.target.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::frames::{Arp, BROADCAST, arp, echo4, payload_frame},
        *,
    };

    const NETWORK: NetworkKey = [1; 16];
    const OTHER: NetworkKey = [2; 16];
    const NOW: Duration = Duration::from_secs(1);

    fn mac(number: u8) -> MacAddress {
        [2, 0, 0, 0, 0, number]
    }

    fn ip(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, number)
    }

    /// Members 1, 2 and 3 in both networks.
    fn model(rules: Rules) -> Model {
        let mut model = Model::default();
        for network in [NETWORK, OTHER] {
            for number in 1..=3 {
                model.join(Duration::ZERO, network, rules, number.into(), mac(number), vec![]);
                model.set_ipv4(Duration::ZERO, network, number.into(), Some(ip(number)));
            }
        }
        model
    }

    fn refused(model: &mut Model, network: NetworkKey, receiver: MemberKey, frame: &[u8]) -> bool {
        model.judge(NOW, network, receiver, frame).is_err()
    }

    #[test]
    fn the_model_knows_right_from_wrong() {
        let mut model = model(Rules::Friends);
        let frame = payload_frame(mac(2), mac(1), 1, 10);
        assert!(refused(&mut model, NETWORK, 2, &frame), "nobody sent it");
        let id = model.sent(NOW, NETWORK, 1, &frame);
        assert!(refused(&mut model, NETWORK, 1, &frame), "back to the sender");
        assert!(refused(&mut model, OTHER, 2, &frame), "into another network");
        assert!(refused(&mut model, NETWORK, 3, &frame), "to another member");
        assert!(refused(&mut model, NETWORK, 4, &frame), "outside of the network");
        model.delivered(NOW, NETWORK, 2, &frame);
        assert!(refused(&mut model, NETWORK, 2, &frame), "twice");
        assert!(model.reached(id).contains(&2));
        let group = payload_frame(BROADCAST, mac(1), 2, 10);
        let id = model.sent(NOW, NETWORK, 1, &group);
        model.delivered(NOW, NETWORK, 2, &group);
        model.delivered(NOW, NETWORK, 3, &group);
        assert_eq!(model.reached(id), [2, 3]);
        let mut bent = group.clone();
        bent[20] ^= 1;
        assert!(refused(&mut model, NETWORK, 2, &bent), "other bytes");
        let forged = payload_frame(BROADCAST, mac(3), 3, 10);
        model.sent(NOW, NETWORK, 1, &forged);
        assert!(refused(&mut model, NETWORK, 2, &forged), "another member's MAC address");
    }

    #[test]
    fn answers_about_neighbours_must_be_asked_for_and_true() {
        let mut model = model(Rules::Friends);
        let answer = |sender, told| {
            let packet = Arp {
                operation: ARP_REPLY,
                sender: (mac(sender), ip(told)),
                target: (mac(1), ip(1)),
            };
            arp(mac(1), mac(sender), &packet)
        };
        let question = Arp {
            operation: ARP_REQUEST,
            sender: (mac(1), ip(1)),
            target: ([0; 6], ip(2)),
        };
        assert!(refused(&mut model, NETWORK, 1, &answer(2, 2)), "not asked for");
        model.sent(NOW, NETWORK, 1, &arp(BROADCAST, mac(1), &question));
        assert!(refused(&mut model, NETWORK, 1, &answer(2, 3)), "another address");
        model.delivered(NOW, NETWORK, 1, &answer(2, 2));
        assert!(refused(&mut model, NETWORK, 1, &answer(2, 2)), "a second answer");
        model.sent(NOW, NETWORK, 1, &arp(BROADCAST, mac(1), &question));
        assert!(refused(&mut model, NETWORK, 1, &answer(3, 2)), "false");
    }

    #[test]
    fn strangers_speak_for_themselves_only() {
        let mut model = model(Rules::Strangers);
        let own = echo4(mac(2), mac(1), ip(1), ip(2), true, 1);
        model.sent(NOW, NETWORK, 1, &own);
        model.delivered(NOW, NETWORK, 2, &own);
        for forged in [
            echo4(mac(2), mac(1), ip(3), ip(2), true, 2),
            echo4(mac(2), mac(3), ip(1), ip(2), true, 3),
            payload_frame(mac(2), [2, 9, 9, 9, 9, 9], 4, 10),
        ] {
            model.sent(NOW, NETWORK, 1, &forged);
            assert!(refused(&mut model, NETWORK, 2, &forged));
        }
    }

    #[test]
    fn what_must_arrive_is_missed() {
        let later = Duration::from_secs(20);
        let deadline = later + ARRIVAL;
        let sent = |disturbed: bool, delivered: bool, destination: MacAddress| {
            let mut model = model(Rules::Friends);
            model.health.add(Duration::ZERO, 0, true);
            (1..=3).for_each(|node| model.health.add(Duration::ZERO, node, false));
            let frame = payload_frame(destination, mac(1), 1, 10);
            model.sent(later, NETWORK, 1, &frame);
            if delivered {
                model.delivered(later, NETWORK, 2, &frame);
            }
            if disturbed {
                model.health(later).disturb(later, 2);
            }
            model.check(deadline - Duration::from_nanos(1));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.check(deadline))).is_ok()
        };
        assert!(sent(false, true, mac(2)));
        assert!(!sent(false, false, mac(2)), "lost");
        assert!(sent(true, false, mac(2)), "excused");
        assert!(sent(false, false, mac(9)), "for nobody");
        assert!(!sent(false, true, BROADCAST), "it reached one of two");
        assert!(!sent(true, true, BROADCAST), "only the other one is excused");
    }
}

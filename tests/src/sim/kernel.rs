//! A simulated network card with the part of a kernel that stands behind it: the neighbour table and ping.

use std::{
    collections::BTreeMap,
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::frames::{
    ARP_REPLY, ARP_REQUEST, Arp, BROADCAST, MacAddress, Neighbour, Packet, arp, echo4, echo6, neighbour_advertisement,
    neighbour_solicitation, parse,
};

/// A frame that came out of a card, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Virtual time.
    pub at: Duration,
    /// The whole frame.
    pub frame: Vec<u8>,
}

/// The card of one host in one network.
///
/// It keeps the rules of the Linux neighbour table that matter to a virtual switch: packets wait for the answer of up
/// to three questions a second apart; an entry is trusted for 30 s, then confirmed by unicast questions 5 s after its
/// next use, and dropped when three of those stay unanswered.
#[derive(Debug)]
pub struct Card {
    mac: MacAddress,
    ipv6: Ipv6Addr,
    link_local: Ipv6Addr,
    ipv4: Option<Ipv4Addr>,
    neighbours: BTreeMap<IpAddr, Entry>,
    outgoing: Vec<Vec<u8>>,
    received: Vec<Received>,
    answers: BTreeMap<u64, Duration>,
    answers_to_broadcast: BTreeMap<u64, Vec<IpAddr>>,
}

#[derive(Debug)]
struct Entry {
    mac: Option<MacAddress>,
    confirmed: Duration,
    question: Option<Question>,
    waiting: Vec<Vec<u8>>,
}

/// Questions for a neighbour: when the next is due, and how many were asked.
#[derive(Clone, Copy, Debug)]
struct Question {
    due: Duration,
    asked: u8,
}

/// How long a neighbour entry is used without doubt: Linux' base_reachable_time.
const REACHABLE: Duration = Duration::from_secs(30);
/// How long after the first use of an older entry it is confirmed: Linux' delay_first_probe_time.
const DELAY: Duration = Duration::from_secs(5);
/// The time between two questions: Linux' retrans_time.
const RETRANSMIT: Duration = Duration::from_secs(1);
/// Questions before a neighbour counts as absent: Linux' mcast_solicit and ucast_solicit.
const QUESTIONS: u8 = 3;
/// Packets that wait for one neighbour: about Linux' unres_qlen.
const WAITING: usize = 101;

impl Card {
    pub(super) fn new(mac: MacAddress, ipv6: Ipv6Addr, link_local: Ipv6Addr, ipv4: Option<Ipv4Addr>) -> Self {
        Self {
            mac,
            ipv6,
            link_local,
            ipv4,
            neighbours: BTreeMap::new(),
            outgoing: Vec::new(),
            received: Vec::new(),
            answers: BTreeMap::new(),
            answers_to_broadcast: BTreeMap::new(),
        }
    }

    /// Its MAC address.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Its IPv6 address.
    pub fn ipv6(&self) -> Ipv6Addr {
        self.ipv6
    }

    /// Its IPv6 link-local address.
    pub fn link_local(&self) -> Ipv6Addr {
        self.link_local
    }

    /// Its IPv4 address, once there is one.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.ipv4
    }

    /// What came out of it since [`Self::forget_received`].
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// Forgets what it received.
    pub fn forget_received(&mut self) {
        self.received.clear();
    }

    /// The MAC address known for a neighbour.
    pub fn neighbour(&self, address: IpAddr) -> Option<MacAddress> {
        self.neighbours.get(&address)?.mac
    }

    /// Forgets all neighbours, as `ip neigh flush` does.
    pub fn flush_neighbours(&mut self) {
        self.neighbours.clear();
    }

    /// When the echo with `token` was first answered.
    pub fn answered(&self, token: u64) -> Option<Duration> {
        self.answers.get(&token).copied()
    }

    /// Everyone who answered the echo with `token`, in order, repetitions included.
    pub fn answerers(&self, token: u64) -> &[IpAddr] {
        self.answers_to_broadcast.get(&token).map_or(&[], Vec::as_slice)
    }

    pub(super) fn set_ipv4(&mut self, address: Option<Ipv4Addr>) {
        self.ipv4 = address;
    }

    /// Frames the kernel wants to send, oldest first.
    pub(super) fn take_outgoing(&mut self) -> Vec<Vec<u8>> {
        mem::take(&mut self.outgoing)
    }

    /// Sends an echo request; nothing goes out if this card has no address of that family.
    pub(super) fn ping(&mut self, now: Duration, destination: IpAddr, token: u64) {
        match destination {
            IpAddr::V4(to) => {
                let Some(from) = self.ipv4 else { return };
                let broadcast = to == Ipv4Addr::BROADCAST;
                let frame = echo4(
                    if broadcast { BROADCAST } else { [0; 6] },
                    self.mac,
                    from,
                    to,
                    true,
                    token,
                );
                if broadcast {
                    self.outgoing.push(frame)
                } else {
                    self.send_to(now, destination, frame)
                }
            }
            IpAddr::V6(to) => {
                let from = self.source6(to);
                if to.is_multicast() {
                    self.outgoing
                        .push(echo6(multicast(to), self.mac, from, to, true, token));
                } else {
                    self.send_to(now, destination, echo6([0; 6], self.mac, from, to, true, token));
                }
            }
        }
    }

    /// Asks for the holder of an IPv4 address by broadcast, as `arping` does.
    pub(super) fn ask_arp(&mut self, target: Ipv4Addr) {
        let question = Arp {
            operation: ARP_REQUEST,
            sender: (self.mac, self.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED)),
            target: ([0; 6], target),
        };
        self.outgoing.push(arp(BROADCAST, self.mac, &question));
    }

    /// Asks for the holder of an IPv6 address by multicast.
    pub(super) fn ask_solicitation(&mut self, target: Ipv6Addr) {
        self.ask(IpAddr::V6(target), None);
    }

    /// When [`Self::timer`] wants to be called.
    pub(super) fn next_timer(&self) -> Option<Duration> {
        self.neighbours
            .values()
            .filter_map(|entry| entry.question)
            .map(|question| question.due)
            .min()
    }

    /// Asks again for neighbours, and gives up on some.
    pub(super) fn timer(&mut self, now: Duration) {
        let due: Vec<IpAddr> = self
            .neighbours
            .iter()
            .filter(|(_, entry)| entry.question.is_some_and(|question| question.due <= now))
            .map(|(&address, _)| address)
            .collect();
        for address in due {
            let Some(entry) = self.neighbours.get_mut(&address) else {
                continue;
            };
            match &mut entry.question {
                Some(question) if question.asked < QUESTIONS => {
                    question.asked += 1;
                    question.due = now + RETRANSMIT;
                    let known = entry.mac;
                    self.ask(address, known);
                }
                _ => {
                    self.neighbours.remove(&address);
                }
            }
        }
    }

    /// Takes a frame from the engine.
    pub(super) fn receive(&mut self, now: Duration, frame: &[u8]) {
        self.received.push(Received {
            at: now,
            frame: frame.to_vec(),
        });
        let Some((destination, _, packet)) = parse(frame) else {
            return;
        };
        let for_all = destination[0] & 1 == 1;
        if destination != self.mac && !for_all {
            return;
        }
        match packet {
            Packet::Arp(packet) => self.receive_arp(now, packet),
            Packet::Solicitation(question) if self.is_own6(question.target) => {
                if let (false, Some(mac)) = (question.source.is_unspecified(), question.link_layer) {
                    self.learn(now, question.source.into(), mac, false);
                }
                self.advertise(now, &question);
            }
            Packet::Advertisement(answer) => {
                if let Some(mac) = answer.link_layer {
                    self.confirm(now, answer.target.into(), mac);
                }
            }
            Packet::Echo(echo) if echo.request => {
                let own = match echo.destination {
                    IpAddr::V4(to) => self.ipv4.filter(|&own| to == own || to.is_broadcast()).map(IpAddr::V4),
                    IpAddr::V6(to) if to.is_multicast() => match echo.source {
                        IpAddr::V6(from) => Some(self.source6(from).into()),
                        IpAddr::V4(_) => None,
                    },
                    IpAddr::V6(to) => self.is_own6(to).then_some(echo.destination),
                };
                match (own, echo.source) {
                    (Some(IpAddr::V4(own)), IpAddr::V4(to)) => {
                        self.send_to(now, to.into(), echo4([0; 6], self.mac, own, to, false, echo.token));
                    }
                    (Some(IpAddr::V6(own)), IpAddr::V6(to)) => {
                        self.send_to(now, to.into(), echo6([0; 6], self.mac, own, to, false, echo.token));
                    }
                    _ => {}
                }
            }
            Packet::Echo(echo) => {
                if self.ipv4.map(IpAddr::V4) == Some(echo.destination)
                    || matches!(echo.destination, IpAddr::V6(to) if self.is_own6(to))
                {
                    self.answers.entry(echo.token).or_insert(now);
                    self.answers_to_broadcast
                        .entry(echo.token)
                        .or_default()
                        .push(echo.source);
                }
            }
            Packet::Solicitation(_) | Packet::Other => {}
        }
    }

    fn receive_arp(&mut self, now: Duration, packet: Arp) {
        let (mac, ip) = packet.sender;
        match packet.operation {
            ARP_REQUEST if self.ipv4 == Some(packet.target.1) => {
                if !ip.is_unspecified() {
                    self.learn(now, ip.into(), mac, false);
                }
                let answer = Arp {
                    operation: ARP_REPLY,
                    sender: (self.mac, packet.target.1),
                    target: (mac, ip),
                };
                self.outgoing.push(arp(mac, self.mac, &answer));
            }
            ARP_REPLY => self.confirm(now, ip.into(), mac),
            _ => {}
        }
    }

    fn advertise(&mut self, now: Duration, question: &Neighbour) {
        let mut answer = Neighbour {
            source: question.target,
            destination: question.source,
            target: question.target,
            link_layer: Some(self.mac),
        };
        if question.source.is_unspecified() {
            answer.destination = ALL_NODES;
            self.outgoing
                .push(neighbour_advertisement(multicast(ALL_NODES), self.mac, &answer));
        } else {
            self.send_to(
                now,
                question.source.into(),
                neighbour_advertisement([0; 6], self.mac, &answer),
            );
        }
    }

    /// An answer to a question: it counts only where there is an entry, as in Linux.
    fn confirm(&mut self, now: Duration, address: IpAddr, mac: MacAddress) {
        if self.neighbours.contains_key(&address) {
            self.learn(now, address, mac, true);
        }
    }

    fn learn(&mut self, now: Duration, address: IpAddr, mac: MacAddress, confirmed: bool) {
        let fresh = Entry {
            mac: None,
            confirmed: Duration::ZERO,
            question: None,
            waiting: Vec::new(),
        };
        let entry = self.neighbours.entry(address).or_insert(fresh);
        if confirmed || entry.mac != Some(mac) {
            // A question of the neighbour's own shows its address, not that it hears us: such an entry is stale.
            entry.confirmed = if confirmed { now } else { now.saturating_sub(REACHABLE) };
            entry.question = None;
        }
        entry.mac = Some(mac);
        for mut frame in mem::take(&mut entry.waiting) {
            frame[..6].copy_from_slice(&mac);
            self.outgoing.push(frame);
        }
    }

    /// Sends a frame whose destination MAC address is still to be filled in.
    fn send_to(&mut self, now: Duration, address: IpAddr, mut frame: Vec<u8>) {
        match self.neighbours.get_mut(&address) {
            Some(entry) => match entry.mac {
                Some(mac) => {
                    if entry.question.is_none() && now >= entry.confirmed + REACHABLE {
                        entry.question = Some(Question {
                            due: now + DELAY,
                            asked: 0,
                        });
                    }
                    frame[..6].copy_from_slice(&mac);
                    self.outgoing.push(frame);
                }
                None => {
                    if entry.waiting.len() < WAITING {
                        entry.waiting.push(frame);
                    }
                }
            },
            None => {
                let question = Some(Question {
                    due: now + RETRANSMIT,
                    asked: 1,
                });
                let entry = Entry {
                    mac: None,
                    confirmed: Duration::ZERO,
                    question,
                    waiting: vec![frame],
                };
                self.neighbours.insert(address, entry);
                self.ask(address, None);
            }
        }
    }

    fn ask(&mut self, address: IpAddr, known: Option<MacAddress>) {
        match address {
            IpAddr::V4(target) => {
                let Some(own) = self.ipv4 else { return };
                let question = Arp {
                    operation: ARP_REQUEST,
                    sender: (self.mac, own),
                    target: ([0; 6], target),
                };
                self.outgoing.push(arp(known.unwrap_or(BROADCAST), self.mac, &question));
            }
            IpAddr::V6(target) => {
                let group = solicited_node(target);
                let question = Neighbour {
                    source: self.source6(target),
                    destination: if known.is_some() { target } else { group },
                    target,
                    link_layer: Some(self.mac),
                };
                let to = known.unwrap_or_else(|| multicast(group));
                self.outgoing.push(neighbour_solicitation(to, self.mac, &question));
            }
        }
    }

    fn is_own6(&self, address: Ipv6Addr) -> bool {
        address == self.ipv6 || address == self.link_local
    }

    /// The own address to speak from towards `to`.
    fn source6(&self, to: Ipv6Addr) -> Ipv6Addr {
        let local = to.is_unicast_link_local() || to.is_multicast();
        if local { self.link_local } else { self.ipv6 }
    }
}

/// ff02::1.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// ff02::1:ff00:0/104 with the last 24 bits of `target` (RFC 4291 §2.7.1).
fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(a),
        u16::from(b) << 8 | u16::from(c),
    )
}

/// 33:33 and the last 32 bits of `group` (RFC 2464 §7).
fn multicast(group: Ipv6Addr) -> MacAddress {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(number: u8) -> Card {
        Card::new(
            [2, 0, 0, 0, 0, number],
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()),
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number.into()),
            Some(Ipv4Addr::new(10, 0, 0, number)),
        )
    }

    /// Passes frames to and fro until there are none.
    fn settle(now: Duration, a: &mut Card, b: &mut Card) -> usize {
        let mut frames = 0;
        loop {
            let (from_a, from_b) = (a.take_outgoing(), b.take_outgoing());
            if from_a.is_empty() && from_b.is_empty() {
                return frames;
            }
            frames += from_a.len() + from_b.len();
            from_a.iter().for_each(|frame| b.receive(now, frame));
            from_b.iter().for_each(|frame| a.receive(now, frame));
        }
    }

    #[test]
    fn two_cards_on_a_wire_ping_each_other() {
        let (mut a, mut b) = (card(1), card(2));
        let now = Duration::from_secs(1);
        a.ping(now, b.ipv4().unwrap().into(), 1);
        a.ping(now, b.ipv6().into(), 2);
        a.ping(now, b.link_local().into(), 3);
        settle(now, &mut a, &mut b);
        assert!((1..=3).all(|token| a.answered(token) == Some(now)));
        assert_eq!(a.neighbour(b.ipv4().unwrap().into()), Some(b.mac()));
        a.ping(now, Ipv4Addr::BROADCAST.into(), 4);
        a.ping(now, ALL_NODES.into(), 5);
        settle(now, &mut a, &mut b);
        assert_eq!(a.answerers(4), [IpAddr::V4(b.ipv4().unwrap())]);
        assert_eq!(a.answerers(5), [IpAddr::V6(b.link_local())]);
    }

    #[test]
    fn an_absent_neighbour_is_asked_for_three_times() {
        let mut a = card(1);
        let mut now = Duration::ZERO;
        a.ping(now, Ipv4Addr::new(10, 0, 0, 9).into(), 1);
        let mut questions = a.take_outgoing().len();
        while let Some(next) = a.next_timer() {
            now = next;
            a.timer(now);
            questions += a.take_outgoing().len();
        }
        assert_eq!((questions, now), (3, Duration::from_secs(3)));
    }

    #[test]
    fn an_old_entry_is_confirmed_by_unicast_and_dropped_when_silent() {
        let (mut a, mut b) = (card(1), card(2));
        let address: IpAddr = b.ipv4().unwrap().into();
        a.ping(Duration::ZERO, address, 1);
        settle(Duration::ZERO, &mut a, &mut b);
        assert_eq!(a.next_timer(), None);
        let later = Duration::from_secs(40);
        a.ping(later, address, 2);
        assert_eq!(a.next_timer(), Some(later + DELAY));
        assert_eq!(a.take_outgoing().len(), 1);
        a.timer(later + DELAY);
        let question = a.take_outgoing().remove(0);
        assert_eq!(question[..6], b.mac());
        b.receive(later + DELAY, &question);
        settle(later + DELAY, &mut a, &mut b);
        assert_eq!(a.next_timer(), None);
        let silent = Duration::from_secs(100);
        a.ping(silent, address, 3);
        while let Some(next) = a.next_timer() {
            a.timer(next);
        }
        assert_eq!(a.neighbour(address), None);
    }
}

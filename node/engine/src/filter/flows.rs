//! The flows that this machine began on a *strangers* network, whose answers are let in.
//!
//! Only what this machine sends makes an entry or keeps it: what others send can end a flow, never begin one or keep it
//! beyond its time after the last packet from here. The table is bounded. Where it is full, the remote with the most flows loses its idlest one, so whoever lures this machine
//! into many flows displaces its own.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::{
    open::{Opened, Protocol},
    packet::{Content, IpPacket, NAME_SERVICES, Quoted, TcpFlags},
};
use crate::Time;

/// A connection that is asked for and not answered: longer than Linux tries with pauses that double (1, 2, 4 … s).
const TCP_ASKED: Duration = Duration::from_secs(60);

/// A connection on which this machine sends nothing: RFC 5382 §5 asks for 2 h 4 min, which keep-alives of 2 h need.
const TCP_IDLE: Duration = Duration::from_secs(2 * 3600 + 240);

/// A connection of which one end has said that it sends no more: the other may go on, if this machine acknowledges it.
const TCP_HALF: Duration = Duration::from_secs(240);

/// A connection that both ends closed or one broke off: what is under way, and what is sent again.
const TCP_CLOSING: Duration = Duration::from_secs(30);

/// A datagram that is not answered yet.
const UDP_ASKED: Duration = Duration::from_secs(30);

/// A flow of datagrams with answers, after the last one from here (RFC 4787 §4.3 asks for 120 s at least).
const UDP_IDLE: Duration = Duration::from_secs(180);

/// A ping.
const ECHO: Duration = Duration::from_secs(30);

/// After a question to all, anybody may answer so long.
const GROUP_ASKED: Duration = Duration::from_secs(30);

/// So long after the network was joined, connections of before go on: the daemon may have been started anew under them.
const ADOPTING: Duration = Duration::from_secs(600);

/// Flows of a network, and with one remote address.
pub(super) const MAX_FLOWS: usize = 4096;
pub(super) const MAX_FLOWS_OF_ONE: usize = 512;

/// Questions to all that may be answered.
pub(super) const MAX_ASKED: usize = 64;

/// The flows of one network.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    flows: BTreeMap<Key, Flow>,
    /// How many flows each remote address has.
    of_one: BTreeMap<IpAddr, usize>,
    asked: BTreeMap<Question, Asked>,
    /// Until when connections are taken up that began before the network was joined; set at the first packet.
    adopting: Option<Time>,
}

/// The remote comes first, so that the flows of one lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    remote: IpAddr,
    protocol: Protocol,
    local: IpAddr,
    /// Of a ping, its identifier.
    local_port: u16,
    remote_port: u16,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    state: State,
    /// When this machine sent something last.
    used: Time,
    until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came back yet.
    Asked,
    Answered,
    /// One end of a connection has ended it: this one, or the other.
    Half {
        here: bool,
    },
    Closing,
}

/// From where a question to all was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    protocol: Protocol,
    local: IpAddr,
    local_port: u16,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    until: Time,
    /// A name service answers from the port that was asked; games answer from any.
    only_from: Option<u16>,
}

impl Flows {
    /// Takes note of a packet that this machine sends. Returns how many flows had to give way.
    ///
    /// What comes from an opened port needs no flow, and makes none: others decide how many of those there are.
    /// From a port that was opened before, only a TCP SYN begins one.
    pub(crate) fn sent(
        &mut self,
        now: Time,
        packet: &IpPacket,
        to_group: bool,
        (opened, opened_once): (&Opened, &Opened),
    ) -> u64 {
        let adopting = *self.adopting.get_or_insert(now + ADOPTING) > now;
        let (protocol, local_port, remote_port) = match packet.content {
            Content::Tcp { from, to, .. } => (Protocol::Tcp, from, to),
            Content::Udp { from, to, .. } => (Protocol::Udp, from, to),
            Content::EchoRequest { identifier } => (Protocol::Echo, identifier, 0),
            Content::EchoReply { .. } | Content::Error(_) | Content::Later => return 0,
        };
        if opened.contains(protocol, local_port) {
            return 0;
        }
        if to_group {
            let only_from = NAME_SERVICES.contains(&remote_port).then_some(remote_port);
            let tells = matches!(packet.content, Content::Udp { is_name_answer, .. } if is_name_answer);
            let announces = opened_once.contains(protocol, local_port);
            if protocol == Protocol::Tcp || (only_from.is_some() && tells) || announces {
                return 0;
            }
            let question = Question {
                protocol,
                local: packet.source,
                local_port,
            };
            return self.ask(now, question, only_from);
        }
        let key = Key {
            remote: packet.destination,
            protocol,
            local: packet.source,
            local_port,
            remote_port,
        };
        let known = self.flows.get_mut(&key).filter(|flow| flow.until > now);
        if let Some(flow) = known {
            flow.sent(now, protocol, &packet.content);
            return 0;
        }
        match packet.content {
            Content::Tcp { flags, .. } if flags.asks() => self.begin(now, key, State::Asked, TCP_ASKED),
            _ if opened_once.contains(protocol, local_port) => 0,
            Content::Tcp { flags, .. } if adopting && flags.goes_on() => {
                self.begin(now, key, State::Answered, TCP_IDLE)
            }
            Content::Udp { .. } => self.begin(now, key, State::Asked, UDP_ASKED),
            Content::EchoRequest { .. } => self.begin(now, key, State::Asked, ECHO),
            _ => 0,
        }
    }

    /// Whether a packet of somebody else's to this machine alone belongs to a flow.
    pub(crate) fn came(&mut self, now: Time, packet: &IpPacket) -> bool {
        let (protocol, local_port, remote_port) = match packet.content {
            // A connection that somebody else asks for is none of this machine's.
            Content::Tcp { flags, .. } if flags.asks() => return false,
            Content::Tcp { from, to, .. } => (Protocol::Tcp, to, from),
            Content::Udp { from, to, .. } => (Protocol::Udp, to, from),
            Content::EchoReply { identifier } => (Protocol::Echo, identifier, 0),
            Content::EchoRequest { .. } | Content::Error(_) | Content::Later => return false,
        };
        let key = Key {
            remote: packet.source,
            protocol,
            local: packet.destination,
            local_port,
            remote_port,
        };
        if let Some(flow) = self.flows.get_mut(&key).filter(|flow| flow.until > now) {
            flow.came(now, &packet.content);
            return true;
        }
        let question = Question {
            protocol,
            local: packet.destination,
            local_port,
        };
        self.asked
            .get(&question)
            .is_some_and(|asked| asked.until > now && asked.only_from.is_none_or(|port| port == remote_port))
    }

    /// Whether a quoted packet belongs to a flow with `remote`.
    pub(crate) fn has(&self, now: Time, quoted: &Quoted) -> bool {
        let key = Key {
            remote: quoted.destination,
            protocol: quoted.protocol,
            local: quoted.source,
            local_port: quoted.ports.0,
            remote_port: quoted.ports.1,
        };
        self.flows.get(&key).is_some_and(|flow| flow.until > now)
    }

    fn ask(&mut self, now: Time, question: Question, only_from: Option<u16>) -> u64 {
        let mut displaced = 0;
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&question) {
            self.asked.retain(|_, asked| asked.until > now);
            if self.asked.len() >= MAX_ASKED {
                let oldest = self.asked.iter().min_by_key(|(_, asked)| asked.until);
                if let Some(oldest) = oldest.map(|(question, _)| *question) {
                    self.asked.remove(&oldest);
                    displaced = 1;
                }
            }
        }
        let until = now + GROUP_ASKED;
        self.asked.insert(question, Asked { until, only_from });
        displaced
    }

    fn begin(&mut self, now: Time, key: Key, state: State, kept: Duration) -> u64 {
        // It may stand there, ended.
        self.remove(&key);
        let mut displaced = 0;
        let held = |flows: &Self| flows.of_one.get(&key.remote).copied().unwrap_or(0);
        if held(self) >= MAX_FLOWS_OF_ONE {
            displaced += self.make_room(now, key.remote);
        }
        if self.flows.len() >= MAX_FLOWS {
            let most = self.of_one.iter().max_by_key(|(_, flows)| **flows);
            if let Some(most) = most.map(|(remote, _)| *remote) {
                displaced += self.make_room(now, most);
            }
        }
        *self.of_one.entry(key.remote).or_insert(0) += 1;
        let until = now + kept;
        self.flows.insert(
            key,
            Flow {
                state,
                used: now,
                until,
            },
        );
        displaced
    }

    /// Forgets the ended flows with a remote, or its idlest one.
    fn make_room(&mut self, now: Time, remote: IpAddr) -> u64 {
        let of_remote = || {
            let first = Key {
                remote,
                protocol: Protocol::Tcp,
                local: Ipv4Addr::UNSPECIFIED.into(),
                local_port: 0,
                remote_port: 0,
            };
            let last = Key {
                remote,
                protocol: Protocol::Echo,
                local: Ipv6Addr::from(u128::MAX).into(),
                local_port: u16::MAX,
                remote_port: u16::MAX,
            };
            first..=last
        };
        let flows = self.flows.range(of_remote());
        let ended: Vec<Key> = flows
            .filter(|(_, flow)| flow.until <= now)
            .map(|(key, _)| *key)
            .collect();
        if !ended.is_empty() {
            ended.iter().for_each(|key| self.remove(key));
            return 0;
        }
        let idlest = self.flows.range(of_remote()).min_by_key(|(_, flow)| flow.used);
        let Some(idlest) = idlest.map(|(key, _)| *key) else {
            return 0;
        };
        self.remove(&idlest);
        1
    }

    fn remove(&mut self, key: &Key) {
        if self.flows.remove(key).is_none() {
            return;
        }
        if let Some(flows) = self.of_one.get_mut(&key.remote) {
            *flows -= 1;
            if *flows == 0 {
                self.of_one.remove(&key.remote);
            }
        }
    }
}

impl Flow {
    fn sent(&mut self, now: Time, protocol: Protocol, content: &Content) {
        self.used = now;
        let Content::Tcp { flags, .. } = content else {
            let kept = match (protocol, self.state) {
                (Protocol::Udp, State::Answered) => UDP_IDLE,
                (Protocol::Udp, _) => UDP_ASKED,
                _ => ECHO,
            };
            self.until = now + kept;
            return;
        };
        if flags.asks() {
            // The same ports once more: a new connection, or the first segment again.
            (self.state, self.until) = (State::Asked, now + TCP_ASKED);
            return;
        }
        self.ends(now, *flags, true);
        match self.state {
            State::Answered => self.until = now + TCP_IDLE,
            State::Half { .. } => self.until = now + TCP_HALF,
            State::Asked | State::Closing => {}
        }
    }

    fn came(&mut self, now: Time, content: &Content) {
        if self.state == State::Asked {
            self.state = State::Answered;
            if matches!(content, Content::Udp { .. }) {
                self.until = self.used + UDP_IDLE;
            }
        }
        if let Content::Tcp { flags, .. } = content {
            self.ends(now, *flags, false);
        }
    }

    /// What a segment from here or there ends.
    fn ends(&mut self, now: Time, flags: TcpFlags, here: bool) {
        let both = matches!(self.state, State::Half { here: ended } if ended != here);
        let closes = flags.rst || (flags.fin && both);
        let (state, kept) = if closes && self.state != State::Closing {
            (State::Closing, TCP_CLOSING)
        } else if flags.fin && self.state == State::Answered {
            (State::Half { here }, TCP_HALF)
        } else {
            return;
        };
        self.state = state;
        let until = now + kept;
        self.until = if here { until } else { until.min(self.until) };
    }
}

impl TcpFlags {
    /// Whether a segment is of the middle of a connection.
    fn goes_on(self) -> bool {
        self.ack && !self.syn && !self.fin && !self.rst
    }
}

#[cfg(test)]
mod tests;

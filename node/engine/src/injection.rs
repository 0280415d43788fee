//! How many frames to groups others may put on this machine's card: every program that listens has to look at each.
//!
//! Each origin has a rate for each group, or UDP port of broadcasts, one for all of them, and one of its own for what a LAN
//! needs to work at all ([`Kind::Basic`]); and each network has one for all origins. What a sender's own limits
//! ([`crate::multicast`]) let pass, these do, too.

use std::time::Duration;

use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket};
use farlan_netconf::Mac;

use crate::{
    Engine, NetworkHandle, Time,
    channels::Datagram,
    peers::PeerId,
    rates::{Meter, Meters, Rate},
    switch::{ARP, mac_at},
};

/// Frames to one group, or of broadcasts to one UDP port, a second, and at once: enough for what a game tells of its state,
/// thirty times a second.
pub(crate) const OF_ONE_CHANNEL: Rate = Rate::per_second(50, Duration::from_secs(2));

/// All frames to groups of one origin in one network, but for basic ones: several games, or a few machines behind a bridge.
pub(crate) const OF_ONE: Rate = Rate::per_second(150, Duration::from_secs(2));

/// Basic frames of one origin: a program that asks for each address of a /24 is not cut.
pub(crate) const BASIC: Rate = Rate::per_second(100, Duration::from_secs(3));

/// Those of all origins in one network. At once as many as the 128 machines of a LAN tell when their power comes back, thirty
/// each.
const OF_ALL: Rate = Rate::per_second(500, Duration::from_secs(8));

/// An origin that goes beyond its rates is watched for so long. If it went on with that in [`OVER`] of these seconds, and of five
/// frames in that time more than four were dropped, it is ignored for [`IGNORED`], but for basic frames.
const WATCHED: Duration = Duration::from_secs(10);

/// See [`WATCHED`].
const OVER: u32 = 8;

/// See [`WATCHED`].
const IGNORED: Duration = Duration::from_secs(60);

/// Groups and ports of one origin for which is counted. Beyond those it has nothing before one of them is idle.
const MAX_COUNTED: usize = 32;

/// UDP ports of DHCP and DHCPv6.
const DHCP: [u16; 4] = [67, 68, 546, 547];

/// What a frame to a group counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// ARP, neighbour discovery and the rest of ICMPv6, DHCP.
    Basic,
    /// What goes to a group; of UDP broadcasts over IPv4, to which port.
    Of(Mac, Option<u16>),
}

impl Kind {
    /// That of a frame; none if it is for one machine, or shorter than a header.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let group = mac_at(frame, 0).filter(|destination| destination.is_group())?;
        let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let payload = packet.net.as_ref().and_then(LaxNetSlice::ip_payload_ref);
        let is_arp = packet
            .ether_payload()
            .is_some_and(|payload| payload.ether_type.0 == ARP);
        if is_arp || payload.is_some_and(|payload| payload.ip_number == IpNumber::IPV6_ICMP) {
            return Some(Self::Basic);
        }
        let to = payload.filter(|payload| payload.ip_number == IpNumber::UDP && !payload.fragmented);
        let to = to.and_then(|payload| Some(u16::from_be_bytes(*payload.payload.get(2..)?.first_chunk()?)));
        if to.is_some_and(|port| DHCP.contains(&port)) {
            return Some(Self::Basic);
        }
        let port = (group == Mac::BROADCAST).then(|| Datagram::of(frame)).flatten();
        Some(Self::Of(group, port.and_then(|datagram| datagram.port)))
    }
}

/// What one origin put on the card.
#[derive(Debug)]
pub(crate) struct Injected {
    basic: Meter,
    all: Meter,
    each: Meters<(Mac, Option<u16>)>,
    watched: Option<Watched>,
    /// Until when it is ignored.
    ignored: Option<Time>,
}

impl Default for Injected {
    fn default() -> Self {
        Self {
            basic: Meter::default(),
            all: Meter::default(),
            each: Meters::new(OF_ONE_CHANNEL, MAX_COUNTED),
            watched: None,
            ignored: None,
        }
    }
}

/// An origin that went beyond its rates.
#[derive(Debug)]
struct Watched {
    since: Time,
    delivered: u32,
    dropped: u32,
    /// Seconds in which something was dropped, and when the latest of them ends.
    over: u32,
    second: Time,
}

impl Watched {
    fn new(since: Time) -> Self {
        Self {
            since,
            delivered: 0,
            dropped: 0,
            over: 0,
            second: since,
        }
    }

    fn count(&mut self, now: Time, fits: bool) {
        if fits {
            self.delivered += 1;
            return;
        }
        self.dropped += 1;
        if now >= self.second {
            self.over += 1;
            self.second = now + Duration::from_secs(1);
        }
    }

    fn is_flood(&self) -> bool {
        self.over >= OVER && self.dropped / 4 > self.delivered
    }
}

/// What all origins put on the card of one network: basic frames, and others.
#[derive(Debug, Default)]
pub(crate) struct InjectedByAll([Meter; 2]);

impl InjectedByAll {
    fn take(&mut self, now: Time, kind: Kind) -> bool {
        let [basic, others] = &mut self.0;
        let meter = if kind == Kind::Basic { basic } else { others };
        meter.take(now, &OF_ALL, 1)
    }

    /// Nothing is left for a while.
    #[cfg(test)]
    pub(crate) fn spend_for_test(&mut self, now: Time) {
        let most = u64::MAX;
        self.0.iter_mut().for_each(|meter| {
            meter.draw(now + Duration::from_secs(60), &OF_ALL, most);
        });
    }
}

/// What becomes of a frame of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Deliver,
    TooMany,
    Ignore,
}

impl Injected {
    fn judge(&mut self, now: Time, kind: Kind) -> Verdict {
        let Kind::Of(group, port) = kind else {
            let fits = self.basic.take(now, &BASIC, 1);
            return if fits { Verdict::Deliver } else { Verdict::TooMany };
        };
        self.ignored.take_if(|until| *until <= now);
        if self.ignored.is_some() {
            return Verdict::Ignore;
        }
        let fits = self.each.take(now, (group, port)) && self.all.take(now, &OF_ONE, 1);
        if !fits {
            self.watched.get_or_insert_with(|| Watched::new(now));
        }
        if let Some(watched) = &mut self.watched {
            watched.count(now, fits);
            if now.since(watched.since) >= WATCHED {
                self.ignored = watched.is_flood().then_some(now + IGNORED);
                self.watched = None;
            }
        }
        if fits { Verdict::Deliver } else { Verdict::TooMany }
    }
}

impl Engine {
    /// Whether one more frame to a group may be delivered that comes from a peer; what is for one machine always may.
    pub(crate) fn may_inject(&mut self, now: Time, id: PeerId, handle: NetworkHandle, frame: &[u8]) -> bool {
        let Some(kind) = Kind::of(frame) else { return true };
        let (Some(peer), Some(network)) = (self.peers.get_mut(id), self.networks.get_mut(handle)) else {
            return false;
        };
        let counters = &mut self.counters;
        if network.mutes(&peer.key.node_id()) {
            counters.group_origin_ignored += 1;
            return false;
        }
        match peer.injected.get_or_insert_default().judge(now, kind) {
            Verdict::Deliver if network.injected.take(now, kind) => return true,
            Verdict::Deliver => counters.group_delivery_limited += 1,
            Verdict::TooMany => counters.group_origin_limited += 1,
            Verdict::Ignore => counters.group_origin_ignored += 1,
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAME: Kind = Kind::Of(Mac::BROADCAST, Some(27_015));

    /// What becomes of `count` frames a second, evenly sent and of these kinds in turn, for so many seconds: delivered, dropped,
    /// ignored.
    fn judged(injected: &mut Injected, kinds: &[Kind], from: u64, seconds: u64, count: u64) -> [u64; 3] {
        let mut judged = [0; 3];
        for (number, kind) in (0..seconds * count).zip(kinds.iter().cycle()) {
            let now = Time::from_nanos(from * 1_000_000_000 + number * 1_000_000_000 / count);
            let verdict = match injected.judge(now, *kind) {
                Verdict::Deliver => 0,
                Verdict::TooMany => 1,
                Verdict::Ignore => 2,
            };
            judged[verdict] += 1;
        }
        judged
    }

    #[test]
    fn an_origin_has_fifty_a_second_and_a_hundred_at_once_for_each_port() {
        let mut injected = Injected::default();
        assert_eq!(judged(&mut injected, &[GAME], 1, 100, 50), [5000, 0, 0]);
        let at_once = (0..200).filter(|_| injected.judge(Time::from_nanos(200_000_000_000), GAME) == Verdict::Deliver);
        assert_eq!(at_once.count(), 100);
        let games = [1, 2, 3, 4, 5].map(|port| Kind::Of(Mac::BROADCAST, Some(port)));
        assert_eq!(judged(&mut injected, &games, 300, 100, 150), [15_000, 0, 0], "30 each");
        let [delivered, _, ignored] = judged(&mut injected, &games, 500, 100, 250);
        assert!((15_000..=15_300).contains(&delivered), "{delivered}");
        assert_eq!(ignored, 0);
    }

    #[test]
    fn a_flood_is_ignored_after_ten_seconds_for_a_minute() {
        let mut injected = Injected::default();
        let [delivered, dropped, ignored] = judged(&mut injected, &[GAME], 1, 60, 1000);
        assert!((590..=610).contains(&delivered), "{delivered}");
        assert!((9_000..=9_600).contains(&dropped), "{dropped}");
        assert_eq!(delivered + dropped + ignored, 60_000);
        // It went on meanwhile, so it is ignored again ten seconds after it was heard again.
        let [delivered, _, ignored] = judged(&mut injected, &[GAME], 61, 60, 1000);
        assert!((590..=620).contains(&delivered), "{delivered}");
        assert!(ignored >= 48_000, "{ignored}");
        // What the LAN needs is heard all the time.
        assert_eq!(judged(&mut injected, &[Kind::Basic], 122, 5, 100), [500, 0, 0]);
        // A minute of silence, and it is heard as before.
        assert_eq!(judged(&mut injected, &[GAME], 200, 10, 50), [500, 0, 0]);
    }

    #[test]
    fn who_goes_through_all_ports_has_no_more_than_others() {
        let mut injected = Injected::default();
        let ports: Vec<Kind> = (1..60_000).map(|port| Kind::Of(Mac::BROADCAST, Some(port))).collect();
        let [delivered, ..] = judged(&mut injected, &ports, 1, 5, 1000);
        assert!(delivered <= 1_050, "{delivered}");
    }

    #[test]
    fn who_sends_a_little_too_much_loses_that_and_no_more() {
        let mut injected = Injected::default();
        let [delivered, dropped, ignored] = judged(&mut injected, &[GAME], 1, 100, 60);
        assert_eq!(ignored, 0);
        assert!((5000..=5150).contains(&delivered), "{delivered} and {dropped}");
    }

    #[test]
    fn what_a_lan_needs_to_work_is_told_apart() {
        let frame = |group: [u8; 6], rest: &[u8]| [&group[..], &[2, 0, 0, 0, 0, 1], rest].concat();
        let all = [0xff; 6];
        let arp = [&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat();
        assert_eq!(Kind::of(&frame(all, &arp)), Some(Kind::Basic));
        let tagged = [&[0x81, 0, 0, 7], &arp[..]].concat();
        assert_eq!(Kind::of(&frame(all, &tagged)), Some(Kind::Basic));
        let udp = |port: u16| {
            let mut rest = vec![0x08, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0];
            rest.extend([255, 255, 255, 255, 0, 68]);
            rest.extend(port.to_be_bytes());
            rest.extend([0, 8, 0, 0]);
            rest
        };
        assert_eq!(Kind::of(&frame(all, &udp(67))), Some(Kind::Basic));
        assert_eq!(
            Kind::of(&frame(all, &udp(8303))),
            Some(Kind::Of(Mac::BROADCAST, Some(8303)))
        );
        let group = [0x01, 0, 0x5e, 0, 2, 60];
        let minecraft = Kind::Of(Mac::from_bytes(group), None);
        assert_eq!(Kind::of(&frame(group, &udp(4445))), Some(minecraft));
        let icmp = [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255][..], &[0; 40]].concat();
        assert_eq!(Kind::of(&frame([0x33, 0x33, 0xff, 0, 0, 1], &icmp)), Some(Kind::Basic));
        assert_eq!(Kind::of(&frame([2, 0, 0, 0, 0, 2], &arp)), None);
        assert_eq!(
            Kind::of(&frame(all, &[0x88, 0xb5])),
            Some(Kind::Of(Mac::BROADCAST, None))
        );
        for length in 0..12 {
            Kind::of(&frame(all, &arp)[..length]);
        }
    }
}

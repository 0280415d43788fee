//! The gate before public-key work for strangers: which initiations are let into the queue. Its steps:
//!
//! 1. Who does not know this node's key is told by the first MAC, for one hash.
//! 2. Under load a second MAC is asked for, which shows that the sender got a **cookie** where the initiation says to come
//!    from. Who has none gets one, and nothing is kept of it: a cookie is a MAC of the source.
//! 3. What is proved so has a budget per source, and what is let in has places in the queue by source (`work`).
//!
//! ```text
//! initiation   header 8 | Noise message 1, 136 | mac1 16 | mac2 16
//! cookie       header 8 | nonce 16 | sealed cookie 32
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use farlan_crypto::{Aead as _, HmacKey, KEY, Key, PublicKey, SalsaPoly, TAG, defects::planted, sha512};
use rand_core::Rng as _;

use crate::{
    Engine, Outbox, Time,
    handshakes::Via,
    peers::PeerId,
    rates::{Meter, Rate},
    wire::datagram::{RelayIndex, RelayTarget, SessionIndex, SupernodeTag, put_cookie},
    work::MAX_INITIATIONS,
};

/// Length of an initiation; what is before its MACs, which makes it what it is; and what is before its second MAC.
pub(crate) const INITIATION: usize = AUTHENTIC + 2 * MAC;
pub(crate) const AUTHENTIC: usize = 144;
pub(crate) const WITH_FIRST_MAC: usize = AUTHENTIC + MAC;

/// Length of a MAC in an initiation.
const MAC: usize = 16;

/// Length of a cookie, and of the datagram that brings one.
const COOKIE: usize = 16;
pub(crate) const COOKIE_DATAGRAM: usize = COOKIE_HEADER + NONCE + COOKIE + TAG;
const COOKIE_HEADER: usize = 8;
const NONCE: usize = 16;

/// Initiations from nobody knows where, above which cookies are asked for: 3 % of a processor.
const UNPROVED: Rate = Rate::each_second(200);

/// Initiations of one proved source under load: WireGuard's figure, for a household and for a carrier's NAT alike.
const FROM_ONE: Rate = Rate::each_second(20);

/// Cookies given out, and second MACs checked: each takes some 5 µs with what the system does for it, so half a processor. Who
/// is not served asks again.
const COOKIES: Rate = Rate::per_second(150_000, Duration::from_millis(100));

/// Proved sources whose budgets are remembered; the first one met gives way.
const MAX_SOURCES: usize = 4096;

/// A secret makes cookies for so long, and they count for as long again.
const SECRET_USED: Duration = Duration::from_secs(120);

/// How long a cookie is used: its secret is known for so long at the least.
pub(crate) const COOKIE_USED: Duration = SECRET_USED;

/// What handshake messages are limited by: those from one source have one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Ipv4(Ipv4Addr),
    /// The first 64 bits, which one customer has at the least.
    Ipv6([u8; 8]),
    Relayed {
        supernode: PeerId,
        source: RelayTarget,
    },
    Passed {
        sibling: SupernodeTag,
        source: RelayIndex,
    },
}

impl Source {
    pub(crate) fn of(via: Via) -> Self {
        match via {
            Via::Direct(address) => match address.ip().to_canonical() {
                IpAddr::V4(address) => Self::Ipv4(address),
                IpAddr::V6(address) => {
                    let [a, b, c, d, e, f, g, h, ..] = address.octets();
                    Self::Ipv6([a, b, c, d, e, f, g, h])
                }
            },
            Via::Relay { supernode, source } => Self::Relayed { supernode, source },
            Via::Passed { sibling, source } => Self::Passed { sibling, source },
        }
    }
}

/// A cookie: what a second MAC is made with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie([u8; COOKIE]);

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookie(..)")
    }
}

impl Cookie {
    /// Any cookie, for the tests of those who keep some.
    #[cfg(test)]
    pub(crate) fn for_test(byte: u8) -> Self {
        Self([byte; COOKIE])
    }

    fn key(&self) -> HmacKey {
        HmacKey::new(&self.0)
    }
}

/// What the gate keeps. Nothing of it grows with what strangers send.
#[derive(Debug)]
pub(crate) struct Gate {
    first_mac: HmacKey,
    cookie_key: HmacKey,
    unproved: Meter,
    cookies: Meter,
    /// The secret in use and since when, and the one before it.
    secret: Option<(Time, HmacKey)>,
    former_secret: Option<(Time, HmacKey)>,
    sources: BTreeMap<Source, Meter>,
    /// The same, the first one met first.
    sources_met: VecDeque<Source>,
}

impl Gate {
    /// The gate of the node with this key.
    pub(crate) fn new(own: &PublicKey) -> Self {
        Self {
            first_mac: first_mac_key(own),
            cookie_key: cookie_key(own),
            unproved: Meter::default(),
            cookies: Meter::default(),
            secret: None,
            former_secret: None,
            sources: BTreeMap::new(),
            sources_met: VecDeque::new(),
        }
    }

    /// Sources whose budgets are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.sources.len().max(self.sources_met.len())
    }

    /// Whether the secret in use is due to be drawn anew.
    fn wants_secret(&self, now: Time) -> bool {
        self.secret
            .as_ref()
            .is_none_or(|(since, _)| now.since(*since) >= SECRET_USED)
    }

    fn renew_secret(&mut self, now: Time, secret: &[u8; 32]) {
        self.former_secret = self.secret.replace((now, HmacKey::new(secret)));
    }

    /// Whether the second MAC of an initiation was made with a cookie for its source.
    fn is_proved(&self, now: Time, source: &[u8], initiation: &[u8; INITIATION]) -> bool {
        let (before, second_mac) = initiation.split_at(WITH_FIRST_MAC);
        if second_mac.iter().all(|byte| *byte == 0) {
            return false;
        }
        let mut secrets = self.secret.iter().chain(&self.former_secret);
        secrets.any(|(since, secret)| {
            now.since(*since) < 2 * SECRET_USED && cookie(secret, source).key().matches(&[before], second_mac)
        })
    }

    /// Takes one of the budget of a proved source.
    fn admits(&mut self, now: Time, source: Source) -> bool {
        if let Some(budget) = self.sources.get_mut(&source) {
            return budget.take(now, &FROM_ONE, 1);
        }
        // A budget that is whole again tells nothing.
        while let Some(first) = self.sources_met.front()
            && (self.sources.len() >= MAX_SOURCES || self.sources.get(first).is_none_or(|budget| budget.is_idle(now)))
        {
            self.sources.remove(first);
            self.sources_met.pop_front();
        }
        let mut budget = Meter::default();
        budget.take(now, &FROM_ONE, 1);
        self.sources.insert(source, budget);
        self.sources_met.push_back(source);
        true
    }
}

/// The cookie for a source under a secret.
fn cookie(secret: &HmacKey, source: &[u8]) -> Cookie {
    let source = if planted("cookie-unbound") { &[] } else { source };
    Cookie(first(&secret.mac(&[source])))
}

fn first<const LENGTH: usize>(mac: &[u8; 64]) -> [u8; LENGTH] {
    let mut first = [0; LENGTH];
    first.iter_mut().zip(mac).for_each(|(to, from)| *to = *from);
    first
}

fn first_mac_key(responder: &PublicKey) -> HmacKey {
    HmacKey::new(&sha512(&[b"farlan mac 1", responder.as_bytes()]))
}

fn cookie_key(responder: &PublicKey) -> HmacKey {
    HmacKey::new(&sha512(&[b"farlan cookie 1", responder.as_bytes()]))
}

/// Appends the first MAC to an initiation to `responder` that ends with message 1.
pub(crate) fn put_first_mac(responder: &PublicKey, initiation: &mut Vec<u8>) {
    let mac: [u8; MAC] = first(&first_mac_key(responder).mac(&[initiation]));
    initiation.extend_from_slice(&mac);
}

/// Appends the second MAC to an initiation that ends with the first: zeros without a cookie.
pub(crate) fn put_second_mac(cookie: Option<Cookie>, with_first: &[u8], bytes: &mut Vec<u8>) {
    let mac: [u8; MAC] = cookie.map_or([0; MAC], |cookie| first(&cookie.key().mac(&[with_first])));
    bytes.extend_from_slice(with_first);
    bytes.extend_from_slice(&mac);
}

/// The first MAC in an initiation.
fn first_mac_of(initiation: &[u8]) -> &[u8] {
    initiation.get(AUTHENTIC..WITH_FIRST_MAC).unwrap_or_default()
}

/// Appends the datagram that brings `cookie` to the sender of an initiation with this index and first MAC.
fn put_cookie_datagram(
    key: &HmacKey,
    (cookie, nonce): (Cookie, [u8; NONCE]),
    (receiver, first_mac): (SessionIndex, &[u8]),
    bytes: &mut Vec<u8>,
) {
    let mut header = Vec::with_capacity(COOKIE_HEADER + MAC);
    put_cookie(&mut header, receiver);
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&nonce);
    header.extend_from_slice(first_mac);
    let mut sealed = [0; COOKIE + TAG];
    sealed.iter_mut().zip(cookie.0).for_each(|(to, from)| *to = from);
    SalsaPoly::seal(&sealing_key(key, &nonce), 0, &header, &mut sealed);
    bytes.extend_from_slice(&sealed);
}

fn sealing_key(key: &HmacKey, nonce: &[u8]) -> Key {
    Key::from_bytes(first::<KEY>(&key.mac(&[nonce])))
}

/// The cookie in a datagram from `responder`, if it answers the initiation.
pub(crate) fn open_cookie(responder: &PublicKey, datagram: &[u8], initiation: &[u8]) -> Option<Cookie> {
    let datagram: &[u8; COOKIE_DATAGRAM] = datagram.try_into().ok()?;
    let (header, rest) = datagram.split_at(COOKIE_HEADER);
    let (nonce, sealed) = rest.split_at(NONCE);
    let mut sealed = sealed.to_vec();
    let aad = [header, first_mac_of(initiation)].concat();
    let key = sealing_key(&cookie_key(responder), nonce);
    let opened = SalsaPoly::open(&key, 0, &aad, &mut sealed).ok()?;
    <[u8; COOKIE]>::try_from(&*opened).ok().map(Cookie)
}

impl Engine {
    /// An initiation of this version: lets it into the queue, or not.
    pub(crate) fn initiation_received(
        &mut self,
        now: Time,
        via: Via,
        sender: SessionIndex,
        datagram: &[u8],
        out: &mut Outbox,
    ) {
        let Ok(initiation) = <&[u8; INITIATION]>::try_from(datagram) else {
            self.counters.malformed_datagrams += 1;
            return;
        };
        let authentic = initiation.get(..AUTHENTIC).unwrap_or_default();
        if !self.gate.first_mac.matches(&[authentic], first_mac_of(initiation)) && !planted("mac1-unchecked") {
            self.counters.handshakes_keyless += 1;
            return;
        }
        let source = Source::of(via);
        let loaded =
            self.gate.unproved.is_spent(now, &UNPROVED) || self.handshakes.queue.initiations() > MAX_INITIATIONS / 2;
        let mut proved = false;
        if loaded && !planted("cookie-not-demanded") {
            if !self.gate.cookies.take(now, &COOKIES, 1) {
                self.counters.handshakes_limited += 1;
                return;
            }
            if self.gate.wants_secret(now) {
                let secret = self.fresh_secret();
                self.gate.renew_secret(now, secret.as_bytes());
            }
            let source_bytes = self.source_bytes(via);
            proved = self.gate.is_proved(now, &source_bytes, initiation);
            if !proved {
                self.gate.unproved.owe(now, &UNPROVED);
                self.give_cookie(via, (sender, &source_bytes), initiation, out);
                return;
            }
            if !self.gate.admits(now, source) {
                self.counters.handshakes_limited += 1;
                return;
            }
        } else {
            self.gate.unproved.owe(now, &UNPROVED);
        }
        let dropped = self
            .handshakes
            .queue
            .add_initiation(source, proved, (via, datagram.to_vec()));
        self.counters.handshakes_overflow += dropped;
    }

    fn give_cookie(
        &mut self,
        via: Via,
        (sender, source): (SessionIndex, &[u8]),
        initiation: &[u8; INITIATION],
        out: &mut Outbox,
    ) {
        self.counters.handshakes_unproved += 1;
        // Who hides does not let himself be found by trying all addresses; friends come over the relay, too.
        let straight = matches!(via, Via::Direct(_));
        let Some((_, secret)) = self.gate.secret.as_ref().filter(|_| !(straight && self.hides())) else {
            return;
        };
        let cookie = cookie(secret, source);
        let mut nonce = [0; NONCE];
        self.random.fill_bytes(&mut nonce);
        let to = (sender, first_mac_of(initiation));
        self.transmit(via.path(), out, |bytes| {
            put_cookie_datagram(&self.gate.cookie_key, (cookie, nonce), to, bytes);
        });
    }

    /// What a cookie is bound to: the exact source of a datagram.
    fn source_bytes(&self, via: Via) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        match via {
            Via::Direct(leg) => {
                let ip = match leg.ip() {
                    IpAddr::V4(leg) => leg.to_ipv6_mapped(),
                    IpAddr::V6(leg) => leg,
                };
                bytes.push(1);
                bytes.extend_from_slice(&ip.octets());
                bytes.extend_from_slice(&leg.endpoint.port().to_be_bytes());
            }
            Via::Relay { supernode, source } => {
                bytes.push(2);
                let supernode = self.peers.get(supernode);
                bytes.extend_from_slice(&supernode.map(|peer| *peer.key.as_bytes()).unwrap_or_default());
                match source {
                    RelayTarget::Index(RelayIndex(index)) => bytes.extend_from_slice(&index.to_be_bytes()),
                    RelayTarget::Remote { supernode, index } => {
                        bytes.extend_from_slice(&index.0.to_be_bytes());
                        bytes.extend_from_slice(&supernode.0);
                    }
                    RelayTarget::Node(node) => bytes.extend_from_slice(node.as_bytes()),
                }
            }
            Via::Passed { sibling, source } => {
                bytes.push(3);
                bytes.extend_from_slice(&sibling.0);
                bytes.extend_from_slice(&source.0.to_be_bytes());
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, Seed, Work};

    use super::*;

    fn key(seed: u8) -> PublicKey {
        let identity = Identity::from_seed(Seed::from_bytes([seed; 32]), Work::NONE);
        identity.expect("without a stamp any seed will do").public()
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    /// An initiation to `responder` with a second MAC made with `cookie`.
    fn initiation(responder: &PublicKey, cookie: Option<Cookie>) -> [u8; INITIATION] {
        let mut with_first = vec![7; AUTHENTIC];
        put_first_mac(responder, &mut with_first);
        let mut all = Vec::new();
        put_second_mac(cookie, &with_first, &mut all);
        all.try_into().expect("the parts make an initiation")
    }

    #[test]
    fn a_cookie_counts_for_its_source_until_the_second_change_of_the_secret() {
        let mut gate = Gate::new(&key(1));
        gate.renew_secret(at(0), &[1; 32]);
        let cookie = cookie(&gate.secret.as_ref().unwrap().1, b"source");
        let proved = initiation(&key(1), Some(cookie));
        assert!(gate.is_proved(at(0), b"source", &proved));
        assert!(!gate.is_proved(at(0), b"other source", &proved));
        assert!(!gate.is_proved(at(0), b"source", &initiation(&key(1), None)));
        let mut changed = proved;
        changed[20] ^= 1;
        assert!(
            !gate.is_proved(at(0), b"source", &changed),
            "it is made over the whole message"
        );
        assert!(!gate.wants_secret(at(119)) && gate.wants_secret(at(120)));
        gate.renew_secret(at(130), &[2; 32]);
        assert!(gate.is_proved(at(130), b"source", &proved));
        assert!(gate.is_proved(at(239), b"source", &proved));
        assert!(!gate.is_proved(at(240), b"source", &proved));
        gate.renew_secret(at(240), &[3; 32]);
        assert!(!gate.is_proved(at(240), b"source", &proved));
    }

    #[test]
    fn a_cookie_datagram_is_opened_by_whoever_sent_the_initiation_to_its_maker() {
        let (responder, other) = (key(1), key(2));
        let sent = initiation(&responder, None);
        let mut datagram = Vec::new();
        let to = (SessionIndex(5), first_mac_of(&sent));
        put_cookie_datagram(
            &cookie_key(&responder),
            (Cookie([9; COOKIE]), [3; NONCE]),
            to,
            &mut datagram,
        );
        assert_eq!(datagram.len(), COOKIE_DATAGRAM);
        assert!(datagram.len() < INITIATION);
        assert_eq!(open_cookie(&responder, &datagram, &sent), Some(Cookie([9; COOKIE])));
        assert_eq!(open_cookie(&other, &datagram, &sent), None);
        assert_eq!(open_cookie(&responder, &datagram, &initiation(&other, None)), None);
        for length in 0..datagram.len() {
            assert_eq!(open_cookie(&responder, &datagram[..length], &sent), None);
        }
        for bit in 0..datagram.len() * 8 {
            let mut bent = datagram.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_cookie(&responder, &bent, &sent), None, "bit {bit}");
        }
    }

    #[test]
    fn the_budgets_of_sources_are_few() {
        let mut gate = Gate::new(&key(1));
        let source = |number: u32| Source::Ipv4(Ipv4Addr::from(number));
        let admitted = (0..100).filter(|_| gate.admits(at(0), source(0))).count();
        assert_eq!(admitted, 20);
        for number in 0..100_000 {
            assert!(gate.admits(at(0), source(number + 1)));
        }
        assert_eq!(gate.sources.len(), MAX_SOURCES);
        assert_eq!(gate.sources_met.len(), MAX_SOURCES);
        assert!(gate.admits(at(10), source(7)));
        assert_eq!(
            (gate.sources.len(), gate.sources_met.len()),
            (1, 1),
            "what is over is forgotten"
        );
    }

    #[test]
    fn sources_are_addresses_and_ipv6_networks() {
        let of = |address: &str| Source::of(Via::Direct(address.parse::<std::net::SocketAddr>().unwrap().into()));
        assert_eq!(of("192.0.2.1:1"), of("192.0.2.1:2"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
        assert_eq!(of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:1:f::2]:1"));
        assert_ne!(of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:2::1]:1"));
        assert_eq!(of("[::ffff:192.0.2.1]:1"), of("192.0.2.1:1"));
    }
}

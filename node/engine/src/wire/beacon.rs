//! The beacon of a local network: what a node sends to everybody on its link, and only members of a network in common
//! can read.
//!
//! ```text
//! byte    0    1        2  3  4         20
//! beacon  10   version  0  0  nonce 16  slots: 4, 8, 12 or 16 of 64 bytes
//! slot    tag 12 | sealed 52: public key 32 | flags 1 | 0 0 0
//! ```
//! Tag and key of a slot are made of a network's secret and the nonce
//! ([`NetworkSecret::beacon`](farlan_netconf::NetworkSecret::beacon)); a slot without network holds random bytes. What is
//! sealed is authenticated together with the first 20 bytes, under counter 0. Flag 1 says that the sender seeks: whoever
//! reads it is to call, even if they have met before. The other flags and the zero bytes are sent as zero and not interpreted.

use farlan_crypto::{Aead as _, SalsaPoly, TAG};
use farlan_netconf::BeaconKeys;

use super::{
    datagram::{BEACON, VERSION},
    endpoint::Malformed,
};

/// Length of what stands before the slots.
pub(crate) const HEADER: usize = 20;

/// Length of a slot.
pub(crate) const SLOT: usize = SLOT_TAG + SEALED;

/// Slots come in multiples of this, so that their number tells little of how many networks somebody is in.
pub(crate) const SLOTS: usize = 4;

/// The most slots: one for each network that a node can be in.
pub(crate) const MAX_SLOTS: usize = 16;

/// Length of a nonce.
pub(crate) const NONCE: usize = 16;

const SLOT_TAG: usize = 12;
const KEY: usize = 32;
const PLAIN: usize = KEY + 4;
const SEALED: usize = PLAIN + TAG;

const SEEKS: u8 = 1;

/// A beacon with its slots still closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beacon<'a> {
    header: &'a [u8; HEADER],
    slots: &'a [[u8; SLOT]],
}

/// What a member of a network reads of a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// The bytes of its public key, which nothing has checked.
    pub(crate) key: [u8; KEY],
    /// Whether it wants to be called by those, too, who have met it.
    pub(crate) seeks: bool,
}

impl<'a> Beacon<'a> {
    /// Reads a whole datagram of kind 10.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed)?;
        let (slots, over) = rest.as_chunks::<SLOT>();
        let whole = over.is_empty() && !slots.is_empty() && slots.len().is_multiple_of(SLOTS);
        if header[0] != BEACON || !whole || slots.len() > MAX_SLOTS {
            return Err(Malformed);
        }
        Ok(Self { header, slots })
    }

    /// The version of the protocol that its sender speaks.
    pub(crate) fn version(&self) -> u8 {
        self.header[1]
    }

    pub(crate) fn nonce(&self) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&self.header[HEADER - NONCE..]);
        nonce
    }

    /// Reads the slot for a network, by the keys that it makes of this nonce; none if there is no such slot.
    pub(crate) fn sender(&self, keys: &BeaconKeys) -> Option<Sender> {
        let meant = |slot: &&[u8; SLOT]| slot.first_chunk::<SLOT_TAG>().is_some_and(|tag| keys.fits(tag));
        let slot = self.slots.iter().find(meant)?;
        let mut sealed: [u8; SEALED] = *slot.last_chunk()?;
        let plain = SalsaPoly::open(&keys.key, 0, self.header, &mut sealed).ok()?;
        let (key, rest) = plain.split_first_chunk::<KEY>()?;
        let seeks = rest.first().is_some_and(|flags| flags & SEEKS != 0);
        Some(Sender { key: *key, seeks })
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }
}

/// The first bytes of a beacon.
pub(crate) fn header(nonce: &[u8; NONCE]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = BEACON;
    header[1] = VERSION;
    header[HEADER - NONCE..].copy_from_slice(nonce);
    header
}

/// The slot by which members of one network recognise `sender`.
pub(crate) fn slot(header: &[u8; HEADER], keys: &BeaconKeys, sender: &Sender) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    let (tag, sealed) = slot.split_at_mut(SLOT_TAG);
    tag.copy_from_slice(&keys.tag);
    sealed[..KEY].copy_from_slice(&sender.key);
    sealed[KEY] = if sender.seeks { SEEKS } else { 0 };
    SalsaPoly::seal(&keys.key, 0, header, sealed);
    slot
}

#[cfg(test)]
mod tests {
    use farlan_netconf::{NetworkName, NetworkSecret, Parameters, WorldId};
    use proptest::prelude::*;

    use super::*;

    fn secret(name: &str) -> NetworkSecret {
        Parameters::open_name(WorldId::from_bytes([7; 16]), NetworkName::parse(name).unwrap())
            .secret()
            .unwrap()
    }

    fn beacon(nonce: [u8; NONCE], networks: &[NetworkSecret], sender: &Sender) -> Vec<u8> {
        let header = header(&nonce);
        let mut bytes = header.to_vec();
        for network in networks {
            bytes.extend_from_slice(&slot(&header, &network.beacon(&nonce), sender));
        }
        bytes.resize(HEADER + networks.len().next_multiple_of(SLOTS) * SLOT, 0x5a);
        bytes
    }

    const SENDER: Sender = Sender {
        key: [3; KEY],
        seeks: true,
    };

    #[test]
    fn members_of_each_network_read_it_and_nobody_else() {
        let bytes = beacon([9; NONCE], &[secret("london"), secret("paris")], &SENDER);
        assert_eq!(bytes.len(), 276);
        let read = Beacon::parse(&bytes).unwrap();
        assert_eq!((read.nonce(), read.version()), ([9; NONCE], VERSION));
        for name in ["london", "paris"] {
            assert_eq!(read.sender(&secret(name).beacon(&read.nonce())), Some(SENDER));
        }
        assert_eq!(read.sender(&secret("rome").beacon(&read.nonce())), None);
        assert_eq!(read.sender(&secret("london").beacon(&[8; NONCE])), None);
        let calm = Sender { seeks: false, ..SENDER };
        let bytes = beacon([9; NONCE], &[secret("london")], &calm);
        let read = Beacon::parse(&bytes).unwrap();
        assert_eq!(read.sender(&secret("london").beacon(&read.nonce())), Some(calm));
    }

    #[test]
    fn a_bent_beacon_is_nobodys() {
        let bytes = beacon([9; NONCE], &[secret("london")], &SENDER);
        for bit in (8..(HEADER + SLOT) * 8).chain([2, 3]) {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let read = Beacon::parse(&bent);
            let read = read.map(|read| read.sender(&secret("london").beacon(&read.nonce())));
            assert!(matches!(read, Ok(None) | Err(Malformed)), "bit {bit}");
        }
    }

    #[test]
    fn two_beacons_of_one_node_have_nothing_in_common() {
        let [one, two] = [[1; NONCE], [2; NONCE]].map(|nonce| beacon(nonce, &[secret("london")], &SENDER));
        let slots = |bytes: &[u8]| bytes[HEADER..HEADER + SLOT].to_vec();
        let same = slots(&one).iter().zip(&slots(&two)).filter(|(a, b)| a == b).count();
        assert!(same < 8, "{same} bytes of {SLOT}");
    }

    #[test]
    fn the_most_networks_fit_an_ipv6_link_of_1280_bytes() {
        const { assert!(HEADER + MAX_SLOTS * SLOT + 48 <= 1280) };
    }

    proptest! {
        #[test]
        fn any_length_but_those_of_whole_slots_is_refused(length in 0..1400_usize) {
            let mut bytes = vec![0; length];
            if let Some(kind) = bytes.first_mut() {
                *kind = BEACON;
            }
            let fits = [276, 532, 788, 1044].contains(&length);
            prop_assert_eq!(Beacon::parse(&bytes).is_ok(), fits);
        }
    }
}

//! Members with whom no session stands are greeted: a session with each lets all know each other's names and addresses, and
//! shows them a certificate that is good again.

use std::{collections::BTreeSet, time::Duration};

use farlan_crypto::PublicKey;

use crate::{Engine, NetworkHandle, Time};

impl Engine {
    /// Members that a supernode lists are greeted soon, so that all know each other's names and addresses: 20 ms apart, those who
    /// came later after a second, and the one of two with the higher id a second later still.
    pub(crate) fn greet_listed(&mut self, now: Time, handle: NetworkHandle, whole: bool, listed: &[PublicKey]) {
        let own = self.public;
        for key in listed {
            if let Some(id) = self.peers.by_node(&key.node_id()) {
                self.consider_showing(now, id);
            }
        }
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let few = network
            .listings
            .values()
            .all(|listing| listing.members.len() <= GREETED);
        let Some(private) = network.private.as_mut().filter(|_| few) else {
            return;
        };
        for key in listed.iter().filter(|key| **key != own) {
            let node = key.node_id();
            if private.greetings.len() >= GREETED || private.is_member(&node) {
                continue;
            }
            let place = u32::try_from(private.greetings.len()).unwrap_or(u32::MAX);
            let mut pause = BETWEEN * place;
            pause += if whole { Duration::ZERO } else { GREETED_LATER };
            pause += if own.node_id() < node {
                Duration::ZERO
            } else {
                GREETED_LATER
            };
            private.greetings.entry(node).or_insert((now + pause, *key));
        }
    }

    /// Who had no valid certificate and has one again greets all whom the supernodes list, since they do not call it.
    pub(super) fn greet_all(&mut self, now: Time, handle: NetworkHandle) {
        let own = self.public;
        let Some(network) = self.networks.get_mut(handle) else {
            return;
        };
        let members = network.listings.values().flat_map(|listing| listing.members.values());
        let listed: BTreeSet<_> = members.map(|member| (member.key.node_id(), member.key)).collect();
        let Some(private) = &mut network.private else { return };
        let mut at = now;
        for (node, key) in listed.into_iter().filter(|(_, key)| *key != own).take(GREETED) {
            private.greetings.entry(node).or_insert((at, key));
            at += BETWEEN;
        }
    }
}

/// Members of a list that are greeted: as many as are pushed.
const GREETED: usize = crate::multicast::ALL;

/// Between two of them: a second for fifty.
const BETWEEN: Duration = Duration::from_millis(20);

/// The other end may have begun by then.
const GREETED_LATER: Duration = Duration::from_secs(1);

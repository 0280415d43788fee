//! What a holder hands members without being asked: a certificate in the place of the one that they have, and what makes somebody a
//! renewer.
//!
//! The daemon of a controller says who is to have what ([`Engine::hand_over`]). The member is looked for now and then until the network is
//! shared with it; then it is sent under the session in use until it is acknowledged. Whoever gets it believes the signatures of the
//! network key, not the one who brings it.

use std::{collections::BTreeMap, time::Duration};

use farlan_crypto::{NodeId, PublicKey};
use farlan_netconf::{
    Reader,
    private::{Credential, Delegation},
};

use crate::{
    Engine, Handed, NetworkHandle, Outbox, Time,
    handshakes::Via,
    networks::RESEND,
    peers::PeerId,
    retry::Retry,
    wire::{
        control::{Control, Gift, Papers},
        datagram::SessionIndex,
        sealed::CONTROL,
    },
    work::Paper,
};

/// It is sent so often, and then not for [`SOUGHT`].
const TRIES: u32 = 8;

/// A member with whom the network is not shared is looked for so often.
const SOUGHT: Duration = Duration::from_secs(120);

/// Documents that wait for their members; what waits longest gives way. Whoever missed one is met again as [`crate::Event::MemberMet`].
const MAX_WAITING: usize = 1024;

/// What is to be handed to members.
#[derive(Debug, Default)]
pub(crate) struct Handing {
    last_number: u32,
    waiting: BTreeMap<Of, Waiting>,
}

type Of = (NetworkHandle, NodeId, Gift);

#[derive(Debug)]
struct Waiting {
    key: PublicKey,
    number: u32,
    bytes: Vec<u8>,
    /// None until the network is shared with its member.
    retry: Option<Retry>,
    /// When its member is looked for until then.
    sought: Time,
}

impl Waiting {
    fn at(&self) -> Time {
        self.retry.as_ref().map_or(self.sought, Retry::at)
    }
}

impl Handing {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiting.values().map(Waiting::at).min()
    }

    pub(crate) fn drop_network(&mut self, network: NetworkHandle) {
        self.waiting.retain(|(of, ..), _| *of != network);
    }

    /// A network is shared with a member now: what waits for it is due.
    pub(crate) fn met(&mut self, now: Time, network: NetworkHandle, node: NodeId) {
        for gift in [Gift::Credential, Gift::Delegation] {
            if let Some(waiting) = self.waiting.get_mut(&(network, node, gift)) {
                waiting.retry = Some(Retry::due(RESEND, now));
            }
        }
    }

    fn add(&mut self, of: Of, (key, bytes): (PublicKey, Vec<u8>), now: Time, retry: Option<Retry>) {
        if self.waiting.get(&of).is_some_and(|waiting| waiting.bytes == bytes) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(&of) {
            let oldest = self.waiting.iter().min_by_key(|(_, waiting)| waiting.number);
            if let Some(oldest) = oldest.map(|(of, _)| *of) {
                self.waiting.remove(&oldest);
            }
        }
        self.last_number += 1;
        let number = self.last_number;
        let waiting = Waiting {
            key,
            number,
            bytes,
            retry,
            sought: now,
        };
        self.waiting.insert(of, waiting);
    }
}

impl Engine {
    /// Hands a member of a private network a document of its own, signed by the network key or by a renewer, now or when it is next met.
    pub fn hand_over(&mut self, now: Time, handle: NetworkHandle, member: &PublicKey, paper: &Handed) {
        let is_private = |network: &crate::networks::Network| network.private.is_some();
        if *member == self.public || !self.networks.get(handle).is_some_and(is_private) {
            return;
        }
        let node = member.node_id();
        let (gift, bytes) = match paper {
            Handed::Credential(credential) => (Gift::Credential, credential.encode()),
            Handed::Delegation(delegation) => (Gift::Delegation, encoded(delegation)),
        };
        let is_up = self.peers.by_node(&node).is_some_and(|id| self.shares(id, handle));
        let retry = is_up.then(|| Retry::due(RESEND, now));
        self.handing.add((handle, node, gift), (*member, bytes), now, retry);
    }

    /// Sends what is due to be handed over.
    pub(crate) fn tend_handing(&mut self, now: Time, out: &mut Outbox) {
        let waiting = self.handing.waiting.iter();
        let due: Vec<Of> = waiting
            .filter(|(_, waiting)| waiting.at() <= now)
            .map(|(of, _)| *of)
            .collect();
        for of in due {
            let (handle, node, gift) = of;
            let peer = self.peers.by_node(&node).and_then(|id| Some((id, self.peers.get(id)?)));
            let session = peer.and_then(|(id, peer)| {
                let session = peer.sessions.current()?;
                Some((id, session.local, session.networks.position(handle)?))
            });
            let Some(waiting) = self.handing.waiting.get_mut(&of) else {
                continue;
            };
            let retry = waiting.retry.as_mut().filter(|retry| retry.sent() < TRIES);
            let (Some(retry), Some((id, local, place))) = (retry, session) else {
                waiting.retry = session.map(|_| Retry::due(RESEND, now + SOUGHT));
                waiting.sought = now + SOUGHT;
                let key = waiting.key;
                if session.is_none()
                    && let Some(id) = self.pin(now, key)
                {
                    self.want(now, id);
                }
                continue;
            };
            retry.again(now);
            let issued = Papers::Issued {
                number: waiting.number,
                place,
                gift,
                bytes: waiting.bytes.clone(),
            };
            self.send_control(now, id, Some(local), &[Control::Papers(issued)], out);
        }
    }

    /// A member has what it was handed.
    pub(crate) fn issued_acknowledged(&mut self, id: PeerId, number: u32) {
        let Some(node) = self.peers.get(id).map(|peer| peer.key.node_id()) else {
            return;
        };
        self.handing
            .waiting
            .retain(|(_, of, _), waiting| *of != node || waiting.number != number);
    }

    /// Somebody hands this node a document.
    pub(crate) fn issued_told(
        &mut self,
        now: Time,
        id: PeerId,
        (local, via): (SessionIndex, Via),
        (number, place, gift): (u32, u8, Gift),
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        let Some(session) = self.peers.get(id).and_then(|peer| peer.sessions.get(local)) else {
            return;
        };
        let Some(handle) = session.networks.at(place) else {
            if session.networks.is_pending(place) {
                let issued = Papers::Issued {
                    number,
                    place,
                    gift,
                    bytes: bytes.to_vec(),
                };
                let mut message = vec![CONTROL];
                Control::Papers(issued).encode(&mut message);
                self.early.push(now, (id, local), via, &message);
            }
            return;
        };
        let network = self.networks.get(handle);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        let had = match gift {
            Gift::Credential => private.credential().is_some_and(|own| own.encode() == bytes),
            Gift::Delegation => private.delegation().is_some_and(|own| encoded(own) == bytes),
        };
        let paper = Paper::Issued(handle, gift, bytes.to_vec());
        if !had && !self.handshakes.queue.add_paper(now, id, paper) {
            self.counters.credentials_limited += 1;
            // It comes again.
            return;
        }
        let ack = Control::Papers(Papers::IssuedAck { number });
        self.send_control(now, id, Some(local), &[ack], out);
    }

    /// A document for this node waited for its turn to be checked.
    pub(crate) fn check_issued(&mut self, now: Time, handle: NetworkHandle, gift: Gift, bytes: &[u8]) {
        let network = self.networks.get(handle);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        let network = private.network();
        let taken = match gift {
            Gift::Credential => Credential::decode(bytes, network, self.work)
                .is_ok_and(|credential| self.credential_issued(now, handle, credential)),
            Gift::Delegation => {
                let mut reader = Reader::new(bytes);
                let delegation = Delegation::decode(&mut reader, network, self.work).ok();
                let delegation = delegation.filter(|_| reader.finish().is_ok());
                delegation.is_some_and(|delegation| self.delegation_known(now, handle, delegation))
            }
        };
        if !taken {
            self.counters.credentials_refused += 1;
        }
    }
}

fn encoded(delegation: &Delegation) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(Delegation::LENGTH);
    delegation.encode(&mut bytes);
    bytes
}

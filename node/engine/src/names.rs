//! What members call themselves: told to peers, and shown. Nothing here is believed: a name decides nothing in the engine.

use farlan_netconf::DnsLabel;

use crate::{
    Engine, Event, NetworkHandle, Outbox, Time,
    networks::RESEND,
    peers::PeerId,
    retry::Retry,
    sessions,
    wire::{control::Control, datagram::SessionIndex},
};

impl Engine {
    /// Changes what this machine is called in a network; the members are told.
    pub fn set_name(&mut self, now: Time, network: NetworkHandle, name: Option<DnsLabel>) {
        let Some(network) = self.networks.get_mut(network).filter(|network| network.name != name) else {
            return;
        };
        network.name = name;
        for id in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.supernode) else {
                continue;
            };
            if let Some(session) = peer.sessions.sending().filter(|session| session.networks.known()) {
                due(&mut session.networks, now);
                self.arm(id);
            }
        }
    }

    /// Tells the other end this node's names in the common networks, if it has any.
    pub(crate) fn tell_names(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        if let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) {
            due(&mut session.networks, now);
            self.resend_names(now, id, local, out);
        }
    }

    fn resend_names(&mut self, now: Time, id: PeerId, local: SessionIndex, out: &mut Outbox) {
        let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.sessions.by_index(local)) else {
            return;
        };
        let told = &mut session.networks;
        let names: Vec<_> = self
            .networks
            .iter()
            .filter(|network| told.shared(network.handle))
            .filter_map(|network| Some((told.position(network.handle)?, network.name.clone()?)))
            .collect();
        // Whoever never had a name need not say that it has none.
        if names.is_empty() && !told.names_told {
            told.names_retry = None;
            return;
        }
        let Some(retry) = &mut told.names_retry else { return };
        retry.again(now);
        told.names_told = true;
        let number = told.names_number;
        self.send_control(now, id, Some(local), &[Control::Names { number, names }], out);
        self.arm(id);
    }

    /// Sends names that are new or were not acknowledged.
    pub(crate) fn tend_names(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        let is_due = |retry: &Option<Retry>| retry.as_ref().is_some_and(|retry| retry.at() <= now);
        let sessions = peer.sessions.iter();
        let due: Vec<_> = sessions
            .filter(|session| is_due(&session.networks.names_retry))
            .map(|session| session.local)
            .collect();
        for local in due {
            self.resend_names(now, id, local, out);
        }
    }

    /// The other end's names.
    pub(crate) fn names_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (number, names): (u32, &[(u8, DnsLabel)]),
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(session) = peer.sessions.by_index(local).filter(|session| session.networks.known()) else {
            // Its list was overtaken; both come again.
            return;
        };
        if session.networks.their_names_number.is_none_or(|last| number > last) {
            session.networks.their_names_number = Some(number);
            let at = |(place, name): &(u8, DnsLabel)| Some((session.networks.at(*place)?, name.clone()));
            let told = names.iter().filter_map(at).collect();
            let before = std::mem::replace(&mut peer.names, told);
            let node = peer.key.node_id();
            let changed = self
                .networks
                .iter()
                .filter(|network| before.get(&network.handle) != peer.names.get(&network.handle));
            let events = changed.map(|network| Event::NameTold {
                network: network.handle,
                node,
            });
            self.events.extend(events);
        }
        self.send_control(now, id, Some(local), &[Control::NamesAck { number }], out);
    }

    /// The other end has this node's names.
    pub(crate) fn names_acknowledged(&mut self, now: Time, id: PeerId, local: SessionIndex, number: u32) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(session) = peer.sessions.by_index(local) else {
            return;
        };
        let latest = number == session.networks.names_number;
        let answered = session.networks.names_retry.take_if(|_| latest);
        if let Some(sample) = answered.and_then(|retry| retry.round_trip(now)) {
            peer.measure_rtt(sample);
        }
    }
}

/// A new list is due now.
fn due(networks: &mut sessions::Networks, now: Time) {
    networks.names_number += 1;
    networks.names_retry = Some(Retry::due(RESEND, now));
}

/// The other end has this node's list of networks: what was told before of places it did not know yet is told again.
pub(crate) fn due_again(networks: &mut sessions::Networks, now: Time) {
    if networks.names_told {
        due(networks, now);
    }
}

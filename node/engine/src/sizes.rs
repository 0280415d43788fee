//! Finds out what paths carry: sends what [`PathMtu`](crate::mtu::PathMtu) wants tried.

use farlan_crypto::TAG;

use crate::{
    Engine, Outbox, Time,
    content::Content,
    peers::{Path, PeerId},
    wire::{control::Control, datagram::DATA_HEADER},
};

impl Engine {
    /// Finds out what the paths to a peer carry, by padded pings.
    pub(crate) fn tend_mtu(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.sessions.is_empty()) else {
            return;
        };
        let direct = peer.direct.sizes_due(now);
        let (patience, heard) = (peer.patience(), peer.heard);
        let relayed = peer.relay_mtu.due(now, patience, heard);
        let relay = peer.path;
        let direct = direct.into_iter().map(|(leg, size)| (Path::Direct(leg), size));
        let relayed = relayed.into_iter().filter_map(|size| Some((relay?, size)));
        for (path, size) in direct.chain(relayed).collect::<Vec<_>>() {
            self.try_size(now, id, path, size, out);
        }
    }

    fn try_size(&mut self, now: Time, id: PeerId, path: Path, size: usize, out: &mut Outbox) {
        let token = self.random_u64();
        let Some(envelope) = self.envelope(path) else { return };
        let Some(peer) = self.peers.get_mut(id) else { return };
        match path {
            Path::Direct(leg) if !peer.supernode => {
                if let Some(mtu) = peer.direct.mtu(leg) {
                    mtu.tried(size, token);
                }
            }
            _ => peer.relay_mtu.tried(size, token),
        }
        let length = size.saturating_sub(envelope.overhead() + DATA_HEADER + TAG);
        let message = &Control::Ping { token };
        self.send_along(now, id, (path, None), Content::Padded { message, length }, out);
    }

    /// A ping was answered; whether it was padded to find out what a path carries.
    pub(crate) fn size_answered(&mut self, now: Time, id: PeerId, token: u64) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let answered = peer.relay_mtu.answered(now, token) || peer.direct.size_answered(now, token);
        if answered {
            self.arm(id);
        }
        answered
    }
}

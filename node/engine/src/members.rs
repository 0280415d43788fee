//! A node's side of member lists: what the supernodes of a network tell of its members.

use farlan_crypto::PublicKey;
use farlan_netconf::DirectoryKey;

use crate::{
    Engine, Outbox, Time,
    networks::{Member, Network},
    peers::PeerId,
    wire::control::{Control, MemberEntry, NodeRecord},
};

/// Members of one list that a node keeps, against a supernode that lists without end. An honest one pushes 128.
const MAX_LISTED: usize = 512;

impl Engine {
    /// A change of a member list.
    pub(crate) fn members_told(
        &mut self,
        now: Time,
        id: PeerId,
        member_key: DirectoryKey,
        (from, upto, count): (u64, u64, u32),
        entries: &[MemberEntry],
        out: &mut Outbox,
    ) {
        let directory = &self.directory;
        let ours = |network: &&mut Network| network.member_key == member_key && directory.serves(id, &network.world);
        let Some(network) = self.networks.iter_mut().find(ours) else {
            return;
        };
        let handle = network.handle;
        let mut listing = network.listings.remove(&id).unwrap_or_default();
        if from == 0 {
            let before = listing.members.keys().copied();
            before.for_each(|node| network.note_gone(node));
            listing.members.clear();
            listing.version = 0;
        }
        let mut moved = Vec::new();
        if from == listing.version {
            listing.version = upto;
            listing.count = count;
            for entry in entries {
                let Ok(key) = PublicKey::from_bytes(&entry.record.key, self.work) else {
                    continue;
                };
                let node = key.node_id();
                if !entry.present {
                    listing.members.remove(&node);
                    network.note_gone(node);
                } else if listing.members.len() < MAX_LISTED || listing.members.contains_key(&node) {
                    let place = entry.record.place();
                    let ipv4 = entry.ipv4.filter(|address| network.may_hold(&node, *address));
                    listing.members.insert(node, Member { key, place, ipv4 });
                    moved.push((key, place));
                }
            }
        }
        let version = listing.version;
        network.listings.insert(id, listing);
        self.send_control(now, id, None, &[Control::MembersAck { member_key, version }], out);
        // A member that came back has another index.
        for (key, place) in moved {
            self.place_told(&key, place);
        }
        self.try_held_again(now, handle, out);
    }

    /// The supernode names somebody who is about to call.
    pub(crate) fn introduced(&mut self, id: PeerId, record: &NodeRecord) {
        let key = PublicKey::from_bytes(&record.key, self.work);
        if let Some(key) = key.ok().filter(|_| self.directory.anchors().any(|anchor| anchor == id)) {
            self.place_told(&key, record.place());
        }
    }
}

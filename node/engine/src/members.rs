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
        let latest_former = |network: &Network| network.private.as_ref()?.latest_former();
        let ours = |network: &&mut Network| {
            let key = network.member_key == member_key || latest_former(network) == Some(member_key);
            key && directory.serves(id, &network.world)
        };
        let Some(network) = self.networks.iter_mut().find(ours) else {
            return;
        };
        let handle = network.handle;
        let mut listing = network
            .listings_under(&member_key)
            .and_then(|listings| listings.remove(&id));
        let mut listing = listing.take().unwrap_or_default();
        let whole = from == 0;
        if from == 0 {
            let before = listing.members.keys().copied();
            before.for_each(|node| network.note_gone(node));
            listing.members.clear();
            listing.kept_out.clear();
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
                    listing.kept_out.remove(&node);
                    network.note_gone(node);
                } else if network.keeps_out(&node) {
                    let (place, ipv4) = (entry.record.place(), entry.ipv4);
                    if listing.kept_out.len() < MAX_LISTED {
                        listing.kept_out.insert(node, Member { key, place, ipv4 });
                    }
                } else if listing.members.len() < MAX_LISTED || listing.members.contains_key(&node) {
                    let place = entry.record.place();
                    let ipv4 = entry.ipv4.filter(|address| network.may_hold(&node, *address));
                    listing.members.insert(node, Member { key, place, ipv4 });
                    moved.push((key, place));
                }
            }
        }
        let version = listing.version;
        if let Some(listings) = network.listings_under(&member_key) {
            listings.insert(id, listing);
        }
        self.send_control(now, id, None, &[Control::MembersAck { member_key, version }], out);
        // A member that came back has another index.
        for (key, place) in &moved {
            self.place_told(key, *place);
        }
        self.greet_listed(
            now,
            handle,
            whole,
            &moved.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
        );
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

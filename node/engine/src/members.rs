//! A node's side of member lists: what the supernodes of a network tell of its members.

use farlan_crypto::{NodeId, PublicKey, Work};
use farlan_netconf::DirectoryKey;

use crate::{
    Engine, Outbox, Time,
    networks::{Listing, Member, Network},
    peers::PeerId,
    wire::control::{Control, MemberEntry, NodeRecord, Place},
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
        let (directory, own) = (&self.directory, self.node_id);
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
        if whole {
            let before = listing.members.keys().copied();
            before.for_each(|node| network.note_gone(node));
        }
        let (moved, gone) = take_in(
            network,
            &mut listing,
            (from, upto, count),
            (entries, self.work),
            MAX_LISTED,
        );
        gone.into_iter().for_each(|node| network.note_gone(node));
        network.channels.counted(now, (id, member_key), count);
        let version = listing.version;
        if let Some(listings) = network.listings_under(&member_key) {
            listings.insert(id, listing);
        }
        if network.is_nearly_large() {
            network.begin_spreading(own);
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

/// Takes changes of a list in if they begin where it ends, or are the whole list; up to `most` entries are kept. Returns those
/// who came, and where they are, and those who left.
pub(crate) fn take_in(
    network: &Network,
    listing: &mut Listing,
    (from, upto, count): (u64, u64, u32),
    (entries, work): (&[MemberEntry], Work),
    most: usize,
) -> (Vec<(PublicKey, Place)>, Vec<NodeId>) {
    if from == 0 {
        *listing = Listing::default();
    }
    let (mut moved, mut gone) = (Vec::new(), Vec::new());
    if from != listing.version {
        return (moved, gone);
    }
    listing.version = upto;
    listing.count = count;
    for entry in entries {
        let Ok(key) = PublicKey::from_bytes(&entry.record.key, work) else {
            continue;
        };
        let (node, place) = (key.node_id(), entry.record.place());
        if !entry.present {
            listing.members.remove(&node);
            listing.kept_out.remove(&node);
            gone.push(node);
        } else if network.keeps_out(&node) {
            if listing.kept_out.len() < most {
                let ipv4 = entry.ipv4;
                listing.kept_out.insert(node, Member { key, place, ipv4 });
            }
        } else if listing.members.len() < most || listing.members.contains_key(&node) {
            let ipv4 = entry.ipv4.filter(|address| network.may_hold(&node, *address));
            listing.members.insert(node, Member { key, place, ipv4 });
            moved.push((key, place));
        }
    }
    (moved, gone)
}

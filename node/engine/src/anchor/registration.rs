//! What a supernode keeps of a registered node: little of most, for there are a million.

use farlan_netconf::WorldId;

use crate::{
    Time,
    channels::Subscribed,
    documents::Asked,
    grants::Asking,
    rare::{Rare, blank},
    rates::{Meter, Prefix},
    relay_limits::Relations,
    sights::Aside,
    subscriptions::{ListId, ListKey},
    windows::Told,
    wire::{
        control::Membership,
        datagram::{RelayIndex, SessionIndex, SupernodeTag},
    },
};

/// A registered node.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) index: RelayIndex,
    pub(super) heard: Time,
    /// The session and the number of the latest request.
    pub(super) latest: (SessionIndex, u32),
    pub(super) memberships: Box<[Membership]>,
    /// The lists it is on, and where.
    pub(crate) listed: Vec<(ListId, u32)>,
    /// The version it last said to hold of the world it last spoke of.
    pub(super) version: Option<(WorldId, u32)>,
    /// Over which time it was told to come back.
    pub(super) window: Told,
    /// Whose places it takes.
    pub(super) prefix: Option<Prefix>,
    /// With whom it has to do, and what it used of its limits.
    pub(super) relations: Rare<Relations>,
    /// The channels it subscribed to.
    pub(super) channels: Rare<Subscribed>,
    pub(super) dealings: Rare<Dealings>,
}

/// What a node did that most do not.
#[derive(Debug, Default)]
pub(super) struct Dealings {
    /// The other supernode through which it is reached, and its index there.
    pub(super) through: Option<(SupernodeTag, RelayIndex)>,
    /// When it ends unless the node shows itself, because that supernode does not know it.
    pub(super) doubted: Option<Time>,
    /// When that was last so.
    pub(super) doubted_at: Option<Time>,
    /// What it asked of where it is seen.
    pub(super) looks: Meter,
    /// Where it is by the other family.
    pub(super) aside: Aside,
    pub(super) way_probes: Meter,
    /// What it asked of searches.
    pub(super) searches: Asking,
    /// What it asked of documents.
    pub(super) documents: Asked,
}

blank!(Dealings);
blank!(Relations);
blank!(Subscribed);

impl Registration {
    /// The membership by which it is on a list.
    pub(crate) fn membership_on(&self, key: ListKey) -> Option<&Membership> {
        // Most are in one network, which need not be looked for.
        if let ([only], ListKey::Subscribers(_)) = (&*self.memberships, key) {
            return Some(only);
        }
        let member_key = match key {
            ListKey::Members(member_key) => member_key,
            ListKey::Subscribers(channel) => self.channels.network_of(&channel)?,
        };
        self.memberships
            .iter()
            .find(|membership| membership.member_key == member_key)
    }

    pub(super) fn new(index: RelayIndex, heard: Time, latest: (SessionIndex, u32), prefix: Option<Prefix>) -> Self {
        Self {
            index,
            heard,
            latest,
            memberships: Box::default(),
            listed: Vec::new(),
            version: None,
            window: Told::default(),
            prefix,
            relations: Rare::default(),
            channels: Rare::default(),
            dealings: Rare::default(),
        }
    }
}

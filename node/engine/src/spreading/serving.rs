//! A supernode's side: some members of a large network, for whoever looks for company there.

use farlan_netconf::DirectoryKey;

use crate::{
    Engine, Outbox, Time,
    peers::PeerId,
    rates::Rate,
    subscriptions::ListKey,
    wire::control::{Control, Spread},
};
use std::time::Duration;

/// Samples that one node is given.
pub(super) const SAMPLES: Rate = Rate::per_second(2, Duration::from_secs(10));

/// Nodes of which that is counted.
pub(super) const MAX_COUNTED: usize = 1 << 14;

impl Engine {
    /// A registered node wants to know some members of a network of its own.
    pub(crate) fn sample_asked(
        &mut self,
        now: Time,
        id: PeerId,
        (request, member_key): (u32, DirectoryKey),
        out: &mut Outbox,
    ) {
        let Some((memberships, ..)) = self.anchor.channels_of(id) else {
            return;
        };
        let is_member = memberships.iter().any(|membership| membership.member_key == member_key);
        if !is_member {
            return;
        }
        if !self.spreads.samples.take(now, id) {
            self.counters.subscriptions_limited += 1;
            return;
        }
        let random = &mut self.random;
        let list = ListKey::Members(member_key);
        let (members, met) = self.anchor.subscriptions.company(list, id, || random.next_u64());
        let entries = self.list_entries(&met, list).into_iter();
        let records = entries.map(|entry| entry.record).collect();
        let answer = Spread::Sample {
            request,
            members,
            records,
        };
        self.send_control(now, id, None, &[Control::Spread(answer)], out);
    }
}

//! Broadcast and multicast to all members: every copy is acknowledged hop by hop and sent again until it is, or given up.

use std::time::Duration;

use farlan_crypto::{PublicKey, defects::planted};
use farlan_netconf::Mac;
use farlan_spreading::{Copies, Outgoing, Tries};

use crate::{
    Channel, Engine, NetworkHandle, Outbox, Time,
    channels::Subscribers,
    content::Content,
    injection::{BASIC, Kind, OF_ONE, OF_ONE_CHANNEL},
    peers::PeerId,
    rates::{Meter, Meters, Rate},
    switch::MAX_FRAME,
    wire::control::Control,
};

/// Members that get a copy each. A larger network reaches those its supernodes list.
pub(crate) const ALL: usize = 128;

/// How often a copy is sent, and how much may be under way. A relayed copy crosses two links, either of which may lose it: six
/// tries over two links at 20 % loss each fail as rarely (0.2 %) as four over one.
/// Half a round trip and 50 ms beyond the round trip the copy or its acknowledgement is lost: so whoever misses the first copy has the
/// second two round trips and 50 ms after the first was sent.
const TRIES: Tries = Tries {
    tries: 6,
    quarters: 6,
    messages: 512,
    bytes: 512 * MAX_FRAME,
};

/// Copies a node may cause per second, and at once: enough for 50 frames a second to 40 members.
const COPIES: Rate = Rate::per_second(2000, Duration::from_secs(2));

/// Groups and ports for which that is counted.
const MAX_COUNTED: usize = 1024;

/// Acknowledgements in one message: they fill one padded block.
const ACKS_AT_ONCE: usize = 7;

/// The group frames of this node that are not acknowledged by all yet.
#[derive(Debug)]
pub(crate) struct Groups {
    next: u64,
    copies: Copies<PeerId, GroupFrame, ()>,
    /// What was used of [`COPIES`].
    caused: Meter,
    /// What was used in each network of the rates that receivers have for an origin ([`crate::injection`]).
    each: Meters<(NetworkHandle, Mac, Option<u16>)>,
    all: Meters<NetworkHandle>,
    basic: Meters<NetworkHandle>,
    #[cfg(test)]
    lifted: bool,
}

/// A frame of which copies are under way.
#[derive(Clone, Debug)]
struct GroupFrame {
    network: NetworkHandle,
    frame: Vec<u8>,
}

impl Groups {
    /// Sequence numbers begin at `start`, a random number.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            next: start,
            copies: Copies::new(TRIES),
            caused: Meter::default(),
            each: Meters::new(OF_ONE_CHANNEL, MAX_COUNTED),
            all: Meters::new(OF_ONE, MAX_COUNTED),
            basic: Meters::new(BASIC, MAX_COUNTED),
            #[cfg(test)]
            lifted: false,
        }
    }

    pub(crate) fn drop_network(&mut self, network: NetworkHandle) {
        self.copies.retain(|frame| frame.network != network);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.copies.deadline()
    }

    /// Whether a copy waits for a session with `peer`.
    pub(crate) fn wait_for(&self, peer: PeerId) -> bool {
        self.copies.waits_for(&peer)
    }

    /// Nothing that is under way in a network goes to a peer any more.
    pub(crate) fn drop_copies(&mut self, id: PeerId, network: NetworkHandle) {
        self.copies.drop_copies(&id, |frame| frame.network == network);
    }

    /// Whether receivers would deliver one more frame of this kind.
    fn may_send(&mut self, now: Time, handle: NetworkHandle, kind: Kind) -> bool {
        #[cfg(test)]
        if self.lifted {
            return true;
        }
        match kind {
            Kind::Basic => self.basic.take(now, handle),
            Kind::Of(group, port) => self.each.take(now, (handle, group, port)) && self.all.take(now, handle),
        }
    }

    fn may_copy(&mut self, now: Time, count: u64) -> bool {
        #[cfg(test)]
        if self.lifted {
            return true;
        }
        self.caused.take(now, &COPIES, count)
    }

    /// A test's node keeps none of its own limits.
    #[cfg(test)]
    pub(crate) fn lift_limits_for_test(&mut self) {
        self.lifted = true;
    }

    /// 0 stands for "none" in the table of numbers seen.
    fn sequence(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1).max(1);
        self.next
    }
}

impl Engine {
    /// Sends a frame to all members of a network.
    pub(crate) fn send_group(&mut self, now: Time, handle: NetworkHandle, frame: &[u8], out: &mut Outbox) {
        let kind = Kind::of(frame);
        let channel = kind.and_then(|_| self.note_channel(now, handle, frame));
        if kind.is_some_and(|kind| !self.groups.may_send(now, handle, kind)) {
            self.counters.group_rate_limited += 1;
            return;
        }
        if !channel.is_some_and(|channel| self.hold_for_subscribers(now, handle, channel, frame)) {
            self.send_copies(now, handle, channel, frame, out);
        }
    }

    /// Sends a frame to those who are to have it.
    pub(crate) fn send_copies(
        &mut self,
        now: Time,
        handle: NetworkHandle,
        channel: Option<Channel>,
        frame: &[u8],
        out: &mut Outbox,
    ) {
        let mut members = self.receivers(now, handle, channel);
        if let Some(network) = self.networks.get(handle).filter(|network| !network.muted.is_empty()) {
            let mutes = |id: &PeerId| {
                self.peers
                    .get(*id)
                    .is_some_and(|peer| network.mutes(&peer.key.node_id()))
            };
            members.retain(|id| !mutes(id));
        }
        let to_some = channel.is_some_and(|channel| channel.group != Mac::BROADCAST) && !members.is_empty();
        let mut spread = None;
        if self.spreads_in(handle) && Kind::of(frame) == Some(Kind::Basic) {
            // What this node answers by itself, or the directory, costs a large network nothing.
            self.counters.group_kept_back += 1;
        } else if self.spreads_in(handle) && !to_some {
            spread = self.spread(now, handle, (channel, frame), &members, out);
        }
        if members.is_empty() {
            return;
        }
        let count = u64::try_from(members.len()).unwrap_or(u64::MAX);
        if !self.groups.may_copy(now, count) {
            self.counters.group_rate_limited += 1;
            return;
        }
        let sequence = spread.unwrap_or_else(|| self.groups.sequence());
        let mut copies = Vec::with_capacity(members.len());
        for peer in members {
            let sent = self.send_copy(now, peer, handle, sequence, frame, out);
            if !sent {
                self.want(now, peer);
            }
            copies.push(Outgoing {
                node: peer,
                own: (),
                sent,
                rtt: self.peers.get(peer).and_then(|peer| peer.rtt),
                queued: Duration::ZERO,
                late: Duration::ZERO,
            });
        }
        let shared = GroupFrame {
            network: handle,
            frame: frame.to_vec(),
        };
        let lost = self.groups.copies.add(now, sequence, shared, frame.len(), copies);
        self.counters.group_copies_lost += u64::try_from(lost).unwrap_or_default();
    }

    /// Who gets a copy of a frame to a group, or to all.
    fn receivers(&mut self, now: Time, handle: NetworkHandle, channel: Option<Channel>) -> Vec<PeerId> {
        let Some(network) = self.networks.get(handle) else {
            return Vec::new();
        };
        let (complete, is_large) = (network.list_complete(), network.is_large());
        let full_max = self.threshold.full_max();
        let listed: Vec<_> = network.listed().take(full_max).map(|member| member.key).collect();
        // Where nobody tells who is there, also those who were here before: they may be idle.
        let met = network.met.members().values().filter(|_| !complete);
        let met: Vec<_> = met.map(|met| met.key).collect();
        // Those that no list names (yet, or any more) but that proved to be in.
        let proved = self.peers.iter().filter(|(_, peer)| peer.up.contains(&handle));
        let sharing: Vec<PeerId> = proved.map(|(id, _)| id).collect();
        let channel = channel.filter(|_| !complete);
        let subscribers = channel.and_then(|channel| Some((channel, self.subscribers_of(handle, &channel)?)));
        let mut chosen = Vec::new();
        match subscribers {
            Some((channel, Subscribers { whole: true, keys, .. })) => {
                let keys = self.any_of(keys, full_max);
                self.choose(now, &keys, &mut chosen);
                add(&mut chosen, self.subscribed_peers(handle, &channel));
                // Who never broadcast to that port may yet answer what comes there.
                if channel.group == Mac::BROADCAST && !is_large {
                    add(&mut chosen, sharing);
                }
            }
            // The rest spreads.
            _ if is_large => {}
            None if complete => {
                self.choose(now, &listed, &mut chosen);
                add(&mut chosen, sharing);
            }
            sample => {
                let keys = sample.map_or_else(Vec::new, |(_, subscribers)| subscribers.keys);
                self.choose(now, &keys, &mut chosen);
                let said = channel.map(|channel| self.subscribed_peers(handle, &channel));
                add(&mut chosen, said.into_iter().flatten());
                let subscribed = chosen.len();
                add(&mut chosen, sharing);
                self.choose(now, &listed, &mut chosen);
                self.choose(now, &met, &mut chosen);
                // In a small network that nobody lists a copy for nothing is better than one that is missed.
                let too_many = chosen.len() > full_max;
                #[cfg(test)]
                let too_many = too_many || self.networks.get(handle).is_some_and(|of| of.channels.many_for_test);
                if let Some(channel) = channel.filter(|_| too_many) {
                    let mut others = chosen.split_off(subscribed);
                    others.retain(|id| !self.is_declined(*id, handle, &channel));
                    chosen.append(&mut others);
                }
            }
        }
        chosen.truncate(full_max);
        chosen
    }

    /// Adds those nodes, but for this one.
    pub(crate) fn choose(&mut self, now: Time, keys: &[PublicKey], chosen: &mut Vec<PeerId>) {
        for key in keys
            .iter()
            .filter(|key| **key != self.public)
            .copied()
            .collect::<Vec<_>>()
        {
            add(chosen, self.pin(now, key));
        }
    }

    /// `most` of them, each as likely as any other.
    pub(crate) fn any_of<T>(&mut self, mut all: Vec<T>, most: usize) -> Vec<T> {
        while all.len() > most {
            let random = self.random_u64() % u64::try_from(all.len()).unwrap_or(u64::MAX);
            all.swap_remove(usize::try_from(random).unwrap_or(0));
        }
        all
    }

    /// Lays one copy out, if a session stands.
    fn send_copy(
        &mut self,
        now: Time,
        id: PeerId,
        network: NetworkHandle,
        sequence: u64,
        frame: &[u8],
        out: &mut Outbox,
    ) -> bool {
        let sent = self.send_to_group(now, id, network, out, |place| Content::Group {
            network: place,
            sequence,
            frame,
        });
        self.counters.group_copies_sent += u64::from(sent);
        sent
    }

    /// Lays a copy out, if a session stands; `content` makes it of the network's place there.
    pub(crate) fn send_to_group<'a>(
        &mut self,
        now: Time,
        id: PeerId,
        network: NetworkHandle,
        out: &mut Outbox,
        content: impl FnOnce(u8) -> Content<'a>,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        peer.wanted = Some(now);
        let session = peer.sessions.sending();
        let place = session.as_ref().and_then(|session| session.networks.position(network));
        let (Some(session), Some(place)) = (session, place) else {
            return false;
        };
        if session.networks.known() && !session.networks.shared(network) {
            return false;
        }
        let local = session.local;
        let rekey = peer.sessions.wants_rekey(now);
        let sent = self.lay_out(now, id, local, content(place), out);
        if sent {
            self.expect_answer(now, id);
        }
        if rekey {
            self.begin_handshake(id, true);
        }
        sent
    }

    /// Sends the copies that waited for a session with `id`.
    pub(crate) fn release_groups(&mut self, now: Time, id: PeerId, out: &mut Outbox) {
        if !self.groups.wait_for(id) {
            return;
        }
        let rtt = self.peers.get(id).and_then(|peer| peer.rtt);
        let mut copies = std::mem::replace(&mut self.groups.copies, Copies::new(TRIES));
        copies.release(now, &id, rtt, |sequence, shared, ()| {
            self.send_copy(now, id, shared.network, sequence, &shared.frame, out)
        });
        self.groups.copies = copies;
        self.seal_pending(out);
    }

    /// Sends copies again that were not acknowledged, and gives up old ones.
    pub(crate) fn tend_groups(&mut self, now: Time, out: &mut Outbox) {
        if self.groups.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let mut copies = std::mem::replace(&mut self.groups.copies, Copies::new(TRIES));
        let tended = copies.due(now, |peer, sequence, shared, ()| {
            let sent = self.send_copy(now, *peer, shared.network, sequence, &shared.frame, out);
            if !sent {
                // The session ended meanwhile.
                self.want(now, *peer);
            }
            sent
        });
        self.groups.copies = copies;
        self.counters.group_copies_resent += u64::try_from(tended.resent).unwrap_or_default();
        let lost = tended.missed.len() + tended.unmet.len();
        self.counters.group_copies_lost += u64::try_from(lost).unwrap_or_default();
        self.seal_pending(out);
    }

    /// A member has received group frames of this node.
    pub(crate) fn group_acknowledged(&mut self, now: Time, id: PeerId, sequences: &[u64]) {
        self.spread_acknowledged_directly(now, id, sequences);
        self.groups.copies.acknowledged(now, &id, sequences);
    }

    /// A copy of a group frame came from its origin: it is acknowledged in any case, and delivered once.
    pub(crate) fn group_received(
        &mut self,
        now: Time,
        id: PeerId,
        handle: NetworkHandle,
        sequence: u64,
        frame: &[u8],
        out: &mut Outbox,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.acks.push(sequence);
        self.acks_due.push(id);
        let node = peer.key.node_id();
        let is_new = peer.seen.get_or_insert_default().insert(sequence);
        let network = self.networks.get_mut(handle);
        let muted = network.as_ref().is_some_and(|network| network.mutes(&node));
        let social = network.and_then(|network| network.social.as_mut());
        // It may have come before, by others, if it spreads.
        let is_new = is_new && social.is_none_or(|social| social.spreading.direct(now, &node, sequence));
        if !is_new {
            self.counters.group_duplicates += 1;
        } else if !muted && self.let_in(now, id, handle, frame) && self.may_inject(now, id, handle, frame) {
            self.counters.frames_received += 1;
            out.frames.push(handle, frame);
        }
    }

    /// Acknowledges the group frames of this turn.
    pub(crate) fn flush_acks(&mut self, now: Time, out: &mut Outbox) {
        for id in std::mem::take(&mut self.acks_due) {
            self.flush_spread_acks(now, id, out);
            if planted("ack-dropped") {
                continue;
            }
            let Some(peer) = self.peers.get_mut(id) else { continue };
            let acks = std::mem::take(&mut peer.acks);
            for sequences in acks.chunks(ACKS_AT_ONCE) {
                self.send_control(
                    now,
                    id,
                    None,
                    &[Control::GroupAck {
                        sequences: sequences.to_vec(),
                    }],
                    out,
                );
            }
        }
    }
}

/// Adds peers that are not among those chosen.
fn add(chosen: &mut Vec<PeerId>, peers: impl IntoIterator<Item = PeerId>) {
    for id in peers {
        if !chosen.contains(&id) {
            chosen.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_skip_zero() {
        let mut groups = Groups::new(u64::MAX - 1);
        assert_eq!(
            [groups.sequence(), groups.sequence(), groups.sequence()],
            [u64::MAX, 1, 2]
        );
    }
}

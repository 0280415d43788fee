//! What the daemon shows of private networks.

use data_encoding::HEXLOWER;
use farlan_controller as controller;
use farlan_engine::PeerStatus;
use farlan_netconf::{NetworkId, private::Refusal};

use super::{Kept, clock::BUILD};
use crate::{
    api::{self, MembersReply, NamedNode, SCHEMA},
    daemon::{
        Book, Daemon,
        networks::{Joined, Membership},
    },
    failure::Failure,
    shell::{Snapshot, time_of_day},
};

impl Daemon {
    /// What this node is in a private network.
    pub(in crate::daemon) fn membership_view(&self, membership: &Membership) -> Option<api::Membership> {
        let kept = membership.private.as_ref()?;
        let credential = kept.credential.as_ref();
        let state = match credential {
            Some(credential) if kept.revocations.check(credential).is_err() => "revoked",
            Some(credential) if credential.is_provisional() => "provisional",
            Some(_) => "certified",
            None => "none",
        };
        let name = credential.and_then(|credential| credential.certificate().fields().name.as_ref());
        let invite = kept.invite.as_ref();
        Some(api::Membership {
            state: state.to_owned(),
            domain: kept.domain().map(ToString::to_string),
            name: name.map(ToString::to_string),
            expires: credential.map(|credential| credential.expiry().get()),
            controller: self.office.controls(&kept.network().id()),
            renewer: kept.delegation.is_some(),
            counted: invite.is_some_and(|link| !link.delegation().signs_certificates()),
            refused: kept.refusal.map(|refusal| refusal.to_string()),
            refused_for_good: kept.refusal.is_some_and(is_for_good),
        })
    }

    /// What the user should know about all private networks.
    pub(in crate::daemon) fn private_notes(&self, book: &Book) -> Vec<String> {
        let notes = |membership: &Membership| {
            let name = membership.name().to_owned();
            let notes = self.membership_notes(membership).into_iter();
            notes.map(move |note| format!("{name}: {note}")).collect::<Vec<_>>()
        };
        book.networks
            .joined()
            .flat_map(|joined| notes(joined.membership()))
            .collect()
    }

    /// What the user should know about a private network.
    pub(in crate::daemon) fn membership_notes(&self, membership: &Membership) -> Vec<String> {
        let Some(kept) = &membership.private else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        if let Some(refusal) = kept.refusal {
            notes.push(match refusal {
                Refusal::Expired | Refusal::Revoked | Refusal::UsedUp => format!(
                    "a controller of the network gives this node no certificate: {refusal}; ask its owner for a new invite and \
                     join by that"
                ),
                Refusal::Full => format!(
                    "a controller of the network gives this node no certificate: {refusal}; its owner can kick who left"
                ),
                Refusal::NoController | Refusal::Later | Refusal::Other(_) => {
                    format!("no certificate was given yet: {refusal}; farlan goes on asking")
                }
            });
        }
        let Some(credential) = &kept.credential else {
            if kept.refusal.is_none() {
                notes.push(
                    "nobody has let this node in yet: the invite is counted, so a controller of the network has to be reached"
                        .to_owned(),
                );
            }
            return notes;
        };
        if kept.revocations.check(credential).is_err() {
            if kept.refusal.is_none() {
                notes.push(
                    "this node, or the invite by which it came, was removed from the network, so no member lets it in unless a \
                     controller does again"
                        .to_owned(),
                );
            }
            return notes;
        }
        // By the clock alone: who judges credentials does not believe it once the own one has expired by it, and people are to
        // hear of that.
        let now = time_of_day().max(BUILD);
        let (left, life) = (credential.life_left(now), credential.expiry().since(credential.time()));
        if left == 0 {
            notes.push(format!(
                "its certificate here has expired by this machine's clock, so nobody whose clock says the same lets it in: {}",
                self.renewal(kept)
            ));
        } else if !credential.is_provisional() && left <= life / 5 {
            notes.push(format!(
                "its certificate here expires in {} and was not renewed: {}",
                span(left),
                self.renewal(kept)
            ));
        } else if credential.is_provisional() {
            notes.push(format!(
                "an invite let this node in; until it meets a controller of the network it has no certificate of its own, and this \
                 ends in {} unless the invite still works then",
                span(left)
            ));
        }
        notes
    }

    /// What to do about a certificate that ends.
    fn renewal(&self, kept: &Kept) -> String {
        if self.office.controls(&kept.network().id()) {
            return format!(
                "this node is the controller and renews it by itself, but by no clock that may be wrong; if this machine's is right: \
                 farlan network set {} --clock-is-right",
                title(kept.label().as_str(), &kept.network().id())
            );
        }
        let holders: Vec<_> = kept
            .config
            .iter()
            .flat_map(|config| &config.fields().holders)
            .map(|holder| holder.node_id().short())
            .collect();
        match &holders[..] {
            [] => "start the controller of the network".to_owned(),
            holders => format!("start one of those who can renew it: {}", holders.join(", ")),
        }
    }

    /// The members that were met, where the network's key is elsewhere.
    pub(super) fn members_met(&self, joined: &Joined, snapshot: &Snapshot) -> MembersReply {
        let status = snapshot.networks.iter().find(|status| status.handle == joined.handle());
        let own = status.map(|status| api::Member {
            node_id: self.node_id().to_string(),
            name: status
                .membership
                .as_ref()
                .and_then(|it| it.name.as_ref())
                .map(ToString::to_string),
            ipv4: status.ipv4,
            own: true,
            state: state_of(status.membership.as_ref()),
            holder: is_holder(joined, &self.key),
            expires: status.membership.as_ref().map(|it| it.expiry.get()),
            admitted: None,
            seen: None,
            path: None,
            invite: None,
        });
        let others = snapshot.peers.iter().filter_map(|peer| {
            let there = peer.networks.iter().find(|there| there.network == joined.handle())?;
            let membership = there.membership.as_ref()?;
            Some(api::Member {
                node_id: peer.node.to_string(),
                name: membership.name.as_ref().map(ToString::to_string),
                ipv4: there.ipv4,
                own: false,
                state: state_of(Some(membership)),
                holder: is_holder(joined, &peer.key),
                expires: Some(membership.expiry.get()),
                admitted: None,
                seen: peer.heard.map(|heard| time_of_day().minus(heard.as_secs()).get()),
                path: peer.path.map(|path| path.to_string()),
                invite: membership.invite.map(|key| HEXLOWER.encode(key.as_bytes())),
            })
        });
        let mut members: Vec<_> = own.into_iter().chain(others).collect();
        members.sort_by(|one, other| (&one.name, &one.node_id).cmp(&(&other.name, &other.node_id)));
        MembersReply {
            schema: SCHEMA,
            network: joined.name().to_owned(),
            complete: false,
            members,
        }
    }

    /// All members, as the controller has them, and as they are met.
    pub(super) fn members_known(
        &self,
        name: &str,
        known: &[controller::Member],
        joined: Option<&Joined>,
        snapshot: &Snapshot,
    ) -> MembersReply {
        let mut members: Vec<_> = known
            .iter()
            .map(|member| {
                let own = member.node == self.key;
                let peer = snapshot.peers.iter().find(|peer| peer.key == member.node);
                let heard = peer.and_then(|peer| peer.heard).filter(|_| member.kicked.is_none());
                let met = heard.map(|heard| time_of_day().minus(heard.as_secs()));
                api::Member {
                    node_id: member.node.node_id().to_string(),
                    name: member.name.as_ref().map(ToString::to_string),
                    ipv4: member.address,
                    own,
                    state: if member.kicked.is_some() { "kicked" } else { "certified" }.to_owned(),
                    holder: member.is_holder,
                    expires: member.kicked.is_none().then(|| member.expiry.get()),
                    admitted: Some(member.admitted.get()),
                    seen: met.max(member.seen).map(farlan_netconf::Seconds::get),
                    path: peer.and_then(|peer| peer.path).map(|path| path.to_string()),
                    invite: member.invite.map(|key| HEXLOWER.encode(&key)),
                }
            })
            .collect();
        // Who came in while no controller was there, and has not asked for a certificate yet.
        if let Some(joined) = joined {
            let met = self.members_met(joined, snapshot).members.into_iter();
            let others = met.filter(|met| {
                !known
                    .iter()
                    .any(|member| member.node.node_id().to_string() == met.node_id)
            });
            members.extend(others);
        }
        members.sort_by(|one, other| {
            let key = |member: &api::Member| (member.state == "kicked", member.name.clone(), member.node_id.clone());
            key(one).cmp(&key(other))
        });
        MembersReply {
            schema: SCHEMA,
            network: name.to_owned(),
            complete: true,
            members,
        }
    }
}

/// Whether a controller will not say otherwise for the same invite.
fn is_for_good(refusal: Refusal) -> bool {
    match refusal {
        Refusal::Expired | Refusal::Revoked | Refusal::UsedUp | Refusal::Full => true,
        Refusal::NoController | Refusal::Later | Refusal::Other(_) => false,
    }
}

fn is_holder(joined: &Joined, node: &farlan_crypto::PublicKey) -> bool {
    let kept = joined.membership().private.as_ref();
    kept.is_some_and(|kept| kept.names_holder(node))
}

fn state_of(membership: Option<&farlan_engine::CredentialStatus>) -> String {
    match membership {
        Some(membership) if membership.provisional => "provisional",
        Some(_) => "certified",
        None => "none",
    }
    .to_owned()
}

/// An invite for its maker.
pub(super) fn invite(invite: &controller::Invite) -> api::Invite {
    api::Invite {
        id: HEXLOWER.encode(invite.key.as_bytes()),
        name: invite.label.to_string(),
        uses: (invite.uses != 0).then_some(invite.uses),
        taken: invite.taken,
        created: invite.created.get(),
        expires: invite.expiry.get(),
        withdrawn: invite.withdrawn.map(farlan_netconf::Seconds::get),
        members: named(&invite.members),
    }
}

/// Those who were not kicked.
pub(super) fn named(members: &[controller::Member]) -> Vec<NamedNode> {
    let stay = members.iter().filter(|member| member.kicked.is_none());
    stay.map(named_one).collect()
}

pub(super) fn named_one(member: &controller::Member) -> NamedNode {
    NamedNode {
        node_id: member.node.node_id().to_string(),
        name: member.name.as_ref().map(ToString::to_string),
    }
}

/// The peer with this key, if it is known.
pub(super) fn shows(peer: &PeerStatus, network: farlan_engine::NetworkHandle) -> bool {
    let mut there = peer.networks.iter();
    there.any(|there| there.network == network && there.membership.is_some())
}

/// A span of time for people.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// What a network is called in messages where it has no label.
pub(super) fn title(label: &str, id: &NetworkId) -> String {
    if label.is_empty() {
        id.to_string()
    } else {
        label.to_owned()
    }
}

/// Turns what a controller says into what a command fails with.
pub(super) fn refused(error: controller::ControllerError) -> Failure {
    Failure::negative(error)
}

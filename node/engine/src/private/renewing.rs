//! Renewers: members whom the network key lets extend certificates while no controller is there.
//!
//! A renewer gives a certificate of the network key another expiry and nothing else, so it makes neither members nor rights. One that
//! has expired makes nobody a member, so no renewer extends it: that is a controller's to do, which knows who is a member. A renewer
//! extends its own certificate, too: else a network with a single renewer would end with that one's.

use farlan_crypto::{Identity, NodeId, defects::planted};
use farlan_netconf::private::{Admission, Config, Credential, Delegate, Delegation, Refusal};

use tracing::info;

use super::{Clock, Private};
use crate::{Engine, Event, NetworkHandle, Time};

/// A renewer extends its own certificate when no more than these eighths of its life are left: from half of it on the other holders
/// have been asked, of whom one may be a controller.
const OWN_EIGHTHS: u64 = 3;

impl Private {
    /// Takes a delegation for this node, if it is newer than the one there is; whether it did.
    fn take_delegation(&mut self, delegation: Delegation) -> bool {
        let order = |delegation: &Delegation| (delegation.fields().time, delegation.fields().expiry);
        let newer = self
            .delegation
            .as_ref()
            .is_none_or(|held| order(held) < order(&delegation));
        if !newer || !self.is_for_us(&delegation) || self.revocations.voids_delegation(&delegation) {
            return false;
        }
        self.note_signed(delegation.fields().time);
        self.delegation = Some(delegation);
        true
    }

    /// Whether a delegation makes this node a renewer of this network.
    pub(super) fn is_for_us(&self, delegation: &Delegation) -> bool {
        let renewer = match delegation.fields().delegate {
            Delegate::Renewer { node } => node == self.own,
            Delegate::Invite { .. } => false,
        };
        renewer && delegation.network() == self.network.id()
    }

    /// What lets this node extend certificates, whatever it is worth now.
    pub(crate) fn delegation(&self) -> Option<&Delegation> {
        self.delegation.as_ref()
    }

    /// What a member gets that shows this valid credential: itself, if it is good for long or this node can make it no longer. Nothing
    /// where this node is no renewer, or the certificate is none of the network key.
    fn extended(&self, clock: &Clock, identity: &Identity, credential: &Credential) -> Option<Credential> {
        let now = self.time(clock);
        let delegation = self
            .delegation
            .as_ref()
            .filter(|delegation| now < delegation.fields().expiry && !self.revocations.voids_delegation(delegation))?;
        if credential.is_provisional() || self.revocations.check(credential).is_err() {
            return None;
        }
        if !credential.needs_renewal(now) {
            return Some(credential.clone());
        }
        let config = self.config.as_ref().map(Config::fields);
        let life = config.map_or_else(|| delegation.fields().life, |config| config.life);
        let extended = credential.extend(identity, delegation.clone(), now, life).ok()?;
        Some(if extended.expiry() > credential.expiry() {
            extended
        } else {
            credential.clone()
        })
    }

    /// The own certificate with a later expiry, where it is time for that and this node can give it one.
    fn extended_own(&self, clock: &Clock, identity: &Identity) -> Option<Credential> {
        let own = self.credential.as_ref()?;
        let life = own.expiry().since(own.time());
        if own.life_left(self.time(clock)) > life / 8 * OWN_EIGHTHS {
            return None;
        }
        self.extended(clock, identity, own)
            .filter(|extended| extended.expiry() > own.expiry())
    }

    /// After how many seconds of its life a certificate is extended by its own holder, if that is a renewer.
    pub(super) fn own_extension(life: u64) -> u64 {
        life - life / 8 * OWN_EIGHTHS
    }
}

impl Engine {
    /// A delegation came from a controller or a file, whose signature is good: if it makes this node a renewer of the network, and is
    /// newer than the one there was, it is in use from now on. Returns whether it is.
    pub fn delegation_known(&mut self, now: Time, handle: NetworkHandle, delegation: Delegation) -> bool {
        let network = self.networks.get_mut(handle);
        let Some(private) = network.and_then(|network| network.private.as_mut()) else {
            return false;
        };
        if !private.take_delegation(delegation.clone()) {
            return false;
        }
        self.events.push(Event::DelegationIssued {
            network: handle,
            delegation: Box::new(delegation),
        });
        self.look_at_membership(now, handle);
        true
    }

    /// Answers an application that came as [`Event::Application`] where no controller is here: as a renewer, or by a refusal. Returns
    /// whether the other end gets a credential.
    pub fn answer_as_renewer(&mut self, now: Time, handle: NetworkHandle, node: &NodeId, request: u32) -> bool {
        let clock = self.clock(now);
        let network = self.networks.get(handle);
        let private = network.and_then(|network| network.private.as_ref());
        let applies = self.applies_with(handle, node, request);
        let extended = private.zip(applies).and_then(|(private, credential)| {
            let valid = private.is_valid(&clock, credential);
            private
                .extended(&clock, &self.identity, credential)
                .filter(|_| valid || planted("expired-extended"))
        });
        let granted = extended.is_some();
        if granted {
            info!(peer = %node.short(), "has its certificate extended");
        }
        let admission = extended.map_or(Admission::Refused(Refusal::NoController), |credential| {
            Admission::Granted(Box::new(credential))
        });
        self.answer_application(handle, node, request, &admission);
        granted
    }

    /// A renewer extends its own certificate, where it is time for that.
    pub(super) fn extend_own(&mut self, now: Time, handle: NetworkHandle) {
        let clock = self.clock(now);
        let network = self.networks.get(handle);
        let private = network.and_then(|network| network.private.as_ref());
        if let Some(extended) = private.and_then(|private| private.extended_own(&clock, &self.identity)) {
            self.credential_issued(now, handle, extended);
        }
    }
}

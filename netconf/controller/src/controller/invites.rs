//! Making, listing and withdrawing invites.

use std::sync::Arc;

use farlan_crypto::{KeyPair, PublicKey, VerifyingKey};
use farlan_netconf::private::{Config, Delegate, Delegation, DelegationFields, Revoked, Rights, Seconds};
use farlan_netconf::{Label, NetworkId, NetworkLink, PrivateLink, Reader, World};
use rand_core::CryptoRng;

use super::Controller;
use super::desk::{Desk, key_pair};
use super::members::Member;
use super::networks::known;
use crate::error::ControllerError;
use crate::store::{InviteRecord, StoreError};

/// What an invite is to be like.
#[derive(Clone, Debug)]
pub struct NewInvite {
    /// What its maker calls it; nobody else sees that.
    pub label: Label,
    /// How many it lets in; 0: as many as want. An invite that is counted works only while a controller can be reached.
    pub uses: u32,
    /// How long it works from now on, in seconds. It is a span, since what time it is is judged by what the network's key signed, too.
    pub lasts: u64,
    /// How long a certificate lives that the invite signs itself while no controller can be reached, in seconds: 7 days at most.
    pub life: u32,
    /// What those may do who come in by it.
    pub rights: Rights,
}

/// An invite.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Its public key, which names it.
    pub key: VerifyingKey,
    /// What its maker calls it.
    pub label: Label,
    /// How many it lets in; 0: as many as want.
    pub uses: u32,
    /// How many came in by it.
    pub taken: u64,
    /// What they may do.
    pub rights: Rights,
    /// When it was made.
    pub created: Seconds,
    /// Until when it works.
    pub expiry: Seconds,
    /// When it was withdrawn.
    pub withdrawn: Option<Seconds>,
    /// Whether [`Controller::link`] can write its link: it is not withdrawn, and was made by a controller with this store.
    pub has_link: bool,
    /// Who came in by it, those included who were kicked.
    pub members: Vec<Member>,
}

/// What came of withdrawing an invite.
#[derive(Clone, Debug)]
pub struct Uninvited {
    /// The revocations have changed, and are to be handed on: the invite could sign certificates itself.
    pub revoked: bool,
    /// Who came in by it, and stays.
    pub members: Vec<Member>,
}

impl Controller {
    /// Makes an invite.
    ///
    /// # Errors
    /// [`Past`](ControllerError::Past); a life of 0 or of more than 7 days; the store fails.
    pub async fn invite(
        &self,
        id: &NetworkId,
        new: NewInvite,
        clock: Seconds,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Invite, ControllerError> {
        let pair = KeyPair::generate(rng);
        let mut desk = self.desk(id, clock).await?;
        let expiry = desk.now.plus(new.lasts);
        if expiry <= desk.now {
            return Err(ControllerError::Past);
        }
        let fields = DelegationFields {
            delegate: Delegate::Invite {
                key: pair.public(),
                uses: new.uses,
            },
            rights: new.rights,
            time: desk.now,
            expiry,
            life: new.life,
        };
        let delegation = Delegation::sign(&desk.network(), desk.key(), fields)?;
        desk.signs();
        let mut bytes = Vec::with_capacity(Delegation::LENGTH);
        delegation.encode(&mut bytes);
        let record = InviteRecord {
            key: *pair.public().as_bytes(),
            secret: Some(farlan_crypto::Secret::copy_of(pair.seed().as_bytes())),
            delegation: bytes,
            label: new.label.as_str().to_owned(),
            uses: new.uses,
            taken: 0,
            issue: desk.number(),
            expiry: expiry.get(),
            created: desk.now.get(),
            withdrawn: None,
        };
        desk.transaction.insert_invite(id, &record).await?;
        desk.tell();
        let invite = self.shown(&desk.config, &record, Vec::new())?;
        self.finish(desk).await?;
        Ok(invite)
    }

    /// The link of an invite, which names this node, the other holders and then `peers` as those to greet first, four in all.
    /// `world` is the newest version of the network's world.
    ///
    /// # Errors
    /// [`NoSuchInvite`](ControllerError::NoSuchInvite), [`NoLink`](ControllerError::NoLink); the store fails.
    pub async fn link(
        &self,
        id: &NetworkId,
        key: &VerifyingKey,
        peers: &[PublicKey],
        world: World,
    ) -> Result<PrivateLink, ControllerError> {
        let mut transaction = self.store.read().await?;
        let record = known(&mut transaction, id).await?;
        let config = self.config(&record)?;
        let invite = transaction.invite(id, key.as_bytes()).await?;
        let invite = invite.ok_or(ControllerError::NoSuchInvite)?;
        let secret = invite.secret.as_ref().ok_or(ControllerError::NoLink)?;
        let delegation = self.delegation(&config, &invite.delegation)?;
        let mut named: Vec<PublicKey> = Vec::with_capacity(NetworkLink::MAX_PEERS);
        let holders = config.fields().holders.iter();
        for peer in std::iter::once(&self.node).chain(holders).chain(peers) {
            if named.len() < NetworkLink::MAX_PEERS && !named.contains(peer) {
                named.push(*peer);
            }
        }
        let fields = config.fields();
        let link = PrivateLink::new(
            fields.parameters.clone(),
            fields.label.clone(),
            fields.seeds[0].clone(),
            delegation,
            Arc::new(key_pair(secret)),
            named,
            world,
        );
        Ok(link.map_err(|_| StoreError::Damaged("an invite that is not of its network"))?)
    }

    /// All invites, the oldest first, with those who came in by each.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn invites(&self, id: &NetworkId) -> Result<Vec<Invite>, ControllerError> {
        let mut transaction = self.store.read().await?;
        let record = known(&mut transaction, id).await?;
        let config = self.config(&record)?;
        let mut invites = Vec::new();
        for invite in transaction.invites(id).await? {
            let members = transaction.members_by_invite(id, &invite.key).await?;
            invites.push(self.shown(&config, &invite, self.shown_members(&config, members)?)?);
        }
        Ok(invites)
    }

    /// Withdraws an invite: nobody comes in by it any more, and what it signed itself counts for nothing. Who came in by it before and
    /// has a certificate of the network key stays.
    ///
    /// # Errors
    /// [`NoSuchInvite`](ControllerError::NoSuchInvite); the store fails.
    pub async fn uninvite(
        &self,
        id: &NetworkId,
        key: &VerifyingKey,
        clock: Seconds,
    ) -> Result<Uninvited, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        let revoked = self.withdraw(&mut desk, key.as_bytes()).await?;
        let members = desk.transaction.members_by_invite(id, key.as_bytes()).await?;
        let members = self.shown_members(&desk.config, members)?;
        self.finish(desk).await?;
        Ok(Uninvited { revoked, members })
    }

    /// Withdraws an invite, and tells whether that took a revocation.
    pub(super) async fn withdraw(&self, desk: &mut Desk, key: &[u8; 32]) -> Result<bool, ControllerError> {
        let id = desk.id();
        let invite = desk.transaction.invite(&id, key).await?;
        let invite = invite.ok_or(ControllerError::NoSuchInvite)?;
        if !desk.transaction.withdraw_invite(&id, key, desk.now.get()).await? {
            return Ok(false);
        }
        desk.tell();
        let signs = invite.uses == 0;
        if signs {
            desk.revoke(Revoked::Delegation { key: *key }).await?;
        }
        Ok(signs)
    }

    pub(super) fn delegation(&self, config: &Config, bytes: &[u8]) -> Result<Delegation, ControllerError> {
        Delegation::decode(&mut Reader::new(bytes), config.network(), self.work).map_err(ControllerError::Damaged)
    }

    fn shown(&self, config: &Config, invite: &InviteRecord, members: Vec<Member>) -> Result<Invite, ControllerError> {
        let delegation = self.delegation(config, &invite.delegation)?;
        let Delegate::Invite { key, uses } = delegation.fields().delegate else {
            return Err(StoreError::Damaged("the delegation of a renewer in the place of an invite").into());
        };
        Ok(Invite {
            key,
            label: Label::parse(&invite.label).map_err(|error| ControllerError::Damaged(error.into()))?,
            uses,
            taken: invite.taken,
            rights: delegation.fields().rights,
            created: Seconds::new(invite.created),
            expiry: delegation.fields().expiry,
            withdrawn: invite.withdrawn.map(Seconds::new),
            has_link: invite.secret.is_some(),
            members,
        })
    }
}

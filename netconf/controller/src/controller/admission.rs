//! Who may come in, and what it gets.
//!
//! ```text
//! a member            its credential, or a new one if that is past half of its life
//! who was one         by an invite that is newer than the kick
//! anybody else        by a certificate of the network key that this store does not know (it was imported, or restored from
//!                     a backup), or by an invite that is neither withdrawn nor expired nor used up
//! ```
//!
//! Membership ends by a kick, not by an expiry: whoever was away for longer than its certificate lived comes back. Whoever asks
//! again gets the same answer, and takes no second use of an invite.

use farlan_crypto::PublicKey;
use farlan_netconf::NetworkId;
use farlan_netconf::private::{
    Admission, Application, Credential, Delegate, Delegation, DnsLabel, Refusal, Seconds, Signer,
};
use tracing::debug;

use super::Controller;
use super::desk::{Desk, name_of};
use super::networks::{Wish, revocations};
use crate::addresses::{Seeker, free_address};
use crate::error::ControllerError;
use crate::names::free_name;
use crate::store::{InviteRecord, MemberRecord};

/// Who asks for a credential, in a session in which it proved its key.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// Its key.
    pub node: &'a PublicKey,
    /// What it asks for. Its decoder has checked the proof of the invite in it.
    pub application: &'a Application,
    /// The credential that it shows in the session, if any; its decoder has checked the signatures. It may have expired.
    pub credential: Option<&'a Credential>,
}

/// What lets somebody in who is no member here.
enum Ground {
    /// A certificate of the network key, from another store.
    Certificate(MemberRecord),
    /// An invite, and the rights that it gives.
    Invite(InviteRecord, u8),
}

impl Controller {
    /// Answers an application.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork), which is to be answered with [`Refusal::NoController`]; the store fails, which is to be answered with
    /// [`Refusal::Later`].
    pub async fn admit(
        &self,
        id: &NetworkId,
        applicant: &Applicant<'_>,
        clock: Seconds,
    ) -> Result<Admission, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        desk.witness(applicant.credential);
        let known = desk.transaction.member(id, applicant.node.as_bytes()).await?;
        let wish = Wish {
            name: applicant.application.name.clone(),
            address: applicant.application.ipv4,
        };
        let (mut member, wish) = match known {
            Some(member) if member.kicked.is_none() => {
                let credential = desk.credential(&member)?;
                if !credential.needs_renewal(desk.now) {
                    return Ok(Admission::Granted(Box::new(credential)));
                }
                (member, wish)
            }
            former => match desk.ground(applicant, former.as_ref()).await? {
                Ok(ground) => match self.newcomer(&mut desk, applicant, former, ground, wish).await? {
                    Ok(newcomer) => newcomer,
                    Err(refusal) => return Ok(refused(applicant, refusal)),
                },
                Err(refusal) => return Ok(refused(applicant, refusal)),
            },
        };
        desk.place(&mut member, applicant.node, &wish).await?;
        if member.address.is_none() {
            return Ok(refused(applicant, Refusal::Full));
        }
        member.seen = desk.now.get();
        let credential = desk.certify(&mut member, *applicant.node)?;
        desk.transaction.put_member(id, &member).await?;
        self.fit_life(&mut desk).await?;
        self.finish(desk).await?;
        Ok(Admission::Granted(Box::new(credential)))
    }

    /// The record of somebody who is not in the list of members, and what it would like.
    async fn newcomer(
        &self,
        desk: &mut Desk,
        applicant: &Applicant<'_>,
        former: Option<MemberRecord>,
        ground: Ground,
        wish: Wish,
    ) -> Result<Result<(MemberRecord, Wish), Refusal>, ControllerError> {
        let id = desk.id();
        if desk.transaction.count_members(&id).await? >= Self::MAX_MEMBERS {
            return Ok(Err(Refusal::Full));
        }
        let mut member = match ground {
            Ground::Certificate(member) => member,
            Ground::Invite(invite, rights) => {
                let node = applicant.node.as_bytes();
                if !desk
                    .transaction
                    .take_use(&id, &invite.key, node, desk.now.get())
                    .await?
                {
                    return Ok(Err(Refusal::UsedUp));
                }
                MemberRecord {
                    rights,
                    invite: Some(invite.key),
                    ..MemberRecord::unknown(*node, desk.now.get())
                }
            }
        };
        member.admitted = desk.now.get();
        member.kicked = None;
        let mut wish = wish;
        // Who was here before gets the name and address that it had, if nobody else has them now.
        if let Some(former) = former {
            member.address = former.address.or(member.address);
            if let Some(name) = name_of(&former)?
                && desk.transaction.member_named(&id, name.as_str()).await?.is_none()
            {
                wish.name = Some(name);
            }
        }
        Ok(Ok((member, wish)))
    }

    /// Lets certificates live shorter once the network is a large one, unless its owner has said how long.
    async fn fit_life(&self, desk: &mut Desk) -> Result<(), ControllerError> {
        if desk.record.life != 0 || desk.config.fields().life != Self::LONG_LIFE {
            return Ok(());
        }
        let id = desk.id();
        let life = Self::fitting_life(desk.transaction.count_members(&id).await?);
        if life != Self::LONG_LIFE {
            desk.alter_config(|fields| fields.life = life)?;
        }
        Ok(())
    }
}

impl Desk {
    /// The credential that a member was given last.
    pub(super) fn credential(&self, member: &MemberRecord) -> Result<Credential, ControllerError> {
        Credential::decode(&member.credential, &self.network(), self.work).map_err(ControllerError::Damaged)
    }

    /// Gives a member a name, if it has none and wishes one, and an address, if it has none or another is reserved for it; what
    /// another has taken meanwhile it loses.
    pub(super) async fn place(
        &mut self,
        member: &mut MemberRecord,
        node: &PublicKey,
        wish: &Wish,
    ) -> Result<(), ControllerError> {
        let id = self.id();
        let wanted = name_of(member)?.or_else(|| wish.name.clone());
        if let Some(wanted) = wanted {
            let name = free_name(&mut self.transaction, &id, node.as_bytes(), &wanted).await?;
            name.as_str().clone_into(&mut member.name);
        }
        let seeker = Seeker {
            node: node.as_bytes(),
            node_id: node.node_id(),
            name: &member.name,
            wishes: [member.address.map(Into::into), wish.address],
        };
        let plan = self.plan();
        let address = free_address(&mut self.transaction, &id, &plan, &seeker).await?;
        member.address = address.map(Into::into);
        Ok(())
    }

    /// What lets somebody in who is no member, or was one.
    async fn ground(
        &mut self,
        applicant: &Applicant<'_>,
        former: Option<&MemberRecord>,
    ) -> Result<Result<Ground, Refusal>, ControllerError> {
        let kicked = former.and_then(|former| former.kicked).map_or(0, |(_, issue)| issue);
        let shown = applicant.credential.filter(|credential| {
            let certificate = credential.certificate();
            certificate.network() == self.id() && certificate.fields().node == *applicant.node
        });
        if let Some(credential) = shown
            && let Signer::Network = credential.certificate().signer()
            && credential.certificate().fields().issue > kicked
        {
            let fields = credential.certificate().fields();
            self.record.issued = self.record.issued.max(fields.issue);
            // The network key signed that, though this store does not know when it did.
            self.record.signed = self.record.signed.max(fields.time.get());
            self.now = self.now.max(fields.time);
            return Ok(Ok(Ground::Certificate(MemberRecord {
                name: fields.name.as_ref().map(DnsLabel::to_string).unwrap_or_default(),
                address: fields.ipv4.map(Into::into),
                rights: fields.rights.bits(),
                issue: fields.issue,
                ..MemberRecord::unknown(*applicant.node.as_bytes(), self.now.get())
            })));
        }
        let provisional = shown.and_then(|credential| match credential.certificate().signer() {
            Signer::Invite(delegation) => Some(delegation),
            Signer::Network => None,
        });
        match applicant.application.invite().or(provisional) {
            Some(delegation) if delegation.network() == self.id() => self.invited(applicant, delegation, kicked).await,
            // Without an invite of this network there was a certificate at the most, which does not count any more.
            _ => Ok(Err(Refusal::Revoked)),
        }
    }

    /// Whether an invite lets somebody in who was kicked under the number `kicked`, or never.
    async fn invited(
        &mut self,
        applicant: &Applicant<'_>,
        delegation: &Delegation,
        kicked: u64,
    ) -> Result<Result<Ground, Refusal>, ControllerError> {
        let id = self.id();
        let key = delegation.key();
        let Delegate::Invite { uses, .. } = delegation.fields().delegate else {
            return Ok(Err(Refusal::NoController));
        };
        let invite = match self.transaction.invite(&id, &key).await? {
            Some(invite) => invite,
            // Who made it has another store, and counts there.
            None if uses != 0 => return Ok(Err(Refusal::NoController)),
            None => {
                if revocations(&mut self.transaction, self.config.network())
                    .await?
                    .voids_delegation(delegation)
                {
                    return Ok(Err(Refusal::Revoked));
                }
                let mut bytes = Vec::with_capacity(Delegation::LENGTH);
                delegation.encode(&mut bytes);
                let invite = InviteRecord {
                    key,
                    secret: None,
                    delegation: bytes,
                    label: String::new(),
                    uses,
                    taken: 0,
                    issue: 0,
                    expiry: delegation.fields().expiry.get(),
                    created: delegation.fields().time.get(),
                    withdrawn: None,
                };
                self.transaction.insert_invite(&id, &invite).await?;
                invite
            }
        };
        if invite.withdrawn.is_some() {
            debug!(node = %applicant.node.node_id(), "applied with an invite that was withdrawn");
            return Ok(Err(Refusal::Revoked));
        }
        if kicked != 0 && invite.issue <= kicked {
            debug!(node = %applicant.node.node_id(), "was kicked, and applied with an older invite");
            return Ok(Err(Refusal::Revoked));
        }
        if self.now >= delegation.fields().expiry {
            return Ok(Err(Refusal::Expired));
        }
        Ok(Ok(Ground::Invite(invite, delegation.fields().rights.bits())))
    }

    /// Notes how far renewers have gone on with the network. (The credential's decoder has checked that the network key lets them.)
    fn witness(&mut self, credential: Option<&Credential>) {
        let extension = credential.and_then(Credential::extension);
        if let Some(extension) = extension
            && extension.delegation().network() == self.id()
        {
            let time = extension.time();
            self.record.witnessed = self.record.witnessed.max(time.get());
            // As `judged` would have it; a clock that counts is not behind `now` anyway.
            self.now = self.now.max(time.min(self.clock));
        }
    }
}

impl MemberRecord {
    /// Somebody of whom nothing is known yet.
    pub(crate) fn unknown(node: [u8; 32], at: u64) -> Self {
        Self {
            node,
            name: String::new(),
            address: None,
            rights: 0,
            issue: 0,
            expiry: 0,
            credential: Vec::new(),
            invite: None,
            admitted: at,
            seen: 0,
            kicked: None,
        }
    }
}

fn refused(applicant: &Applicant<'_>, refusal: Refusal) -> Admission {
    debug!(node = %applicant.node.node_id(), %refusal, "application refused");
    Admission::Refused(refusal)
}

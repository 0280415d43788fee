//! Listing, naming and kicking members; reserved addresses; renewers.

use std::net::Ipv4Addr;

use farlan_crypto::{PublicKey, Secret};
use farlan_netconf::NetworkId;
use farlan_netconf::private::{
    Config, Credential, Delegate, Delegation, DelegationFields, DnsLabel, NetworkSeed, Revoked, Rights, Seconds, Signer,
};
use rand_core::CryptoRng;

use super::Controller;
use super::desk::{Desk, name_of};
use super::networks::{Wish, known, revocations};
use crate::error::ControllerError;
use crate::store::{DelegateRecord, MemberRecord, Reserved};

/// A member, or one that was kicked.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its key.
    pub node: PublicKey,
    /// What it is called.
    pub name: Option<DnsLabel>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// What it may do.
    pub rights: Rights,
    /// The number of its latest certificate.
    pub issue: u64,
    /// When that expires. (A renewer may have given it another expiry.)
    pub expiry: Seconds,
    /// The key of the invite that it came in by, if it did.
    pub invite: Option<[u8; 32]>,
    /// When it came in.
    pub admitted: Seconds,
    /// When it was last met.
    pub seen: Option<Seconds>,
    /// When it was kicked, if it was.
    pub kicked: Option<Seconds>,
    /// Whether it is one of the holders: a controller or a renewer.
    pub is_holder: bool,
}

/// What came of a kick. Config and revocations are to be handed on at once.
#[derive(Clone, Debug)]
pub struct Kicked {
    /// The config, with a new seed.
    pub config: Config,
    /// The key of the invite by which the node came in, if it was withdrawn too.
    pub withdrawn: Option<[u8; 32]>,
    /// Whether it is known by which invite it came in. If not, as after an import, links that were made before may let it in again, with
    /// another key, until they expire.
    pub invite_known: bool,
    /// Who else came in by the same invite, whether it was withdrawn or not, and stays.
    pub companions: Vec<Member>,
}

/// What came of naming a renewer.
#[derive(Clone, Debug)]
pub struct Delegated {
    /// What lets it extend certificates, for the node itself.
    pub delegation: Delegation,
    /// The config, which names it as a holder.
    pub config: Config,
}

/// What was made for a member and it may not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// A newer certificate than the one that it shows.
    pub credential: Option<Credential>,
    /// What makes it a renewer.
    pub delegation: Option<Delegation>,
}

/// For whom an address is reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The node with this key.
    Node(PublicKey),
    /// Whoever has this name.
    Name(DnsLabel),
}

/// A reserved address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The address.
    pub address: Ipv4Addr,
    /// For whom.
    pub holder: Holder,
}

impl Desk {
    /// Revokes what makes a node a renewer, if this store or the config knows it as one, and tells whether it did. What another store
    /// signed for it is not here after an import, but the config names it.
    async fn dismiss(&mut self, node: &PublicKey) -> Result<bool, ControllerError> {
        let id = self.id();
        let is_listed = self.transaction.delete_delegate(&id, node.as_bytes()).await?;
        if !is_listed && !self.config.fields().holders.contains(node) {
            return Ok(false);
        }
        self.revoke(Revoked::Delegation { key: *node.as_bytes() }).await?;
        Ok(true)
    }

    /// The time for a new delegation of a node: behind what was revoked before, by a clock that may have been ahead of this one, or in
    /// the same second.
    async fn delegated_at(&mut self, node: &PublicKey) -> Result<Seconds, ControllerError> {
        let network = self.network();
        let dismissed = revocations(&mut self.transaction, &network).await?;
        let dismissed = dismissed.iter().filter_map(|revocation| match revocation.revoked() {
            Revoked::Delegation { key } if key == *node.as_bytes() => Some(revocation.time().plus(1)),
            Revoked::Delegation { .. } | Revoked::Member { .. } => None,
        });
        Ok(dismissed.fold(self.now, Seconds::max))
    }
}

impl Controller {
    /// All members by name, those included who were kicked.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn members(&self, id: &NetworkId) -> Result<Vec<Member>, ControllerError> {
        let mut transaction = self.store.read().await?;
        let record = known(&mut transaction, id).await?;
        let config = self.config(&record)?;
        let members = transaction.members(id).await?;
        drop(transaction);
        self.shown_members(&config, members)
    }

    /// Throws a node out: its certificates are revoked, the network gets a new seed so that it cannot recognise the others any
    /// longer, and the invite by which it came in is withdrawn unless `keep_invite`. It comes back only by an invite that is made later.
    ///
    /// `shown` is the credential that the node shows, if it is in a session: one that came in while no controller could be reached is
    /// not in the list yet, and says there by which invite.
    ///
    /// # Errors
    /// [`Oneself`](ControllerError::Oneself), [`KickedAlready`](ControllerError::KickedAlready), [`NoSuchMember`](ControllerError::NoSuchMember) for a node of which neither the list nor
    /// `shown` knows; the store fails.
    pub async fn kick(
        &self,
        id: &NetworkId,
        node: &PublicKey,
        shown: Option<&Credential>,
        keep_invite: bool,
        clock: Seconds,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Kicked, ControllerError> {
        if *node == self.node {
            return Err(ControllerError::Oneself);
        }
        let seed = NetworkSeed::new(Secret::filled(|bytes| rng.fill_bytes(bytes)));
        let mut desk = self.desk(id, clock).await?;
        let shown = shown.map(Credential::certificate);
        let shown = shown.filter(|shown| shown.network() == *id && shown.fields().node == *node);
        let mut member = match (desk.transaction.member(id, node.as_bytes()).await?, shown) {
            (Some(member), _) if member.kicked.is_none() => member,
            (Some(member), Some(shown)) if member.kicked.is_some_and(|(_, issue)| issue < shown.fields().issue) => {
                member
            }
            (Some(_), _) => return Err(ControllerError::KickedAlready),
            (None, Some(_)) => MemberRecord::unknown(*node.as_bytes(), desk.now.get()),
            (None, None) if desk.config.fields().holders.contains(node) => {
                MemberRecord::unknown(*node.as_bytes(), desk.now.get())
            }
            (None, None) => return Err(ControllerError::NoSuchMember),
        };
        if let Some(shown) = shown {
            // A controller with another store has given it a higher number.
            desk.record.issued = desk.record.issued.max(shown.fields().issue);
            if let Signer::Invite(delegation) = shown.signer() {
                member.invite = member.invite.or_else(|| Some(delegation.key()));
            }
        }
        let number = desk.kicking_number();
        let revoked = Revoked::Member {
            node: *node.as_bytes(),
            issue: number,
        };
        desk.revoke(revoked).await?;
        desk.dismiss(node).await?;
        let withdrawn = match member.invite.filter(|_| !keep_invite) {
            Some(invite) => self.withdraw_any(&mut desk, &invite).await?.then_some(invite),
            None => None,
        };
        member.kicked = Some((desk.now.get(), number));
        desk.transaction.put_member(id, &member).await?;
        desk.alter_config(|fields| {
            fields.seeds.insert(0, seed);
            fields.seeds.truncate(Config::MAX_SEEDS);
            fields.holders.retain(|holder| holder != node);
        })?;
        let mut companions = match member.invite {
            Some(invite) => desk.transaction.members_by_invite(id, &invite).await?,
            None => Vec::new(),
        };
        companions.retain(|companion| companion.kicked.is_none());
        let kicked = Kicked {
            withdrawn,
            invite_known: member.invite.is_some(),
            companions: self.shown_members(&desk.config, companions)?,
            config: desk.config.clone(),
        };
        self.finish(desk).await?;
        Ok(kicked)
    }

    /// Gives a member another name, and a certificate with it.
    ///
    /// # Errors
    /// [`NoSuchMember`](ControllerError::NoSuchMember), [`NameTaken`](ControllerError::NameTaken); the store fails.
    pub async fn rename(
        &self,
        id: &NetworkId,
        node: &PublicKey,
        name: &DnsLabel,
        clock: Seconds,
    ) -> Result<Credential, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        let mut member = desk.member(node).await?;
        if let Some(other) = desk.transaction.member_named(id, name.as_str()).await?
            && other.node != member.node
        {
            return Err(ControllerError::NameTaken(name.clone()));
        }
        name.as_str().clone_into(&mut member.name);
        self.reissue(desk, member, node).await
    }

    /// Gives a member other rights, and a certificate with them. What it had before counts until its certificate has expired, or
    /// it is kicked.
    ///
    /// # Errors
    /// [`NoSuchMember`](ControllerError::NoSuchMember); the store fails.
    pub async fn grant(
        &self,
        id: &NetworkId,
        node: &PublicKey,
        rights: Rights,
        clock: Seconds,
    ) -> Result<Credential, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        let mut member = desk.member(node).await?;
        member.rights = rights.bits();
        self.reissue(desk, member, node).await
    }

    /// Keeps an address for a node or a name, in the place of what was kept for it before. A member whose it is gets a new
    /// certificate at once, which is returned and to be handed to it.
    ///
    /// # Errors
    /// [`NoHost`](ControllerError::NoHost), [`AddressTaken`](ControllerError::AddressTaken); the store fails.
    pub async fn reserve(
        &self,
        id: &NetworkId,
        reservation: &Reservation,
        clock: Seconds,
    ) -> Result<Option<(PublicKey, Credential)>, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        let address = reservation.address;
        let plan = desk.plan();
        if !plan.subnet().is_host(address) {
            return Err(ControllerError::NoHost {
                address,
                subnet: *plan.subnet(),
            });
        }
        let member = match &reservation.holder {
            Holder::Node(node) => desk.transaction.member(id, node.as_bytes()).await?,
            Holder::Name(name) => desk.transaction.member_named(id, name.as_str()).await?,
        };
        let member = member.filter(|member| member.kicked.is_none());
        if let Some(other) = desk.transaction.member_at(id, address.to_bits()).await?
            && member.as_ref().is_none_or(|member| member.node != other.node)
        {
            return Err(ControllerError::AddressTaken(address, self.title(&other)?));
        }
        let reserved = match &reservation.holder {
            Holder::Node(node) => Reserved {
                address: address.to_bits(),
                node: Some(*node.as_bytes()),
                name: String::new(),
            },
            Holder::Name(name) => Reserved {
                address: address.to_bits(),
                node: None,
                name: name.to_string(),
            },
        };
        if let Some(other) = desk.transaction.reservations(id).await?.into_iter().find(|other| {
            other.address == reserved.address && (other.node, &other.name) != (reserved.node, &reserved.name)
        }) {
            let holder = match other.node {
                Some(node) => self.node(&node)?.node_id().to_string(),
                None => other.name,
            };
            return Err(ControllerError::AddressTaken(address, holder));
        }
        desk.transaction.put_reservation(id, &reserved).await?;
        desk.tell();
        match member {
            Some(member) if member.address != Some(reserved.address) => {
                let node = self.node(&member.node)?;
                Ok(Some((node, self.reissue(desk, member, &node).await?)))
            }
            _ => {
                self.finish(desk).await?;
                Ok(None)
            }
        }
    }

    /// Keeps an address for nobody any longer; who has it keeps it.
    ///
    /// # Errors
    /// [`NotReserved`](ControllerError::NotReserved); the store fails.
    pub async fn unreserve(&self, id: &NetworkId, address: Ipv4Addr, clock: Seconds) -> Result<(), ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        if !desk.transaction.delete_reservation(id, address.to_bits()).await? {
            return Err(ControllerError::NotReserved(address));
        }
        desk.tell();
        self.finish(desk).await
    }

    /// The reserved addresses in their order.
    ///
    /// # Errors
    /// The store fails.
    pub async fn reservations(&self, id: &NetworkId) -> Result<Vec<Reservation>, ControllerError> {
        let reserved = self.store.read().await?.reservations(id).await?;
        reserved
            .into_iter()
            .map(|reserved| {
                Ok(Reservation {
                    address: Ipv4Addr::from_bits(reserved.address),
                    holder: match reserved.node {
                        Some(node) => Holder::Node(self.node(&node)?),
                        None => Holder::Name(
                            DnsLabel::parse(&reserved.name).map_err(|error| ControllerError::Damaged(error.into()))?,
                        ),
                    },
                })
            })
            .collect()
    }

    /// Lets a member extend certificates for so many seconds from now on, each by `life` seconds at most, and names it in the config. It makes
    /// neither members nor rights.
    ///
    /// # Errors
    /// [`NoSuchMember`](ControllerError::NoSuchMember), [`Past`](ControllerError::Past), [`Holders`](ControllerError::Holders); the store fails.
    pub async fn delegate(
        &self,
        id: &NetworkId,
        node: &PublicKey,
        lasts: u64,
        life: u32,
        clock: Seconds,
    ) -> Result<Delegated, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        // A span, as that of an invite.
        let expiry = desk.now.plus(lasts);
        desk.member(node).await?;
        // All that is signed here is as late, also the next dismissal.
        desk.now = desk.delegated_at(node).await?;
        if expiry <= desk.now {
            return Err(ControllerError::Past);
        }
        let fields = DelegationFields {
            delegate: Delegate::Renewer { node: *node },
            rights: Rights::NONE,
            time: desk.now,
            expiry,
            life,
        };
        let delegation = Delegation::sign(&desk.network(), desk.key(), fields)?;
        let mut bytes = Vec::with_capacity(Delegation::LENGTH);
        delegation.encode(&mut bytes);
        let record = DelegateRecord {
            node: *node.as_bytes(),
            delegation: bytes,
            expiry: expiry.get(),
            created: desk.now.get(),
        };
        desk.transaction.put_delegate(id, &record).await?;
        let holders = &desk.config.fields().holders;
        if !holders.contains(node) {
            if holders.len() >= Config::MAX_HOLDERS {
                return Err(ControllerError::Holders);
            }
            let node = *node;
            desk.alter_config(|fields| fields.holders.push(node))?;
        }
        desk.signs();
        desk.tell();
        let config = desk.config.clone();
        self.finish(desk).await?;
        Ok(Delegated { delegation, config })
    }

    /// What a member is to be handed that is met and shows a certificate with the number `issue` (0 for a provisional one): a newer one, if
    /// it was renamed or the like while it was away, and its delegation if it is a renewer, which it may have. Nothing for others.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn outstanding(
        &self,
        id: &NetworkId,
        node: &PublicKey,
        issue: u64,
    ) -> Result<Outstanding, ControllerError> {
        let mut transaction = self.store.read().await?;
        let record = known(&mut transaction, id).await?;
        let config = self.config(&record)?;
        let member = transaction.member(id, node.as_bytes()).await?;
        let Some(member) = member.filter(|member| member.kicked.is_none()) else {
            return Ok(Outstanding::default());
        };
        let credential = (member.issue > issue)
            .then(|| Credential::decode(&member.credential, config.network(), self.work))
            .transpose()
            .map_err(ControllerError::Damaged)?;
        let delegate = transaction.delegate(id, node.as_bytes()).await?;
        let delegation = delegate
            .map(|delegate| self.delegation(&config, &delegate.delegation))
            .transpose()?;
        Ok(Outstanding { credential, delegation })
    }

    /// The delegations of all renewers, the oldest first.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn delegates(&self, id: &NetworkId) -> Result<Vec<Delegation>, ControllerError> {
        let mut transaction = self.store.read().await?;
        let record = known(&mut transaction, id).await?;
        let config = self.config(&record)?;
        let delegates = transaction.delegates(id).await?;
        delegates
            .iter()
            .map(|delegate| self.delegation(&config, &delegate.delegation))
            .collect()
    }

    /// Takes the right to extend certificates from a member again; what it extended counts no longer. That holds for whomever the
    /// config names, since another store may have made it a renewer. A controller that is dismissed so names itself again, if it lives.
    ///
    /// # Errors
    /// [`NoDelegate`](ControllerError::NoDelegate); the store fails.
    pub async fn undelegate(
        &self,
        id: &NetworkId,
        node: &PublicKey,
        clock: Seconds,
    ) -> Result<Config, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        if *node == self.node || !desk.dismiss(node).await? {
            return Err(ControllerError::NoDelegate);
        }
        desk.alter_config(|fields| fields.holders.retain(|holder| holder != node))?;
        let config = desk.config.clone();
        self.finish(desk).await?;
        Ok(config)
    }

    /// Gives a member a certificate that says what its record says.
    async fn reissue(
        &self,
        mut desk: Desk,
        mut member: MemberRecord,
        node: &PublicKey,
    ) -> Result<Credential, ControllerError> {
        let id = desk.id();
        desk.place(&mut member, node, &Wish::default()).await?;
        let credential = desk.certify(&mut member, *node)?;
        desk.transaction.put_member(&id, &member).await?;
        desk.tell();
        self.finish(desk).await?;
        Ok(credential)
    }

    /// Withdraws the invite by which somebody came in who is kicked, and tells whether that was to be done. One that this store does not
    /// know signs certificates itself, and is revoked as well.
    async fn withdraw_any(&self, desk: &mut Desk, invite: &[u8; 32]) -> Result<bool, ControllerError> {
        let id = desk.id();
        match desk.transaction.invite(&id, invite).await? {
            Some(known) if known.withdrawn.is_some() => Ok(false),
            Some(_) => {
                self.withdraw(desk, invite).await?;
                Ok(true)
            }
            None => {
                desk.revoke(Revoked::Delegation { key: *invite }).await?;
                Ok(true)
            }
        }
    }

    pub(super) fn shown_members(
        &self,
        config: &Config,
        records: Vec<MemberRecord>,
    ) -> Result<Vec<Member>, ControllerError> {
        records
            .into_iter()
            .map(|record| self.shown_member(config, &record))
            .collect()
    }

    fn shown_member(&self, config: &Config, record: &MemberRecord) -> Result<Member, ControllerError> {
        let node = self.node(&record.node)?;
        Ok(Member {
            node,
            name: name_of(record)?,
            address: record.address.map(Ipv4Addr::from_bits),
            rights: Rights::from_bits(record.rights)?,
            issue: record.issue,
            expiry: Seconds::new(record.expiry),
            invite: record.invite,
            admitted: Seconds::new(record.admitted),
            seen: (record.seen != 0).then(|| Seconds::new(record.seen)),
            kicked: record.kicked.map(|(time, _)| Seconds::new(time)),
            is_holder: config.fields().holders.contains(&node),
        })
    }

    fn node(&self, key: &[u8; 32]) -> Result<PublicKey, ControllerError> {
        PublicKey::from_bytes(key, self.work).map_err(|error| ControllerError::Damaged(error.into()))
    }

    /// What to call a member in a message.
    fn title(&self, member: &MemberRecord) -> Result<String, ControllerError> {
        Ok(match name_of(member)? {
            Some(name) => name.to_string(),
            None => self.node(&member.node)?.node_id().to_string(),
        })
    }
}

//! A network in a transaction: its key, its config, and what every change of it needs.

use std::net::Ipv4Addr;

use farlan_crypto::{KeyPair, PublicKey, Secret, Seed, Work};
use farlan_netconf::private::{
    CertificateFields, Config, ConfigFields, Credential, DnsLabel, PrivateNetwork, Revocation, Revoked, Rights,
    Seconds, now,
};
use farlan_netconf::{AddressPlan, NetworkId};

use super::Controller;
use crate::error::ControllerError;
use crate::store::{MemberRecord, NetworkRecord, Transaction};

/// A network that is being changed. Nobody else changes it meanwhile; unless [`Controller::finish`] is called, nothing
/// happened.
pub(super) struct Desk {
    pub(super) transaction: Transaction,
    pub(super) record: NetworkRecord,
    pub(super) config: Config,
    /// The time at which documents are made and judged here.
    pub(super) now: Seconds,
    /// What the machine's clock says.
    pub(super) clock: Seconds,
    pub(super) work: Work,
    key: KeyPair,
    /// Whether others have to be told.
    changed: bool,
}

impl Controller {
    /// Locks a network for changes.
    pub(super) async fn desk(&self, id: &NetworkId, clock: Seconds) -> Result<Desk, ControllerError> {
        let mut transaction = self.store.begin().await?;
        let record = transaction.lock(id).await?.ok_or(ControllerError::NoSuchNetwork(*id))?;
        let own = transaction.member(id, self.node.as_bytes()).await?;
        let own = own.filter(|own| own.kicked.is_none());
        let config = self.config(&record)?;
        // A new controller of a network in a store has none of its own, and its clock may be the wrong one all the same.
        let own_expiry = own.map_or_else(
            || Seconds::new(record.signed).plus(config.fields().life.into()),
            |own| Seconds::new(own.expiry),
        );
        let judged = judged(clock, self.build, &record, Some(own_expiry));
        Ok(self.desk_of(transaction, record, config, judged, clock))
    }

    /// The desk of a network that this transaction holds.
    pub(super) fn desk_of(
        &self,
        transaction: Transaction,
        record: NetworkRecord,
        config: Config,
        now: Seconds,
        clock: Seconds,
    ) -> Desk {
        Desk {
            key: key_pair(&record.seed),
            work: self.work,
            changed: false,
            transaction,
            record,
            config,
            now,
            clock,
        }
    }

    /// Makes what was done at the desk last.
    pub(super) async fn finish(&self, desk: Desk) -> Result<(), ControllerError> {
        let Desk {
            mut transaction,
            record,
            changed,
            ..
        } = desk;
        transaction.update_network(&record).await?;
        if changed {
            self.store.commit_change(transaction, &record.id).await?;
        } else {
            transaction.commit().await?;
        }
        Ok(())
    }

    pub(super) fn config(&self, record: &NetworkRecord) -> Result<Config, ControllerError> {
        Config::decode(&record.config, self.work).map_err(ControllerError::Damaged)
    }
}

impl Desk {
    pub(super) fn id(&self) -> NetworkId {
        self.record.id
    }

    pub(super) fn network(&self) -> PrivateNetwork {
        *self.config.network()
    }

    pub(super) fn key(&self) -> &KeyPair {
        &self.key
    }

    pub(super) fn plan(&self) -> AddressPlan {
        AddressPlan::new(&self.id(), self.network().subnet())
    }

    /// The next number of what the network key issues: the time in seconds, or what comes after the last one. So controllers with
    /// stores of their own, that do not hear of each other's numbers, still give the later certificate the higher one.
    pub(super) fn number(&mut self) -> u64 {
        self.number_from(self.now)
    }

    /// A number for a kick: above all that another controller gives out now, whose clock may be some hours ahead of this one's.
    pub(super) fn kicking_number(&mut self) -> u64 {
        self.number_from(self.now.plus(CLOCKS_DIFFER))
    }

    fn number_from(&mut self, least: Seconds) -> u64 {
        self.record.issued = self.record.issued.max(least.get()).saturating_add(1);
        self.record.issued
    }

    /// Notes that the network key signs something at this time.
    pub(super) fn signs(&mut self) {
        self.record.signed = self.record.signed.max(self.now.get());
    }

    /// Has others told that something changed.
    pub(super) fn tell(&mut self) {
        self.changed = true;
    }

    /// Signs the next version of the config.
    pub(super) fn alter_config(&mut self, alter: impl FnOnce(&mut ConfigFields)) -> Result<(), ControllerError> {
        let mut fields = self.config.fields().clone();
        alter(&mut fields);
        fields.counter += 1;
        fields.time = self.now;
        self.config = Config::sign(&self.key, fields)?;
        self.record.config = self.config.encode();
        self.signs();
        self.tell();
        Ok(())
    }

    /// Signs a certificate with the next number, and writes it into the member's record.
    pub(super) fn certify(
        &mut self,
        member: &mut MemberRecord,
        node: PublicKey,
    ) -> Result<Credential, ControllerError> {
        let fields = CertificateFields {
            node,
            rights: Rights::from_bits(member.rights)?,
            ipv4: member.address.map(Ipv4Addr::from_bits),
            issue: self.number(),
            time: self.now,
            expiry: self.now.plus(self.config.fields().life.into()),
            name: name_of(member)?,
        };
        member.issue = fields.issue;
        member.expiry = fields.expiry.get();
        let credential = Credential::by_network(&self.network(), &self.key, fields)?;
        member.credential = credential.encode();
        self.signs();
        Ok(credential)
    }

    /// Signs a revocation and adds it to the set.
    pub(super) async fn revoke(&mut self, revoked: Revoked) -> Result<(), ControllerError> {
        let revocation = Revocation::sign(&self.network(), &self.key, revoked, self.now)?;
        self.signs();
        self.add_revocation(&revocation).await?;
        Ok(())
    }

    /// Adds a revocation to the set, and tells whether it was new.
    pub(super) async fn add_revocation(&mut self, revocation: &Revocation) -> Result<bool, ControllerError> {
        let id = self.id();
        if !self.transaction.add_revocation(&id, revocation.as_bytes()).await? {
            return Ok(false);
        }
        self.record.version += 1;
        self.record.signed = self.record.signed.max(revocation.time().get());
        self.tell();
        Ok(true)
    }

    /// A member by its key; one that was kicked is none.
    pub(super) async fn member(&mut self, node: &PublicKey) -> Result<MemberRecord, ControllerError> {
        let id = self.id();
        match self.transaction.member(&id, node.as_bytes()).await? {
            Some(member) if member.kicked.is_none() => Ok(member),
            Some(_) => Err(ControllerError::KickedAlready),
            None => Err(ControllerError::NoSuchMember),
        }
    }
}

/// So many seconds the clocks of two controllers may differ, with what they issue faster than one a second, without a kick by one
/// sparing what the other has just issued: a day, since some clocks show the local time.
const CLOCKS_DIFFER: u64 = 24 * 3600;

/// The key pair of a network.
pub(super) fn key_pair(seed: &Secret<32>) -> KeyPair {
    KeyPair::from_seed(Seed::new(Secret::copy_of(seed.as_bytes())))
}

/// What a member is called.
pub(super) fn name_of(member: &MemberRecord) -> Result<Option<DnsLabel>, ControllerError> {
    let name = (!member.name.is_empty())
        .then(|| DnsLabel::parse(&member.name))
        .transpose();
    name.map_err(|error| ControllerError::Damaged(error.into()))
}

/// The time at which documents of a network are made and judged; see the head of [`controller`](super).
fn judged(clock: Seconds, build: Seconds, record: &NetworkRecord, own_expiry: Option<Seconds>) -> Seconds {
    let witnessed = clock.min(Seconds::new(record.witnessed));
    now(clock, build, Seconds::new(record.signed), own_expiry).max(witnessed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: Seconds = Seconds::new(1_000);

    fn at(clock: u64, signed: u64, witnessed: u64, own_expiry: Option<u64>) -> u64 {
        let record = NetworkRecord {
            id: NetworkId::from_bytes([0; 16]),
            seed: Secret::from([0; 32]),
            config: Vec::new(),
            issued: 0,
            signed,
            witnessed,
            life: 0,
            version: 0,
            created: 0,
        };
        judged(Seconds::new(clock), BUILD, &record, own_expiry.map(Seconds::new)).get()
    }

    #[test]
    fn a_good_clock_counts() {
        assert_eq!(at(5_000, 2_000, 0, Some(6_000)), 5_000);
        assert_eq!(at(5_000, 2_000, 0, None), 5_000);
    }

    #[test]
    fn a_clock_that_is_behind_does_not() {
        assert_eq!(at(1_500, 2_000, 0, Some(6_000)), 2_000);
        assert_eq!(at(500, 600, 0, None), 1_000);
    }

    #[test]
    fn a_clock_that_is_years_ahead_does_not_unless_renewers_agree() {
        assert_eq!(at(9_000, 2_000, 0, Some(6_000)), 2_000);
        assert_eq!(
            at(9_000, 2_000, 8_500, Some(6_000)),
            8_500,
            "renewers have lived on until then"
        );
        assert_eq!(
            at(9_000, 2_000, 99_000, Some(6_000)),
            9_000,
            "no farther than the clock itself"
        );
        assert_eq!(
            at(5_000, 2_000, 99_000, Some(6_000)),
            5_000,
            "renewers move no clock that is good"
        );
    }
}

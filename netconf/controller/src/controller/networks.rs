//! Making, altering, exporting and importing networks, and learning what other controllers did to them.

use std::net::Ipv4Addr;

use farlan_crypto::{KeyPair, PublicKey, Secret};
use farlan_netconf::private::{
    Config, ConfigFields, Credential, DnsLabel, DocumentError, ExportedKey, NetworkSeed, PrivateNetwork, Revocation,
    Revocations, Revoked, Rights, SealedDocument, Seconds,
};
use farlan_netconf::{Label, Mtu, NetworkId, Parameters, Subnet, WorldId};
use rand_core::CryptoRng;

use super::Controller;
use super::desk::{Desk, key_pair};
use crate::error::ControllerError;
use crate::store::{MemberRecord, NetworkRecord, StoreError, Transaction};

/// What a new network is to be like. Subnet and MTU are in its id and cannot be changed later.
#[derive(Clone, Debug)]
pub struct NewNetwork {
    /// How people call it.
    pub label: Label,
    /// What stands behind its members' names in the DNS.
    pub domain: DnsLabel,
    /// The range of its IPv4 addresses.
    pub subnet: Subnet,
    /// The MTU of its cards.
    pub mtu: Mtu,
    /// The world through which its members meet.
    pub world: WorldId,
    /// How long its certificates live, in seconds; none: as long as fits its size ([`Controller::LONG_LIFE`], [`Controller::SHORT_LIFE`]).
    pub life: Option<u32>,
}

/// What a node would like to be called, and which address it would like to have.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Its name.
    pub name: Option<DnsLabel>,
    /// Its address; of no effect outside the subnet, or if another has it.
    pub address: Option<Ipv4Addr>,
}

/// What is to be changed of a network; what is none stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How people call it.
    pub label: Option<Label>,
    /// What stands behind its members' names in the DNS.
    pub domain: Option<DnsLabel>,
    /// The world through which its members meet.
    pub world: Option<WorldId>,
    /// How long its certificates live from their next renewal on, in seconds; 0: as long as fits its size.
    pub life: Option<u32>,
    /// That this machine's clock is right, though this node's own certificate has expired by it: certificates are made by it from
    /// now on, and members take its time for the present. Only people can know that.
    pub clock_is_right: bool,
}

/// What members have of a network, and this node's own credential in it.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The config in force.
    pub config: Config,
    /// All revocations.
    pub revocations: Revocations,
    /// This node's credential; none before [`Controller::take_up`] on a store that another node made.
    pub credential: Option<Credential>,
}

/// What was new in documents that others had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The config was the newer one, and is in force now.
    pub config: bool,
    /// How many revocations were new.
    pub revocations: usize,
    /// Another store has made a config with the counter of this one's: two controllers do not know of each other. They should
    /// share a store.
    pub fork: bool,
}

impl Controller {
    /// The networks whose keys are here, the oldest first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn networks(&self) -> Result<Vec<NetworkId>, ControllerError> {
        Ok(self.store.read().await?.networks().await?)
    }

    /// Makes a network and this node its first member, with all rights.
    ///
    /// # Errors
    /// A life of 0; the store fails.
    pub async fn create(
        &self,
        new: NewNetwork,
        wish: &Wish,
        clock: Seconds,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Documents, ControllerError> {
        let key = KeyPair::generate(rng);
        let seed = NetworkSeed::new(Secret::filled(|bytes| rng.fill_bytes(bytes)));
        let now = clock.max(self.build);
        let fields = ConfigFields {
            parameters: Parameters::private(key.public(), new.subnet, new.mtu),
            counter: 1,
            time: now,
            life: new.life.unwrap_or(Self::LONG_LIFE),
            label: new.label,
            domain: new.domain,
            world: new.world,
            seeds: vec![seed],
            holders: vec![self.node],
        };
        let config = Config::sign(&key, fields)?;
        let record = NetworkRecord {
            id: config.network().id(),
            seed: Secret::copy_of(key.seed().as_bytes()),
            config: config.encode(),
            issued: 0,
            signed: now.get(),
            witnessed: 0,
            life: new.life.unwrap_or(0),
            version: 1,
            created: now.get(),
        };
        let mut transaction = self.store.begin().await?;
        transaction.insert_network(&record).await?;
        let mut desk = self.desk_of(transaction, record, config, now, clock);
        desk.tell();
        self.seat(desk, wish).await
    }

    /// Makes this node a controller of a network in the store: a member with all rights, named by the config as one to turn to. Its
    /// own certificate is renewed if it is past half of its life. To be called for each network at the start and every
    /// hour; it changes nothing if nothing is to be done.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); [`KickedAlready`](ControllerError::KickedAlready) if another
    /// controller kicked this node; [`Holders`](ControllerError::Holders) if the config names 16 others.
    pub async fn take_up(&self, id: &NetworkId, wish: &Wish, clock: Seconds) -> Result<Documents, ControllerError> {
        let desk = self.desk(id, clock).await?;
        self.seat(desk, wish).await
    }

    /// What [`take_up`](Self::take_up) does.
    async fn seat(&self, mut desk: Desk, wish: &Wish) -> Result<Documents, ControllerError> {
        let credential = self.own_credential(&mut desk, wish).await?;
        if !desk.config.fields().holders.contains(&self.node) {
            if desk.config.fields().holders.len() >= Config::MAX_HOLDERS {
                return Err(ControllerError::Holders);
            }
            let node = self.node;
            desk.alter_config(|fields| fields.holders.push(node))?;
        }
        let network = desk.network();
        let documents = Documents {
            config: desk.config.clone(),
            revocations: revocations(&mut desk.transaction, &network).await?,
            credential: Some(credential),
        };
        self.finish(desk).await?;
        Ok(documents)
    }

    /// What members have of a network.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn documents(&self, id: &NetworkId) -> Result<Documents, ControllerError> {
        let mut transaction = self.store.read().await?;
        let record = known(&mut transaction, id).await?;
        let config = self.config(&record)?;
        let own = transaction.member(id, self.node.as_bytes()).await?;
        let credential = own
            .filter(|own| own.kicked.is_none())
            .map(|own| Credential::decode(&own.credential, config.network(), self.work))
            .transpose()
            .map_err(ControllerError::Damaged)?;
        Ok(Documents {
            revocations: revocations(&mut transaction, config.network()).await?,
            config,
            credential,
        })
    }

    /// The revocations as supernodes keep them: sealed under the secret in force, and under each former one, so that whoever was away
    /// finds them too. The version is above `held`, the highest that was seen of them, and hardly one that another controller chooses, too: max(held, seconds · 2^30) + 1 + 30 random bits.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn sealed_documents(
        &self,
        id: &NetworkId,
        held: u64,
        clock: Seconds,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<SealedDocument>, ControllerError> {
        let mut salts = [[0; 16]; Config::MAX_SEEDS];
        salts.iter_mut().for_each(|salt| rng.fill_bytes(salt));
        let apart = u64::from(rng.next_u32() >> 2);
        let now = clock.max(self.build).get().saturating_mul(1 << 30);
        let mut transaction = self.store.read().await?;
        let record = known(&mut transaction, id).await?;
        let config = self.config(&record)?;
        let revocations = revocations(&mut transaction, config.network()).await?;
        let content = revocations.newest(Revocations::SEALED_COUNT).encode();
        let key = key_pair(&record.seed);
        let secrets = config.secrets();
        let version = held.max(record.version).max(now).saturating_add(1 + apart);
        let sealed = secrets
            .iter()
            .zip(salts)
            .map(|(secret, salt)| SealedDocument::seal(&key, secret, version, salt, &content));
        Ok(sealed.collect::<Result<_, _>>()?)
    }

    /// Changes what can be changed of a network.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn set(&self, id: &NetworkId, settings: Settings, clock: Seconds) -> Result<Config, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        if settings.clock_is_right {
            desk.now = desk.now.max(clock);
        }
        if let Some(life) = settings.life {
            desk.record.life = life;
        }
        let life = match desk.record.life {
            0 => Self::fitting_life(desk.transaction.count_members(id).await?),
            life => life,
        };
        desk.alter_config(|fields| {
            fields.life = life;
            if let Some(label) = settings.label {
                fields.label = label;
            }
            if let Some(domain) = settings.domain {
                fields.domain = domain;
            }
            if let Some(world) = settings.world {
                fields.world = world;
            }
        })?;
        let config = desk.config.clone();
        self.finish(desk).await?;
        Ok(config)
    }

    /// The network key, to be kept in a safe place.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn export(&self, id: &NetworkId) -> Result<ExportedKey, ControllerError> {
        let mut transaction = self.store.read().await?;
        let record = known(&mut transaction, id).await?;
        ExportedKey::new(key_pair(&record.seed), self.config(&record)?, record.issued).map_err(ControllerError::Damaged)
    }

    /// Takes a network over whose key was exported. Who its members are does not come along: they are known again as they turn to this
    /// controller with their certificates, and [`learn`](Self::learn) brings what changed since. Whoever has both stores running at a time
    /// makes forks. If all certificates have expired by the clock since the export, the clock does not count, as it does not where
    /// this node's own has ([`Settings::clock_is_right`] has it count).
    ///
    /// # Errors
    /// [`NetworkExists`](ControllerError::NetworkExists); the store fails.
    pub async fn import(
        &self,
        exported: &ExportedKey,
        wish: &Wish,
        clock: Seconds,
    ) -> Result<Documents, ControllerError> {
        let config = exported.config().clone();
        let id = config.network().id();
        // Certificates are numbered by the time, so this tells of what was signed since the config was.
        let signed = config.fields().time.max(Seconds::new(exported.issued));
        let expiry = signed.plus(config.fields().life.into());
        let judged = farlan_netconf::private::now(clock, self.build, config.fields().time, Some(expiry));
        let now = judged.get();
        // What was signed after the export has higher numbers, but, at less than one a second, hardly one as high as this.
        let number = exported.issued.max(now);
        let record = NetworkRecord {
            id,
            seed: Secret::copy_of(exported.key().seed().as_bytes()),
            config: config.encode(),
            issued: number,
            signed: config.fields().time.get(),
            witnessed: 0,
            life: match config.fields().life {
                Self::LONG_LIFE | Self::SHORT_LIFE => 0,
                life => life,
            },
            version: number,
            created: now,
        };
        let mut transaction = self.store.begin().await?;
        if !transaction.insert_network(&record).await? {
            return Err(ControllerError::NetworkExists(id));
        }
        let mut desk = self.desk_of(transaction, record, config, judged, clock);
        desk.tell();
        self.seat(desk, wish).await
    }

    /// Forgets a network and its key. It lives on without a controller, unless the key is elsewhere.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
    pub async fn forget(&self, id: &NetworkId) -> Result<(), ControllerError> {
        let mut transaction = self.store.begin().await?;
        if !transaction.delete_network(id).await? {
            return Err(ControllerError::NoSuchNetwork(*id));
        }
        Ok(self.store.commit_change(transaction, id).await?)
    }

    /// Takes over what other members had of the network: what a controller with another store did, or this one before its store
    /// was restored from a backup.
    ///
    /// # Errors
    /// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); documents of another network; the store fails.
    pub async fn learn(
        &self,
        id: &NetworkId,
        config: Option<&Config>,
        revocations: Option<&Revocations>,
        clock: Seconds,
    ) -> Result<Learned, ControllerError> {
        let mut desk = self.desk(id, clock).await?;
        let networks = [config.map(Config::network), revocations.map(Revocations::network)];
        if networks.into_iter().flatten().any(|network| network.id() != *id) {
            return Err(DocumentError::OtherNetwork.into());
        }
        let mut learned = Learned::default();
        if let Some(config) = config {
            learned.fork = config.forks(&desk.config);
            if config.order() > desk.config.order() {
                desk.record.config = config.encode();
                desk.record.signed = desk.record.signed.max(config.fields().time.get());
                desk.config = config.clone();
                desk.tell();
                learned.config = true;
            }
        }
        for revocation in revocations.into_iter().flat_map(Revocations::iter) {
            if desk.add_revocation(revocation).await? {
                desk.apply(revocation).await?;
                learned.revocations += 1;
            }
        }
        if learned != Learned::default() {
            self.finish(desk).await?;
        }
        Ok(learned)
    }

    /// Notes when members were last met.
    ///
    /// # Errors
    /// The store fails.
    pub async fn seen(&self, id: &NetworkId, nodes: &[(PublicKey, Seconds)]) -> Result<(), ControllerError> {
        // In one order, or two controllers that share a database wait for each other.
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable_by_key(|(node, _)| *node.as_bytes());
        let mut transaction = self.store.begin().await?;
        for (node, at) in &nodes {
            transaction.see(id, node.as_bytes(), at.get()).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The life of certificates that fits a network of so many members.
    pub(super) fn fitting_life(members: u64) -> u32 {
        if members > Self::SMALL {
            Self::SHORT_LIFE
        } else {
            Self::LONG_LIFE
        }
    }

    /// This node's own credential, made or renewed if need be.
    async fn own_credential(&self, desk: &mut Desk, wish: &Wish) -> Result<Credential, ControllerError> {
        let id = desk.id();
        let mut member = match desk.transaction.member(&id, self.node.as_bytes()).await? {
            Some(member) if member.kicked.is_some() => return Err(ControllerError::KickedAlready),
            Some(member) => {
                let credential = desk.credential(&member)?;
                if !credential.needs_renewal(desk.now) && member.rights == Rights::ALL.bits() {
                    return Ok(credential);
                }
                member
            }
            None => MemberRecord::unknown(*self.node.as_bytes(), desk.now.get()),
        };
        member.rights = Rights::ALL.bits();
        desk.place(&mut member, &self.node, wish).await?;
        let credential = desk.certify(&mut member, self.node)?;
        desk.transaction.put_member(&id, &member).await?;
        Ok(credential)
    }
}

impl Desk {
    /// Brings the lists of members, invites and renewers in line with a revocation that another controller signed.
    async fn apply(&mut self, revocation: &Revocation) -> Result<(), StoreError> {
        let id = self.id();
        let time = revocation.time().get();
        match revocation.revoked() {
            Revoked::Member { node, issue } => {
                self.record.issued = self.record.issued.max(issue);
                let member = self.transaction.member(&id, &node).await?;
                let mut member = member.unwrap_or_else(|| MemberRecord::unknown(node, time));
                if member.issue <= issue {
                    let known = member.kicked.unwrap_or_default();
                    member.kicked = Some(known.max((time, issue)));
                    self.transaction.put_member(&id, &member).await?;
                }
            }
            Revoked::Delegation { key } => {
                self.transaction.withdraw_invite(&id, &key, time).await?;
                if let Some(delegate) = self.transaction.delegate(&id, &key).await?
                    && delegate.created <= time
                {
                    self.transaction.delete_delegate(&id, &key).await?;
                }
            }
        }
        Ok(())
    }
}

/// What the store holds of a network.
///
/// # Errors
/// [`NoSuchNetwork`](ControllerError::NoSuchNetwork); the store fails.
pub(super) async fn known(transaction: &mut Transaction, id: &NetworkId) -> Result<NetworkRecord, ControllerError> {
    let record = transaction.network(id).await?;
    record.ok_or(ControllerError::NoSuchNetwork(*id))
}

/// All revocations of a network, of more than a set can hold the newest ones.
pub(super) async fn revocations(
    transaction: &mut Transaction,
    network: &PrivateNetwork,
) -> Result<Revocations, ControllerError> {
    let mut set = Revocations::new(*network);
    for bytes in transaction.revocations(&network.id()).await? {
        let bytes = bytes
            .try_into()
            .map_err(|_| StoreError::Damaged("a revocation of another length"))?;
        set.insert(Revocation::decode(&bytes, network).map_err(ControllerError::Damaged)?);
    }
    Ok(set)
}

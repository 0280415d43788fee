//! The laboratory's private network: its key, and the documents that this signs.

use std::{net::Ipv4Addr, sync::Arc};

use farlan_crypto::{Identity, KeyPair, PublicKey, Seed};
use farlan_netconf::{
    Label, Mtu, NetworkSeed, Parameters, PrivateNetwork, Seconds,
    private::{
        CertificateFields, Config, ConfigFields, Credential, Delegate, Delegation, DelegationFields, Revocation,
        Revocations, Revoked, Rights, SealedDocument,
    },
};

use super::lab::{Lab, Place, world_id};
use crate::{Invite, Join, Membership, NetworkHandle};

/// The time of day when a laboratory begins.
pub(super) const MORNING: u64 = 1_800_000_000;

/// The date of the build.
pub(super) const BUILT: u64 = MORNING - 30 * DAY;

pub(super) const DAY: u64 = 24 * 3600;
pub(super) const YEAR: u64 = 365 * DAY;

/// Whoever holds the network key, and what was signed by it.
pub(super) struct Club {
    key: KeyPair,
    pub(super) parameters: Parameters,
    pub(super) network: PrivateNetwork,
    seeds: Vec<NetworkSeed>,
    counter: u64,
    pub(super) issued: u64,
    pub(super) holders: Vec<PublicKey>,
    pub(super) revocations: Revocations,
}

impl Club {
    pub(super) fn new(number: u8) -> Self {
        Self::with_secret(number, number)
    }

    pub(super) fn with_secret(number: u8, secret: u8) -> Self {
        let key = pair(number);
        let subnet = "10.129.0.0/20".parse().unwrap();
        let parameters = Parameters::private(key.public(), subnet, Mtu::DEFAULT);
        let network = PrivateNetwork::of(&parameters).unwrap();
        Self {
            key,
            parameters,
            network,
            seeds: vec![NetworkSeed::from_bytes([secret; 32])],
            counter: 1,
            issued: 0,
            holders: Vec::new(),
            revocations: Revocations::new(network),
        }
    }

    /// The config in force.
    pub(super) fn config(&self) -> Config {
        let fields = ConfigFields {
            parameters: self.parameters.clone(),
            counter: self.counter,
            time: Seconds::new(MORNING - DAY),
            life: u32::try_from(YEAR).unwrap(),
            label: Label::default(),
            domain: "club".parse().unwrap(),
            world: world_id(1),
            seeds: self.seeds.clone(),
            holders: self.holders.clone(),
        };
        Config::sign(&self.key, fields).unwrap()
    }

    /// The revocations, sealed under every secret, with this version.
    pub(super) fn sealed(&self, version: u64) -> Vec<Vec<u8>> {
        let content = self.revocations.newest(Revocations::SEALED_COUNT).encode();
        let secrets = self.config().secrets();
        let seal = |secret| SealedDocument::seal(&self.key, secret, version, [7; 16], &content).unwrap();
        secrets.iter().map(|secret| seal(secret).encode()).collect()
    }

    /// A config of the same number that says something else.
    pub(super) fn other_config(&self) -> Config {
        let mut fields = self.config().fields().clone();
        fields.life += 1;
        Config::sign(&self.key, fields).unwrap()
    }

    /// A config with another number.
    pub(super) fn number_config(&mut self, counter: u64) {
        self.counter = counter;
    }

    /// Another secret takes the place of the one in force.
    pub(super) fn renew_secret(&mut self) {
        self.counter += 1;
        let seed = [u8::try_from(200 + self.counter).unwrap(); 32];
        self.seeds.insert(0, NetworkSeed::from_bytes(seed));
    }

    /// Those of the certificate with this number.
    pub(super) fn fields_of(&self, issue: u64, node: PublicKey) -> CertificateFields {
        let mut same = Self {
            issued: issue - 1,
            key: pair(0),
            parameters: self.parameters.clone(),
            seeds: Vec::new(),
            holders: Vec::new(),
            revocations: Revocations::new(self.network),
            ..*self
        };
        same.fields(node)
    }

    pub(super) fn fields(&mut self, node: PublicKey) -> CertificateFields {
        self.issued += 1;
        CertificateFields {
            node,
            rights: Rights::NONE,
            ipv4: Some(Ipv4Addr::from_bits(
                Ipv4Addr::new(10, 129, 1, 0).to_bits() + u32::try_from(self.issued).unwrap(),
            )),
            issue: self.issued,
            time: Seconds::new(MORNING - DAY),
            expiry: Seconds::new(MORNING + YEAR),
            name: Some(format!("member-{}", self.issued).parse().unwrap()),
        }
    }

    pub(super) fn sign(&self, fields: CertificateFields) -> Credential {
        Credential::by_network(&self.network, &self.key, fields).unwrap()
    }

    /// What a member has that the network key signed for.
    pub(super) fn member(&mut self, node: PublicKey) -> Membership {
        let fields = self.fields(node);
        Membership {
            credential: Some(self.sign(fields)),
            ..self.papers()
        }
    }

    /// What every member has but for a credential.
    pub(super) fn papers(&self) -> Membership {
        Membership {
            config: Some(self.config()),
            seed: None,
            credential: None,
            invite: None,
            revocations: self.revocations.clone(),
            peers: Vec::new(),
            name: None,
            delegation: None,
        }
    }

    /// What makes a node a renewer from `time` on.
    pub(super) fn delegate(&self, node: PublicKey, time: u64, expiry: u64) -> Delegation {
        let fields = DelegationFields {
            delegate: Delegate::Renewer { node },
            rights: Rights::NONE,
            time: Seconds::new(time),
            expiry: Seconds::new(expiry),
            life: u32::try_from(YEAR).unwrap(),
        };
        Delegation::sign(&self.network, &self.key, fields).unwrap()
    }

    /// An invite, by the number of its key.
    pub(super) fn invite(&self, number: u8, uses: u32) -> Invite {
        let key = Arc::new(pair(number));
        let fields = DelegationFields {
            delegate: Delegate::Invite {
                key: key.public(),
                uses,
            },
            rights: Rights::NONE,
            time: Seconds::new(MORNING - DAY),
            expiry: Seconds::new(MORNING + 30 * DAY),
            life: Delegation::MAX_INVITE_LIFE,
        };
        let delegation = Delegation::sign(&self.network, &self.key, fields).unwrap();
        Invite { delegation, key }
    }

    /// What somebody has who holds a link.
    pub(super) fn link(&self, invite: &Invite, peers: &[PublicKey]) -> Membership {
        Membership {
            config: None,
            seed: self.seeds.first().cloned(),
            invite: Some(invite.clone()),
            peers: peers.to_vec(),
            name: Some("guest".parse().unwrap()),
            ..self.papers()
        }
    }

    /// Throws a member out: what it has does not count any more.
    pub(super) fn kick(&mut self, node: PublicKey) {
        let revoked = Revoked::Member {
            node: *node.as_bytes(),
            issue: self.issued,
        };
        self.revoke(revoked);
    }

    pub(super) fn revoke(&mut self, revoked: Revoked) {
        let revocation = Revocation::sign(&self.network, &self.key, revoked, Seconds::new(MORNING)).unwrap();
        self.revocations.insert(revocation);
    }
}

/// A node's clock shows a time.
pub(super) fn set_clock(lab: &mut Lab, place: Place, seconds: u64) {
    let now = lab.now;
    let engine = &mut lab.hosts[place].engine;
    engine.set_wall_clock(now, Seconds::new(seconds), Seconds::new(BUILT));
}

/// A node joins with what it has of the network.
pub(super) fn join(lab: &mut Lab, place: Place, club: &Club, membership: Membership) -> NetworkHandle {
    let now = lab.now;
    let join = Join {
        parameters: club.parameters.clone(),
        world: world_id(1),
        ipv4: true,
        preferred: None,
        greet: Vec::new(),
        name: None,
        membership: Some(Box::new(membership)),
    };
    lab.hosts[place].engine.join(now, join).unwrap()
}

fn pair(number: u8) -> KeyPair {
    KeyPair::from_seed(Seed::from_bytes([number; 32]))
}

/// Somebody's key.
pub(super) fn stranger(number: u8) -> PublicKey {
    Identity::from_seed(Seed::from_bytes([number; 32]), farlan_crypto::Work::NONE)
        .unwrap()
        .public()
}

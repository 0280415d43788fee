//! A controller, and those who apply.

use farlan_controller::{Applicant, Controller, Kicked, NewInvite, NewNetwork, Wish};
use farlan_crypto::{Identity, PublicKey, Seed, Work};
use farlan_netconf::private::{Admission, Application, Config, Credential, DnsLabel, Refusal, Rights, Seconds};
use farlan_netconf::{Label, Mtu, NetworkId, PrivateLink, PrivateNetwork, Supernode, World};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Place;

pub const DAY: u64 = 24 * 3600;
pub const BUILD: Seconds = Seconds::new(1_790_000_000);
/// When most tests begin.
pub const NOW: Seconds = Seconds::new(1_800_000_000);

/// A network, its controller, and a generator.
pub struct Home {
    pub controller: Controller,
    pub network: PrivateNetwork,
    pub owner: Identity,
    pub rng: ChaCha20Rng,
}

/// The node with this number.
pub fn person(number: u32) -> Identity {
    let mut seed = [0x77; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    Identity::from_seed(Seed::from_bytes(seed), Work::NONE).unwrap()
}

pub fn label(name: &str) -> DnsLabel {
    DnsLabel::parse(name).unwrap()
}

pub fn world() -> World {
    let supernode = Supernode {
        key: person(900).public(),
        endpoints: vec!["203.0.113.1:9600".parse().unwrap()],
    };
    World::sign(&person(901), 1, vec![supernode]).unwrap()
}

/// A controller on the node `owner` of the networks at a place.
pub async fn controller(place: &Place, owner: PublicKey) -> Controller {
    Controller::new(place.open().await, owner, BUILD, Work::NONE)
}

pub fn new_network(subnet: &str) -> NewNetwork {
    NewNetwork {
        label: Label::parse("Ben's LAN").unwrap(),
        domain: label("ben"),
        subnet: subnet.parse().unwrap(),
        mtu: Mtu::DEFAULT,
        world: world().id(),
        life: None,
    }
}

impl Home {
    pub async fn new(place: &Place) -> Self {
        Self::with_subnet(place, "10.128.16.0/20").await
    }

    pub async fn with_subnet(place: &Place, subnet: &str) -> Self {
        Self::of(controller(place, person(0).public()).await, subnet).await
    }

    /// A network made by this controller, which is on the node of person 0.
    pub async fn of(controller: Controller, subnet: &str) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let owner = person(0);
        let wish = Wish {
            name: Some(label("server")),
            address: None,
        };
        let made = controller
            .create(new_network(subnet), &wish, NOW, &mut rng)
            .await
            .unwrap();
        Self {
            network: *made.config.network(),
            controller,
            owner,
            rng,
        }
    }

    /// The same network with another controller.
    pub fn kept_by(&self, controller: Controller) -> Self {
        Self {
            controller,
            network: self.network,
            owner: person(0),
            rng: self.rng.clone(),
        }
    }

    pub fn id(&self) -> NetworkId {
        self.network.id()
    }

    /// An invite for so many (0: as many as want), for ten days.
    pub async fn invite(&mut self, uses: u32, clock: Seconds) -> PrivateLink {
        let new = NewInvite {
            label: Label::parse("for friends").unwrap(),
            uses,
            lasts: 10 * DAY,
            life: 7 * DAY as u32,
            rights: Rights::NONE,
        };
        let id = self.id();
        let invite = self.controller.invite(&id, new, clock, &mut self.rng).await.unwrap();
        self.controller.link(&id, &invite.key, &[], world()).await.unwrap()
    }

    pub async fn apply(&self, node: &Identity, link: &PrivateLink, name: &str, clock: Seconds) -> Admission {
        self.apply_with(node, &application(node, link, name), None, clock).await
    }

    pub async fn apply_with(
        &self,
        node: &Identity,
        application: &Application,
        credential: Option<&Credential>,
        clock: Seconds,
    ) -> Admission {
        let applicant = Applicant {
            node: &node.public(),
            application,
            credential,
        };
        self.controller.admit(&self.id(), &applicant, clock).await.unwrap()
    }

    /// Lets somebody in.
    pub async fn join(&self, node: &Identity, link: &PrivateLink, name: &str, clock: Seconds) -> Credential {
        granted(self.apply(node, link, name, clock).await)
    }

    /// Throws out the person with this number.
    pub async fn kick(&mut self, number: u32, keep_invite: bool) -> Kicked {
        let (id, node) = (self.id(), person(number).public());
        self.controller
            .kick(&id, &node, None, keep_invite, NOW, &mut self.rng)
            .await
            .unwrap()
    }

    /// A certificate that the invite of a link signs itself.
    pub fn provisional(&self, number: u32, link: &PrivateLink, time: Seconds) -> Credential {
        let (node, delegation) = (person(number).public(), link.delegation().clone());
        Credential::by_invite(&self.network, link.invite(), delegation, node, None, time).unwrap()
    }

    pub async fn config(&self) -> Config {
        self.controller.documents(&self.id()).await.unwrap().config
    }
}

/// What a node asks for that has a link.
pub fn application(node: &Identity, link: &PrivateLink, name: &str) -> Application {
    let name = (!name.is_empty()).then(|| label(name));
    let invite = (link.invite(), link.delegation().clone());
    Application::new(name, None)
        .invited(invite.0, invite.1, &node.public(), &[7; 64])
        .unwrap()
}

pub fn granted(admission: Admission) -> Credential {
    match admission {
        Admission::Granted(credential) => *credential,
        Admission::Refused(refusal) => panic!("refused: {refusal}"),
    }
}

pub fn refused(admission: Admission) -> Refusal {
    match admission {
        Admission::Granted(credential) => panic!("granted: {credential:?}"),
        Admission::Refused(refusal) => refusal,
    }
}

pub fn name_of(credential: &Credential) -> String {
    credential
        .certificate()
        .fields()
        .name
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

pub fn issue_of(credential: &Credential) -> u64 {
    credential.certificate().fields().issue
}

//! What a node keeps of a private network: its documents, in the daemon and in `networks.toml`.

use std::fmt::Display;

use data_encoding::BASE64URL_NOPAD;
use farlan_crypto::Work;
use farlan_engine::Invite;
use farlan_netconf::{
    DnsLabel, Label, Link, NetworkLink, Parameters, PrivateLink, PrivateNetwork, Reader, World,
    private::{Config, Credential, Delegation, Refusal, Revocations},
};
use serde::{Deserialize, Serialize};

use crate::secret_text::SecretText;

/// What is kept of a private network.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Kept {
    parameters: Parameters,
    network: PrivateNetwork,
    /// The link by which this node came in, if it did.
    pub(in crate::daemon) invite: Option<PrivateLink>,
    /// The newest config that is known.
    pub(in crate::daemon) config: Option<Config>,
    /// This node's credential.
    pub(in crate::daemon) credential: Option<Credential>,
    /// All revocations that are known.
    pub(in crate::daemon) revocations: Revocations,
    /// What lets this node extend certificates, if anything does.
    pub(in crate::daemon) delegation: Option<Delegation>,
    /// Why a holder gave this node no certificate, if that was the last that was heard of it. It is not written down.
    pub(in crate::daemon) refusal: Option<Refusal>,
}

/// The same in the file, the documents in base64url.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::daemon) struct Entry {
    /// The world through which its members meet, as a supernode's link.
    world: SecretText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invite: Option<SecretText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<SecretText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<SecretText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revocations: Option<SecretText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delegation: Option<SecretText>,
}

impl Kept {
    /// What a link brings.
    pub(in crate::daemon) fn invited(link: PrivateLink) -> Self {
        Self {
            parameters: link.parameters().clone(),
            network: *link.network(),
            revocations: Revocations::new(*link.network()),
            invite: Some(link),
            config: None,
            credential: None,
            delegation: None,
            refusal: None,
        }
    }

    /// What a controller has.
    pub(in crate::daemon) fn controlled(documents: farlan_controller::Documents) -> Self {
        let farlan_controller::Documents {
            config,
            revocations,
            credential,
        } = documents;
        Self {
            parameters: config.fields().parameters.clone(),
            network: *config.network(),
            invite: None,
            config: Some(config),
            credential,
            revocations,
            delegation: None,
            refusal: None,
        }
    }

    /// What of it the link of another network would say.
    pub(in crate::daemon) fn link(&self, world: World) -> NetworkLink {
        NetworkLink {
            parameters: self.parameters.clone(),
            label: self.label(),
            world,
            peers: Vec::new(),
        }
    }

    /// How people call the network.
    pub(in crate::daemon) fn label(&self) -> Label {
        let config = self.config.as_ref().map(|config| &config.fields().label);
        let label = config.or_else(|| self.invite.as_ref().map(|link| &link.label));
        label.cloned().unwrap_or_default()
    }

    /// What stands behind its members' names in the DNS, once a config said so.
    pub(in crate::daemon) fn domain(&self) -> Option<&DnsLabel> {
        self.config.as_ref().map(|config| &config.fields().domain)
    }

    pub(in crate::daemon) fn network(&self) -> &PrivateNetwork {
        &self.network
    }

    /// Whether another link would change nothing: this node has a certificate that counts, or this very invite.
    pub(in crate::daemon) fn needs_no_link(&self, link: &PrivateLink) -> bool {
        let good = |credential: &Credential| !credential.is_provisional() && self.revocations.check(credential).is_ok();
        let is_in = self.credential.as_ref().is_some_and(good) && self.refusal.is_none();
        is_in || self.invite.as_ref() == Some(link)
    }

    /// Takes another link to the same network: that of somebody who came in already, or comes again.
    pub(in crate::daemon) fn take_link(&mut self, link: PrivateLink) {
        // A config from before a kick leads to nobody any more.
        let leads = |config: &Config| config.fields().seeds.contains(&link.seed);
        self.config = self.config.take().filter(leads);
        self.credential = self
            .credential
            .take()
            .filter(|credential| self.revocations.check(credential).is_ok());
        self.invite = Some(link);
        self.refusal = None;
    }

    /// What the engine is to know of it; `name` is wished for in a certificate.
    pub(in crate::daemon) fn membership(&self, name: Option<DnsLabel>) -> farlan_engine::Membership {
        let invite = self.invite.as_ref();
        farlan_engine::Membership {
            config: self.config.clone(),
            seed: invite.map(|link| link.seed.clone()),
            credential: self.credential.clone(),
            invite: invite.map(|link| Invite {
                delegation: link.delegation().clone(),
                key: link.invite().clone(),
            }),
            revocations: self.revocations.clone(),
            peers: invite.map(|link| link.peers.clone()).unwrap_or_default(),
            name,
            delegation: self.delegation.clone(),
        }
    }

    /// As it is written down, with the newest version of its world.
    pub(in crate::daemon) fn entry(&self, world: &World) -> Entry {
        let some = !self.revocations.is_empty();
        Entry {
            world: Link::Supernode(world.clone()).to_string().into(),
            invite: self
                .invite
                .clone()
                .map(|link| Link::Private(Box::new(link)).to_string().into()),
            config: self.config.as_ref().map(|config| text(&config.encode())),
            credential: self.credential.as_ref().map(|credential| text(&credential.encode())),
            revocations: some.then(|| text(&self.revocations.encode())),
            delegation: self.delegation.as_ref().map(|delegation| {
                let mut bytes = Vec::with_capacity(Delegation::LENGTH);
                delegation.encode(&mut bytes);
                text(&bytes)
            }),
        }
    }

    /// What was written down, and the world; or what is wrong with it.
    pub(in crate::daemon) fn of(entry: &Entry, work: Work) -> Result<(Self, World), String> {
        let world = match Link::parse(&entry.world, work) {
            Ok(Link::Supernode(world)) => world,
            Ok(Link::Network(_) | Link::Private(_)) => return Err("the world is no link of a supernode".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let invite = match entry.invite.as_deref().map(|link| Link::parse(link, work)) {
            None => None,
            Some(Ok(Link::Private(link))) => Some(*link),
            Some(Ok(_)) => return Err("the invite is no link to a private network".to_owned()),
            Some(Err(error)) => return Err(error.to_string()),
        };
        let config = bytes(entry.config.as_ref())?
            .map(|bytes| Config::decode(&bytes, work).map_err(|error| error.to_string()))
            .transpose()?;
        let parameters = match (&config, &invite) {
            (Some(config), _) => config.fields().parameters.clone(),
            (None, Some(link)) => link.parameters().clone(),
            (None, None) => return Err("there is neither a config nor an invite".to_owned()),
        };
        let network = PrivateNetwork::of(&parameters).ok_or("the network is no private one")?;
        if invite.as_ref().is_some_and(|link| *link.network() != network) {
            return Err("the invite is to another network".to_owned());
        }
        let bad = |error: &dyn Display| error.to_string();
        let credential = bytes(entry.credential.as_ref())?
            .map(|bytes| Credential::decode(&bytes, &network, work).map_err(|error| bad(&error)))
            .transpose()?;
        let revocations = bytes(entry.revocations.as_ref())?
            .map(|bytes| Revocations::decode(&bytes, &network).map_err(|error| bad(&error)))
            .transpose()?;
        let delegation = bytes(entry.delegation.as_ref())?
            .map(|bytes| {
                let mut reader = Reader::new(&bytes);
                let delegation = Delegation::decode(&mut reader, &network, work).map_err(|error| bad(&error))?;
                reader.finish().map_err(|error| bad(&error))?;
                Ok::<_, String>(delegation)
            })
            .transpose()?;
        let kept = Self {
            parameters,
            network,
            invite,
            config,
            credential,
            revocations: revocations.unwrap_or_else(|| Revocations::new(network)),
            delegation,
            refusal: None,
        };
        Ok((kept, world))
    }
}

fn text(bytes: &[u8]) -> SecretText {
    BASE64URL_NOPAD.encode(bytes).into()
}

fn bytes(text: Option<&SecretText>) -> Result<Option<Vec<u8>>, String> {
    text.map(|text| BASE64URL_NOPAD.decode(text.as_bytes()))
        .transpose()
        .map_err(|error| format!("a document is no base64url: {error}"))
}

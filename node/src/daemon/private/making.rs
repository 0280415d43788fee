//! Making private networks, by `create` or `host`, and taking over those whose keys were exported.
//!
//! The store may take its time, and the daemon's book is free meanwhile: what was chosen by it is looked at again afterwards.

use farlan_controller::{self as controller, Controller, ControllerError, Documents, NewNetwork, Wish};
use farlan_crypto::random::SystemRandom;
use farlan_netconf::{DnsLabel, Label, Link, Mtu, NetworkId, Subnet, World, private::ExportedKey};

use super::{
    Kept,
    commands::{INVITED_FOR, new_invite},
    views::{self, refused},
};
use crate::{
    api::{CreateReply, CreateRequest, HostReach, HostReply, HostRequest, ImportRequest, JoinReply, Network, SCHEMA},
    daemon::{Daemon, hosting::Meeting, networks::Membership},
    failure::Failure,
    secret_text::SecretText,
    shell::time_of_day,
};

/// A network to make.
struct New {
    /// What to call it; nothing: `lan`, or what comes next.
    label: Option<Label>,
    /// What stands behind its members' names; nothing: what is nearest to its label.
    domain: Option<DnsLabel>,
    /// What this machine is called there.
    own: Option<DnsLabel>,
    /// Nothing: a free one.
    subnet: Option<Subnet>,
    mtu: Mtu,
    /// Whether it is to have an invite from the beginning.
    invites: bool,
}

/// One that was made.
struct Made {
    network: Network,
    invite: Option<(controller::Invite, SecretText)>,
}

/// What the store has of a network that is not joined yet.
struct Founded {
    documents: Documents,
    invite: Option<(controller::Invite, SecretText)>,
}

impl New {
    /// What a request says; what is mistyped is found before anything is made.
    fn of(
        label: Option<&str>,
        own: Option<&str>,
        subnet: Option<&str>,
        mtu: Option<u16>,
        invites: bool,
    ) -> Result<Self, Failure> {
        let label = label.map(str::parse::<Label>).transpose();
        let own = own.map(DnsLabel::parse).transpose();
        let subnet = subnet.map(str::parse::<Subnet>).transpose();
        Ok(Self {
            label: label.map_err(Failure::usage)?,
            domain: None,
            own: own.map_err(Failure::usage)?,
            subnet: subnet.map_err(Failure::usage)?,
            mtu: mtu.map_or(Ok(Mtu::DEFAULT), Mtu::new).map_err(Failure::usage)?,
            invites,
        })
    }
}

impl Daemon {
    /// Makes a private network, whose key is kept here.
    ///
    /// # Errors
    /// Name, subnet or MTU are not possible; the store or the card cannot be made; there is nowhere to meet.
    pub async fn create(&self, request: &CreateRequest) -> Result<CreateReply, Failure> {
        let (name, own) = (request.name.as_str(), request.my_name.as_deref());
        let mut new = New::of(Some(name), own, request.subnet.as_deref(), request.mtu, false)?;
        let domain = match &request.domain {
            Some(domain) => Some(DnsLabel::parse(domain).map_err(Failure::usage)?),
            None => DnsLabel::nearest(name),
        };
        new.domain = Some(domain.ok_or_else(|| {
            Failure::usage("nothing in this name can stand in the DNS; say with --domain what is to stand there")
        })?);
        {
            let book = self.book.lock().await;
            if let Some(subnet) = new.subnet {
                self.wanted_subnet(&book, subnet)?;
            }
            if book.networks.memberships().any(|other| other.is_called(name)) {
                return Err(Failure::negative(format_args!(
                    "this node is in a network called {name} already; choose another name"
                )));
            }
        }
        let configured = self.book.lock().await.worlds.first_configured().ok().cloned();
        let (made, reach) = match configured {
            Some(world) => {
                let made = self.make(new, world).await?;
                (made, "its members meet at the configured supernodes".to_owned())
            }
            None => {
                let (made, reach) = self.make_where_they_meet(new, &HostRequest::default()).await?;
                (made, reach.text)
            }
        };
        Ok(CreateReply {
            schema: SCHEMA,
            network: made.network,
            meeting: reach,
        })
    }

    /// Makes a private network and an invite into it, and has its members meet at this machine if they can reach it.
    ///
    /// # Errors
    /// Name, subnet or MTU are not possible; the store or the card cannot be made; there is nowhere to meet.
    pub async fn host(&self, request: &HostRequest) -> Result<HostReply, Failure> {
        let (name, own) = (request.name.as_deref(), request.my_name.as_deref());
        let new = New::of(name, own, request.subnet.as_deref(), request.mtu, true)?;
        if let Some(subnet) = new.subnet {
            self.wanted_subnet(&*self.book.lock().await, subnet)?;
        }
        let (made, reach) = self.make_where_they_meet(new, request).await?;
        let (invite, link) = made.invite.unzip();
        Ok(HostReply {
            schema: SCHEMA,
            link: link.ok_or_else(|| Failure::negative("the network was made without an invite"))?,
            invite: invite.as_ref().map(views::invite),
            network: made.network,
            reach,
        })
    }

    /// Makes a network: in the world of this daemon's own supernode, or in the configured one.
    async fn make_where_they_meet(&self, new: New, request: &HostRequest) -> Result<(Made, HostReach), Failure> {
        match self.meeting(request).await? {
            Meeting::Here(world, reach) => {
                let id = world.id();
                let made = self.make(new, world).await;
                if made.is_err() {
                    self.hosting_left(id).await;
                }
                Ok((made?, reach))
            }
            Meeting::Configured(reach) => {
                let world = self.book.lock().await.worlds.first_configured()?.clone();
                Ok((self.make(new, world).await?, reach))
            }
        }
    }

    /// Makes a network whose members meet in `world`, and joins it.
    async fn make(&self, new: New, world: World) -> Result<Made, Failure> {
        let controller = self.office().await?;
        // Two that are made at a time do not choose the same.
        let _turn = self.office.making.lock().await;
        loop {
            let (label, subnet) = {
                let book = self.book.lock().await;
                let label = new.label.clone().unwrap_or_else(|| book.networks.free_label());
                let subnet = match new.subnet {
                    Some(subnet) => self.wanted_subnet(&book, subnet)?,
                    None => self.free_subnet(&book)?,
                };
                (label, subnet)
            };
            let founded = self.found(controller, &new, (label, subnet), &world).await?;
            let id = founded.documents.config.network().id();
            match self.enter_founded(&new, subnet, founded.documents, world.clone()).await {
                Ok(true) => {
                    let book = self.book.lock().await;
                    return Ok(Made {
                        network: self.view_of(&book, id).await?,
                        invite: founded.invite,
                    });
                }
                // Another network with this subnet was joined meanwhile.
                Ok(false) => self.forget(controller, id).await,
                Err(failure) => {
                    self.forget(controller, id).await;
                    return Err(failure);
                }
            }
        }
    }

    /// Makes a network in the store, and the first invite.
    async fn found(
        &self,
        controller: &Controller,
        new: &New,
        (label, subnet): (Label, Subnet),
        world: &World,
    ) -> Result<Founded, Failure> {
        let mut random = SystemRandom::from_os().map_err(Failure::negative)?;
        let wish = Wish {
            name: new.own.clone().or_else(|| self.names.own()),
            address: None,
        };
        let network = NewNetwork {
            domain: match new.domain.clone().or_else(|| DnsLabel::nearest(label.as_str())) {
                Some(domain) => domain,
                None => DnsLabel::parse(NAMELESS).map_err(Failure::negative)?,
            },
            label,
            subnet,
            mtu: new.mtu,
            world: world.id(),
            life: None,
        };
        let documents = controller
            .create(network, &wish, time_of_day(), &mut random)
            .await
            .map_err(refused)?;
        let mut founded = Founded {
            documents,
            invite: None,
        };
        if new.invites {
            let id = founded.documents.config.network().id();
            match self.first_invite(controller, &id, world, &mut random).await {
                Ok(invite) => founded.invite = Some(invite),
                Err(failure) => {
                    self.forget(controller, id).await;
                    return Err(failure);
                }
            }
        }
        Ok(founded)
    }

    async fn first_invite(
        &self,
        controller: &Controller,
        id: &NetworkId,
        world: &World,
        random: &mut SystemRandom,
    ) -> Result<(controller::Invite, SecretText), Failure> {
        let new = new_invite(Label::default(), 0, INVITED_FOR);
        let invite = controller
            .invite(id, new, time_of_day(), random)
            .await
            .map_err(refused)?;
        let link = controller.link(id, &invite.key, &[], world.clone()).await;
        let link = Link::Private(Box::new(link.map_err(refused)?));
        Ok((invite, link.to_string().into()))
    }

    /// Joins a network that was made in the store; says no if the subnet that was chosen for it is free no more.
    async fn enter_founded(
        &self,
        new: &New,
        subnet: Subnet,
        documents: Documents,
        world: World,
    ) -> Result<bool, Failure> {
        let mut book = self.book.lock().await;
        let book = &mut *book;
        if let Err(failure) = self.wanted_subnet(book, subnet) {
            return if new.subnet.is_some() { Err(failure) } else { Ok(false) };
        }
        self.office.has_key(documents.config.network().id());
        let mut membership = Membership::private(Kept::controlled(documents), world);
        membership.name.clone_from(&new.own);
        self.enter(book, membership).await?;
        self.write_down(book);
        self.names.look_again();
        Ok(true)
    }

    /// A network that could not be joined is in the store no more.
    async fn forget(&self, controller: &Controller, id: NetworkId) {
        self.office.lost_key(&id);
        if let Err(error) = controller.forget(&id).await {
            tracing::warn!(%error, "a network that could not be made stays in the controller's store");
        }
    }

    /// Takes a network over whose key was exported.
    ///
    /// # Errors
    /// The text is no key; the key is here already; the world of the network is not known.
    pub async fn import(&self, request: &ImportRequest) -> Result<JoinReply, Failure> {
        let exported = ExportedKey::parse(&request.key, self.work).map_err(Failure::usage)?;
        let config = exported.config().clone();
        let id = config.network().id();
        let controller = self.office().await?;
        let _turn = self.office.making.lock().await;
        let world = self.book.lock().await.worlds.find(config.fields().world).cloned();
        let Some(world) = world else {
            return Err(Failure::negative(format_args!(
                "no supernode of the network's world {} is known here: join the network by an invite first, or add a supernode \
                 with `farlan supernode add LINK`, and import the key then",
                config.fields().world
            )));
        };
        let wish = Wish {
            name: self.names.own(),
            address: None,
        };
        let membership = self.book.lock().await.networks.membership(id).cloned();
        let (documents, is_new) = match controller.import(&exported, &wish, time_of_day()).await {
            Ok(documents) => (documents, true),
            // It stayed in the store when this node left, or the daemon was killed before it had joined.
            Err(ControllerError::NetworkExists(_)) if membership.is_none() => {
                let learned = controller.learn(&id, Some(&config), None, time_of_day()).await;
                learned.map_err(refused)?;
                (
                    controller.take_up(&id, &wish, time_of_day()).await.map_err(refused)?,
                    false,
                )
            }
            Err(error) => return Err(refused(error)),
        };
        let entered = async {
            // What this member knows may be newer than the export.
            let documents = match &membership {
                Some(membership) => self.take_up_membership(controller, membership).await.map_err(refused)?,
                None => documents,
            };
            self.enter_imported(documents, world).await
        };
        let already = match entered.await {
            Ok(already) => already,
            Err(failure) => {
                // What was there before is there afterwards.
                if is_new {
                    self.forget(controller, id).await;
                }
                return Err(failure);
            }
        };
        let book = self.book.lock().await;
        Ok(JoinReply {
            schema: SCHEMA,
            already,
            network: self.view_of(&book, id).await?,
        })
    }

    /// Joins a network whose key was imported, or takes its documents if this node is in it already, and says so.
    async fn enter_imported(&self, documents: Documents, world: World) -> Result<bool, Failure> {
        let id = documents.config.network().id();
        let mut book = self.book.lock().await;
        let book = &mut *book;
        let already = book.networks.membership(id).is_some();
        self.office.has_key(id);
        if already {
            self.take_documents(book, id, documents).await;
        } else {
            let membership = Membership::private(Kept::controlled(documents), world);
            self.enter(book, membership).await?;
        }
        self.write_down(book);
        self.names.look_again();
        Ok(already)
    }
}

/// The domain of a network in whose name nothing can stand in the DNS, where nobody said what is to stand there.
const NAMELESS: &str = "lan";

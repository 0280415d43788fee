//! What the owner of a private network asks of its controller.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use farlan_controller::{Controller, ControllerError, Holder, Member, NewInvite, Reservation, Settings};
use farlan_crypto::{PublicKey, random::SystemRandom};
use farlan_netconf::{
    DnsLabel, Label, Link, NetworkId,
    private::{Delegation, Rights},
};

use super::views::{self, named, named_one, refused};
use crate::{
    api::{
        DelegateRequest, ExportReply, InviteReply, InviteRequest, InvitesReply, KickReply, KickRequest, MemberReply,
        MembersReply, OfNetwork, RenameRequest, SCHEMA, SetReply, SetRequest, UninviteReply, UninviteRequest,
    },
    daemon::{Book, Daemon, worlds::SHORTEST_PREFIX},
    failure::Failure,
    shell::{Request, time_of_day},
};

/// A private network of this node, as far as commands need to know it.
pub(super) struct Meant {
    pub(super) id: NetworkId,
    pub(super) name: String,
}

impl Daemon {
    /// Makes an invite.
    ///
    /// # Errors
    /// The network is not known or its key is elsewhere; the time has passed.
    pub async fn invite(&self, request: &InviteRequest) -> Result<InviteReply, Failure> {
        let meant = self.meant(&request.network).await?;
        let label: Label = request
            .name
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(Failure::usage)?;
        let controller = self.holding(&meant.id)?;
        let new = new_invite(
            label,
            request.uses.unwrap_or(0),
            request.expires_in_s.unwrap_or(INVITED_FOR),
        );
        let mut random = SystemRandom::from_os().map_err(Failure::negative)?;
        let made = controller
            .invite(&meant.id, new, time_of_day(), &mut random)
            .await
            .map_err(refused)?;
        let snapshot = self.data_plane.snapshot().await?;
        let (world, peers) = {
            let book = self.book.lock().await;
            let membership = book.networks.membership(meant.id).ok_or_else(gone)?;
            let handle = book.networks.joined().find(|joined| joined.id() == meant.id);
            let handle = handle.map(crate::daemon::networks::Joined::handle);
            let there = snapshot.peers.iter();
            let there = there.filter(|peer| handle.is_some_and(|handle| views::shows(peer, handle)));
            let peers: Vec<PublicKey> = there.map(|peer| peer.key).collect();
            (membership.link.world.clone(), peers)
        };
        let link = controller
            .link(&meant.id, &made.key, &peers, world)
            .await
            .map_err(refused)?;
        Ok(InviteReply {
            schema: SCHEMA,
            network: meant.name,
            link: Link::Private(Box::new(link)).to_string().into(),
            invite: views::invite(&made),
        })
    }

    /// The invites of a network.
    ///
    /// # Errors
    /// The network is not known or its key is elsewhere.
    pub async fn invites(&self, request: &OfNetwork) -> Result<InvitesReply, Failure> {
        let meant = self.meant(&request.network).await?;
        let controller = self.holding(&meant.id)?;
        let invites = controller.invites(&meant.id).await.map_err(refused)?;
        Ok(InvitesReply {
            schema: SCHEMA,
            network: meant.name,
            invites: invites.iter().map(views::invite).collect(),
        })
    }

    /// Withdraws an invite.
    ///
    /// # Errors
    /// None or several are called that.
    pub async fn uninvite(&self, request: &UninviteRequest) -> Result<UninviteReply, Failure> {
        let mut found = Vec::new();
        for (meant, controller) in self.controlled(request.network.as_deref()).await? {
            for invite in controller.invites(&meant.id).await.map_err(refused)? {
                let id = HEXLOWER.encode(invite.key.as_bytes());
                let text = request.invite.to_ascii_lowercase();
                let by_id = text.len() >= SHORTEST_PREFIX && id.starts_with(&text);
                let by_name = !request.invite.is_empty() && invite.label.as_str() == request.invite;
                if by_id || by_name && invite.withdrawn.is_none() {
                    found.push((
                        Meant {
                            id: meant.id,
                            name: meant.name.clone(),
                        },
                        invite.key,
                        id,
                    ));
                }
            }
        }
        let (meant, key, id) = one(
            found,
            || {
                format!(
                    "no invite is called {:?}; `farlan invites NETWORK` shows them with their ids, of which at least {SHORTEST_PREFIX} \
                 digits are to be given",
                    request.invite
                )
            },
            |(meant, _, id)| format!("{} in {}", id.get(..SHORTEST_PREFIX).unwrap_or(id), meant.name),
        )?;
        let controller = self.holding(&meant.id)?;
        let done = controller
            .uninvite(&meant.id, &key, time_of_day())
            .await
            .map_err(refused)?;
        self.spread(meant.id).await?;
        Ok(UninviteReply {
            schema: SCHEMA,
            network: meant.name,
            invite: id,
            members: named(&done.members),
        })
    }

    /// The members of a network: all where its key is here, else those that were met.
    ///
    /// # Errors
    /// The network is not known.
    pub async fn members(&self, request: &OfNetwork) -> Result<MembersReply, Failure> {
        let meant = self.meant(&request.network).await?;
        let snapshot = self.data_plane.snapshot().await?;
        let known = match self.controller_of(&meant.id) {
            Some(controller) => Some(controller.members(&meant.id).await.map_err(refused)?),
            None => None,
        };
        let book = self.book.lock().await;
        let joined = book.networks.joined().find(|joined| joined.id() == meant.id);
        match (known, joined) {
            (Some(known), joined) => Ok(self.members_known(&meant.name, &known, joined, &snapshot)),
            (None, Some(joined)) => Ok(self.members_met(joined, &snapshot)),
            (None, None) => Err(Failure::negative(format_args!(
                "{} could not be joined again, so nobody is met there; see: farlan status",
                meant.name
            ))),
        }
    }

    /// Throws a member out, and hands that on at once.
    ///
    /// # Errors
    /// None or several are called that; it is this node.
    pub async fn kick(&self, request: &KickRequest) -> Result<KickReply, Failure> {
        let (meant, member) = self.member_called(&request.member, request.network.as_deref()).await?;
        let controller = self.holding(&meant.id)?;
        let shown = self.shown(meant.id, &member.node).await?;
        let mut random = SystemRandom::from_os().map_err(Failure::negative)?;
        let kicked = controller.kick(
            &meant.id,
            &member.node,
            shown.as_ref(),
            request.keep_invite,
            time_of_day(),
            &mut random,
        );
        let kicked = kicked.await.map_err(refused)?;
        self.spread(meant.id).await?;
        tracing::info!(network = %meant.name, peer = %member.node.node_id().short(), "kicked");
        Ok(KickReply {
            schema: SCHEMA,
            network: meant.name,
            member: named_one(&member),
            withdrawn: kicked.withdrawn.map(|key| HEXLOWER.encode(&key)),
            invite_known: kicked.invite_known,
            companions: named(&kicked.companions),
        })
    }

    /// Calls a member otherwise.
    ///
    /// # Errors
    /// None or several are called that; the name is taken.
    pub async fn rename(&self, request: &RenameRequest) -> Result<MemberReply, Failure> {
        let name = DnsLabel::parse(&request.name).map_err(Failure::usage)?;
        let (meant, mut member) = self.member_called(&request.member, request.network.as_deref()).await?;
        let controller = self.holding(&meant.id)?;
        controller
            .rename(&meant.id, &member.node, &name, time_of_day())
            .await
            .map_err(refused)?;
        self.changed_certificates(&meant.id, controller).await?;
        member.name = Some(name);
        Ok(MemberReply {
            schema: SCHEMA,
            network: meant.name,
            member: named_one(&member),
            delegation: None,
        })
    }

    /// Lets a member extend certificates, or no longer.
    ///
    /// # Errors
    /// None or several are called that; there are 16 holders.
    pub async fn delegate(&self, request: &DelegateRequest) -> Result<MemberReply, Failure> {
        let (meant, member) = self.member_called(&request.member, request.network.as_deref()).await?;
        let controller = self.holding(&meant.id)?;
        let now = time_of_day();
        let delegation = if request.withdraw {
            controller
                .undelegate(&meant.id, &member.node, now)
                .await
                .map_err(refused)?;
            None
        } else {
            let lasts = request.for_s.unwrap_or(DELEGATED_FOR);
            let made = controller.delegate(&meant.id, &member.node, lasts, Controller::LONG_LIFE, now);
            Some(super::renewing::text(&made.await.map_err(refused)?.delegation))
        };
        self.spread(meant.id).await?;
        Ok(MemberReply {
            schema: SCHEMA,
            network: meant.name,
            member: named_one(&member),
            delegation,
        })
    }

    /// The key of a network, to be kept in a safe place.
    ///
    /// # Errors
    /// The network is not known or its key is elsewhere.
    pub async fn export(&self, request: &OfNetwork) -> Result<ExportReply, Failure> {
        let meant = match self.meant(&request.network).await {
            Ok(meant) => meant,
            Err(failure) => self.left(&request.network).await?.ok_or(failure)?,
        };
        let key = self.holding(&meant.id)?.export(&meant.id).await.map_err(refused)?;
        Ok(ExportReply {
            schema: SCHEMA,
            network: meant.name,
            key: key.to_text().to_string().into(),
        })
    }

    /// Changes what can be changed of a network, and shows it.
    ///
    /// # Errors
    /// The network is not known or its key is elsewhere; what is asked for cannot be.
    pub async fn set_network(&self, request: &SetRequest) -> Result<SetReply, Failure> {
        let meant = self.meant(&request.network).await?;
        let controller = self.holding(&meant.id)?;
        let label = request.name.as_deref().map(str::parse::<Label>).transpose();
        let domain = request.domain.as_deref().map(DnsLabel::parse).transpose();
        let settings = Settings {
            label: label.map_err(Failure::usage)?,
            domain: domain.map_err(Failure::usage)?,
            world: None,
            life: request.life_s,
            clock_is_right: request.clock_is_right,
        };
        let changes =
            settings.label.is_some() || settings.domain.is_some() || settings.life.is_some() || settings.clock_is_right;
        let members = controller.members(&meant.id).await.map_err(refused)?;
        let mut reserved = Vec::new();
        for wanted in &request.reserve {
            let holder = holder(&wanted.member, &members)?;
            reserved.push(Reservation {
                address: wanted.address,
                holder,
            });
        }
        let changed = async {
            for reservation in &reserved {
                controller.reserve(&meant.id, reservation, time_of_day()).await?;
            }
            for address in &request.release {
                controller.unreserve(&meant.id, *address, time_of_day()).await?;
            }
            if changes || !reserved.is_empty() {
                controller.set(&meant.id, settings, time_of_day()).await?;
            }
            Ok::<_, ControllerError>(())
        };
        let changed = changed.await.map_err(refused);
        // What was done before something failed stays, and the members are to know.
        let spread = self.spread(meant.id).await;
        changed?;
        spread?;
        let config = controller.documents(&meant.id).await.map_err(refused)?.config;
        let fields = config.fields();
        let reservations = controller.reservations(&meant.id).await.map_err(refused)?;
        Ok(SetReply {
            schema: SCHEMA,
            network: views::title(fields.label.as_str(), &meant.id),
            network_id: meant.id.to_string(),
            domain: fields.domain.to_string(),
            life_s: fields.life,
            subnet: fields.parameters.subnet.to_string(),
            holders: fields
                .holders
                .iter()
                .map(|holder| holder.node_id().to_string())
                .collect(),
            reservations: reservations
                .iter()
                .map(|reservation| crate::api::Reservation {
                    address: reservation.address,
                    member: match &reservation.holder {
                        Holder::Node(node) => node.node_id().to_string(),
                        Holder::Name(name) => name.to_string(),
                    },
                })
                .collect(),
        })
    }

    /// Certificates are others now: the members hear of it by a config with a higher counter, and ask for theirs.
    async fn changed_certificates(&self, id: &NetworkId, controller: &Controller) -> Result<(), Failure> {
        controller
            .set(id, Settings::default(), time_of_day())
            .await
            .map_err(refused)?;
        self.spread(*id).await
    }

    /// The network that a text means of those whose keys are here though this node has left them.
    async fn left(&self, text: &str) -> Result<Option<Meant>, Failure> {
        let Some(controller) = self.office.controller() else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for id in controller.networks().await.map_err(refused)? {
            let config = controller.documents(&id).await.map_err(refused)?.config;
            let fields = config.fields();
            let by_id = text.len() >= SHORTEST_PREFIX && id.to_string().starts_with(&text.to_ascii_lowercase());
            if by_id || fields.label.as_str() == text || fields.domain.as_str() == text {
                let name = views::title(fields.label.as_str(), &id);
                found.push(Meant { id, name });
            }
        }
        // Of several, the id says which.
        Ok(found.pop().filter(|_| found.is_empty()))
    }

    /// The private network that a text means.
    pub(super) async fn meant(&self, text: &str) -> Result<Meant, Failure> {
        let book = self.book.lock().await;
        let called = book
            .networks
            .memberships()
            .filter(|membership| membership.is_called(text));
        let called: Vec<_> = called.collect();
        match &called[..] {
            [] => Err(Failure::negative(format_args!(
                "this node is in no network called {text:?}; `farlan networks` shows those it is in"
            ))),
            [only] if only.private.is_none() => Err(Failure::negative(format_args!(
                "{} is no private network: it has neither members' certificates nor a controller",
                only.name()
            ))),
            [only] => Ok(Meant {
                id: only.id(),
                name: only.name().to_owned(),
            }),
            several => {
                let ids: Vec<_> = several.iter().map(|membership| membership.id().to_string()).collect();
                Err(Failure::negative(format_args!(
                    "several networks are called {text:?}; name one by its id: {}",
                    ids.join(", ")
                )))
            }
        }
    }

    /// The networks whose keys are here: all, or the one that a text means.
    async fn controlled(&self, text: Option<&str>) -> Result<Vec<(Meant, &std::sync::Arc<Controller>)>, Failure> {
        if let Some(text) = text {
            let meant = self.meant(text).await?;
            let controller = self.holding(&meant.id)?;
            return Ok(vec![(meant, controller)]);
        }
        let book = self.book.lock().await;
        let networks = book.networks.memberships().filter_map(|membership| {
            let controller = self.controller_of(&membership.id())?;
            let meant = Meant {
                id: membership.id(),
                name: membership.name().to_owned(),
            };
            Some((meant, controller))
        });
        let networks: Vec<_> = networks.collect();
        if networks.is_empty() {
            return Err(Failure::negative(
                "no key of a private network is here: ask on the node that made it, or import its key (`farlan import`)",
            ));
        }
        Ok(networks)
    }

    /// The member that a text means: by its name, id or address.
    async fn member_called(&self, text: &str, network: Option<&str>) -> Result<(Meant, Member), Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let mut found = Vec::new();
        for (meant, controller) in self.controlled(network).await? {
            let members = controller.members(&meant.id).await.map_err(refused)?;
            let present = self.book.lock().await.unlisted(&meant.id, &members, &snapshot);
            for member in members.into_iter().chain(present) {
                if is_called(&member, text) {
                    let meant = Meant {
                        id: meant.id,
                        name: meant.name.clone(),
                    };
                    found.push((meant, member));
                }
            }
        }
        // Of one name a member goes before those who had it and were kicked.
        if found.iter().any(|(_, member)| member.kicked.is_none()) {
            found.retain(|(_, member)| member.kicked.is_none());
        }
        one(
            found,
            || format!("no member is called {text:?}; `farlan members NETWORK` shows them"),
            |(meant, member)| format!("{} in {}", member.node.node_id(), meant.name),
        )
    }

    /// The credential that a member shows, if it is in a session.
    async fn shown(
        &self,
        id: NetworkId,
        node: &PublicKey,
    ) -> Result<Option<farlan_netconf::private::Credential>, Failure> {
        let handle = {
            let book = self.book.lock().await;
            let mut joined = book.networks.joined();
            joined
                .find(|joined| joined.id() == id)
                .map(crate::daemon::networks::Joined::handle)
        };
        let Some(network) = handle else { return Ok(None) };
        let node = node.node_id();
        Ok(self
            .data_plane
            .ask(|reply| Request::ShownCredential { network, node, reply })
            .await?)
    }
}

impl Book {
    /// Members that are here and not in the controller's list: they came in while it was away.
    fn unlisted(&self, id: &NetworkId, members: &[Member], snapshot: &crate::shell::Snapshot) -> Vec<Member> {
        let Some(joined) = self.networks.joined().find(|joined| joined.id() == *id) else {
            return Vec::new();
        };
        let peers = snapshot.peers.iter().filter_map(|peer| {
            let there = peer.networks.iter().find(|there| there.network == joined.handle())?;
            let shown = there.membership.as_ref()?;
            let is_listed = members.iter().any(|member| member.node == peer.key);
            (!is_listed).then(|| Member {
                node: peer.key,
                name: shown.name.clone(),
                address: there.ipv4,
                rights: shown.rights,
                issue: shown.issue,
                expiry: shown.expiry,
                invite: shown.invite.map(|key| *key.as_bytes()),
                admitted: time_of_day(),
                seen: None,
                kicked: None,
                is_holder: false,
            })
        });
        let mut found: Vec<Member> = peers.collect();
        // After an import, renewers and controllers are known by the config alone until they are met.
        let kept = joined.membership().private.as_ref();
        let config = kept.and_then(|kept| kept.config.as_ref());
        let holders = config
            .map(|config| config.fields().holders.as_slice())
            .unwrap_or_default();
        for node in holders {
            if !members.iter().chain(&found).any(|member| member.node == *node) {
                found.push(Member {
                    node: *node,
                    name: None,
                    address: None,
                    rights: Rights::NONE,
                    issue: 0,
                    expiry: time_of_day(),
                    invite: None,
                    admitted: time_of_day(),
                    seen: None,
                    kicked: None,
                    is_holder: true,
                });
            }
        }
        found
    }
}

/// Whether a text means a member.
fn is_called(member: &Member, text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    if let Ok(address) = text.parse::<IpAddr>() {
        return member.address.map(IpAddr::V4) == Some(address);
    }
    let name = lower.split_once('.').map_or(lower.as_str(), |(name, _)| name);
    let by_name = member.name.as_ref().is_some_and(|own| own.as_str() == name);
    let by_id = lower.len() >= SHORTEST_PREFIX && member.node.node_id().to_string().starts_with(&lower);
    by_name || by_id
}

/// For whom an address is to be kept.
fn holder(text: &str, members: &[Member]) -> Result<Holder, Failure> {
    let lower = text.to_ascii_lowercase();
    let mut by_id = members
        .iter()
        .filter(|member| lower.len() >= SHORTEST_PREFIX && member.node.node_id().to_string().starts_with(&lower));
    if let Some(member) = by_id.next() {
        return Ok(Holder::Node(member.node));
    }
    DnsLabel::parse(&lower).map(Holder::Name).map_err(Failure::usage)
}

/// The only one that was found.
fn one<T>(mut found: Vec<T>, none: impl FnOnce() -> String, title: impl Fn(&T) -> String) -> Result<T, Failure> {
    match found.len() {
        0 => Err(Failure::negative(none())),
        1 => found.pop().ok_or_else(gone),
        _ => {
            let titles: Vec<_> = found.iter().map(title).collect();
            Err(Failure::negative(format_args!(
                "several can be meant: {}",
                titles.join(", ")
            )))
        }
    }
}

fn gone() -> Failure {
    Failure::negative("the network is gone again")
}

/// An invite that works for `life` seconds from now on. Who comes in by it gets all rights: networks of friends are Ethernet,
/// bridges and virtual machines included.
pub(super) fn new_invite(label: Label, uses: u32, life: u64) -> NewInvite {
    NewInvite {
        label,
        uses,
        lasts: life,
        life: u32::try_from(life)
            .unwrap_or(u32::MAX)
            .clamp(1, Delegation::MAX_INVITE_LIFE),
        rights: Rights::ALL,
    }
}

/// How long an invite works unless something else is said: 30 days.
pub(super) const INVITED_FOR: u64 = 30 * 24 * 3600;

/// How long a renewer may renew unless something else is said: 10 years.
const DELEGATED_FOR: u64 = 10 * 365 * 24 * 3600;

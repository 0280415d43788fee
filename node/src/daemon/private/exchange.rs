//! Documents that members and supernodes hand over, and those that the controller publishes.

use std::sync::Arc;

use farlan_controller::Outstanding;
use farlan_crypto::{PublicKey, random::SystemRandom};
use farlan_engine::{Handed, NetworkHandle};
use farlan_netconf::{
    NetworkId,
    private::{Config, Delegate, Revocations, SealedDocument},
};

use crate::{
    daemon::{Daemon, networks::Joined},
    failure::Failure,
    shell::{Request, time_of_day},
};

impl Daemon {
    /// Others handed over newer documents, which are in use already: they are written down. Returns the network if its controller
    /// is here and is to [learn](Self::learn_later) of them.
    pub(in crate::daemon) async fn documents_changed(
        &self,
        network: NetworkHandle,
        config: Option<&Config>,
        revocations: &Revocations,
    ) -> Option<NetworkId> {
        let mut book = self.book.lock().await;
        let id = book.networks.by_handle(network)?.id();
        let membership = book.networks.membership_mut(id)?;
        let kept = membership.private.as_mut()?;
        let before = kept.config.as_ref().map(|config| config.fields().counter);
        let mut newer = false;
        if let Some(config) = config {
            newer = Some(config.fields().counter) > before;
            kept.config = Some(Config::clone(config));
        }
        kept.revocations.merge(revocations);
        membership.link.label = kept.label();
        tracing::debug!(network = %membership.name(), revocations = revocations.len(), "has newer documents");
        self.write_down(&book);
        drop(book);
        self.names.look_again();
        if self.controller_of(&id).is_some() {
            return Some(id);
        }
        if newer {
            // It may have given this node another name or address. The data plane has ended if it is not told.
            let _ = self.data_plane.send(Request::AskAgain { network }).await;
        }
        None
    }

    /// Tells the controller of a network what others handed over. That is done on a task of its own, since a database takes its
    /// time; in which order several of them come does not matter, since the newest counts.
    pub(in crate::daemon) fn learn_later(
        self: Arc<Self>,
        id: NetworkId,
        config: Option<Box<Config>>,
        revocations: Box<Revocations>,
    ) {
        tokio::spawn(async move {
            let Some(controller) = self.controller_of(&id) else {
                return;
            };
            match controller
                .learn(&id, config.as_deref(), Some(&revocations), time_of_day())
                .await
            {
                Ok(learned) if learned.config || learned.revocations > 0 => {
                    tracing::info!("another controller of a network made here has changed it");
                    if learned.config {
                        // It may not name this node as one to turn to.
                        self.take_up_network(id).await;
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the controller does not take what others handed over"),
            }
        });
    }

    /// A network whose key is here is shared with a member from now on: it gets what was made for it while it was away. That is done on
    /// a task of its own, since a database takes its time.
    pub(in crate::daemon) fn hand_over_later(self: Arc<Self>, network: NetworkHandle, node: PublicKey, issue: u64) {
        tokio::spawn(async move {
            let Ok(_turn) = self.office.handing.acquire().await else {
                return;
            };
            let book = self.book.lock().await;
            let id = book.networks.by_handle(network).map(Joined::id);
            drop(book);
            let Some((controller, id)) = id.and_then(|id| Some((self.controller_of(&id)?, id))) else {
                return;
            };
            match controller.outstanding(&id, &node, issue).await {
                Ok(Outstanding { credential, delegation }) => {
                    let credential = credential.map(Box::new).map(Handed::Credential);
                    let delegation = delegation.map(Box::new).map(Handed::Delegation);
                    for paper in credential.into_iter().chain(delegation) {
                        // The data plane has ended, and so does the daemon.
                        let _ = self.data_plane.send(Request::HandOver { network, node, paper }).await;
                    }
                }
                Err(error) => tracing::debug!(%error, "nothing is handed to a member"),
            }
        });
    }

    /// Hands all renewers of a network what makes them that.
    pub(super) async fn hand_over_delegations(&self, id: &NetworkId) {
        let Some(controller) = self.controller_of(id) else {
            return;
        };
        let delegations = match controller.delegates(id).await {
            Ok(delegations) => delegations,
            Err(error) => {
                tracing::warn!(%error, "renewers do not get their delegations yet");
                return;
            }
        };
        let book = self.book.lock().await;
        let joined = book.networks.joined().find(|joined| joined.id() == *id);
        let network = joined.map(Joined::handle);
        drop(book);
        let Some(network) = network else { return };
        for delegation in delegations {
            if let Delegate::Renewer { node } = delegation.fields().delegate {
                let paper = Handed::Delegation(Box::new(delegation));
                // The data plane has ended, and so does the daemon.
                let _ = self.data_plane.send(Request::HandOver { network, node, paper }).await;
            }
        }
    }

    /// There are two configs of one number.
    pub(in crate::daemon) async fn config_forked(&self, network: NetworkHandle, counter: u64) {
        let book = self.book.lock().await;
        let name = book.networks.by_handle(network).map_or("", Joined::name);
        tracing::warn!(
            network = %name,
            counter,
            "two controllers change this network and do not know of each other: let only one of them have the key, or give both one store"
        );
    }

    /// A supernode keeps an older set of revocations than is known here. It gets the newer one on a task of its own, since a
    /// database takes its time.
    pub(in crate::daemon) fn publish_above_later(self: Arc<Self>, network: NetworkHandle, version: u64) {
        tokio::spawn(async move {
            let Ok(_turn) = self.office.handing.acquire().await else {
                return;
            };
            let book = self.book.lock().await;
            let id = book.networks.by_handle(network).map(Joined::id);
            drop(book);
            if let Some(id) = id {
                self.publish(id, version).await;
            }
        });
    }

    /// Has the supernodes of a network keep its revocations, if its key is here and there are any.
    pub(super) async fn publish(&self, id: NetworkId, held: u64) {
        if let Err(failure) = self.try_publish(id, held).await {
            tracing::warn!(%failure, "who was kicked is not told to the supernodes yet");
        }
    }

    async fn try_publish(&self, id: NetworkId, held: u64) -> Result<(), Failure> {
        let Some(controller) = self.controller_of(&id) else {
            return Ok(());
        };
        let (network, any) = {
            let book = self.book.lock().await;
            let mut joined = book.networks.joined();
            let Some(joined) = joined.find(|joined| joined.id() == id) else {
                return Ok(());
            };
            let kept = joined.membership().private.as_ref();
            (joined.handle(), kept.is_some_and(|kept| !kept.revocations.is_empty()))
        };
        if !any {
            return Ok(());
        }
        let seen = self
            .data_plane
            .ask(|reply| Request::DocumentVersion { network, reply })
            .await?;
        let mut random = SystemRandom::from_os().map_err(Failure::negative)?;
        let sealed = controller.sealed_documents(&id, held.max(seen), time_of_day(), &mut random);
        let sealed = sealed.await.map_err(Failure::negative)?;
        let documents = sealed.iter().map(SealedDocument::encode).collect();
        Ok(self.data_plane.send(Request::Publish { network, documents }).await?)
    }
}

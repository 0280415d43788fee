//! The controller in this daemon: opened where there is one, made with the first network, and its work handed on.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use farlan_controller::{Controller, ControllerError, Documents, Store, Wish};
use farlan_crypto::{PublicKey, Work};
use farlan_netconf::NetworkId;
use tokio::sync::{OnceCell, Semaphore};

use super::{Kept, clock::BUILD};
use crate::{
    daemon::{Book, Daemon, networks::Membership},
    failure::Failure,
    secret_text::SecretText,
    shell::{Request, time_of_day},
    state::StateDir,
};

/// The store of the controller in the state directory, and what SQLite keeps beside it.
pub(in crate::daemon) const FILES: [&str; 3] = ["controller.sqlite", "controller.sqlite-wal", "controller.sqlite-shm"];

/// Where the controller of this daemon is, once there is one.
#[derive(Debug)]
pub(in crate::daemon) struct Office {
    controller: OnceCell<Arc<Controller>>,
    /// What the configuration names as its store.
    store: OnceCell<Option<SecretText>>,
    /// Applications that are being answered.
    pub(super) answering: Arc<Semaphore>,
    /// Members that are handed what was made while they were away. They wait among themselves: whoever applies is not to be sent
    /// away because many were met.
    pub(super) handing: Semaphore,
    /// Held by whoever makes a network.
    pub(super) making: tokio::sync::Mutex<()>,
    trouble: Mutex<Option<String>>,
    /// The networks whose keys are here.
    keys: Mutex<BTreeSet<NetworkId>>,
}

impl Default for Office {
    fn default() -> Self {
        Self {
            controller: OnceCell::new(),
            store: OnceCell::new(),
            answering: Arc::new(Semaphore::new(ANSWERED)),
            handing: Semaphore::new(HANDED),
            making: tokio::sync::Mutex::default(),
            trouble: Mutex::new(None),
            keys: Mutex::default(),
        }
    }
}

impl Office {
    /// The controller, if there is one.
    pub(in crate::daemon) fn controller(&self) -> Option<&Arc<Controller>> {
        self.controller.get()
    }

    /// Opens the store that the configuration names, or the file in the state directory if it is there.
    pub(in crate::daemon) async fn start(
        &self,
        store: Option<SecretText>,
        state: &StateDir,
        node: PublicKey,
        work: Work,
    ) {
        let is_there = store.is_some() || state.path().join(FILES[0]).exists();
        // It is set once, at the start.
        let _ = self.store.set(store);
        if is_there && let Err(failure) = self.open(state, node, work).await {
            tracing::error!("the controller of private networks cannot work: {failure}");
        }
    }

    /// The controller, opened or made now if need be.
    pub(in crate::daemon) async fn open(
        &self,
        state: &StateDir,
        node: PublicKey,
        work: Work,
    ) -> Result<&Arc<Controller>, Failure> {
        let opened = self.controller.get_or_try_init(|| async {
            let store = match self.store.get().and_then(Option::as_ref) {
                Some(store) => Store::open(store).await,
                None => Store::open_file(&state.path().join(FILES[0])).await,
            };
            let store = store.map_err(Failure::negative)?;
            Ok::<_, Failure>(Arc::new(Controller::new(store, node, BUILD, work)))
        });
        let opened = opened.await;
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = opened.as_ref().err().map(|failure| failure.message.clone());
        opened
    }

    /// What the user should know.
    pub(in crate::daemon) fn notes(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = trouble.as_ref()?;
        Some(format!(
            "the controller of private networks cannot work, so nobody gets a certificate here: {trouble}; farlan tries again"
        ))
    }

    /// Whether it should be there and is not.
    fn is_missing(&self) -> bool {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        self.controller.get().is_none() && trouble.is_some()
    }

    /// Whether the key of a network is here.
    pub(in crate::daemon) fn controls(&self, id: &NetworkId) -> bool {
        self.controller.get().is_some() && self.keys().contains(id)
    }

    /// The key of a network is here now.
    pub(super) fn has_key(&self, id: NetworkId) {
        self.keys().insert(id);
    }

    /// The key of a network is here no longer.
    pub(super) fn lost_key(&self, id: &NetworkId) {
        self.keys().remove(id);
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<NetworkId>> {
        // The set is whole between any two statements.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all work on the store.
    pub(in crate::daemon) async fn close(&self) {
        if let Some(controller) = self.controller.get() {
            controller.close().await;
        }
    }
}

impl Daemon {
    /// The controller, opened or made now if need be.
    pub(super) async fn office(&self) -> Result<&Arc<Controller>, Failure> {
        self.office.open(&self.state, self.key, self.work).await
    }

    /// The controller if it has the key of a network.
    pub(in crate::daemon) fn controller_of(&self, id: &NetworkId) -> Option<&Arc<Controller>> {
        self.office.controller().filter(|_| self.office.controls(id))
    }

    /// The controller that has the key of a network, or what to do where it is not here.
    pub(super) fn holding(&self, id: &NetworkId) -> Result<&Arc<Controller>, Failure> {
        if let Some(note) = self.office.notes() {
            return Err(Failure::negative(note));
        }
        self.controller_of(id)
            .ok_or_else(|| Failure::negative(ControllerError::NoSuchNetwork(*id)))
    }

    /// What to know who leaves a network whose key is here.
    pub(in crate::daemon) fn key_note(&self, id: &NetworkId) -> Option<String> {
        self.office.controls(id).then(|| {
            "its key stays in the controller's store, but nobody is let in from here while this node is not in it; to come back, \
             join by one of its invites, or `farlan export` the key and `farlan import` it"
                .to_owned()
        })
    }

    /// Makes this node a controller of the networks whose keys are here and that it is in, renews its own certificates there,
    /// and hands on what others changed.
    pub(in crate::daemon) async fn take_up_networks(&self) {
        if self.office.is_missing() && self.office().await.is_err() {
            return;
        }
        let Some(controller) = self.office.controller() else {
            return;
        };
        let networks = match controller.networks().await {
            Ok(networks) => networks,
            Err(error) => {
                tracing::warn!(%error, "the controller's store does not answer");
                return;
            }
        };
        *self.office.keys() = networks.iter().copied().collect();
        for id in networks {
            self.take_up_network(id).await;
        }
    }

    /// The same for one network: the config of another controller may not name this node.
    pub(super) async fn take_up_network(&self, id: NetworkId) {
        let membership = self.book.lock().await.networks.membership(id).cloned();
        let (Some(controller), Some(membership)) = (self.controller_of(&id), membership) else {
            return;
        };
        match self.take_up_membership(controller, &membership).await {
            Ok(documents) => self.hand_out(id, documents).await,
            Err(error) => tracing::warn!(network = %membership.name(), %error, "this node is no controller now"),
        }
    }

    /// What the controller has of a network once it knows all that this member knows, and is named as one to turn to.
    pub(super) async fn take_up_membership(
        &self,
        controller: &Controller,
        membership: &Membership,
    ) -> Result<Documents, ControllerError> {
        let id = membership.id();
        // Another store may know more, or this one was restored from a backup.
        if let Some(kept) = &membership.private
            && let Err(error) = controller
                .learn(&id, kept.config.as_ref(), Some(&kept.revocations), time_of_day())
                .await
        {
            tracing::warn!(network = %membership.name(), %error, "the controller does not take what members have");
        }
        let wish = Wish {
            name: self.name_in(membership),
            address: membership.ipv4(),
        };
        controller.take_up(&id, &wish, time_of_day()).await
    }

    /// Hands on what the controller has of a network now: to the engine, and so to all who are connected, and to the disk.
    pub(super) async fn spread(&self, id: NetworkId) -> Result<(), Failure> {
        let Some(controller) = self.office.controller() else {
            return Ok(());
        };
        let documents = controller.documents(&id).await.map_err(Failure::negative)?;
        self.hand_out(id, documents).await;
        Ok(())
    }

    async fn hand_out(&self, id: NetworkId, documents: Documents) {
        let mut book = self.book.lock().await;
        self.take_documents(&mut book, id, documents).await;
        self.write_down(&book);
        drop(book);
        self.names.look_again();
        self.hand_over_delegations(&id).await;
        self.publish(id, 0).await;
    }

    /// Takes documents into the book and the engine.
    pub(super) async fn take_documents(&self, book: &mut Book, id: NetworkId, documents: Documents) {
        let handle = book.networks.joined().find(|joined| joined.id() == id);
        let handle = handle.map(super::super::networks::Joined::handle);
        let Some(membership) = book.networks.membership_mut(id) else {
            return;
        };
        let Some(kept) = &mut membership.private else { return };
        let Documents {
            config,
            revocations,
            credential,
        } = documents;
        let before = kept.revocations.len();
        kept.revocations.merge(&revocations);
        if kept.revocations.len() != before {
            tracing::info!(network = %membership.link.label, "has new revocations");
        }
        // Members may have handed over a newer one meanwhile, which the engine has and keeps.
        let config = kept
            .config
            .take()
            .filter(|held| held.order() > config.order())
            .unwrap_or(config);
        kept.config = Some(config.clone());
        if let Some(credential) = &credential {
            kept.credential = Some(credential.clone());
        }
        membership.link.label = kept.label();
        let Some(network) = handle else { return };
        let told = Request::SetDocuments {
            network,
            config: Box::new(config),
            revocations: Box::new(revocations),
            credential: credential.map(Box::new),
        };
        // It has ended, and so does the daemon.
        let _ = self.data_plane.send(told).await;
    }

    /// Hands on what other controllers change in a store that several share, until the store is closed.
    pub(in crate::daemon) async fn follow_controllers(self: Arc<Self>) {
        let mut again = tokio::time::interval(TAKEN_UP);
        // A daemon that has made no network has no controller to follow.
        let mut changes = None;
        loop {
            if changes.is_none() {
                changes = self.office.controller().map(|controller| controller.changes());
            }
            let Some(followed) = &mut changes else {
                tokio::time::sleep(LOOKED).await;
                self.take_up_networks().await;
                continue;
            };
            tokio::select! {
                _ = again.tick() => self.take_up_networks().await,
                change = followed.next() => match change {
                    Some(farlan_controller::Change::Network(id)) => {
                        if let Err(failure) = self.spread(id).await {
                            tracing::warn!(%failure, "what changed in a private network is not handed on yet");
                        }
                    }
                    Some(farlan_controller::Change::Everything) => self.take_up_networks().await,
                    None => return,
                }
            }
        }
    }
}

impl Kept {
    /// Whether this node is one to turn to for certificates, as the config says.
    pub(in crate::daemon) fn names_holder(&self, node: &PublicKey) -> bool {
        let config = self.config.as_ref();
        config.is_some_and(|config| config.fields().holders.contains(node))
    }
}

/// Applications that are answered at a time; whoever asks beyond that is told to ask later.
const ANSWERED: usize = 32;

/// Members that are handed something at a time; the others wait.
const HANDED: usize = 8;

/// How often this node's own certificates are looked at.
const TAKEN_UP: std::time::Duration = std::time::Duration::from_secs(3600);

/// How often it is looked whether there is a controller now.
const LOOKED: std::time::Duration = std::time::Duration::from_secs(10);

//! What the engine reports of private networks.

use std::sync::Arc;

use farlan_controller::{Applicant, ControllerError};
use farlan_crypto::{NodeId, PublicKey};
use farlan_engine::{Event, NetworkHandle};
use farlan_netconf::{
    NetworkId, Seconds,
    private::{Admission, Application, Credential, Refusal},
};

use super::Kept;
use crate::{
    daemon::{Book, Daemon},
    shell::{Request, Snapshot, time_of_day},
};

impl Daemon {
    /// This node has another credential, which is in use already.
    pub(in crate::daemon) async fn credential_issued(&self, network: NetworkHandle, credential: Credential) {
        let mut book = self.book.lock().await;
        let Some((name, kept)) = kept_mut(&mut book, network) else {
            return;
        };
        if kept.credential.as_ref() == Some(&credential) {
            return;
        }
        if credential.is_provisional() {
            tracing::debug!(network = %name, "has a provisional certificate");
        } else {
            tracing::info!(network = %name, "has a certificate of the network's key");
            kept.refusal = None;
        }
        kept.credential = Some(credential);
        self.write_down(&book);
        self.names.look_again();
    }

    /// A holder has no certificate for this node.
    pub(in crate::daemon) async fn application_refused(&self, network: NetworkHandle, node: NodeId, refusal: Refusal) {
        let mut book = self.book.lock().await;
        let Some((name, kept)) = kept_mut(&mut book, network) else {
            return;
        };
        // One that is no controller, or has no time, does not speak for the others.
        let says_less = matches!(refusal, Refusal::NoController | Refusal::Later);
        if says_less && kept.refusal.is_some() || kept.refusal == Some(refusal) {
            return;
        }
        tracing::info!(network = %name, holder = %node.short(), reason = %refusal, "got no certificate");
        kept.refusal = Some(refusal);
    }

    /// Somebody is no member any more.
    pub(in crate::daemon) async fn member_out(&self, network: NetworkHandle, node: NodeId) {
        let book = self.book.lock().await;
        let joined = book.networks.by_handle(network);
        let name = joined.map_or("", super::super::networks::Joined::name);
        tracing::info!(network = %name, peer = %node.short(), "is no member any more");
        if let Some(joined) = joined {
            self.forget_name(&joined.id(), &node);
        }
    }

    /// Answers an application on a task of its own; more than a few at a time are to come again later.
    pub(in crate::daemon) fn answer_later(self: Arc<Self>, event: Event) {
        let Event::Application {
            network,
            node,
            request,
            application,
            credential,
            ..
        } = event
        else {
            return;
        };
        let permit = Arc::clone(&self.office.answering).try_acquire_owned();
        tokio::spawn(async move {
            let admission = match &permit {
                Ok(_) => {
                    self.admission(network, &node, &application, credential.as_deref())
                        .await
                }
                Err(_) => Some(Admission::Refused(Refusal::Later)),
            };
            let node = node.node_id();
            let answer = match admission.map(Box::new) {
                Some(admission) => Request::AnswerApplication {
                    network,
                    node,
                    request,
                    admission,
                },
                None => Request::AnswerAsRenewer { network, node, request },
            };
            // It has ended, and so does the daemon.
            let _ = self.data_plane.send(answer).await;
        });
    }

    /// What somebody gets who asks for a certificate; nothing if no controller of the network is here.
    async fn admission(
        &self,
        network: NetworkHandle,
        node: &PublicKey,
        application: &Application,
        credential: Option<&Credential>,
    ) -> Option<Admission> {
        let book = self.book.lock().await;
        let Some(joined) = book.networks.by_handle(network) else {
            return Some(Admission::Refused(Refusal::NoController));
        };
        let (id, name) = (joined.id(), joined.name().to_owned());
        drop(book);
        if let Some(controller) = self.office.controller() {
            let applicant = Applicant {
                node,
                application,
                credential,
            };
            match controller.admit(&id, &applicant, time_of_day()).await {
                Ok(admission) => {
                    match &admission {
                        Admission::Granted(_) => {
                            tracing::info!(network = %name, peer = %node.node_id().short(), "has a certificate now");
                        }
                        Admission::Refused(refusal) => {
                            tracing::info!(network = %name, peer = %node.node_id().short(), reason = %refusal, "gets no certificate");
                        }
                    }
                    return Some(admission);
                }
                Err(ControllerError::NoSuchNetwork(_)) => {}
                Err(error) => {
                    tracing::warn!(network = %name, %error, "an application cannot be answered");
                    return Some(Admission::Refused(Refusal::Later));
                }
            }
        }
        None
    }

    /// Tells the controller who was met, for its list of members.
    pub(in crate::daemon) async fn note_seen(&self, snapshot: &Snapshot) {
        let Some(controller) = self.office.controller() else {
            return;
        };
        let book = self.book.lock().await;
        let now = time_of_day();
        let mut met: Vec<(NetworkId, Vec<(PublicKey, Seconds)>)> = Vec::new();
        for joined in book
            .networks
            .joined()
            .filter(|joined| joined.membership().private.is_some())
        {
            let there = snapshot.peers.iter().filter_map(|peer| {
                let is_member = peer
                    .networks
                    .iter()
                    .any(|there| there.network == joined.handle() && there.membership.is_some());
                let heard = peer.heard.filter(|heard| is_member && *heard < MET)?;
                Some((peer.key, now.minus(heard.as_secs())))
            });
            met.push((joined.id(), there.collect()));
        }
        drop(book);
        for (id, nodes) in met {
            if !nodes.is_empty()
                && let Err(error) = controller.seen(&id, &nodes).await
            {
                tracing::debug!(%error, "who was met is not noted");
            }
        }
    }
}

fn kept_mut(book: &mut Book, network: NetworkHandle) -> Option<(String, &mut Kept)> {
    let joined = book.networks.by_handle(network)?;
    let (id, name) = (joined.id(), joined.name().to_owned());
    let membership = book.networks.membership_mut(id)?;
    Some((name, membership.private.as_deref_mut()?))
}

/// Who was heard so lately is written down as met now.
const MET: std::time::Duration = std::time::Duration::from_secs(60);

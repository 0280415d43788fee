//! Renewers: members that extend certificates while no controller is there, and how they come to be that.
//!
//! A controller hands the delegation over inside the network as soon as it meets the member (`exchange`). It is a text, too, for a member
//! that the controller cannot reach: `farlan-renewer-1 BASE64URL` of `network id 16 | delegation 138`, of use to that node alone, and no
//! secret.

use data_encoding::BASE64URL_NOPAD;
use farlan_engine::NetworkHandle;
use farlan_netconf::{
    NetworkId, Reader,
    private::{Delegate, Delegation},
};

use crate::{
    api::{JoinReply, RenewRequest, SCHEMA},
    daemon::{Daemon, networks::Joined},
    failure::Failure,
    secret_text::SecretText,
    shell::Request,
};

/// What the text begins with; the digit is the version of the format.
const PREFIX: &str = "farlan-renewer-1";

/// The text for a renewer.
pub(super) fn text(delegation: &Delegation) -> SecretText {
    let mut bytes = Vec::with_capacity(16 + Delegation::LENGTH);
    bytes.extend_from_slice(delegation.network().as_bytes());
    delegation.encode(&mut bytes);
    format!("{PREFIX} {}", BASE64URL_NOPAD.encode(&bytes)).into()
}

impl Daemon {
    /// This node is a renewer now, which it is already in the engine.
    pub(in crate::daemon) async fn delegation_issued(&self, network: NetworkHandle, delegation: Delegation) {
        let mut book = self.book.lock().await;
        let Some(id) = book.networks.by_handle(network).map(Joined::id) else {
            return;
        };
        let Some(membership) = book.networks.membership_mut(id) else {
            return;
        };
        let Some(kept) = &mut membership.private else { return };
        if kept.delegation.as_ref() == Some(&delegation) {
            return;
        }
        kept.delegation = Some(delegation);
        tracing::info!(network = %membership.name(), "extends certificates of this network from now on");
        self.write_down(&book);
    }

    /// Makes this node a renewer of a network that it is in.
    ///
    /// # Errors
    /// The text is none of these, for another node, or of a network that this node is not in.
    pub async fn renew(&self, request: &RenewRequest) -> Result<JoinReply, Failure> {
        let (id, bytes) = read(&request.delegation).ok_or_else(|| {
            Failure::usage(format_args!(
                "this is not what `farlan delegate` prints: it begins with `{PREFIX}`; copy it again, to the last character"
            ))
        })?;
        let mut book = self.book.lock().await;
        let book = &mut *book;
        let kept = book
            .networks
            .membership_mut(id)
            .and_then(|membership| membership.private.as_deref_mut());
        let kept = kept.ok_or_else(|| {
            Failure::negative(format_args!(
                "this node is not in the private network {id}; join it first"
            ))
        })?;
        let mut reader = Reader::new(&bytes);
        let delegation = Delegation::decode(&mut reader, kept.network(), self.work).map_err(Failure::usage)?;
        reader.finish().map_err(Failure::usage)?;
        match delegation.fields().delegate {
            Delegate::Renewer { node } if node == self.key => {}
            Delegate::Renewer { node } => {
                return Err(Failure::negative(format_args!(
                    "this is for the node {}, and this one is {}",
                    node.node_id(),
                    self.node_id()
                )));
            }
            Delegate::Invite { .. } => return Err(Failure::usage("this is an invite and not for a renewer")),
        }
        kept.delegation = Some(delegation.clone());
        self.write_down(book);
        let joined = book.networks.joined().find(|joined| joined.id() == id);
        if let Some(network) = joined.map(Joined::handle) {
            let delegation = Box::new(delegation);
            self.data_plane
                .send(Request::DelegationKnown { network, delegation })
                .await?;
        }
        Ok(JoinReply {
            schema: SCHEMA,
            already: true,
            network: self.view_of(book, id).await?,
        })
    }
}

fn read(text: &str) -> Option<(NetworkId, Vec<u8>)> {
    let body: String = text.trim().strip_prefix(PREFIX)?.split_whitespace().collect();
    let bytes = BASE64URL_NOPAD.decode(body.as_bytes()).ok()?;
    let (id, delegation) = bytes.split_first_chunk::<16>()?;
    Some((NetworkId::from_bytes(*id), delegation.to_vec()))
}

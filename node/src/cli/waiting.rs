//! After joining: until the network is of use, or it is clear what stands in the way.

use std::time::{Duration, Instant};

use super::client::Client;
use crate::{
    api::{Network, Peer, Status, Supernode},
    failure::Failure,
};

/// A network some time after it was joined.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) network: Network,
    /// The peers in it.
    pub(super) peers: Vec<Peer>,
}

/// Waits until this node is registered, holds its addresses and has met a peer if there is one, at most 10 s.
///
/// # Errors
/// No supernode of the network's world answered; the network was left meanwhile.
pub(super) async fn until_useful(client: &Client, network: &Network) -> Result<Arrived, Failure> {
    let begun = Instant::now();
    let mut met_by = None;
    loop {
        let status: Status = client.get("/v1/status").await?;
        let networks: Vec<Network> = client.get("/v1/networks").await?;
        let peers: Vec<Peer> = client.get("/v1/peers").await?;
        let now = networks
            .into_iter()
            .find(|candidate| candidate.network_id == network.network_id)
            .ok_or_else(|| Failure::negative(format_args!("the network {} was left again", network.name)))?;
        let peers = members(peers, &now);
        let registered = is_registered(&status, &now);
        let settled = registered && !now.ipv4_pending && now.members > 0;
        if settled {
            // Others take a moment to be met; one is enough to be of use.
            let met_by = *met_by.get_or_insert_with(|| Instant::now() + MEETING);
            if now.members == 1 || peers.iter().any(|peer| peer.path.is_some()) || Instant::now() >= met_by {
                return Ok(Arrived { network: now, peers });
            }
        }
        if begun.elapsed() >= LONGEST {
            return if registered {
                Ok(Arrived { network: now, peers })
            } else {
                Err(unanswered(&status, &now))
            };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn members(peers: Vec<Peer>, network: &Network) -> Vec<Peer> {
    let is_member = |peer: &Peer| peer.networks.iter().any(|there| there.network_id == network.network_id);
    peers.into_iter().filter(is_member).collect()
}

fn is_registered(status: &Status, network: &Network) -> bool {
    status
        .supernodes
        .iter()
        .any(|supernode| supernode.world == network.world && supernode.registered)
}

fn unanswered(status: &Status, network: &Network) -> Failure {
    let in_world = |supernode: &&Supernode| supernode.world == network.world;
    let tried: Vec<_> = status
        .supernodes
        .iter()
        .filter(in_world)
        .map(|supernode| {
            let address = supernode
                .address
                .as_deref()
                .unwrap_or("an address that cannot be looked up");
            format!(
                "{} at {address}",
                supernode.node_id.get(..10).unwrap_or(&supernode.node_id)
            )
        })
        .collect();
    Failure::timeout(format_args!(
        "the supernode does not answer ({}): is it running, and may UDP reach it? The network {} stays joined: as long \
         as farlan runs it keeps trying; see: farlan status",
        tried.join(", "),
        network.name
    ))
}

/// How long joining may take.
const LONGEST: Duration = Duration::from_secs(10);

/// How long a first peer may take once this node is in.
const MEETING: Duration = Duration::from_secs(3);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

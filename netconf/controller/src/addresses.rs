//! One IPv4 address for each member.

use std::net::Ipv4Addr;

use farlan_crypto::NodeId;
use farlan_netconf::{AddressPlan, NetworkId};

use crate::store::{StoreError, Transaction};

/// Whose address is looked for, and which ones it would like best.
pub(crate) struct Seeker<'a> {
    pub(crate) node: &'a [u8; 32],
    pub(crate) node_id: NodeId,
    /// The name that it has, for which an address may be reserved.
    pub(crate) name: &'a str,
    /// What it had before, and what it asks for.
    pub(crate) wishes: [Option<Ipv4Addr>; 2],
}

/// How many addresses are looked at together when a free one is searched.
const STEP: u32 = 256;

/// The address for a member: the one reserved for it; else of its wishes the first that is free; else of those that follow from its
/// node id; else the next free one behind them. `None` if the subnet is full.
pub(crate) async fn free_address(
    transaction: &mut Transaction,
    network: &NetworkId,
    plan: &AddressPlan,
    seeker: &Seeker<'_>,
) -> Result<Option<Ipv4Addr>, StoreError> {
    let (first, last) = hosts(plan);
    let reserved = transaction.reserved_address(network, seeker.node, seeker.name).await?;
    let candidates = plan.ipv4_candidates(&seeker.node_id);
    let liked = reserved
        .map(Ipv4Addr::from_bits)
        .into_iter()
        .chain(seeker.wishes.into_iter().flatten())
        .chain(candidates);
    for address in liked.map(Ipv4Addr::to_bits) {
        if (first..=last).contains(&address) && taken(transaction, network, seeker, address, address).await?.is_empty()
        {
            return Ok(Some(Ipv4Addr::from_bits(address)));
        }
    }
    let start = candidates[0].to_bits();
    for (mut from, to) in [(start, last), (first, start)] {
        while from <= to {
            let end = to.min(from.saturating_add(STEP - 1));
            let taken = taken(transaction, network, seeker, from, end).await?;
            if let Some(free) = first_hole(from, end, &taken) {
                return Ok(Some(Ipv4Addr::from_bits(free)));
            }
            let Some(next) = end.checked_add(1) else { break };
            from = next;
        }
    }
    Ok(None)
}

fn hosts(plan: &AddressPlan) -> (u32, u32) {
    let network = plan.subnet().address().to_bits();
    (network + 1, network + plan.subnet().hosts())
}

async fn taken(
    transaction: &mut Transaction,
    network: &NetworkId,
    seeker: &Seeker<'_>,
    first: u32,
    last: u32,
) -> Result<Vec<u32>, StoreError> {
    transaction
        .taken_addresses(network, first, last, seeker.node, seeker.name)
        .await
}

/// The first number of `first..=last` that is not in `taken`, which is in order.
fn first_hole(first: u32, last: u32, taken: &[u32]) -> Option<u32> {
    let mut expected = first;
    for &address in taken {
        if address > expected {
            break;
        }
        expected = address + 1;
    }
    (expected <= last).then_some(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hole_is_found() {
        assert_eq!(first_hole(10, 20, &[]), Some(10));
        assert_eq!(first_hole(10, 20, &[11, 12]), Some(10));
        assert_eq!(first_hole(10, 20, &[10, 11, 13]), Some(12));
        assert_eq!(first_hole(10, 12, &[10, 11, 12]), None);
        assert_eq!(first_hole(10, 12, &[10, 11]), Some(12));
    }
}

//! One name for each member.

use std::collections::BTreeSet;

use farlan_netconf::NetworkId;

use crate::store::{StoreError, Transaction};

/// Bytes of the longest DNS label that farlan takes as a name.
const LONGEST: usize = 32;

/// What is left for a name when the longest suffix is behind it, `-` and six digits: more than a subnet has hosts
/// that could be told apart by hand.
const SURE: usize = LONGEST - 7;

/// The name that `node` gets who wants `wanted`: that, or with `-2`, `-3`, … behind it, the first that nobody has.
pub(crate) async fn free_name(
    transaction: &mut Transaction,
    network: &NetworkId,
    node: &[u8; 32],
    wanted: &str,
) -> Result<String, StoreError> {
    if wanted.is_empty() {
        return Ok(String::new());
    }
    let begin = &wanted[..wanted.len().min(SURE)];
    let taken: BTreeSet<String> = transaction.names(network, begin, node).await?.into_iter().collect();
    Ok(first_free(wanted, &taken))
}

/// `wanted`, cut where the suffix needs its room. (Names are ASCII.)
fn first_free(wanted: &str, taken: &BTreeSet<String>) -> String {
    if !taken.contains(wanted) {
        return wanted.to_owned();
    }
    (2u32..)
        .map(|number| {
            let suffix = format!("-{number}");
            format!("{}{suffix}", &wanted[..wanted.len().min(LONGEST - suffix.len())])
        })
        .find(|name| !taken.contains(name))
        .expect("fewer names are taken than there are numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_first_free_number_is_taken() {
        assert_eq!(first_free("ben", &taken(&[])), "ben");
        assert_eq!(first_free("ben", &taken(&["ben"])), "ben-2");
        assert_eq!(first_free("ben", &taken(&["ben", "ben-2", "ben-4"])), "ben-3");
        assert_eq!(first_free("ben-2", &taken(&["ben-2"])), "ben-2-2");
    }

    #[test]
    fn a_long_name_is_cut_for_its_number() {
        let long = "a".repeat(LONGEST);
        let second = first_free(&long, &taken(&[&long]));
        assert_eq!(second, format!("{}-2", "a".repeat(LONGEST - 2)));
        assert!(second.starts_with(&long[..SURE]), "what is looked up covers every name that can come out");
    }
}

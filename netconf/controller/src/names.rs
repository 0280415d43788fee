//! One name for each member.

use std::collections::BTreeSet;

use farlan_netconf::NetworkId;
use farlan_netconf::private::DnsLabel;

use crate::store::{StoreError, Transaction};

/// What is left of a name when the longest number is behind it, `-` and six digits: more than there are names to find.
const SURE: usize = DnsLabel::MAX_LENGTH - 7;

/// The name that `node` gets who wants `wanted`: that, or with `-2`, `-3`, … behind it, the first that nobody has.
pub(crate) async fn free_name(
    transaction: &mut Transaction,
    network: &NetworkId,
    node: &[u8; 32],
    wanted: &DnsLabel,
) -> Result<DnsLabel, StoreError> {
    let taken: BTreeSet<String> = transaction
        .names(network, begin(wanted), node)
        .await?
        .into_iter()
        .collect();
    Ok(first_free(wanted, &taken))
}

/// What every name begins with that can come out. (Names are ASCII.)
fn begin(wanted: &DnsLabel) -> &str {
    let text = wanted.as_str();
    text[..text.len().min(SURE)].trim_end_matches('-')
}

fn first_free(wanted: &DnsLabel, taken: &BTreeSet<String>) -> DnsLabel {
    let numbered = (2..).map(|number| wanted.numbered(number));
    std::iter::once(wanted.clone())
        .chain(numbered)
        .find(|name| !taken.contains(name.as_str()))
        .expect("fewer names are taken than there are numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(wanted: &str, taken: &[&str]) -> String {
        let taken = taken.iter().map(|&name| name.to_owned()).collect();
        first_free(&DnsLabel::parse(wanted).unwrap(), &taken).to_string()
    }

    #[test]
    fn the_first_free_number_is_taken() {
        assert_eq!(free("ben", &[]), "ben");
        assert_eq!(free("ben", &["ben"]), "ben-2");
        assert_eq!(free("ben", &["ben", "ben-2", "ben-4"]), "ben-3");
        assert_eq!(free("ben-2", &["ben-2"]), "ben-2-2");
    }

    #[test]
    fn whatever_comes_out_was_looked_up() {
        let long = "a".repeat(DnsLabel::MAX_LENGTH);
        let hyphens = format!("{}-------b", "a".repeat(24));
        for wanted in [&long, &hyphens, "ben"] {
            let wanted = DnsLabel::parse(wanted).unwrap();
            for number in [2, 10, 99_999, 999_999] {
                let name = wanted.numbered(number);
                assert!(name.as_str().starts_with(begin(&wanted)), "{name}");
            }
        }
    }
}

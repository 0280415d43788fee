//! What an eavesdropper and a thief can learn of a session between the released programs: nothing of what is inside.
//!
//! `scripts/scan-memory` does the same for keys that are renewed, which takes three minutes.

use std::time::Duration;

use farlan_tests::ns::limit;
use farlan_tests::ns::secrecy::Watched;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_record_of_everything_and_all_secret_files_open_nothing() {
    limit::test(LIMIT, |lab| Watched::start(lab)?.the_record_tells_nothing());
}

#[test]
fn after_a_goodbye_the_keys_are_nowhere_in_memory() {
    limit::test(LIMIT, |lab| Watched::start(lab)?.a_goodbye_wipes_the_keys());
}

//! docs/THREATS.md names the test that proves each promise: here is checked that those tests exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

const PAGES: [&str; 2] = ["docs/THREATS.md", "SECURITY.md"];

/// Packages and their directories.
const PACKAGES: [(&str, &str); 11] = [
    ("farlan-crypto", "crypto"),
    ("farlan-netconf", "netconf"),
    ("farlan-controller", "netconf/controller"),
    ("farlan-engine", "node/engine"),
    ("farlan-games", "node/games"),
    ("farlan-spreading", "node/spreading"),
    ("farlan-tap", "tap"),
    ("farlan-offload", "tap/offload"),
    ("farlan", "node"),
    ("farlan-supernode", "supernode"),
    ("farlan-tests", "tests"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What stands between backticks on a page.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

/// Whether `name`, `PACKAGE::MODULES::TEST` or `PACKAGE::FILE-IN-TESTS::TEST`, is a test in the sources.
fn is_test(name: &str) -> bool {
    let parts: Vec<&str> = name.split("::").collect();
    let [package, modules @ .., test] = parts.as_slice() else {
        return false;
    };
    let Some((_, directory)) = PACKAGES.iter().find(|(known, _)| known == package) else {
        return false;
    };
    let directory = root().join(directory);
    // A module may be a file, a directory, or stand within the file of the one above it.
    (0..=modules.len()).any(|depth| {
        let (outer, _) = modules.split_at(depth);
        let path: PathBuf = outer.iter().collect();
        let files = [
            directory.join("src").join(&path).with_extension("rs"),
            directory.join("src").join(&path).join("mod.rs"),
            directory.join("src").join(&path).join("lib.rs"),
            directory.join("tests").join(&path).with_extension("rs"),
        ];
        files
            .iter()
            .any(|file| fs::read_to_string(file).is_ok_and(|source| declares(&source, test)))
    })
}

/// Whether a source has a test function of this name.
fn declares(source: &str, test: &str) -> bool {
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ") {
            let name = rest.split(['(', '<']).next();
            if marked && name == Some(test) {
                return true;
            }
            marked = false;
        }
    }
    false
}

#[test]
fn every_test_and_script_that_the_pages_name_exists() {
    let mut tests = 0;
    for page in PAGES {
        let text = fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        for name in quoted(&text) {
            let package = name.split("::").next().unwrap_or_default();
            if name.contains("::") && PACKAGES.iter().any(|(known, _)| *known == package) {
                assert!(is_test(name), "{page} names a test that does not exist: {name}");
                tests += 1;
            } else if let Some(script) = name.strip_prefix("scripts/") {
                let script = script.split_whitespace().next().unwrap_or_default();
                let path = root().join("scripts").join(script);
                assert!(path.is_file(), "{page} names a script that does not exist: {name}");
            }
        }
    }
    assert!(tests >= 30, "only {tests} tests are named");
}

#[test]
fn what_is_no_test_is_told_from_one() {
    assert!(is_test("farlan-tests::threats::what_is_no_test_is_told_from_one"));
    assert!(is_test(
        "farlan-engine::scenarios::handshakes::a_settled_initiation_is_not_answered_again"
    ));

    for other in [
        "farlan-tests::threats::is_test",
        "farlan-tests::threats::nothing_of_the_kind",
        "farlan-engine::scenarios::handshakes::Lab",
        "farlan-nothing::threats::what_is_no_test_is_told_from_one",
        "what_is_no_test_is_told_from_one",
    ] {
        assert!(!is_test(other), "{other}");
    }
}

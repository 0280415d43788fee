//! Every parser has a fuzz target, and every fuzz target a corpus that tests replay.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What a parser is called.
const NAMES: [&str; 7] = [
    "parse",
    "decode",
    "from_str",
    "deserialize",
    "messages",
    "question",
    "read_vnet",
];

/// Where the programs' code is.
const SOURCES: [&str; 6] = [
    "crypto/src",
    "netconf/src",
    "node",
    "supernode/src",
    "tap/src",
    "tap/offload/src",
];

#[test]
fn every_parser_has_a_fuzz_target() {
    let mut found = BTreeSet::new();
    for directory in SOURCES {
        for file in sources(&root().join(directory)) {
            found.extend(parsers(&file));
        }
    }
    assert!(found.len() > 20, "{found:?}");
    let listed: BTreeSet<String> = rows().into_keys().collect();
    let missing: Vec<_> = found.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "not in fuzz/README.md, with a target that reaches it: {missing:?}"
    );
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(gone.is_empty(), "in fuzz/README.md, and not in the code: {gone:?}");
}

#[test]
fn every_fuzz_target_is_described_and_has_a_corpus_that_a_test_replays() {
    let text = readme();
    let listed = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
    let targets: BTreeSet<String> = listed.map(|entry| stem(&entry.unwrap().path())).collect();
    let mut tests = String::new();
    for directory in ["crypto", "netconf", "node", "tap"] {
        for file in sources(&root().join(directory)) {
            tests.push_str(&fs::read_to_string(file).unwrap());
        }
    }
    for target in &targets {
        assert!(
            text.contains(&format!("`{target}`")),
            "fuzz/README.md does not name {target}"
        );
        let corpus = root().join("fuzz/corpus").join(format!("{target}.hex"));
        assert!(corpus.is_file(), "{} is missing", corpus.display());
        assert!(
            tests.contains(&format!("(\"{target}\"")),
            "no test replays the corpus of {target}"
        );
    }
    for (parser, target) in rows() {
        assert!(targets.contains(&target), "{parser}: there is no target {target}");
        assert!(
            tests.contains(&format!("mutate(\"{target}\"")),
            "{parser}: no test gives it mutations of the corpus of {target}"
        );
    }
}

/// The table of parsers.
fn rows() -> BTreeMap<String, String> {
    let text = readme();
    let (_, table) = text.split_once("| parser | target |").expect("the table is there");
    let row = |line: &str| {
        let mut cells = line.split('`');
        Some((cells.nth(1)?.to_owned(), cells.nth(1)?.to_owned()))
    };
    table.lines().filter_map(row).collect()
}

/// The parsers of a file, as `Type::name` or `module::name`. Its tests, which stand last, are left out.
fn parsers(file: &Path) -> Vec<String> {
    let is_test = |part: &std::ffi::OsStr| {
        ["tests", "tests.rs", "scenarios", "fuzzing.rs"]
            .iter()
            .any(|name| part == *name)
    };
    if file.strip_prefix(root()).unwrap_or(file).iter().any(is_test) {
        return Vec::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut owner = String::new();
    let mut found = Vec::new();
    for line in code.lines() {
        if line.starts_with("impl") {
            let name = line.split_once(" for ").map_or_else(
                || line.trim_start_matches("impl").trim_start_matches("<'a>").trim(),
                |(_, name)| name,
            );
            owner = name.split(['<', ' ', '{']).next().unwrap_or_default().to_owned();
        }
        if line == "}" {
            owner.clear();
        }
        let Some((_, function)) = line.split_once("fn ") else {
            continue;
        };
        let name = function.split(['(', '<']).next().unwrap_or_default();
        if NAMES.contains(&name) && !line.trim_start().starts_with("//") {
            let module = stem(file);
            let owner = if owner.is_empty() { &module } else { &owner };
            found.push(format!("{owner}::{name}"));
        }
    }
    found
}

/// The source files below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.append(&mut sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn readme() -> String {
    fs::read_to_string(root().join("fuzz/README.md")).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

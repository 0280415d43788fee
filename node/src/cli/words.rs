//! This node's identity as words, for paper: 24 of the English list of BIP 39, which carry a checksum.

use std::io::Read;

use bip39::{Language, Mnemonic};
use farlan_crypto::{Identity, Secret, Seed, Work, secret_file};
use serde::Serialize;
use zeroize::Zeroizing;

use super::output::{Output, say};
use crate::{
    api::SCHEMA,
    daemon::Settings,
    failure::Failure,
    secret_text::SecretText,
    state::{IDENTITY, StateDir},
};

/// What `farlan id words --json` prints.
#[derive(Debug, Serialize)]
struct Words {
    schema: u32,
    node_id: String,
    words: SecretText,
}

/// `farlan id words`: from the state directory, whether a daemon runs or not.
pub(super) fn show(settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let identity = secret_file::load(&settings.state_dir.join(IDENTITY), Work::REQUIRED)?;
    let words = of(&identity)?;
    if output.json() {
        return output.document(&Words {
            schema: SCHEMA,
            node_id: identity.node_id().to_string(),
            words,
        });
    }
    say("whoever has these words is this node; keep them on paper, in their order:");
    output.line(&*words)
}

/// What `farlan id restore --json` prints.
#[derive(Debug, Serialize)]
struct Restored {
    schema: u32,
    node_id: String,
}

/// `farlan id restore`: makes the words on standard input the identity in a state directory that has none.
pub(super) fn restore(settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST));
    let read = std::io::stdin().lock().take(LONGEST as u64).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format_args!("cannot read standard input: {error}")))?;
    let identity = identity(&text)?;
    // Nobody else is making one there meanwhile.
    let state = StateDir::open(&settings.state_dir)?;
    let path = state.path().join(IDENTITY);
    if path.exists() {
        return Err(Failure::negative(format_args!(
            "there is an identity in {}, which is never overwritten: move it away first, or give another directory with --state-dir",
            path.display()
        )));
    }
    secret_file::create(&path, &identity)?;
    let node_id = identity.node_id().to_string();
    if output.json() {
        return output.document(&Restored {
            schema: SCHEMA,
            node_id,
        });
    }
    output.line(format_args!("this node is {node_id} again"))
}

/// The words of an identity.
fn of(identity: &Identity) -> Result<SecretText, Failure> {
    let mnemonic =
        Mnemonic::from_entropy_in(Language::English, identity.seed().as_bytes()).map_err(Failure::negative)?;
    let mut text = String::with_capacity(LONGEST);
    for word in mnemonic.words() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    Ok(text.into())
}

/// The identity of words.
fn identity(text: &str) -> Result<Identity, Failure> {
    let mut clean = Zeroizing::new(String::with_capacity(LONGEST));
    for word in text.split_whitespace() {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(&Zeroizing::new(word.to_lowercase()));
    }
    let count = clean.split(' ').count();
    if count != COUNT {
        return Err(Failure::usage(format_args!(
            "an identity has {COUNT} words, and there are {count} on standard input"
        )));
    }
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &clean).map_err(|error| match error {
        bip39::Error::UnknownWord(at) => Failure::usage(format_args!(
            "word {} is none of the list: compare it with the paper",
            at + 1
        )),
        _ => Failure::usage("these words do not belong together: one is another than it was, or their order is"),
    })?;
    let entropy = Zeroizing::new(mnemonic.to_entropy_array());
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&entropy.0[..32]);
    Identity::from_seed(Seed::new(Secret::copy_of(&seed)), Work::REQUIRED)
        .map_err(|_| Failure::usage("these are words, but not those of a farlan identity"))
}

/// Words of an identity.
const COUNT: usize = 24;

/// Bytes that are read: more than 24 words have.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use farlan_crypto::random::SystemRandom;

    use super::*;

    #[test]
    fn an_identity_comes_back_by_its_words_alone() {
        let mut random = SystemRandom::from_os().unwrap();
        let made = Identity::generate(&mut random, Work::REQUIRED);
        let words = of(&made).unwrap();
        assert_eq!(words.split(' ').count(), COUNT);
        let shouted = words.to_uppercase().replace(' ', "\n ");
        assert_eq!(identity(&shouted).unwrap().public(), made.public());

        let list: Vec<&str> = words.split(' ').collect();
        let short = list[..23].join(" ");
        assert!(identity(&short).unwrap_err().message.contains("there are 23"));
        let mut unknown = list.clone();
        unknown[4] = "farlan";
        assert!(identity(&unknown.join(" ")).unwrap_err().message.contains("word 5"));
    }

    #[test]
    fn words_are_those_of_bip_39() {
        // The vectors of BIP 39: 32 zero bytes, and 32 bytes ff. Neither is an identity, for want of work.
        let all = "zoo ".repeat(23) + "vote";
        let failure = identity(&all).unwrap_err();
        assert!(failure.message.contains("not those of a farlan identity"), "{failure}");
        let zero = "abandon ".repeat(23) + "art";
        assert!(identity(&zero).unwrap_err().message.contains("not those of a farlan"));
        let wrong = "abandon ".repeat(24);
        assert!(identity(&wrong).unwrap_err().message.contains("do not belong together"));
    }
}

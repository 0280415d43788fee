//! The absence of a cipher, for benchmarks that measure what the cipher costs.
//!
//! Present only with the feature `plaintext`. Layout and lengths are those of [`SalsaPoly`](crate::aead::SalsaPoly), so
//! that nothing else differs between the two builds.

use crate::aead::{Aead, Job, Key, OpenError, TAG};

/// Leaves messages as they are; the tag is zero and is not looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plaintext;

impl Aead for Plaintext {
    const NAME: &'static str = "Plaintext";

    fn seal(_key: &Key, _counter: u64, _aad: &[u8], message_and_tag: &mut [u8]) {
        let (_, tag) = message_and_tag
            .split_last_chunk_mut::<TAG>()
            .expect("the caller leaves room for the tag");
        *tag = [0; TAG];
    }

    fn open<'a>(_key: &Key, _counter: u64, _aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let (message, _) = sealed.split_last_chunk_mut::<TAG>().ok_or(OpenError)?;
        Ok(message)
    }
}

impl Plaintext {
    pub(crate) fn seal_batch(jobs: &mut [Job<'_>]) {
        for job in jobs {
            *job.tag = [0; TAG];
        }
    }

    pub(crate) fn open_batch(jobs: &mut [Job<'_>]) {
        for job in jobs {
            job.authentic = true;
        }
    }
}

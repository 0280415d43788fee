//! One message to seal or to open, as work that can be done together with others.

use std::fmt;

/// Bytes of the tag at the end of every sealed message.
pub const TAG: usize = 16;

/// Bytes of a key.
pub const KEY: usize = 32;

/// One message to seal or to open in place, under a key of its own.
pub struct Job<'a> {
    pub(crate) key: &'a [u8; KEY],
    pub(crate) counter: u64,
    pub(crate) aad: &'a [u8],
    /// The message, or its ciphertext.
    pub(crate) text: &'a mut [u8],
    pub(crate) tag: &'a mut [u8; TAG],
    /// Set by opening.
    pub(crate) authentic: bool,
}

impl<'a> Job<'a> {
    /// Work on `text_and_tag`: to be sealed, a message followed by 16 bytes that receive the tag; to be opened, a ciphertext and
    /// its tag. `aad` is authenticated and not encrypted. To seal, `counter` must not have been used under `key`.
    ///
    /// None if `text_and_tag` is shorter than a tag.
    pub fn new(key: &'a [u8; KEY], counter: u64, aad: &'a [u8], text_and_tag: &'a mut [u8]) -> Option<Self> {
        let (text, tag) = text_and_tag.split_last_chunk_mut::<TAG>()?;
        Some(Self {
            key,
            counter,
            aad,
            text,
            tag,
            authentic: false,
        })
    }

    /// The key under which this is sealed or opened.
    pub fn key(&self) -> &'a [u8; KEY] {
        self.key
    }

    /// Whether this was opened: its tag was right, and the message stands where the ciphertext was. Else nothing was changed.
    pub fn is_authentic(&self) -> bool {
        self.authentic
    }
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("counter", &self.counter)
            .field("length", &self.text.len())
            .finish_non_exhaustive()
    }
}

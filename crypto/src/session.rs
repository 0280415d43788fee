//! Sealing and opening the datagrams of one session.
//!
//! A session has one key per direction. The [`Sealer`] numbers what it sends with a counter that never repeats; the
//! [`Opener`] accepts each counter once, in any order within its window. What is authenticated besides the message
//! (`aad`) is the datagram's header, which carries the counter.

use std::fmt;

use thiserror::Error;

#[cfg(not(feature = "plaintext"))]
use crate::aead::SalsaPoly as Cipher;
use crate::aead::{Aead, Job, Key};
use crate::defects::planted;
#[cfg(feature = "plaintext")]
use crate::plaintext::Plaintext as Cipher;
use crate::replay::{Freshness, ReplayWindow};

/// Counters from this on are neither sent nor accepted: 2^60, which no session lives long enough to reach, and which
/// leaves arithmetic on counters far from overflow.
pub const COUNTER_LIMIT: u64 = 1 << 60;

/// Whether this is a build for benchmarks, whose sessions neither encrypt nor authenticate (feature `plaintext`).
///
/// What is built on sessions has to say so to its user, and must not speak with ends that encrypt.
pub const PLAINTEXT: bool = cfg!(feature = "plaintext");

/// The sending half of a session.
pub struct Sealer {
    key: Key,
    next: u64,
}

impl Sealer {
    /// A sealer that counts from 0.
    pub fn new(key: Key) -> Self {
        Self { key, next: 0 }
    }

    /// Takes the next counter, from 0 up, each once.
    ///
    /// # Errors
    /// [`Exhausted`] at [`COUNTER_LIMIT`]; the session has to be renewed.
    pub fn next_counter(&mut self) -> Result<u64, Exhausted> {
        if self.next >= COUNTER_LIMIT {
            return Err(Exhausted);
        }
        let counter = self.next;
        if !planted("counter-reused") {
            self.next += 1;
        }
        Ok(counter)
    }

    /// Seals all but the last 16 bytes of `message_and_tag` in place; those receive the tag.
    ///
    /// `counter` comes from [`Sealer::next_counter`] and is used for one message only.
    ///
    /// # Panics
    /// If `message_and_tag` is shorter than the tag.
    pub fn seal(&self, counter: u64, aad: &[u8], message_and_tag: &mut [u8]) {
        Cipher::seal(&self.key, counter, aad, message_and_tag);
    }

    /// The same as work to be done later by [`seal_batch`].
    ///
    /// # Panics
    /// If `message_and_tag` is shorter than the tag.
    pub fn job<'a>(&'a self, counter: u64, aad: &'a [u8], message_and_tag: &'a mut [u8]) -> Job<'a> {
        Job::new(self.key.as_bytes(), counter, aad, message_and_tag).expect("the caller leaves room for the tag")
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Seals many messages, of any sessions and lengths, each exactly as [`Sealer::seal`] would.
///
/// The data path seals whole batches through this function, so that messages share SIMD lanes.
pub fn seal_batch(jobs: &mut [Job<'_>]) {
    Cipher::seal_batch(jobs);
}

/// Checks and decrypts many datagrams, of any sessions and lengths, made by [`Opener::job`]. What is authentic is to be
/// accepted ([`Opener::accept`]) before its message is used.
pub fn open_batch(jobs: &mut [Job<'_>]) {
    Cipher::open_batch(jobs);
}

/// The receiving half of a session.
pub struct Opener {
    key: Key,
    window: ReplayWindow,
}

impl Opener {
    /// An opener that has seen no counter yet.
    pub fn new(key: Key, window: Window) -> Self {
        Self {
            key,
            window: ReplayWindow::new(window.bits()),
        }
    }

    /// Opens `sealed` (ciphertext and tag) in place and returns the message; the counter is used up only then.
    ///
    /// # Errors
    /// [`OpenError`], with the window unchanged; nothing was decrypted.
    pub fn open<'a>(&mut self, counter: u64, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        self.check(counter)?;
        let message = Cipher::open(&self.key, counter, aad, sealed).map_err(|_| OpenError::Forged)?;
        self.window.mark(counter);
        Ok(message)
    }

    /// The first half of [`Opener::open`] as work for [`open_batch`]; [`Opener::accept`] is the second.
    ///
    /// # Errors
    /// [`OpenError`], if nothing has to be computed to tell.
    pub fn job<'a>(&'a self, counter: u64, aad: &'a [u8], sealed: &'a mut [u8]) -> Result<Job<'a>, OpenError> {
        self.check(counter)?;
        Job::new(self.key.as_bytes(), counter, aad, sealed).ok_or(OpenError::Forged)
    }

    /// Uses up the counter of a datagram that [`open_batch`] has worked on, `authentic` or not: another datagram may have had
    /// the same one.
    ///
    /// # Errors
    /// [`OpenError`], with the window unchanged: the message must not be used.
    pub fn accept(&mut self, counter: u64, authentic: bool) -> Result<(), OpenError> {
        self.check(counter)?;
        if !authentic {
            return Err(OpenError::Forged);
        }
        self.window.mark(counter);
        Ok(())
    }

    /// Whether a datagram with this counter may still come.
    fn check(&self, counter: u64) -> Result<(), OpenError> {
        if counter >= COUNTER_LIMIT {
            return Err(OpenError::Forged);
        }
        match self.window.check(counter) {
            Freshness::Fresh => Ok(()),
            Freshness::Replayed if planted("replay-accepted") => Ok(()),
            Freshness::Replayed => Err(OpenError::Replayed),
            Freshness::TooOld => Err(OpenError::TooOld),
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(..)")
    }
}

/// How far behind the newest counter a datagram may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 8192 counters, for sessions that carry frames: a batch reordered by one path change fits.
    Node,
    /// 256 counters, for a supernode's registrations, of which there are a million.
    Supernode,
}

impl Window {
    /// The width in counters.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Node => 8192,
            Self::Supernode => 256,
        }
    }
}

/// All counters of a session have been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the session has used all its counters")]
pub struct Exhausted;

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// Its counter was received before.
    #[error("the datagram was received before")]
    Replayed,
    /// Its counter is behind the window.
    #[error("the datagram is too old to tell whether it was received before")]
    TooOld,
    /// Its tag is wrong, it is shorter than a tag, or its counter is out of range.
    #[error("the datagram is not authentic")]
    Forged,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::TAG;

    const HEADER: &[u8; 16] = b"sixteen byte hdr";

    fn pair(window: Window) -> (Sealer, Opener) {
        let key = Key::from_bytes([7; 32]);
        (Sealer::new(Key::from_bytes(*key.as_bytes())), Opener::new(key, window))
    }

    fn sealed(sealer: &Sealer, counter: u64, message: &[u8]) -> Vec<u8> {
        let mut buffer = [message, &[0; TAG]].concat();
        sealer.seal(counter, HEADER, &mut buffer);
        buffer
    }

    #[test]
    fn counters_run_from_zero_to_the_limit() {
        let (mut sealer, _) = pair(Window::Node);
        assert_eq!(sealer.next_counter(), Ok(0));
        assert_eq!(sealer.next_counter(), Ok(1));
        sealer.next = COUNTER_LIMIT - 1;
        assert_eq!(sealer.next_counter(), Ok(COUNTER_LIMIT - 1));
        assert_eq!(sealer.next_counter(), Err(Exhausted));
        assert_eq!(sealer.next_counter(), Err(Exhausted));
    }

    #[test]
    fn a_default_build_encrypts_and_authenticates() {
        let (sealer, mut opener) = pair(Window::Node);
        let message = [0; 64];
        let mut datagram = sealed(&sealer, 0, &message);
        let hidden = datagram[..64] != message && datagram[64..] != [0; TAG];
        datagram[64] ^= 1;
        let authenticated = opener.open(0, HEADER, &mut datagram).is_err();
        assert_eq!((hidden, authenticated), (!PLAINTEXT, !PLAINTEXT));
        assert_eq!(PLAINTEXT, cfg!(feature = "plaintext"));
    }

    #[test]
    fn a_datagram_is_opened_once() {
        let (sealer, mut opener) = pair(Window::Node);
        for counter in [3, 0, 2] {
            let datagram = sealed(&sealer, counter, b"frame");
            assert_eq!(opener.open(counter, HEADER, &mut datagram.clone()).unwrap(), b"frame");
            assert_eq!(
                opener.open(counter, HEADER, &mut datagram.clone()),
                Err(OpenError::Replayed)
            );
        }
    }

    #[test]
    fn a_forgery_leaves_the_window_and_the_buffer_alone() {
        let (sealer, mut opener) = pair(Window::Supernode);
        let far = 1_000_000;
        let mut forged = sealed(&sealer, far, b"frame");
        forged[0] ^= 1;
        let before = forged.clone();
        assert_eq!(opener.open(far, HEADER, &mut forged), Err(OpenError::Forged));
        assert_eq!(forged, before);
        assert_eq!(opener.open(0, HEADER, &mut sealed(&sealer, 0, b"old")).unwrap(), b"old");
        assert_eq!(
            opener.open(far, HEADER, &mut sealed(&sealer, far, b"frame")).unwrap(),
            b"frame"
        );
    }

    #[test]
    fn the_windows_have_their_widths() {
        for (window, bits) in [(Window::Node, 8192), (Window::Supernode, 256)] {
            let (sealer, mut opener) = pair(window);
            let highest = 100_000;
            assert!(opener.open(highest, HEADER, &mut sealed(&sealer, highest, b"")).is_ok());
            let oldest = highest - bits + 1;
            assert!(opener.open(oldest, HEADER, &mut sealed(&sealer, oldest, b"")).is_ok());
            let behind = oldest - 1;
            assert_eq!(
                opener.open(behind, HEADER, &mut sealed(&sealer, behind, b"")),
                Err(OpenError::TooOld)
            );
        }
    }

    #[test]
    fn another_header_counter_key_or_length_is_a_forgery() {
        let (sealer, mut opener) = pair(Window::Node);
        let mut datagram = sealed(&sealer, 5, b"frame");
        assert_eq!(
            opener.open(5, b"another header..", &mut datagram.clone()),
            Err(OpenError::Forged)
        );
        assert_eq!(opener.open(6, HEADER, &mut datagram.clone()), Err(OpenError::Forged));
        let mut other = Opener::new(Key::from_bytes([8; 32]), Window::Node);
        assert_eq!(other.open(5, HEADER, &mut datagram.clone()), Err(OpenError::Forged));
        for length in 0..datagram.len() {
            assert_eq!(
                opener.open(5, HEADER, &mut datagram[..length].to_vec()),
                Err(OpenError::Forged)
            );
        }
        let mut limit = sealed(&sealer, COUNTER_LIMIT, b"frame");
        assert_eq!(opener.open(COUNTER_LIMIT, HEADER, &mut limit), Err(OpenError::Forged));
        assert!(opener.open(5, HEADER, &mut datagram).is_ok());
    }

    #[test]
    fn a_batch_equals_single_seals() {
        let sealers: Vec<_> = (0..3).map(|k| Sealer::new(Key::from_bytes([k; 32]))).collect();
        let plain: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; n * 37 + TAG]).collect();
        let mut expected = plain.clone();
        for (n, buffer) in expected.iter_mut().enumerate() {
            sealers[n % 3].seal(n as u64, HEADER, buffer);
        }
        let mut batch = plain;
        let mut jobs: Vec<_> = batch
            .iter_mut()
            .enumerate()
            .map(|(n, buffer)| sealers[n % 3].job(n as u64, HEADER, buffer))
            .collect();
        seal_batch(&mut jobs);
        assert_eq!(batch, expected);
    }

    /// Datagrams of one batch may have the same counter, or one that an earlier one puts behind the window.
    #[test]
    fn a_batch_is_opened_as_one_datagram_after_the_other() {
        let (sealer, mut single) = pair(Window::Supernode);
        let mut batched = Opener::new(Key::from_bytes([7; 32]), Window::Supernode);
        let mut datagrams = Vec::new();
        for counter in [5, 5, 300, 6, 60, 60, 61, COUNTER_LIMIT] {
            datagrams.push((counter, sealed(&sealer, counter, &[counter as u8; 100])));
        }
        datagrams[4].1[50] ^= 1;
        datagrams.push((62, vec![0; TAG - 1]));
        let open = |(counter, datagram): &(u64, Vec<u8>)| {
            single
                .open(*counter, HEADER, &mut datagram.clone())
                .map(|message| message.to_vec())
        };
        let expected: Vec<_> = datagrams.iter().map(open).collect();

        let mut work: Vec<_> = datagrams.clone();
        let mut jobs = Vec::new();
        let mut places = Vec::new();
        let mut results = vec![Err(OpenError::Replayed); work.len()];
        for (place, (counter, datagram)) in work.iter_mut().enumerate() {
            match batched.job(*counter, HEADER, datagram) {
                Ok(job) => {
                    jobs.push(job);
                    places.push(place);
                }
                Err(error) => results[place] = Err(error),
            }
        }
        open_batch(&mut jobs);
        let authentic: Vec<bool> = jobs.iter().map(Job::is_authentic).collect();
        for (place, authentic) in places.into_iter().zip(authentic) {
            let (counter, datagram) = &work[place];
            let message = &datagram[..datagram.len() - TAG];
            results[place] = batched.accept(*counter, authentic).map(|()| message.to_vec());
        }
        assert_eq!(results, expected);
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 4);
        assert_eq!(results[1], Err(OpenError::Replayed));
        assert_eq!(results[3], Err(OpenError::TooOld));
    }

    #[test]
    fn debug_shows_no_key() {
        let (sealer, opener) = pair(Window::Node);
        assert_eq!(format!("{sealer:?}"), "Sealer { next: 0, .. }");
        assert_eq!(format!("{opener:?}"), "Opener(..)");
    }
}

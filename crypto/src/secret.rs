//! Secret bytes that stay at one place in memory and are wiped there.
//!
//! Moving a value copies its bytes and leaves the old ones behind, on the stack or in the spare room of a `Vec`, where no
//! destructor comes. A [`Secret`] is therefore made in a box and never leaves it: what moves is the pointer. What
//! computations with a secret leave on the stack is overwritten by [`wipe_stack`].

use std::fmt;
use std::hint::black_box;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::defects::planted;

/// `N` secret bytes: wiped when dropped, not copied when moved, never printed. Cloning is explicit:
/// [`Secret::copy_of`].
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// A secret that `fill` writes, at the place where it stays.
    pub fn filled(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0);
        secret
    }

    /// A second copy of these bytes.
    pub fn copy_of(bytes: &[u8; N]) -> Self {
        Self::filled(|secret| secret.copy_from_slice(bytes))
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The secret bytes, to be changed in place.
    pub fn as_mut_bytes(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

/// For bytes that were on the stack anyway; the caller's own copy is the caller's to wipe.
impl<const N: usize> From<[u8; N]> for Secret<N> {
    fn from(mut bytes: [u8; N]) -> Self {
        let secret = Self::copy_of(&bytes);
        bytes.zeroize();
        secret
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        if !planted("secret-not-wiped") {
            self.0.zeroize();
        }
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Runs `work` and wipes the stack that it used.
///
/// Whatever `work` returns must keep its secrets in [`Secret`]s.
#[inline(never)]
pub(crate) fn cleanly<R>(work: impl FnOnce() -> R) -> R {
    let result = apart(work);
    wipe_stack();
    result
}

/// Calls `work` in a frame of its own, which begins where that of [`wipe_stack`] will.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Overwrites the stack below the caller, as deep as any computation with secrets reaches, with zeros.
///
/// It takes some microseconds, so it follows handshakes and the end of keys, not each datagram.
#[inline(never)]
pub fn wipe_stack() {
    if !planted("secret-not-wiped") {
        let mut used = [0_u8; STACK];
        // The compiler must take it that somebody reads these zeros.
        black_box(&mut used);
    }
}

/// Bytes of stack that are wiped: several times what the deepest computation, a handshake, was seen to use, which is 25 KiB in an
/// unoptimised build and 7 KiB in an optimised one, whose assertions are off but in tests.
const STACK: usize = if cfg!(debug_assertions) { 96 << 10 } else { 32 << 10 };

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// Bytes that are painted, more than are ever wiped.
    const PAINTED: usize = 1 << 20;

    #[inline(never)]
    fn paint() {
        black_box(&mut [0xa5_u8; PAINTED]);
    }

    /// How deep below `top` bytes of those painted are others now.
    fn changed_below(top: usize) -> usize {
        let mut bytes = vec![0; PAINTED / 2];
        let memory = std::fs::File::open("/proc/self/mem").expect("a process may look at itself");
        let below = u64::try_from(top - bytes.len()).expect("an address");
        memory.read_exact_at(&mut bytes, below).expect("its own stack");
        let deepest = bytes.iter().position(|byte| *byte != 0xa5);
        deepest.map_or(0, |at| bytes.len() - at)
    }

    #[test]
    fn the_stack_is_wiped_as_deep_as_is_said_and_no_deeper() {
        let looked = std::thread::Builder::new().stack_size(4 * PAINTED).spawn(|| {
            let here = 0_u8;
            let top = std::ptr::from_ref(&here).addr();
            paint();
            let before = changed_below(top);
            paint();
            wipe_stack();
            (before, changed_below(top))
        });
        let (before, wiped) = looked.expect("a thread").join().expect("it looks");
        assert!(before < 8 << 10, "{before} bytes deep without wiping");
        assert!(
            (STACK..STACK + (8 << 10)).contains(&wiped),
            "{wiped} bytes deep, not {STACK}"
        );
    }

    #[test]
    fn moving_a_secret_moves_no_bytes() {
        let secret = Secret::from([7; 32]);
        let place = secret.as_bytes().as_ptr();
        let mut moved = vec![secret];
        moved.reserve(100);
        assert_eq!(moved[0].as_bytes().as_ptr(), place);
        assert_eq!(moved[0].as_bytes(), &[7; 32]);
    }

    #[test]
    fn copies_are_explicit_and_equal() {
        let mut secret = Secret::filled(|bytes| *bytes = [1, 2, 3]);
        let copy = Secret::copy_of(secret.as_bytes());
        secret.as_mut_bytes()[0] = 9;
        assert_eq!((copy.as_bytes(), secret.as_bytes()), (&[1, 2, 3], &[9, 2, 3]));
    }
}

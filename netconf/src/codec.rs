//! Reading bytes that came from outside, without ever going past their end.

use farlan_crypto::defects::planted;
use thiserror::Error;

/// A cursor over received bytes: every method takes from the front or fails, and never panics.
///
/// Integers are big-endian. A canonical document ends with [`finish`](Self::finish); a reader of extensible messages
/// leaves that call out, which ignores what a newer version appended.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// A field goes past the end.
    #[error("the data ends too early")]
    Truncated,
    /// Bytes follow the last field.
    #[error("{0} bytes follow the end of the data")]
    Trailing(usize),
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The number of bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] at the end.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes a big-endian 16-bit number.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] with fewer than 2 bytes left.
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes a big-endian 32-bit number.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] with fewer than 4 bytes left.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes a big-endian 64-bit number.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] with fewer than 8 bytes left.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Takes exactly `N` bytes as an array.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] with fewer than `N` bytes left; nothing is taken then.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Takes exactly `count` bytes.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] with fewer than `count` bytes left; nothing is taken then.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes a length byte and as many bytes after it.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] if the length goes past the end.
    pub fn short_bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.u8()?;
        self.bytes(usize::from(length))
    }

    /// Takes all that is left, which may be nothing.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Ends the reading of a canonical document.
    ///
    /// # Errors
    /// [`CodecError::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<(), CodecError> {
        if self.rest.is_empty() || planted("trailing-bytes-taken") {
            Ok(())
        } else {
            Err(CodecError::Trailing(self.rest.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_off_in_order_and_the_end_is_exact() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 2, 8, 9, 10]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.short_bytes(), Ok(&[8, 9][..]));
        assert_eq!(reader.clone().finish(), Err(CodecError::Trailing(1)));
        assert_eq!(reader.u16(), Err(CodecError::Truncated));
        assert_eq!(reader.remaining(), 1);
        assert_eq!(reader.rest(), &[10]);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        assert_eq!(Reader::new(&[3, 1, 2]).short_bytes(), Err(CodecError::Truncated));
        assert_eq!(Reader::new(&[1]).bytes(usize::MAX), Err(CodecError::Truncated));
        assert_eq!(Reader::new(&[0; 7]).u64(), Err(CodecError::Truncated));
    }
}

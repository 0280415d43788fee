//! How credentials, applications and admissions are sealed inside a session, so that only members can read them.
//!
//! ```text
//! key      last 32 bytes of HMAC(network secret, label ‖ handshake hash ‖ role of the sender)
//! plain    length of the content 2 | content | zero bytes, 432 in all
//! sealed   SalsaPoly(key, counter = number of the message, AAD = place 1, plain), 448 bytes
//! ```

use farlan_crypto::{Aead, SalsaPoly, TAG};

use super::DocumentError;
use crate::codec::Reader;
use crate::secret::{NetworkSecret, Role};

/// Bytes of everything that is sealed here, whatever is in it.
pub const SEALED: usize = 448;

/// Bytes before sealing.
const PLAIN: usize = SEALED - TAG;

/// What is sealed inside a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The credential by which a network is shown.
    Credentials,
    /// What a node asks a holder for.
    Application,
    /// What the holder answers.
    Admission,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Credentials => b"credentials",
            Self::Application => b"application",
            Self::Admission => b"admission",
        }
    }
}

impl NetworkSecret {
    /// Seals `content` for the session with this handshake hash, as the side with `role`, in the message with this number
    /// at this place. Within one session, purpose, network and role a number must not be used for anything else.
    ///
    /// # Panics
    /// If `content` has more than 430 bytes; no document that is sealed here has as many.
    #[must_use]
    pub fn seal_in_session(
        &self,
        purpose: Purpose,
        handshake_hash: &[u8; 64],
        role: Role,
        number: u32,
        place: u8,
        content: &[u8],
    ) -> Vec<u8> {
        assert!(content.len() <= PLAIN - 2, "{purpose:?} of {} bytes", content.len());
        let key = self.sealing_key(&[purpose.label(), handshake_hash, &[role.code()]]);
        // It fits 430.
        let mut bytes = (content.len() as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(SEALED, 0);
        SalsaPoly::seal(&key, number.into(), &[place], &mut bytes);
        bytes
    }

    /// Opens what the side with `role` sealed.
    ///
    /// # Errors
    /// [`DocumentError::Sealed`] if it was not sealed so with this secret; other errors if it is not in its canonical form.
    pub fn open_in_session(
        &self,
        purpose: Purpose,
        handshake_hash: &[u8; 64],
        role: Role,
        number: u32,
        place: u8,
        sealed: &[u8],
    ) -> Result<Vec<u8>, DocumentError> {
        if sealed.len() != SEALED {
            return Err(DocumentError::Sealed);
        }
        let key = self.sealing_key(&[purpose.label(), handshake_hash, &[role.code()]]);
        let mut bytes = sealed.to_vec();
        let plain = SalsaPoly::open(&key, number.into(), &[place], &mut bytes)?;
        let mut reader = Reader::new(plain);
        let length = reader.u16()?;
        let content = reader.bytes(length.into())?.to_vec();
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(DocumentError::Fill);
        }
        Ok(content)
    }
}

// The largest of what is sealed fits.
const _: () = assert!(super::Credential::MAX_SIZE + 2 <= PLAIN && super::Application::MAX_SIZE + 2 <= PLAIN);

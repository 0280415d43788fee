//! The text form of 16-byte ids: RFC 4648 base32, lower case, without padding: 26 letters.

use data_encoding::BASE32_NOPAD;
use thiserror::Error;

/// Letters in the text form of an id.
const LETTERS: usize = 26;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// The text has another length than 26.
    #[error("an id has 26 letters, this text has {0}")]
    Length(usize),
    /// A character is outside `a-z2-7`, or the last letter carries bits that must be zero.
    #[error("an id consists of the letters a-z and the digits 2-7; this text is mistyped")]
    Mistyped,
}

/// The 26 letters of an id.
pub(crate) fn encode(id: &[u8; 16]) -> String {
    BASE32_NOPAD.encode(id).to_ascii_lowercase()
}

/// The id written as 26 letters; upper case is accepted.
pub(crate) fn decode(text: &str) -> Result<[u8; 16], IdError> {
    let letters = text.chars().count();
    if letters != LETTERS {
        return Err(IdError::Length(letters));
    }
    BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(IdError::Mistyped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_round_trip_and_mistakes_are_told_apart() {
        let id: [u8; 16] = std::array::from_fn(|i| 17 * u8::try_from(i).unwrap());
        let text = encode(&id);
        assert_eq!(text, "aaisem2ekvthpcezvk54zxpo74");
        assert_eq!(decode(&text), Ok(id));
        assert_eq!(decode(&text.to_uppercase()), Ok(id));
        assert_eq!(decode(&text[1..]), Err(IdError::Length(25)));
        assert_eq!(decode(""), Err(IdError::Length(0)));
        assert_eq!(decode(&"ä".repeat(26)), Err(IdError::Mistyped));
        assert_eq!(decode("aaisem2ekvthpcezvk54zxpo71"), Err(IdError::Mistyped));
        // The last letter holds 3 bits of the id and 2 bits that must be zero.
        assert_eq!(decode("aaisem2ekvthpcezvk54zxpo75"), Err(IdError::Mistyped));
    }
}

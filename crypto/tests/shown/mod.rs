//! Whether a text shows a secret.

#![allow(unreachable_pub, reason = "other crates' tests include this file")]

use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};

/// Bytes of a secret of which a text must not show more.
const PIECE: usize = 4;

/// Panics if `text` shows some of `secret` in hexadecimal, decimal, base32, base64 or as it stands.
pub fn assert_hidden(what: &str, text: &str, secret: &[u8]) {
    let lower = text.to_lowercase();
    for piece in secret.windows(PIECE) {
        let list = |form: fn(&u8) -> String| piece.iter().map(form).collect::<Vec<_>>().join(", ");
        for form in [
            list(u8::to_string),
            list(|byte| format!("{byte:x}")),
            list(|byte| format!("0x{byte:02x}")),
            HEXLOWER.encode(piece),
        ] {
            assert!(!lower.contains(&form), "{what} shows {form}: {text}");
        }
        let raw = String::from_utf8_lossy(piece);
        assert!(!text.contains(&*raw), "{what} shows {raw}: {text}");
    }
    // These mix bytes: what is shown of a secret is likely to begin with it.
    for form in [
        BASE32_NOPAD.encode(secret).to_lowercase(),
        BASE64.encode(secret).to_lowercase(),
    ] {
        assert!(!lower.contains(&form[..8]), "{what} shows {form}: {text}");
    }
}

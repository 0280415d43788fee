//! SHA-512 (FIPS 180-4) and HMAC-SHA512 (RFC 2104), the only hash functions of farlan.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha512};

/// SHA-512 of the concatenation of `parts`.
///
/// The boundaries between the parts are not hashed: a caller with more than one part of variable length has to make
/// them unambiguous, by fixed sizes or length prefixes.
pub fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HMAC-SHA512 under `key` (any length; above 128 bytes it is hashed first) of the concatenation of `parts`.
///
/// The remark on boundaries at [`sha512`] holds here too.
pub fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> [u8; 64] {
    let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A key of HMAC-SHA512 that is used again and again: its block is hashed once.
///
/// Wiped when dropped.
#[derive(Clone)]
pub struct HmacKey(Hmac<Sha512>);

impl HmacKey {
    /// Any length; above 128 bytes it is hashed first.
    pub fn new(key: &[u8]) -> Self {
        Self(<Hmac<Sha512> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// HMAC-SHA512 of the concatenation of `parts`, as [`hmac_sha512`] makes it.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 64] {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Whether the HMAC of `parts` begins with `expected`, in constant time.
    pub fn matches(&self, parts: &[&[u8]], expected: &[u8]) -> bool {
        self.over(parts).verify_truncated_left(expected).is_ok()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha512> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn sha512_of_abc_is_the_published_value() {
        let expected = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                        2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(HEXLOWER.encode(&sha512(&[b"abc"])), expected);
        assert_eq!(HEXLOWER.encode(&sha512(&[b"a", b"", b"bc"])), expected);
    }

    /// RFC 4231, test cases 2 (short key) and 6 (key longer than a block).
    #[test]
    fn hmac_matches_rfc_4231() {
        assert_eq!(
            HEXLOWER.encode(&hmac_sha512(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        );
        assert_eq!(
            HEXLOWER.encode(&hmac_sha512(
                &[0xaa; 131],
                &[b"Test Using Larger Than Block-Size Key - Hash Key First"]
            )),
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352\
             6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"
        );
    }

    #[test]
    fn a_kept_key_makes_the_same_macs_and_knows_them_by_their_beginning() {
        for key in [&b"Jefe"[..], &[0xaa; 131]] {
            let kept = HmacKey::new(key);
            for _ in 0..2 {
                let mac = kept.mac(&[b"what do ya want ", b"for nothing?"]);
                assert_eq!(mac, hmac_sha512(key, &[b"what do ya want for nothing?"]));
                assert!(kept.matches(&[b"what do ya want for nothing?"], &mac[..16]));
                let mut wrong = mac;
                wrong[15] ^= 1;
                assert!(!kept.matches(&[b"what do ya want for nothing?"], &wrong[..16]));
                assert!(!kept.matches(&[b"what do ya want for nothing"], &mac[..16]));
                assert!(
                    !kept.matches(&[b"what do ya want for nothing?"], &[]),
                    "nothing is no MAC"
                );
            }
        }
    }
}

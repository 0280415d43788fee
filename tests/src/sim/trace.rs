//! A hash over everything that happens in a run.

use std::{env, fmt::Write as _, time::Duration};

use sha2::{Digest, Sha512};

/// The event log of a run as a running hash: two runs are the same if their hashes are.
///
/// With `FARLAN_SIM_LOG` set, every entry is printed as well, which makes a failed run readable.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: Sha512,
    entries: u64,
    print: bool,
    stopped: bool,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            hash: Sha512::new(),
            entries: 0,
            print: env::var_os("FARLAN_SIM_LOG").is_some(),
            stopped: false,
        }
    }
}

impl Trace {
    /// Adds an entry: `what` happened at `at`, with `details` and the bytes of a packet.
    ///
    /// Fields go in with their length, so that no two different logs run together to the same bytes.
    pub fn record(&mut self, at: Duration, what: &str, details: &[u8], packet: &[u8]) {
        self.entries += 1;
        if self.print {
            let details = String::from_utf8_lossy(details);
            // The first bytes tell the kind of a datagram, its way and its session, or who sends a frame to whom.
            let length = packet.len();
            let head = hexadecimal(&packet[..length.min(20)]);
            let packet = if what == "event" {
                String::from_utf8_lossy(packet)
            } else {
                "".into()
            };
            eprintln!("{at:>14.6?} {what} {details} {length} {head} {packet}");
        }
        if self.stopped {
            return;
        }
        self.hash.update(at.as_nanos().to_be_bytes());
        for field in [what.as_bytes(), details, packet] {
            self.hash.update((field.len() as u64).to_be_bytes());
            self.hash.update(field);
        }
    }

    /// Hashes nothing from now on.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The hash of the log so far: 32 hexadecimal digits, the first half of which would do to tell two runs apart.
    pub fn hash(&self) -> String {
        let digest = self.hash.clone().finalize();
        hexadecimal(&digest[..16])
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_counts() {
        let log = |at, what, details: &[u8], packet: &[u8]| {
            let mut trace = Trace::default();
            trace.record(Duration::from_nanos(at), what, details, packet);
            trace.hash()
        };
        let base = log(1, "sent", b"x", b"yz");
        assert_eq!(base, log(1, "sent", b"x", b"yz"));
        for other in [
            log(2, "sent", b"x", b"yz"),
            log(1, "lost", b"x", b"yz"),
            log(1, "sent", b"xy", b"z"),
            log(1, "sent", b"x", b"yy"),
        ] {
            assert_ne!(base, other);
        }
    }
}

//! What the programs of games and services send on a LAN, as `scripts/record-games` recorded it.

use std::net::SocketAddrV4;

use anyhow::{Context, Result};

/// The files, by name.
const FILES: [(&str, &str); 5] = [
    ("freeciv", include_str!("../../../node/games/packets/freeciv.txt")),
    ("openttd", include_str!("../../../node/games/packets/openttd.txt")),
    ("quake3", include_str!("../../../node/games/packets/quake3.txt")),
    ("ssdp", include_str!("../../../node/games/packets/ssdp.txt")),
    ("teeworlds", include_str!("../../../node/games/packets/teeworlds.txt")),
];

/// The address that had the one who searches.
const CLIENT: &str = "10.77.0.2:";

/// A packet that a program sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where to.
    pub destination: SocketAddrV4,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// The packets of a file that were sent by the one who searches, in their order.
///
/// # Errors
/// There is no such file, or it is not as they are.
pub fn sent(file: &str) -> Result<Vec<Sent>> {
    let (_, text) = FILES
        .iter()
        .find(|(name, _)| *name == file)
        .with_context(|| format!("no packets of {file}"))?;
    let lines = text.lines().filter(|line| line.starts_with(CLIENT));
    lines
        .map(|line| {
            let mut words = line.split(' ').skip(1);
            let mut word = || words.next().with_context(|| format!("{file}: a short line"));
            let destination = word()?.parse()?;
            let payload = data_encoding::HEXLOWER.decode(word()?.as_bytes())?;
            Ok(Sent { destination, payload })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_broadcast_or_sent_to_a_group() {
        for (file, _) in FILES {
            let sent = sent(file).unwrap();
            let first = sent.first().unwrap().destination;
            assert!(first.ip().is_broadcast() || first.ip().is_multicast(), "{file}");
        }
        assert!(sent("chess").is_err());
    }
}

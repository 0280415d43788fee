//! Quake III Arena and what came of it: messages outside connections begin with four bytes 0xff, then a word, and infos are
//! lists of `\key\value`. A server repeats the challenge of the question.
//!
//! ```text
//! getinfo CHALLENGE            infoResponse\n\hostname\..\mapname\..\clients\..\sv_maxclients\..\challenge\..
//! getstatus CHALLENGE          statusResponse\n\sv_hostname\..\n  then a line a player: score ping "name"
//! ```

use super::{Answers, Heard, Players, Protocol, Told, name, word};
use crate::text::{number, without_marks};

/// What an answer to `getinfo` begins with.
pub(super) const INFO: &[u8] = b"\xff\xff\xff\xffinfoResponse";

/// What an answer to `getstatus` begins with.
pub(super) const STATUS: &[u8] = b"\xff\xff\xff\xffstatusResponse";

/// A search.
pub(crate) fn search(token: u32) -> Vec<u8> {
    format!("getinfo {token}").bytes().fold(vec![0xff; 4], |mut out, byte| {
        out.push(byte);
        out
    })
}

pub(super) fn decode(heard: &Heard<'_>) -> Option<Told> {
    let is_info = heard.payload.starts_with(INFO);
    let rest = heard.payload.strip_prefix(if is_info { INFO } else { STATUS })?;
    let mut lines = rest.strip_prefix(b"\n")?.split(|byte| *byte == b'\n');
    let info = Info(lines.next().filter(|line| line.starts_with(b"\\"))?);
    let mut server = heard.server(Protocol::Quake3);
    let title = info.get(b"hostname").or_else(|| info.get(b"sv_hostname"));
    server.name = name(&plain(title.unwrap_or_default()));
    server.map = info.get(b"mapname").and_then(word);
    server.mode = info.get(b"gametype").or_else(|| info.get(b"g_gametype")).and_then(mode);
    server.version = version(&info);
    let current = match info.get(b"clients") {
        Some(clients) => number(clients),
        None if is_info => None,
        None => u32::try_from(lines.filter(|line| !line.is_empty()).count()).ok(),
    };
    let most = info.get(b"sv_maxclients").and_then(number);
    server.players = current.map(|current| Players { current, most });
    server.answers = match info.get(b"challenge").and_then(number) {
        Some(token) => Answers::Token { token, mask: u32::MAX },
        None => Answers::Nothing,
    };
    Some(Told::Seen(server))
}

/// A list of `\key\value`.
struct Info<'a>(&'a [u8]);

impl<'a> Info<'a> {
    fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        let mut parts = self.0.split(|byte| *byte == b'\\').skip(1);
        while let (Some(found), Some(value)) = (parts.next(), parts.next()) {
            if found == key {
                return Some(value);
            }
        }
        None
    }
}

/// What is said of the version, or else the number of the protocol.
fn version(info: &Info<'_>) -> Option<String> {
    if let Some(version) = info.get(b"version") {
        return word(version);
    }
    let protocol = number(info.get(b"protocol")?)?;
    Some(format!("protocol {protocol}"))
}

/// The ways to play that all of these games share have numbers; mods add others, which stay numbers.
fn mode(value: &[u8]) -> Option<String> {
    match value {
        b"0" => Some("free for all".to_owned()),
        b"1" => Some("tournament".to_owned()),
        b"3" => Some("team deathmatch".to_owned()),
        b"4" => Some("capture the flag".to_owned()),
        _ => word(value),
    }
}

/// Without colours: `^1`, and `^xf00` of DarkPlaces.
fn plain(text: &[u8]) -> Vec<u8> {
    without_marks(text, b"^", |code| code.is_ascii_alphanumeric())
}

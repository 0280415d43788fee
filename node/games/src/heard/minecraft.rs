//! Minecraft. The Java edition announces a world that is open to the LAN every 1.5 s to 224.0.2.60:4445:
//!
//! ```text
//! [MOTD]name[/MOTD][AD]port[/AD]
//! ```
//!
//! The Bedrock edition answers RakNet's ping for those that are not connected:
//!
//! ```text
//! ping   0  0x01    1  time (8)    9  magic (16)   25  client (8)
//! pong   0  0x1c    1  time (8)    9  server (8)   17  magic (16)   33  length (2)   35  text
//!        text: MCPE;name;protocol;version;players;most;server;world;mode;mode's number;port;port for IPv6;
//! ```
//!
//! The time of a ping comes back with its pong; here it is the search's token.

use std::time::Duration;

use super::{Answers, Heard, Players, Protocol, Told, name, word};
use crate::text::{array, between, number, without_marks};

/// The port of the Java edition's group.
pub(super) const PORT: u16 = 4445;

/// The first byte of a pong.
pub(super) const PONG: u8 = 0x1c;

/// What marks RakNet's messages outside connections.
const MAGIC: [u8; 16] = *b"\x00\xff\xff\x00\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x12\x34\x56\x78";

/// Six announcements may get lost.
const ANNOUNCED_LIFE: Duration = Duration::from_secs(10);

/// What colours and styles begin with in names: the section sign, in UTF-8.
const STYLE: &[u8] = "\u{a7}".as_bytes();

pub(super) fn decode(heard: &Heard<'_>) -> Option<Told> {
    let port = number(between(heard.payload, b"[AD]", b"[/AD]")?)?;
    let title = between(heard.payload, b"[MOTD]", b"[/MOTD]").unwrap_or_default();
    let mut server = heard.server(Protocol::Minecraft);
    server.port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    server.name = name(&plain(title));
    server.lifetime = ANNOUNCED_LIFE;
    server.answers = Answers::Nothing;
    Some(Told::Seen(server))
}

/// A ping.
pub(crate) fn ping(token: u32) -> Vec<u8> {
    let mut out = vec![0x01];
    out.extend_from_slice(&u64::from(token).to_be_bytes());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    out
}

pub(super) fn decode_bedrock(heard: &Heard<'_>) -> Option<Told> {
    let mut rest = heard.payload.strip_prefix(&[PONG])?;
    let time = u64::from_be_bytes(array(&mut rest)?);
    array::<8>(&mut rest)?;
    if array(&mut rest)? != MAGIC {
        return None;
    }
    let length = usize::from(u16::from_be_bytes(array(&mut rest)?));
    let mut fields = rest.get(..length)?.split(|byte| *byte == b';');
    let mut field = || fields.next().unwrap_or_default();
    if !matches!(field(), b"MCPE" | b"MCEE") {
        return None;
    }
    let mut server = heard.server(Protocol::Bedrock);
    server.name = name(&plain(field()));
    field();
    server.version = word(field());
    let current = number(field());
    let most = number(field());
    server.players = current.map(|current| Players { current, most });
    field();
    server.map = word(&plain(field()));
    server.mode = word(field());
    server.answers = match u32::try_from(time) {
        Ok(token) => Answers::Token { token, mask: u32::MAX },
        Err(_) => Answers::Nothing,
    };
    Some(Told::Seen(server))
}

fn plain(text: &[u8]) -> Vec<u8> {
    without_marks(text, STYLE, |_| true)
}

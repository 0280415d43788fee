//! Valve's A2S_INFO, which servers of the Source engine and many others answer. Numbers are little-endian, texts end with
//! a zero.
//!
//! ```text
//! question   ff ff ff ff  T  "Source Engine Query" 0  [challenge (4)]
//! challenge  ff ff ff ff  A  challenge (4)
//! answer     ff ff ff ff  I  protocol (1)  name 0  map 0  folder 0  game 0  id (2)  players (1)  most (1)  bots (1)
//!            kind (1)  system (1)  password (1)  secured (1)  [of id 2400: 3 more]  version 0
//!            [flags (1)  if 0x80: port (2)  …]
//! ```

use super::{Answers, Heard, Players, Protocol, Told, name, word};
use crate::text::{array, byte, terminated};

/// What every message begins with.
pub(super) const PREFIX: &[u8] = &[0xff; 4];

/// A search.
pub(crate) const SEARCH: &[u8] = b"\xff\xff\xff\xffTSource Engine Query\0";

/// The Ship, which has three bytes more.
const THE_SHIP: u16 = 2400;

pub(super) fn decode(heard: &Heard<'_>) -> Option<Told> {
    let mut rest = heard.payload.strip_prefix(PREFIX)?;
    match byte(&mut rest)? {
        b'A' => {
            let challenge: [u8; 4] = array(&mut rest)?;
            Some(Told::Ask([SEARCH, &challenge].concat()))
        }
        b'I' => info(heard, rest),
        _ => None,
    }
}

fn info(heard: &Heard<'_>, mut rest: &[u8]) -> Option<Told> {
    byte(&mut rest)?;
    let title = terminated(&mut rest)?;
    let map = terminated(&mut rest)?;
    terminated(&mut rest)?;
    let game = terminated(&mut rest)?;
    let id = u16::from_le_bytes(array(&mut rest)?);
    let [current, most, _bots, _kind, _system, _password, _secured] = array(&mut rest)?;
    if id == THE_SHIP {
        array::<3>(&mut rest)?;
    }
    let version = terminated(&mut rest)?;
    let mut server = heard.server(Protocol::Source);
    server.name = name(title);
    server.map = word(map);
    server.mode = word(game);
    server.version = word(version);
    server.players = Some(Players {
        current: u32::from(current),
        most: Some(u32::from(most)),
    });
    if byte(&mut rest).is_some_and(|flags| flags & 0x80 != 0)
        && let Some(port) = array(&mut rest).map(u16::from_le_bytes).filter(|port| *port != 0)
    {
        server.port = port;
    }
    server.answers = Answers::Search;
    Some(Told::Seen(server))
}

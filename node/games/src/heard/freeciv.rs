//! Freeciv. A search goes to 225.1.1.1:4555, and servers answer, from any port, to port 4556 of the group.
//!
//! ```text
//! search  02  00
//! answer  02  host 0  port 0  version 0  state 0  players 0  humans 0  message 0      numbers are texts
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Answers, Heard, Players, Protocol, Told, name, word};
use crate::text::{byte, number, some, terminated};

/// The port of the group to which answers go.
pub(super) const PORT: u16 = 4556;

/// Where a search goes.
pub(crate) const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(225, 1, 1, 1), 4555);

/// The version of search and answer.
const VERSION: u8 = 2;

/// A search.
pub(crate) const SEARCH: &[u8] = &[VERSION, 0];

pub(super) fn decode(heard: &Heard<'_>) -> Option<Told> {
    let mut rest = heard.payload;
    if byte(&mut rest)? != VERSION {
        return None;
    }
    let host = terminated(&mut rest)?;
    let port = number(terminated(&mut rest)?)?;
    let version = terminated(&mut rest)?;
    let state = terminated(&mut rest)?;
    terminated(&mut rest)?;
    let humans = number(terminated(&mut rest)?);
    let message = terminated(&mut rest)?;
    let mut server = heard.server(Protocol::Freeciv);
    server.port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    server.host = some(host, super::LONGEST_NAME);
    // Without a message, "-" stands there.
    server.name = name(if matches!(message, b"" | b"-") { host } else { message });
    server.mode = word(state);
    server.version = word(version);
    server.players = humans.map(|current| Players { current, most: None });
    // It answers to the group, and so the questions of others too.
    server.answers = Answers::Nothing;
    Some(Told::Seen(server))
}

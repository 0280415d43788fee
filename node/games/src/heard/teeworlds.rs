//! Teeworlds and DDNet. What is asked and answered outside connections is four bytes 0xff and a word; what stands before
//! it differs:
//!
//! ```text
//! 0.6     ff × 6                            gie3  token (1)    inf3  texts that end with a zero
//! DDNet   "xe"  token's high bytes (2)  0 0 gie3  token (1)    iext  the same, with two more
//!         (a server of 0.6 answers that too, as the first bytes do not matter to it)
//! 0.7     21  server's token (4)  client's token (4)           gie3  token (packed)
//!         21  client's token (4)  server's token (4)           inf3  texts, and numbers that are packed
//!         The server's token is asked for before, in a message of a connection, which is filled up, so that nobody gains by a
//!         forged source:
//!         04 00 00  ff ff ff ff  05  client's token (4)  0 × 508
//!         04 00 00  client's token (4)  05  server's token (4)
//! ```
//!
//! Texts of an answer: token, version, name, map, (DDNet: its sum, its size,) mode, flags, players, most, clients, most. In 0.7:
//! token, version, name, host, map, mode, flags, skill, players, most, clients, most. Who watches is a client and no player.

use super::{Answers, Heard, Players, Protocol, Told, name, word};
use crate::text::{array, byte, number, some, terminated};

/// What a packet of DDNet begins with.
pub(super) const EXTENDED: &[u8] = b"xe";

/// The first byte of a packet of 0.7 outside connections.
pub(super) const CONNECTIONLESS: u8 = 0x21;

/// What a message of 0.7 that controls a connection begins with.
pub(super) const CONTROL: &[u8] = &[4, 0, 0];

/// The kind of message that asks for a token, or tells it.
const TOKEN: u8 = 5;

const ASK: &[u8] = b"\xff\xff\xff\xffgie3";
const INFO: &[u8] = b"\xff\xff\xff\xffinf3";
const EXTENDED_INFO: &[u8] = b"\xff\xff\xff\xffiext";

/// A search that servers of 0.6 and DDNet answer; of the token, the lower 24 bits.
pub(crate) fn search(token: u32) -> Vec<u8> {
    let [_, high, middle, low] = token.to_be_bytes();
    [EXTENDED, &[high, middle, 0, 0], ASK, &[low]].concat()
}

/// A search that servers of 0.7 answer with a token.
pub(crate) fn token_request(token: u32) -> Vec<u8> {
    let mut out = [CONTROL, &[0xff; 4], &[TOKEN], &token.to_be_bytes()].concat();
    out.resize(7 + 1 + 512, 0);
    out
}

pub(super) fn decode(heard: &Heard<'_>) -> Option<Told> {
    let payload = heard.payload;
    if let Some(rest) = payload.strip_prefix(CONTROL) {
        return control(rest);
    }
    if let Some(mut rest) = payload.strip_prefix(&[CONNECTIONLESS]) {
        let token = u32::from_be_bytes(array(&mut rest)?);
        array::<4>(&mut rest)?;
        return newer(heard, token, rest.strip_prefix(INFO)?);
    }
    let (_, rest) = payload.split_at_checked(6)?;
    if let Some(rest) = rest.strip_prefix(EXTENDED_INFO) {
        return older(heard, rest, true);
    }
    older(heard, rest.strip_prefix(INFO)?, false)
}

/// A server's token: now it can be asked.
fn control(mut rest: &[u8]) -> Option<Told> {
    let own: [u8; 4] = array(&mut rest)?;
    if byte(&mut rest)? != TOKEN {
        return None;
    }
    let server: [u8; 4] = array(&mut rest)?;
    // What is packed into one byte is 0 to 63; the tokens of the packet say whose answer it is.
    Some(Told::Ask([&[CONNECTIONLESS], &server[..], &own, ASK, &[1]].concat()))
}

fn older(heard: &Heard<'_>, mut rest: &[u8], extended: bool) -> Option<Told> {
    let token = number(terminated(&mut rest)?);
    let mut server = heard.server(Protocol::Teeworlds);
    server.version = word(terminated(&mut rest)?);
    server.name = name(terminated(&mut rest)?);
    server.map = word(terminated(&mut rest)?);
    if extended {
        terminated(&mut rest)?;
        terminated(&mut rest)?;
    }
    server.mode = word(terminated(&mut rest)?);
    terminated(&mut rest)?;
    let mut count = || terminated(&mut rest).and_then(number);
    let [_, _, clients, most] = [count(), count(), count(), count()];
    server.players = clients.map(|current| Players { current, most });
    let mask = if extended { 0x00ff_ffff } else { 0xff };
    server.answers = token.map_or(Answers::Nothing, |token| Answers::Token { token, mask });
    Some(Told::Seen(server))
}

fn newer(heard: &Heard<'_>, token: u32, mut rest: &[u8]) -> Option<Told> {
    packed(&mut rest)?;
    let mut server = heard.server(Protocol::Teeworlds);
    server.version = word(terminated(&mut rest)?);
    server.name = name(terminated(&mut rest)?);
    server.host = some(terminated(&mut rest)?, super::LONGEST_NAME);
    server.map = word(terminated(&mut rest)?);
    server.mode = word(terminated(&mut rest)?);
    let mut count = || packed(&mut rest);
    let [_, _, _, _, clients, most] = [count(), count(), count(), count(), count(), count()];
    server.players = clients.map(|current| Players { current, most });
    server.answers = Answers::Token { token, mask: u32::MAX };
    Some(Told::Seen(server))
}

/// A packed number: sign and six bits, then seven bits a byte, the lowest first, each with a bit that says whether there
/// are more. Negative ones are none here.
fn packed(rest: &mut &[u8]) -> Option<u32> {
    let first = byte(rest)?;
    let is_negative = first & 0x40 != 0;
    let mut value = u32::from(first & 0x3f);
    let mut more = first & 0x80 != 0;
    for shift in [6, 13, 20, 27] {
        if !more {
            break;
        }
        let next = byte(rest)?;
        value |= u32::from(next & 0x7f) << shift;
        more = next & 0x80 != 0;
    }
    (!is_negative && value <= u32::MAX >> 1).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers_are_read() {
        for (bytes, value) in [
            (&[0x2a][..], Some(42)),
            (&[0xbf, 0x01], Some(127)),
            (&[0x80, 0x01], Some(64)),
            (&[0xbf, 0xff, 0xff, 0xff, 0x0f], Some(u32::MAX >> 1)),
            (&[0x41], None),
            (&[0x80], None),
            (&[], None),
            (&[0xbf, 0xff, 0xff, 0xff, 0xff], None),
        ] {
            assert_eq!(packed(&mut &bytes[..]), value, "{bytes:x?}");
        }
    }
}

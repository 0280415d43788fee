//! As much of D-Bus as takes to call a few methods that answer with nothing: one connection, one call after the other, no signals.
//!
//! A library would bring an executor and threads into the process that has a capability; four fixed calls need neither. The
//! encoding is that of the D-Bus specification 0.43, "Message Protocol", little-endian:
//!
//! ```text
//! 'l' 1 | type 1 | flags 1 | version 1 | body length 4 | serial 4 | length of the fields 4 | fields, to a multiple of 8 | body
//! field = code 1 | signature 3 (length 1, letter, 0) | value
//! ```

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Why a call came to nothing.
#[derive(Debug)]
pub(crate) enum BusError {
    /// The bus cannot be reached, or says what makes no sense.
    Io(io::Error),
    /// Somebody answered with an error.
    Error {
        /// Such as `org.freedesktop.DBus.Error.AccessDenied`.
        name: String,
        /// For people.
        message: String,
    },
}

impl From<io::Error> for BusError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A method of an object at the bus.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method<'a> {
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'a str,
}

/// A connection to a bus.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// When the patience with all that is asked ends.
    until: Instant,
}

impl Bus {
    /// Connects as the user of this process. All that is asked together may take `patience`.
    pub(crate) fn connect(path: &Path, patience: Duration) -> Result<Self, BusError> {
        let until = Instant::now() + patience;
        let mut bus = Self {
            stream: UnixStream::connect(path)?,
            serial: 0,
            until,
        };
        bus.authenticate()?;
        let hello = Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        bus.call(hello, &Body::default())?;
        Ok(bus)
    }

    /// SASL EXTERNAL: the bus takes the user from the socket.
    fn authenticate(&mut self) -> Result<(), BusError> {
        let user = rustix::process::geteuid().as_raw().to_string();
        let hex: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() >= LONGEST_LINE {
                return Err(nonsense().into());
            }
            line.extend_from_slice(&self.read::<1>()?);
        }
        if !line.starts_with(b"OK ") {
            return Err(BusError::Error {
                name: "authentication".to_owned(),
                message: String::from_utf8_lossy(&line).trim().to_owned(),
            });
        }
        Ok(self.write(b"BEGIN\r\n")?)
    }

    /// Calls a method and waits for its end. Nobody is started to answer it.
    pub(crate) fn call(&mut self, method: Method<'_>, body: &Body) -> Result<(), BusError> {
        self.serial += 1;
        let message = call_message(self.serial, method, body);
        self.write(&message)?;
        for _ in 0..MOST_OTHERS {
            let message = self.message()?;
            match answer_to(self.serial, &message) {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
        Err(nonsense().into())
    }

    /// The next message, whole.
    fn message(&mut self) -> io::Result<Vec<u8>> {
        let head = self.read::<HEAD>()?;
        let length = length(&head).ok_or_else(nonsense)?;
        let mut message = head.to_vec();
        message.resize(length, 0);
        let rest = message.get_mut(HEAD..).ok_or_else(nonsense)?;
        read_into(&mut self.stream, self.until, rest)?;
        Ok(message)
    }

    fn read<const LENGTH: usize>(&mut self) -> io::Result<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        read_into(&mut self.stream, self.until, &mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write_all(bytes)
    }
}

fn read_into(stream: &mut UnixStream, until: Instant, mut room: &mut [u8]) -> io::Result<()> {
    while !room.is_empty() {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(room) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => room = room.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is left of the patience, if any.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn nonsense() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The arguments of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    /// Arguments of these types, which are to follow.
    pub(crate) fn new(signature: &str) -> Self {
        Self {
            signature: signature.to_owned(),
            bytes: Vec::new(),
        }
    }

    /// Fills up to a multiple.
    pub(crate) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.align(2);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(0));
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array of what `put` adds for each item. Items are aligned to `to`, and so is the first, outside the array's length.
    pub(crate) fn array<T>(
        &mut self,
        to: usize,
        items: impl IntoIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T),
    ) {
        self.u32(0);
        let at = self.bytes.len();
        self.align(to);
        let begin = self.bytes.len();
        for item in items {
            self.align(to);
            put(self, item);
        }
        let length = u32::try_from(self.bytes.len() - begin).unwrap_or(0);
        if let Some(place) = self.bytes.get_mut(at - 4..at) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
}

fn call_message(serial: u32, method: Method<'_>, body: &Body) -> Vec<u8> {
    let mut message = Body::default();
    message.bytes.extend_from_slice(&[b'l', CALL, NO_AUTO_START, VERSION]);
    message.u32(u32::try_from(body.bytes.len()).unwrap_or(0));
    message.u32(serial);
    let fields = [
        (PATH, b'o', method.path),
        (INTERFACE, b's', method.interface),
        (MEMBER, b's', method.member),
        (DESTINATION, b's', method.destination),
        (SIGNATURE, b'g', body.signature.as_str()),
    ];
    message.array(
        8,
        fields.into_iter().filter(|(.., value)| !value.is_empty()),
        |message, (code, kind, value)| {
            message.bytes.extend_from_slice(&[code, 1, kind, 0]);
            if kind == b'g' {
                message.byte(u8::try_from(value.len()).unwrap_or(0));
                message.bytes.extend_from_slice(value.as_bytes());
                message.byte(0);
            } else {
                message.text(value);
            }
        },
    );
    message.align(8);
    message.bytes.extend_from_slice(&body.bytes);
    message.bytes
}

/// Bytes of the message that begins so, if it can be one that is read.
pub(crate) fn length(head: &[u8; HEAD]) -> Option<usize> {
    let reader = Reader::new(head)?;
    let (body, fields) = (reader.u32_at(4)?, reader.u32_at(12)?);
    let (body, fields) = (usize::try_from(body).ok()?, usize::try_from(fields).ok()?);
    if head[3] != VERSION || body > LONGEST || fields > LONGEST {
        return None;
    }
    Some((HEAD + fields).next_multiple_of(8) + body)
}

/// What a whole message says about the call with that serial; nothing if it is about something else or makes no sense.
pub(crate) fn answer_to(serial: u32, message: &[u8]) -> Option<Result<(), BusError>> {
    let reader = Reader::new(message)?;
    let kind = *message.get(1)?;
    let fields = usize::try_from(reader.u32_at(12)?).ok()?;
    let end = HEAD.checked_add(fields)?;
    let (mut at, mut replied, mut error) = (HEAD, None, None);
    while at < end {
        let code = *message.get(at)?;
        let kind = match message.get(at + 1..at + 4)? {
            [1, kind, 0] => *kind,
            // All fields that are known are of simple types; so what comes here is not a bus's.
            _ => return None,
        };
        at += 4;
        match kind {
            b'u' => {
                if code == REPLY_SERIAL {
                    replied = Some(reader.u32_at(at)?);
                }
                at += 4;
            }
            b's' | b'o' => {
                let (text, next) = reader.text_at(at)?;
                if code == ERROR_NAME {
                    error = Some(text);
                }
                at = next;
            }
            b'g' => at += usize::from(*message.get(at)?) + 2,
            _ => return None,
        }
        at = at.next_multiple_of(8);
    }
    if replied != Some(serial) {
        return None;
    }
    match kind {
        RETURN => Some(Ok(())),
        ERROR => {
            // The first argument, if it is a text, is for people.
            let body = end.next_multiple_of(8);
            let message = reader.text_at(body).map(|(text, _)| text);
            Some(Err(BusError::Error {
                name: error?,
                message: message.unwrap_or_default(),
            }))
        }
        _ => None,
    }
}

/// Reads numbers in the order of a message's first byte.
struct Reader<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? {
            b'l' => Some(Self { bytes, little: true }),
            b'B' => Some(Self { bytes, little: false }),
            _ => None,
        }
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.little {
            u32::from_le_bytes(*bytes)
        } else {
            u32::from_be_bytes(*bytes)
        })
    }

    /// A text and where it ends.
    fn text_at(&self, at: usize) -> Option<(String, usize)> {
        let length = usize::try_from(self.u32_at(at)?).ok()?;
        let (begin, end) = (at + 4, (at + 4).checked_add(length)?);
        let text = self.bytes.get(begin..end)?;
        Some((String::from_utf8_lossy(text).into_owned(), end + 1))
    }
}

/// Bytes of a message before its fields.
pub(crate) const HEAD: usize = 16;

/// Bytes of the longest body, and of the longest fields, that are read. Answers to calls here have none to speak of.
const LONGEST: usize = 64 << 10;

/// Bytes of the longest line before the first message.
const LONGEST_LINE: usize = 512;

/// How many messages that nobody asked for may come before an answer: the bus tells a new connection its name, and little else.
const MOST_OTHERS: u32 = 64;

const VERSION: u8 = 1;
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
/// The flag of calls that start no service.
const NO_AUTO_START: u8 = 2;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

//! Multicast DNS with service discovery (RFC 6762, RFC 6763): responses whose records tell of instances of services.
//!
//! ```text
//! header: id (2)  flags (2)  questions (2)  answers (2)  authorities (2)  additional records (2)
//! record: name  kind (2)  class (2)  seconds to live (4)  length (2)  data
//!
//! _daap._tcp.local                PTR  Alice's music._daap._tcp.local
//! Alice's music._daap._tcp.local  SRV  priority (2)  weight (2)  port (2)  alice.local
//! alice.local                     A    10.77.0.1
//! ```
//!
//! A name is read where it stands and copied only to be shown. Each of its pointers must lead further back than the one
//! before, so none leads in a circle.
//!
//! The seconds to live say when a record leaves caches, 10 s in an answer to a question from another port than 5353 and hours in
//! an announcement; how long an instance is listed does not depend on it. Zero seconds say that it has gone.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

use super::{ASKED_LIFE, Answers, Departure, Heard, Kind, LONGEST_NAME, MOST_TOLD, Sighting, Told, name};
use crate::text::{array, byte, some};

/// The port of mDNS.
pub(super) const PORT: u16 = 5353;

/// The group of mDNS.
pub(crate) const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), PORT);

/// The services that are asked for, and what they are. Instances of others are listed when they announce themselves.
pub const SERVICES: [(&str, &str); 16] = [
    ("_airplay._tcp", "AirPlay"),
    ("_daap._tcp", "Music (DAAP)"),
    ("_ftp._tcp", "Files (FTP)"),
    ("_googlecast._tcp", "Google Cast"),
    ("_http._tcp", "Web page"),
    ("_ipp._tcp", "Printer"),
    ("_ipps._tcp", "Printer"),
    ("_mpd._tcp", "Music Player Daemon"),
    ("_nfs._tcp", "Files (NFS)"),
    ("_raop._tcp", "AirPlay sound"),
    ("_rfb._tcp", "Screen (VNC)"),
    ("_sftp-ssh._tcp", "Files (SFTP)"),
    ("_smb._tcp", "Files (SMB)"),
    ("_spotify-connect._tcp", "Spotify Connect"),
    ("_ssh._tcp", "Shell (SSH)"),
    ("_webdav._tcp", "Files (WebDAV)"),
];

/// What says that a machine is there, and is no service.
const MACHINES: &str = "_workstation._tcp";

/// The questions for all [`SERVICES`].
pub(crate) fn questions() -> Vec<u8> {
    let mut out = header(SERVICES.len() as u16);
    for (service, _) in SERVICES {
        let labels = service.split('.').chain(["local"]);
        write_question(&mut out, labels.map(str::as_bytes), PTR);
    }
    out
}

pub(super) fn decode(heard: &Heard<'_>) -> Vec<Told> {
    let Some(records) = records(heard.payload) else {
        return Vec::new();
    };
    let mut told = Vec::new();
    let mut seen_at = BTreeSet::new();
    let mut unplaced = Vec::new();
    for record in &records {
        let about = match record.kind {
            SRV => record.name,
            PTR => record.target(0),
            _ => continue,
        };
        // A pointer to an instance is about that; other pointers, from addresses to names above all, are about none.
        let Some(instance) = Instance::of(about) else {
            continue;
        };
        if instance.service == MACHINES || told.len() == MOST_TOLD || !seen_at.insert((record.kind, about.at)) {
            continue;
        }
        if record.seconds == 0 {
            told.push(Told::Gone(Departure {
                kind: Kind::Service(instance.service),
                address: heard.source.ip(),
                name: Some(instance.name),
            }));
        } else if record.kind == SRV {
            told.extend(seen(heard, record, &records, instance).map(Told::Seen));
        } else if !records.iter().any(|other| other.kind == SRV && other.name.is(about)) {
            unplaced.push(about);
        }
    }
    // What is told keeps its bound, and one packet asks for all.
    if !unplaced.is_empty() && told.len() < MOST_TOLD {
        unplaced.truncate(MOST_ASKED);
        told.push(Told::Ask(ask_places(&unplaced)));
    }
    told
}

fn seen(heard: &Heard<'_>, record: &Record<'_>, records: &[Record<'_>], instance: Instance) -> Option<Sighting> {
    let port = record
        .data
        .get(4..6)
        .map(|port| u16::from_be_bytes([port[0], port[1]]))?;
    let target = record.target(6);
    let own = heard.source.ip();
    let said = || {
        let of_target = records.iter().filter(move |record| record.name.is(target));
        of_target
            .filter_map(Record::address)
            .filter(move |address| address.is_ipv4() == own.is_ipv4())
    };
    if port == 0 || (said().next().is_some() && !said().any(|address| address == own)) {
        return None;
    }
    Some(Sighting {
        kind: Kind::Service(instance.service),
        name: instance.name,
        host: target.labels().next().and_then(|label| some(label, LONGEST_NAME)),
        address: own,
        port,
        players: None,
        map: None,
        mode: None,
        version: None,
        lifetime: ASKED_LIFE,
        // Answers of what others have too are held back up to 120 ms (RFC 6762 §6).
        answers: Answers::Nothing,
    })
}

/// A question for the places of instances.
fn ask_places(instances: &[Name<'_>]) -> Vec<u8> {
    let mut out = header(instances.len() as u16);
    for instance in instances {
        write_question(&mut out, instance.labels(), SRV);
    }
    out
}

/// The header of so many questions.
fn header(questions: u16) -> Vec<u8> {
    let [high, low] = questions.to_be_bytes();
    vec![0, 0, 0, 0, high, low, 0, 0, 0, 0, 0, 0]
}

fn write_question<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = &'a [u8]>, kind: u16) {
    for label in labels {
        // A label is of 63 bytes at the most, here and where it was read.
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&INTERNET.to_be_bytes());
}

/// An instance of a service: `NAME._service._tcp.local`.
struct Instance {
    name: String,
    service: String,
}

impl Instance {
    fn of(full: Name<'_>) -> Option<Self> {
        let mut labels = full.labels();
        let [title, service, transport, domain] = [labels.next()?, labels.next()?, labels.next()?, labels.next()?];
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let is_service = (2..=16).contains(&service.len()) && service[0] == b'_' && service[1..].iter().all(plain);
        let transport = match transport {
            _ if transport.eq_ignore_ascii_case(b"_tcp") => "_tcp",
            _ if transport.eq_ignore_ascii_case(b"_udp") => "_udp",
            _ => return None,
        };
        // What is asked of `_services._dns-sd._udp.local` are types, and no instances.
        if !is_service || !domain.eq_ignore_ascii_case(b"local") || labels.next().is_some() || title.starts_with(b"_") {
            return None;
        }
        let service = String::from_utf8_lossy(service).to_ascii_lowercase();
        Some(Self {
            name: name(title),
            service: format!("{service}.{transport}"),
        })
    }
}

/// A record of a response.
struct Record<'a> {
    name: Name<'a>,
    kind: u16,
    seconds: u32,
    data: &'a [u8],
    /// Where the data begin in the message.
    at: usize,
}

impl<'a> Record<'a> {
    /// The name in the data, behind so many bytes.
    fn target(&self, behind: usize) -> Name<'a> {
        Name {
            message: self.name.message,
            at: self.at + behind,
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match self.kind {
            A => <[u8; 4]>::try_from(self.data).ok().map(IpAddr::from),
            AAAA => <[u8; 16]>::try_from(self.data).ok().map(IpAddr::from),
            _ => None,
        }
    }
}

/// The records of a response, as far as they can be read, and not more than [`MOST_RECORDS`].
fn records(message: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut rest = message;
    array::<2>(&mut rest)?;
    let flags = u16::from_be_bytes(array(&mut rest)?);
    // A response without an error, to a usual question.
    if flags & 0xf80f != 0x8000 {
        return None;
    }
    let mut count = || array(&mut rest).map(u16::from_be_bytes);
    let [questions, answers, authorities, additional] = [count()?, count()?, count()?, count()?];
    for _ in 0..questions {
        skip_name(&mut rest)?;
        array::<4>(&mut rest)?;
    }
    let count = usize::from(answers) + usize::from(authorities) + usize::from(additional);
    let mut records = Vec::new();
    for _ in 0..count.min(MOST_RECORDS) {
        match read_record(message, &mut rest) {
            Some(record) => records.extend(record),
            None => break,
        }
    }
    Some(records)
}

/// Reads a record; nothing within if it is of another class or kind than is looked at.
fn read_record<'a>(message: &'a [u8], rest: &mut &'a [u8]) -> Option<Option<Record<'a>>> {
    let at = message.len() - rest.len();
    skip_name(rest)?;
    let kind = u16::from_be_bytes(array(rest)?);
    let class = u16::from_be_bytes(array(rest)?);
    let seconds = u32::from_be_bytes(array(rest)?);
    let length = usize::from(u16::from_be_bytes(array(rest)?));
    let data_at = message.len() - rest.len();
    let data = rest.split_off(..length)?;
    let record = Record {
        name: Name { message, at },
        kind,
        seconds,
        data,
        at: data_at,
    };
    // The highest bit says that this is all of its kind.
    let is_looked_at = class & 0x7fff == INTERNET && [A, PTR, AAAA, SRV].contains(&kind);
    Some(is_looked_at.then_some(record))
}

/// Passes over a name, without following its pointer.
fn skip_name(rest: &mut &[u8]) -> Option<()> {
    loop {
        match byte(rest)? {
            0 => return Some(()),
            length @ 1..=63 => {
                rest.split_off(..usize::from(length))?;
            }
            0xc0.. => {
                byte(rest)?;
                return Some(());
            }
            _ => return None,
        }
    }
}

/// A name that stands in a message.
#[derive(Clone, Copy)]
struct Name<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Name<'a> {
    /// The labels, as far as they can be read.
    fn labels(self) -> impl Iterator<Item = &'a [u8]> {
        let mut at = self.at;
        let mut lowest = self.at;
        let mut length = 0;
        std::iter::from_fn(move || {
            loop {
                let first = usize::from(*self.message.get(at)?);
                if first >= 0xc0 {
                    let to = (first & 0x3f) << 8 | usize::from(*self.message.get(at + 1)?);
                    if to >= lowest {
                        return None;
                    }
                    (at, lowest) = (to, to);
                    continue;
                }
                length += 1 + first;
                if first == 0 || first > 63 || length > LONGEST {
                    return None;
                }
                let label = self.message.get(at + 1..=at + first)?;
                at += 1 + first;
                return Some(label);
            }
        })
    }

    /// Whether it is the same name, in small or capital letters.
    fn is(self, other: Self) -> bool {
        if self.at == other.at {
            return true;
        }
        let (mut own, mut others) = (self.labels(), other.labels());
        loop {
            match (own.next(), others.next()) {
                (None, None) => return true,
                (Some(own), Some(other)) if own.eq_ignore_ascii_case(other) => {}
                _ => return false,
            }
        }
    }
}

const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const INTERNET: u16 = 1;

/// Bytes of the longest name (RFC 1035 §2.3.4).
const LONGEST: usize = 255;

/// How many records of one response are looked at: who compares each with each must not be given thousands.
const MOST_RECORDS: usize = 128;

/// How many instances one packet asks for.
const MOST_ASKED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(message: &[u8], at: usize) -> Vec<&[u8]> {
        Name { message, at }.labels().collect()
    }

    #[test]
    fn names_end_whatever_their_pointers_say() {
        assert_eq!(labels(b"\x05local\0\x05alice\xc0\x00", 7), [&b"alice"[..], b"local"]);
        for circle in [
            &b"\xc0\x00"[..],
            b"\x01a\xc0\x00",
            b"\xc0\x02\xc0\x00",
            b"\x01a\x01b\xc0\x02",
        ] {
            for at in 0..circle.len() + 2 {
                assert!(labels(circle, at).len() <= 2, "{circle:x?}");
            }
        }
        // Of a name that is too long, what fits is read.
        let long = [&b"\x3f"[..], &[b'x'; 63]].concat().repeat(5);
        assert_eq!(labels(&long, 0).len(), 3);
        assert_eq!(labels(b"\x09short", 0), [&b""[..]; 0]);
    }

    #[test]
    fn an_instance_has_four_labels() {
        let instance = |message: &[u8]| Instance::of(Name { message, at: 0 }).map(|found| (found.name, found.service));
        assert_eq!(
            instance(b"\x0dAlice's music\x05_DAAP\x04_tcp\x05Local\0"),
            Some(("Alice's music".to_owned(), "_daap._tcp".to_owned()))
        );
        for other in [
            &b"\x05alice\x05local\0"[..],
            b"\x05_daap\x04_tcp\x05local\0",
            b"\x05_daap\x09_services\x07_dns-sd\x04_udp\x05local\0",
            b"\x01a\x05_daap\x05_sctp\x05local\0",
            b"\x01a\x05_daap\x04_tcp\x03com\0",
            b"\x01a\x04daap\x04_tcp\x05local\0",
            b"\x01a\x05_da p\x04_tcp\x05local\0",
        ] {
            assert_eq!(instance(other), None, "{other:?}");
        }
    }
}

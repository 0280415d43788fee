//! Answers to DNS questions.
//!
//! Only questions about names below [`DOMAIN`](super::DOMAIN), and about addresses of this node's own subnets, are answered. All
//! others are refused, and none is ever passed on: what asks here gets it from here or not at all.
//!
//! Questions come from whatever program runs on this machine, so they are read here, and strictly: one question, its name not
//! compressed, and behind it nothing but EDNS. Answers are made by `simple-dns`.

use simple_dns::{
    CLASS, Label, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
    rdata::{A, AAAA, OPT, PTR, RData, SOA},
};

use super::directory::{Directory, Found};

/// The answer to a DNS message (RFC 1035 §4.1), without the length that TCP puts before one. Nothing for what is no question:
/// to answer an answer could go on for ever.
pub fn answer(directory: &Directory, message: &[u8]) -> Option<Vec<u8>> {
    let head = Head::of(message)?;
    if head.flags & RESPONSE != 0 {
        return None;
    }
    if head.flags & OPCODE != 0 {
        return Some(head.refusal(NOT_IMPLEMENTED));
    }
    let Some(asked) = Asked::parse(&head, message) else {
        return Some(head.refusal(FORMAT_ERROR));
    };
    // A name that the encoder does not take is none of ours.
    reply(directory, &head, &asked).or_else(|| Some(head.refusal(SERVER_FAILURE)))
}

fn reply(directory: &Directory, head: &Head, asked: &Asked<'_>) -> Option<Vec<u8>> {
    let texts: Option<Vec<String>> = asked
        .labels
        .iter()
        .map(|label| Some(std::str::from_utf8(label).ok()?.to_ascii_lowercase()))
        .collect();
    let texts: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
    // Without letters of Unicode it can be no name here; then there are no texts.
    let found = match texts.is_empty() || asked.class != CLASS_IN {
        true => Found::Foreign,
        false => directory.look_up(&texts),
    };
    let labels: Vec<_> = asked.labels.iter().map(|label| Label::new_unchecked(*label)).collect();
    let name = Name::new_with_labels(&labels);
    let mut packet = Packet::new_reply(head.id);
    if head.flags & RECURSION_DESIRED != 0 {
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    let mut records: Vec<RData<'_>> = Vec::new();
    let wants = |kind: u16| asked.kind == kind || asked.kind == ANY;
    let pointer;
    match &found {
        Found::Foreign => *packet.rcode_mut() = RCODE::Refused,
        Found::Nothing => *packet.rcode_mut() = RCODE::NameError,
        Found::Empty => {}
        Found::Member(ipv4, ipv6) => {
            if let Some(ipv4) = ipv4.filter(|_| wants(TYPE_A)) {
                records.push(RData::A(A {
                    address: ipv4.to_bits(),
                }));
            }
            if let Some(ipv6) = ipv6.filter(|_| wants(TYPE_AAAA)) {
                records.push(RData::AAAA(AAAA {
                    address: ipv6.to_bits(),
                }));
            }
        }
        Found::Pointer(name) if wants(TYPE_PTR) => {
            pointer = name.clone();
            records.push(RData::PTR(PTR(Name::new(&pointer).ok()?)));
        }
        Found::Pointer(_) => {}
    }
    if found != Found::Foreign {
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        if records.is_empty() {
            // How long that there is nothing may be remembered (RFC 2308).
            let zone = zone(&texts);
            let soa = ResourceRecord::new(Name::new(zone).ok()?, CLASS::IN, TTL, start_of(zone)?);
            packet.name_servers.push(soa);
        }
    }
    for record in records {
        packet
            .answers
            .push(ResourceRecord::new(name.clone(), CLASS::IN, TTL, record));
    }
    let class = QCLASS::try_from(asked.class).ok()?;
    let kind = match QTYPE::try_from(asked.kind) {
        Ok(kind) => kind,
        Err(_) => QTYPE::TYPE(TYPE::Unknown(asked.kind)),
    };
    packet.questions.push(Question::new(name, kind, class, false));
    if asked.edns {
        *packet.opt_mut() = Some(OPT {
            opt_codes: Vec::new(),
            udp_packet_size: LONGEST_DATAGRAM,
            version: 0,
        });
    }
    packet.build_bytes_vec_compressed().ok()
}

/// The zone whose authority says that there is nothing: the domain, or the whole tree of reverse names, of which this node has parts
/// only.
fn zone(labels: &[&str]) -> &'static str {
    match labels {
        [.., "in-addr", "arpa"] => "in-addr.arpa",
        [.., "ip6", "arpa"] => "ip6.arpa",
        _ => super::DOMAIN,
    }
}

fn start_of(zone: &'static str) -> Option<RData<'static>> {
    Some(RData::SOA(SOA {
        mname: Name::new(zone).ok()?,
        rname: Name::new("nobody.invalid").ok()?,
        serial: 1,
        refresh: 3600,
        retry: 600,
        expire: 86_400,
        minimum: TTL,
    }))
}

/// A message's first 12 bytes, as far as they matter.
#[derive(Clone, Copy, Debug)]
struct Head {
    id: u16,
    flags: u16,
    counts: [u16; 4],
}

impl Head {
    fn of(message: &[u8]) -> Option<Self> {
        let words = |place: usize| {
            let bytes = message.get(2 * place..)?.first_chunk::<2>()?;
            Some(u16::from_be_bytes(*bytes))
        };
        Some(Self {
            id: words(0)?,
            flags: words(1)?,
            counts: [words(2)?, words(3)?, words(4)?, words(5)?],
        })
    }

    /// An answer without the question.
    fn refusal(&self, code: u16) -> Vec<u8> {
        let flags = RESPONSE | self.flags & (OPCODE | RECURSION_DESIRED) | code;
        [self.id, flags, 0, 0, 0, 0]
            .into_iter()
            .flat_map(u16::to_be_bytes)
            .collect()
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked<'a> {
    labels: Vec<&'a [u8]>,
    kind: u16,
    class: u16,
    /// Whether it came with EDNS (RFC 6891), so that the answer has to.
    edns: bool,
}

impl<'a> Asked<'a> {
    /// The question of a message, if it has one and nothing else that cannot be ignored.
    fn parse(head: &Head, message: &'a [u8]) -> Option<Self> {
        let [questions, answers, authorities, additional] = head.counts;
        if (questions, answers, authorities) != (1, 0, 0) || additional > 1 {
            return None;
        }
        let mut rest = message.get(HEAD..)?;
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at_checked(count)?;
            rest = left;
            Some(taken)
        };
        let (mut labels, mut length) = (Vec::new(), 1);
        loop {
            let count = usize::from(*take(1)?.first()?);
            length += 1 + count;
            match count {
                0 => break,
                1..=63 if length <= LONGEST_NAME => labels.push(take(count)?),
                // A pointer, of which a question has no need.
                _ => return None,
            }
        }
        let mut word = || Some(u16::from_be_bytes(*take(2)?.first_chunk()?));
        let (kind, class) = (word()?, word()?);
        let edns = additional == 1;
        if edns {
            // The root's name, type 41, size, flags, options.
            let [root] = *take(1)? else { return None };
            let mut word = || Some(u16::from_be_bytes(*take(2)?.first_chunk()?));
            let (option, _size, _flags, _more) = (word()?, word()?, word()?, word()?);
            let options = word()?;
            take(usize::from(options))?;
            if (root, option) != (0, TYPE_OPT) {
                return None;
            }
        }
        Some(Self {
            labels,
            kind,
            class,
            edns,
        })
    }
}

/// Seconds that an answer, or that there is none, may be remembered: addresses seldom change, and names come as members do.
const TTL: u32 = 5;

/// Bytes of a datagram that is taken: answers here have less than half of it.
pub(super) const LONGEST_DATAGRAM: u16 = 1232;

/// Bytes of a message's head.
const HEAD: usize = 12;

/// Bytes of the longest name (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 255;

const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 0b1111 << 11;
const RECURSION_DESIRED: u16 = 1 << 8;

const FORMAT_ERROR: u16 = 1;
const SERVER_FAILURE: u16 = 2;
const NOT_IMPLEMENTED: u16 = 4;

const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const ANY: u16 = 255;

#[cfg(test)]
mod tests;

//! Ping, twice: Debian's program as the outside judge, and an own one that times the first answer.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::command::{self, Finished};
use super::namespace::Namespace;

/// One answer that Debian's `ping` printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Who answered.
    pub from: String,
    /// Number of the request, counted from 1.
    pub sequence: u32,
    /// Round trip in milliseconds.
    pub rtt_ms: f64,
    /// When it was printed, in seconds since 1970; 0 without `-D`.
    pub at: f64,
}

/// What a run of Debian's `ping` found.
#[derive(Clone, Debug)]
pub struct PingReport {
    /// All answers, in the order they came.
    pub answers: Vec<Answer>,
    /// The program's end.
    pub finished: Finished,
}

impl PingReport {
    /// Runs `ping -n` with the given words (options and target) in a namespace.
    ///
    /// # Errors
    /// The program is missing or takes longer than `limit`. No answer is no error.
    pub fn run(namespace: &Namespace, words: &[&str], limit: Duration) -> Result<Self> {
        let mut command = namespace.command("ping");
        command.arg("-n").args(words);
        let finished = command::finish(command, limit, None)?;
        Ok(Self {
            answers: answers(&finished.stdout),
            finished,
        })
    }

    /// Pings a broadcast address `count` times and keeps all answers to each.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn broadcast(namespace: &Namespace, target: Ipv4Addr, count: u32, limit: Duration) -> Result<Self> {
        // `ping` ends with the first answer to its last request, so one more is asked for and left out.
        let (asked, target) = ((count + 1).to_string(), target.to_string());
        let words = ["-b", "-c", &asked, "-i", "0.1", &target];
        let mut report = Self::run(namespace, &words, limit)?;
        report.answers.retain(|answer| answer.sequence <= count);
        Ok(report)
    }

    /// How many answers came from an address, repeated ones counted too.
    pub fn answers_of(&self, address: Ipv4Addr) -> usize {
        let address = address.to_string();
        self.answers.iter().filter(|answer| answer.from == address).count()
    }

    /// How many different requests were answered.
    pub fn answered(&self) -> usize {
        let mut sequences: Vec<_> = self.answers.iter().map(|answer| answer.sequence).collect();
        sequences.sort_unstable();
        sequences.dedup();
        sequences.len()
    }

    /// Who answered, each once, sorted.
    pub fn responders(&self) -> Vec<&str> {
        let mut responders: Vec<_> = self.answers.iter().map(|answer| answer.from.as_str()).collect();
        responders.sort_unstable();
        responders.dedup();
        responders
    }

    /// The median round trip in milliseconds.
    pub fn median_rtt_ms(&self) -> Option<f64> {
        let mut times: Vec<_> = self.answers.iter().map(|answer| answer.rtt_ms).collect();
        times.sort_unstable_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }
}

/// Finds the answers in the output of Debian's `ping`.
pub fn answers(output: &str) -> Vec<Answer> {
    output.lines().filter_map(answer).collect()
}

/// Sends an echo request every `interval` until the first answer, and returns when that came.
///
/// The calling thread must be in the right namespace (see [`Namespace::inside`]). A target that cannot be reached
/// yet is no error: the next request may get through.
///
/// # Errors
/// The kernel refuses the socket, or no answer came until `deadline`.
pub fn first_answer(target: IpAddr, interval: Duration, deadline: Instant) -> Result<Instant> {
    let socket = echo_socket(target)?;
    let identifier = std::process::id().to_be_bytes();
    let identifier = [identifier[2], identifier[3]];
    let mut sequence = 0_u16;
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        if now >= deadline {
            anyhow::bail!("{target} did not answer any of {sequence} pings");
        }
        if now >= next {
            let request = echo_request(target, identifier, sequence);
            // An address or a route may still be missing.
            let _ = socket.send_to(&request, &SocketAddr::new(target, 0).into());
            sequence = sequence.wrapping_add(1);
            next += interval;
        }
        let wait = next.min(deadline).saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(wait.max(Duration::from_micros(100))))?;
        let mut packet = [0_u8; 1500];
        match (&socket).read(&mut packet) {
            Ok(length) => {
                if answer_sequence(target, packet.get(..length).unwrap_or_default(), identifier).is_some() {
                    return Ok(Instant::now());
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot receive echo replies"),
        }
    }
}

fn answer(line: &str) -> Option<Answer> {
    let at = line
        .strip_prefix('[')
        .and_then(|rest| rest.split(']').next()?.parse().ok())
        .unwrap_or(0.0);
    let (_, rest) = line.split_once("bytes from ")?;
    let (from, rest) = rest.split_once(": icmp_seq=")?;
    let sequence = rest.split_whitespace().next()?.parse().ok()?;
    let rtt_ms = rest.split_once("time=")?.1.split_whitespace().next()?.parse().ok()?;
    Some(Answer {
        from: from.to_owned(),
        sequence,
        rtt_ms,
        at,
    })
}

pub(super) fn echo_socket(target: IpAddr) -> Result<Socket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    Socket::new(domain, Type::RAW, Some(protocol)).context("cannot open an ICMP socket")
}

/// An ICMP echo request (RFC 792; RFC 4443, whose checksum the kernel computes).
pub(super) fn echo_request(target: IpAddr, identifier: [u8; 2], sequence: u16) -> [u8; 16] {
    let kind = if target.is_ipv4() { 8 } else { 128 };
    let mut request = [0_u8; 16];
    request[0] = kind;
    request[4..6].copy_from_slice(&identifier);
    request[6..8].copy_from_slice(&sequence.to_be_bytes());
    if target.is_ipv4() {
        let checksum = internet_checksum(&request);
        request[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    request
}

/// The sequence number of a packet from a raw ICMP socket if it is an echo reply to this identifier. An IPv4 socket
/// delivers the IP header too, an IPv6 one does not.
pub(super) fn answer_sequence(target: IpAddr, packet: &[u8], identifier: [u8; 2]) -> Option<u16> {
    let (message, reply) = if target.is_ipv4() {
        let header = packet.first().map_or(0, |byte| usize::from(byte & 15) * 4);
        let from_target = packet
            .get(12..16)
            .is_some_and(|from| IpAddr::from([from[0], from[1], from[2], from[3]]) == target);
        if !from_target {
            return None;
        }
        (packet.get(header..), 0)
    } else {
        (Some(packet), 129)
    };
    match message? {
        [kind, _, _, _, i0, i1, s0, s1, ..] if *kind == reply && [*i0, *i1] == identifier => {
            Some(u16::from_be_bytes([*s0, *s1]))
        }
        _ => None,
    }
}

/// The one's complement checksum of RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_debians_ping() {
        let output = "PING 10.1.2.3 (10.1.2.3) 56(84) bytes of data.\n\
                      [1700000000.250000] 64 bytes from 10.1.2.3: icmp_seq=1 ttl=64 time=1.25 ms\n\
                      64 bytes from fe80::1%fl0: icmp_seq=2 ttl=64 time=0.5 ms (DUP!)\n\
                      no answer yet for icmp_seq=3\n";
        let found = answers(output);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Answer {
                from: "10.1.2.3".to_owned(),
                sequence: 1,
                rtt_ms: 1.25,
                at: 1_700_000_000.25
            }
        );
        assert_eq!((found[1].from.as_str(), found[1].sequence), ("fe80::1%fl0", 2));
    }

    #[test]
    fn a_request_checks_to_zero() {
        let request = echo_request(IpAddr::from([127, 0, 0, 1]), [1, 2], 3);
        assert_eq!(internet_checksum(&request), 0);
    }
}

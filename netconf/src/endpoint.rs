//! Where a supernode can be reached, as its operator writes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::codec::{CodecError, Reader};

/// A host and a UDP or TCP port: `HOST:PORT` or `[IPv6]:PORT`, where the host is an IP address or a DNS name; a TCP port is
/// written with `tcp/` in front.
///
/// The host is kept in canonical form: names in lower case, IPv6 addresses as in RFC 5952.
/// Bytes: `protocol 1 | length of the host 1 | host, 1 to 253 bytes of ASCII, IPv6 without brackets | port 2`, the protocol
/// being the number that IP gives it: 17 for UDP, 6 for TCP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    tcp: bool,
    host: String,
    port: u16,
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// The port is missing.
    #[error("an endpoint is written HOST:PORT, and the port is missing")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} is not a port from 1 to 65535")]
    Port(String),
    /// The host is no IP address and no DNS name.
    #[error("{0:?} is neither an IP address nor a DNS name")]
    Host(String),
    /// An IPv6 address stands without brackets, so that its end cannot be told from the port.
    #[error("an IPv6 address is written in brackets: [2001:db8::1]:9600")]
    Brackets,
    /// The address is unspecified, multicast or broadcast.
    #[error("nobody can be reached at the address {0}")]
    Unreachable(IpAddr),
    /// The encoded endpoint is cut.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The host is not written in its canonical form.
    #[error("the host {0:?} is not in its canonical form")]
    Form(String),
    /// The encoded endpoint is for neither UDP nor TCP.
    #[error("an endpoint is for UDP or TCP, and this one for protocol {0}")]
    Protocol(u8),
}

/// What stands before the text of a TCP endpoint.
const TCP_PREFIX: &str = "tcp/";

/// The protocols' numbers in IP headers.
const UDP: u8 = 17;
const TCP: u8 = 6;

impl Endpoint {
    /// Most bytes of a host: the longest DNS name (RFC 1035 §2.3.4, as text).
    pub const MAX_HOST: usize = 253;

    /// The endpoint at `host`, an IP address without brackets or a DNS name, and UDP `port`.
    ///
    /// # Errors
    /// A port of 0, a host that is neither an address nor a name, or an address at which nobody can be.
    pub fn new(host: &str, port: u16) -> Result<Self, EndpointError> {
        if port == 0 {
            return Err(EndpointError::Port(port.to_string()));
        }
        let host = match host.parse::<IpAddr>() {
            Ok(address) if is_reachable(address) => address.to_string(),
            Ok(address) => return Err(EndpointError::Unreachable(address)),
            Err(_) if is_dns_name(host) => host.to_ascii_lowercase(),
            Err(_) => return Err(EndpointError::Host(host.to_owned())),
        };
        Ok(Self { tcp: false, host, port })
    }

    /// The endpoint at the TCP port of the same number on the same host.
    #[must_use]
    pub fn over_tcp(self) -> Self {
        Self { tcp: true, ..self }
    }

    /// Whether its port is one of TCP, not of UDP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.tcp
    }

    /// The IP address, without brackets, or the DNS name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket address, or `None` if the host is a name that has to be resolved first.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let ip = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// Appends the bytes drawn at the type.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.tcp { TCP } else { UDP });
        // A host has at most 253 bytes.
        out.push(self.host.len() as u8);
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(&self.port.to_be_bytes());
    }

    /// Reads what [`encode`](Self::encode) writes.
    ///
    /// # Errors
    /// Anything that `encode` would not have written.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, EndpointError> {
        let tcp = match reader.u8()? {
            UDP => false,
            TCP => true,
            other => return Err(EndpointError::Protocol(other)),
        };
        let host = String::from_utf8_lossy(reader.short_bytes()?);
        let endpoint = Self {
            tcp,
            ..Self::new(&host, reader.u16()?)?
        };
        if endpoint.host != host {
            return Err(EndpointError::Form(host.into_owned()));
        }
        Ok(endpoint)
    }
}

impl TryFrom<SocketAddr> for Endpoint {
    type Error = EndpointError;

    /// The UDP endpoint at this address; a scope id is dropped, since it means nothing on another machine.
    fn try_from(address: SocketAddr) -> Result<Self, EndpointError> {
        Self::new(&address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.tcp { TCP_PREFIX } else { "" };
        if self.host.contains(':') {
            write!(f, "{protocol}[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{protocol}{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(rest) = text.strip_prefix(TCP_PREFIX) {
            return host_and_port(rest).map(Self::over_tcp);
        }
        host_and_port(text)
    }
}

/// The UDP endpoint of a text.
fn host_and_port(text: &str) -> Result<Endpoint, EndpointError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(EndpointError::Brackets);
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| EndpointError::Host(text.to_owned()))?;
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(EndpointError::Host(host.to_owned()));
            }
            (host, rest.strip_prefix(':').ok_or(EndpointError::NoPort)?)
        }
        None => {
            let (host, port) = text.rsplit_once(':').ok_or(EndpointError::NoPort)?;
            if host.parse::<Ipv6Addr>().is_ok() {
                return Err(EndpointError::Brackets);
            }
            (host, port)
        }
    };
    // `u16::from_str` takes a plus sign, which is not part of the syntax.
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let number = port.parse().ok().filter(|_| digits);
    Endpoint::new(host, number.ok_or_else(|| EndpointError::Port(port.to_owned()))?)
}

/// Whether a host can have the address.
fn is_reachable(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

/// Whether `text` is a host name (RFC 1123 §2.1): labels of 1 to 63 letters, digits and inner hyphens. A last label of
/// digits only is refused, since no top-level domain has one and a mistyped IPv4 address does.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    text.len() <= Endpoint::MAX_HOST && text.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_texts_are_brought_to_one_form() {
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{}:1", &label[..61]);
        for (text, canonical) in [
            ("203.0.113.5:9600", "203.0.113.5:9600"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[2001:DB8:0:0::5]:65535", "[2001:db8::5]:65535"),
            ("[::1]:09600", "[::1]:9600"),
            ("Super.Example.org:9600", "super.example.org:9600"),
            ("localhost:9600", "localhost:9600"),
            ("xn--mnchen-3ya.de:9600", "xn--mnchen-3ya.de:9600"),
            ("1and1.com:80", "1and1.com:80"),
            ("tcp/203.0.113.5:443", "tcp/203.0.113.5:443"),
            ("tcp/[2001:DB8::5]:443", "tcp/[2001:db8::5]:443"),
            ("tcp/Super.Example.org:443", "tcp/super.example.org:443"),
            (&long, &long),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn bad_texts_are_told_apart() {
        let host = |h: &str| EndpointError::Host(h.to_owned());
        let port = |p: &str| EndpointError::Port(p.to_owned());
        let label = "a".repeat(64);
        let deep = "a.".repeat(127);
        let cases = [
            ("example.org".to_owned(), EndpointError::NoPort),
            (String::new(), EndpointError::NoPort),
            ("[::1]".to_owned(), EndpointError::NoPort),
            ("[::1]9600".to_owned(), EndpointError::NoPort),
            ("example.org:".to_owned(), port("")),
            ("example.org:0".to_owned(), port("0")),
            ("example.org:65536".to_owned(), port("65536")),
            ("example.org:+1".to_owned(), port("+1")),
            ("example.org:96 00".to_owned(), port("96 00")),
            (":9600".to_owned(), host("")),
            ("a b:9600".to_owned(), host("a b")),
            (" a:9600".to_owned(), host(" a")),
            ("-a.org:9600".to_owned(), host("-a.org")),
            ("a-.org:9600".to_owned(), host("a-.org")),
            ("a..org:9600".to_owned(), host("a..org")),
            ("a.org.:9600".to_owned(), host("a.org.")),
            ("münchen.de:9600".to_owned(), host("münchen.de")),
            ("203.0.113:9600".to_owned(), host("203.0.113")),
            ("203.0.113.256:9600".to_owned(), host("203.0.113.256")),
            ("203.0.113.05:9600".to_owned(), host("203.0.113.05")),
            ("[203.0.113.5]:9600".to_owned(), host("203.0.113.5")),
            ("[fe80::1%eth0]:9600".to_owned(), host("fe80::1%eth0")),
            ("[::1:9600".to_owned(), host("[::1:9600")),
            (format!("{label}:9600"), host(&label)),
            (format!("{deep}a:9600"), host(&format!("{deep}a"))),
            ("2001:db8::1".to_owned(), EndpointError::Brackets),
            ("2001:db8:0:0:0:0:0:1:9600".to_owned(), EndpointError::Brackets),
            (
                "0.0.0.0:9600".to_owned(),
                EndpointError::Unreachable(Ipv4Addr::UNSPECIFIED.into()),
            ),
            (
                "255.255.255.255:1".to_owned(),
                EndpointError::Unreachable(Ipv4Addr::BROADCAST.into()),
            ),
            (
                "224.0.0.1:1".to_owned(),
                EndpointError::Unreachable(Ipv4Addr::new(224, 0, 0, 1).into()),
            ),
            (
                "[::]:1".to_owned(),
                EndpointError::Unreachable(Ipv6Addr::UNSPECIFIED.into()),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_known_without_resolving() {
        let address: SocketAddr = "[2001:db8::5]:9600".parse().unwrap();
        let endpoint = Endpoint::try_from(address).unwrap();
        assert_eq!(endpoint.address(), Some(address));
        assert_eq!((endpoint.host(), endpoint.port()), ("2001:db8::5", 9600));
        assert_eq!("a.org:1".parse::<Endpoint>().unwrap().address(), None);
        assert!(Endpoint::try_from(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 9600)).is_err());
    }

    #[test]
    fn other_encodings_are_refused() {
        let decode = |host: &[u8], port: u16| {
            let mut bytes = vec![UDP, host.len() as u8];
            bytes.extend_from_slice(host);
            bytes.extend_from_slice(&port.to_be_bytes());
            Endpoint::decode(&mut Reader::new(&bytes))
        };
        assert!(decode(b"a.org", 1).is_ok());
        assert_eq!(decode(b"A.org", 1), Err(EndpointError::Form("A.org".to_owned())));
        assert_eq!(decode(b"::0:1", 1), Err(EndpointError::Form("::0:1".to_owned())));
        assert_eq!(decode(b"a.org", 0), Err(EndpointError::Port("0".to_owned())));
        assert_eq!(decode(b"[::1]", 1), Err(EndpointError::Host("[::1]".to_owned())));
        assert!(matches!(decode(b"\xff", 1), Err(EndpointError::Host(_))));
        assert!(matches!(decode(b"", 1), Err(EndpointError::Host(_))));
        let sctp = [132, 5, b'a', b'.', b'o', b'r', b'g', 0, 1];
        let refused = Endpoint::decode(&mut Reader::new(&sctp));
        assert_eq!(refused, Err(EndpointError::Protocol(132)));
    }

    proptest! {
        #[test]
        fn bytes_and_text_round_trip(host in "[a-z0-9]{1,9}(\\.[a-z][a-z0-9]{0,9}){1,3}", port in 1u16.., v6: u128, v4: u32) {
            let hosts = [host, Ipv6Addr::from_bits(v6).to_string(), Ipv4Addr::from_bits(v4).to_string()];
            let udp = hosts.iter().filter_map(|h| Endpoint::new(h, port).ok());
            for endpoint in udp.flat_map(|endpoint| [endpoint.clone(), endpoint.over_tcp()]) {
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint.clone()));
                let mut bytes = Vec::new();
                endpoint.encode(&mut bytes);
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(Endpoint::decode(&mut reader), Ok(endpoint));
                prop_assert_eq!(reader.finish(), Ok(()));
                for length in 0..bytes.len() {
                    prop_assert!(Endpoint::decode(&mut Reader::new(&bytes[..length])).is_err());
                }
            }
            prop_assert!(Endpoint::new(&hosts[0], port).is_ok());
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }
    }
}

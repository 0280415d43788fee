//! The discovery of UPnP: heads of HTTP in datagrams, sent to 239.255.255.250:1900 or, as answers to a search, to the
//! searcher.
//!
//! ```text
//! NOTIFY * HTTP/1.1              HTTP/1.1 200 OK
//! NTS: ssdp:alive                LOCATION: http://10.77.0.1:8200/rootDesc.xml
//! NT: urn:…:device:MediaServer:1 ST: urn:…:device:MediaServer:1
//! LOCATION: …                    SERVER: Debian DLNADOC/1.50 UPnP/1.0 MiniDLNA/1.3.0
//! ```
//!
//! A device speaks once for each of its names and services; what is listed is the one that names its type. What its owner
//! calls it stands in the document at LOCATION, which is not fetched here; so its name is that of its program.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use super::{ASKED_LIFE, Answers, Departure, Heard, Kind, Sighting, Told, name, word};

/// The port of SSDP.
pub(super) const PORT: u16 = 1900;

/// The group of SSDP.
pub(crate) const GROUP: SocketAddrV4 = SocketAddrV4::new(crate::list::SSDP_GROUP, PORT);

/// What an answer begins with.
pub(super) const ANSWER: &[u8] = b"HTTP/1.1 200";

/// A search for everything, to be answered within a second.
pub(crate) const SEARCH: &[u8] =
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
    ST: ssdp:all\r\n\r\n";

pub(super) fn decode(heard: &Heard<'_>) -> Option<Told> {
    let head = Head(heard.payload);
    let is_answer = heard.payload.starts_with(ANSWER);
    if !is_answer && !heard.payload.starts_with(b"NOTIFY ") {
        return None;
    }
    let kind = Kind::Device(device(head.get(if is_answer { b"ST" } else { b"NT" })?)?);
    let address = heard.source.ip();
    let is_leave = head
        .get(b"NTS")
        .is_some_and(|word| word.eq_ignore_ascii_case(b"ssdp:byebye"));
    if !is_answer && is_leave {
        return Some(Told::Gone(Departure {
            kind,
            address,
            name: None,
        }));
    }
    let port = place(head.get(b"LOCATION")?, address)?;
    let program = program(head.get(b"SERVER").unwrap_or_default());
    let mut parts = program.splitn(2, |byte| *byte == b'/');
    Some(Told::Seen(Sighting {
        kind,
        name: name(parts.next().unwrap_or_default()),
        host: None,
        address,
        port,
        players: None,
        map: None,
        mode: None,
        version: parts.next().and_then(word),
        lifetime: ASKED_LIFE,
        // An answer is held back for up to as long as the search allows.
        answers: Answers::Nothing,
    }))
}

/// A head of HTTP.
struct Head<'a>(&'a [u8]);

impl<'a> Head<'a> {
    /// The first field of that name.
    fn get(&self, field: &[u8]) -> Option<&'a [u8]> {
        self.0.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (found, value) = (&line[..colon], &line[colon + 1..]);
            found
                .trim_ascii()
                .eq_ignore_ascii_case(field)
                .then(|| value.trim_ascii())
        })
    }
}

/// `TYPE` of `urn:DOMAIN:device:TYPE:VERSION`.
fn device(target: &[u8]) -> Option<String> {
    let mut parts = target.split(|byte| *byte == b':');
    let [scheme, _domain, device, kind] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    (scheme.eq_ignore_ascii_case(b"urn") && device.eq_ignore_ascii_case(b"device")).then(|| word(kind))?
}

/// The port in the address of a document, if that lies where its packet came from.
fn place(location: &[u8], source: IpAddr) -> Option<u16> {
    let text = std::str::from_utf8(location).ok()?;
    let authority = text.strip_prefix("http://")?.split('/').next()?;
    let place = match source {
        IpAddr::V4(_) => authority.parse::<Ipv4Addr>().map(|ip| SocketAddr::new(ip.into(), 80)),
        IpAddr::V6(_) => authority.parse::<SocketAddr>(),
    };
    let place = place.or_else(|_| authority.parse()).ok()?;
    (place.ip() == source && place.port() != 0).then(|| place.port())
}

/// The last word of SERVER, which names the program; before it stand the system and the version of UPnP.
fn program(server: &[u8]) -> &[u8] {
    server
        .split(|byte| *byte == b' ')
        .rfind(|word| !word.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_where_its_packet_came_from() {
        let own = IpAddr::from([10, 77, 0, 1]);
        for (location, port) in [
            ("http://10.77.0.1:8200/rootDesc.xml", Some(8200)),
            ("http://10.77.0.1/", Some(80)),
            ("http://10.77.0.1:8200", Some(8200)),
            ("http://10.77.0.2:8200/", None),
            ("http://10.77.0.1:0/", None),
            ("http://user@10.77.0.1:80/", None),
            ("http://alice.local/", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(place(location.as_bytes(), own), port, "{location}");
        }
        let ipv6: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(place(b"http://[fd00::1]:8200/x", ipv6), Some(8200));
    }

    #[test]
    fn devices_are_told_by_their_types() {
        assert_eq!(
            device(b"urn:schemas-upnp-org:device:MediaServer:1").as_deref(),
            Some("MediaServer")
        );
        for other in [
            "upnp:rootdevice",
            "uuid:1",
            "urn:x:service:ContentDirectory:1",
            "urn:x:device",
            "urn:x:device:",
        ] {
            assert_eq!(device(other.as_bytes()), None, "{other}");
        }
        assert_eq!(
            program(b"Debian DLNADOC/1.50 UPnP/1.0 MiniDLNA/1.3.0"),
            b"MiniDLNA/1.3.0"
        );
        assert_eq!(program(b""), b"");
    }
}

//! The lab's router that opens ports on request, without farlan: by each protocol, spoken by hand.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::topology::{Home, PublicHost};
use farlan_tests::ns::upnp::{PCP_PORT, Protocols, SSDP_PORT, Upnp};
use farlan_tests::ns::{Lab, Nat, Wire, limit};

const LIMIT: Duration = Duration::from_secs(120);

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a packet may be under way before it counts as dropped.
const SILENCE: Duration = Duration::from_millis(500);

/// The port of the home's host, and the one that is asked for outside.
const INSIDE_PORT: u16 = 9600;
const ASKED_PORT: u16 = 9700;

/// Lifetime of the mappings, in seconds.
const LIFETIME: u32 = 600;

/// What a protocol is asked for: a UDP port outside for one of the home's host. Returns the address and port outside, or
/// deletes the mapping if `lifetime` is 0.
type Ask = fn(home: &Home, lifetime: u32) -> Result<SocketAddr>;

fn home_and_host(lab: &mut Lab, nat: Nat) -> Result<(Home, PublicHost, Upnp)> {
    let host = lab.public_host("s", Wire::PLAIN)?;
    let mut home = lab.home("a", nat, Wire::PLAIN)?;
    let upnp = Upnp::start(lab, &mut home, Protocols::ALL)?;
    Ok((home, host, upnp))
}

fn bind(home: &Home, port: u16) -> Result<UdpSocket> {
    let socket = home.host.inside(|| UdpSocket::bind((home.inside, port)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn router(home: &Home) -> Ipv4Addr {
    let [a, b, c, _] = home.inside.octets();
    Ipv4Addr::new(a, b, c, 1)
}

fn request(home: &Home, request: &[u8]) -> Result<Vec<u8>> {
    let socket = bind(home, 0)?;
    let mut answer = vec![0; 1100];
    socket.send_to(request, (router(home), PCP_PORT))?;
    let length = socket.recv(&mut answer).context("no answer")?;
    answer.truncate(length);
    Ok(answer)
}

fn number(answer: &[u8], at: usize) -> Result<u16> {
    let bytes = answer.get(at..at + 2).context("a short answer")?;
    Ok(u16::from_be_bytes(bytes.try_into()?))
}

/// NAT-PMP (RFC 6886 §3.2, §3.3).
fn nat_pmp(home: &Home, lifetime: u32) -> Result<SocketAddr> {
    let answer = request(home, &[0, 0])?;
    ensure!(answer.len() == 12 && answer[..4] == [0, 128, 0, 0], "{answer:?}");
    let address: [u8; 4] = answer[8..12].try_into()?;
    let asked = if lifetime == 0 { 0 } else { ASKED_PORT };
    let mut map = vec![0, 1, 0, 0];
    map.extend(INSIDE_PORT.to_be_bytes());
    map.extend(asked.to_be_bytes());
    map.extend(lifetime.to_be_bytes());
    let answer = request(home, &map)?;
    ensure!(answer.len() == 16 && answer[..4] == [0, 129, 0, 0], "{answer:?}");
    ensure!(number(&answer, 8)? == INSIDE_PORT, "{answer:?}");
    Ok((address, number(&answer, 10)?).into())
}

/// PCP (RFC 6887 §7, §11.1).
fn pcp(home: &Home, lifetime: u32) -> Result<SocketAddr> {
    let mut map = vec![2, 1, 0, 0];
    map.extend(lifetime.to_be_bytes());
    map.extend(home.inside.to_ipv6_mapped().octets());
    // A nonce, UDP, and no address in mind.
    map.extend([7; 12]);
    map.extend([17, 0, 0, 0]);
    map.extend(INSIDE_PORT.to_be_bytes());
    map.extend(ASKED_PORT.to_be_bytes());
    map.extend(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
    let answer = request(home, &map)?;
    ensure!(answer.len() >= 60 && answer[..4] == [2, 129, 0, 0], "{answer:?}");
    let address: [u8; 4] = answer[56..60].try_into()?;
    Ok((address, number(&answer, 42)?).into())
}

/// UPnP-IGD: found by SSDP, asked by SOAP.
fn upnp_igd(home: &Home, lifetime: u32) -> Result<SocketAddr> {
    let socket = bind(home, 0)?;
    let search = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
                  ST: urn:schemas-upnp-org:service:WANIPConnection:1\r\n\r\n";
    socket.send_to(search.as_bytes(), ("239.255.255.250", SSDP_PORT))?;
    let mut answer = vec![0; 2000];
    let length = socket.recv(&mut answer).context("nobody answers the search")?;
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    let location = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    let location = location.with_context(|| format!("no location in {answer}"))?;
    let (place, path) = location
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .with_context(|| format!("an odd location {location}"))?;
    let place: SocketAddr = place.parse()?;
    let description = http(
        home,
        place,
        &format!("GET /{path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n"),
    )?;
    let (_, service) = description
        .split_once("urn:schemas-upnp-org:service:WANIPConnection:")
        .context("the router has no WAN connection")?;
    let version = service.split('<').next().context("no version")?;
    let service_type = format!("urn:schemas-upnp-org:service:WANIPConnection:{version}");
    let control = between(service, "<controlURL>", "</controlURL>")?;
    let call = |action: &str, arguments: &str| {
        let body = format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{action} xmlns:u=\"{service_type}\">{arguments}</u:{action}></s:Body></s:Envelope>"
        );
        let length = body.len();
        let request = format!(
            "POST {control} HTTP/1.1\r\nHost: {place}\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
             SOAPAction: \"{service_type}#{action}\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        http(home, place, &request)
    };
    let mapping = format!(
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>{ASKED_PORT}</NewExternalPort><NewProtocol>UDP</NewProtocol>"
    );
    if lifetime == 0 {
        call("DeletePortMapping", &mapping)?;
    } else {
        let inside = home.inside;
        let rest = format!(
            "<NewInternalPort>{INSIDE_PORT}</NewInternalPort><NewInternalClient>{inside}</NewInternalClient>\
             <NewEnabled>1</NewEnabled><NewPortMappingDescription>test</NewPortMappingDescription>\
             <NewLeaseDuration>{lifetime}</NewLeaseDuration>"
        );
        call("AddPortMapping", &(mapping + &rest))?;
    }
    let address = call("GetExternalIPAddress", "")?;
    let address: Ipv4Addr = between(&address, "<NewExternalIPAddress>", "</NewExternalIPAddress>")?.parse()?;
    Ok((address, ASKED_PORT).into())
}

fn between<'a>(text: &'a str, left: &str, right: &str) -> Result<&'a str> {
    let found = text.split_once(left).and_then(|(_, rest)| rest.split_once(right));
    Ok(found.with_context(|| format!("no {left} in {text}"))?.0)
}

fn http(home: &Home, place: SocketAddr, request: &str) -> Result<String> {
    home.host.inside(|| {
        let mut stream = TcpStream::connect_timeout(&place, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(answer)
    })?
}

/// Whether a packet that nobody has asked for arrives at the home's host.
fn gets_in(own: &UdpSocket, stranger: &UdpSocket, to: SocketAddr) -> Result<bool> {
    own.set_read_timeout(Some(SILENCE))?;
    stranger.send_to(b"unasked", to)?;
    Ok(own.recv_from(&mut [0; 16]).is_ok())
}

/// Behind a router that nobody gets through otherwise.
fn a_port_is_opened_and_closed(ask: Ask) {
    limit::test(LIMIT, |lab| {
        let (home, host, mut upnp) = home_and_host(lab, Nat::Symmetric)?;
        let own = bind(&home, INSIDE_PORT)?;
        // Each packet comes from another port, so that what the router remembers of the last one does not matter.
        let knocks = |to: SocketAddr| -> Result<bool> {
            let stranger = host.namespace.inside(|| UdpSocket::bind((host.address, 0)))??;
            gets_in(&own, &stranger, to)
        };
        let place = SocketAddr::from((home.outside, ASKED_PORT));
        ensure!(!knocks(place)?, "the port is open before anybody asks");
        let mapped = ask(&home, LIFETIME)?;
        ensure!(mapped == place, "the router says {mapped}\n{}", upnp.log());
        ensure!(upnp.mappings()?.len() == 1, "{:?}", upnp.mappings());
        wait_for("an open port", PATIENCE, || Ok(knocks(place)?.then_some(())))?;
        ask(&home, 0)?;
        ensure!(!knocks(place)?, "the port is still open\n{}", upnp.log());
        ensure!(upnp.mappings()?.is_empty(), "{:?}", upnp.mappings());

        // A reboot closes what was open.
        ask(&home, LIFETIME)?;
        ensure!(knocks(place)?, "the port is not open again");
        home.reboot_router()?;
        upnp.restart()?;
        ensure!(!knocks(place)?, "a rebooted router still has the port open");
        Ok(())
    });
}

#[test]
fn nat_pmp_opens_and_closes_a_port() {
    a_port_is_opened_and_closed(nat_pmp);
}

#[test]
fn pcp_opens_and_closes_a_port() {
    a_port_is_opened_and_closed(pcp);
}

#[test]
fn upnp_opens_and_closes_a_port() {
    a_port_is_opened_and_closed(upnp_igd);
}

/// Whatever else the router would let in.
#[test]
fn every_kind_of_router_can_open_ports() {
    limit::test(LIMIT, |lab| {
        let host = lab.public_host("s", Wire::PLAIN)?;
        for nat in Nat::ALL {
            if matches!(nat, Nat::Absent | Nat::UdpBlocked) {
                continue;
            }
            let mut home = lab.home(nat.name(), nat, Wire::PLAIN)?;
            let upnp = Upnp::start(lab, &mut home, Protocols::ALL)?;
            let own = bind(&home, INSIDE_PORT)?;
            let mapped = pcp(&home, LIFETIME).with_context(|| format!("{}\n{}", nat.name(), upnp.log()))?;
            let stranger = host.namespace.inside(|| UdpSocket::bind((host.address, 0)))??;
            stranger.set_read_timeout(Some(PATIENCE))?;
            ensure!(
                gets_in(&own, &stranger, mapped)?,
                "{}: not through the opened port",
                nat.name()
            );
            own.send_to(b"answer", stranger.local_addr()?)?;
            let from = stranger.recv_from(&mut [0; 16])?.1;
            ensure!(from == mapped, "{}: the answer comes from {from}", nat.name());
        }
        Ok(())
    });
}

#[test]
fn only_the_protocols_asked_for_are_spoken() {
    limit::test(LIMIT, |lab| {
        for (name, protocols) in [
            ("a", Protocols { upnp: true, pcp: false }),
            ("b", Protocols { upnp: false, pcp: true }),
        ] {
            let mut home = lab.home(name, Nat::Port, Wire::PLAIN)?;
            let _upnp = Upnp::start(lab, &mut home, protocols)?;
            ensure!(pcp(&home, LIFETIME).is_ok() == protocols.pcp, "PCP at {name}");
            ensure!(nat_pmp(&home, 0).is_ok() == protocols.pcp, "NAT-PMP at {name}");
            ensure!(upnp_igd(&home, LIFETIME).is_ok() == protocols.upnp, "UPnP at {name}");
        }
        Ok(())
    });
}

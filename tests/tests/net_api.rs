//! The daemon's API: who may use it, which requests it answers, and that nobody reaches it over the network.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use data_encoding::BASE64URL_NOPAD;
use farlan_crypto::{Work, sha512};
use farlan_netconf::Link;
use farlan_netconf::private::{Config, ExportedKey};
use farlan_tests::ns::command::{self, Finished, wait_for};
use farlan_tests::ns::pair::Pair;
use farlan_tests::ns::sys::{Offloads, PacketSocket};
use farlan_tests::ns::trio::{JOIN_LIMIT, Member};
use farlan_tests::ns::{Lab, Namespace, Nat, Node, Wire, limit, privileges};

const LIMIT: Duration = Duration::from_secs(120);

/// Where the API is served over TCP.
const API: &str = "127.0.0.1:9601";
const PORT: u16 = 9601;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

const OVER_TCP: &str = "[api]\ntcp = \"127.0.0.1:9601\"\n";

/// The file with the token of a daemon's API.
fn token_file(node: &Node) -> PathBuf {
    node.socket().with_extension("token")
}

fn token(node: &Node) -> Result<String> {
    let path = token_file(node);
    let text = fs::read_to_string(&path).with_context(|| format!("no token at {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// What is answered to `request`: status and everything.
fn ask(namespace: &Namespace, request: &str) -> Result<(u16, String)> {
    namespace.inside(|| {
        let mut stream = TcpStream::connect(API)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        // A refusal can come before all was read, and a reset after it.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.unwrap_or(0), answer))
    })?
}

/// A hostile request: what it stands for, its lines, and the status and words of its refusal.
struct Hostile {
    what: &'static str,
    lines: &'static str,
    status: u16,
    reason: &'static str,
}

/// In the lines, `{A}` stands for the right Authorization, `{T}` for the token, `{J}` for the right Content-Type; each
/// request is right but for one thing.
const HOSTILE: &[Hostile] = &[
    Hostile {
        what: "a rebound name",
        lines: "GET /v1/status HTTP/1.1\r\nHost: evil.example:9601\r\n{A}\r\n",
        status: 403,
        reason: "header Host",
    },
    Hostile {
        what: "a host without its port",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n{A}\r\n",
        status: 403,
        reason: "header Host",
    },
    Hostile {
        what: "another loopback address as the host",
        lines: "GET /v1/status HTTP/1.1\r\nHost: [::1]:9601\r\n{A}\r\n",
        status: 403,
        reason: "header Host",
    },
    Hostile {
        what: "two hosts",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nHost: evil.example\r\n{A}\r\n",
        status: 403,
        reason: "header Host",
    },
    Hostile {
        what: "no host",
        lines: "GET /v1/status HTTP/1.0\r\n{A}\r\n",
        status: 403,
        reason: "header Host",
    },
    Hostile {
        what: "a foreign origin",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nOrigin: https://evil.example\r\n{A}\r\n",
        status: 403,
        reason: "pages in a browser",
    },
    Hostile {
        what: "the origin of a sandboxed page",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nOrigin: null\r\n{A}\r\n",
        status: 403,
        reason: "pages in a browser",
    },
    Hostile {
        what: "this server's own origin",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nOrigin: http://127.0.0.1:9601\r\n{A}\r\n",
        status: 403,
        reason: "pages in a browser",
    },
    Hostile {
        what: "a link on a page",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nReferer: https://evil.example/\r\n{A}\r\n",
        status: 403,
        reason: "pages in a browser",
    },
    Hostile {
        what: "an image on a page that hides where it is from",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nSec-Fetch-Site: cross-site\r\n{A}\r\n",
        status: 403,
        reason: "pages in a browser",
    },
    Hostile {
        what: "a simple POST of plain text",
        lines: "POST /v1/join HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n{A}\r\n\
                {\"target\":\"earth\"}",
        status: 415,
        reason: "application/json",
    },
    Hostile {
        what: "a form",
        lines: "POST /v1/join HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 12\r\n{A}\r\ntarget=earth",
        status: 415,
        reason: "application/json",
    },
    Hostile {
        what: "a form in parts",
        lines: "POST /v1/join HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nContent-Type: multipart/form-data; boundary=x\r\n\
                Content-Length: 5\r\n{A}\r\n--x--",
        status: 415,
        reason: "application/json",
    },
    Hostile {
        what: "the end without a body",
        lines: "POST /v1/down HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nContent-Length: 0\r\n{A}\r\n",
        status: 415,
        reason: "application/json",
    },
    Hostile {
        what: "a WebSocket",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{A}\r\n",
        status: 400,
        reason: "no other protocol",
    },
    Hostile {
        what: "a script with a callback",
        lines: "GET /v1/status?callback=steal HTTP/1.1\r\nHost: 127.0.0.1:9601\r\n{A}\r\n",
        status: 400,
        reason: "query",
    },
    Hostile {
        what: "the token in the address",
        lines: "GET /v1/status?token={T} HTTP/1.1\r\nHost: 127.0.0.1:9601\r\n\r\n",
        status: 400,
        reason: "query",
    },
    Hostile {
        what: "no token",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\n\r\n",
        status: 401,
        reason: "token",
    },
    Hostile {
        what: "a wrong token",
        lines: "POST /v1/join HTTP/1.1\r\nHost: 127.0.0.1:9601\r\n{J}\
                Authorization: Bearer 0000000000000000000000000000000000000000000000000000000000000000\r\n\
                Content-Length: 18\r\n\r\n{\"target\":\"earth\"}",
        status: 401,
        reason: "token",
    },
    Hostile {
        what: "the question before a request of another page",
        lines: "OPTIONS /v1/join HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nAccess-Control-Request-Method: POST\r\n{A}\r\n",
        status: 405,
        reason: "only GET and POST",
    },
    Hostile {
        what: "a body that is too long",
        lines: "POST /v1/join HTTP/1.1\r\nHost: 127.0.0.1:9601\r\n{J}Content-Length: 100000000\r\n{A}\r\n{",
        status: 413,
        reason: "too long",
    },
    Hostile {
        what: "a request for another server, as to a proxy",
        lines: "GET http://evil.example/v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\n{A}\r\n",
        status: 400,
        reason: "as for a proxy",
    },
    Hostile {
        what: "a request that came through a proxy",
        lines: "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\nX-Forwarded-For: 192.0.2.1\r\n{A}\r\n",
        status: 403,
        reason: "through a proxy",
    },
];

fn filled(lines: &str, token: &str) -> String {
    lines
        .replace("{A}", "Authorization: Bearer {T}\r\nConnection: close\r\n")
        .replace("{J}", "Content-Type: application/json\r\n")
        .replace("{T}", token)
}

#[test]
fn hostile_requests_are_refused_each_for_its_reason() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::with_configurations(lab, [Nat::Port; 2], [OVER_TCP, ""])?;
        let (node, host) = (&pair.a.node, pair.a.host());
        let token = token(node)?;
        let networks = node.networks()?;
        for hostile in HOSTILE {
            let request = filled(hostile.lines, &token);
            let (status, answer) = ask(host, &request)?;
            let what = hostile.what;
            ensure!(
                status == hostile.status && answer.contains(hostile.reason),
                "{what}: {request}\nis answered: {answer}"
            );
            ensure!(!answer.contains("node_id"), "{what} gets something: {answer}");
            ensure!(!answer.to_lowercase().contains("access-control"), "{what}: {answer}");
        }
        ensure!(node.networks()? == networks, "something was joined or left");
        println!("{} hostile requests, all refused", HOSTILE.len());

        // The address of the node on its own network is not one the API is served at.
        let own = SocketAddr::from((pair.a.ipv4()?, PORT));
        let refused = host.inside(|| TcpStream::connect_timeout(&own, ANSWER_LIMIT))?;
        ensure!(refused.is_err(), "it is served at {own}");

        // The same requests, right in all things.
        let right = filled("GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:9601\r\n{A}\r\n", &token);
        let (status, answer) = ask(host, &right)?;
        ensure!(
            status == 200 && answer.contains("node_id"),
            "{right}\nis answered: {answer}"
        );
        let right = filled(
            "POST /v1/join HTTP/1.1\r\nHost: localhost:9601\r\n{J}Content-Length: 18\r\n{A}\r\n{\"target\":\"earth\"}",
            &token,
        );
        let (status, answer) = ask(host, &right)?;
        ensure!(status == 200, "{right}\nis answered: {answer}");
        ensure!(node.networks()?.len() == networks.len() + 1, "nothing was joined");
        Ok(())
    });
}

#[test]
fn the_program_can_ask_over_tcp() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::with_configurations(lab, [Nat::Port; 2], [OVER_TCP, ""])?;
        let node = &pair.a.node;
        let file = token_file(node);
        ensure!(fs::metadata(&file)?.mode() & 0o7777 == 0o600, "there is no group here");
        let url = format!("http://{API}");
        let over = |file: &Path, words: &[&str]| -> Result<Finished> {
            let file = file.to_str().context("a path in UTF-8")?;
            node.cli(&[&["--api", &url, "--token-file", file], words].concat())
        };
        let status = over(&file, &["status", "--json"])?.success()?;
        ensure!(status.stdout.contains("\"node_id\""), "{status}");
        // The token is found beside the socket.
        node.cli(&["--api", &url, "peers"])?.success()?;
        let wrong = lab.directory().join("wrong.token");
        fs::write(&wrong, "0".repeat(64))?;
        over(&wrong, &["status"])?.expect_code(4)?;
        over(&wrong, &["down"])?.expect_code(4)?;
        // b does not serve TCP, which is how it is where nothing is said.
        let off = pair.b.node.cli(&["--api", &url, "status"])?.expect_code(3)?;
        ensure!(off.stderr.contains("api.tcp"), "{off}");
        ensure!(!token_file(&pair.b.node).exists(), "a token without a use");
        let first = token(node)?;
        over(&file, &["down"])?.success()?;
        ensure!(!file.exists(), "the token outlives its daemon");
        drop(pair.supernode);
        let mut node = pair.a.node;
        node.start()?;
        ensure!(token(&node)? != first, "the token of the last run is used again");
        Ok(())
    });
}

/// A group of the name `farlan`, for the daemons of a test.
const GROUP: u32 = 4711;

/// Users of a test who are not the daemon's.
const USER: u32 = 4242;

/// A daemon on a system with the group, and a copy of the program that every user can run.
fn node_with_group(lab: &mut Lab) -> Result<(Node, PathBuf)> {
    let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
    let program = privileges::public_copy(lab, "farlan")?;
    let groups = lab.directory().join("group");
    fs::write(&groups, format!("root:x:0:\nfarlan:x:{GROUP}:\n"))?;
    let configuration = lab.directory().join("a.toml");
    fs::write(&configuration, OVER_TCP)?;
    let run = lab.directory().join("run");
    fs::create_dir(&run)?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
    let mut node = Node::new(lab, "a", &home.host, None)?;
    node.set_program(program.clone());
    node.set_places(lab.directory().join("a.state"), run.join("farlan.sock"));
    node.set_wrapper(privileges::with_groups(&groups));
    node.set_arguments(&["--config", configuration.to_str().context("a path in UTF-8")?]);
    Ok((node, program))
}

/// `farlan WORDS` as another user.
fn as_user(node: &Node, program: &Path, who: &[String], words: &[&str]) -> Result<Finished> {
    let (first, rest) = who.split_first().context("nobody")?;
    let mut command = node.namespace().command(first);
    command.args(rest).arg(program).arg("--socket").arg(node.socket());
    command.args(words);
    command::finish(command, ANSWER_LIMIT, None)
}

#[test]
fn only_root_and_the_group_may_use_the_socket() {
    limit::test(LIMIT, |lab| {
        let (mut node, program) = node_with_group(lab)?;
        node.start()?;
        let socket = fs::metadata(node.socket())?;
        ensure!(socket.mode() & 0o7777 == 0o660 && socket.gid() == GROUP, "{socket:?}");
        let file = fs::metadata(token_file(&node))?;
        ensure!(file.mode() & 0o7777 == 0o640 && file.gid() == GROUP, "{file:?}");

        let url = format!("http://{API}");
        let status = ["status"];
        let over_tcp = ["--api", &url, "status"];
        let members = [
            privileges::as_user(USER, USER, &[4, GROUP, 27]),
            privileges::as_user(USER, GROUP, &[]),
        ];
        let strangers = [
            privileges::as_user(USER, USER, &[]),
            privileges::as_user(USER, USER, &[4, 27, GROUP + 1]),
            privileges::as_user(GROUP, USER, &[]),
        ];
        for who in &members {
            as_user(&node, &program, who, &status)?.success()?;
            as_user(&node, &program, who, &over_tcp)?.success()?;
        }
        for who in &strangers {
            for words in [&status[..], &over_tcp] {
                let refused = as_user(&node, &program, who, words)?.expect_code(4)?;
                ensure!(refused.stdout.is_empty(), "{refused}");
            }
        }
        // Somebody loosens the socket's mode: the kernel now lets everybody connect, and the daemon asks who it is.
        fs::set_permissions(node.socket(), fs::Permissions::from_mode(0o666))?;
        for who in &members {
            as_user(&node, &program, who, &status)?.success()?;
        }
        for who in &strangers {
            for words in [&status[..], &["down"], &["leave", "x"]] {
                let refused = as_user(&node, &program, who, words)?.expect_code(4)?;
                ensure!(refused.stderr.contains("may not use farlan here"), "{refused}");
            }
        }
        node.cli(&["status"])?.success()?;
        Ok(())
    });
}

#[test]
fn without_the_group_only_root_may_use_the_socket() {
    limit::test(LIMIT, |lab| {
        let (mut node, program) = node_with_group(lab)?;
        let groups = lab.directory().join("group");
        fs::write(&groups, "root:x:0:\n")?;
        node.start()?;
        let socket = fs::metadata(node.socket())?;
        ensure!(socket.mode() & 0o7777 == 0o660 && socket.gid() == 0, "{socket:?}");
        fs::set_permissions(node.socket(), fs::Permissions::from_mode(0o666))?;
        for who in [
            privileges::as_user(USER, USER, &[]),
            privileges::as_user(USER, USER, &[GROUP]),
            privileges::as_user(USER, 0, &[]),
        ] {
            as_user(&node, &program, &who, &["status"])?.expect_code(4)?;
        }
        node.cli(&["status"])?.success()?;
        Ok(())
    });
}

/// Each of the ways is tried so often: 100 tries in all.
const TRIES: u16 = 25;

#[test]
fn a_member_never_reaches_the_api_of_another() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::with_configurations(lab, [Nat::Port; 2], [OVER_TCP, ""])?;
        let (a, b) = (&pair.a, &pair.b);
        // What makes a kernel take packets for 127.0.0.1 from a card: the worst an administrator can set.
        let card = &a.network.interface;
        for (setting, value) in [("route_localnet", "1"), ("accept_local", "1"), ("rp_filter", "0")] {
            for scope in ["all", card] {
                a.host().set_sysctl(&format!("ipv4/conf/{scope}/{setting}"), value)?;
            }
        }
        let link_local = link_local(b, a)?;
        let mut reached = 0;
        for target in [
            SocketAddr::from((a.ipv4()?, PORT)),
            SocketAddr::from((a.ipv6()?, PORT)),
            SocketAddr::V6(link_local),
        ] {
            for _ in 0..TRIES {
                let connected = b
                    .host()
                    .inside(|| TcpStream::connect_timeout(&target, Duration::from_secs(1)))?;
                reached += u16::from(connected.is_ok());
            }
        }
        // Another listener on 127.0.0.1 is reached in this way, so the frames arrive and the kernel would take them.
        let ordinary = a.host().inside(|| TcpListener::bind("127.0.0.1:0"))??;
        let control = ordinary.local_addr()?.port();
        let (answered, _) = call_loopback(b, a, control)?;
        ensure!(
            answered > 0,
            "not even an ordinary listener on 127.0.0.1 answers to frames from the network"
        );
        let (answered, refused) = call_loopback(b, a, PORT)?;
        reached += answered;
        ensure!(reached == 0, "{reached} of {} tries reached the API", 4 * TRIES);
        ensure!(refused > 0, "nothing came back at all");
        // It is there all the same.
        let url = format!("http://{API}");
        a.node.cli(&["--api", &url, "status"])?.success()?;
        println!(
            "{} tries, {reached} reached the API; {refused} were refused by the kernel",
            4 * TRIES
        );
        Ok(())
    });
}

/// The link-local address of `to`, at the card of `from`.
fn link_local(from: &Member, to: &Member) -> Result<SocketAddrV6> {
    let all = to.host().addresses(&to.network.interface, "-6")?;
    let address = all.iter().find_map(|address| {
        let address: Ipv6Addr = address.split('/').next()?.parse().ok()?;
        address.is_unicast_link_local().then_some(address)
    });
    let listing = from
        .host()
        .ip(&format!("-o link show dev {}", from.network.interface))?;
    let index = listing.split(':').next().context("no index")?.trim().parse()?;
    Ok(SocketAddrV6::new(
        address.context("no link-local address")?,
        PORT,
        0,
        index,
    ))
}

/// Sends the first packets of TCP connections to 127.0.0.1 in frames to the card of `to`. How many were answered by the
/// second packet of a connection, and how many were refused.
fn call_loopback(from: &Member, to: &Member, port: u16) -> Result<(u16, u16)> {
    let mac = |member: &Member| -> Result<[u8; 6]> {
        let text = member.host().mac(&member.network.interface)?;
        let bytes: Vec<u8> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect::<Result<_, _>>()?;
        Ok(bytes.as_slice().try_into()?)
    };
    let (to_mac, from_mac) = (mac(to)?, mac(from)?);
    let source = from.ipv4()?;
    from.host().inside(|| -> Result<(u16, u16)> {
        let socket = PacketSocket::open(&from.network.interface, Offloads::Bare)?;
        let (mut answered, mut refused) = (0, 0);
        for i in 0..TRIES {
            let syn = syn(to_mac, from_mac, source, 40_000 + i, port);
            socket.send(&syn)?;
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) && answered + refused < TRIES {
            let Some(frame) = socket.receive()? else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            // IPv4 without options, TCP, from 127.0.0.1 and that port.
            if frame.len() < 54 || frame[12..15] != [8, 0, 0x45] || frame[23] != 6 {
                continue;
            }
            if frame[26..30] != Ipv4Addr::LOCALHOST.octets() || frame[34..36] != port.to_be_bytes() {
                continue;
            }
            match frame[47] & 0x16 {
                0x12 => answered += 1,
                0x14 => refused += 1,
                _ => {}
            }
        }
        Ok((answered, refused))
    })?
}

/// A frame with the first packet of a TCP connection to 127.0.0.1.
fn syn(to_mac: [u8; 6], from_mac: [u8; 6], source: Ipv4Addr, from: u16, to: u16) -> Vec<u8> {
    let target = Ipv4Addr::LOCALHOST;
    let mut tcp = Vec::new();
    tcp.extend(from.to_be_bytes());
    tcp.extend(to.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let mut pseudo = [source.octets(), target.octets()].concat();
    pseudo.extend([0, 6, 0, 20]);
    pseudo.extend(&tcp);
    tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    ip.extend(source.octets());
    ip.extend(target.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&to_mac[..], &from_mac, &[8, 0], &ip, &tcp].concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn the_log_tells_no_secret_even_at_trace() {
    limit::test(LIMIT, |lab| {
        let texts = ["log = \"trace\"\n[api]\ntcp = \"127.0.0.1:9601\"\n"; 2];
        let mut pair = Pair::with_configurations(lab, [Nat::Port; 2], texts)?;
        let link = pair.a.node.host_with(&["--name", "attic"])?;
        pair.b.node.join(&link)?;
        wait_for("two networks at b", JOIN_LIMIT, || {
            let networks = pair.b.node.networks()?;
            Ok((networks.len() == 2 && networks.iter().all(|network| network.ipv4.is_some())).then_some(()))
        })?;
        let mut secrets = Vec::new();
        for member in [&pair.a, &pair.b] {
            let url = format!("http://{API}");
            member.node.cli(&["--api", &url, "status"])?.success()?;
            let (status, _) = ask(member.host(), "GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n")?;
            ensure!(status == 403, "{status}");
            // Mistakes quote what they are of.
            let mistyped = member.node.cli(&["join", &link[..link.len() - 1]])?.expect_code(2)?;
            ensure!(!mistyped.stderr.contains(&link[..link.len() / 2]), "{mistyped}");
            secrets.extend(secrets_of(member)?);
        }
        let again = pair.b.node.cli(&["join", &link])?.success()?;
        ensure!(
            !again.stdout.contains(&link) && !again.stderr.contains(&link),
            "{again}"
        );
        for member in [&mut pair.a, &mut pair.b] {
            member.node.stop()?;
        }
        ensure!(secrets.len() > 40, "{} forms of secrets", secrets.len());
        for member in [&pair.a, &pair.b] {
            let log = member.node.log();
            ensure!(
                log.contains("TRACE") && log.contains("a request to the API is refused"),
                "it logs too little"
            );
            for (what, secret) in &secrets {
                ensure!(!log.contains(secret), "the log of {} holds {what}", member.node.name());
            }
        }
        Ok(())
    });
}

/// All that is secret of a member, in the forms in which a log could show it.
fn secrets_of(member: &Member) -> Result<Vec<(String, String)>> {
    let state = member.node.state_directory();
    let mut secrets = vec![("the token".to_owned(), token(&member.node)?)];
    let mut bytes_of = |what: &str, bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        secrets.push((format!("{what} in capitals"), hex.to_uppercase()));
        secrets.push((what.to_owned(), hex));
        let decimal: Vec<_> = bytes.iter().take(8).map(ToString::to_string).collect();
        secrets.push((format!("{what} in decimal"), decimal.join(", ")));
    };
    let seed = fs::read_to_string(state.join("identity.secret"))?;
    let seed = seed.trim().rsplit(' ').next().context("no seed")?;
    let seed: Vec<u8> = (0..seed.len() / 2)
        .map(|i| u8::from_str_radix(&seed[2 * i..2 * i + 2], 16))
        .collect::<Result<_, _>>()?;
    ensure!(seed.len() == 32, "a seed of {} bytes", seed.len());
    bytes_of("the seed", &seed);
    let networks: toml::Table = toml::from_str(&fs::read_to_string(state.join("networks.toml"))?)?;
    let networks = networks["network"].as_array().context("no networks")?;
    ensure!(networks.len() == 2, "{} networks", networks.len());
    let mut texts = Vec::new();
    for network in networks {
        let text = |key: &str| network["private"].get(key)?.as_str();
        let config = text("config").context("no config")?;
        texts.push(("a config", config.to_owned()));
        let config = Config::decode(&BASE64URL_NOPAD.decode(config.as_bytes())?, Work::REQUIRED)?;
        let id = config.network().id();
        for seed in &config.fields().seeds {
            bytes_of("a network's seed", seed.as_bytes());
            let secret = sha512(&[b"farlan private secret 1", id.as_bytes(), seed.as_bytes()]);
            bytes_of("a network's secret", &secret);
        }
        if let Some(link) = text("invite") {
            let Link::Private(invite) = Link::parse(link, Work::REQUIRED)? else {
                anyhow::bail!("no link of a private network");
            };
            bytes_of("the key of an invite", invite.invite().seed().as_bytes());
            texts.push(("a link", link.trim_start_matches("farlan:").to_owned()));
        }
        let exported = member.node.cli(&["export", &id.to_string()])?;
        if exported.code == Some(0) {
            let exported = ExportedKey::parse(&exported.stdout, Work::REQUIRED)?;
            bytes_of("a network's key", exported.key().seed().as_bytes());
        }
    }
    for (what, text) in texts {
        // Its beginning tells of the format alone; any piece of some length after it is too much.
        for start in (16..text.len().saturating_sub(24)).step_by(24) {
            secrets.push((
                format!("{what} from its letter {start} on"),
                text[start..start + 24].to_owned(),
            ));
        }
        secrets.push((what.to_owned(), text));
    }
    Ok(secrets)
}

/// The files of a daemon that has joined a network: nobody else reads or writes one of them, whatever the umask.
#[test]
fn all_files_of_a_daemon_are_its_own() {
    limit::test(LIMIT, |lab| {
        let mut pair = Pair::with_configurations(lab, [Nat::Port; 2], [OVER_TCP, ""])?;
        let node = &mut pair.a.node;
        node.stop()?;
        node.set_wrapper(["sh", "-c", "umask 000; exec \"$@\"", "sh"].map(str::to_owned).to_vec());
        let state = node.state_directory().to_owned();
        fs::remove_dir_all(&state)?;
        node.start()?;
        node.host()?;
        ensure!(fs::metadata(&state)?.mode() & 0o7777 == 0o700, "the state directory");
        let mut seen = Vec::new();
        for entry in fs::read_dir(&state)? {
            let entry = entry?;
            let mode = entry.metadata()?.mode() & 0o7777;
            ensure!(mode == 0o600, "{:?} has the mode {mode:o}", entry.file_name());
            seen.push(entry.file_name().to_string_lossy().into_owned());
        }
        for name in [
            "identity.secret",
            "lock",
            "networks.toml",
            "worlds.toml",
            "controller.sqlite",
        ] {
            ensure!(seen.iter().any(|seen| seen == name), "no {name} among {seen:?}");
        }
        ensure!(fs::metadata(token_file(node))?.mode() & 0o7777 == 0o600, "the token");
        ensure!(fs::metadata(node.socket())?.mode() & 0o7777 == 0o660, "the socket");
        Ok(())
    });
}

//! `farlan games` on real kernels: servers that answer and announce as real ones do are listed, and forgotten when they end.
//!
//! The servers are threads here that replay what `scripts/record-games` recorded of real ones (`node/games/packets`).

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::pair::Pair;
use farlan_tests::ns::trio::{JOIN_LIMIT, Member};
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(240);

/// How long something may take on a busy machine; what it took is printed.
const SOON: Duration = Duration::from_secs(60);

/// How long `farlan games` may take to list what is there, and to forget what has gone: 10 and 30 s are promised, and a busy
/// machine may take a little longer.
const LISTED: Duration = Duration::from_secs(20);
const FORGOTTEN: Duration = Duration::from_secs(45);

/// A recorded packet: whether the server sent it, and what it says.
struct Recorded {
    answer: bool,
    payload: Vec<u8>,
}

fn recorded(text: &str) -> Result<Vec<Recorded>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [source, _, digits] = words[..] else {
                anyhow::bail!("{line}");
            };
            let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
                anyhow::bail!("{digits}");
            };
            let byte = |pair: &[u8; 2]| -> Result<u8> { Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?) };
            Ok(Recorded {
                answer: source.starts_with("10.77.0.1:"),
                payload: pairs.iter().map(byte).collect::<Result<_>>()?,
            })
        })
        .collect()
}

/// Servers that run until they are dropped.
#[derive(Default)]
struct Servers {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Servers {
    /// One that answers each recorded question as it was answered: what has its length and its first bytes is such a question.
    fn answering(&mut self, at: &Member, port: u16, text: &str) -> Result<()> {
        let socket = at.host().inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let recorded = recorded(text)?;
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut question: Option<Vec<u8>> = None;
        for packet in recorded {
            if !packet.answer {
                question = Some(packet.payload);
            } else if let Some(question) = question.take() {
                pairs.push((question, packet.payload));
            }
        }
        ensure!(!pairs.is_empty());
        let ended = Arc::clone(&self.ended);
        self.threads.push(thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, source)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let asked = &buffer[..length];
                // A challenge has as many digits as it has.
                let is_asked = |question: &[u8]| {
                    let alike = question
                        .iter()
                        .zip(asked)
                        .take_while(|(one, other)| one == other)
                        .count();
                    alike >= 12 || (alike >= 1 && question.len() == asked.len())
                };
                if let Some((_, answer)) = pairs.iter().find(|(question, _)| is_asked(question)) {
                    let _ = socket.send_to(answer, source);
                }
            }
        }));
        Ok(())
    }

    /// One that announces itself in a group, by the card of `at`.
    fn announcing(&mut self, at: &Member, group: SocketAddrV4, text: &str) -> Result<()> {
        let own = at.ipv4()?;
        let socket = at.host().inside(|| UdpSocket::bind((own, 0)))??;
        socket2::SockRef::from(&socket).set_multicast_if_v4(&own)?;
        let said = recorded(text)?.pop().context("nothing is announced")?.payload;
        let ended = Arc::clone(&self.ended);
        self.threads.push(thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let _ = socket.send_to(&said, group);
                thread::sleep(Duration::from_millis(1500));
            }
        }));
        Ok(())
    }

    /// All four, at one member.
    fn four(at: &Member) -> Result<Self> {
        let mut servers = Self::default();
        servers.answering(at, 8303, include_str!("../../node/games/packets/teeworlds.txt"))?;
        servers.answering(at, 27960, include_str!("../../node/games/packets/quake3.txt"))?;
        servers.answering(at, 3979, include_str!("../../node/games/packets/openttd.txt"))?;
        let group = SocketAddrV4::new(Ipv4Addr::new(224, 0, 2, 60), 4445);
        servers.announcing(at, group, include_str!("../../node/games/packets/minecraft.txt"))?;
        Ok(servers)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Game and port of all that is listed at an address.
fn listed(node: &Node, address: Ipv4Addr) -> Result<Vec<(String, u64)>> {
    let found = found(node)?;
    let there = found.iter().filter(|found| found["address"] == json!(address));
    there
        .map(|found| {
            let game = found["game"].as_str().context("no game")?;
            Ok((game.to_owned(), found["port"].as_u64().context("no port")?))
        })
        .collect()
}

/// What `farlan games --json` prints, whatever the exit code says.
fn found(node: &Node) -> Result<Vec<Value>> {
    let finished = node.cli(&["games", "--json"])?;
    let reply: Value = serde_json::from_str(&finished.stdout).with_context(|| finished.to_string())?;
    ensure!(reply["schema"] == 1, "{reply}");
    let network = &reply["networks"][0];
    ensure!(network["notes"] == json!([]), "{network}");
    Ok(network["found"].as_array().context("no list")?.clone())
}

const FOUR: [(&str, u64); 4] = [
    ("minecraft", 54321),
    ("openttd", 3979),
    ("quake3", 27960),
    ("teeworlds", 8303),
];

fn are_four(listed: &[(String, u64)]) -> bool {
    let listed: Vec<_> = listed.iter().map(|(game, port)| (game.as_str(), *port)).collect();
    listed == FOUR
}

#[test]
fn servers_are_listed_and_forgotten() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start(lab, [Nat::Port; 2], Wire::PLAIN)?;
        let (a, b) = (&pair.a, &pair.b);
        let there = b.ipv4()?;
        ensure!(a.node.cli(&["games"])?.expect_code(1)?.stderr.contains("no game"));
        let servers = Servers::four(b)?;
        let begun = Instant::now();
        wait_for("the four servers", LISTED, || {
            Ok(are_four(&listed(&a.node, there)?).then_some(()))
        })
        .with_context(|| format!("{:?}", found(&a.node)))?;
        println!("listed after {:?}", begun.elapsed());
        let all = found(&a.node)?;
        let quake = all
            .iter()
            .find(|found| found["game"] == "quake3")
            .context("it is listed")?;
        ensure!(quake["name"] == "farlan arena" && quake["kind"] == "game", "{quake}");
        ensure!(quake["players"] == 1 && quake["max_players"] == 12, "{quake}");
        ensure!(quake["own"] == false, "{quake}");
        let trains = all
            .iter()
            .find(|found| found["game"] == "openttd")
            .context("it is listed")?;
        ensure!(trains["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0), "{trains}");
        let shown = a.node.cli(&["games"])?.success()?;
        ensure!(
            shown.stdout.contains(&format!("{there}:27960")) && shown.stdout.contains("1/12"),
            "{shown}"
        );
        a.node.cli(&["games", "lan", "--json"])?.success()?;
        a.node.cli(&["games", "paris"])?.expect_code(1)?;

        // Those of this machine are asked at its own address.
        let mut own = Servers::default();
        own.answering(a, 3979, include_str!("../../node/games/packets/openttd.txt"))?;
        let address = a.ipv4()?;
        wait_for("the own server", LISTED, || {
            let found = found(&a.node)?;
            let own = found.iter().find(|found| found["address"] == json!(address));
            Ok(own.filter(|own| own["own"] == true && own["port"] == 3979).map(|_| ()))
        })?;
        drop(own);

        drop(servers);
        let ended = Instant::now();
        wait_for("all to be forgotten", FORGOTTEN, || {
            Ok(listed(&a.node, there)?.is_empty().then_some(()))
        })?;
        println!("forgotten after {:?}", ended.elapsed());
        Ok(())
    });
}

#[test]
fn strangers_list_games_and_tell_nothing_of_their_own_lan() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let a = stranger(lab, &supernode, "a")?;
        let b = stranger(lab, &supernode, "b")?;
        let there = b.ipv4()?;
        let servers = Servers::four(&b)?;
        wait_for("the four servers", LISTED, || {
            Ok(are_four(&listed(&a.node, there)?).then_some(()))
        })
        .with_context(|| format!("{:?}", found(&a.node)))?;
        let opened = b.node.json(&["open"])?;
        ensure!(
            opened[0]["games_open"] == json!(["3979/udp", "8303/udp", "27960/udp"]),
            "{opened}"
        );
        drop(servers);
        wait_for("the games to be closed", SOON, || {
            let opened = b.node.json(&["open"])?;
            Ok((opened[0]["games_open"] == json!([])).then_some(()))
        })?;
        ensure!(
            a.node.counter("kept_from_strangers")? == 0,
            "no services are looked for"
        );

        // A program that speaks on every card, as a responder of mDNS does.
        let own = b.ipv4()?;
        let responder = b.host().inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)))??;
        socket2::SockRef::from(&responder).set_multicast_if_v4(&own)?;
        let listener = a.host().inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)))??;
        listener.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &a.ipv4()?)?;
        listener.set_read_timeout(Some(Duration::from_secs(1)))?;
        a.node.cli(&["open", "5353/udp"])?.success()?;
        let hears = || -> Result<bool> {
            for target in [Ipv4Addr::new(224, 0, 0, 251), a.ipv4()?] {
                responder.send_to(b"bob's printer", SocketAddr::from((target, 5353)))?;
            }
            let mut buffer = [0; 64];
            match listener.recv_from(&mut buffer) {
                Ok((length, source)) => {
                    ensure!(&buffer[..length] == b"bob's printer" && source.ip() == own);
                    Ok(true)
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
                Err(error) => Err(error.into()),
            }
        };
        // The kernel may have to find out first where the other is.
        wait_for("calls and answers to be kept back", SOON, || {
            ensure!(!hears()?, "it is heard");
            Ok((b.node.counter("kept_from_strangers")? >= 6).then_some(()))
        })?;
        b.node.cli(&["open", "5353/udp"])?.success()?;
        wait_for("what was opened", SOON, || Ok(hears()?.then_some(())))?;
        Ok(())
    });
}

/// A member of the open network `earth`.
fn stranger(lab: &mut Lab, supernode: &Supernode, name: &str) -> Result<Member> {
    let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
    let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
    node.start()?;
    node.wait_registered(JOIN_LIMIT)?;
    node.join("earth")?;
    let network = node.wait_addressed(JOIN_LIMIT)?;
    Ok(Member { home, node, network })
}

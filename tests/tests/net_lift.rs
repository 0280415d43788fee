//! Searches of games on the real LAN reach a network: programs here are bound to no card, and the machine's default route leads
//! elsewhere.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::bridge::Bridge;
use farlan_tests::ns::capabilities::{ensure_given_up, listener_of};
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::program::Process;
use farlan_tests::ns::trio::{JOIN_LIMIT, Member};
use farlan_tests::ns::{Home, Lab, Namespace, Nat, Node, Supernode, Wire, limit, sys};

const LIMIT: Duration = Duration::from_secs(120);

/// How long anything may take to become known on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long what must not come is waited for.
const SILENCE: Duration = Duration::from_millis(600);

/// Warcraft III, which is searched by broadcast, and a port at which nothing is.
const LISTED: u16 = 6112;
const UNLISTED: u16 = 6113;

/// Minecraft's group.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 2, 60), 4445);

/// A supernode, and members of one network, each list of them on one LAN.
fn network(lab: &mut Lab, homes: &[&[&str]]) -> Result<(Supernode, Vec<Member>)> {
    let public = lab.public_host("s", Wire::PLAIN)?;
    let supernode = Supernode::start(lab, &public)?;
    let mut members: Vec<(Node, Home)> = Vec::new();
    for names in homes {
        let homes = lab.shared_home(names, Nat::Port, Wire::PLAIN)?;
        for (name, home) in names.iter().zip(homes) {
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            members.push((node, home));
        }
    }
    let link = members.first().context("nobody")?.0.host()?;
    for (node, _) in &members[1..] {
        node.join(&link)?;
    }
    let mut joined = Vec::new();
    for (node, home) in members {
        let network = node.wait_addressed(JOIN_LIMIT)?;
        joined.push(Member { node, home, network });
    }
    for member in &joined {
        wait_lifting(member)?;
        for other in &joined {
            if other.node.name() != member.node.name() {
                let words = ["ping", "-c", "1", "-W", "5", &other.ipv4()?.to_string()];
                wait_for("a ping", PATIENCE, || {
                    Ok(member.host().exec(&words, DEFAULT_LIMIT)?.success().ok())
                })?;
            }
        }
    }
    Ok((supernode, joined))
}

/// Waits until a node listens to its other card.
fn wait_lifting(member: &Member) -> Result<()> {
    wait_for("the node to listen", PATIENCE, || {
        let shown = member.node.status()?["lan_games"].clone();
        Ok((shown["cards"] == 1 && shown["networks"] != serde_json::json!([])).then_some(()))
    })
}

/// A socket bound to no card, as a game's is.
fn unbound(host: &Namespace, port: u16) -> Result<UdpSocket> {
    host.inside(|| -> Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        socket.set_broadcast(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok(socket)
    })?
}

/// What comes within `limit`: what, and from whom.
fn receive(socket: &UdpSocket, limit: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    let end = Instant::now() + limit;
    let mut room = [0; 2048];
    while Instant::now() < end {
        if let Ok((length, from)) = socket.recv_from(&mut room) {
            return Some((room[..length].to_vec(), from));
        }
    }
    None
}

#[test]
fn a_search_of_a_program_on_no_card_is_answered_from_the_network() {
    limit::test(LIMIT, |lab| {
        let (_supernode, members) = network(lab, &[&["a"], &["b"]])?;
        let [a, b] = &members[..] else { anyhow::bail!("not two") };
        let server = unbound(b.host(), LISTED)?;
        let elsewhere = unbound(b.host(), UNLISTED)?;
        let neighbour = unbound(&a.home.router, LISTED)?;
        let game = unbound(a.host(), 0)?;
        game.send_to(b"not listed", (Ipv4Addr::BROADCAST, UNLISTED))?;
        game.send_to(b"anybody?", (Ipv4Addr::BROADCAST, LISTED))?;

        let (search, from) = receive(&server, PATIENCE).context("no search came")?;
        ensure!(search == b"anybody?");
        ensure!(from.ip() == a.ipv4()?, "it came from {from}");
        server.send_to(b"me", from)?;
        let (answer, from) = receive(&game, PATIENCE).context("no answer came")?;
        ensure!(answer == b"me" && from.ip() == b.ipv4()?, "from {from}");
        // The real LAN has its own, and what is not listed stays there.
        let (search, from) = receive(&neighbour, PATIENCE).context("the LAN got nothing")?;
        ensure!(search == b"anybody?" && from.ip() == a.home.inside, "from {from}");
        ensure!(receive(&elsewhere, SILENCE).is_none(), "an unlisted port was lifted");
        ensure!(receive(&server, SILENCE).is_none(), "it came twice");
        ensure!(a.node.counter("lifted")? == 1, "{:?}", a.node.status()?);

        // A game that the user lists, from the next reload on.
        let list = lab.directory().join("games.toml");
        std::fs::write(
            &list,
            "[[game]]\nname = \"ours\"\ntitle = \"Ours\"\nports = [\"6113/udp\"]\nsearch = [\"6113/udp\"]\n",
        )?;
        let config = lab.directory().join("farlan.toml");
        std::fs::write(&config, "")?;
        let mut members = members;
        let mut a = members.remove(0);
        a.node
            .set_arguments(&["--config", config.to_str().context("strange path")?]);
        a.node.stop()?;
        a.node.start()?;
        a.network = a.node.wait_addressed(JOIN_LIMIT)?;
        wait_lifting(&a)?;
        let heard = wait_for("a search of the user's game", PATIENCE, || {
            game.send_to(b"ours", (Ipv4Addr::BROADCAST, UNLISTED))?;
            Ok(receive(&elsewhere, SILENCE))
        })?;
        ensure!(heard.0 == b"ours");

        // Off is off, at once.
        a.node.cli(&["lan-games", "lan", "off"])?.success()?;
        wait_for("nothing to be lifted", PATIENCE, || {
            let shown = a.node.status()?["lan_games"]["networks"].clone();
            Ok((shown == serde_json::json!([])).then_some(()))
        })?;
        while receive(&server, SILENCE).is_some() {}
        game.send_to(b"anybody?", (Ipv4Addr::BROADCAST, LISTED))?;
        ensure!(receive(&server, SILENCE).is_none(), "lifted although it is off");
        let routes = a.host().ip("route show table all")?;
        ensure!(!routes.contains("224.0.2.60"), "{routes}");
        // And by route all broadcasts go to the network alone.
        a.node.cli(&["lan-games", "lan", "route"])?.success()?;
        while receive(&neighbour, SILENCE).is_some() {}
        wait_for("the route", PATIENCE, || {
            Ok(a.host()
                .ip("route show table all")?
                .contains("broadcast 255.255.255.255")
                .then_some(()))
        })?;
        game.send_to(b"routed", (Ipv4Addr::BROADCAST, UNLISTED))?;
        wait_for("what is routed", PATIENCE, || {
            Ok(receive(&elsewhere, SILENCE).filter(|(what, _)| what == b"routed"))
        })?;
        ensure!(receive(&neighbour, SILENCE).is_none(), "the LAN heard it, too");
        Ok(())
    });
}

/// Joins the group as Java does: where the machine's routes lead, and hearing what came by that card alone. It prints what comes.
const JAVA: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.IPPROTO_IP, 49, 0)
s.bind(('', 4445))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack('4sl', socket.inet_aton('224.0.2.60'), 0))
print('joined', flush=True)
while True:
    what, who = s.recvfrom(2048)
    print(what.decode(), who[0], flush=True)
";

#[test]
fn an_announcement_in_a_group_is_heard_by_programs_on_no_card() {
    limit::test(LIMIT, |lab| {
        let (_supernode, members) = network(lab, &[&["a"], &["b"]])?;
        let [a, b] = &members[..] else { anyhow::bail!("not two") };
        for member in [a, b] {
            wait_for("the route to the group", PATIENCE, || {
                let routes = member.host().ip("route show table all")?;
                Ok(routes
                    .contains(&format!("224.0.2.60 dev {}", member.network.interface))
                    .then_some(()))
            })?;
            let members = member
                .host()
                .ip(&format!("maddress show dev {}", member.network.interface))?;
            ensure!(
                members.contains("224.0.2.60") && members.contains("225.1.1.1"),
                "{members}"
            );
        }
        let mut java = b.host().command("python3");
        java.args(["-c", JAVA]);
        let java = Process::spawn(java, "java", lab.directory())?;
        wait_for("the listener", PATIENCE, || {
            Ok(java.log().contains("joined").then_some(()))
        })?;
        let server = unbound(a.host(), 0)?;
        let expected = format!("[MOTD]world[/MOTD] {}", a.ipv4()?);
        wait_for("the announcement", PATIENCE, || {
            server.send_to(b"[MOTD]world[/MOTD]", GROUP)?;
            std::thread::sleep(Duration::from_millis(200));
            Ok(java.log().contains(&expected).then_some(()))
        })?;
        Ok(())
    });
}

#[test]
fn two_nodes_on_one_lan_lift_what_each_sends_and_nothing_of_the_other() {
    limit::test(LIMIT, |lab| {
        let (_supernode, members) = network(lab, &[&["a", "b"], &["c"]])?;
        let [a, b, c] = &members[..] else {
            anyhow::bail!("not three")
        };
        let server = unbound(c.host(), LISTED)?;
        let game = unbound(a.host(), 0)?;
        // Paced below what one port may have a second, and each told apart.
        let mut heard = std::collections::BTreeMap::new();
        for number in 0..100u32 {
            game.send_to(&number.to_be_bytes(), (Ipv4Addr::BROADCAST, LISTED))?;
            if let Some((what, from)) = receive(&server, Duration::from_millis(50)) {
                ensure!(from.ip() == a.ipv4()?, "from {from}");
                *heard.entry(what).or_insert(0) += 1;
            }
        }
        while let Some((what, from)) = receive(&server, SILENCE) {
            ensure!(from.ip() == a.ipv4()?, "from {from}");
            *heard.entry(what).or_insert(0) += 1;
        }
        ensure!(heard.values().all(|count| *count == 1), "{heard:?}");
        let (lifted, left) = (a.node.counter("lifted")?, a.node.counter("lift_too_many")?);
        ensure!(
            lifted + left == 100 && heard.len() as u64 == lifted,
            "{lifted} {left} {}",
            heard.len()
        );
        ensure!(lifted >= 10, "only {lifted}");
        for other in [b, c] {
            ensure!(other.node.counter("lifted")? == 0, "{} lifted", other.node.name());
        }

        // In a bridge with the LAN nothing is lifted, as the LAN's searches come by themselves.
        let _bridge = Bridge::around(a)?;
        wait_for("nothing to be lifted", PATIENCE, || {
            let shown = a.node.status()?["lan_games"]["networks"].clone();
            Ok((shown == serde_json::json!([])).then_some(()))
        })?;
        game.send_to(b"bridged", (Ipv4Addr::BROADCAST, LISTED))?;
        ensure!(receive(&server, SILENCE).is_none(), "lifted into a bridge");
        ensure!(a.node.counter("lifted")? == lifted);
        Ok(())
    });
}

#[test]
fn without_its_listener_a_node_goes_on_and_says_so() {
    limit::test(LIMIT, |lab| {
        let (_supernode, members) = network(lab, &[&["a"], &["b"]])?;
        let [a, b] = &members[..] else { anyhow::bail!("not two") };
        ensure_given_up(a.node.pid()?)?;
        let listener = listener_of(a.node.pid()?)?.context("there is no listener")?;
        for signal in [sys::interrupt, sys::terminate, sys::hang_up] {
            signal(listener)?;
        }
        wait_lifting(a)?;
        sys::kill(listener)?;
        wait_for("the note", PATIENCE, || {
            let notes = a.node.status()?["notes"].to_string();
            Ok(notes.contains("has ended; start farlan again").then_some(()))
        })?;
        let words = ["ping", "-c", "1", "-W", "5", &b.ipv4()?.to_string()];
        a.host().exec(&words, DEFAULT_LIMIT)?.success()?;
        ensure!(
            a.node.log().matches("no longer copied").count() == 1,
            "{}",
            a.node.log()
        );
        Ok(())
    });
}

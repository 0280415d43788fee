//! The life of a daemon: started by a service manager, told to read its configuration, to go down, to share its
//! identity with a twin, or to go on without a card.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{self, wait_for};
use farlan_tests::ns::privileges;
use farlan_tests::ns::program::{PORT, Process, released};
use farlan_tests::ns::trio::{JOIN_LIMIT, Trio};
use farlan_tests::ns::usage::cpu_seconds;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit, sys};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(180);

/// What stopping may take, from the signal to the end of the process.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Within this time two machines with one identity say so.
const TWIN_LIMIT: Duration = Duration::from_secs(30);

/// What a program on a busy machine may take for something small.
const SOON: Duration = Duration::from_secs(10);

/// A supernode and one registered node in the network `lan`.
fn one_node(lab: &mut Lab) -> Result<(Supernode, Node)> {
    let public = lab.public_host("s", Wire::PLAIN)?;
    let supernode = Supernode::start(lab, &public)?;
    let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
    let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
    node.start()?;
    node.wait_registered(JOIN_LIMIT)?;
    node.host()?;
    node.wait_addressed(JOIN_LIMIT)?;
    Ok((supernode, node))
}

/// Waits until a log holds these words.
fn logged(what: &str, mut log: impl FnMut() -> String, words: &str) -> Result<()> {
    wait_for(&format!("{words:?} in the log of {what}"), SOON, || {
        Ok(log().contains(words).then_some(()))
    })
}

#[test]
fn down_stops_the_daemon_and_its_networks_come_back_with_it() {
    limit::test(LIMIT, |lab| {
        let (_supernode, mut node) = one_node(lab)?;
        let before = node.networks()?;
        let finished = node.cli(&["down"])?.success()?;
        ensure!(finished.stdout.contains("remembered"), "{finished}");
        // The command returns when the card is gone and the program has ended.
        let cards = node.namespace().interfaces()?;
        ensure!(!cards.contains(&before[0].interface), "{cards:?}");
        ensure!(node.process()?.wait(SOON)? == 0, "an exit code other than 0");
        node.cli(&["down"])?.expect_code(3)?;

        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        ensure!(node.wait_addressed(JOIN_LIMIT)? == before[0], "{before:?}");
        node.cli(&["leave", "lan"])?.success()?;
        node.cli(&["down"])?.success()?;
        node.start()?;
        ensure!(node.networks()?.is_empty(), "what was left is back");

        let help = node.cli(&["down", "--help"])?.success()?;
        ensure!(help.stdout.contains("same networks again"), "{help}");
        Ok(())
    });
}

#[test]
fn sigterm_ends_it_within_two_seconds_and_the_peers_know() {
    limit::test(LIMIT, |lab| {
        let mut trio = Trio::start(lab, [Nat::Port, Nat::Port, Nat::Symmetric], Wire::PLAIN)?;
        let [a, b, _] = trio.abc()?;
        let id = b.node.status()?["node_id"].as_str().context("no id")?.to_owned();
        a.node.cli(&["ping", &id, "-c", "1"])?.success()?;
        let in_touch = |node: &Node| -> Result<bool> {
            let peers = node.peers()?;
            Ok(peers
                .iter()
                .any(|peer| peer["node_id"] == id.as_str() && peer["path"].is_string()))
        };
        ensure!(in_touch(&a.node)?, "not in touch");

        let b = trio.members.get_mut(1).context("there is no b")?;
        let interface = b.network.interface.clone();
        let begun = Instant::now();
        let code = b.node.stop()?;
        let took = begun.elapsed();
        println!("SIGTERM to end: {took:?}");
        ensure!(code == 0 && took <= STOP_LIMIT, "exit code {code} after {took:?}");
        ensure!(!b.host().interfaces()?.contains(&interface), "the card is still there");
        // The goodbye, not silence: that would take minutes.
        let [a, ..] = trio.abc()?;
        wait_for("a to know that b is gone", SOON, || {
            Ok((!in_touch(&a.node)?).then_some(()))
        })?;
        let begun = Instant::now();
        let code = trio.supernode.process().stop(SOON)?;
        let took = begun.elapsed();
        ensure!(
            code == 0 && took <= STOP_LIMIT,
            "supernode: exit code {code} after {took:?}"
        );
        Ok(())
    });
}

/// What a service manager at `socket` was told next.
fn told(manager: &UnixDatagram) -> Result<String> {
    let mut buffer = [0; 200];
    let length = manager.recv(&mut buffer).context("nothing was told")?;
    Ok(String::from_utf8(buffer[..length].to_vec())?)
}

fn manager(path: &Path) -> Result<UnixDatagram> {
    let manager = UnixDatagram::bind(path)?;
    manager.set_read_timeout(Some(JOIN_LIMIT))?;
    Ok(manager)
}

/// Start, reload and stop, as a service manager sees them.
fn follows_the_protocol(manager: &UnixDatagram, process: &mut Process) -> Result<()> {
    ensure!(told(manager)? == "READY=1");
    sys::hang_up(process.pid())?;
    let reloading = told(manager)?;
    ensure!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading:?}");
    ensure!(told(manager)? == "READY=1");
    ensure!(process.stop(SOON)? == 0);
    ensure!(told(manager)? == "STOPPING=1");
    Ok(())
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_stop() {
    limit::test(LIMIT, |lab| {
        let path = lab.directory().join("notify");
        let shown = path.display().to_string();
        let manager = manager(&path)?;
        let public = lab.public_host("s", Wire::PLAIN)?;
        let mut supernode = Supernode::start(lab, &public)?;
        supernode.process().stop(SOON)?;
        let mut command = public.namespace.command(released("farlan-supernode")?);
        command.env("NOTIFY_SOCKET", &shown);
        command.args(["run", "--state-dir"]).arg(supernode.state_directory());
        let mut process = Process::spawn(command, "notified", lab.directory())?;
        follows_the_protocol(&manager, &mut process).context("the supernode")?;

        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, None)?;
        node.set_variable("NOTIFY_SOCKET", &shown);
        node.launch()?;
        follows_the_protocol(&manager, node.process()?).context("the node")
    });
}

#[test]
fn a_daemon_with_two_capabilities_and_no_other_privilege_is_on_the_lan() {
    limit::test(LIMIT, |lab| {
        let mut trio = Trio::start(lab, [Nat::Port, Nat::Port, Nat::Symmetric], Wire::PLAIN)?;
        let program = privileges::public_copy(lab, "farlan")?;
        let directory = privileges::directory_of_nobody(lab, "service")?;
        let link = trio.link.clone();
        let home = lab.home("d", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "d", &home.host, Some(trio.supernode.link()))?;
        node.set_program(program);
        node.set_wrapper(privileges::as_the_service());
        let place = |name: &str| directory.join(name).display().to_string();
        node.set_places(directory.join("state"), directory.join("s"));
        node.start()?;
        let status = fs::read_to_string(format!("/proc/{}/status", node.pid()?))?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1))
                .unwrap_or_default()
                .to_owned()
        };
        ensure!(field("Uid:") == privileges::NOBODY.to_string(), "{status}");
        // CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13 (capabilities(7)).
        for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            ensure!(field(set) == "0000000000003000", "{set} in {status}");
        }
        ensure!(field("NoNewPrivs:") == "1", "{status}");

        node.wait_registered(JOIN_LIMIT)?;
        node.join(&link)?;
        let network = node.wait_addressed(JOIN_LIMIT)?;
        ensure!(network.ipv6.is_some(), "no IPv6: {network:?}");
        let [a, ..] = trio.abc()?;
        for target in [a.ipv4()?.to_string(), a.ipv6()?.to_string()] {
            let ping = ["ping", "-c", "3", "-i", "0.2", "-W", "5", &target];
            node.namespace().exec(&ping, JOIN_LIMIT)?.success()?;
        }
        // The kernel made no address of its own and asks for no router.
        let card = &network.interface;
        let local = node.namespace().addresses(card, "-6")?;
        ensure!(local.len() == 2, "{local:?}");
        let setting = format!("/proc/sys/net/ipv6/conf/{card}/addr_gen_mode");
        let mode = node.namespace().inside(|| fs::read_to_string(&setting))??;
        ensure!(mode.trim() == "1", "addr_gen_mode is {mode}");
        // Its state and socket belong to it alone.
        ensure!(Path::new(&place("state")).join("identity.secret").is_file());
        ensure!(node.stop()? == 0);
        trio.members.clear();
        Ok(())
    });
}

#[test]
fn a_reload_takes_over_log_and_supernodes_and_keeps_sessions() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let mut supernode = Supernode::start(lab, &public)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, None)?;
        let file = lab.directory().join("farlan.toml");
        let shown = file.display().to_string();
        fs::write(&file, "log = \"info\"\n")?;
        node.set_arguments(&["--config", &shown]);
        node.start()?;
        node.cli(&["join", "earth"])?.expect_code(1)?;

        let link = supernode.link().to_owned();
        fs::write(&file, format!("log = \"debug\"\nsupernodes = [\"{link}\"]\n"))?;
        let pid = node.pid()?;
        sys::hang_up(pid)?;
        logged("a", || node.log(), "the configuration is reloaded")?;
        node.wait_registered(JOIN_LIMIT)?;
        logged("a", || node.log(), "DEBUG")?;
        node.join("earth")?;
        let handshakes = node.status()?["counters"]["handshakes_done"].clone();

        // Broken, and without the supernode: each is said, and the session goes on.
        for (text, words) in [
            ("port = 9600\nprot = 1\n", "farlan.toml:2: unknown field `prot`"),
            ("log = \"info\"\n", "farlan supernode remove"),
        ] {
            fs::write(&file, text)?;
            sys::hang_up(pid)?;
            logged("a", || node.log(), words)?;
        }
        ensure!(node.log().contains("the old one stays in force"), "{}", node.log());
        let status = node.status()?;
        ensure!(status["counters"]["handshakes_done"] == handshakes, "{status}");
        ensure!(status["port"] == PORT, "{status}");

        // The check says the same, without a daemon.
        fs::write(&file, "port = 9600\nprot = 1\n")?;
        let check = ["config", "check", "--config", &shown];
        let finished = node.cli(&check)?.expect_code(2)?;
        ensure!(finished.stderr.contains("farlan.toml:2: unknown field"), "{finished}");
        fs::write(&file, format!("supernodes = [\"{link}\"]\n"))?;
        let finished = node.cli(&check)?.success()?;
        ensure!(finished.stdout.contains("is fine"), "{finished}");
        let json = node.json(&check)?;
        ensure!(json["schema"] == 1 && json["file"] == shown.as_str(), "{json}");

        // The supernode alike.
        let config = supernode.state_directory().join("supernode.toml");
        let check = |code: i32| -> Result<_> {
            let mut command = public.namespace.command(released("farlan-supernode")?);
            command
                .args(["config", "check", "--state-dir"])
                .arg(supernode.state_directory());
            command::finish(command, SOON, None)?.expect_code(code)
        };
        check(0)?;
        fs::write(&config, "port = 9601\nlog = \"debug\"\n")?;
        check(0)?;
        fs::write(&config, "port = 9601\nlog = \"loud\"\n")?;
        let finished = check(2)?;
        ensure!(finished.stderr.contains("supernode.toml:2: "), "{finished}");
        let pid = supernode.process().pid();
        sys::hang_up(pid)?;
        logged("the supernode", || supernode.process().log(), "supernode.toml:2: ")?;
        fs::write(&config, "port = 9601\nlog = \"debug\"\n")?;
        sys::hang_up(pid)?;
        logged("the supernode", || supernode.process().log(), "the port cannot change")?;
        logged(
            "the supernode",
            || supernode.process().log(),
            "the configuration is reloaded",
        )?;
        let status = node.status()?;
        ensure!(status["supernodes"][0]["registered"] == true, "{status}");
        Ok(())
    });
}

#[test]
fn two_machines_with_one_identity_both_say_so() {
    limit::test(LIMIT, |lab| {
        let (supernode, one) = one_node(lab)?;
        let home = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let mut other = Node::new(lab, "b", &home.host, Some(supernode.link()))?;
        fs::create_dir(other.state_directory())?;
        for entry in fs::read_dir(one.state_directory())? {
            let entry = entry?;
            fs::copy(entry.path(), other.state_directory().join(entry.file_name()))?;
        }
        let before = one.status()?;
        ensure!(before.get("twin").is_none(), "{before}");
        let begun = Instant::now();
        other.start()?;
        for node in [&one, &other] {
            wait_for(&format!("{} to know of its twin", node.name()), TWIN_LIMIT, || {
                Ok(node.status()?.get("twin").is_some().then_some(()))
            })?;
            println!("{} knows after {:?}", node.name(), begun.elapsed());
        }
        ensure!(begun.elapsed() <= TWIN_LIMIT, "after {:?}", begun.elapsed());
        for node in [&one, &other] {
            let status = node.status()?;
            ensure!(status["twin"]["address"].is_string(), "{status}");
            let shown = node.cli(&["status"])?.success()?;
            let remedy = format!("remove {}", node.state_directory().join("identity.secret").display());
            for place in [&shown.stdout, &node.log()] {
                ensure!(place.contains("another running machine uses the identity"), "{place}");
                ensure!(place.contains(&remedy), "{place}");
            }
            ensure!(node.log().contains("ERROR"), "{}", node.log());
        }
        let addresses = [&one, &other].map(|node| Ok(node.status()?["twin"]["address"].clone()));
        let [at_one, at_other]: [Result<Value>; 2] = addresses;
        ensure!(at_one? != at_other?, "both see the same machine");

        // The remedy helps: another identity, and no more of it.
        other.stop()?;
        fs::remove_file(other.state_directory().join("identity.secret"))?;
        other.start()?;
        other.wait_registered(JOIN_LIMIT)?;
        ensure!(
            other.status()?["node_id"] != before["node_id"],
            "the same identity again"
        );
        other.wait_addressed(JOIN_LIMIT)?;
        ensure!(other.status()?.get("twin").is_none());
        Ok(())
    });
}

/// An initiation of version 2 from a stranger, and what comes back.
fn initiation_of_version_2(to: (Ipv4Addr, u16)) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(SOON))?;
    let mut initiation = vec![0; 176];
    initiation[..8].copy_from_slice(&[1, 2, 0, 0, 1, 2, 3, 4]);
    socket.send_to(&initiation, to)?;
    let mut answer = [0; 1500];
    let (length, _) = socket.recv_from(&mut answer)?;
    Ok(answer[..length].to_vec())
}

#[test]
fn a_node_and_a_supernode_of_different_versions_name_them() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let mut supernode = Supernode::start(lab, &public)?;
        let stranger = lab.public_host("x", Wire::PLAIN)?;
        let to = (public.address, PORT);
        let answer = stranger.namespace.inside(|| initiation_of_version_2(to))??;
        ensure!(answer == [6, 2, 1, 0, 1, 2, 3, 4], "{answer:?}");
        logged("the supernode", || supernode.process().log(), "speaks version 2")?;

        // Something at the supernode's place that knows version 2 only.
        supernode.process().stop(SOON)?;
        let socket = public.namespace.inside(|| UdpSocket::bind(("0.0.0.0", PORT)))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let newer = thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((176, from)) = socket.recv_from(&mut buffer) {
                    let mut answer = [6, 2, 2, 0, 0, 0, 0, 0];
                    answer[4..].copy_from_slice(&buffer[4..8]);
                    // Lost answers are asked for again.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        node.start()?;
        let words = "speaks version 2 of the farlan protocol, this farlan version 1: update this one";
        let joined = node.cli(&["join", "earth"])?.expect_code(5)?;
        ensure!(joined.stderr.contains(words), "{joined}");
        let shown = node.cli(&["status"])?.success()?;
        ensure!(
            shown.stdout.contains(words) && shown.stdout.contains("no: it speaks version 2"),
            "{shown}"
        );
        let status = node.status()?;
        ensure!(status["supernodes"][0]["other_version"] == 2, "{status}");
        let warned = node.log().matches(words).count();
        ensure!(warned == 1, "warned {warned} times");
        over.store(true, Ordering::Relaxed);
        ensure!(newer.join().is_ok(), "the newer one failed");

        // It is over when the right one is back.
        supernode.restart()?;
        node.wait_registered(JOIN_LIMIT)?;
        ensure!(node.status()?["supernodes"][0].get("other_version").is_none());
        Ok(())
    });
}

/// How long a daemon is watched that has nothing to do.
const WATCHED: Duration = Duration::from_secs(3);

#[test]
fn a_card_that_somebody_deletes_is_let_go_of_and_the_daemon_rests() {
    limit::test(LIMIT, |lab| {
        let (_supernode, node) = one_node(lab)?;
        let network = node.wait_addressed(JOIN_LIMIT)?;
        node.namespace().ip(&format!("link del {}", network.interface))?;
        logged("the node", || node.log(), "the network card is gone")?;
        let before = cpu_seconds(node.pid()?)?;
        thread::sleep(WATCHED);
        let used = cpu_seconds(node.pid()?)? - before;
        // A loop that does not let go uses all it gets of the 3 s.
        ensure!(used < WATCHED.as_secs_f64() / 5.0, "{used} s of {WATCHED:?}");
        let told = node.log().matches("the network card is gone").count();
        ensure!(told == 1, "said {told} times:\n{}", node.log());
        ensure!(node.networks()?.len() == 1, "the network is left");
        Ok(())
    });
}

//! What the machine can lack or refuse: each is said with its remedy and its exit code, and nothing ends that can go on.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{self, Finished, wait_for};
use farlan_tests::ns::privileges;
use farlan_tests::ns::program::PORT;
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit};

const LIMIT: Duration = Duration::from_secs(150);

/// How long a program that must fail may take to do so.
const FAILURE_LIMIT: Duration = Duration::from_secs(20);

/// The daemon looks every 10 s whether what was in its way is gone; twice that on a busy machine.
const UPKEEP_LIMIT: Duration = Duration::from_secs(30);

fn lonely_node(lab: &mut Lab) -> Result<Node> {
    let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
    Node::new(lab, "a", &home.host, None)
}

/// A supernode and a node that is not started.
fn pair(lab: &mut Lab) -> Result<(Supernode, Node)> {
    let public = lab.public_host("s", Wire::PLAIN)?;
    let supernode = Supernode::start(lab, &public)?;
    let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
    let node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
    Ok((supernode, node))
}

fn fails(command: Command, code: i32, words: &[&str]) -> Result<Finished> {
    let finished = command::finish(command, FAILURE_LIMIT, None)?.expect_code(code)?;
    for words in words {
        ensure!(finished.stderr.contains(words), "wanted {words:?}: {finished}");
    }
    Ok(finished)
}

fn noted(node: &Node, words: &str) -> Result<bool> {
    let status = node.status()?;
    let notes = status["notes"].as_array().context("no notes")?;
    Ok(notes
        .iter()
        .filter_map(|note| note.as_str())
        .any(|note| note.contains(words)))
}

/// Fills the disk of the small one's state; the last file takes what is left.
const FILL: &str = "{ dd if=/dev/zero of=filler bs=4k 2>/dev/null || true; }";

#[test]
fn a_full_disk_at_the_first_start_is_said() {
    limit::test(LIMIT, |lab| {
        let mut node = lonely_node(lab)?;
        let state = node.state_directory().to_owned();
        fs::create_dir(&state)?;
        node.set_wrapper(privileges::on_small_disk(&state, 64, &format!("touch lock && {FILL}")));
        fails(
            node.daemon_command(),
            1,
            &["No space left on device", "free some space"],
        )?;
        Ok(())
    });
}

#[test]
fn a_full_disk_is_said_and_survived_and_what_was_not_written_is_written_later() {
    limit::test(LIMIT, |lab| {
        let (_supernode, mut node) = pair(lab)?;
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        node.host()?;
        node.stop()?;
        // From now on its state is on a small disk, and that is full when it starts.
        let state = node.state_directory().to_owned();
        node.set_wrapper(privileges::on_small_disk(&state, 1024, FILL));
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        node.wait_addressed(JOIN_LIMIT)?;
        let joined = node.join("earth")?;
        let words = "not written down, and would be lost at a restart";
        ensure!(noted(&node, words)? && noted(&node, "free some space")?, "{joined}");
        ensure!(joined.stdout.contains(words), "{joined}");
        ensure!(
            node.log().contains("ERROR the networks are not written down"),
            "{}",
            node.log()
        );
        let left = node.cli(&["leave", "earth"])?.success()?;
        ensure!(!noted(&node, words)? || left.stdout.contains(words), "{left}");
        node.join("london")?;
        ensure!(noted(&node, words)?);

        let seen = PathBuf::from(format!("/proc/{}/root", node.pid()?)).join(state.strip_prefix("/")?);
        fs::remove_file(seen.join("filler"))?;
        wait_for("the state to be written", UPKEEP_LIMIT, || {
            Ok((!noted(&node, words)?).then_some(()))
        })?;
        ensure!(node.log().contains("written down again"), "{}", node.log());
        let file = fs::read_to_string(seen.join("networks.toml"))?;
        ensure!(file.matches("[[network]]").count() == 2, "{file}");
        ensure!(node.networks()?.len() == 2);
        Ok(())
    });
}

#[test]
fn wrong_clocks_do_not_matter() {
    limit::test(LIMIT, |lab| {
        let (supernode, mut a) = pair(lab)?;
        let home = lab.home("b", Nat::Symmetric, Wire::PLAIN)?;
        let mut b = Node::new(lab, "b", &home.host, Some(supernode.link()))?;
        for (node, shift, year) in [(&mut a, "+20y", "204"), (&mut b, "-20y", "200")] {
            node.set_wrapper(privileges::at_another_time(shift)?);
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            // The log shows that the clock is wrong indeed.
            ensure!(node.log().starts_with(year), "{}", node.log());
        }
        b.join(&a.host()?)?;
        let there = a.wait_addressed(JOIN_LIMIT)?.ipv4.context("no address")?.to_string();
        let ping = ["ping", "-c", "3", "-i", "0.2", "-W", "5", &there];
        b.namespace().exec(&ping, JOIN_LIMIT)?.success()?;
        ensure!(b.stop()? == 0);
        b.set_wrapper(privileges::at_another_time("+20y")?);
        b.start()?;
        b.wait_registered(JOIN_LIMIT)?;
        b.namespace().exec(&ping, JOIN_LIMIT)?.success()?;
        Ok(())
    });
}

#[test]
fn whoever_may_not_use_the_socket_is_told_of_the_group() {
    limit::test(LIMIT, |lab| {
        let mut node = lonely_node(lab)?;
        node.set_program(privileges::public_copy(lab, "farlan")?);
        node.start()?;
        let words = privileges::as_nobody();
        let mut command = node.namespace().command(&words[0]);
        command.args(&words[1..]).arg(lab.directory().join("farlan"));
        command.arg("--socket").arg(node.socket()).arg("status");
        fails(command, 4, &["group farlan", "usermod"])?;
        Ok(())
    });
}

#[test]
fn without_the_tun_driver_or_the_right_to_use_it_the_remedy_is_named() {
    limit::test(LIMIT, |lab| {
        let (_supernode, mut node) = pair(lab)?;
        node.set_wrapper(privileges::without_tun());
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        let finished = node.cli(&["join", "earth"])?.expect_code(1)?;
        ensure!(finished.stderr.contains("modprobe tun"), "{finished}");
        node.stop()?;

        node.set_wrapper(privileges::without_net_admin());
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        let finished = node.cli(&["join", "earth"])?.expect_code(4)?;
        ensure!(finished.stderr.contains("CAP_NET_ADMIN"), "{finished}");
        ensure!(node.networks()?.is_empty());
        node.stop()?;

        // With a network to come back to, a missing permission ends it; a missing driver does not, for it may come.
        node.set_wrapper(Vec::new());
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        node.join("earth")?;
        node.stop()?;
        node.set_wrapper(privileges::without_net_admin());
        fails(node.daemon_command(), 4, &["CAP_NET_ADMIN"])?;
        node.set_wrapper(privileges::without_tun());
        node.start()?;
        ensure!(noted(&node, "earth: not joined")? && noted(&node, "modprobe tun")?);
        let tun = format!("/proc/{}/root/dev/net/tun", node.pid()?);
        command::run(&["mknod", "-m", "600", &tun, "c", "10", "200"])?;
        wait_for("the network to be joined", UPKEEP_LIMIT, || {
            Ok((node.networks()?.len() == 1).then_some(()))
        })?;
        ensure!(!noted(&node, "not joined")?);
        Ok(())
    });
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    limit::test(LIMIT, |lab| {
        let node = lonely_node(lab)?;
        let _other = node.namespace().inside(|| UdpSocket::bind(("0.0.0.0", PORT)))??;
        fails(
            node.daemon_command(),
            1,
            &[&format!("UDP port {PORT} is in use"), "--port", "ss -lunp"],
        )?;
        Ok(())
    });
}

#[test]
fn a_clashing_route_leaves_ipv6_and_ipv4_comes_when_it_is_gone() {
    limit::test(LIMIT, |lab| {
        let (supernode, mut a) = pair(lab)?;
        let home = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let mut b = Node::new(lab, "b", &home.host, Some(supernode.link()))?;
        for node in [&mut a, &mut b] {
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
        }
        b.namespace().ip("route add blackhole 10.200.0.0/16")?;
        let taken = ["host", "--subnet", "10.200.16.0/20"];
        let finished = b.cli(&taken)?.expect_code(1)?;
        for words in ["overlaps the route 10.200.0.0/16", "--subnet"] {
            ensure!(finished.stderr.contains(words), "{finished}");
        }
        let link = a.cli(&taken)?.success()?.stdout.trim().to_owned();
        let joined = b.join(&link)?;
        for words in ["IPv6 only", "overlaps the route 10.200.0.0/16", "when that is gone"] {
            ensure!(joined.stdout.contains(words), "{joined}");
        }
        let there = a.wait_addressed(JOIN_LIMIT)?;
        let ping = |target: String| b.namespace().exec(&["ping", "-c", "1", "-W", "5", &target], JOIN_LIMIT);
        ping(there.ipv6.context("no IPv6")?.to_string())?.success()?;
        b.namespace().ip("route del blackhole 10.200.0.0/16")?;
        wait_for("b's IPv4 address", UPKEEP_LIMIT, || {
            Ok(b.networks()?.into_iter().find(|network| network.ipv4.is_some()))
        })?;
        ping(there.ipv4.context("no IPv4")?.to_string())?.success()?;
        Ok(())
    });
}

#[test]
fn a_state_directory_that_cannot_be_written_ends_with_4() {
    limit::test(LIMIT, |lab| {
        let mut node = lonely_node(lab)?;
        node.set_program(privileges::public_copy(lab, "farlan")?);
        let directory = lab.directory().join("roots");
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        node.set_wrapper(privileges::as_nobody());
        for state in [directory.clone(), directory.join("below")] {
            let shown = state.display().to_string();
            node.set_places(state, lab.directory().join("a.sock"));
            fails(
                node.daemon_command(),
                4,
                &[&shown, "Permission denied", "run this as root"],
            )?;
        }
        Ok(())
    });
}

#[test]
fn damaged_state_is_named_and_never_overwritten() {
    limit::test(LIMIT, |lab| {
        let mut node = lonely_node(lab)?;
        node.start()?;
        node.stop()?;
        let file = |name: &str| node.state_directory().join(name);
        let damaged = |name: &str, content: &[u8], code: i32, words: &[&str]| -> Result<()> {
            let before = fs::read(file(name)).ok();
            fs::write(file(name), content)?;
            fails(node.daemon_command(), code, words)?;
            ensure!(fs::read(file(name))? == content, "{name} was changed");
            restore(&file(name), before)
        };
        damaged(
            "networks.toml",
            b"[[network]]\nlink = ",
            1,
            &["networks.toml:2: ", "mend", "move it away"],
        )?;
        damaged(
            "networks.toml",
            b"[[network]]\nlink = \"farlan:x\"\n",
            1,
            &["network 1", "move it away"],
        )?;
        damaged(
            "worlds.toml",
            &[0xff, 0xfe],
            1,
            &["worlds.toml: is no text", "move it away"],
        )?;
        damaged("identity.secret", b"nonsense", 1, &["identity.secret"])?;
        damaged("identity.secret", b"", 1, &["identity.secret"])?;

        let secret = file("identity.secret");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644))?;
        fails(node.daemon_command(), 4, &["chmod 600"])?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;

        // The contacts are a cache: their loss is said, and no reason not to start.
        fs::write(file("contacts.toml"), "[[contact]]\nkey = 1\n")?;
        node.start()?;
        ensure!(node.log().contains("the cached contacts are lost"), "{}", node.log());
        Ok(())
    });
}

fn restore(file: &Path, content: Option<Vec<u8>>) -> Result<()> {
    match content {
        Some(content) => fs::write(file, content)?,
        None => fs::remove_file(file)?,
    }
    Ok(())
}

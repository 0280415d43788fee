//! No program of farlan keeps a privilege, and everything works so: a node's cards are made by its card helper.
//!
//! Besides, every node and supernode that a lab starts is looked at (`ns::capabilities`).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::capabilities::{ensure_given_up, ensure_none, has_net_admin, helper_of, listener_of};
use farlan_tests::ns::command::{self, wait_for};
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit, privileges, sys};

const LIMIT: Duration = Duration::from_secs(120);

/// What a program on a busy machine may take for something small.
const SOON: Duration = Duration::from_secs(10);

/// The daemon looks at its cards every 10 s.
const UPKEEP_LIMIT: Duration = Duration::from_secs(30);

/// A supernode and two registered nodes.
fn two_nodes(lab: &mut Lab) -> Result<(Supernode, Node, Node)> {
    let public = lab.public_host("s", Wire::PLAIN)?;
    let supernode = Supernode::start(lab, &public)?;
    let mut start = |name: &str| -> Result<Node> {
        let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        Ok(node)
    };
    let (a, b) = (start("a")?, start("b")?);
    Ok((supernode, a, b))
}

fn ping(from: &Node, target: &str) -> Result<()> {
    let words = ["ping", "-c", "3", "-i", "0.2", "-W", "5", target];
    from.namespace().exec(&words, JOIN_LIMIT)?.success()?;
    Ok(())
}

fn is_gone(process: u32) -> bool {
    !fs::exists(format!("/proc/{process}")).unwrap_or(true)
}

#[test]
fn a_daemon_without_capabilities_joins_mends_and_leaves_networks_at_any_time() {
    limit::test(LIMIT, |lab| {
        let (mut supernode, a, b) = two_nodes(lab)?;
        let helper = helper_of(a.pid()?)?;
        ensure!(has_net_admin(helper)?, "the helper cannot make cards");
        b.join(&a.host()?)?;
        let first = a.wait_addressed(JOIN_LIMIT)?;
        ping(&b, &first.ipv4.context("no IPv4")?.to_string())?;
        ping(&b, &first.ipv6.context("no IPv6")?.to_string())?;

        // Another network, long after the privileges are gone.
        a.join("earth")?;
        b.join("earth")?;
        let earth = |node: &Node| -> Result<_> {
            wait_for("an address on earth", JOIN_LIMIT, || {
                let networks = node.networks()?;
                Ok(networks
                    .into_iter()
                    .find(|network| network.name == "earth" && network.ipv4.is_some()))
            })
        };
        let (card, other) = (earth(&a)?, earth(&b)?);
        ping(&a, &other.ipv4.context("no IPv4")?.to_string())?;

        // An address set by hand is told to the other end, which reaches it.
        a.namespace()
            .ip(&format!("address add 10.99.0.1/24 dev {}", first.interface))?;
        let there = &b.networks()?[0].interface;
        b.namespace().ip(&format!("address add 10.99.0.2/24 dev {there}"))?;
        ping(&b, "10.99.0.1")?;

        // What somebody takes away is put back, and a card that somebody deletes is made anew.
        let ipv4 = card.ipv4.context("no IPv4")?;
        let shown = || a.namespace().addresses(&card.interface, "-4");
        let before = shown()?;
        a.namespace().ip(&format!("address flush dev {}", card.interface))?;
        wait_for("the addresses to be back", UPKEEP_LIMIT, || {
            Ok((shown()? == before).then_some(()))
        })?;
        a.namespace().ip(&format!("link delete {}", first.interface))?;
        wait_for("the card to be back", UPKEEP_LIMIT, || {
            Ok(a.namespace().interfaces()?.contains(&first.interface).then_some(()))
        })?;
        ping(&b, &first.ipv6.context("no IPv6")?.to_string())?;
        ping(&b, &ipv4.to_string())?;

        a.cli(&["leave", "earth"])?.success()?;
        ensure!(
            !a.namespace().interfaces()?.contains(&card.interface),
            "the card is still there"
        );
        for node in [&a, &b] {
            ensure_given_up(node.pid()?)?;
            // The socket still has the buffers that only CAP_NET_ADMIN gives: twice 4 MiB, as the kernel counts.
            let sockets = node
                .namespace()
                .exec(&["ss", "-Hulnm", "sport", "=", ":9600"], SOON)?
                .success()?;
            ensure!(sockets.stdout.contains("rb8388608"), "{sockets}");
        }
        ensure!(helper_of(a.pid()?)? == helper, "another helper");
        ensure_none(supernode.process().pid())
    });
}

#[test]
fn a_killed_daemon_takes_its_helper_and_its_cards_with_it() {
    limit::test(LIMIT, |lab| {
        let (_supernode, mut a, _b) = two_nodes(lab)?;
        a.host()?;
        let network = a.wait_addressed(JOIN_LIMIT)?;
        let helper = helper_of(a.pid()?)?;
        let listener = listener_of(a.pid()?)?.context("no listener")?;
        // A terminal or a service manager signals all processes at once; the helper waits for the daemon.
        for signal in [sys::interrupt, sys::terminate, sys::hang_up] {
            signal(helper)?;
        }
        a.join("earth")?;
        a.kill()?;
        for process in [helper, listener] {
            wait_for("the helpers to end", SOON, || Ok(is_gone(process).then_some(())))?;
        }
        let cards = a.namespace().interfaces()?;
        ensure!(!cards.iter().any(|card| card.starts_with("fl-")), "{cards:?}");

        a.start()?;
        wait_for("its networks", JOIN_LIMIT, || {
            Ok((a.networks()?.len() == 2).then_some(()))
        })?;
        ensure!(a.networks()?.iter().any(|now| now.interface == network.interface));
        let helper = helper_of(a.pid()?)?;
        let listener = listener_of(a.pid()?)?.context("no listener")?;
        ensure!(a.stop()? == 0);
        ensure!(is_gone(helper), "the daemon has ended and its helper has not");
        wait_for("the listener to end", SOON, || Ok(is_gone(listener).then_some(())))?;
        Ok(())
    });
}

#[test]
fn without_its_helper_a_daemon_ends_with_an_error_for_the_service_manager() {
    limit::test(LIMIT, |lab| {
        let (_supernode, mut a, _b) = two_nodes(lab)?;
        a.join("earth")?;
        sys::kill(helper_of(a.pid()?)?)?;
        ensure!(a.process()?.wait(SOON)? == 1, "another exit code");
        ensure!(a.log().contains("the card helper has ended"), "{}", a.log());
        let cards = a.namespace().interfaces()?;
        ensure!(!cards.iter().any(|card| card.starts_with("fl-")), "{cards:?}");
        a.start()?;
        wait_for("its network", JOIN_LIMIT, || {
            Ok((a.networks()?.len() == 1).then_some(()))
        })
    });
}

#[test]
fn the_helpers_serve_nobody_who_starts_them_by_hand() {
    limit::test(LIMIT, |lab| {
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let node = Node::new(lab, "a", &home.host, None)?;
        let help = node.cli(&["--help"])?.success()?;
        for command in ["card-helper", "lan-listener"] {
            let finished = node.cli(&[command])?.expect_code(2)?;
            ensure!(finished.stderr.contains("farlan starts by itself"), "{finished}");
            ensure!(!help.stdout.contains(command), "{help}");
        }
        Ok(())
    });
}

#[test]
fn a_command_that_becomes_the_daemon_gives_up_its_privileges_too() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        // It knows its supernode from now on.
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        ensure!(node.stop()? == 0);
        let mut command = node.cli_command(&["--state-dir"]);
        command.arg(node.state_directory()).args(["join", "earth"]);
        let process = farlan_tests::ns::program::Process::spawn(command, "joins", lab.directory())?;
        wait_for("the network", JOIN_LIMIT, || {
            Ok((node.networks()?.len() == 1).then_some(()))
        })?;
        ensure!(process.log().contains("so this becomes it"), "{}", process.log());
        ensure_given_up(process.pid())
    });
}

#[test]
fn started_by_root_a_daemon_becomes_the_user_of_its_configuration() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        // The user may pass through the lab's directory, and the device is open to all, as udev makes it.
        fs::set_permissions(lab.directory(), fs::Permissions::from_mode(0o711))?;
        node.set_wrapper(privileges::with_public_tun());
        let (state, run) = (lab.directory().join("state"), lab.directory().join("run"));
        node.set_places(state.clone(), run.join("s"));
        // Root ran it before, and its files are root's.
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        node.join("earth")?;
        let id = node.status()?["node_id"].clone();
        ensure!(node.stop()? == 0);
        ensure!(fs::metadata(&state)?.uid() == 0);

        let file = lab.directory().join("farlan.toml");
        fs::write(&file, "user = \"nobody\"\n")?;
        node.set_arguments(&["--config", file.to_str().context("strange path")?]);
        node.start()?;
        wait_for("its network", JOIN_LIMIT, || {
            Ok((node.networks()?.len() == 1).then_some(()))
        })?;
        ensure!(node.status()?["node_id"] == id, "another identity");
        let listener = listener_of(node.pid()?)?.context("no listener")?;
        for process in [node.pid()?, helper_of(node.pid()?)?, listener] {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let user = privileges::NOBODY;
            ensure!(
                status.contains(&format!("Uid:\t{user}\t{user}\t{user}\t{user}")),
                "{status}"
            );
        }
        for path in [
            &state,
            &state.join("identity.secret"),
            &state.join("networks.toml"),
            &run,
            &run.join("s"),
        ] {
            ensure!(
                fs::symlink_metadata(path)?.uid() == privileges::NOBODY,
                "{}",
                path.display()
            );
        }
        node.join("london")?;
        ensure!(node.stop()? == 0);

        // Back to root, which gave up the privilege to write there: it says so at once.
        node.set_arguments(&[]);
        let finished = command::finish(node.daemon_command(), SOON, None)?.expect_code(4)?;
        ensure!(finished.stderr.contains("user = \"nobody\""), "{finished}");
        Ok(())
    });
}

#[test]
fn nobody_else_of_the_user_can_look_into_the_daemons_memory() {
    limit::test(LIMIT, |lab| {
        let program = privileges::public_copy(lab, "farlan")?;
        let directory = privileges::directory_of_nobody(lab, "service")?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, None)?;
        node.set_program(program);
        node.set_wrapper(privileges::as_the_service());
        node.set_places(directory.join("state"), directory.join("s"));
        node.start()?;
        let daemon = node.pid()?;
        for process in [daemon, helper_of(daemon)?, listener_of(daemon)?.context("no listener")?] {
            let limits = fs::read_to_string(format!("/proc/{process}/limits"))?;
            let core = limits.lines().find(|line| line.starts_with("Max core file size"));
            let core: Vec<_> = core.unwrap_or_default().split_whitespace().skip(4).take(2).collect();
            ensure!(core == ["0", "0"], "{limits}");
            // Of another process of its own, which is open to it, the user can read the same file.
            let script = format!("cat /proc/$$/maps >/dev/null && ! cat /proc/{process}/maps 2>/dev/null");
            let mut words = privileges::as_nobody();
            words.extend(["sh", "-c", &script].map(str::to_owned));
            command::run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(())
    });
}

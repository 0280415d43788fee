//! `farlan host` without outside help: where the others meet, what is said of it, and that they do meet there.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_crypto::Work;
use farlan_netconf::Link;
use farlan_tests::ns::command::{Finished, wait_for};
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::program::PORT;
use farlan_tests::ns::topology::PublicHost;
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::upnp::{Protocols, Upnp};
use farlan_tests::ns::world::World;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(240);

/// The port of a daemon's own supernode.
const HOSTING: u16 = PORT + 1;

/// Finding out whether a machine can be reached takes some seconds, and this machine is busy.
const HOST_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take until another address outside is noticed: the supernode's silence, registering anew, the router.
const FOLLOW_LIMIT: Duration = Duration::from_secs(150);

/// What `farlan host` said: the link alone on standard output, the rest on standard error.
struct Hosted {
    link: String,
    said: String,
}

fn host(node: &Node, options: &[&str]) -> Result<Hosted> {
    let mut command = node.cli_command(&["host"]);
    command.args(options);
    let finished: Finished = farlan_tests::ns::command::finish(command, HOST_LIMIT, None)?.success()?;
    let link = finished.stdout.trim().to_owned();
    ensure!(link.starts_with("farlan:") && link.lines().count() == 1, "{finished}");
    for words in [
        "whoever holds this link is in:",
        "works for 30 d",
        "farlan uninvite",
        "farlan export",
    ] {
        ensure!(finished.stderr.contains(words), "nothing of {words:?}: {finished}");
    }
    Ok(Hosted {
        link,
        said: finished.stderr,
    })
}

fn says(hosted: &Hosted, words: &str) -> Result<()> {
    ensure!(hosted.said.contains(words), "wanted {words:?} in {:?}", hosted.said);
    Ok(())
}

fn node(
    lab: &Lab,
    name: &str,
    namespace: &std::sync::Arc<farlan_tests::ns::Namespace>,
    supernode: Option<&str>,
) -> Result<Node> {
    let mut node = Node::new(lab, name, namespace, supernode)?;
    node.start()?;
    Ok(node)
}

/// Joins, and pings whoever made the network.
fn joins(node: &Node, link: &str, host: &Node) -> Result<()> {
    node.join(link).with_context(|| host.log())?;
    let there = host.wait_addressed(JOIN_LIMIT)?.ipv4.context("no IPv4")?;
    node.wait_addressed(JOIN_LIMIT)?;
    pings(node, there)
}

fn pings(node: &Node, there: Ipv4Addr) -> Result<()> {
    let target = there.to_string();
    let words = ["-c", "5", "-i", "0.2", "-W", "5", &target];
    let report = PingReport::run(node.namespace(), &words, JOIN_LIMIT)?;
    ensure!(report.answered() > 0, "no answer: {}", report.finished);
    Ok(())
}

fn hosting(node: &Node) -> Result<Value> {
    Ok(node.status()?["hosting"].clone())
}

fn serves(node: &Node) -> Result<bool> {
    let sockets = node.namespace().exec(&["ss", "-Huln"], JOIN_LIMIT)?.success()?.stdout;
    Ok(sockets.contains(&format!(":{HOSTING} ")))
}

/// The worlds that a node knows, by id.
fn worlds(node: &Node) -> Result<Vec<String>> {
    let worlds = node.json(&["supernode", "list"])?;
    let worlds = worlds.as_array().context("no list")?.iter();
    Ok(worlds
        .filter_map(|world| world["world"].as_str().map(str::to_owned))
        .collect())
}

#[test]
fn at_the_address_that_is_given_and_after_a_restart_too_until_it_is_left() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("a", Wire::PLAIN)?;
        let home = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let other = lab.home("c", Nat::Symmetric, Wire::PLAIN)?;
        let mut a = node(lab, "a", &public.namespace, None)?;
        let address = format!("{}:{HOSTING}", public.address);
        let hosted = host(&a, &["--address", &address])?;
        says(
            &hosted,
            &format!("the others meet at this machine, at {address}, as you say"),
        )?;
        let view = hosting(&a)?;
        ensure!(view["reach"] == "address" && view["port"] == HOSTING, "{view}");
        let b = node(lab, "b", &home.host, None)?;
        joins(&b, &hosted.link, &a)?;

        // Keys, world and link outlive the daemon, also a crash.
        a.kill()?;
        a.start()?;
        let again = hosting(&a)?;
        for key in ["node_id", "world", "version", "addresses"] {
            ensure!(view[key] == again[key], "{key}: {view} {again}");
        }
        let c = node(lab, "c", &other.host, None)?;
        joins(&c, &hosted.link, &a)?;
        let both = wait_for("b again", JOIN_LIMIT, || {
            Ok((hosting(&a)?["registrations"] == 3).then_some(()))
        });
        both.with_context(|| format!("{:?}", hosting(&a)))?;

        let left = a.cli(&["leave", "lan"])?.success()?;
        ensure!(left.stdout.contains("serves them no more"), "{left}");
        ensure!(hosting(&a)?.is_null() && !serves(&a)?, "it still serves");
        Ok(())
    });
}

#[test]
fn a_public_machine_is_proved_to_be_reachable() {
    limit::test(LIMIT, |lab| {
        let server = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &server)?;
        let public = lab.public_host("a", Wire::PLAIN)?;
        let home = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let a = node(lab, "a", &public.namespace, Some(supernode.link()))?;
        a.wait_registered(JOIN_LIMIT)?;
        let hosted = host(&a, &[])?;
        says(
            &hosted,
            &format!(
                "this machine can be reached from outside, as the configured supernode has proved; the others meet here, at \
                 {}:{HOSTING}",
                public.address
            ),
        )?;
        let b = node(lab, "b", &home.host, None)?;
        joins(&b, &hosted.link, &a)?;
        let world = hosting(&a)?["world"].clone();
        ensure!(worlds(&b)? == [world.as_str().context("no world")?], "{:?}", worlds(&b));
        Ok(())
    });
}

#[test]
fn both_families_are_proved() {
    limit::test(LIMIT, |lab| {
        lab.use_dual_stack()?;
        let server = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start_dual_stack(lab, &server)?;
        let public = lab.public_host("a", Wire::PLAIN)?;
        let a = node(lab, "a", &public.namespace, Some(supernode.link()))?;
        a.wait_registered(JOIN_LIMIT)?;
        let hosted = host(&a, &[])?;
        let own = public.ipv6.context("no IPv6")?;
        says(
            &hosted,
            &format!("at {}:{HOSTING} and [{own}]:{HOSTING}", public.address),
        )
    });
}

#[test]
fn a_full_cone_is_proved_by_two_supernodes_and_kept_open() {
    limit::test(LIMIT, |lab| {
        let world = World::start(lab, 2, Wire::PLAIN)?;
        let home = lab.home("a", Nat::FullCone, Wire::PLAIN)?;
        let far = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let a = node(lab, "a", &home.host, Some(&world.link))?;
        a.wait_registered(JOIN_LIMIT)?;
        let hosted = host(&a, &[])?;
        says(&hosted, &format!("the others meet here, at {}:{HOSTING}", home.outside))?;
        // Longer than the router remembers a port through which nothing goes out.
        std::thread::sleep(Duration::from_secs(40));
        let b = node(lab, "b", &far.host, None)?;
        joins(&b, &hosted.link, &a)?;
        // Nothing has moved, so another network changes nothing, and whoever is served stays so.
        let again = host(&a, &["--name", "other"])?;
        says(&again, "as before")
    });
}

#[test]
fn a_nat_that_goes_by_the_address_lets_nobody_else_in_so_the_others_meet_at_the_supernode() {
    limit::test(LIMIT, |lab| {
        let world = World::start(lab, 2, Wire::PLAIN)?;
        let server = lab.public_host("alone", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &server)?;
        for (number, link) in [supernode.link(), &world.link].into_iter().enumerate() {
            let home = lab.home(&format!("a{number}"), Nat::AddressRestricted, Wire::PLAIN)?;
            let far = lab.home(&format!("b{number}"), Nat::Port, Wire::PLAIN)?;
            let a = node(lab, &format!("a{number}"), &home.host, Some(link))?;
            a.wait_registered(JOIN_LIMIT)?;
            let hosted = host(&a, &[])?;
            says(
                &hosted,
                "it is not proved that this machine can be reached from outside (UDP 9601 is open to the configured \
                 supernode, and none at another address has got in as well), so the others meet at the configured \
                 supernodes",
            )?;
            ensure!(hosting(&a)?.is_null() && !serves(&a)?, "it serves all the same");
            let b = node(lab, &format!("b{number}"), &far.host, None)?;
            joins(&b, &hosted.link, &a)?;
        }
        Ok(())
    });
}

#[test]
fn a_supernode_in_the_same_lan_proves_nothing() {
    limit::test(LIMIT, |lab| {
        let homes = lab.shared_home(&["a", "s"], Nat::Port, Wire::PLAIN)?;
        let [first, second] = &homes[..] else {
            anyhow::bail!("two hosts")
        };
        let there = PublicHost {
            namespace: std::sync::Arc::clone(&second.host),
            address: second.inside,
            ipv6: None,
        };
        let supernode = Supernode::start(lab, &there)?;
        let a = node(lab, "a", &first.host, Some(supernode.link()))?;
        a.wait_registered(JOIN_LIMIT)?;
        let hosted = host(&a, &[])?;
        says(
            &hosted,
            "not proved that this machine can be reached from outside (no configured supernode outside the local network \
             answers to UDP 9601), so the others meet at the configured supernodes",
        )?;
        ensure!(hosting(&a)?.is_null() && !serves(&a)?, "it serves all the same");
        let Link::Private(link) = Link::parse(&hosted.link, Work::REQUIRED)? else {
            anyhow::bail!("no private network's link: {}", hosted.link)
        };
        ensure!(worlds(&a)? == [link.world.id().to_string()], "{:?}", worlds(&a));
        Ok(())
    });
}

#[test]
fn a_mapped_port_follows_the_address_outside() {
    limit::test(LIMIT, |lab| {
        let server = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &server)?;
        let mut home = lab.home("a", Nat::Symmetric, Wire::PLAIN)?;
        let _upnp = Upnp::start(lab, &mut home, Protocols::ALL)?;
        let far = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let a = node(lab, "a", &home.host, Some(supernode.link()))?;
        a.wait_registered(JOIN_LIMIT)?;
        let before = host(&a, &[])?;
        says(&before, &format!("the others meet here, at {}:{HOSTING}", home.outside))?;
        let version = hosting(&a)?["version"].as_u64().context("no version")?;

        let outside = home.change_address(lab)?;
        let follows = wait_for("the new address", FOLLOW_LIMIT, || {
            Ok((hosting(&a)?["addresses"][0] == format!("{outside}:{HOSTING}")).then_some(()))
        });
        follows.with_context(|| format!("{:?} {}", hosting(&a), a.log()))?;
        ensure!(hosting(&a)?["version"].as_u64() > Some(version), "{:?}", hosting(&a));
        let hosted = host(&a, &["--name", "other"])?;
        says(&hosted, &format!("{outside}:{HOSTING}"))?;
        let b = node(lab, "b", &far.host, None)?;
        b.join(&hosted.link).with_context(|| a.log())?;
        let met = wait_for("b at the new address", JOIN_LIMIT, || {
            Ok((hosting(&a)?["registrations"] == 2).then_some(()))
        });
        met.with_context(|| format!("{:?} {:?}", hosting(&a), b.peers()))
    });
}

#[test]
fn a_mapped_port_is_proved() {
    limit::test(LIMIT, |lab| {
        let server = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &server)?;
        let mut home = lab.home("a", Nat::Symmetric, Wire::PLAIN)?;
        let upnp = Upnp::start(lab, &mut home, Protocols::ALL)?;
        let far = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let mut a = node(lab, "a", &home.host, Some(supernode.link()))?;
        a.wait_registered(JOIN_LIMIT)?;
        let hosted = host(&a, &[])?;
        says(&hosted, &format!("the others meet here, at {}:{HOSTING}", home.outside))?;
        ensure!(upnp.mappings()?.len() == 2, "{:?}", upnp.mappings());
        let b = node(lab, "b", &far.host, None)?;
        joins(&b, &hosted.link, &a)?;
        a.stop()?;
        ensure!(upnp.mappings()?.is_empty(), "{:?}", upnp.mappings());
        Ok(())
    });
}

#[test]
fn behind_an_ordinary_router_the_others_meet_at_the_configured_supernode() {
    limit::test(LIMIT, |lab| {
        let server = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &server)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let far = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let a = node(lab, "a", &home.host, Some(supernode.link()))?;
        a.wait_registered(JOIN_LIMIT)?;
        let hosted = host(&a, &[])?;
        says(
            &hosted,
            "this machine cannot be reached from outside (UDP 9601 is closed to strangers",
        )?;
        says(
            &hosted,
            "so the others meet at the configured supernodes; to host without them forward UDP 9601 or give --address",
        )?;
        ensure!(hosting(&a)?.is_null() && !serves(&a)?, "it serves all the same");
        let b = node(lab, "b", &far.host, None)?;
        joins(&b, &hosted.link, &a)?;
        ensure!(worlds(&b)? == worlds(&a)?, "{:?} {:?}", worlds(&a), worlds(&b));
        Ok(())
    });
}

#[test]
fn without_any_supernode_the_machines_of_the_lan_can_join() {
    limit::test(LIMIT, |lab| {
        let homes = lab.shared_home(&["a", "b"], Nat::Port, Wire::PLAIN)?;
        let [first, second] = &homes[..] else {
            anyhow::bail!("two hosts")
        };
        let mut a = node(lab, "a", &first.host, None)?;
        let hosted = host(&a, &[])?;
        says(
            &hosted,
            "only this LAN can join; to be reached from outside forward UDP 9601, give --address, or add a supernode (`farlan \
             supernode add LINK`)",
        )?;
        let b = node(lab, "b", &second.host, None)?;
        joins(&b, &hosted.link, &a)?;
        // They go straight, and both come back by themselves.
        let path = wait_for("a direct path", JOIN_LIMIT, || {
            pings(&b, a.wait_addressed(JOIN_LIMIT)?.ipv4.context("no IPv4")?)?;
            Ok((b.peers()?.first().context("no peer")?["path"] == "direct").then_some(()))
        });
        path.with_context(|| format!("{:?}", b.peers()))?;
        a.stop()?;
        a.start()?;
        let there = a.wait_addressed(JOIN_LIMIT)?.ipv4.context("no IPv4")?;
        wait_for("a again", JOIN_LIMIT, || Ok(pings(&b, there).is_ok().then_some(())))
    });
}

#[test]
fn without_any_supernode_a_mapping_is_a_perhaps() {
    limit::test(LIMIT, |lab| {
        let mut home = lab.home("a", Nat::Symmetric, Wire::PLAIN)?;
        let _upnp = Upnp::start(lab, &mut home, Protocols::ALL)?;
        let far = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let a = node(lab, "a", &home.host, None)?;
        let hosted = host(&a, &[])?;
        says(&hosted, "the others meet at this machine, perhaps: the router ")?;
        says(
            &hosted,
            &format!(
                "lets UDP {HOSTING} in at {}:{HOSTING}, and nobody has tried",
                home.outside
            ),
        )?;
        let b = node(lab, "b", &far.host, None)?;
        joins(&b, &hosted.link, &a)
    });
}

#[test]
fn without_any_supernode_a_public_address_is_a_perhaps() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("a", Wire::PLAIN)?;
        let far = lab.home("b", Nat::Port, Wire::PLAIN)?;
        let a = node(lab, "a", &public.namespace, None)?;
        let hosted = host(&a, &[])?;
        says(
            &hosted,
            &format!(
                "the others meet at this machine, perhaps: it has the public address {}:{HOSTING}",
                public.address
            ),
        )?;
        let b = node(lab, "b", &far.host, None)?;
        joins(&b, &hosted.link, &a)
    });
}

#[test]
fn without_any_supernode_a_public_address_of_ipv6_alone_is_said_to_keep_others_out() {
    limit::test(LIMIT, |lab| {
        lab.use_dual_stack()?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let a = node(lab, "a", &home.host, None)?;
        let hosted = host(&a, &[])?;
        let own = home.ipv6.context("no IPv6")?;
        says(
            &hosted,
            &format!("perhaps: it has the public address [{own}]:{HOSTING}"),
        )?;
        says(
            &hosted,
            "by IPv4 only this LAN can join, and many have nothing else; to be reached from outside forward UDP 9601, give \
             --address, or add a supernode (`farlan supernode add LINK`)",
        )
    });
}

#[test]
fn streams_are_no_address_of_a_machines_own_supernode() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("a", Wire::PLAIN)?;
        let a = node(lab, "a", &public.namespace, None)?;
        let refused = a.cli(&["host", "--address", "tcp/host.example.org:443"])?;
        ensure!(refused.code == Some(2) && refused.stdout.is_empty(), "{refused}");
        ensure!(refused.stderr.contains("own supernode takes UDP alone"), "{refused}");
        ensure!(hosting(&a)?.is_null(), "it serves all the same");
        Ok(())
    });
}

#[test]
fn nothing_stays_mapped_for_whoever_has_gone_before_it_was_decided() {
    limit::test(LIMIT, |lab| {
        let server = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &server)?;
        let mut home = lab.home("a", Nat::Symmetric, Wire::PLAIN)?;
        let upnp = Upnp::start(lab, &mut home, Protocols::ALL)?;
        let a = node(lab, "a", &home.host, Some(supernode.link()))?;
        a.wait_registered(JOIN_LIMIT)?;
        wait_for("the daemon's own port", JOIN_LIMIT, || {
            Ok((upnp.mappings()?.len() == 1).then_some(()))
        })?;
        // It dies without a word, so asking it takes its time.
        drop(supernode);
        let mut command = a.cli_command(&["host"]);
        let mut asking = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mapped = wait_for("the port of the supernode", JOIN_LIMIT, || {
            Ok((upnp.mappings()?.len() == 2).then_some(()))
        });
        asking.kill()?;
        asking.wait()?;
        mapped?;
        wait_for("the port to be given back", JOIN_LIMIT, || {
            Ok((upnp.mappings()?.len() == 1).then_some(()))
        })?;
        ensure!(hosting(&a)?.is_null() && !serves(&a)?, "it serves all the same");
        Ok(())
    });
}

#[test]
fn whoever_is_served_is_not_cut_off_for_a_proof_that_cannot_succeed() {
    limit::test(LIMIT, |lab| {
        let server = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &server)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let a = node(lab, "a", &home.host, None)?;
        says(&host(&a, &[])?, "only this LAN can join")?;
        a.cli(&["supernode", "add", supernode.link()])?.success()?;
        wait_for("the supernode", JOIN_LIMIT, || {
            let supernodes = a.status()?["supernodes"].clone();
            let registered = |supernode: &Value| supernode["registered"] == true;
            let count = supernodes
                .as_array()
                .context("no list")?
                .iter()
                .filter(|one| registered(one));
            Ok((count.count() == 2).then_some(()))
        })?;
        let hosted = host(&a, &["--name", "other"])?;
        says(
            &hosted,
            "(no router maps UDP 9601, no card has a public address, and it takes two supernodes to tell more), so the \
             others meet at the configured supernodes",
        )?;
        let starts = a.log().matches("serving as a supernode").count();
        ensure!(starts == 1 && serves(&a)? && !hosting(&a)?.is_null(), "{}", a.log());
        Ok(())
    });
}

//! Port mappings at a real router's daemon: asked for by each protocol, used by peers, kept, and given back.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::pair::Pair;
use farlan_tests::ns::paths::{self, PATH_LIMIT};
use farlan_tests::ns::program::PORT;
use farlan_tests::ns::topology::{Home, PublicHost};
use farlan_tests::ns::upnp::{Protocols, Upnp};
use farlan_tests::ns::{Lab, Nat, Node, Wire, limit, sys};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(180);

/// How long asking by all three protocols may take on a busy machine.
const MAPPED: Duration = Duration::from_secs(30);

/// Of NAT-PMP and PCP, which miniupnpd speaks at one port, only the first is left: the first byte of a PCP request is 2.
const WITHOUT_PCP: &str = "table inet nopcp {
    chain input {
        type filter hook input priority -10;
        udp dport 5351 @th,64,8 2 drop
    }
}";

/// A home behind a router that nobody gets through otherwise, and a stranger outside.
fn home(lab: &mut Lab, protocols: Protocols) -> Result<(Home, Upnp, PublicHost)> {
    let stranger = lab.public_host("stranger", Wire::PLAIN)?;
    let mut home = lab.home("a", Nat::Symmetric, Wire::PLAIN)?;
    let upnp = Upnp::start(lab, &mut home, protocols)?;
    Ok((home, upnp, stranger))
}

/// The first port mapping that `status` shows, once it is made.
fn mapped(node: &Node, upnp: &Upnp) -> Result<Value> {
    let mapping = wait_for("a port mapping", MAPPED, || {
        let port = node.status()?["port_mapping"]["ports"][0].clone();
        Ok((!port["external"].is_null()).then_some(port))
    });
    mapping.with_context(|| format!("{:?}\n{}", node.status(), upnp.log()))
}

/// Whether what nobody has asked for reaches the daemon: it counts what it can make nothing of.
fn gets_in(node: &Node, stranger: &PublicHost, to: SocketAddr) -> Result<bool> {
    let before = node.counter("malformed_datagrams")?;
    let socket = stranger
        .namespace
        .inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    socket.send_to(&[0xff; 40], to)?;
    let arrived = wait_for("a datagram", Duration::from_secs(2), || {
        Ok((node.counter("malformed_datagrams")? > before).then_some(()))
    });
    Ok(arrived.is_ok())
}

fn is_made_by(protocol: &str, protocols: Protocols, without_pcp: bool) {
    limit::test(LIMIT, |lab| {
        let (home, upnp, stranger) = home(lab, protocols)?;
        if without_pcp {
            home.router.nft(WITHOUT_PCP)?;
        }
        let mut node = Node::new(lab, "a", &home.host, None)?;
        node.start()?;
        let place = SocketAddr::from((home.outside, PORT));
        let mapping = mapped(&node, &upnp)?;
        ensure!(mapping["protocol"] == protocol, "{mapping}");
        ensure!(mapping["external"] == place.to_string(), "{mapping}");
        ensure!(mapping["port"] == PORT && mapping["transport"] == "udp", "{mapping}");
        ensure!(mapping["behind_another_nat"] == false, "{mapping}");
        let expires = mapping["expires_s"].as_u64().context("no expiry")?;
        ensure!((600..=1200).contains(&expires), "{mapping}");
        ensure!(upnp.mappings()?.len() == 1, "{:?}", upnp.mappings());
        ensure!(gets_in(&node, &stranger, place)?, "nothing gets in\n{}", upnp.log());
        let shown = node.cli(&["status"])?.success()?.stdout;
        ensure!(shown.contains(&format!("lets UDP {PORT} in at {place}")), "{shown}");

        ensure!(node.stop()? == 0, "{}", node.log());
        ensure!(upnp.mappings()?.is_empty(), "{:?}\n{}", upnp.mappings(), upnp.log());
        Ok(())
    });
}

#[test]
fn pcp_maps_the_port_and_the_end_of_the_daemon_unmaps_it() {
    is_made_by("pcp", Protocols::ALL, false);
}

#[test]
fn nat_pmp_maps_the_port_and_the_end_of_the_daemon_unmaps_it() {
    is_made_by("nat-pmp", Protocols { upnp: true, pcp: true }, true);
}

#[test]
fn upnp_maps_the_port_and_the_end_of_the_daemon_unmaps_it() {
    is_made_by("upnp", Protocols { upnp: true, pcp: false }, false);
}

#[test]
fn two_symmetric_homes_become_direct_where_one_has_a_mapping() {
    limit::test(LIMIT, |lab| {
        let (a, upnp, _) = home(lab, Protocols::ALL)?;
        let b = lab.home("b", Nat::Symmetric, Wire::PLAIN)?;
        let pair = Pair::in_homes(lab, [a, b], Wire::PLAIN)?;
        mapped(&pair.a.node, &upnp)?;
        let pings = pair.pings(paths::PACE)?;
        let views = pair.wait_path("direct", PATH_LIMIT)?;
        drop(pings.stop()?);
        let place = format!("{}:{PORT}", pair.a.home.outside);
        ensure!(format!("{views:?}").contains(&place), "{views:?}");
        Ok(())
    });
}

#[test]
fn a_router_that_starts_anew_is_asked_again() {
    limit::test(LIMIT, |lab| {
        let (home, mut upnp, stranger) = home(lab, Protocols::ALL)?;
        let mut node = Node::new(lab, "a", &home.host, None)?;
        node.start()?;
        mapped(&node, &upnp)?;
        home.reboot_router()?;
        upnp.restart()?;
        // Long before the mapping is due: the router announces itself.
        wait_for("another mapping", MAPPED, || {
            Ok((upnp.mappings()?.len() == 1).then_some(()))
        })
        .with_context(|| format!("{}\n{}", node.log(), upnp.log()))?;
        let place = SocketAddr::from((home.outside, PORT));
        ensure!(gets_in(&node, &stranger, place)?, "nothing gets in\n{}", upnp.log());
        node.stop()?;
        ensure!(upnp.mappings()?.is_empty(), "{:?}", upnp.mappings());
        Ok(())
    });
}

#[test]
fn the_configuration_switches_mappings_off_and_on_while_the_daemon_runs() {
    limit::test(LIMIT, |lab| {
        let (home, upnp, _) = home(lab, Protocols::ALL)?;
        let mut node = Node::new(lab, "a", &home.host, None)?;
        let file = lab.directory().join("a.toml");
        let write = |on: bool| std::fs::write(&file, format!("port_mapping = {on}\n"));
        write(true)?;
        node.set_arguments(&["--config", file.to_str().context("a path in UTF-8")?]);
        node.start()?;
        mapped(&node, &upnp)?;
        write(false)?;
        sys::hang_up(node.pid()?)?;
        wait_for("no mapping", MAPPED, || Ok(upnp.mappings()?.is_empty().then_some(())))?;
        ensure!(node.status()?["port_mapping"]["on"] == false, "{:?}", node.status());
        Ok(())
    });
}

#[test]
fn a_router_without_any_of_the_protocols_is_said_to_be_one() {
    limit::test(LIMIT, |lab| {
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, None)?;
        node.start()?;
        let trouble = wait_for("a verdict", MAPPED, || {
            let trouble = &node.status()?["port_mapping"]["ports"][0]["trouble"];
            Ok(trouble.as_str().map(str::to_owned))
        })?;
        ensure!(trouble.contains("none of PCP, NAT-PMP and UPnP"), "{trouble}");
        ensure!(node.stop()? == 0, "{}", node.log());
        Ok(())
    });
}

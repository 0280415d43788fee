//! `farlan why` and `farlan netcheck`.

use std::time::Duration;

use super::{
    client::Client,
    output::Output,
    show::{nothing, rtt, short},
};
use crate::{
    api::{CheckedSupernode, NetcheckReply, PortMapping, WhyReply, WhyRequest},
    failure::Failure,
};

/// How long the daemon may take beyond what every request gets.
const LONGEST: Duration = Duration::from_secs(6);

pub(super) async fn why(client: &Client, output: &mut Output, peer: String) -> Result<(), Failure> {
    let reply: WhyReply = client.post("/v1/why", &WhyRequest { peer }, LONGEST).await?;
    if output.json() {
        output.document(&reply)?;
    } else {
        show_why(output, &reply)?;
    }
    if reply.fine {
        return Ok(());
    }
    Err(Failure::negative(format_args!("the verdict is {}", reply.code)))
}

fn show_why(output: &mut Output, reply: &WhyReply) -> Result<(), Failure> {
    output.line(format_args!("{}: {}", reply.code, reply.sentence))?;
    for line in &reply.evidence {
        output.line(format_args!("  {line}"))?;
    }
    output.line(format_args!("advice: {}", reply.advice))
}

pub(super) async fn netcheck(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let reply: NetcheckReply = client.post("/v1/netcheck", &(), LONGEST).await?;
    if output.json() {
        output.document(&reply)?;
    } else {
        show_netcheck(output, &reply)?;
    }
    match reply.obstacles.len() {
        0 => Ok(()),
        1 => Err(Failure::negative("something is in the way of direct paths")),
        count => Err(Failure::negative(format_args!(
            "{count} things are in the way of direct paths"
        ))),
    }
}

fn show_netcheck(output: &mut Output, reply: &NetcheckReply) -> Result<(), Failure> {
    let list = |endpoints: &[std::net::SocketAddr], ipv6: bool| {
        let of_family = endpoints.iter().filter(|endpoint| endpoint.is_ipv6() == ipv6);
        let shown: Vec<_> = of_family.map(ToString::to_string).collect();
        if shown.is_empty() {
            "none".to_owned()
        } else {
            shown.join(", ")
        }
    };
    let mut rows = vec![
        ("UDP reaches supernodes", reply.udp.clone()),
        ("TCP reaches supernodes", reply.tcp.clone()),
        ("seen from outside", list(&reply.outside, false)),
        ("the same, IPv6", list(&reply.outside, true)),
        ("address translation", reply.nat.translated.clone()),
        ("mapping", reply.nat.mapping.clone()),
        ("ports outside", reply.nat.ports.clone()),
        ("filtering", reply.nat.filtering.clone()),
        ("hairpin", reply.nat.hairpin.clone()),
        ("carrier's NAT", reply.carrier.clone()),
        ("port mapping", mapped(&reply.port_mapping)),
        (
            "largest packet",
            reply.mtu.map_or_else(|| "unknown".into(), |mtu| format!("{mtu} bytes")),
        ),
        ("address hidden", if reply.hidden { "yes".into() } else { "no".into() }),
    ];
    if let Some(nat) = &reply.nat_ipv6 {
        rows.push(("address translation, IPv6", nat.translated.clone()));
        rows.push(("mapping, IPv6", nat.mapping.clone()));
    }
    for (name, value) in rows {
        output.line(format_args!("{name:<26}{value}"))?;
    }
    if !reply.supernodes.is_empty() {
        output.line("")?;
        let rows: Vec<_> = reply.supernodes.iter().map(supernode).collect();
        output.table(
            [
                "SUPERNODE",
                "ADDRESS",
                "REGISTERED",
                "RTT",
                "UDP",
                "TCP",
                "PACKET",
                "SEES THIS AT",
            ],
            &rows,
        )?;
    }
    output.line("")?;
    if reply.unfinished {
        output.line("not everything was found out in 5 s; ask again")?;
    }
    if reply.obstacles.is_empty() {
        return output.line("nothing is in the way of direct paths");
    }
    for obstacle in &reply.obstacles {
        output.line(format_args!("{}: {}", obstacle.code, obstacle.sentence))?;
        output.line(format_args!("  advice: {}", obstacle.advice))?;
    }
    Ok(())
}

/// What the router gave, in a few words.
fn mapped(mapping: &PortMapping) -> String {
    if !mapping.on {
        return "switched off".into();
    }
    let words = mapping.ports.iter().map(|port| match (&port.external, &port.trouble) {
        (Some(external), _) if port.behind_another_nat => {
            format!("{} gave {external}, behind another NAT", port.gateway)
        }
        (Some(external), _) => {
            format!(
                "{external} by {}",
                port.protocol.as_deref().unwrap_or("an unknown protocol")
            )
        }
        (None, Some(trouble)) => format!("{}: {trouble}", port.gateway),
        (None, None) => format!("{} is asked", port.gateway),
    });
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        "no router to ask".into()
    } else {
        words.join("; ")
    }
}

/// Where a supernode sees this node, by both families.
fn seen_at(checked: &CheckedSupernode) -> String {
    let seen = checked.seen_at.into_iter().chain(checked.also_seen_at);
    let seen: Vec<_> = seen.map(|seen| seen.to_string()).collect();
    if seen.is_empty() { nothing() } else { seen.join(", ") }
}

fn supernode(checked: &CheckedSupernode) -> [String; 8] {
    [
        short(&checked.node_id),
        checked.address.clone().unwrap_or_else(nothing),
        match (checked.registered, checked.home) {
            (true, true) => "home".into(),
            (true, false) => "yes".into(),
            (false, _) => "no".into(),
        },
        rtt(checked.rtt_ms),
        checked.udp.clone(),
        checked.tcp.clone(),
        checked.mtu.map_or_else(nothing, |mtu| mtu.to_string()),
        seen_at(checked),
    ]
}

//! `farlan circle`: who hears this machine's broadcasts, and whom the user mutes or pins.

use std::{
    collections::BTreeSet,
    io::{IsTerminal, stdout},
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{
    client::Client,
    output::{CLEAR, Output, WATCHED_EVERY},
    show::{self, nothing, short, short_name},
};
use crate::{
    api::{CircleCounts, CircleMember, CircleReply, CircleRequest, MarkReply, MarkRequest, NetworkCircle},
    failure::Failure,
};

/// What is shown, or done.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Circle {
    #[command(subcommand)]
    change: Option<Change>,
    /// In which network alone: its name, id or interface [default: all joined ones]
    network: Option<String>,
    /// Broadcasts by which this listed game searches
    #[arg(long, value_name = "NAME", conflicts_with = "udp")]
    game: Option<String>,
    /// Broadcasts to this UDP port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    udp: Option<u16>,
    /// Go on, and show what changes, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Hear no broadcasts of a member, pass none of them on, and let it get none of this machine's
    ///
    /// In networks of any size. It stays so over restarts; up to 256 can be muted in a network.
    Mute(Whom),
    /// End `mute`
    Unmute(Whom),
    /// Have a member be the first to get this machine's broadcasts, whether it was in touch or not
    ///
    /// It counts in networks where not all get a copy. It stays so over restarts; up to 256 can be pinned in a network.
    Pin(Whom),
    /// End `pin`
    Unpin(Whom),
}

#[derive(Debug, Args)]
struct Whom {
    /// A name, a node id, at least its first 10 letters, or an address in one of the networks
    node: String,
    /// In which network [default: the only one that can be meant]
    network: Option<String>,
}

pub(super) async fn circle(client: &Client, output: &mut Output, circle: Circle) -> Result<(), Failure> {
    match circle.change {
        Some(Change::Mute(whom)) => mark(client, output, "mute", whom).await,
        Some(Change::Unmute(whom)) => mark(client, output, "unmute", whom).await,
        Some(Change::Pin(whom)) => mark(client, output, "pin", whom).await,
        Some(Change::Unpin(whom)) => mark(client, output, "unpin", whom).await,
        None => {
            let request = CircleRequest {
                network: circle.network,
                game: circle.game,
                port: circle.udp,
            };
            look(client, output, &request, circle.watch).await
        }
    }
}

async fn mark(client: &Client, output: &mut Output, verb: &str, whom: Whom) -> Result<(), Failure> {
    let request = MarkRequest {
        node: whom.node,
        network: whom.network,
    };
    let reply: MarkReply = client.post(&format!("/v1/{verb}"), &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    output.line(marked(verb, &reply))?;
    show::notes(output, &reply.notes)
}

/// What is so now.
fn marked(verb: &str, reply: &MarkReply) -> String {
    let who = match &reply.host {
        Some(host) => format!("{} ({})", short_name(host), short(&reply.node_id)),
        None => short(&reply.node_id),
    };
    let network = &reply.name;
    match verb {
        "mute" => format!("{who} is muted in {network}: its broadcasts are not heard here, and it gets none"),
        "unmute" => format!("{who} is not muted in {network} any more"),
        "pin" => format!("{who} is pinned in {network}: it is the first to get broadcasts of this machine"),
        _ => format!("{who} is not pinned in {network} any more"),
    }
}

async fn look(client: &Client, output: &mut Output, request: &CircleRequest, watch: bool) -> Result<(), Failure> {
    let redraws = stdout().is_terminal() && !output.json();
    let mut shown: Option<CircleReply> = None;
    loop {
        let reply: CircleReply = client.post("/v1/circle", request, Duration::ZERO).await?;
        if reply.networks.is_empty() {
            return Err(Failure::negative(
                "no network is joined; join one with: farlan join LINK, or make one with: farlan host",
            ));
        }
        let lasting = reply.lasting();
        if !watch {
            return if output.json() {
                output.document(&reply)
            } else {
                table(output, &reply)
            };
        }
        if redraws {
            output.line(format_args!("{CLEAR}Ctrl-C ends this"))?;
            table(output, &reply)?;
        } else if shown.as_ref() != Some(&lasting) {
            if output.json() {
                output.document(&reply)?;
            } else {
                changes(output, shown.as_ref(), &lasting)?;
            }
            shown = Some(lasting);
        }
        if output.is_closed() {
            return Ok(());
        }
        tokio::time::sleep(WATCHED_EVERY).await;
    }
}

/// Who came into a circle (`+`) and who is out of it (`-`); who is in it for another reason now is both.
fn changes(output: &mut Output, before: Option<&CircleReply>, now: &CircleReply) -> Result<(), Failure> {
    let lines = |reply: &CircleReply| -> BTreeSet<String> {
        let networks = reply.networks.iter();
        let line = |network: &NetworkCircle, member: &CircleMember| {
            let why = member.why.as_deref().map_or("", reason);
            format!("{}: {}  {why}", network.name, called(member))
        };
        networks
            .flat_map(|network| network.copies.iter().map(move |member| line(network, member)))
            .collect()
    };
    let before = before.map(lines).unwrap_or_default();
    let now = lines(now);
    for gone in before.difference(&now) {
        output.line(format_args!("- {gone}"))?;
    }
    now.difference(&before)
        .try_for_each(|come| output.line(format_args!("+ {come}")))
}

fn table(output: &mut Output, reply: &CircleReply) -> Result<(), Failure> {
    for (number, network) in reply.networks.iter().enumerate() {
        if number > 0 {
            output.line("")?;
        }
        output.line(head(network))?;
        if network.spreads {
            if !network.copies.is_empty() {
                let rows: Vec<_> = network.copies.iter().map(row).collect();
                output.table(["PEER", "NAME", "WHY", "LAST", "PASSES ON", "NEED", "PATH"], &rows)?;
            }
            output.line(sum(network))?;
            if !network.others.is_empty() {
                output.line(format_args!("no copies now: {}", list(&network.others)))?;
            }
        } else if !network.copies.is_empty() {
            output.line(format_args!("known: {}", list(&network.copies)))?;
        }
        if !network.muted.is_empty() {
            output.line(format_args!("muted: {}", list(&network.muted)))?;
        }
        if let Some(counts) = &network.counts {
            output.line(counted(counts))?;
        }
    }
    Ok(())
}

/// How it goes in a network.
fn head(network: &NetworkCircle) -> String {
    let (name, members) = (&network.name, network.members);
    if !network.spreads {
        let up_to = format!("so it is in networks of up to {}", network.full_max);
        return match members {
            0 => format!("{name}: the supernode has not told yet how many members there are"),
            1 => format!("{name}: nobody else is here yet"),
            members => format!("{name}: each of {members} members gets a copy of a broadcast; {up_to}"),
        };
    }
    let what = match &network.channel {
        None => "broadcasts spread".to_owned(),
        Some(channel) => {
            let what = &channel.channel;
            match (channel.subscribers, channel.served) {
                (None, _) => format!("broadcasts to {what} spread; nobody told who subscribed"),
                (Some(count), true) => format!("the {count} subscribers of {what} get a copy each"),
                (Some(count), false) => format!(
                    "broadcasts to {what} spread; {count} subscribed, of whom {} are known here",
                    channel.known
                ),
            }
        }
    };
    format!("{name}: {members} members, so {what}")
}

fn sum(network: &NetworkCircle) -> String {
    let copies = match network.copies.len() {
        0 => return "nobody would get a copy now: nobody is known here yet".to_owned(),
        1 => "1 copy".to_owned(),
        copies => format!("{copies} copies"),
    };
    format!(
        "{copies}, up to {} deliveries of {}; this machine could pass on {}",
        network.deliveries, network.ceiling, network.need
    )
}

fn counted(counts: &CircleCounts) -> String {
    let mut text = format!(
        "since the start: {} sent, {} received ({} copies came again), {} passed on",
        counts.sent, counts.received, counts.duplicates, counts.forwarded
    );
    for (count, what) in [
        (counts.thinned, "sent to active contacts alone, as there were too many"),
        (counts.suppressed, "not sent, as there were too many"),
        (counts.limited, "copies not passed on, as there were too many"),
        (counts.refused, "copies refused"),
        (counts.forged, "copies with a bad signature"),
        (counts.lost, "copies given up"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn row(member: &CircleMember) -> [String; 7] {
    [
        short(&member.node_id),
        member.host.as_deref().map_or_else(nothing, short_name),
        member.why.as_deref().map_or_else(nothing, |why| reason(why).to_owned()),
        member.age_s.map_or_else(nothing, ago),
        member.share.to_string(),
        member.need.map_or_else(nothing, |need| need.to_string()),
        member.path.clone().unwrap_or_else(nothing),
    ]
}

/// Why somebody gets a copy, in words; one that is not known here as it is.
fn reason(why: &str) -> &str {
    match why {
        "active" => "in touch",
        "recent" => "was in touch",
        "bootstrap" => "at random, for want of contacts",
        "long_link" => "at random",
        other => other,
    }
}

fn ago(seconds: f64) -> String {
    if seconds < 1.0 {
        return "now".to_owned();
    }
    // Ten minutes at the most.
    format!("{} ago", show::age(seconds as u64))
}

/// Members in a line: the first of them, and how many more there are.
fn list(members: &[CircleMember]) -> String {
    let mut names: Vec<_> = members.iter().take(LISTED).map(called).collect();
    if members.len() > LISTED {
        names.push(format!("and {} more", members.len() - LISTED));
    }
    names.join(", ")
}

fn called(member: &CircleMember) -> String {
    let mut text = match &member.host {
        Some(host) => short_name(host),
        None => short(&member.node_id),
    };
    let says = [(member.pinned, " (pinned)"), (member.silent, " (does not answer)")];
    for (_, word) in says.iter().filter(|(is_so, _)| *is_so) {
        text.push_str(word);
    }
    text
}

/// Members in one line, at the most.
const LISTED: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(why: &str, share: u8) -> CircleMember {
        CircleMember {
            node_id: "abcdefghijklmnopqrstuvwxyz".to_owned(),
            host: Some("ann.lan.farlan.internal".to_owned()),
            why: Some(why.to_owned()),
            share,
            need: Some(9),
            age_s: Some(12.3),
            score: 4,
            path: Some("direct".to_owned()),
            ..CircleMember::default()
        }
    }

    fn network(members: u32, spreads: bool, copies: Vec<CircleMember>) -> NetworkCircle {
        NetworkCircle {
            name: "lan".to_owned(),
            network_id: "n".to_owned(),
            members,
            full_max: 128,
            spreads,
            deliveries: copies.iter().map(|member| 1 + usize::from(member.share)).sum(),
            copies,
            others: Vec::new(),
            muted: Vec::new(),
            ceiling: if spreads { 192 } else { 0 },
            need: 7,
            channel: None,
            counts: None,
        }
    }

    #[test]
    fn a_row_tells_who_why_when_and_how_far() {
        let expected = ["abcdefghij", "ann.lan", "in touch", "12 s ago", "5", "9", "direct"];
        assert_eq!(row(&member("active", 5)), expected);
        let bare = CircleMember {
            host: None,
            need: None,
            age_s: None,
            path: None,
            ..member("long_link", 0)
        };
        assert_eq!(row(&bare), ["abcdefghij", "-", "at random", "-", "0", "-", "-"]);
        assert_eq!(
            row(&CircleMember {
                age_s: Some(0.4),
                ..bare
            })[3],
            "now"
        );
    }

    #[test]
    fn small_networks_say_that_everybody_gets_a_copy() {
        for (members, words) in [
            (0, "has not told yet"),
            (1, "nobody else"),
            (9, "each of 9 members gets a copy"),
        ] {
            let text = head(&network(members, false, Vec::new()));
            assert!(text.starts_with("lan: ") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn large_networks_say_how_far_a_broadcast_goes() {
        let large = network(500, true, vec![member("pinned", 64), member("active", 30)]);
        assert_eq!(head(&large), "lan: 500 members, so broadcasts spread");
        assert_eq!(
            sum(&large),
            "2 copies, up to 96 deliveries of 192; this machine could pass on 7"
        );
        assert!(sum(&network(500, true, Vec::new())).contains("nobody"));
        let channel = |subscribers, served| {
            let channel = Some(crate::api::CircleChannel {
                channel: "27015/udp".to_owned(),
                subscribers,
                known: 16,
                served,
            });
            head(&NetworkCircle {
                channel,
                ..large.clone()
            })
        };
        assert!(channel(Some(20), true).ends_with("the 20 subscribers of 27015/udp get a copy each"));
        assert!(channel(Some(300), false).contains("300 subscribed, of whom 16 are known here"));
        assert!(channel(None, false).contains("nobody told"));
    }

    #[test]
    fn long_lists_are_cut_and_what_is_special_is_said() {
        let mut members = vec![member("active", 0); 14];
        members[0].pinned = true;
        members[1].silent = true;
        let text = list(&members);
        assert!(
            text.starts_with("ann.lan (pinned), ann.lan (does not answer), ann.lan, "),
            "{text}"
        );
        assert!(text.ends_with("and 2 more"), "{text}");
    }

    #[test]
    fn times_shares_and_counts_are_no_change() {
        let reply = |age_s, share| CircleReply {
            schema: 1,
            networks: vec![NetworkCircle {
                deliveries: 1,
                counts: Some(CircleCounts {
                    sent: u64::from(share),
                    ..CircleCounts::default()
                }),
                ..network(
                    500,
                    true,
                    vec![CircleMember {
                        age_s,
                        ..member("active", share)
                    }],
                )
            }],
        };
        assert_eq!(reply(Some(1.0), 4).lasting(), reply(Some(2.0), 5).lasting());
        let mut other = reply(Some(1.0), 4);
        other.networks[0].copies[0].why = Some("recent".to_owned());
        assert_ne!(other.lasting(), reply(Some(1.0), 4).lasting());
    }

    #[test]
    fn what_only_some_need_to_know_is_left_out() {
        let counts = CircleCounts {
            sent: 3,
            received: 20,
            duplicates: 4,
            forwarded: 9,
            ..CircleCounts::default()
        };
        assert_eq!(
            counted(&counts),
            "since the start: 3 sent, 20 received (4 copies came again), 9 passed on"
        );
        let forged = CircleCounts { forged: 2, ..counts };
        assert!(counted(&forged).ends_with("9 passed on, 2 copies with a bad signature"));
    }
}

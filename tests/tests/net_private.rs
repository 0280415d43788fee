//! Private networks: made, joined by an invite, and left by force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{DEFAULT_LIMIT, wait_for};
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::switch::{Cards, Switches};
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Namespace, Nat, Node, Supernode, Wire, limit};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(240);

/// How long what happens by itself may take on a busy machine; the measured times are printed.
const SOON: Duration = Duration::from_secs(40);

/// Whether one ping is answered.
fn answers(from: &Arc<Namespace>, target: &str) -> Result<bool> {
    let report = PingReport::run(from, &["-c", "1", "-W", "1", target], DEFAULT_LIMIT)?;
    Ok(report.answered() == 1)
}

fn reaches(from: &Arc<Namespace>, target: &str) -> Result<()> {
    wait_for(&format!("{target} to answer {}", from.name()), SOON, || {
        Ok(answers(from, target)?.then_some(()))
    })
}

/// The IPv4 address that a name resolves to.
fn address_of(node: &Node, name: &str) -> Result<String> {
    wait_for(&format!("{} to know {name}", node.name()), SOON, || {
        let Ok(found) = node.json(&["resolve", name]) else {
            return Ok(None);
        };
        Ok(found["ipv4"].as_str().map(str::to_owned))
    })
}

fn private(node: &Node) -> Result<Value> {
    let networks = node.json(&["networks"])?;
    Ok(networks[0]["private"].clone())
}

fn certified(node: &Node) -> Result<()> {
    wait_for(
        &format!("{} to have a certificate of the network's key", node.name()),
        SOON,
        || Ok((private(node)?["state"] == "certified").then_some(())),
    )
}

/// The members that a node lists: name, address and state.
fn members(node: &Node) -> Result<Vec<(String, String, String)>> {
    let reply = node.json(&["members", "home"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let members = reply["members"].as_array().context("no members")?;
    let row = |member: &Value| (text(&member["name"]), text(&member["ipv4"]), text(&member["state"]));
    Ok(members.iter().map(row).collect())
}

/// Makes the network `home` at a node that is called `ann` there, and an invite into it.
fn create(node: &Node) -> Result<String> {
    let made = node.cli(&["create", "home", "--my-name", "ann"])?.success()?;
    ensure!(
        made.stdout.contains("farlan export") && made.stdout.contains("delegate"),
        "nothing is said of a lost key: {made}"
    );
    let invited = node.cli(&["invite", "home"])?.success()?;
    ensure!(invited.stderr.contains("whoever holds this link"), "{invited}");
    Ok(invited.stdout.trim().to_owned())
}

#[test]
fn members_come_in_while_the_owner_is_away_and_get_certificates_when_she_is_back() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let mut nodes = Vec::new();
        for name in ["a", "b", "c"] {
            let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
            let link = (name == "a").then(|| supernode.link());
            nodes.push((Node::new(lab, name, &home.host, link)?, home));
        }
        let [(a, _), (b, b_home), (c, c_home)] = &mut nodes[..] else {
            unreachable!("three were made")
        };
        a.start()?;
        a.wait_registered(JOIN_LIMIT)?;
        let link = create(a)?;
        a.stop()?;

        b.start()?;
        c.start()?;
        let begun = Instant::now();
        b.cli(&["join", &link, "--name", "ben"])?.success()?;
        let second = Instant::now();
        let joined = c.cli(&["join", &link, "--name", "cat"])?.success()?;
        ensure!(private(c)?["state"] == "provisional", "{}", private(c)?);
        let ben = address_of(c, "ben")?;
        reaches(&c_home.host, &ben)?;
        println!(
            "cat reached ben by name {:.2} s after she began to join",
            second.elapsed().as_secs_f64()
        );
        let cat = address_of(b, "cat")?;
        reaches(&b_home.host, &cat)?;
        println!(
            "both reached each other {:.2} s after the first began",
            begun.elapsed().as_secs_f64()
        );
        b.cli(&["ping", "cat.home", "-c", "1"])?.success()?;
        ensure!(joined.stdout.contains(&cat), "{joined}");

        a.start()?;
        let begun = Instant::now();
        certified(b)?;
        certified(c)?;
        println!("certificates {:.2} s after she was back", begun.elapsed().as_secs_f64());
        let own = a.wait_addressed(JOIN_LIMIT)?.ipv4.context("no IPv4")?.to_string();
        wait_for("the members' list to be right", SOON, || {
            let certified = |name: &str, address: &str| (name.into(), address.into(), "certified".into());
            let wanted = vec![certified("ann", &own), certified("ben", &ben), certified("cat", &cat)];
            Ok((members(a)? == wanted).then_some(()))
        })
        .with_context(|| format!("{:?}", members(a)))?;
        ensure!(
            address_of(c, "ben")? == ben && address_of(b, "cat")? == cat,
            "addresses changed"
        );
        reaches(&b_home.host, &address_of(b, "ann")?)?;
        let invites = a.json(&["invites", "home"])?;
        ensure!(invites["invites"][0]["taken"] == 2, "{invites}");
        Ok(())
    });
}

#[test]
fn two_on_one_switch_meet_without_any_supernode_and_again_after_a_reboot() {
    limit::test(LIMIT, |lab| {
        let mut switches = Switches::new(lab, 2)?;
        let host = switches.plug(lab, "s", 0, Cards::Ipv4)?;
        let mut supernode = Supernode::start(lab, &host.public().context("no IPv4")?)?;
        supernode.process().kill()?;
        let hosts = [
            switches.plug(lab, "a", 1, Cards::Ipv4)?,
            switches.plug(lab, "b", 1, Cards::Ipv4)?,
        ];
        let mut a = Node::new(lab, "a", &hosts[0].host, Some(supernode.link()))?;
        let mut b = Node::new(lab, "b", &hosts[1].host, None)?;
        a.start()?;
        b.start()?;
        let link = create(&a)?;
        let begun = Instant::now();
        let joined = b.cli(&["join", &link, "--name", "ben"])?.success()?;
        ensure!(joined.stdout.contains("members were found"), "{joined}");
        let ann = address_of(&b, "ann")?;
        reaches(&hosts[1].host, &ann)?;
        println!(
            "ben reached ann {:.2} s after he began to join",
            begun.elapsed().as_secs_f64()
        );
        let ben = address_of(&a, "ben")?;
        reaches(&hosts[0].host, &ben)?;
        certified(&b)?;

        a.kill()?;
        b.kill()?;
        let begun = Instant::now();
        a.launch()?;
        b.launch()?;
        a.wait_ready()?;
        b.wait_ready()?;
        reaches(&hosts[0].host, &ben)?;
        println!(
            "ann reached ben {:.2} s after both were started again",
            begun.elapsed().as_secs_f64()
        );
        reaches(&hosts[1].host, &ann)?;
        Ok(())
    });
}

/// Everybody who takes part in a kick: Ann, who is the owner, Ben, Eve, who is kicked, and Olga, who is away then.
struct Party {
    _supernode: Supernode,
    nodes: Vec<(Node, Arc<Namespace>)>,
    link: String,
}

impl Party {
    fn start(lab: &mut Lab) -> Result<Self> {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let mut nodes = Vec::new();
        let mut link = String::new();
        for name in ["ann", "ben", "eve", "olga"] {
            let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            if name == "ann" {
                link = create(&node)?;
            } else {
                node.cli(&["join", &link, "--name", name])?.success()?;
                certified(&node)?;
            }
            nodes.push((node, home.host.clone()));
        }
        Ok(Self {
            _supernode: supernode,
            nodes,
            link,
        })
    }
}

#[test]
fn who_is_kicked_is_out_everywhere_and_does_not_come_back_by_the_old_link() {
    limit::test(LIMIT, |lab| {
        let mut party = Party::start(lab)?;
        let link = party.link.clone();
        let [(ann, ann_host), (ben, ben_host), (eve, eve_host), (olga, olga_host)] = &mut party.nodes[..] else {
            unreachable!("four were made")
        };
        let at = [
            address_of(eve, "ann")?,
            address_of(eve, "ben")?,
            address_of(eve, "olga")?,
        ];
        let eves = address_of(ben, "eve")?;
        for address in &at {
            reaches(eve_host, address)?;
        }
        olga.stop()?;

        let begun = Instant::now();
        let kicked = ann.cli(&["kick", "eve"])?.success()?;
        ensure!(
            kicked.stdout.contains("ben, olga") && kicked.stdout.contains("withdrawn"),
            "it is not said who came in by the same invite: {kicked}"
        );
        for (host, address) in [(&*ann_host, &at[0]), (&*ben_host, &at[1])] {
            wait_for("the kicked one to get no answer", SOON, || {
                Ok((!answers(eve_host, address)? && !answers(host, &eves)?).then_some(()))
            })?;
        }
        println!(
            "eve was out at all that were there {:.2} s after the kick",
            begun.elapsed().as_secs_f64()
        );
        reaches(ann_host, &at[1])?;
        let names: Vec<_> = members(ann)?;
        ensure!(
            names.iter().any(|(name, _, state)| name == "eve" && state == "kicked"),
            "{names:?}"
        );

        // Olga comes back while no controller is there: the supernode and Ben hold the set.
        ann.stop()?;
        olga.start()?;
        let begun = Instant::now();
        reaches(olga_host, &at[1])?;
        println!(
            "olga met ben {:.2} s after she was started",
            begun.elapsed().as_secs_f64()
        );
        for _ in 0..10 {
            ensure!(!answers(eve_host, &at[2])?, "eve got an answer of olga");
            ensure!(!answers(olga_host, &eves)?, "olga got an answer of eve");
        }

        // With another identity and the old link.
        eve.stop()?;
        eve.forget()?;
        eve.start()?;
        let _ = eve.cli(&["join", &link, "--name", "eva"])?;
        for _ in 0..5 {
            for address in &at {
                ensure!(
                    !answers(eve_host, address)?,
                    "eve came back by the old link, to {address}"
                );
            }
        }
        for node in [&*ben, &*olga] {
            let listed = members(node)?;
            ensure!(
                listed.iter().all(|(name, ..)| name != "eva" && name != "eve"),
                "{listed:?}"
            );
        }
        Ok(())
    });
}

//! Who hears broadcasts in a network in which not each member gets a copy, as `farlan circle` says; and who is muted and pinned.
//!
//! The nodes are `farlan-lowered`, for which nine members are many already.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::crowd::Crowd;
use farlan_tests::ns::ears::Ears;
use farlan_tests::ns::limit;
use farlan_tests::ns::members::{answers, reaches};
use farlan_tests::ns::ping::PingReport;
use farlan_tests::ns::program::{Node, helper, released};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(600);

/// How long what happens by itself may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Members: one that broadcasts (0), five hosts with whom it plays (1 to 5), five players of each host, and one who plays with nobody.
const MEMBERS: usize = 32;
const HOSTS: usize = 5;
const PLAYERS: usize = 5;
const LONELY: usize = 31;

/// Seconds in which frames go both ways between members: of the first host with the sender most, so that the order is plain.
const LONGEST: u32 = 12;
const OF_PLAYERS: u32 = 3;

/// How often frames go round, until no machine was so busy meanwhile that half a minute passed.
const ROUNDS: usize = 4;

/// Everybody lets these ports in; each sender has one of its own, as who sends to a port subscribes to it.
const PORTS: &str = "7100-7109/udp";
const PORT: u16 = 7100;

/// What the shares may be off what the model says: it does not round.
const OFF: f64 = 4.0;

#[test]
fn circle_says_who_hears_broadcasts_and_they_do() {
    limit::test(LIMIT, |lab| -> Result<()> {
        let mut crowd = Crowd::of_strangers(lab, MEMBERS, &lowered()?, "lobby")?;
        let ids = prepare(&crowd)?;
        let mut ears = Ears::open(&crowd.members)?;
        let all: BTreeSet<usize> = (1..LONELY).collect();

        let mut verdict = Ok(());
        for _ in 0..ROUNDS {
            exchange(&crowd)?;
            let number = ears.send(&crowd.members[0], PORT)?;
            let heard = ears.wait(number, &all, SOON)?;
            println!("broadcast {number} was heard by {} of {MEMBERS}", heard.len());
            let view = circle(&crowd.members[0].node)?;
            verdict = fits(&view, &ids).with_context(|| format!("{view:#}"));
            match &verdict {
                Ok(()) => break,
                Err(error) => println!("once more: {error:#}"),
            }
        }
        verdict?;
        // Who has it passes it on, and says so.
        let mut passed_on = 0;
        for member in &crowd.members {
            passed_on += circle(&member.node)?["counts"]["forwarded"]
                .as_u64()
                .unwrap_or_default();
        }
        println!("{passed_on} copies were passed on in all");
        ensure!(passed_on > 0, "nobody passed anything on");

        let sender = &crowd.members[0].node;
        mark(sender, "pin", &ids[LONELY])?;
        let view = circle(sender)?;
        ensure!(view["copies"][0]["node_id"] == ids[LONELY].as_str(), "{view:#}");
        ensure!(view["copies"][0]["why"] == "pinned", "{view:#}");
        let number = ears.send(&crowd.members[0], PORT)?;
        ears.wait(number, &all.iter().copied().chain([LONELY]).collect(), SOON)?;

        mark(sender, "mute", &ids[1])?;
        is_muted(sender, &ids[1])?;
        // What it says to all others hear.
        let number = ears.send(&crowd.members[1], PORT + 1)?;
        let heard = ears.wait(number, &players_of(1), SOON)?;
        ensure!(!heard.contains(&0), "a muted member was heard");
        let number = ears.send(&crowd.members[0], PORT)?;
        let others = (2..=HOSTS).flat_map(players_of).chain(2..=HOSTS);
        ears.wait(number, &others.collect(), SOON)?;

        // It is kept.
        let sender = &mut crowd.members[0];
        sender.node.stop()?;
        sender.node.start()?;
        sender.node.wait_registered(SOON)?;
        sender.network = sender.node.wait_addressed(SOON)?;
        ears.open_again(0, &crowd.members[0])?;
        let sender = &crowd.members[0].node;
        spreads(sender)?;
        is_muted(sender, &ids[1])?;
        let view = circle(sender)?;
        ensure!(view["copies"][0]["node_id"] == ids[LONELY].as_str(), "{view:#}");
        reaches(sender.namespace(), &crowd.members[1].ipv4()?.to_string())?;
        let number = ears.send(&crowd.members[1], PORT + 1)?;
        let heard = ears.wait(number, &players_of(1), SOON)?;
        ensure!(!heard.contains(&0), "a muted member was heard after a restart");

        mark(sender, "unmute", &ids[1])?;
        mark(sender, "unpin", &ids[LONELY])?;
        let view = circle(sender)?;
        ensure!(view["muted"] == Value::Array(Vec::new()), "{view:#}");
        ensure!(view["copies"][0]["why"] != "pinned", "{view:#}");
        reaches(sender.namespace(), &crowd.members[1].ipv4()?.to_string())?;
        wait_for("who is not muted any more to be heard", SOON, || {
            let number = ears.send(&crowd.members[1], PORT + 1)?;
            thread::sleep(Duration::from_secs(1));
            Ok(ears.who_heard(number)?.contains(&0).then_some(()))
        })
    });
}

#[test]
fn a_muted_member_of_a_small_network_neither_hears_nor_is_heard() {
    limit::test(LIMIT, |lab| -> Result<()> {
        let mut crowd = Crowd::start(lab, 4)?;
        let ids = ids(&crowd)?;
        let mut ears = Ears::open(&crowd.members)?;
        let others = |own: usize| -> BTreeSet<usize> { (0..4).filter(|member| *member != own).collect() };
        let hear = |ears: &mut Ears, crowd: &Crowd, from: usize, whom: &BTreeSet<usize>| -> Result<()> {
            // The first one may come before everybody has shown that it is a member.
            let mut heard = BTreeSet::new();
            for _ in 0..5 {
                let number = ears.send(&crowd.members[from], PORT)?;
                heard = match ears.wait(number, whom, Duration::from_secs(10)) {
                    Ok(heard) => heard,
                    Err(error) => {
                        println!("once more: {error:#}");
                        continue;
                    }
                };
                break;
            }
            ensure!(heard == *whom, "{heard:?} heard {from}, not {whom:?}");
            Ok(())
        };
        for from in [0, 1] {
            hear(&mut ears, &crowd, from, &others(from))?;
        }
        let view = circle(&crowd.members[0].node)?;
        ensure!(view["spreads"] == false && view["members"] == 4, "{view:#}");
        ensure!(view["copies"].as_array().map(Vec::len) == Some(3), "{view:#}");

        let node = &crowd.members[0].node;
        ensure!(
            node.cli(&["circle", "unmute", &ids[1]])?.code == Some(1),
            "it is not muted"
        );
        ensure!(node.cli(&["circle", "mute", &ids[0]])?.code == Some(1), "one's own");
        mark(node, "mute", &ids[1][..10])?;
        for restart in [false, true] {
            if restart {
                let muter = &mut crowd.members[0];
                muter.node.stop()?;
                muter.node.start()?;
                muter.node.wait_registered(SOON)?;
                muter.network = muter.node.wait_addressed(SOON)?;
                ears.open_again(0, &crowd.members[0])?;
                for other in 1..4 {
                    reaches(crowd.members[0].host(), &crowd.members[other].ipv4()?.to_string())?;
                }
            }
            hear(&mut ears, &crowd, 0, &[2, 3].into())?;
            hear(&mut ears, &crowd, 1, &[2, 3].into())?;
            hear(&mut ears, &crowd, 2, &others(2))?;
            // What goes to one alone gets through.
            ensure!(answers(crowd.members[0].host(), &crowd.members[1].ipv4()?.to_string())?);
        }
        let node = &crowd.members[0].node;
        let peers = node.peers()?;
        let muted = |peer: &&Value| peer["networks"][0]["muted"] == true;
        let muted: Vec<_> = peers.iter().filter(muted).map(|peer| peer["node_id"].clone()).collect();
        ensure!(muted == [ids[1].as_str()], "{muted:?}");
        mark(node, "unmute", &ids[1])?;
        for from in [0, 1] {
            hear(&mut ears, &crowd, from, &others(from))?;
        }
        Ok(())
    });
}

/// `farlan-lowered`: among the released programs, or else beside this one.
fn lowered() -> Result<PathBuf> {
    released("farlan-lowered").or_else(|_| helper("farlan-lowered"))
}

fn players_of(host: usize) -> BTreeSet<usize> {
    let first = HOSTS + 1 + (host - 1) * PLAYERS;
    (first..first + PLAYERS).collect()
}

/// Who speaks with whom, and for how many seconds.
fn graph() -> Vec<(usize, usize, u32)> {
    let mut graph = Vec::new();
    for (host, less) in (1..=HOSTS).zip(0..) {
        graph.push((0, host, LONGEST - 2 * less));
        graph.extend(players_of(host).into_iter().map(|player| (player, host, OF_PLAYERS)));
    }
    graph
}

/// With how many others a member speaks.
fn contacts(member: usize) -> u64 {
    let has = |(one, other, _): &&(usize, usize, u32)| *one == member || *other == member;
    graph().iter().filter(has).count() as u64
}

fn ids(crowd: &Crowd) -> Result<Vec<String>> {
    let id = |node: &Node| -> Result<String> {
        let status = node.status()?;
        Ok(status["node_id"].as_str().context("no id")?.to_owned())
    };
    crowd.members.iter().map(|member| id(&member.node)).collect()
}

/// Opens the ports, waits until the network is large for everybody, and returns their ids.
fn prepare(crowd: &Crowd) -> Result<Vec<String>> {
    for member in &crowd.members {
        member.node.cli(&["open", PORTS])?.success()?;
    }
    for member in &crowd.members {
        spreads(&member.node)?;
    }
    ids(crowd)
}

fn spreads(node: &Node) -> Result<()> {
    wait_for(&format!("the network to be large for {}", node.name()), SOON, || {
        let view = circle(node)?;
        let all = view["members"].as_u64() == Some(MEMBERS as u64);
        Ok((all && view["spreads"] == true).then_some(()))
    })
}

/// Pings along the graph, all ending at one time.
fn exchange(crowd: &Crowd) -> Result<()> {
    let ping = |one: usize, other: usize, seconds: u32| -> Result<()> {
        let (from, target) = (&crowd.members[one], crowd.members[other].ipv4()?.to_string());
        reaches(from.host(), &target)?;
        thread::sleep(Duration::from_secs(u64::from(LONGEST - seconds)));
        let count = seconds.to_string();
        let report = PingReport::run(from.host(), &["-c", &count, "-i", "1", &target], SOON)?;
        ensure!(report.answered() > 0, "{other} does not answer {one}");
        Ok(())
    };
    thread::scope(|scope| {
        let pings: Vec<_> = graph()
            .into_iter()
            .map(|(one, other, seconds)| scope.spawn(move || ping(one, other, seconds)))
            .collect();
        for ping in pings {
            ping.join().map_err(|_| anyhow::anyhow!("a ping panicked"))??;
        }
        Ok(())
    })
}

/// The circle of a node in its only network.
fn circle(node: &Node) -> Result<Value> {
    let reply = node.json(&["circle"])?;
    ensure!(reply["schema"] == 1, "{reply:#}");
    Ok(reply["networks"][0].clone())
}

fn mark(node: &Node, verb: &str, whom: &str) -> Result<()> {
    let reply = node.json(&["circle", verb, whom])?;
    let is_so = |key: &str| reply[key] == true;
    let fits = match verb {
        "mute" => is_so("muted"),
        "unmute" => !is_so("muted"),
        "pin" => is_so("pinned"),
        _ => !is_so("pinned"),
    };
    ensure!(fits, "{verb}: {reply:#}");
    Ok(())
}

/// It is listed apart, and gets nothing.
fn is_muted(node: &Node, id: &str) -> Result<()> {
    let view = circle(node)?;
    ensure!(view["muted"][0]["node_id"] == id, "{view:#}");
    let copies = view["copies"].as_array().context("no copies")?;
    ensure!(copies.iter().all(|copy| copy["node_id"] != id), "{view:#}");
    Ok(())
}

/// Whether the sender's circle is what follows from the graph.
fn fits(view: &Value, ids: &[String]) -> Result<()> {
    ensure!(view["spreads"] == true && view["members"] == MEMBERS && view["full_max"] == 8);
    ensure!(view["need"] == HOSTS, "it needs {}", view["need"]);
    let copies = view["copies"].as_array().context("no copies")?;
    let of = |copy: &Value| ids.iter().position(|id| copy["node_id"] == id.as_str());
    let members: Vec<usize> = copies.iter().map(of).collect::<Option<_>>().context("a stranger")?;
    let whys: Vec<&str> = copies.iter().filter_map(|copy| copy["why"].as_str()).collect();
    // Those it speaks with, the one it speaks with most first.
    ensure!(members.get(..HOSTS) == Some(&[1, 2, 3, 4, 5][..]), "{members:?}");
    ensure!(whys[..HOSTS] == ["active"; HOSTS], "{whys:?}");
    // Then those it heard: kernels broadcast a little by themselves. Then two at random. With so many contacts no others are needed.
    let order = |why: &&str| ["active", "heard", "long_link"].iter().position(|known| known == why);
    let ranks: Vec<usize> = whys
        .iter()
        .map(order)
        .collect::<Option<_>>()
        .with_context(|| format!("{whys:?}"))?;
    ensure!(
        ranks.is_sorted() && ranks.iter().filter(|rank| **rank == 2).count() <= 2,
        "{whys:?}"
    );
    ensure!(
        members.iter().collect::<BTreeSet<_>>().len() == members.len(),
        "{members:?}"
    );

    let mut shares = Vec::new();
    let mut those = Vec::new();
    for (copy, (member, rank)) in copies.iter().zip(members.iter().zip(ranks)) {
        let need = copy["need"].as_u64();
        if rank == 0 || need.is_some() {
            ensure!(need == Some(contacts(*member)), "{member} needs {need:?}");
        }
        // Of one that is no contact it is not shown; all have acknowledged a copy, and said it with that.
        let age = copy["age_s"].as_f64();
        ensure!(rank > 0 || age.is_some_and(|age| age < 30.0), "{member}: {age:?}");
        let weight = match rank {
            0 => (-age.unwrap_or_default() / 30.0).exp2(),
            1 => 0.3,
            _ => 0.04,
        };
        those.push((rank == 0, Some(contacts(*member) as f64), weight));
        shares.push(copy["share"].as_f64().context("no share")?);
    }
    let expected = divide(192.0 - those.len() as f64, &those);
    println!("members {members:?}, shares {shares:?}, by the model {expected:.1?}");
    for (share, expected) in shares.iter().zip(&expected) {
        ensure!(
            (share - expected).abs() <= OFF,
            "{shares:?} and by the model {expected:.1?}"
        );
    }
    let sum = shares.iter().sum::<f64>() + shares.len() as f64;
    ensure!(view["deliveries"].as_f64() == Some(sum) && view["ceiling"] == 192);
    // It is used up where somebody may have more.
    ensure!(sum == 192.0 || shares.iter().all(|share| *share == 64.0), "{sum}");
    Ok(())
}

/// The shares by the rules of PROTOCOL.md 15: first what active contacts need, the rest by weight up to what others need, then by weight
/// alone.
fn divide(mut left: f64, those: &[(bool, Option<f64>, f64)]) -> Vec<f64> {
    let need =
        |(active, need, _): &(bool, Option<f64>, f64)| need.unwrap_or(if *active { 8.0 } else { 64.0 }).min(64.0);
    let mut shares = vec![0.0; those.len()];
    for (one, share) in those.iter().zip(&mut shares) {
        if one.0 {
            *share = need(one).min(left);
            left -= *share;
        }
    }
    for round in 0..6 {
        let most = |one: &(bool, Option<f64>, f64)| if round < 3 { need(one) } else { 64.0 };
        let open: Vec<bool> = those
            .iter()
            .zip(&shares)
            .map(|(one, share)| *share < most(one))
            .collect();
        let all: f64 = those
            .iter()
            .zip(&open)
            .filter(|(_, open)| **open)
            .map(|(one, _)| one.2)
            .sum();
        let before = left;
        for ((one, share), _) in those.iter().zip(&mut shares).zip(&open).filter(|(_, open)| **open) {
            let part = (before * one.2 / all).min(most(one) - *share).min(left);
            *share += part;
            left -= part;
        }
    }
    shares
}

//! Private networks: made, joined by an invite, and left by force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::members::{
    SOON, address_of, answers, at_once, certified, create, invite, members, nobody_is_called, private, reaches,
};
use farlan_tests::ns::switch::{Cards, Switches};
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Namespace, Nat, Node, Supernode, Wire, limit};

const LIMIT: Duration = Duration::from_secs(240);

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
        for node in [&*ann, &*ben] {
            nobody_is_called(node, "eve")?;
        }
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
        nobody_is_called(olga, "eve")?;
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

#[test]
fn a_new_name_reaches_everybody_and_who_has_it() {
    limit::test(LIMIT, |lab| {
        let party = Party::start(lab)?;
        let [(ann, _), (ben, _), _, (olga, olga_host)] = &party.nodes[..] else {
            unreachable!("four were made")
        };
        let address = address_of(olga, "ben")?;
        let begun = Instant::now();
        ann.cli(&["rename", "ben", "benno"])?.success()?;
        for node in [ann, olga, ben] {
            ensure!(
                address_of(node, "benno")? == address,
                "{} has another address",
                node.name()
            );
            nobody_is_called(node, "ben")?;
        }
        ensure!(private(ben)?["name"] == "benno", "{}", private(ben)?);
        println!(
            "all knew the new name {:.2} s after it was given",
            begun.elapsed().as_secs_f64()
        );
        ensure!(
            members(ann)?
                .iter()
                .any(|(name, ip, _)| name == "benno" && *ip == address),
            "{:?}",
            members(ann)
        );
        reaches(olga_host, &address)?;
        let taken = ann.cli(&["rename", "olga", "benno"])?;
        ensure!(
            taken.code == Some(1) && taken.stderr.contains("rename that first, or choose another name"),
            "{taken}"
        );
        Ok(())
    });
}

#[test]
fn of_three_who_come_at_once_a_single_use_lets_one_in() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut ann = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        ann.start()?;
        ann.wait_registered(JOIN_LIMIT)?;
        create(&ann)?;
        let link = invite(&ann, &["--uses", "1"])?;
        let mut guests = Vec::new();
        for name in ["b", "c", "d"] {
            let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
            let mut node = Node::new(lab, name, &home.host, None)?;
            node.start()?;
            guests.push((node, home));
        }
        let joined = at_once(guests.iter().map(|(node, _)| node), &link)?;
        let (inside, outside): (Vec<_>, Vec<_>) = joined.iter().partition(|finished| finished.code == Some(0));
        ensure!(inside.len() == 1, "not exactly one came in: {joined:#?}");
        for refused in outside {
            ensure!(
                refused.code == Some(1)
                    && refused
                        .stderr
                        .contains("the invite is used up; ask its owner for a new invite"),
                "{refused}"
            );
        }
        let invites = ann.json(&["invites", "home"])?;
        let counted = invites["invites"].as_array().context("no invites")?;
        ensure!(
            counted.iter().any(|one| one["uses"] == 1 && one["taken"] == 1),
            "{invites}"
        );
        ensure!(members(&ann)?.len() == 2, "{:?}", members(&ann));
        Ok(())
    });
}

#[test]
fn who_is_not_let_in_is_told_why_and_what_to_do() {
    limit::test(LIMIT, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let mut nodes = Vec::new();
        for name in ["ann", "ben"] {
            let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
            let link = (name == "ann").then(|| supernode.link());
            let mut node = Node::new(lab, name, &home.host, link)?;
            node.start()?;
            nodes.push(node);
        }
        let [ann, ben] = &mut nodes[..] else {
            unreachable!("two were made")
        };
        ann.wait_registered(JOIN_LIMIT)?;
        let link = create(ann)?;
        let refused = |ben: &Node, link: &str, words: &str| -> Result<()> {
            let finished = ben.cli(&["join", link])?;
            ensure!(
                finished.code == Some(1) && finished.stderr.contains(words),
                "wanted {words:?}: {finished}"
            );
            ensure!(
                finished.stderr.contains("ask its owner for a new invite"),
                "no remedy: {finished}"
            );
            // What lets nobody in is not kept.
            ensure!(ben.networks()?.is_empty(), "{:?}", ben.networks());
            Ok(())
        };
        // Counted ones and others, which the member who holds them could sign by.
        for counted in [&["--uses", "5"][..], &[]] {
            let short = invite(ann, &[&["--expires", "1s"], counted].concat())?;
            std::thread::sleep(Duration::from_millis(2100));
            refused(ben, &short, "the invite has expired")?;
            let withdrawn = invite(ann, &[&["--name", "gone"], counted].concat())?;
            ann.cli(&["uninvite", "gone"])?.success()?;
            refused(ben, &withdrawn, "was removed from the network")?;
        }
        // The first of two with one identity each.
        let once = invite(ann, &["--uses", "1", "--name", "once"])?;
        ben.cli(&["join", &once])?.success()?;
        certified(ben)?;
        ben.stop()?;
        ben.forget()?;
        ben.start()?;
        refused(ben, &once, "the invite is used up")?;

        // Whoever was kicked, by the link of before.
        ben.cli(&["join", &link, "--name", "ben"])?.success()?;
        certified(ben)?;
        ann.cli(&["kick", "ben", "--keep-invite"])?.success()?;
        ben.cli(&["leave", "home"])?.success()?;
        refused(ben, &link, "was removed from the network")?;
        ensure!(
            members(ann)?.iter().filter(|(.., state)| state != "kicked").count() == 2,
            "{:?}",
            members(ann)
        );

        // Nobody is there who could let it in.
        let counted = invite(ann, &["--uses", "2"])?;
        ann.stop()?;
        let waits = ben.cli(&["join", &counted])?;
        ensure!(
            waits.code == Some(5)
                && waits
                    .stderr
                    .contains("the controller of the network does not answer; is its machine on?")
                && waits
                    .stderr
                    .contains("The network stays joined, and farlan keeps asking"),
            "{waits}"
        );
        let notes = ben.status()?["notes"].to_string();
        ensure!(notes.contains("nobody has let this node in yet"), "{notes}");
        let unknown = ben.cli(&["members", "nowhere"])?;
        ensure!(
            unknown.code == Some(1) && unknown.stderr.contains("`farlan networks` shows those it is in"),
            "{unknown}"
        );
        Ok(())
    });
}

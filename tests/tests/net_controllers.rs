//! Private networks whose maker is away or not alone: controllers beside a supernode, two on one database, and members that renew
//! certificates.

#[path = "../../netconf/controller/tests/support/postgres.rs"]
mod postgres;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::{Finished, wait_for};
use farlan_tests::ns::members::{
    SOON, address_of, answers, at_once, certified, create, invite, members, nobody_is_called, private, reaches,
};
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit};
use postgres::Server;

const LIMIT: Duration = Duration::from_secs(480);

/// How long certificates live where a test waits for their end: a fifth of it is how long the warning can be seen.
const LIFE: Duration = Duration::from_secs(60);

/// A node behind a router of its own, started.
fn started(lab: &mut Lab, name: &str, supernode: Option<&str>) -> Result<Node> {
    let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
    let mut node = Node::new(lab, name, &home.host, supernode)?;
    node.start()?;
    Ok(node)
}

/// A supernode with a controller beside it.
fn with_controller(lab: &mut Lab) -> Result<Supernode> {
    let public = lab.public_host("s", Wire::PLAIN)?;
    let mut supernode = Supernode::start(lab, &public)?;
    supernode.process().stop(SOON)?;
    let config = supernode.state_directory().join("supernode.toml");
    let written = fs::read_to_string(&config)?;
    fs::write(
        &config,
        format!("{written}controller.store = \"\"\ncontroller.name = \"keeper\"\n"),
    )?;
    supernode.cli(&["config", "check"])?;
    supernode.restart()?;
    Ok(supernode)
}

#[test]
fn a_controller_beside_a_supernode_goes_on_where_the_owner_is_gone_for_ever() {
    limit::test(LIMIT, |lab| {
        let mut supernode = with_controller(lab)?;
        let status = supernode.cli(&["status"])?.stdout;
        let socket = supernode.state_directory().join("controller.sock");
        ensure!(
            status.contains(&format!("farlan --socket {}", socket.display())),
            "{status}"
        );
        let mut ann = started(lab, "ann", Some(supernode.link()))?;
        ann.wait_registered(JOIN_LIMIT)?;
        let link = create(&ann)?;
        let old = started(lab, "old", None)?;
        old.cli(&["join", &link, "--name", "olga"])?.success()?;
        certified(&old)?;
        let file = lab.directory().join("home.key");
        ann.cli(&["export", "home", "--to", &file.display().to_string()])?
            .success()?;
        ensure!(
            fs::metadata(&file)?.permissions().mode() & 0o077 == 0,
            "others can read the key"
        );
        let keeper = |words: &[&str]| supernode_cli(&supernode, words);
        keeper(&["import", &file.display().to_string()])?.success()?;
        // Those who are in hear of the new holder.
        wait_for("the config to name two holders", SOON, || {
            let set = keeper(&["network", "set", "home"])?.success()?;
            let heard = old.cli(&["members", "home"])?.success()?;
            let named = heard
                .stdout
                .lines()
                .any(|line| line.contains("keeper") && line.contains("holder"));
            Ok((set.stdout.matches("holder").count() == 2 && named).then_some(()))
        })?;
        ann.stop()?;
        ann.forget()?;

        let once = keeper(&["invite", "home", "--uses", "1"])?
            .success()?
            .stdout
            .trim()
            .to_owned();
        let new = started(lab, "new", None)?;
        let begun = Instant::now();
        new.cli(&["join", &once, "--name", "ben"])?.success()?;
        certified(&new)?;
        println!(
            "a certificate of the controller beside the supernode {:.2} s after joining began",
            begun.elapsed().as_secs_f64()
        );
        let olga = address_of(&new, "olga")?;
        reaches(new.namespace(), &olga)?;
        let late = started(lab, "late", None)?;
        let refused = late.cli(&["join", &once])?;
        ensure!(
            refused.code == Some(1) && refused.stderr.contains("the invite is used up"),
            "{refused}"
        );

        // Over a restart of the supernode, and a kick.
        supernode.process().stop(SOON)?;
        supernode.restart()?;
        let keeper = |words: &[&str]| supernode_cli(&supernode, words);
        wait_for("the controller to answer again", SOON, || {
            Ok((keeper(&["members", "home"])?.code == Some(0)).then_some(()))
        })?;
        keeper(&["kick", "ben"])?.success()?;
        wait_for("ben to be out", SOON, || {
            Ok((!answers(new.namespace(), &olga)?).then_some(()))
        })?;
        nobody_is_called(&old, "ben")
    });
}

/// What `farlan` says to the controller beside a supernode.
fn supernode_cli(supernode: &Supernode, words: &[&str]) -> Result<Finished> {
    let socket = supernode.state_directory().join("controller.sock");
    supernode.farlan(&[&["--socket", &socket.display().to_string()], words].concat())
}

#[test]
fn two_controllers_on_one_database_let_one_in_by_a_single_use() {
    limit::test(LIMIT, |lab| {
        let server = Server::shared();
        let config = lab.directory().join("controller.toml");
        fs::write(&config, format!("[controller]\nstore = {:?}\n", server.made_database()))?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let mut owners = Vec::new();
        for name in ["ann", "bea"] {
            let home = lab.home(name, Nat::Port, Wire::PLAIN)?;
            let mut node = Node::new(lab, name, &home.host, Some(supernode.link()))?;
            node.set_arguments(&["--config", &config.display().to_string()]);
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            owners.push(node);
        }
        let [ann, bea] = &owners[..] else {
            unreachable!("two were made")
        };
        let link = create(ann)?;
        bea.cli(&["join", &link, "--name", "bea"])?.success()?;
        wait_for("both to be controllers", SOON, || {
            let both = [ann, bea].map(|node| Ok::<_, anyhow::Error>(private(node)?["controller"] == true));
            let [one, other] = both;
            Ok((one? && other?).then_some(()))
        })?;
        wait_for("both to be holders", SOON, || {
            let set = ann.cli(&["network", "set", "home"])?.success()?;
            Ok((set.stdout.matches("holder").count() == 2).then_some(()))
        })?;

        let mut guests = Vec::new();
        for name in ["c", "d", "e", "f"] {
            guests.push(started(lab, name, None)?);
        }
        // Made at each of them.
        for (round, maker) in [ann, bea].into_iter().enumerate() {
            let once = invite(maker, &["--uses", "1"])?;
            let pair = &guests[2 * round..2 * round + 2];
            let joined = at_once(pair.iter(), &once)?;
            let inside = joined.iter().filter(|finished| finished.code == Some(0)).count();
            let used_up = |finished: &&Finished| finished.stderr.contains("the invite is used up");
            ensure!(
                inside == 1 && joined.iter().filter(used_up).count() == 1,
                "not exactly one came in: {joined:#?}"
            );
            for node in [ann, bea] {
                let listed = members(node)?;
                ensure!(listed.len() == 3 + round, "{} lists {listed:?}", node.name());
            }
        }
        // One goes, and the other goes on.
        let once = invite(ann, &["--uses", "1"])?;
        owners[0].stop()?;
        let late = started(lab, "late", None)?;
        late.cli(&["join", &once, "--name", "late"])?.success()?;
        certified(&late)?;
        reaches(late.namespace(), &address_of(&late, "bea")?)
    });
}

/// Ann, whose network has short certificates, and two members.
fn short_lived(lab: &mut Lab) -> Result<(Supernode, [Node; 3])> {
    let public = lab.public_host("s", Wire::PLAIN)?;
    let supernode = Supernode::start(lab, &public)?;
    let ann = started(lab, "ann", Some(supernode.link()))?;
    ann.wait_registered(JOIN_LIMIT)?;
    let link = create(&ann)?;
    let life = format!("{}s", LIFE.as_secs());
    ann.cli(&["network", "set", "home", "--life", &life])?.success()?;
    let mut nodes = vec![ann];
    for name in ["ben", "cat"] {
        let node = started(lab, name, None)?;
        node.cli(&["join", &link, "--name", name])?.success()?;
        certified(&node)?;
        nodes.push(node);
    }
    let nodes = nodes.try_into().ok().context("three nodes")?;
    Ok((supernode, nodes))
}

fn expires(node: &Node) -> Result<u64> {
    private(node)?["expires"].as_u64().context("no expiry")
}

#[test]
fn a_member_renews_while_the_owner_is_away() {
    limit::test(LIMIT, |lab| {
        let (_supernode, [mut ann, ben, cat]) = short_lived(lab)?;
        let delegated = ann.cli(&["delegate", "ben", "--renew"])?.success()?;
        ben.cli(&["renew", delegated.stdout.trim()])?.success()?;
        ensure!(private(&ben)?["renewer"] == true, "{}", private(&ben)?);
        ann.stop()?;
        let before = expires(&cat)?;
        let begun = Instant::now();
        wait_for("ben to renew cat's certificate", LIFE + SOON, || {
            Ok((expires(&cat)? > before).then_some(()))
        })?;
        println!("renewed {:.1} s after the owner went", begun.elapsed().as_secs_f64());
        reaches(cat.namespace(), &address_of(&cat, "ben")?)?;
        ensure!(private(&cat)?["state"] == "certified", "{}", private(&cat)?);
        // He makes no members.
        let refused = ben.cli(&["invite", "home"])?;
        ensure!(
            refused.code == Some(1)
                && refused
                    .stderr
                    .contains("ask on the node that made it, or import its key"),
            "{refused}"
        );
        Ok(())
    });
}

#[test]
fn who_is_not_renewed_is_warned_in_time() {
    limit::test(LIMIT, |lab| {
        let (_supernode, [mut ann, _ben, cat]) = short_lived(lab)?;
        let address = address_of(&cat, "ben")?;
        reaches(cat.namespace(), &address)?;
        let holder = ann.status()?["node_id"].as_str().context("no id")?[..10].to_owned();
        ensure!(
            !cat.status()?["notes"].to_string().contains("was not renewed"),
            "too early"
        );
        ann.stop()?;
        let words = "and was not renewed: start one of those who can renew it";
        wait_for("the warning", LIFE + SOON, || {
            Ok(cat.status()?["notes"].to_string().contains(words).then_some(()))
        })?;
        let left = expires(&cat)?.saturating_sub(now());
        ensure!(left <= LIFE.as_secs() / 5, "warned {left} s before the end");
        let text = cat.cli(&["status"])?.success()?.stdout;
        ensure!(text.contains(words) && text.contains(&holder), "{text}");
        wait_for("the end", LIFE + SOON, || {
            let notes = cat.status()?["notes"].to_string();
            Ok(notes.contains("has expired by this machine's clock").then_some(()))
        })
    });
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

//! Names of members, as programs of the system resolve them, and what a server upstream sees of that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::desk::Desk;
use farlan_tests::ns::program::NetworkView;
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Lab, Nat, Node, Supernode, Wire, limit};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(150);

/// How long what happens by itself may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

const BEN: &str = "ben.attic.farlan.internal";
const ANN: &str = "ann.attic.farlan.internal";

/// A file whose last line has no end.
const HOSTS: &str = "127.0.0.1 localhost\n\n# mine\n10.9.8.7\tprinter   # äöü";

/// Ann at a desk, and Ben, in one network of friends.
struct Pair {
    _supernode: Supernode,
    desk: Desk,
    ann: Node,
    ben: Node,
    at_ann: NetworkView,
    at_ben: NetworkView,
}

impl Pair {
    fn start(lab: &mut Lab, with_resolved: bool) -> Result<Self> {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let homes = [
            lab.home("a", Nat::Port, Wire::PLAIN)?,
            lab.home("b", Nat::Port, Wire::PLAIN)?,
        ];
        let mut desk = Desk::new(&homes[0].host, HOSTS, lab.directory())?;
        if with_resolved {
            desk.start_resolved(lab.directory())?;
        }
        let mut ann = Node::new(lab, "ann", &homes[0].host, Some(supernode.link()))?;
        ann.set_wrapper(desk.wrapper());
        let mut ben = Node::new(lab, "ben", &homes[1].host, Some(supernode.link()))?;
        for node in [&mut ann, &mut ben] {
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
        }
        let link = ann.host_with(&["--name", "attic", "--my-name", "ann"])?;
        let begun = Instant::now();
        ben.cli(&["join", &link, "--name", "ben"])?.success()?;
        let (at_ann, at_ben) = (ann.wait_addressed(JOIN_LIMIT)?, ben.wait_addressed(JOIN_LIMIT)?);
        wait_for("Ben's name at Ann's", SOON, || {
            let finished = ann.cli(&["resolve", "ben"])?;
            Ok(finished.success().is_ok().then_some(()))
        })?;
        println!(
            "Ben is known by name {:.1} s after he began to join",
            begun.elapsed().as_secs_f64()
        );
        Ok(Self {
            _supernode: supernode,
            desk,
            ann,
            ben,
            at_ann,
            at_ben,
        })
    }

    /// Waits until programs of Ann's resolve Ben's name and address, and her own.
    fn programs_resolve(&self) -> Result<()> {
        let (ipv4, ipv6) = addresses(&self.at_ben)?;
        // Whoever asks before would ask upstream.
        wait_for("others to be told of Ben's name", SOON, || {
            let is_told = self.way()? == "resolved" || self.desk.hosts()?.contains(BEN);
            Ok(is_told.then_some(()))
        })?;
        let resolves = wait_for("programs to resolve Ben's name", SOON, || {
            let found = [self.desk.getent("ahostsv4", BEN)?, self.desk.getent("ahostsv6", BEN)?];
            Ok((found[0].contains(&ipv4) && found[1].contains(&ipv6)).then_some(()))
        });
        resolves.with_context(|| format!("{:?} {:?}", self.ann.status(), self.desk.hosts()))?;
        for (database, key, part) in [
            ("hosts", BEN, ipv6.as_str()),
            ("ahostsv4", BEN, &ipv4),
            ("ahostsv6", BEN, &ipv6),
            ("hosts", &ipv4, BEN),
            ("hosts", &ipv6, BEN),
            ("ahostsv4", ANN, &addresses(&self.at_ann)?.0),
        ] {
            let found = self.desk.getent(database, key)?;
            ensure!(
                found.contains(part),
                "getent {database} {key} says {found:?}, without {part}"
            );
        }
        let ping = self.desk.exec(&["ping", "-c", "1", "-W", "5", BEN])?;
        ping.success()?;
        Ok(())
    }

    /// What the server upstream was asked about farlan's names and addresses.
    fn leaked(&self) -> Vec<String> {
        let mut asked = self.desk.asked_upstream();
        let reverse = |name: &String| name.ends_with(".in-addr.arpa") || name.ends_with(".ip6.arpa");
        asked.retain(|name| name.ends_with("farlan.internal") || reverse(name));
        asked
    }

    /// Shows that the server upstream is asked for other names, so that its silence says something.
    fn other_names_go_upstream(&self) -> Result<()> {
        self.desk.getent("hosts", "other.example.org")?;
        let asked = self.desk.asked_upstream();
        ensure!(asked.iter().any(|name| name == "other.example.org"), "{asked:?}");
        Ok(())
    }

    /// Kicks Ben, and waits until neither farlan nor programs know a name or an address of his.
    fn forgets_who_is_kicked(&self) -> Result<()> {
        let (ipv4, _) = addresses(&self.at_ben)?;
        let by_file = self.way()? == "hosts";
        self.ann.cli(&["kick", "ben"])?.success()?;
        wait_for("Ben's name to be nobody's", SOON, || {
            for text in ["ben", BEN, &ipv4] {
                if self.ann.cli(&["resolve", text])?.code != Some(1) {
                    return Ok(None);
                }
            }
            // The file has no names of nobody, and programs would ask upstream.
            let is_told = if by_file {
                !self.desk.hosts()?.contains(BEN)
            } else {
                self.desk.getent("ahostsv4", BEN)?.is_empty() && self.desk.getent("hosts", &ipv4)?.is_empty()
            };
            Ok(is_told.then_some(()))
        })?;
        ensure!(
            !self.desk.getent("ahostsv4", ANN)?.is_empty(),
            "Ann has no name any more"
        );
        Ok(())
    }

    fn way(&self) -> Result<String> {
        let status = self.ann.status()?;
        Ok(status["names"]["way"].as_str().unwrap_or_default().to_owned())
    }
}

fn addresses(view: &NetworkView) -> Result<(String, String)> {
    let ipv4 = view.ipv4.context("no IPv4 address")?;
    let ipv6 = view.ipv6.context("no IPv6 address")?;
    Ok((ipv4.to_string(), ipv6.to_string()))
}

#[test]
fn members_stand_in_the_hosts_file_which_is_afterwards_as_it_was() {
    limit::test(LIMIT, |lab| {
        let mut pair = Pair::start(lab, false)?;
        pair.programs_resolve()?;
        ensure!(pair.way()? == "hosts", "{}", pair.way()?);
        ensure!(pair.leaked().is_empty(), "{:?}", pair.leaked());
        pair.other_names_go_upstream()?;
        ensure!(pair.desk.hosts()?.starts_with(HOSTS));
        // What the file cannot do: nobody's name is looked for elsewhere.
        pair.desk.getent("hosts", "nobody.attic.farlan.internal")?;
        ensure!(pair.leaked().iter().all(|name| name == "nobody.attic.farlan.internal"));

        let gone = |pair: &Pair, what: &str| {
            wait_for(&format!("the hosts file as it was after {what}"), SOON, || {
                Ok((pair.desk.hosts()? == HOSTS).then_some(()))
            })
        };
        pair.ann.kill()?;
        gone(&pair, "a crash")?;
        pair.ann.start()?;
        pair.programs_resolve()?;
        pair.ann.stop()?;
        ensure!(pair.desk.hosts()? == HOSTS, "{}", pair.desk.hosts()?);

        // Both die at once: the next start takes it out, though it writes nothing itself.
        pair.ann.start()?;
        pair.programs_resolve()?;
        let helper = pair.ann.pid()?;
        let children = std::fs::read_to_string(format!("/proc/{helper}/task/{helper}/children"))?;
        let helper = children.split_whitespace().next().context("no helper")?.to_owned();
        pair.ann.process()?.sleep()?;
        farlan_tests::ns::command::run(&["kill", "-KILL", &helper])?;
        pair.ann.kill()?;
        ensure!(pair.desk.hosts()? != HOSTS, "nothing was left behind");
        let config = lab.directory().join("ann.toml");
        std::fs::write(&config, "dns.hosts = false\n")?;
        pair.ann.set_arguments(&["--config", &config.display().to_string()]);
        pair.ann.start()?;
        gone(&pair, "a crash of both and a start")?;

        pair.ann.stop()?;
        pair.ann.set_arguments(&[]);
        pair.ann.start()?;
        pair.programs_resolve()?;
        pair.forgets_who_is_kicked()
    });
}

#[test]
fn a_real_systemd_resolved_asks_here_and_nothing_reaches_the_server_upstream() {
    limit::test(LIMIT, |lab| {
        let mut pair = Pair::start(lab, true)?;
        pair.programs_resolve()?;
        ensure!(pair.way()? == "resolved", "{}", pair.way()?);
        ensure!(pair.desk.hosts()? == HOSTS);
        // Nor do names and addresses of nobody.
        let (ipv4, _) = addresses(&pair.at_ben)?;
        let (front, _) = ipv4.rsplit_once('.').context("no address")?;
        for nobody in [
            "nobody.attic.farlan.internal",
            "x.farlan.internal",
            "attic.farlan.internal",
        ] {
            ensure!(pair.desk.getent("hosts", nobody)?.is_empty(), "{nobody}");
        }
        pair.desk.getent("hosts", &format!("{front}.250"))?;
        pair.other_names_go_upstream()?;
        ensure!(pair.leaked().is_empty(), "{:?}", pair.leaked());
        // With the card all of it goes.
        pair.ann.stop()?;
        pair.other_names_go_upstream()?;
        pair.ann.start()?;
        pair.programs_resolve()?;
        pair.forgets_who_is_kicked()?;
        ensure!(pair.leaked().is_empty(), "{:?}", pair.leaked());
        pair.ann.kill()?;
        Ok(())
    });
}

#[test]
fn commands_take_names() {
    limit::test(LIMIT, |lab| {
        let pair = Pair::start(lab, false)?;
        let (ipv4, ipv6) = addresses(&pair.at_ben)?;
        for name in ["ben", "BEN.attic", BEN] {
            let finished = pair.ann.cli(&["resolve", name])?.success()?;
            ensure!(finished.stdout == format!("{ipv4}\n{ipv6}\n"), "{finished}");
        }
        let finished = pair.ann.cli(&["resolve", &ipv4])?.success()?;
        ensure!(finished.stdout.trim() == BEN, "{finished}");
        let json = pair.ann.json(&["resolve", "ben"])?;
        ensure!(json["name"] == BEN && json["ipv4"] == ipv4.as_str(), "{json}");
        pair.ann.cli(&["resolve", "nobody"])?.expect_code(1)?;
        pair.ann.cli(&["ping", "ben", "-c", "1"])?.success()?;
        pair.ann.cli(&["why", "ben.attic"])?.success()?;
        pair.ben.cli(&["ping", "ann", "-c", "1"])?.success()?;
        let peers = pair.ben.peers()?;
        let named = |peer: &Value| peer["name"] == ANN;
        ensure!(peers.iter().any(named), "{peers:?}");
        let table = pair.ben.cli(&["peers"])?.success()?.stdout;
        ensure!(table.contains("ann.attic"), "{table}");
        Ok(())
    });
}

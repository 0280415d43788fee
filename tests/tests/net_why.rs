//! `farlan why` and `farlan netcheck` on real daemons: each topology gets its verdict, from both ends where both know, and taking
//! the one cause away changes it.
//!
//! All topologies are in one lab and are judged at once. A verdict is asked for once, when what it stands on has settled.

use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use farlan_netconf::Mtu;
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::nat::Access;
use farlan_tests::ns::topology::OUTSIDE;
use farlan_tests::ns::world::World;
use farlan_tests::ns::{Home, Lab, Nat, Node, Wire, limit, sys};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(420);

/// How long programs may take to start and to register, with a few dozen others on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long tries may take to settle.
const SETTLED: Duration = Duration::from_secs(90);

/// Seconds of tries after which they have brought nothing: more than a round takes, and the second one has begun.
const TRIED: u64 = 8;

/// Two homes, and what happens in them.
struct Topology {
    name: &'static str,
    kinds: Kinds,
    judge: fn(&mut Pair<'_>) -> Result<()>,
}

/// Where the two nodes are.
enum Kinds {
    Apart([Access; 2]),
    OneLan(Access),
}

/// Two nodes in one network.
struct Pair<'a> {
    lab: &'a Lab,
    world: &'a World,
    homes: [Home; 2],
    nodes: [Node; 2],
    ids: [String; 2],
    name: &'static str,
}

impl Pair<'_> {
    fn start(&mut self, options: [&str; 2]) -> Result<()> {
        for (node, options) in self.nodes.iter_mut().zip(options) {
            let file = self.lab.directory().join(format!("{}.toml", node.name()));
            fs::write(&file, options)?;
            node.set_arguments(&["--config", file.to_str().context("a path in UTF-8")?]);
            node.launch()?;
        }
        for node in &mut self.nodes {
            wait_for("a daemon to answer", START_LIMIT, || node.status().map(Some))?;
            node.wait_registered(START_LIMIT)?;
        }
        for end in [0, 1] {
            let status = self.nodes[end].status()?;
            self.ids[end] = status["node_id"].as_str().context("no id")?.to_owned();
        }
        Ok(())
    }

    /// Starts both, and joins both to a network of friends, or of strangers.
    fn meet(&mut self, friends: bool, options: [&str; 2]) -> Result<()> {
        self.start(options)?;
        let network = if friends {
            self.world.network(self.name, Mtu::DEFAULT)?
        } else {
            format!("why-{}", self.name)
        };
        for node in &self.nodes {
            node.cli(&["join", &network])?;
        }
        self.await_each_other()
    }

    /// Waits until each lists the other.
    fn await_each_other(&self) -> Result<()> {
        for end in [0, 1] {
            let other = &self.ids[1 - end];
            wait_for("the other to be listed", START_LIMIT, || {
                let peers = self.nodes[end].peers()?;
                Ok(peers.iter().any(|peer| peer["node_id"] == other.as_str()).then_some(()))
            })?;
        }
        Ok(())
    }

    /// What one end says of the other.
    fn why(&self, end: usize) -> Result<Value> {
        self.why_of(end, &self.ids[1 - end])
    }

    fn why_of(&self, end: usize, peer: &str) -> Result<Value> {
        let finished = self.nodes[end].cli(&["why", peer, "--json"])?;
        let reply: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished}"))?;
        let fine = reply["fine"].as_bool().context("not said whether it is fine")?;
        ensure!(finished.code == Some(if fine { 0 } else { 1 }), "{finished}");
        Ok(reply)
    }

    /// The verdict must be that one, with these causes beside it.
    fn expect(&self, end: usize, code: &str, also: &[&str]) -> Result<Value> {
        let reply = self.why(end)?;
        check(&reply, code, also).with_context(|| format!("from {}", self.nodes[end].name()))?;
        Ok(reply)
    }

    fn path(&self, end: usize) -> Result<Option<String>> {
        let peers = self.nodes[end].peers()?;
        let row = peers.iter().find(|peer| peer["node_id"] == self.ids[1 - end].as_str());
        Ok(row.and_then(|row| row["path"].as_str()).map(str::to_owned))
    }

    fn ping(&self) -> Result<()> {
        // Whether it is answered is not the question.
        self.nodes[0]
            .cli(&["ping", &self.ids[1], "-c", "1", "-W", "2"])
            .map(drop)
    }

    /// Sends something now and then until both are direct.
    fn until_direct(&self) -> Result<()> {
        wait_for("both to be direct", SETTLED, || {
            self.ping()?;
            let paths = [self.path(0)?, self.path(1)?];
            Ok(paths.iter().all(|path| path.as_deref() == Some("direct")).then_some(()))
        })
    }

    /// Sends something now and then until it is clear at both ends that nothing comes of trying, and both know how their NATs
    /// map.
    fn until_tried(&self) -> Result<()> {
        wait_for("tries that bring nothing", SETTLED, || {
            self.ping()?;
            for end in [0, 1] {
                let reply = self.why(end)?;
                let known = |side: &Value| {
                    side["nat"]["mapping"]
                        .as_str()
                        .is_some_and(|mapping| mapping != "unknown")
                };
                let tried = |side: &Value| side["round_s"].as_u64().is_some_and(|seconds| seconds >= TRIED);
                if !tried(&reply["own"])
                    || !tried(&reply["theirs"])
                    || !known(&reply["own"])
                    || !known(&reply["theirs"])
                {
                    bail!("{reply}");
                }
            }
            Ok(Some(()))
        })
    }

    /// Sends something now and then until the verdict of one end is no more the one that it was.
    fn until_not(&self, end: usize, code: &str) -> Result<Value> {
        wait_for("another verdict", SETTLED, || {
            self.ping()?;
            let reply = self.why(end)?;
            Ok((reply["code"] != code).then_some(reply))
        })
    }

    /// Lets a daemon read its configuration again.
    fn reconfigure(&self, end: usize, text: &str) -> Result<()> {
        fs::write(
            self.lab.directory().join(format!("{}.toml", self.nodes[end].name())),
            text,
        )?;
        Ok(sys::hang_up(self.nodes[end].pid()?)?)
    }
}

fn check(reply: &Value, code: &str, also: &[&str]) -> Result<()> {
    ensure!(reply["code"] == code, "wanted {code}: {reply:#}");
    ensure!(
        reply["also"] == Value::from(also.to_vec()),
        "wanted {also:?} beside {code}: {reply:#}"
    );
    for field in ["sentence", "advice"] {
        ensure!(
            reply[field].as_str().is_some_and(|text| !text.is_empty()),
            "no {field}: {reply:#}"
        );
    }
    ensure!(
        reply["evidence"].as_array().is_some_and(|lines| !lines.is_empty()),
        "{reply:#}"
    );
    Ok(())
}

/// What the log of a node says of changes of the way to a peer.
fn changes(node: &Node, peer: &str) -> Vec<String> {
    let log = node.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("path changed") && line.contains(&peer[..10]));
    lines.map(str::to_owned).collect()
}

const HIDDEN: &str = "hide_address = true\n";

const TOPOLOGIES: &[Topology] = &[
    Topology {
        name: "open",
        kinds: Kinds::Apart([Access::of(Nat::Absent), Access::of(Nat::Port)]),
        judge: |pair| {
            pair.meet(true, [""; 2])?;
            pair.until_direct()?;
            for end in [0, 1] {
                let reply = pair.expect(end, "direct", &[])?;
                ensure!(reply["theirs"]["way"] == "direct", "{reply:#}");
                let lines = changes(&pair.nodes[end], &pair.ids[1 - end]);
                ensure!(lines.len() == 1, "one change of path, one line: {lines:#?}");
                let words = ["INFO", "path=direct", "reason="];
                ensure!(words.iter().all(|word| lines[0].contains(word)), "{lines:?}");
            }
            let pong = pair.nodes[0].cli(&["ping", &pair.ids[1], "-c", "1"])?.success()?;
            ensure!(pong.stdout.contains(" direct at "), "{pong}");
            Ok(())
        },
    },
    Topology {
        name: "lan",
        kinds: Kinds::OneLan(Access::of(Nat::Port)),
        judge: |pair| {
            pair.meet(true, [""; 2])?;
            pair.until_direct()?;
            for end in [0, 1] {
                pair.expect(end, "direct-lan", &[])?;
            }
            Ok(())
        },
    },
    Topology {
        name: "sym-sym",
        kinds: Kinds::Apart([Access::of(Nat::Symmetric), Access::of(Nat::Symmetric)]),
        judge: |pair| {
            pair.meet(true, [""; 2])?;
            pair.until_tried()?;
            for end in [0, 1] {
                let reply = pair.expect(end, "both-hard-nat", &[])?;
                let mapping = reply["theirs"]["nat"]["mapping"].as_str().unwrap_or_default();
                ensure!(mapping.contains("dependent") && mapping != "independent", "{reply:#}");
            }
            let pong = pair.nodes[0].cli(&["ping", &pair.ids[1], "-c", "1"])?.success()?;
            ensure!(pong.stdout.contains("(supernode "), "{pong}");
            // One router that lets everybody in is enough.
            pair.homes[0].access = Access::of(Nat::FullCone);
            pair.homes[0].reboot_router()?;
            pair.until_direct()?;
            pair.expect(0, "direct", &[]).map(drop)
        },
    },
    Topology {
        name: "hidden",
        kinds: Kinds::Apart([Access::of(Nat::Port), Access::of(Nat::Port)]),
        judge: |pair| {
            pair.meet(false, [HIDDEN, ""])?;
            pair.ping()?;
            pair.expect(0, "hidden-address-own", &[])?;
            let reply = pair.expect(1, "hidden-address-peer", &[])?;
            ensure!(
                reply["theirs"]["udp"] == "unknown" && reply["theirs"]["version"].is_null(),
                "{reply:#}"
            );
            pair.reconfigure(0, "")?;
            pair.until_direct()?;
            pair.expect(1, "direct", &[]).map(drop)
        },
    },
    Topology {
        name: "hidden-sym",
        kinds: Kinds::Apart([Access::of(Nat::Symmetric), Access::of(Nat::Symmetric)]),
        judge: |pair| {
            pair.meet(false, [HIDDEN, ""])?;
            wait_for("the NATs to be known", SETTLED, || {
                let reply = pair.why(0)?;
                Ok((reply["also"] == Value::from(vec!["both-hard-nat"])).then_some(()))
            })?;
            pair.expect(0, "hidden-address-own", &["both-hard-nat"])?;
            pair.expect(1, "hidden-address-peer", &[])?;
            // Without the cause that decides the other one does.
            pair.reconfigure(0, "")?;
            pair.until_not(0, "hidden-address-own")?;
            pair.until_tried()?;
            for end in [0, 1] {
                pair.expect(end, "both-hard-nat", &[])?;
            }
            Ok(())
        },
    },
    Topology {
        name: "stopped",
        kinds: Kinds::Apart([Access::of(Nat::Port), Access::of(Nat::Port)]),
        judge: |pair| {
            pair.meet(true, [""; 2])?;
            pair.until_direct()?;
            pair.nodes[1].stop()?;
            pair.expect(0, "peer-offline", &[])?;
            pair.nodes[1].launch()?;
            wait_for("the daemon to answer", START_LIMIT, || pair.nodes[1].status().map(Some))?;
            pair.nodes[1].wait_registered(START_LIMIT)?;
            pair.await_each_other()?;
            pair.until_direct()?;
            pair.expect(0, "direct", &[]).map(drop)
        },
    },
    Topology {
        name: "killed",
        kinds: Kinds::Apart([Access::of(Nat::Port), Access::of(Nat::Port)]),
        judge: |pair| {
            pair.meet(true, [""; 2])?;
            pair.until_direct()?;
            pair.nodes[1].kill()?;
            pair.expect(0, "peer-silent", &[])?;
            // The supernodes notice after 75 s.
            wait_for("the registration to end", SETTLED + Duration::from_secs(30), || {
                Ok((pair.why(0)?["code"] == "peer-offline").then_some(()))
            })?;
            Ok(())
        },
    },
    Topology {
        name: "narrow",
        kinds: Kinds::Apart([Access::of(Nat::Port), Access::of(Nat::Port)]),
        judge: |pair| {
            pair.lab.limit_packets(&pair.homes[0], 1280, false)?;
            pair.meet(true, [""; 2])?;
            pair.until_direct()?;
            let reply = pair.expect(0, "mtu-blackhole", &[])?;
            ensure!(reply["own"]["mtu"] == 1280, "{reply:#}");
            pair.expect(1, "mtu-blackhole", &[])?;
            let checked = netcheck(&pair.nodes[0])?;
            ensure!(obstacles(&checked).contains(&"small-mtu"), "{checked:#}");
            pair.lab.limit_packets(&pair.homes[0], 1500, false)?;
            let reply = pair.until_not(0, "mtu-blackhole")?;
            check(&reply, "direct", &[])
        },
    },
    Topology {
        name: "unused",
        kinds: Kinds::Apart([Access::of(Nat::Port), Access::of(Nat::Port)]),
        judge: |pair| {
            // On a network of strangers nothing is said to all.
            pair.meet(false, [""; 2])?;
            let begun = Instant::now();
            let reply = pair.expect(0, "not-used", &[])?;
            ensure!(reply["path"] != "direct" && begun.elapsed() < SETTLED, "{reply:#}");
            pair.until_direct()?;
            pair.expect(0, "direct", &[]).map(drop)
        },
    },
    Topology {
        name: "wall",
        kinds: Kinds::Apart([Access::of(Nat::Port), Access::of(Nat::Port)]),
        judge: |pair| {
            // The second home's router drops what comes from the first.
            let from = pair.homes[0].outside;
            pair.homes[1].router.nft(&format!(
                "table ip wall {{ chain wall {{
                    type filter hook forward priority -10;
                    iifname {OUTSIDE} ip saddr {from} meta l4proto udp drop
                }}
                }}"
            ))?;
            pair.meet(true, [""; 2])?;
            pair.until_tried()?;
            pair.expect(0, "firewall-filters-peer", &[])?;
            pair.expect(1, "firewall-filters-own", &[])?;
            pair.homes[1].router.nft("delete table ip wall")?;
            pair.until_direct()?;
            pair.expect(0, "direct", &[]).map(drop)
        },
    },
    Topology {
        name: "between",
        kinds: Kinds::Apart([Access::of(Nat::Port), Access::of(Nat::FullCone)]),
        judge: |pair| {
            pair.lab.block(&pair.homes[0], &pair.homes[1])?;
            pair.meet(true, [""; 2])?;
            pair.until_tried()?;
            for end in [0, 1] {
                pair.expect(end, "blocked-between", &[])?;
            }
            pair.lab.unblock(&pair.homes[0], &pair.homes[1])?;
            pair.until_direct()?;
            let reply = pair.expect(1, "direct", &[])?;
            // It fails again, and the evidence says when.
            pair.lab.block(&pair.homes[0], &pair.homes[1])?;
            ensure!(reply["own"]["lost_s"].is_null(), "{reply:#}");
            pair.until_not(1, "direct")?;
            let reply = pair.why(1)?;
            ensure!(
                reply["own"]["lost_s"].is_u64() || reply["theirs"]["lost_s"].is_u64(),
                "{reply:#}"
            );
            Ok(())
        },
    },
    Topology {
        name: "no-udp-a",
        kinds: Kinds::Apart([Access::of(Nat::UdpBlocked), Access::of(Nat::Symmetric)]),
        judge: |pair| {
            // Two causes: the peer's router would be found by a search, if UDP were let out here.
            pair.meet(true, [""; 2])?;
            pair.ping()?;
            let reply = pair.expect(0, "own-udp-blocked", &[])?;
            ensure!(reply["path"] == "relay" && reply["tcp"] == true, "{reply:#}");
            let pong = pair.nodes[0].cli(&["ping", &pair.ids[1], "-c", "1"])?.success()?;
            ensure!(pong.stdout.contains(" over TCP "), "{pong}");
            pair.expect(1, "peer-udp-blocked", &[])?;
            let checked = netcheck(&pair.nodes[0])?;
            ensure!(checked["udp"] == "no" && checked["tcp"] == "yes", "{checked:#}");
            ensure!(obstacles(&checked).contains(&"udp-blocked"), "{checked:#}");
            pair.homes[0].access = Access::of(Nat::Port);
            pair.homes[0].reboot_router()?;
            pair.until_not(0, "own-udp-blocked")?;
            pair.until_direct()?;
            pair.expect(0, "direct", &[]).map(drop)
        },
    },
    Topology {
        name: "no-udp",
        kinds: Kinds::Apart([Access::of(Nat::UdpBlocked), Access::of(Nat::UdpBlocked)]),
        judge: |pair| {
            pair.meet(true, [""; 2])?;
            pair.ping()?;
            for end in [0, 1] {
                pair.expect(end, "both-udp-blocked", &[])?;
            }
            pair.homes[1].access = Access::of(Nat::Port);
            pair.homes[1].reboot_router()?;
            let reply = pair.until_not(0, "both-udp-blocked")?;
            check(&reply, "own-udp-blocked", &[])?;
            pair.expect(1, "peer-udp-blocked", &[]).map(drop)
        },
    },
    Topology {
        name: "searched",
        kinds: Kinds::Apart([Access::of(Nat::Symmetric), Access::of(Nat::Port)]),
        judge: |pair| {
            pair.meet(true, [""; 2])?;
            pair.until_direct()?;
            for end in [0, 1] {
                pair.expect(end, "direct", &[])?;
            }
            Ok(())
        },
    },
    Topology {
        name: "strange",
        kinds: Kinds::Apart([Access::of(Nat::Port), Access::of(Nat::Port)]),
        judge: |pair| {
            pair.start([""; 2])?;
            for (end, node) in pair.nodes.iter().enumerate() {
                node.cli(&["join", &pair.world.network(&format!("strange {end}"), Mtu::DEFAULT)?])?;
            }
            pair.expect(0, "not-in-common-network", &[])?;
            let nobody = "a".repeat(26);
            check(&pair.why_of(0, &nobody)?, "peer-unknown", &[])?;
            let short = pair.why_of(0, "bbbbbbbbbb")?;
            check(&short, "peer-unknown", &[])?;
            ensure!(short["node_id"].is_null(), "{short:#}");
            // What is no id is a mistake, and no verdict.
            pair.nodes[0].cli(&["why", "nonsense"])?.expect_code(2)?;
            pair.nodes[0].cli(&["why", &pair.ids[0]])?.expect_code(1)?;
            // A network for both takes the cause away.
            let common = pair.world.network("strange both", Mtu::DEFAULT)?;
            for node in &pair.nodes {
                node.cli(&["join", &common])?;
            }
            pair.until_not(0, "not-in-common-network")?;
            pair.until_direct()?;
            pair.expect(0, "direct", &[]).map(drop)
        },
    },
];

fn netcheck(node: &Node) -> Result<Value> {
    let finished = node.cli(&["netcheck", "--json"])?;
    let reply: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished}"))?;
    let clean = obstacles(&reply).is_empty();
    ensure!(finished.code == Some(if clean { 0 } else { 1 }), "{finished}");
    Ok(reply)
}

fn obstacles(reply: &Value) -> Vec<&str> {
    let found = reply["obstacles"].as_array();
    found
        .into_iter()
        .flatten()
        .filter_map(|obstacle| obstacle["code"].as_str())
        .collect()
}

#[test]
fn each_topology_has_its_verdict_and_without_the_cause_another() {
    limit::test(LIMIT, |lab| {
        let world = World::start(lab, 2, Wire::PLAIN)?;
        let mut homes = Vec::new();
        for topology in TOPOLOGIES {
            let names = ["a", "b"].map(|end| format!("{}-{end}", topology.name));
            homes.push(match topology.kinds {
                Kinds::Apart([one, other]) => [
                    lab.home(&names[0], one, Wire::PLAIN)?,
                    lab.home(&names[1], other, Wire::PLAIN)?,
                ],
                Kinds::OneLan(access) => {
                    let shared = lab.shared_home(&[&names[0], &names[1]], access, Wire::PLAIN)?;
                    shared.try_into().ok().context("two homes")?
                }
            });
        }
        let lab = &*lab;
        let mut pairs = Vec::new();
        for (topology, homes) in TOPOLOGIES.iter().zip(homes) {
            let node = |end: usize, home: &Home| {
                let name = format!("{}-{}", topology.name, ["a", "b"][end]);
                Node::new(lab, &name, &home.host, Some(&world.link))
            };
            let nodes = [node(0, &homes[0])?, node(1, &homes[1])?];
            pairs.push(Pair {
                lab,
                world: &world,
                homes,
                nodes,
                ids: [const { String::new() }; 2],
                name: topology.name,
            });
        }
        let wrong = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (topology, mut pair) in TOPOLOGIES.iter().zip(pairs) {
                let wrong = &wrong;
                scope.spawn(move || {
                    let begun = Instant::now();
                    let judged = (topology.judge)(&mut pair);
                    println!("{}: {:.0} s", topology.name, begun.elapsed().as_secs_f64());
                    if let Err(error) = judged {
                        let mut wrong = wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        wrong.push(format!("{}: {error:#}", topology.name));
                    }
                });
            }
        });
        let wrong = wrong.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        ensure!(
            wrong.is_empty(),
            "{} of {} topologies: {wrong:#?}",
            wrong.len(),
            TOPOLOGIES.len()
        );
        Ok(())
    });
}

#[test]
fn a_dead_supernode_is_named_and_the_network_check_says_what_there_is() {
    limit::test(LIMIT, |lab| {
        let mut world = World::start(lab, 2, Wire::PLAIN)?;
        let homes = [
            lab.home("a", Nat::Symmetric, Wire::PLAIN)?,
            lab.home("b", Nat::Symmetric, Wire::PLAIN)?,
        ];
        let lab = &*lab;
        let link = world.link.clone();
        let node = |name: &str, home: &Home| Node::new(lab, name, &home.host, Some(&link));
        let nodes = [node("a", &homes[0])?, node("b", &homes[1])?];
        let seen = homes[0].outside;
        let mut pair = Pair {
            lab,
            world: &world,
            homes,
            nodes,
            ids: [const { String::new() }; 2],
            name: "dead",
        };
        pair.meet(true, [""; 2])?;
        let checked = wait_for("the NAT to be known", SETTLED, || {
            let checked = netcheck(&pair.nodes[0])?;
            Ok((checked["nat"]["mapping"] != "unknown").then_some(checked))
        })?;
        ensure!(obstacles(&checked) == ["hard-nat"], "{checked:#}");
        ensure!(
            checked["udp"] == "yes" && checked["nat"]["translated"] == "yes",
            "{checked:#}"
        );
        let outside = checked["outside"].as_array().context("no endpoints")?;
        ensure!(!outside.is_empty(), "{checked:#}");
        for endpoint in outside {
            let endpoint = endpoint.as_str().context("no text")?;
            ensure!(endpoint.starts_with(&format!("{seen}:")), "{checked:#}");
        }
        for supernode in checked["supernodes"].as_array().context("no supernodes")? {
            ensure!(
                supernode["registered"] == true && supernode["mtu"] == 1500,
                "{checked:#}"
            );
            ensure!(supernode["rtt_ms"].is_f64() && supernode["udp"] == "yes", "{checked:#}");
        }
        let shown = pair.nodes[0].cli(&["netcheck"])?.expect_code(1)?;
        for words in ["port dependent", "hard-nat: ", "advice: ", "1500 bytes"] {
            ensure!(shown.stdout.contains(words), "{shown}");
        }
        let Pair { homes, nodes, ids, .. } = pair;
        for supernode in &mut world.supernodes {
            supernode.process().kill()?;
        }
        let pair = Pair {
            lab,
            world: &world,
            homes,
            nodes,
            ids,
            name: "dead",
        };
        pair.expect(0, "no-supernode", &[])?;
        let checked = netcheck(&pair.nodes[0])?;
        ensure!(obstacles(&checked).first() == Some(&"no-supernode"), "{checked:#}");
        let Pair { homes, nodes, ids, .. } = pair;
        for supernode in &mut world.supernodes {
            supernode.restart()?;
        }
        let pair = Pair {
            lab,
            world: &world,
            homes,
            nodes,
            ids,
            name: "dead",
        };
        pair.until_not(0, "no-supernode")?;
        pair.until_tried()?;
        pair.expect(0, "both-hard-nat", &[]).map(drop)
    });
}

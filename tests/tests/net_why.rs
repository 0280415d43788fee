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

/// Two homes, and what happens in them, one step after the other.
struct Topology {
    name: &'static str,
    kinds: Kinds,
    steps: &'static [Step],
}

/// What is done to a pair, waited for, or must be so.
enum Step {
    /// Both start, with these configurations, and join one network.
    Meet(Network, [&'static str; 2]),
    /// Something is sent, whether it arrives or not.
    Ping,
    /// Something is sent now and then until both are direct.
    Direct,
    /// The same until it is clear at both ends that nothing comes of trying.
    Tried,
    /// What one end says of the other, with the causes beside it.
    Says(usize, &'static str, &'static [&'static str]),
    /// What both ends say, with nothing beside it.
    BothSay(&'static str),
    /// Something is sent now and then until one end says anything else than this.
    NoLonger(usize, &'static str),
    /// What that end said last, with nothing beside it.
    Said(usize, &'static str),
    /// Something happens, or is checked that only this topology has; the last verdict of each end is known.
    And(fn(&mut Pair<'_>) -> Result<()>),
}

/// The network that both join.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Friends,
    /// On a network of strangers nothing is said to all.
    Strangers,
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
    /// The last verdict of each end.
    said: [Value; 2],
}

impl<'a> Pair<'a> {
    fn new(lab: &'a Lab, world: &'a World, homes: [Home; 2], nodes: [Node; 2], name: &'static str) -> Self {
        Self {
            lab,
            world,
            homes,
            nodes,
            ids: Default::default(),
            name,
            said: Default::default(),
        }
    }

    fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Meet(network, options) => self.meet(*network, *options),
            Step::Ping => self.ping(),
            Step::Direct => self.until_direct(),
            Step::Tried => self.until_tried(),
            Step::Says(end, code, also) => self.expect(*end, code, also),
            Step::BothSay(code) => [0, 1].into_iter().try_for_each(|end| self.expect(end, code, &[])),
            Step::NoLonger(end, code) => self.until_not(*end, code),
            Step::Said(end, code) => check(&self.said[*end], code, &[]),
            Step::And(happens) => happens(self),
        }
    }

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
    fn meet(&mut self, network: Network, options: [&str; 2]) -> Result<()> {
        self.start(options)?;
        let network = match network {
            Network::Friends => self.world.network(self.name, Mtu::DEFAULT)?,
            Network::Strangers => format!("why-{}", self.name),
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
    fn expect(&mut self, end: usize, code: &str, also: &[&str]) -> Result<()> {
        self.said[end] = self.why(end)?;
        check(&self.said[end], code, also).with_context(|| format!("from {}", self.nodes[end].name()))
    }

    /// One end must show the other a ping, and how it went.
    fn pong(&self, way: &str) -> Result<()> {
        let pong = self.nodes[0].cli(&["ping", &self.ids[1], "-c", "1"])?.success()?;
        ensure!(pong.stdout.contains(way), "{pong}");
        Ok(())
    }

    /// A home gets another router.
    fn replace_router(&mut self, end: usize, nat: Nat) -> Result<()> {
        self.homes[end].access = Access::of(nat);
        self.homes[end].reboot_router()
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
    fn until_not(&mut self, end: usize, code: &str) -> Result<()> {
        self.said[end] = wait_for("another verdict", SETTLED, || {
            self.ping()?;
            let reply = self.why(end)?;
            Ok((reply["code"] != code).then_some(reply))
        })?;
        Ok(())
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

const MEET: Step = Step::Meet(Network::Friends, [""; 2]);
const NOW_DIRECT: Step = Step::Says(0, "direct", &[]);

const TOPOLOGIES: &[Topology] = &[
    Topology {
        name: "open",
        kinds: apart(Nat::Absent, Nat::Port),
        steps: &[
            MEET,
            Step::Direct,
            Step::BothSay("direct"),
            Step::And(|pair| {
                for end in [0, 1] {
                    ensure!(pair.said[end]["theirs"]["way"] == "direct", "{:#}", pair.said[end]);
                    let lines = changes(&pair.nodes[end], &pair.ids[1 - end]);
                    ensure!(lines.len() == 1, "one change of path, one line: {lines:#?}");
                    let words = ["INFO", "path=direct", "reason="];
                    ensure!(words.iter().all(|word| lines[0].contains(word)), "{lines:?}");
                }
                pair.pong(" direct at ")
            }),
        ],
    },
    Topology {
        name: "lan",
        kinds: Kinds::OneLan(Access::of(Nat::Port)),
        steps: &[MEET, Step::Direct, Step::BothSay("direct-lan")],
    },
    Topology {
        name: "sym-sym",
        kinds: apart(Nat::Symmetric, Nat::Symmetric),
        steps: &[
            MEET,
            Step::Tried,
            Step::BothSay("both-hard-nat"),
            Step::And(|pair| {
                for said in &pair.said {
                    let mapping = said["theirs"]["nat"]["mapping"].as_str().unwrap_or_default();
                    ensure!(mapping.contains("dependent") && mapping != "independent", "{said:#}");
                }
                pair.pong("(supernode ")
            }),
            // One router that lets everybody in is enough.
            Step::And(|pair| pair.replace_router(0, Nat::FullCone)),
            Step::Direct,
            NOW_DIRECT,
        ],
    },
    Topology {
        name: "hidden",
        kinds: apart(Nat::Port, Nat::Port),
        steps: &[
            Step::Meet(Network::Strangers, [HIDDEN, ""]),
            Step::Ping,
            Step::Says(0, "hidden-address-own", &[]),
            Step::Says(1, "hidden-address-peer", &[]),
            Step::And(|pair| {
                let theirs = &pair.said[1]["theirs"];
                ensure!(theirs["udp"] == "unknown" && theirs["version"].is_null(), "{theirs:#}");
                pair.reconfigure(0, "")
            }),
            Step::Direct,
            Step::Says(1, "direct", &[]),
        ],
    },
    Topology {
        name: "hidden-sym",
        kinds: apart(Nat::Symmetric, Nat::Symmetric),
        steps: &[
            Step::Meet(Network::Strangers, [HIDDEN, ""]),
            Step::And(|pair| {
                wait_for("the NATs to be known", SETTLED, || {
                    let reply = pair.why(0)?;
                    Ok((reply["also"] == Value::from(vec!["both-hard-nat"])).then_some(()))
                })
            }),
            Step::Says(0, "hidden-address-own", &["both-hard-nat"]),
            Step::Says(1, "hidden-address-peer", &[]),
            // Without the cause that decides the other one does.
            Step::And(|pair| pair.reconfigure(0, "")),
            Step::NoLonger(0, "hidden-address-own"),
            Step::Tried,
            Step::BothSay("both-hard-nat"),
        ],
    },
    Topology {
        name: "stopped",
        kinds: apart(Nat::Port, Nat::Port),
        steps: &[
            MEET,
            Step::Direct,
            Step::And(|pair| pair.nodes[1].stop().map(drop)),
            Step::Says(0, "peer-offline", &[]),
            Step::And(|pair| {
                pair.nodes[1].launch()?;
                wait_for("the daemon to answer", START_LIMIT, || pair.nodes[1].status().map(Some))?;
                pair.nodes[1].wait_registered(START_LIMIT)?;
                pair.await_each_other()
            }),
            Step::Direct,
            NOW_DIRECT,
        ],
    },
    Topology {
        name: "killed",
        kinds: apart(Nat::Port, Nat::Port),
        steps: &[
            MEET,
            Step::Direct,
            Step::And(|pair| pair.nodes[1].kill()),
            Step::Says(0, "peer-silent", &[]),
            Step::And(|pair| {
                // The supernodes notice after 75 s.
                wait_for("the registration to end", SETTLED + Duration::from_secs(30), || {
                    Ok((pair.why(0)?["code"] == "peer-offline").then_some(()))
                })
            }),
        ],
    },
    Topology {
        name: "narrow",
        kinds: apart(Nat::Port, Nat::Port),
        steps: &[
            Step::And(|pair| pair.lab.limit_packets(&pair.homes[0], 1280, false)),
            MEET,
            Step::Direct,
            Step::BothSay("mtu-blackhole"),
            Step::And(|pair| {
                ensure!(pair.said[0]["own"]["mtu"] == 1280, "{:#}", pair.said[0]);
                let checked = netcheck(&pair.nodes[0])?;
                ensure!(obstacles(&checked).contains(&"small-mtu"), "{checked:#}");
                pair.lab.limit_packets(&pair.homes[0], 1500, false)
            }),
            Step::NoLonger(0, "mtu-blackhole"),
            Step::Said(0, "direct"),
        ],
    },
    Topology {
        name: "unused",
        kinds: apart(Nat::Port, Nat::Port),
        steps: &[
            Step::Meet(Network::Strangers, [""; 2]),
            Step::And(|pair| {
                let begun = Instant::now();
                pair.expect(0, "not-used", &[])?;
                let reply = &pair.said[0];
                ensure!(reply["path"] != "direct" && begun.elapsed() < SETTLED, "{reply:#}");
                Ok(())
            }),
            Step::Direct,
            NOW_DIRECT,
        ],
    },
    Topology {
        name: "wall",
        kinds: apart(Nat::Port, Nat::Port),
        steps: &[
            // The second home's router drops what comes from the first.
            Step::And(|pair| {
                let from = pair.homes[0].outside;
                pair.homes[1].router.nft(&format!(
                    "table ip wall {{ chain wall {{
                        type filter hook forward priority -10;
                        iifname {OUTSIDE} ip saddr {from} meta l4proto udp drop
                    }}
                    }}"
                ))
            }),
            MEET,
            Step::Tried,
            Step::Says(0, "firewall-filters-peer", &[]),
            Step::Says(1, "firewall-filters-own", &[]),
            Step::And(|pair| pair.homes[1].router.nft("delete table ip wall")),
            Step::Direct,
            NOW_DIRECT,
        ],
    },
    Topology {
        name: "between",
        kinds: apart(Nat::Port, Nat::FullCone),
        steps: &[
            Step::And(|pair| pair.lab.block(&pair.homes[0], &pair.homes[1])),
            MEET,
            Step::Tried,
            Step::BothSay("blocked-between"),
            Step::And(|pair| pair.lab.unblock(&pair.homes[0], &pair.homes[1])),
            Step::Direct,
            Step::Says(1, "direct", &[]),
            // It fails again, and the evidence says when.
            Step::And(|pair| {
                pair.lab.block(&pair.homes[0], &pair.homes[1])?;
                ensure!(pair.said[1]["own"]["lost_s"].is_null(), "{:#}", pair.said[1]);
                Ok(())
            }),
            Step::NoLonger(1, "direct"),
            Step::And(|pair| {
                let reply = pair.why(1)?;
                let lost = |side: &str| reply[side]["lost_s"].is_u64();
                ensure!(lost("own") || lost("theirs"), "{reply:#}");
                Ok(())
            }),
        ],
    },
    Topology {
        name: "no-udp-a",
        kinds: apart(Nat::UdpBlocked, Nat::Symmetric),
        steps: &[
            // Two causes: the peer's router would be found by a search, if UDP were let out here.
            MEET,
            Step::Ping,
            Step::Says(0, "own-udp-blocked", &[]),
            Step::And(|pair| {
                let reply = &pair.said[0];
                ensure!(reply["path"] == "relay" && reply["tcp"] == true, "{reply:#}");
                pair.pong(" over TCP ")
            }),
            Step::Says(1, "peer-udp-blocked", &[]),
            Step::And(|pair| {
                let checked = netcheck(&pair.nodes[0])?;
                ensure!(checked["udp"] == "no" && checked["tcp"] == "yes", "{checked:#}");
                ensure!(obstacles(&checked).contains(&"udp-blocked"), "{checked:#}");
                pair.replace_router(0, Nat::Port)
            }),
            Step::NoLonger(0, "own-udp-blocked"),
            Step::Direct,
            NOW_DIRECT,
        ],
    },
    Topology {
        name: "no-udp",
        kinds: apart(Nat::UdpBlocked, Nat::UdpBlocked),
        steps: &[
            MEET,
            Step::Ping,
            Step::BothSay("both-udp-blocked"),
            Step::And(|pair| pair.replace_router(1, Nat::Port)),
            Step::NoLonger(0, "both-udp-blocked"),
            Step::Said(0, "own-udp-blocked"),
            Step::Says(1, "peer-udp-blocked", &[]),
        ],
    },
    Topology {
        name: "searched",
        kinds: apart(Nat::Symmetric, Nat::Port),
        steps: &[MEET, Step::Direct, Step::BothSay("direct")],
    },
    Topology {
        name: "strange",
        kinds: apart(Nat::Port, Nat::Port),
        steps: &[
            Step::And(|pair| {
                pair.start([""; 2])?;
                for (end, node) in pair.nodes.iter().enumerate() {
                    node.cli(&["join", &pair.world.network(&format!("strange {end}"), Mtu::DEFAULT)?])?;
                }
                Ok(())
            }),
            Step::Says(0, "not-in-common-network", &[]),
            Step::And(|pair| {
                let nobody = "a".repeat(26);
                check(&pair.why_of(0, &nobody)?, "peer-unknown", &[])?;
                let short = pair.why_of(0, "bbbbbbbbbb")?;
                check(&short, "peer-unknown", &[])?;
                ensure!(short["node_id"].is_null(), "{short:#}");
                // What is no id is a mistake, and no verdict.
                pair.nodes[0].cli(&["why", "nonsense"])?.expect_code(2)?;
                pair.nodes[0].cli(&["why", &pair.ids[0]])?.expect_code(1).map(drop)
            }),
            // A network for both takes the cause away.
            Step::And(|pair| {
                let common = pair.world.network("strange both", Mtu::DEFAULT)?;
                pair.nodes
                    .iter()
                    .try_for_each(|node| node.cli(&["join", &common]).map(drop))
            }),
            Step::NoLonger(0, "not-in-common-network"),
            Step::Direct,
            NOW_DIRECT,
        ],
    },
];

const fn apart(one: Nat, other: Nat) -> Kinds {
    Kinds::Apart([Access::of(one), Access::of(other)])
}

impl Topology {
    fn judge(&self, pair: &mut Pair<'_>) -> Result<()> {
        for (number, step) in self.steps.iter().enumerate() {
            pair.take(step).with_context(|| format!("step {}", number + 1))?;
        }
        Ok(())
    }
}

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
            pairs.push(Pair::new(lab, &world, homes, nodes, topology.name));
        }
        let wrong = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (topology, mut pair) in TOPOLOGIES.iter().zip(pairs) {
                let wrong = &wrong;
                scope.spawn(move || {
                    let begun = Instant::now();
                    let judged = topology.judge(&mut pair);
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
        let mut pair = Pair::new(lab, &world, homes, nodes, "dead");
        pair.take(&MEET)?;
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
        let mut pair = Pair::new(lab, &world, homes, nodes, "dead");
        pair.ids = ids;
        pair.take(&Step::Says(0, "no-supernode", &[]))?;
        let checked = netcheck(&pair.nodes[0])?;
        ensure!(obstacles(&checked).first() == Some(&"no-supernode"), "{checked:#}");
        let Pair { homes, nodes, ids, .. } = pair;
        for supernode in &mut world.supernodes {
            supernode.restart()?;
        }
        let mut pair = Pair::new(lab, &world, homes, nodes, "dead");
        pair.ids = ids;
        let back = [
            Step::NoLonger(0, "no-supernode"),
            Step::Tried,
            Step::Says(0, "both-hard-nat", &[]),
        ];
        back.iter().try_for_each(|step| pair.take(step))
    });
}

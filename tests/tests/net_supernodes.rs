//! Worlds of several supernodes: they die and come back, nodes reach only some of them, and lists grow.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::namespace::Namespace;
use farlan_tests::ns::ping;
use farlan_tests::ns::program::{NetworkView, Node, Process, Supernode};
use farlan_tests::ns::{Lab, Nat, Wire, limit};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);

/// How long programs may take for what they do in a moment, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Nodes on one network, and the supernodes of their world.
struct World {
    supernodes: Vec<Supernode>,
    nodes: Vec<Node>,
    networks: Vec<NetworkView>,
}

impl World {
    /// Nodes that stay relayed: each behind a router with a random port for every destination.
    fn start(lab: &mut Lab, supernodes: usize, nodes: usize) -> Result<Self> {
        let (supernodes, links) = world(lab, supernodes)?;
        let newest = links.last().context("a world has a link")?.clone();
        let mut world = Self {
            supernodes,
            nodes: Vec::new(),
            networks: Vec::new(),
        };
        for number in 0..nodes {
            world.add_node(lab, number, &newest, &[])?;
        }
        Ok(world)
    }

    /// Adds a node that cannot reach some of the supernodes.
    fn add_node(&mut self, lab: &mut Lab, number: usize, link: &str, cut: &[Ipv4Addr]) -> Result<()> {
        let name = ["a", "b", "c"][number];
        let home = lab.home(name, Nat::Symmetric, Wire::PLAIN)?;
        for address in cut {
            drop_to(&home.host, *address)?;
        }
        let mut node = Node::new(lab, name, &home.host, Some(link))?;
        node.start()?;
        node.wait_registered(SOON)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Lets the first node make a network and the others join it.
    fn join(&mut self) -> Result<()> {
        let mut link = None;
        for node in &self.nodes {
            match &link {
                None => link = Some(node.host()?),
                Some(link) => {
                    node.join(link)?;
                }
            }
            self.networks.push(node.wait_addressed(SOON)?);
        }
        Ok(())
    }

    fn ipv4(&self, node: usize) -> Result<String> {
        let address = self.networks[node].ipv4.context("no IPv4 address")?;
        Ok(address.to_string())
    }

    /// The supernode at which others reach a node.
    fn home(&self, node: usize) -> Result<usize> {
        let status = self.nodes[node].status()?;
        let all = status["supernodes"].as_array().context("no supernodes")?;
        let home = all
            .iter()
            .find(|supernode| supernode["home"] == true)
            .context("no home")?;
        let address = home["address"].as_str().context("no address")?;
        let found = |supernode: &Supernode| address.starts_with(&format!("{}:", supernode.address()));
        self.supernodes.iter().position(found).context("an unknown home")
    }

    /// A ping between the first two nodes, five times a second, until it is dropped.
    fn ping(&self, lab: &Lab) -> Result<Process> {
        let mut command = self.nodes[0].namespace().command("ping");
        command.args(["-n", "-D", "-i", "0.2", &self.ipv4(1)?]);
        let mut ping = Process::spawn(command, "ping", lab.directory())?;
        wait_for("the first answers", SOON, || {
            ping.ensure_running()?;
            Ok((ping::answers(&ping.log()).len() >= 10).then_some(()))
        })?;
        Ok(ping)
    }
}

/// Starts supernodes, which become one world one after the other while they run. Returns its link after each.
fn world(lab: &mut Lab, count: usize) -> Result<(Vec<Supernode>, Vec<String>)> {
    let mut supernodes: Vec<Supernode> = Vec::new();
    let mut links = Vec::new();
    for number in 0..count {
        let name = format!("s{number}");
        let host = lab.public_host(&name, Wire::PLAIN)?;
        let supernode = Supernode::start_as(lab, &host, &name)?;
        match supernodes.first() {
            None => links.push(supernode.link().to_owned()),
            Some(first) => {
                let printed = first.cli(&["world", "add", supernode.link()])?.stdout;
                links.push(printed.trim().to_owned());
            }
        }
        supernodes.push(supernode);
    }
    let newest = links.last().context("no supernode")?;
    for supernode in supernodes.iter().skip(1) {
        supernode.cli(&["world", "use", newest])?;
    }
    for supernode in &supernodes {
        wait_for("the newest list", SOON, || {
            Ok((supernode.status()?["version"] == count).then_some(()))
        })?;
    }
    Ok((supernodes, links))
}

fn drop_to(namespace: &Arc<Namespace>, address: Ipv4Addr) -> Result<()> {
    let rules = format!(
        "table ip cut_{} {{
            chain output {{
                type filter hook output priority 0
                ip daddr {address} drop
            }}
        }}",
        u32::from(address)
    );
    namespace.nft(&rules)
}

/// The longest time without an answer, that since the last one included.
fn gap(ping: &mut Process) -> Result<f64> {
    ping.ensure_running()?;
    let answers = ping::answers(&ping.log());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs_f64();
    let mut moments: Vec<f64> = answers.iter().map(|answer| answer.at).collect();
    moments.push(now);
    Ok(moments.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max))
}

fn registrations(supernode: &Supernode) -> Result<u64> {
    supernode.status()?["registrations"].as_u64().context("no number")
}

/// How long it takes until a supernode that is up has all nodes registered.
fn until_registered(supernode: &Supernode, nodes: u64, limit: Duration) -> Result<Duration> {
    let start = Instant::now();
    wait_for("all to be registered", limit, || {
        Ok((registrations(supernode)? == nodes).then_some(()))
    })?;
    Ok(start.elapsed())
}

#[test]
fn relayed_traffic_moves_when_its_supernode_is_killed() {
    limit::test(LIMIT, |lab| {
        let mut world = World::start(lab, 2, 2)?;
        world.join()?;
        let mut ping = world.ping(lab)?;
        std::thread::sleep(Duration::from_secs(5));
        let home = world.home(1)?;
        world.supernodes[home].process().kill()?;
        std::thread::sleep(Duration::from_secs(15));
        let gap = gap(&mut ping)?;
        println!("supernode killed: no answer for {gap:.2} s");
        ensure!(gap <= 5.0, "no answer for {gap:.2} s");
        Ok(())
    });
}

fn down_for_a_minute(supernodes: usize) {
    limit::test(LIMIT, |lab| {
        let mut world = World::start(lab, supernodes, 3)?;
        world.join()?;
        let dies = world.home(0)?;
        world.supernodes[dies].process().kill()?;
        std::thread::sleep(Duration::from_secs(62));
        world.supernodes[dies].restart()?;
        let took = until_registered(&world.supernodes[dies], 3, Duration::from_secs(5))?;
        let took = took.as_secs_f64();
        println!("down for a minute, one of {supernodes}: all registered after {took:.2} s");
        Ok(())
    });
}

#[test]
fn nodes_are_back_soon_at_a_supernode_that_was_down_for_a_minute() {
    down_for_a_minute(1);
}

#[test]
fn nodes_are_back_soon_at_one_of_two_that_was_down_for_a_minute() {
    down_for_a_minute(2);
}

#[test]
fn nodes_are_back_at_a_supernode_that_restarted_at_once() {
    limit::test(LIMIT, |lab| {
        let mut world = World::start(lab, 1, 3)?;
        world.join()?;
        world.supernodes[0].process().kill()?;
        world.supernodes[0].restart()?;
        let took = until_registered(&world.supernodes[0], 3, Duration::from_secs(30))?;
        println!("restarted, idle: all registered after {:.2} s", took.as_secs_f64());

        let mut ping = world.ping(lab)?;
        world.supernodes[0].process().kill()?;
        world.supernodes[0].restart()?;
        std::thread::sleep(Duration::from_secs(10));
        let gap = gap(&mut ping)?;
        println!("restarted under relayed traffic: no answer for {gap:.2} s");
        ensure!(gap <= 5.0, "no answer for {gap:.2} s");
        ensure!(
            registrations(&world.supernodes[0])? >= 2,
            "those who speak are not registered"
        );
        Ok(())
    });
}

#[test]
fn nodes_that_reach_other_supernodes_of_a_world_of_five_find_each_other_and_the_newest_list() {
    limit::test(LIMIT, |lab| {
        let (supernodes, links) = world(lab, 5)?;
        let addresses: Vec<Ipv4Addr> = supernodes.iter().map(Supernode::address).collect();
        let mut world = World {
            supernodes,
            nodes: Vec::new(),
            networks: Vec::new(),
        };
        // Of s0 to s4: the first three, the last three, and the last with the first two, from the list before the last.
        for (number, (version, cut)) in [(5, [3, 4]), (5, [0, 1]), (4, [2, 3])].into_iter().enumerate() {
            let cut = cut.map(|cut| addresses[cut]);
            world.add_node(lab, number, &links[version - 1], &cut)?;
        }
        world.join()?;
        for from in 0..3 {
            for to in (0..3).filter(|to| *to != from) {
                // Until three are answered: a busy machine may take a while to find the supernode that both reach.
                let words = ["ping", "-n", "-c", "3", "-i", "0.3", "-w", "15", &world.ipv4(to)?];
                let ping = world.nodes[from].namespace().exec(&words, SOON)?;
                ensure!(ping.code == Some(0), "{from} to {to}: {ping}");
                let summary = ping.stdout.lines().find(|line| line.contains("transmitted"));
                println!("{from} to {to}: {}", summary.unwrap_or_default());
            }
        }
        let versions = |node: &Node| -> Result<Value> { node.json(&["supernode", "list"]) };
        wait_for("the newest list at the node that held an older one", SOON, || {
            Ok(versions(&world.nodes[2])?
                .to_string()
                .contains("\"version\":5")
                .then_some(()))
        })?;
        // It is kept: the next start knows it.
        let state = std::fs::read_to_string(world.nodes[2].state_directory().join("worlds.toml"))?;
        ensure!(state.contains(&links[4]), "not written down: {state}");
        Ok(())
    });
}

//! One run: a world drawn from a seed, and episodes of faults in it, after each of which everything must work again.
//!
//! An episode is a few seconds of faults under traffic. Then everything that is broken is mended, and from that moment on
//! every node speaks now and then, as in a LAN in use. [`CONVERGENCE`] after the last mend, everybody pings everybody (in
//! big worlds, some others) by IPv4 and IPv6, each ping once, and each must be answered. In small networks members also
//! broadcast. What must arrive, and what must not, is the model's affair.
//!
//! The one exception are episodes with faults of supernodes, one of which may also stay down if there are several: nodes
//! that reach each other directly notice such faults by their signs of life, so the judgement waits for that.

use std::{thread, time::Duration};

use super::{
    faults::FaultCounts,
    frames::BROADCAST,
    health::{CONVERGENCE, SILENT},
    lab::{Family, PingId},
    links::LinkQuality,
    plan::World,
    random::ReproducibleRandom,
};

/// What a run came to, if it did not panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its nodes.
    pub nodes: usize,
    /// Its faults.
    pub faults: FaultCounts,
    /// How often a NAT moved a flow because of a datagram it had refused.
    pub poisoned: u64,
    /// Arrivals of frames that were demanded and happened.
    pub demanded: u64,
    /// Pings that had to be answered, and were.
    pub pings: u64,
    /// The hash of its event log.
    pub hash: String,
}

/// A fault, drawn at random. Nodes, networks, supernodes, NATs and places are numbers.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash(usize),
    Goodbye(usize),
    Restart(usize),
    CrashSupernode(usize),
    RestartSupernode(usize),
    Rebind(usize),
    Roam(usize, usize),
    Jump(usize, Duration),
    /// Cuts or mends the way between two nodes.
    Cut(usize, usize, bool),
    /// Cuts or mends all ways between the nodes below this number and the others.
    Split(usize, bool),
    /// Cuts or mends the way between a node and a supernode.
    CutOff(usize, usize, bool),
    Links(LinkQuality),
    Leave(usize, usize),
    Join(usize, usize),
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The time between two rounds of traffic.
const ROUND: Duration = Duration::from_millis(300);

/// The last pings of an episode are answered within this time.
const ANSWER: Duration = Duration::from_secs(4);

/// Members up to which everybody pings everybody.
const FEW: usize = 8;

/// Where there are more, everybody pings those of so many that come after it, itself included.
const JUDGED: usize = 4;

struct Run {
    world: World,
    random: ReproducibleRandom,
    /// What was done, for whoever reads a failure.
    log: Vec<(Duration, Fault)>,
    mends: Vec<Fault>,
    frames: u64,
    rounds: usize,
    pings: u64,
}

/// Runs the run of a seed.
///
/// # Panics
/// If anything in it is not as it must be.
pub fn run(seed: u64) -> Outcome {
    let mut random = ReproducibleRandom::new(seed, "run", 0);
    let world = World::draw(seed, &mut random);
    let mut run = Run {
        world,
        random,
        log: Vec::new(),
        mends: Vec::new(),
        frames: 0,
        rounds: 0,
        pings: 0,
    };
    run.converge(CONVERGENCE);
    run.judge();
    let episodes = if run.world.is_big() { 1 } else { 2 + run.random.below(2) };
    for _ in 0..episodes {
        run.episode();
    }
    let lab = &run.world.lab;
    Outcome {
        nodes: run.world.nodes.len(),
        faults: lab.faults(),
        poisoned: lab.poisoned(),
        demanded: lab.model().demanded(),
        pings: run.pings,
        hash: lab.trace().hash(),
    }
}

impl Run {
    fn episode(&mut self) {
        let most = if self.world.is_big() { 24 } else { 7 };
        for _ in 0..1 + self.random.below(most) {
            if let Some(fault) = self.draw() {
                self.apply(fault);
            }
            for _ in 0..self.random.below(10) {
                self.traffic();
            }
        }
        let mut mends = std::mem::take(&mut self.mends);
        let spare = self.spare_supernode(&mends);
        while !mends.is_empty() {
            let mend = mends.swap_remove(self.random.below(mends.len() as u64) as usize);
            if spare.is_none_or(|spare| !matches!(mend, Fault::RestartSupernode(other) if other == spare)) {
                self.apply(mend);
            }
        }
        self.mends.extend(spare.map(Fault::RestartSupernode));
        let of_supernodes = |&&(_, fault): &&(Duration, Fault)| {
            matches!(
                fault,
                Fault::CrashSupernode(_) | Fault::RestartSupernode(_) | Fault::CutOff(..)
            )
        };
        let unnoticed = self.log.iter().rev().find(of_supernodes).map(|&(at, _)| at + SILENT);
        let wait = unnoticed.map_or(Duration::ZERO, |until| until.saturating_sub(self.world.lab.now()));
        self.converge(wait + CONVERGENCE);
        self.judge();
    }

    /// A supernode that stays down in the judgement, now and then, if there is another one.
    fn spare_supernode(&mut self, mends: &[Fault]) -> Option<usize> {
        let down = |number: &usize| !self.world.lab.is_up(self.world.supernodes[*number]);
        let mut dead: Vec<usize> = (0..self.world.supernodes.len()).filter(down).collect();
        let cut_off = mends.iter().any(|mend| matches!(mend, Fault::CutOff(..)));
        if cut_off || dead.len() == self.world.supernodes.len() || !self.random.chance(0.5) {
            return None;
        }
        dead.pop()
    }

    fn draw(&mut self) -> Option<Fault> {
        let random = &mut self.random;
        let mut below = |bound: usize| random.below(bound as u64) as usize;
        let world = &self.world;
        let count = world.nodes.len();
        let (node, other, network) = (below(count), below(count), below(world.networks.len()));
        let supernode = below(world.supernodes.len());
        let up = world.lab.is_up(world.nodes[node]);
        let supernode_up = world.lab.is_up(world.supernodes[supernode]);
        Some(match below(24) {
            0..=2 if up => Fault::Crash(node),
            3 | 4 if up => Fault::Goodbye(node),
            0..=4 => Fault::Restart(node),
            5..=7 if supernode_up => Fault::CrashSupernode(supernode),
            5..=7 => Fault::RestartSupernode(supernode),
            8 | 9 => Fault::Rebind(below(world.nats.len())),
            10 | 11 => Fault::Roam(node, below(world.places.len())),
            12 | 13 => Fault::Jump(node, SECOND * (1 << below(17)) as u32),
            14 | 15 if node != other => Fault::Cut(node, other, true),
            16 if !world.is_big() => Fault::Split(1 + below(count - 1), true),
            17..=19 => Fault::CutOff(node, supernode, true),
            20 | 21 => Fault::Links(self.draw_links()),
            22 | 23 if world.is_member(node, network) => Fault::Leave(node, network),
            22 | 23 if up && !world.joined[node][network] => Fault::Join(node, network),
            _ => return None,
        })
    }

    /// Links with any faults.
    fn draw_links(&mut self) -> LinkQuality {
        let random = &mut self.random;
        let mut share = |most: f64| random.below(1_000) as f64 / 1_000.0 * most;
        let (loss, duplication, corruption, replay) = (share(0.3), share(0.2), share(0.1), share(0.1));
        let delay = random.duration_below(150 * MILLISECOND);
        LinkQuality::of_delay(delay)
            .with_loss(loss)
            .with_duplication(duplication)
            .with_jitter(random.duration_below(80 * MILLISECOND))
            .with_attacker(corruption, replay)
    }

    fn apply(&mut self, fault: Fault) {
        self.log.push((self.world.lab.now(), fault));
        let World {
            lab,
            supernodes,
            nodes,
            networks,
            joined,
            nats,
            places,
            healthy,
        } = &mut self.world;
        match fault {
            Fault::Crash(node) => lab.crash(nodes[node]),
            Fault::Goodbye(node) => lab.shut_down(nodes[node]),
            Fault::Restart(node) if !lab.is_up(nodes[node]) => lab.restart(nodes[node]),
            Fault::CrashSupernode(supernode) => lab.crash(supernodes[supernode]),
            Fault::RestartSupernode(supernode) if !lab.is_up(supernodes[supernode]) => {
                lab.restart(supernodes[supernode]);
            }
            Fault::Restart(_) | Fault::RestartSupernode(_) => {}
            Fault::Rebind(nat) => lab.rebind(nats[nat]),
            Fault::Roam(node, place) => lab.roam(nodes[node], places[place]),
            Fault::Jump(node, by) => lab.jump_clock(nodes[node], by),
            Fault::Cut(a, b, cut) => lab.set_cut(nodes[a], nodes[b], cut),
            Fault::Split(border, cut) => {
                for &a in &nodes[..border] {
                    for &b in &nodes[border..] {
                        lab.set_cut(a, b, cut);
                    }
                }
            }
            Fault::CutOff(node, supernode, cut) => lab.set_cut(nodes[node], supernodes[supernode], cut),
            Fault::Links(quality) => lab.set_links(quality),
            Fault::Leave(node, network) => {
                lab.leave(nodes[node], networks[network]);
                joined[node][network] = false;
            }
            Fault::Join(node, network) => {
                lab.join(nodes[node], networks[network]);
                joined[node][network] = true;
            }
        }
        self.mends.extend(match fault {
            Fault::Crash(node) | Fault::Goodbye(node) => Some(Fault::Restart(node)),
            Fault::CrashSupernode(supernode) => Some(Fault::RestartSupernode(supernode)),
            Fault::Cut(a, b, true) => Some(Fault::Cut(a, b, false)),
            Fault::Split(border, true) => Some(Fault::Split(border, false)),
            Fault::CutOff(node, supernode, true) => Some(Fault::CutOff(node, supernode, false)),
            Fault::Links(quality) if quality != *healthy => Some(Fault::Links(*healthy)),
            _ => None,
        });
    }

    /// Lets time pass in which every node speaks.
    fn converge(&mut self, time: Duration) {
        let end = self.world.lab.now() + time;
        while self.world.lab.now() < end {
            self.traffic();
        }
    }

    /// A round of traffic: every member pings one other, a few broadcast.
    fn traffic(&mut self) {
        self.rounds += 1;
        for network in 0..self.world.networks.len() {
            let members = self.world.members(network);
            // In a small network everybody speaks to everybody in turn, in a big one to those who come after it.
            let (near, pause) = if self.world.is_big() {
                (JUDGED, 3)
            } else {
                (members.len().min(FEW), 1)
            };
            for (place, &from) in members.iter().enumerate() {
                let turn = self.rounds + place;
                if !turn.is_multiple_of(pause) {
                    continue;
                }
                let to = members[(place + turn / pause % near) % members.len()];
                let family = [Family::V4, Family::V6][self.random.below(2) as usize];
                if to != from {
                    self.ping(from, to, network, family);
                }
                if self.random.below(20 * members.len() as u64) == 0 {
                    self.broadcast(from, network);
                }
            }
        }
        self.world.lab.run(ROUND);
    }

    fn ping(&mut self, from: usize, to: usize, network: usize, family: Family) -> Option<PingId> {
        let World {
            lab, nodes, networks, ..
        } = &mut self.world;
        lab.address(nodes[to], networks[network], family)?;
        Some(lab.ping(nodes[from], nodes[to], networks[network], family))
    }

    fn broadcast(&mut self, from: usize, network: usize) {
        self.frames += 1;
        let World {
            lab, nodes, networks, ..
        } = &mut self.world;
        let frame = lab.payload(nodes[from], networks[network], BROADCAST, self.frames, 200);
        lab.send(nodes[from], networks[network], frame);
    }

    /// Asserts that everybody reaches everybody.
    fn judge(&mut self) {
        let mut pings = Vec::new();
        for network in 0..self.world.networks.len() {
            let members = self.world.members(network);
            for (place, &from) in members.iter().enumerate() {
                let others = if members.len() <= FEW { members.len() } else { JUDGED };
                for step in 1..others {
                    let to = members[(place + step) % members.len()];
                    for family in [Family::V4, Family::V6] {
                        let ping = self.ping(from, to, network, family);
                        assert!(
                            ping.is_some(),
                            "{} has no address of {family:?} in network {network}",
                            self.name(to)
                        );
                        pings.extend(ping.map(|ping| (from, to, network, family, ping)));
                    }
                }
            }
            for &from in members.iter().take(2) {
                self.broadcast(from, network);
            }
        }
        let end = self.world.lab.now() + ANSWER;
        while self.world.lab.now() < end {
            self.traffic();
        }
        let silent: Vec<String> = pings
            .iter()
            .filter(|(.., ping)| self.world.lab.answer(*ping).is_none())
            .map(|&(from, to, network, family, ping)| {
                format!(
                    "{} to {} in network {network} by {family:?}, {ping:?}",
                    self.name(from),
                    self.name(to)
                )
            })
            .collect();
        assert!(
            silent.is_empty(),
            "no answer at {:?}: {silent:#?}",
            self.world.lab.now()
        );
        self.pings += pings.len() as u64;
        for host in self.world.nodes.clone() {
            for network in self.world.networks.clone() {
                if self.world.lab.handle(host, network).is_some() {
                    self.world.lab.card_mut(host, network).forget_received();
                }
            }
        }
    }

    fn name(&self, node: usize) -> String {
        let host = self.world.nodes[node];
        format!("node {node} (host {}, {})", host.index(), self.world.lab.node_id(host))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "{} nodes, {} supernodes; what was done:",
                self.world.nodes.len(),
                self.world.supernodes.len()
            );
            for (at, fault) in &self.log {
                eprintln!("{at:>14.6?} {fault:?}");
            }
        }
    }
}

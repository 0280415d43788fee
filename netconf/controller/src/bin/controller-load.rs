//! Puts load on a controller, for tests and measurements.
//!
//! ```text
//! controller-load joins PLACE                       lets nodes in without end, and says each one on a line once it is acknowledged
//! controller-load scale PLACE NETWORKS MEMBERS      fills a store with so many networks, one of them with so many members, the others
//!                                                   with 10 each, and measures admissions
//! ```
//!
//! PLACE is a file or a `postgres://` URL. Both make what they need there.
#![allow(clippy::print_stdout, reason = "it is a program")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use farlan_controller::{Applicant, Controller, NewInvite, NewNetwork, Store, Wish};
use farlan_crypto::{Identity, SystemRandom, Work};
use farlan_netconf::private::{Admission, Application, Credential, DnsLabel, Rights, Seconds};
use farlan_netconf::{Label, Mtu, NetworkId, PrivateLink, World};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments[..] {
        ["joins", place] => runtime.block_on(joins(place)),
        ["scale", place, networks, members] => runtime.block_on(scale(place, networks.parse()?, members.parse()?)),
        _ => Err("usage: controller-load joins PLACE | scale PLACE NETWORKS MEMBERS".into()),
    }
}

/// The members that each network has but the large one.
const SMALL: usize = 10;
/// Admissions that are measured of each kind.
const MEASURED: usize = 1000;
/// How many ask at once where several do.
const AT_ONCE: usize = 16;

struct Load {
    controller: Arc<Controller>,
    rng: SystemRandom,
    world: World,
}

/// A network and the link by which its members come.
struct Target {
    id: NetworkId,
    link: PrivateLink,
}

impl Load {
    async fn open(place: &str) -> Result<Self> {
        let mut rng = SystemRandom::from_os()?;
        let owner = Identity::generate(&mut rng, Work::NONE);
        let world = some_world(&owner)?;
        let store = Store::open(place).await?;
        Ok(Self {
            controller: Arc::new(Controller::new(store, owner.public(), Seconds::new(0), Work::NONE)),
            rng,
            world,
        })
    }

    async fn network(&mut self, number: usize) -> Result<Target> {
        let new = NewNetwork {
            label: Label::parse(&format!("network {number}"))?,
            domain: DnsLabel::parse("home")?,
            subnet: "10.128.0.0/16".parse()?,
            mtu: Mtu::DEFAULT,
            world: self.world.id(),
            life: None,
        };
        let documents = self
            .controller
            .create(new, &Wish::default(), now(), &mut self.rng)
            .await?;
        let id = documents.config.network().id();
        self.target(id).await
    }

    /// A network with an invite for as many as want.
    async fn target(&mut self, id: NetworkId) -> Result<Target> {
        let new = NewInvite {
            label: Label::default(),
            uses: 0,
            lasts: 24 * 3600,
            life: 3600,
            rights: Rights::NONE,
        };
        let invite = self.controller.invite(&id, new, now(), &mut self.rng).await?;
        let link = self.controller.link(&id, &invite.key, &[], self.world.clone()).await?;
        Ok(Target { id, link })
    }

    /// What a new node asks for, who wants one of a few names.
    fn applicant(&mut self, target: &Target, name: &str) -> Result<(Identity, Application)> {
        let node = Identity::generate(&mut self.rng, Work::NONE);
        let name = Some(DnsLabel::parse(name)?);
        let application = Application::new(name, None);
        let delegation = target.link.delegation().clone();
        let application = application.invited(target.link.invite(), delegation, &node.public(), &[0; 64])?;
        Ok((node, application))
    }
}

async fn joins(place: &str) -> Result<()> {
    let mut load = Load::open(place).await?;
    let id = match load.controller.networks().await?.first() {
        Some(id) => *id,
        None => load.network(0).await?.id,
    };
    let target = load.target(id).await?;
    let mut out = std::io::stdout().lock();
    loop {
        let (node, application) = load.applicant(&target, "laptop")?;
        let credential = admit(&load.controller, &target.id, &node, &application).await?;
        let fields = credential.certificate().fields();
        let name = fields.name.as_ref().map(DnsLabel::to_string).unwrap_or_default();
        let address = fields.ipv4.map(|address| address.to_string()).unwrap_or_default();
        writeln!(out, "{} {} {name} {address}", node.node_id(), fields.issue)?;
        out.flush()?;
    }
}

async fn scale(place: &str, networks: usize, members: usize) -> Result<()> {
    let mut load = Load::open(place).await?;
    let begun = Instant::now();
    let mut targets = Vec::with_capacity(networks);
    for number in 0..networks {
        let target = load.network(number).await?;
        let size = if number == 0 { members } else { SMALL };
        for member in 1..size {
            // Every fourth has the name of many others.
            let name = if member % 4 == 0 {
                "laptop".to_owned()
            } else {
                format!("node-{member}")
            };
            let (node, application) = load.applicant(&target, &name)?;
            admit(&load.controller, &target.id, &node, &application).await?;
        }
        targets.push(target);
    }
    println!("filled in {:.0} s, {}", begun.elapsed().as_secs_f64(), memory());

    let large = measure(&mut load, &targets[..1], 1).await?;
    println!("into the network of {members}, one at a time: {large}");
    let small = measure(&mut load, &targets, 1).await?;
    println!("into {networks} networks, one at a time: {small}");
    let crowd = measure(&mut load, &targets, AT_ONCE).await?;
    println!("into {networks} networks, {AT_ONCE} at a time: {crowd}");

    let begun = Instant::now();
    let listed = load.controller.members(&targets[0].id).await?.len();
    println!(
        "list of {listed} members: {:.0} ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    println!("{}", memory());
    Ok(())
}

/// How long admissions take, from the question to the answer that lasts, `at_once` being asked for at a time.
async fn measure(load: &mut Load, targets: &[Target], at_once: usize) -> Result<String> {
    let mut times = Vec::with_capacity(MEASURED);
    let mut next = 0;
    while times.len() < MEASURED {
        let mut running = Vec::with_capacity(at_once);
        for _ in 0..at_once {
            // Steps through all of them in an order in which neighbours are far apart.
            next = (next + 617) % targets.len();
            let target = &targets[next];
            let (node, application) = load.applicant(target, "laptop")?;
            let (controller, id) = (Arc::clone(&load.controller), target.id);
            running.push(tokio::spawn(async move {
                let begun = Instant::now();
                let admitted = admit(&controller, &id, &node, &application).await;
                admitted.map(|_| begun.elapsed()).map_err(|error| error.to_string())
            }));
        }
        for task in running {
            times.push(task.await??);
        }
    }
    times.sort();
    let at = |share: f64| milliseconds(times[((times.len() - 1) as f64 * share) as usize]);
    Ok(format!(
        "{} admissions, p50 {}, p99 {}, most {}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    ))
}

async fn admit(
    controller: &Controller,
    id: &NetworkId,
    node: &Identity,
    application: &Application,
) -> Result<Box<Credential>> {
    let applicant = Applicant {
        node: &node.public(),
        application,
        credential: None,
    };
    match controller.admit(id, &applicant, now()).await? {
        Admission::Granted(credential) => Ok(credential),
        Admission::Refused(refusal) => Err(refusal.into()),
    }
}

/// A world with a supernode that nobody asks.
fn some_world(owner: &Identity) -> Result<World> {
    let supernode = farlan_netconf::Supernode {
        key: owner.public(),
        endpoints: vec!["203.0.113.1:9600".parse()?],
    };
    Ok(World::sign(owner, 1, vec![supernode])?)
}

fn now() -> Seconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Seconds::new(since.map(|since| since.as_secs()).unwrap_or_default())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// The memory that is and was at the most resident, as the kernel counts it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

//! Two new nodes on one new network.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::expectation::Expected;
use crate::ns::api::Api;
use crate::ns::echo::EchoStream;
use crate::ns::program::{Node, PORT};
use crate::ns::world::World;
use crate::ns::{Home, Lab};

/// How long programs may take to start, to register and to get addresses, on a busy machine.
pub const START_LIMIT: Duration = Duration::from_secs(40);

/// How often is looked whether both nodes are direct.
const LOOK: Duration = Duration::from_millis(10);

/// Two nodes that have started without any state but an identity, and have joined a network of their own.
#[derive(Debug)]
pub struct Ends {
    /// The nodes.
    pub nodes: [Node; 2],
    /// Their APIs.
    pub apis: [Api; 2],
    /// Their ids.
    pub ids: [String; 2],
    /// Their addresses on the network.
    pub addresses: [Ipv4Addr; 2],
    /// When their programs were started.
    pub launched: Instant,
    /// When both were registered at a supernode.
    pub registered: Instant,
}

impl Ends {
    /// Starts one in each home and waits until both have addresses. Different values of `run` give different UDP ports, which
    /// no router has seen.
    ///
    /// # Errors
    /// A program fails, or takes too long.
    pub fn start(lab: &Lab, world: &World, homes: [(&str, &Home); 2], run: u16, link: &str) -> Result<Self> {
        let node = |(name, home): (&str, &Home)| -> Result<Node> {
            let mut node = newborn(lab, name, home, Some(&world.link))?;
            // Ports that nobody remembers.
            node.set_port(PORT + 1 + run % 1000);
            Ok(node)
        };
        let [one, other] = homes;
        let mut nodes = [node(one)?, node(other)?];
        let launched = Instant::now();
        for node in &mut nodes {
            node.launch()?;
        }
        let apis = nodes.each_ref().map(Api::of);
        let join = |api: &Api| -> Result<Instant> {
            Api::await_it("the daemon to answer", START_LIMIT, || api.ask("/v1/status").map(Some))?;
            api.join(link)?;
            let registered = || Ok(api.is_registered()?.then_some(()));
            Ok(Api::await_it("the registration", START_LIMIT, registered)?.1)
        };
        let [a, b] = thread::scope(|scope| {
            let threads = apis.each_ref().map(|api| scope.spawn(move || join(api)));
            threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let registered = a?.max(b?);
        let address =
            |api: &Api| -> Result<Ipv4Addr> { Ok(Api::await_it("an address", START_LIMIT, || api.ipv4())?.0) };
        Ok(Self {
            addresses: [address(&apis[0])?, address(&apis[1])?],
            ids: [apis[0].node_id()?, apis[1].node_id()?],
            nodes,
            apis,
            launched,
            registered,
        })
    }

    /// Pings from one end to the other.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub fn pings(&self, from: usize, pace: Duration) -> Result<EchoStream> {
        EchoStream::start(self.nodes[from].namespace(), self.addresses[1 - from].into(), pace)
    }

    /// Whether both say that the path to the other is direct.
    ///
    /// # Errors
    /// A daemon does not answer.
    pub fn are_direct(&self) -> Result<bool> {
        let is_direct = |end: usize| -> Result<bool> {
            let path = self.apis[end].path_to(&self.ids[1 - end])?;
            Ok(path.is_some_and(|(kind, _)| kind == Expected::Direct.word()))
        };
        Ok(is_direct(0)? && is_direct(1)?)
    }

    /// The moment at which both said so, none if they do not until `deadline`.
    ///
    /// # Errors
    /// A daemon does not answer.
    pub fn await_direct(&self, deadline: Instant) -> Result<Option<Instant>> {
        while Instant::now() < deadline {
            let looked = Instant::now();
            if self.are_direct()? {
                return Ok(Some(looked));
            }
            thread::sleep(LOOK);
        }
        Ok(None)
    }

    /// Stops both programs.
    ///
    /// # Errors
    /// One does not end.
    pub fn stop(mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.stop().map(drop))
    }
}

/// A node that is not running, and has nothing but an identity. That takes a second or more to make on a busy machine, once in
/// the life of a node, and is no part of what is measured.
///
/// # Errors
/// The program fails.
pub fn newborn(lab: &Lab, name: &str, home: &Home, supernode: Option<&str>) -> Result<Node> {
    let mut unborn = Node::new(lab, name, &home.host, None)?;
    unborn.forget()?;
    unborn.launch()?;
    let answers = || Api::of(&unborn).ask("/v1/status").map(Some);
    Api::await_it("an identity", START_LIMIT, answers)?;
    unborn.stop()?;
    Node::new(lab, name, &home.host, supernode)
}

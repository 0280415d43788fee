//! Finding out what the routers of a home do, by packets alone: from the home to two addresses with two ports each, and back,
//! as RFC 5780 does it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Behaviour, Dependence, PortRule};
use crate::ns::home::Home;
use crate::ns::namespace::Namespace;
use crate::ns::topology::PublicHost;

/// How long something that must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long something that may not come is waited for, after something that took the same way has come.
const STRAGGLERS: Duration = Duration::from_millis(50);

/// How long something that may not come is waited for where there is nothing to compare, and how often it is tried.
const SILENCE: Duration = Duration::from_millis(250);
const TRIES: usize = 3;

/// How long the first packet is waited for, which may not get out at all.
const FIRST: Duration = Duration::from_secs(1);

/// How many sockets show how ports are chosen.
const SOCKETS: usize = 8;

/// What is measured at a home, and by which two public hosts.
#[derive(Clone, Copy, Debug)]
pub struct Classifier<'a> {
    home: &'a Home,
    hosts: [&'a PublicHost; 2],
}

impl<'a> Classifier<'a> {
    /// One for this home.
    pub fn new(home: &'a Home, hosts: [&'a PublicHost; 2]) -> Self {
        Self { home, hosts }
    }

    /// What the home's routers do to UDP; none if nothing gets out.
    ///
    /// # Errors
    /// Sockets fail, an answer does not get in, or the routers follow no rule that RFC 4787 knows.
    pub fn measure(self) -> Result<Option<Behaviour>> {
        let Some(mapping) = self.mapping()? else {
            return Ok(None);
        };
        Ok(Some(Behaviour {
            mapping,
            filtering: self.filtering()?,
            port: self.port_rule()?,
            hairpins: self.hairpins()?,
            poisonable: mapping == Dependence::Nothing && self.is_poisonable()?,
        }))
    }

    fn mapping(self) -> Result<Option<Dependence>> {
        let own = self.inside()?;
        let Some(first) = seen(&own, &self.outside(0)?, FIRST)? else {
            return Ok(None);
        };
        let must = |socket: &UdpSocket| seen(&own, socket, PATIENCE)?.context("only the first packet got out");
        let (other_port, other_address) = (must(&self.outside(0)?)?, must(&self.outside(1)?)?);
        Ok(Some(match (first == other_port, first == other_address) {
            (true, true) => Dependence::Nothing,
            (true, false) => Dependence::Address,
            (false, false) => Dependence::AddressAndPort,
            (false, true) => bail!("seen as {first}, as {other_port} by the same address, but not by another"),
        }))
    }

    fn filtering(self) -> Result<Dependence> {
        let (own, asked) = (self.inside()?, self.outside(0)?);
        let (other_port, other_address) = (self.outside(0)?, self.outside(1)?);
        let mapped = must_see(&own, &asked)?;
        for stranger in [&other_address, &other_port] {
            stranger.send_to(b"unasked", mapped)?;
        }
        let got_in = arrivals_until_answer(&own, &asked, mapped)?;
        let from = |socket: &UdpSocket| anyhow::Ok(got_in.contains(&socket.local_addr()?));
        Ok(match (from(&other_port)?, from(&other_address)?) {
            (true, true) => Dependence::Nothing,
            (true, false) => Dependence::Address,
            (false, false) => Dependence::AddressAndPort,
            (false, true) => bail!("another address gets in, but not another port of the same"),
        })
    }

    fn port_rule(self) -> Result<PortRule> {
        let public = self.outside(0)?;
        let mut ports = Vec::new();
        for _ in 0..SOCKETS {
            let own = self.inside()?;
            ports.push((own.local_addr()?.port(), must_see(&own, &public)?.port()));
        }
        let is_kept = ports.iter().all(|(own, outside)| own == outside);
        let is_next = |pair: &[(u16, u16)]| pair[1].1 == pair[0].1.wrapping_add(1);
        Ok(if is_kept {
            PortRule::Kept
        } else if ports.windows(2).all(is_next) {
            PortRule::Sequential
        } else {
            PortRule::Scattered
        })
    }

    fn hairpins(self) -> Result<bool> {
        let (one, other, public) = (self.inside()?, self.inside()?, self.outside(0)?);
        let (one_outside, other_outside) = (must_see(&one, &public)?, must_see(&other, &public)?);
        for _ in 0..TRIES {
            one.send_to(b"knock", other_outside)?;
            other.send_to(b"knock", one_outside)?;
            if let Some(from) = source(&one, SILENCE)? {
                ensure!(from == other_outside, "the neighbour {other_outside} is seen as {from}");
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_poisonable(self) -> Result<bool> {
        let (own, asked, stranger) = (self.inside()?, self.outside(0)?, self.outside(1)?);
        let mapped = must_see(&own, &asked)?;
        stranger.send_to(b"early", mapped)?;
        arrivals_until_answer(&own, &asked, mapped)?;
        Ok(must_see(&own, &stranger)? != mapped)
    }

    /// A new socket of the home's host.
    fn inside(self) -> Result<UdpSocket> {
        bind(&self.home.host, self.home.inside.into())
    }

    /// A new socket of one of the two public hosts: an endpoint that no router knows yet.
    fn outside(self, host: usize) -> Result<UdpSocket> {
        let host = self.hosts[host];
        bind(&host.namespace, host.address.into())
    }
}

fn bind(namespace: &Namespace, address: IpAddr) -> Result<UdpSocket> {
    Ok(namespace.inside(|| UdpSocket::bind((address, 0)))??)
}

/// As whom `public` sees the socket; none if the packet does not arrive.
fn seen(own: &UdpSocket, public: &UdpSocket, limit: Duration) -> Result<Option<SocketAddr>> {
    own.send_to(b"out", public.local_addr()?)?;
    source(public, limit)
}

fn must_see(own: &UdpSocket, public: &UdpSocket) -> Result<SocketAddr> {
    seen(own, public, PATIENCE)?.context("nothing gets out")
}

/// Lets `asked` answer, and returns from whom something has arrived by then, and shortly after.
fn arrivals_until_answer(own: &UdpSocket, asked: &UdpSocket, mapped: SocketAddr) -> Result<Vec<SocketAddr>> {
    asked.send_to(b"answer", mapped)?;
    let mut arrivals = Vec::new();
    loop {
        let answered = arrivals.contains(&asked.local_addr()?);
        match source(own, if answered { STRAGGLERS } else { PATIENCE })? {
            Some(from) => arrivals.push(from),
            None if answered => return Ok(arrivals),
            None => bail!("an answer did not get in"),
        }
    }
}

/// The source of the next packet, none if nothing comes.
fn source(socket: &UdpSocket, limit: Duration) -> Result<Option<SocketAddr>> {
    socket.set_read_timeout(Some(limit))?;
    match socket.recv_from(&mut [0; 16]) {
        Ok((_, from)) => Ok(Some(from)),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

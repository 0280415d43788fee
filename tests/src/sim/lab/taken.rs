//! Taking an engine out of a lab, to drive it by hand.

use std::net::SocketAddr;

use farlan_engine::{Engine, Time};

use super::{HostId, Lab};

impl Lab {
    /// Takes the engine of a host that is up, with the time on its clock and the address it sends from on the open
    /// Internet. The lab goes on as if the host had crashed.
    ///
    /// # Panics
    /// If the host is down or without an IPv4 address.
    pub fn take_engine(&mut self, host: HostId) -> (Engine, Time, SocketAddr) {
        let now = self.engine_time(host.0);
        let own = self.underlay.endpoints(host.0).into_iter().find(SocketAddr::is_ipv4);
        let engine = self.hosts[host.0].engine.take();
        (engine.expect("a host that is up"), now, own.expect("an IPv4 address"))
    }
}

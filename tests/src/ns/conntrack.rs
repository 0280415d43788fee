//! Making a router forget its flows, by the kernel's netlink interface to connection tracking.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::Namespace;

/// Length of an `nlmsghdr` and of the `nfgenmsg` behind it (linux/netlink.h, linux/netfilter/nfnetlink.h).
const HEADERS: u32 = 16 + 4;

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE`: without attributes that is "delete all".
const DELETE: u16 = 1 << 8 | 2;

/// Makes a namespace forget all flows, for IPv4 and IPv6.
///
/// # Errors
/// The kernel refuses, or cannot do that.
pub fn flush(namespace: &Namespace) -> Result<()> {
    let open = || {
        let protocol = Protocol::from(libc::NETLINK_NETFILTER);
        Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))
    };
    let socket = namespace.inside(open)?.context("cannot open a netlink socket")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut request = Vec::new();
    request.extend(HEADERS.to_ne_bytes());
    request.extend(DELETE.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    // Sequence number 1, port 0: the kernel answers whoever asked.
    request.extend(1_u32.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    // Any family, version 0, no resource.
    request.extend([0; 4]);
    socket.send(&request).context("cannot ask the kernel to forget flows")?;
    let mut answer = [0; 512];
    let length = (&socket).read(&mut answer).context("no answer from the kernel")?;
    // The error number stands behind the header of the answer; 0 is success.
    let error = answer[..length].get(16..20).context("a short netlink answer")?;
    ensure!(error == [0; 4], "the kernel does not forget flows: error {error:?}");
    Ok(())
}

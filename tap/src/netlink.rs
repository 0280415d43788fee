//! Synchronous rtnetlink: one socket, one request at a time.
//!
//! Requests are built with `netlink_packet_route`. Of replies only the fixed headers and the few attributes in use are
//! read: a new kernel's attributes, or a strange device's, never make a reply unreadable.

use std::io;

use netlink_packet_core::{
    DecodeError, Emitable, ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator, parse_u32,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A blocking rtnetlink socket in the network namespace of the thread that opened it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What is known of a network device.
#[derive(Debug)]
pub(crate) struct Link {
    /// The interface index.
    pub(crate) index: u32,
    /// The interface's name.
    pub(crate) name: String,
    /// The interface alias, `None` when it has none.
    pub(crate) alias: Option<String>,
    /// The MTU in bytes.
    pub(crate) mtu: u32,
    /// Whether it is up, by the administrator's wish.
    pub(crate) up: bool,
    /// Whether it has a carrier. A TAP device has one exactly while a program holds it.
    pub(crate) carrier: bool,
    /// The index of the device, such as a bridge, of which it is a port.
    pub(crate) master: Option<u32>,
    /// Frames that were to go out through it and were dropped.
    pub(crate) tx_dropped: u64,
}

/// One message of a reply: the fixed header and the attributes, not yet taken apart.
pub(crate) struct Reply {
    body: Vec<u8>,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Carries out one change and waits for the kernel's acknowledgement.
    ///
    /// `flags` are added to NLM_F_REQUEST and NLM_F_ACK.
    pub(crate) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(drop)
    }

    /// Lists everything `message` asks for.
    ///
    /// The kernel marks a list during which something changed; it is asked again, a few times.
    pub(crate) fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<Reply>> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) && attempts < DUMP_ATTEMPTS => {}
                result => return result,
            }
        }
    }

    /// Asks for one thing.
    pub(crate) fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<Reply>> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK)
    }

    /// All network devices of the namespace.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let replies = self.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        replies.iter().map(Link::read).collect()
    }

    /// The device with this name (or alternative name), if there is one.
    pub(crate) fn link_by_name(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.link(request)
    }

    /// The device with this index, if there is one.
    pub(crate) fn link_by_index(&mut self, index: u32) -> io::Result<Option<Link>> {
        // Index 0 stands for "not given" in a request; the kernel's own indices are positive C ints, and it calls others
        // invalid rather than absent.
        if index == 0 || i32::try_from(index).is_err() {
            return Ok(None);
        }
        let mut request = LinkMessage::default();
        request.header.index = index;
        self.link(request)
    }

    /// Sets attributes of a device.
    pub(crate) fn set_link(&mut self, index: u32, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.attributes = attributes;
        self.change(RouteNetlinkMessage::SetLink(request), 0)
    }

    /// Brings a device up or down.
    pub(crate) fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.header.change_mask = LinkFlags::Up;
        request.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.change(RouteNetlinkMessage::SetLink(request), 0)
    }

    /// Deletes a device. One that is gone already is fine.
    pub(crate) fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        match self.change(RouteNetlinkMessage::DelLink(request), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result,
        }
    }

    fn link(&mut self, request: LinkMessage) -> io::Result<Option<Link>> {
        match self.get(RouteNetlinkMessage::GetLink(request)) {
            Ok(replies) => replies.first().map(Link::read).transpose(),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and gathers the replies up to its acknowledgement, or to the end of the list.
    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<Reply>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;

        let mut answer = Answer::to(self.sequence);
        while !answer.take(&self.receive()?)? {}
        Ok(answer.replies)
    }

    /// The next datagram that the kernel itself sent.
    fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            match self.socket.recv_from(&mut datagram, libc::MSG_TRUNC) {
                Ok((length, _)) if length > datagram.len() => {
                    return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
                }
                Ok((_, sender)) if sender.port_number() == 0 => return Ok(datagram),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The answer to one request, as far as it has come.
pub(crate) struct Answer {
    sequence: u32,
    pub(crate) replies: Vec<Reply>,
    interrupted: bool,
}

impl Answer {
    pub(crate) fn to(sequence: u32) -> Self {
        Self {
            sequence,
            replies: Vec::new(),
            interrupted: false,
        }
    }

    /// Takes the messages of a datagram in. Returns whether the answer is complete.
    pub(crate) fn take(&mut self, datagram: &[u8]) -> io::Result<bool> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let length = message_length(rest)?;
            let message = NetlinkMessage::<Reply>::deserialize(&rest[..length]).map_err(malformed)?;
            // Messages are padded to 4 bytes, except that the last one of a datagram may not be.
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            if message.header.sequence_number != self.sequence {
                continue;
            }
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(reply) => self.replies.push(reply),
                NetlinkPayload::Error(ErrorMessage { code: Some(code), .. }) => {
                    return Err(io::Error::from_raw_os_error(code.get().saturating_abs()));
                }
                NetlinkPayload::Done(done) if done.code != 0 => {
                    return Err(io::Error::from_raw_os_error(done.code.saturating_abs()));
                }
                NetlinkPayload::Overrun(_) => {
                    return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) if self.interrupted => {
                    return Err(io::Error::from_raw_os_error(libc::EINTR));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}

impl Link {
    pub(crate) fn read(reply: &Reply) -> io::Result<Self> {
        let header = LinkHeader::parse(&reply.body).map_err(malformed)?;
        let mut link = Self {
            index: header.index,
            name: String::new(),
            alias: None,
            mtu: 0,
            up: header.flags.contains(LinkFlags::Up),
            carrier: false,
            master: None,
            tx_dropped: 0,
        };
        reply.attributes(header.buffer_len(), |kind, value| match kind {
            libc::IFLA_MTU => link.mtu = parse_u32(value).unwrap_or(0),
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_IFALIAS => link.alias = Some(text(value)),
            libc::IFLA_MASTER => link.master = parse_u32(value).ok().filter(|&master| master != 0),
            libc::IFLA_STATS64 => link.tx_dropped = tx_dropped(value),
            libc::IFLA_CARRIER => link.carrier = value.first().is_some_and(|&carrier| carrier != 0),
            _ => {}
        })?;
        Ok(link)
    }
}

impl Reply {
    /// The whole message after the netlink header.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Calls `each` with the kind and value of every attribute that follows a fixed header of `header` bytes.
    pub(crate) fn attributes(&self, header: usize, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        for attribute in NlasIterator::new(self.body.get(header..).unwrap_or_default()) {
            let attribute = attribute.map_err(malformed)?;
            each(attribute.kind(), attribute.value());
        }
        Ok(())
    }
}

impl NetlinkDeserializable for Reply {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { body: payload.to_vec() })
    }
}

/// The error that stands for a reply which makes no sense.
pub(crate) fn malformed(_: DecodeError) -> io::Error {
    io::Error::from_raw_os_error(libc::EBADMSG)
}

/// The length of the message at the start of `bytes`: at least its header and at most `bytes`.
fn message_length(bytes: &[u8]) -> io::Result<usize> {
    let length = NetlinkBuffer::new_checked(bytes).map_err(malformed)?.length();
    usize::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::EBADMSG))
}

/// A kernel string, up to the NUL that ends it.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// The field `tx_dropped` of `struct rtnl_link_stats64` (`linux/if_link.h`).
fn tx_dropped(value: &[u8]) -> u64 {
    let field = value.get(TX_DROPPED..TX_DROPPED + 8);
    let bytes = field.and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}

/// Where it is: seven 64-bit fields come before.
const TX_DROPPED: usize = 7 * 8;

/// Room for one datagram: the kernel fills at most 32 KiB of a list into one (`netlink_dump`).
const DATAGRAM: usize = 65_536;

/// How often a list that changed under way is asked for.
const DUMP_ATTEMPTS: u32 = 8;

//! A node that is as little as a supernode can tell: PROTOCOL.md 4 to 6, 8 and 10 to 12, written anew.

use anyhow::{Context, Result, bail, ensure};
use farlan_crypto::{
    Aead as _, HmacKey, Identity, Initiator, Key, Opener, PublicKey, SalsaPoly, Sealer, Seed, TAG, Window, Work, sha512,
};

/// Length of an initiation without its MACs, and with the first.
const AUTHENTIC: usize = 144;
const WITH_FIRST_MAC: usize = 160;

/// Length of the header of sealed datagrams.
const HEADER: usize = 16;

/// Control messages are filled to a multiple of this.
const PADDING: usize = 64;

const PROLOGUE: &[u8] = b"farlan 1";

/// Who is spoken to: its key, and what follows from it.
pub struct Supernode {
    key: PublicKey,
    first_mac: HmacKey,
    cookie: HmacKey,
}

impl Supernode {
    /// The supernode with this key.
    pub fn new(key: PublicKey) -> Self {
        Self {
            key,
            first_mac: HmacKey::new(&sha512(&[b"farlan mac 1", key.as_bytes()])),
            cookie: HmacKey::new(&sha512(&[b"farlan cookie 1", key.as_bytes()])),
        }
    }
}

/// One entry of `register`.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// The key of the network's list.
    pub member_key: [u8; 16],
    /// The address that is claimed, and its key.
    pub address_key: [u8; 16],
    /// See [`Self::address_key`].
    pub ipv4: [u8; 4],
}

/// A made-up node. Its number is the index of all its sessions.
pub struct Light {
    number: u32,
    identity: Identity,
    begun: Option<Box<Begun>>,
    session: Option<Session>,
    /// The relay index it was given.
    pub index: u32,
}

struct Begun {
    state: Initiator<SalsaPoly>,
    datagram: Vec<u8>,
    /// The second MAC, once there was a cookie; zeros before.
    second_mac: [u8; 16],
}

struct Session {
    remote: u32,
    sealer: Sealer,
    opener: Opener,
}

/// What a supernode said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A sign of life.
    Empty,
    /// It is registered, under the index.
    Registered(u32),
    /// A part of a list: its kind, key, upto and the number of entries in it.
    List {
        /// Whether it is that of a channel.
        channel: bool,
        /// The list's key.
        key: [u8; 16],
        /// Up to which change.
        upto: u64,
        /// How many are on it.
        count: u32,
        /// How many it names.
        entries: u8,
    },
    /// A look-up was answered.
    Located {
        /// The request's number.
        request: u32,
        /// Whether somebody was found.
        found: bool,
    },
    /// The channels were taken.
    Subscribed,
    /// Over how many milliseconds the nodes are to come back.
    Window(u32),
    /// To be answered at once with this message.
    Asked(Vec<u8>),
    /// Anything else.
    Other(u8),
}

/// What came for a node.
#[derive(Debug)]
pub enum Came {
    /// The session stands: what is to be sent first comes from [`register`].
    Session,
    /// A cookie: the initiation with it is to be sent.
    Cookie(Vec<u8>),
    /// A sealed message.
    Said(Vec<Said>),
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&bytes[..N]);
    first
}

fn integer(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A control message.
pub fn control(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("bodies are short");
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

impl Light {
    /// The node of a number, of many that begin with the same `seed`.
    ///
    /// # Errors
    /// None of a seed without stamp.
    pub fn new(seed: u8, number: u32) -> Result<Self> {
        let mut bytes = [seed; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Ok(Self {
            number,
            identity: Identity::from_seed(Seed::from_bytes(bytes), Work::NONE)?,
            begun: None,
            session: None,
            index: 0,
        })
    }

    /// Its node id.
    pub fn node_id(&self) -> [u8; 16] {
        *self.identity.node_id().as_bytes()
    }

    /// Whether it has a session.
    pub fn stands(&self) -> bool {
        self.session.is_some()
    }

    /// Forgets the session, and what was begun.
    pub fn forget(&mut self) {
        self.session = None;
        self.begun = None;
    }

    /// Begins a handshake, which takes time: [`Self::initiation`] is what is sent then.
    ///
    /// # Errors
    /// A key that makes none.
    pub fn begin(&mut self, to: &Supernode) -> Result<()> {
        let mut datagram = vec![1, 1, 0, 0];
        datagram.extend_from_slice(&self.number.to_be_bytes());
        let payload = [&datagram[..], self.identity.public().as_bytes()].concat();
        let ephemeral = sha512(&[
            b"made up",
            self.identity.node_id().as_bytes(),
            &[u8::from(self.stands())],
        ]);
        let ephemeral = first(&ephemeral);
        let state = Initiator::start(PROLOGUE, &self.identity, &to.key, &ephemeral, &payload, &mut datagram)?;
        ensure!(datagram.len() == AUTHENTIC, "an initiation of {} bytes", datagram.len());
        let mac = to.first_mac.mac(&[&datagram]);
        datagram.extend_from_slice(&mac[..16]);
        self.begun = Some(Box::new(Begun {
            state,
            datagram,
            second_mac: [0; 16],
        }));
        Ok(())
    }

    /// Whether a handshake is under way.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The initiation, with the cookie that came last.
    pub fn initiation(&self) -> Option<Vec<u8>> {
        let begun = self.begun.as_ref()?;
        Some([&begun.datagram[..], &begun.second_mac].concat())
    }

    /// Takes a datagram that is for it.
    ///
    /// # Errors
    /// It is none that a supernode would send now.
    pub fn take(&mut self, from: &Supernode, datagram: &mut [u8]) -> Result<Came> {
        match datagram.first() {
            Some(2) if datagram.len() == 104 => self.finish(datagram),
            Some(9) if datagram.len() == 56 => self.cookie(from, datagram),
            Some(3) if datagram.len() >= HEADER + TAG => {
                let session = self.session.as_mut().context("no session")?;
                let (header, sealed) = datagram.split_at_mut(HEADER);
                let counter = integer(&header[8..]);
                let message = session.opener.open(counter, header, sealed)?;
                Ok(Came::Said(understood(message)))
            }
            kind => bail!("a datagram of kind {kind:?}"),
        }
    }

    fn finish(&mut self, datagram: &[u8]) -> Result<Came> {
        let begun = self.begun.take().context("nothing was begun")?;
        let mut payload = Vec::new();
        let keys = begun.state.finish(&self.identity, &datagram[12..], &mut payload)?;
        ensure!(payload.get(..12) == datagram.get(..12), "another header");
        self.session = Some(Session {
            remote: u32::from_be_bytes(first(&datagram[8..])),
            sealer: Sealer::new(keys.send),
            opener: Opener::new(keys.receive, Window::Supernode),
        });
        Ok(Came::Session)
    }

    fn cookie(&mut self, from: &Supernode, datagram: &[u8]) -> Result<Came> {
        let begun = self.begun.as_mut().context("nothing was begun")?;
        let (head, rest) = datagram.split_at(8);
        let (nonce, sealed) = rest.split_at(16);
        let key = Key::from_bytes(first(&from.cookie.mac(&[nonce])));
        let aad = [head, &begun.datagram[AUTHENTIC..WITH_FIRST_MAC]].concat();
        let mut sealed = sealed.to_vec();
        let cookie = SalsaPoly::open(&key, 0, &aad, &mut sealed).context("the cookie")?;
        let mac = HmacKey::new(cookie).mac(&[&begun.datagram]);
        begun.second_mac = first(&mac);
        Ok(Came::Cookie([&begun.datagram[..], &begun.second_mac].concat()))
    }

    /// Seals a message: empty ones are signs of life.
    ///
    /// # Errors
    /// There is no session.
    pub fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let session = self.session.as_mut().context("no session")?;
        let counter = session.sealer.next_counter()?;
        let mut datagram = vec![3, 0, 0, 0];
        datagram.extend_from_slice(&session.remote.to_be_bytes());
        datagram.extend_from_slice(&counter.to_be_bytes());
        datagram.extend_from_slice(message);
        datagram.extend_from_slice(&[0; TAG]);
        let (header, sealed) = datagram.split_at_mut(HEADER);
        session.sealer.seal(counter, header, sealed);
        Ok(datagram)
    }

    /// Seals control messages.
    ///
    /// # Errors
    /// There is no session.
    pub fn tell(&mut self, messages: &[Vec<u8>]) -> Result<Vec<u8>> {
        let mut message = vec![4];
        messages.iter().for_each(|told| message.extend_from_slice(told));
        message.resize(message.len().next_multiple_of(PADDING), 0);
        self.seal(&message)
    }
}

/// `register` with these memberships, of whose lists nothing is known.
pub fn register(request: u32, memberships: &[Membership]) -> Vec<u8> {
    let mut body = request.to_be_bytes().to_vec();
    body.push(u8::try_from(memberships.len()).expect("few memberships"));
    for membership in memberships {
        body.extend_from_slice(&membership.member_key);
        body.extend_from_slice(&membership.address_key);
        body.extend_from_slice(&membership.ipv4);
        body.extend_from_slice(&[0; 8 + 20]);
    }
    control(16, &body)
}

/// `subscribe` to channels of a network.
pub fn subscribe(number: u32, member_key: &[u8; 16], channels: &[[u8; 16]]) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.extend_from_slice(member_key);
    body.push(u8::try_from(channels.len()).expect("few channels"));
    for channel in channels {
        body.extend_from_slice(channel);
        body.extend_from_slice(&[0; 8]);
    }
    control(59, &body)
}

/// `locate` the node with this id, by the 80 bits that an IPv6 address tells.
pub fn locate(request: u32, node: &[u8; 16]) -> Vec<u8> {
    let mut body = request.to_be_bytes().to_vec();
    body.extend_from_slice(&[1, 80]);
    body.extend_from_slice(&node[..10]);
    body.extend_from_slice(&[0; 6]);
    control(20, &body)
}

/// The acknowledgement of a part of a list.
pub fn acknowledge(channel: bool, key: &[u8; 16], upto: u64) -> Vec<u8> {
    control(if channel { 62 } else { 19 }, &[&key[..], &upto.to_be_bytes()].concat())
}

fn understood(message: &[u8]) -> Vec<Said> {
    if message.is_empty() {
        return vec![Said::Empty];
    }
    let mut said = Vec::new();
    let mut rest = message.get(1..).unwrap_or_default();
    while let [kind, high, low, body @ ..] = rest
        && *kind != 0
        && let Some((body, behind)) = body.split_at_checked(usize::from(*high) << 8 | usize::from(*low))
    {
        rest = behind;
        said.push(match kind {
            4 => Said::Asked(control(5, body)),
            17 if body.len() >= 8 => Said::Registered(u32::from_be_bytes(first(&body[4..]))),
            18 | 61 if body.len() >= 37 => Said::List {
                channel: *kind == 61,
                key: first(body),
                upto: integer(&body[24..32]),
                count: u32::from_be_bytes(first(&body[32..])),
                entries: body[36],
            },
            21 if body.len() >= 5 => Said::Located {
                request: u32::from_be_bytes(first(body)),
                found: body[4] != 0,
            },
            23 => Said::Asked(control(24, body)),
            60 => Said::Subscribed,
            70 if body.len() >= 4 => Said::Window(u32::from_be_bytes(first(body))),
            kind => Said::Other(*kind),
        });
    }
    said
}

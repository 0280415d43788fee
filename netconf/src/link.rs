//! Links: the text that one person sends to another so that their nodes meet.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use farlan_crypto::{KeyError, KeyPair, PublicKey, Seed, Work, hash};
use thiserror::Error;

use crate::codec::{CodecError, Reader};
use crate::network::{Kind, Parameters, ParametersError};
use crate::private::{Delegate, Delegation, DocumentError, NetworkSeed, PrivateNetwork};
use crate::secret::NetworkSecret;
use crate::world::{World, WorldError};

/// What every link starts with.
const PREFIX: &str = "farlan:";
/// The version of the format written here.
const FORMAT: u8 = 1;
/// The kind byte of a link to a world.
const KIND_SUPERNODE: u8 = 1;
/// The kind byte of a link to a network.
const KIND_NETWORK: u8 = 2;
/// The kind byte of a link to a private network.
const KIND_PRIVATE: u8 = 3;
/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// A link to a world or to a network.
///
/// Text form: `farlan:` and the bytes below in base64url (RFC 4648 §5) without padding.
/// ```text
/// format version 1 (= 1) | kind 1 | body | checksum 4
/// kind 1, supernode: body = world (to the end)
/// kind 2, network:   body = parameters | length of the label 1 | label | number of peers 1 | peers' keys, 32 each |
///                           world (to the end)
/// kind 3, private:   body = parameters | length of the label 1 | label | seed 32 | delegation of the invite 138 |
///                           secret key of the invite 32 | number of peers 1 | peers' keys, 32 each | world (to the end)
/// ```
/// The checksum is the first 4 bytes of SHA-512 of all bytes before it. It is there in every format version, so that a
/// newer link is told apart from a mistyped one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Makes the supernodes of a world known.
    Supernode(World),
    /// Lets its holder into a network known by its name or by a link.
    Network(NetworkLink),
    /// Invites its holder into a private network.
    Private(Box<PrivateLink>),
}

/// All that is needed to become a member of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkLink {
    /// What fixes the network.
    pub parameters: Parameters,
    /// How people call the network; not part of its id, and trusted for nothing.
    pub label: Label,
    /// The supernodes through which members meet. For a network known by its name this is the world of that name.
    pub world: World,
    /// Members to greet first. A link has room for [`MAX_PEERS`](Self::MAX_PEERS); the text form leaves out the others.
    pub peers: Vec<PublicKey>,
}

/// An invite into a private network: all that is needed to become a member of it for the time being, and to apply for more.
///
/// Equal if the text forms are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateLink {
    network: PrivateNetwork,
    parameters: Parameters,
    /// How people call the network; trusted for nothing.
    pub label: Label,
    /// That of the network's secret that was in force when the link was made.
    pub seed: NetworkSeed,
    delegation: Delegation,
    invite: InviteKey,
    /// Members to greet first, holders before others. A link has room for [`MAX_PEERS`](NetworkLink::MAX_PEERS); the text
    /// form leaves out the others.
    pub peers: Vec<PublicKey>,
    /// The supernodes through which members meet.
    pub world: World,
}

/// The secret key of an invite, shared by the clones of its link.
#[derive(Clone, Debug)]
struct InviteKey(Arc<KeyPair>);

impl PartialEq for InviteKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.public() == other.0.public()
    }
}

impl Eq for InviteKey {}

/// A short text shown to people: at most 32 bytes of UTF-8 without control and formatting characters, and without white
/// space at its ends. It can be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// Why a text is not a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// The label is longer than 32 bytes.
    #[error("a label has at most 32 bytes, this one has {0}")]
    TooLong(usize),
    /// The label contains a character that does not print, or that changes how others print.
    #[error("a label consists of printable characters; {0:?} is not allowed")]
    Character(char),
    /// The label in a link is not in UTF-8, or has white space at its ends.
    #[error("the label is not in its canonical form")]
    Form,
}

/// Why a text is not a usable link.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// The text does not start with `farlan:`.
    #[error("this is not a farlan link; links start with \"farlan:\"")]
    NotALink,
    /// The text is longer than any link.
    #[error("this text is too long for a farlan link")]
    TooLong,
    /// The characters or the checksum are wrong.
    #[error("the link is mistyped or cut; copy it again, from \"farlan:\" to the last character")]
    Mistyped,
    /// The link has a format version above the one known here.
    #[error("the link has format version {0}, which needs a newer farlan")]
    NewerFormat(u8),
    /// The link is of a kind that is not known here.
    #[error("the link is of kind {0}, which this farlan does not know; it may need a newer one")]
    UnknownKind(u8),
    /// The world in the link is not signed by its operator.
    #[error("the link is forged or damaged: the signature of its list of supernodes is wrong")]
    BadSignature,
    /// The world breaks a rule other than that of the signature.
    #[error("the list of supernodes in the link is bad: {0}")]
    World(WorldError),
    /// The parameters of the network break a rule.
    #[error("the network in the link is bad: {0}")]
    Parameters(#[from] ParametersError),
    /// The label breaks a rule.
    #[error("the label in the link is bad: {0}")]
    Label(#[from] LabelError),
    /// There are more than 4 peers.
    #[error("a link names at most 4 peers, this one names {0}")]
    Peers(u8),
    /// The key of a peer is not acceptable.
    #[error("the key of a peer in the link is bad: {0}")]
    PeerKey(#[from] KeyError),
    /// The network belongs to another world than the one in the link.
    #[error("the network in the link belongs to another world than its supernodes")]
    OtherWorld,
    /// The link is to a private network and has the kind of the others, or the other way round.
    #[error("the link is of another kind than its network")]
    OtherKind,
    /// The invite in the link is not one of the network in it.
    #[error("the invite in the link is bad: {0}")]
    Invite(DocumentError),
    /// The body of the link is cut.
    #[error("the link is bad: {0}")]
    Codec(#[from] CodecError),
}

impl Link {
    /// Most characters of a link: one with the largest world, label, name and number of peers has fewer.
    pub const MAX_TEXT: usize = 24 * 1024;

    /// Reads the text form, ignoring white space around and in it, which programs for mail put there. The keys of supernodes and peers must carry `work`.
    ///
    /// # Errors
    /// A [`LinkError`] that says whether the text is no link at all, was damaged on its way, needs a newer version, is
    /// forged, or has bad content.
    pub fn parse(text: &str, work: Work) -> Result<Self, LinkError> {
        let body: String = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(LinkError::NotALink)?
            .split_whitespace()
            .collect();
        if body.len() > Self::MAX_TEXT {
            return Err(LinkError::TooLong);
        }
        let bytes = BASE64URL_NOPAD
            .decode(body.as_bytes())
            .map_err(|_| LinkError::Mistyped)?;
        let (content, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(LinkError::Mistyped)?;
        if checksum(content) != *sum {
            return Err(LinkError::Mistyped);
        }
        let mut reader = Reader::new(content);
        match reader.u8()? {
            0 => return Err(LinkError::Mistyped),
            FORMAT => {}
            newer => return Err(LinkError::NewerFormat(newer)),
        }
        match reader.u8()? {
            KIND_SUPERNODE => Ok(Self::Supernode(decode_world(&mut reader, work)?)),
            KIND_NETWORK => Ok(Self::Network(NetworkLink::decode(&mut reader, work)?)),
            KIND_PRIVATE => Ok(Self::Private(Box::new(PrivateLink::decode(&mut reader, work)?))),
            other => Err(LinkError::UnknownKind(other)),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        match self {
            Self::Supernode(world) => {
                bytes.push(KIND_SUPERNODE);
                bytes.extend_from_slice(&world.encode());
            }
            Self::Network(link) => {
                bytes.push(KIND_NETWORK);
                link.encode(&mut bytes);
            }
            Self::Private(link) => {
                bytes.push(KIND_PRIVATE);
                link.encode(&mut bytes);
            }
        }
        bytes.extend_from_slice(&checksum(&bytes));
        bytes
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&self.to_bytes()))
    }
}

impl NetworkLink {
    /// Most peers that a link names.
    pub const MAX_PEERS: usize = 4;

    fn encode(&self, out: &mut Vec<u8>) {
        self.parameters.encode(out);
        self.label.encode(out);
        encode_peers(&self.peers, out);
        out.extend_from_slice(&self.world.encode());
    }

    fn decode(reader: &mut Reader<'_>, work: Work) -> Result<Self, LinkError> {
        let parameters = Parameters::decode(reader)?;
        let label = Label::decode(reader.short_bytes()?)?;
        let peers = decode_peers(reader, work)?;
        let world = decode_world(reader, work)?;
        match &parameters.kind {
            Kind::Name { world: named, .. } if *named != world.id() => {
                return Err(LinkError::OtherWorld);
            }
            Kind::Name { .. } | Kind::Link { .. } => {}
            Kind::Private { .. } => return Err(LinkError::OtherKind),
        }
        Ok(Self {
            parameters,
            label,
            world,
            peers,
        })
    }
}

impl PrivateLink {
    /// The link by which the invite of `delegation` is handed on, `invite` being its secret key.
    ///
    /// # Errors
    /// [`LinkError::OtherKind`] for parameters of no private network, [`LinkError::Invite`] for a delegation of another
    /// network, another key or no invite.
    pub fn new(
        parameters: Parameters,
        label: Label,
        seed: NetworkSeed,
        delegation: Delegation,
        invite: Arc<KeyPair>,
        peers: Vec<PublicKey>,
        world: World,
    ) -> Result<Self, LinkError> {
        let network = PrivateNetwork::of(&parameters).ok_or(LinkError::OtherKind)?;
        if delegation.network() != network.id() {
            return Err(LinkError::Invite(DocumentError::OtherNetwork));
        }
        match delegation.fields().delegate {
            Delegate::Invite { key, .. } if key == invite.public() => {}
            Delegate::Invite { .. } => return Err(LinkError::Invite(DocumentError::WrongKey)),
            Delegate::Renewer { .. } => return Err(LinkError::Invite(DocumentError::Purpose)),
        }
        Ok(Self {
            network,
            parameters,
            label,
            seed,
            delegation,
            invite: InviteKey(invite),
            peers,
            world,
        })
    }

    /// What fixes the network.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &PrivateNetwork {
        &self.network
    }

    /// What the invite may do.
    #[must_use]
    pub fn delegation(&self) -> &Delegation {
        &self.delegation
    }

    /// The secret key of the invite.
    #[must_use]
    pub fn invite(&self) -> &Arc<KeyPair> {
        &self.invite.0
    }

    /// The secret of the network that was in force when the link was made.
    #[must_use]
    pub fn secret(&self) -> NetworkSecret {
        self.seed.secret(&self.network.id())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.parameters.encode(out);
        self.label.encode(out);
        out.extend_from_slice(self.seed.as_bytes());
        self.delegation.encode(out);
        out.extend_from_slice(self.invite.0.seed().as_bytes());
        encode_peers(&self.peers, out);
        out.extend_from_slice(&self.world.encode());
    }

    fn decode(reader: &mut Reader<'_>, work: Work) -> Result<Self, LinkError> {
        let parameters = Parameters::decode(reader)?;
        let network = PrivateNetwork::of(&parameters).ok_or(LinkError::OtherKind)?;
        let label = Label::decode(reader.short_bytes()?)?;
        let seed = NetworkSeed::from_bytes(reader.array()?);
        let delegation = Delegation::decode(reader, &network, work).map_err(|error| match error {
            DocumentError::Codec(error) => LinkError::Codec(error),
            other => LinkError::Invite(other),
        })?;
        let invite = Arc::new(KeyPair::from_seed(Seed::from_bytes(reader.array()?)));
        let peers = decode_peers(reader, work)?;
        let world = decode_world(reader, work)?;
        Self::new(parameters, label, seed, delegation, invite, peers, world)
    }
}

impl Label {
    /// Most bytes of a label.
    pub const MAX_LENGTH: usize = 32;

    /// The label written as `text`, without the white space at its ends.
    ///
    /// # Errors
    /// More than 32 bytes, or a control or formatting character.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let text = text.trim();
        if text.len() > Self::MAX_LENGTH {
            return Err(LabelError::TooLong(text.len()));
        }
        match text.chars().find(|c| !is_printable(*c)) {
            Some(other) => Err(LabelError::Character(other)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The text of the label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends a length byte and the label.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        // A label has at most 32 bytes.
        out.push(self.0.len() as u8);
        out.extend_from_slice(self.0.as_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, LabelError> {
        if bytes.len() > Self::MAX_LENGTH {
            return Err(LabelError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| LabelError::Form)?;
        let label = Self::parse(text)?;
        if label.0 == text {
            Ok(label)
        } else {
            Err(LabelError::Form)
        }
    }
}

impl std::str::FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::parse(text)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether a character may stand in a label: no control characters, which could drive a terminal, and none of the
/// invisible ones that reorder or hide text (Unicode's general categories Zl, Zp and the common part of Cf).
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Appends the number of peers and their keys, as many as fit a link.
fn encode_peers(peers: &[PublicKey], out: &mut Vec<u8>) {
    let peers = &peers[..peers.len().min(NetworkLink::MAX_PEERS)];
    out.push(peers.len() as u8);
    for peer in peers {
        out.extend_from_slice(peer.as_bytes());
    }
}

fn decode_peers(reader: &mut Reader<'_>, work: Work) -> Result<Vec<PublicKey>, LinkError> {
    let count = reader.u8()?;
    if usize::from(count) > NetworkLink::MAX_PEERS {
        return Err(LinkError::Peers(count));
    }
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(PublicKey::from_bytes(&reader.array()?, work)?);
    }
    Ok(peers)
}

/// Reads the world that takes up the rest of a link.
fn decode_world(reader: &mut Reader<'_>, work: Work) -> Result<World, LinkError> {
    World::decode(reader.rest(), work).map_err(|error| match error {
        WorldError::Signature(_) => LinkError::BadSignature,
        other => LinkError::World(other),
    })
}

/// The first 4 bytes of the SHA-512 of `content`.
fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&hash::sha512(&[content])[..CHECKSUM]);
    sum
}

#[cfg(test)]
mod tests {
    use farlan_crypto::{Identity, Seed};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::endpoint::Endpoint;
    use crate::name::NetworkName;
    use crate::network::Mtu;
    use crate::subnet::Subnet;
    use crate::world::{Supernode, WorldId};

    fn identity(number: u8) -> Identity {
        Identity::from_seed(Seed::from_bytes([number; 32]), Work::NONE).unwrap()
    }

    fn world(supernode: &Identity) -> World {
        let supernode = Supernode {
            key: supernode.public(),
            endpoints: vec!["203.0.113.5:9600".parse().unwrap()],
        };
        World::sign(&identity(1), 1, vec![supernode]).unwrap()
    }

    fn network_link() -> NetworkLink {
        let subnet: Subnet = "10.128.16.0/20".parse().unwrap();
        NetworkLink {
            parameters: Parameters::link([5; 16], subnet, Mtu::DEFAULT),
            label: Label::parse("Ben's LAN").unwrap(),
            world: world(&identity(2)),
            peers: vec![identity(3).public(), identity(4).public()],
        }
    }

    fn named_link() -> NetworkLink {
        let world = world(&identity(2));
        let name = NetworkName::parse("earth").unwrap();
        NetworkLink {
            parameters: Parameters::open_name(world.id(), name),
            label: Label::default(),
            world,
            peers: vec![],
        }
    }

    fn parse(text: &str) -> Result<Link, LinkError> {
        Link::parse(text, Work::NONE)
    }

    /// A link of any content with a good checksum.
    fn sealed(content: &[u8]) -> String {
        let bytes = [content, &checksum(content)].concat();
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }

    /// The bytes of a link before its checksum.
    fn content(link: &Link) -> Vec<u8> {
        let mut bytes = link.to_bytes();
        bytes.truncate(bytes.len() - CHECKSUM);
        bytes
    }

    #[test]
    fn links_round_trip() {
        for link in [
            Link::Supernode(world(&identity(2))),
            Link::Network(network_link()),
            Link::Network(named_link()),
        ] {
            let text = link.to_string();
            assert_eq!(parse(&text), Ok(link.clone()));
            assert_eq!(parse(&format!(" \t{text}\r\n")), Ok(link));
        }
    }

    #[test]
    fn a_link_wrapped_by_mail_is_read() {
        let link = Link::Network(network_link());
        let text = link.to_string();
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(20)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        for wrap in ["\n", "\r\n", " \n\t", "\u{a0}"] {
            assert_eq!(parse(&lines.join(wrap)), Ok(link.clone()), "{wrap:?}");
        }
        assert_eq!(
            parse(&text.replacen("farlan:", "far lan:", 1)),
            Err(LinkError::NotALink)
        );
    }

    #[test]
    fn every_cut_and_every_changed_bit_of_the_text_is_refused() {
        let text = Link::Network(network_link()).to_string();
        for length in 0..text.len() {
            let expected = if length < PREFIX.len() {
                LinkError::NotALink
            } else {
                LinkError::Mistyped
            };
            assert_eq!(parse(&text[..length]), Err(expected), "{length}");
        }
        // Bit 7 would leave ASCII, and with it valid text.
        for (place, bit) in (0..text.len()).flat_map(|place| (0..7).map(move |bit| (place, bit))) {
            let mut changed = text.clone().into_bytes();
            changed[place] ^= 1 << bit;
            let changed = String::from_utf8(changed).unwrap();
            let expected = if place < PREFIX.len() {
                LinkError::NotALink
            } else {
                LinkError::Mistyped
            };
            assert_eq!(parse(&changed), Err(expected), "{changed}");
        }
    }

    #[test]
    fn a_forged_checksum_does_not_help_cuts_nor_changes_of_the_world() {
        let link = network_link();
        let bytes = content(&Link::Network(link.clone()));
        let world_at = bytes.len() - link.world.encode().len();
        for length in 0..bytes.len() {
            assert!(parse(&sealed(&bytes[..length])).is_err(), "{length}");
        }
        assert!(parse(&sealed(&[&bytes[..], &[0]].concat())).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            match parse(&sealed(&changed)) {
                Ok(other) => {
                    assert!(bit / 8 < world_at, "bit {bit}");
                    assert_eq!(content(&other), changed);
                }
                Err(error) if bit / 8 >= world_at + 32 => {
                    assert_eq!(error, LinkError::BadSignature, "bit {bit}");
                }
                Err(_) => {}
            }
        }
    }

    #[test]
    fn errors_are_told_apart() {
        let good = content(&Link::Network(network_link()));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            parse(&sealed(&bytes))
        };
        for text in ["", "earth", "https://example.org", "farlan", "FARLAN:AQE"] {
            assert_eq!(parse(text), Err(LinkError::NotALink), "{text}");
        }
        let link = Link::Network(network_link()).to_string();
        let (head, tail) = link.split_at(50);
        assert_eq!(parse(&format!("{head}\n> {tail}")), Err(LinkError::Mistyped));
        assert_eq!(parse(&format!("{link}=")), Err(LinkError::Mistyped));
        assert_eq!(parse(&format!("{link}.")), Err(LinkError::Mistyped));
        let long = format!("{PREFIX}{}", "A".repeat(Link::MAX_TEXT + 1));
        assert_eq!(parse(&long), Err(LinkError::TooLong));
        assert_eq!(with(0, 2), Err(LinkError::NewerFormat(2)));
        assert_eq!(parse(&sealed(&[9])), Err(LinkError::NewerFormat(9)));
        assert_eq!(with(0, 0), Err(LinkError::Mistyped));
        assert_eq!(with(1, 3), Err(LinkError::OtherKind));
        assert_eq!(with(1, 4), Err(LinkError::UnknownKind(4)));
        assert_eq!(with(2, 4), Err(ParametersError::Kind(4).into()));
        // Parameters of a link network have 25 bytes; the label follows them.
        assert_eq!(with(27, 33), Err(LabelError::TooLong(33).into()));
        assert_eq!(with(28, b'\n'), Err(LabelError::Form.into()));
        assert_eq!(with(30, 7), Err(LabelError::Character('\u{7}').into()));
        assert_eq!(with(37, 5), Err(LinkError::Peers(5)));
        let last = good.len() - 1;
        assert_eq!(with(last, !good[last]), Err(LinkError::BadSignature));
        assert_eq!(parse(&sealed(&[])), Err(CodecError::Truncated.into()));
    }

    #[test]
    fn a_name_brings_its_own_world() {
        let mut link = named_link();
        let name = NetworkName::parse("earth").unwrap();
        link.parameters = Parameters::open_name(WorldId::from_bytes([7; 16]), name);
        let text = Link::Network(link).to_string();
        assert_eq!(parse(&text), Err(LinkError::OtherWorld));
    }

    #[test]
    fn the_keys_in_a_link_carry_work() {
        let worked = Identity::generate(&mut ChaCha20Rng::from_seed([1; 32]), Work::REQUIRED);
        let mut link = network_link();
        link.peers = vec![worked.public()];
        link.world = world(&worked);
        let text = Link::Network(link.clone()).to_string();
        assert_eq!(Link::parse(&text, Work::REQUIRED), Ok(Link::Network(link.clone())));

        link.peers = vec![identity(3).public()];
        let text = Link::Network(link.clone()).to_string();
        assert_eq!(Link::parse(&text, Work::REQUIRED), Err(KeyError::Work.into()));

        link.peers = vec![];
        link.world = world(&identity(2));
        let text = Link::Network(link).to_string();
        assert_eq!(
            Link::parse(&text, Work::REQUIRED),
            Err(LinkError::World(WorldError::Key(KeyError::Work)))
        );
    }

    #[test]
    fn peers_beyond_the_fourth_are_left_out() {
        let mut link = network_link();
        link.peers = (3..9).map(|n| identity(n).public()).collect();
        let text = Link::Network(link.clone()).to_string();
        link.peers.truncate(NetworkLink::MAX_PEERS);
        assert_eq!(parse(&text), Ok(Link::Network(link)));
    }

    #[test]
    fn the_largest_link_can_be_read() {
        let host = format!("{}a.org", "abcdefg.".repeat(26));
        let endpoints = vec![Endpoint::new(&host, 65535).unwrap()];
        let supernodes = (10..74)
            .map(|n| Supernode {
                key: identity(n).public(),
                endpoints: endpoints.clone(),
            })
            .collect();
        let world = World::sign(&identity(1), 1, supernodes).unwrap();
        assert!(world.encode().len() > World::MAX_SIZE - 1024);
        let name = NetworkName::parse(&"n".repeat(32)).unwrap();
        let link = Link::Network(NetworkLink {
            parameters: Parameters::open_name(world.id(), name),
            label: Label::parse(&"l".repeat(32)).unwrap(),
            world,
            peers: (3..7).map(|n| identity(n).public()).collect(),
        });
        let text = link.to_string();
        assert_eq!(parse(&text), Ok(link));
    }

    #[test]
    fn labels_are_checked() {
        for (text, expected) in [
            ("", Ok("")),
            ("  Ben's LAN\n", Ok("Ben's LAN")),
            ("Zürich 東京", Ok("Zürich 東京")),
            ("a\u{1b}[2J", Err(LabelError::Character('\u{1b}'))),
            ("a\tb", Err(LabelError::Character('\t'))),
            ("a\u{202e}b", Err(LabelError::Character('\u{202e}'))),
            ("a\u{200b}b", Err(LabelError::Character('\u{200b}'))),
            ("a\u{85}b", Err(LabelError::Character('\u{85}'))),
            ("ääääääääääääääääa", Err(LabelError::TooLong(33))),
        ] {
            let label = Label::parse(text);
            assert_eq!(label.as_ref().map(Label::as_str), expected.as_ref().copied());
        }
    }
}

//! Why a peer is, or is not, in direct touch: one cause, what it follows from, and what to do.
//!
//! The causes are looked for in a fixed order: first what keeps the two from speaking at all, then what keeps them from trying
//! the straight way, then why trying brought nothing. The first one found is the verdict: as long as it is there, those after
//! it make no difference. They are named beside it.

use farlan_engine::{
    Examination, Filtering, Finding, Mapping, Observations, Openness, PortMapping, Ports, Search, Theirs, Way,
};

use super::{codes, speaks_version};

codes! {
    /// The cases that are told apart.
    Code {
        /// Another running machine has the identity of this node.
        Twin = "twin",
        /// Another running machine has the identity of the peer.
        PeerTwin = "peer-twin",
        /// Nobody is known by that id or address.
        PeerUnknown = "peer-unknown",
        /// No supernode answers this node.
        NoSupernode = "no-supernode",
        /// The peer speaks another version of the protocol.
        VersionDiffers = "version-differs",
        /// No supernode lists the peer.
        PeerOffline = "peer-offline",
        /// A supernode lists the peer, and it does not answer.
        PeerSilent = "peer-silent",
        /// The two are in no common network.
        NotInCommonNetwork = "not-in-common-network",
        /// Straight, in one local network.
        DirectLan = "direct-lan",
        /// Straight.
        Direct = "direct",
        /// Straight, and large packets vanish on the way.
        MtuBlackhole = "mtu-blackhole",
        /// This node hides its address.
        HiddenAddressOwn = "hidden-address-own",
        /// The peer hides its address.
        HiddenAddressPeer = "hidden-address-peer",
        /// UDP is blocked at both ends.
        BothUdpBlocked = "both-udp-blocked",
        /// UDP is blocked at this node.
        OwnUdpBlocked = "own-udp-blocked",
        /// UDP is blocked at the peer.
        PeerUdpBlocked = "peer-udp-blocked",
        /// This node has met too many strangers.
        TooManyStrangersOwn = "too-many-strangers-own",
        /// The peer has met too many strangers.
        TooManyStrangersPeer = "too-many-strangers-peer",
        /// Both NATs map by destination, and both are carriers'.
        BothHardCgnat = "both-hard-cgnat",
        /// Both NATs map by destination.
        BothHardNat = "both-hard-nat",
        /// Nothing went to the peer lately, so nothing was tried.
        NotUsed = "not-used",
        /// It is being tried right now.
        Trying = "trying",
        /// This node held challenges back, because too many had gone to the peer's addresses.
        AddressesLimited = "addresses-limited",
        /// What the peer sends straight does not come in here.
        FirewallFiltersOwn = "firewall-filters-own",
        /// What this node sends straight does not come in at the peer.
        FirewallFiltersPeer = "firewall-filters-peer",
        /// One NAT maps by destination, and its port was not found.
        SearchFailed = "search-failed",
        /// Nothing passes straight in either direction, although both NATs would let it.
        BlockedBetween = "blocked-between",
        /// What was found out does not tell.
        Unknown = "unknown",
    }
}

impl Code {
    /// Whether nothing is wrong.
    pub const fn is_fine(self) -> bool {
        matches!(self, Self::Direct | Self::DirectLan | Self::Trying | Self::NotUsed)
    }
}

/// What a verdict is founded on.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What an examination brought.
    pub examination: &'a Examination,
    /// The other version of the protocol that the peer says it speaks.
    pub other_version: Option<u8>,
}

/// Why a peer is, or is not, in direct touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which case it is.
    pub code: Code,
    /// The case, for people.
    pub sentence: String,
    /// What it follows from, for people.
    pub evidence: Vec<String>,
    /// The causes that would remain if this one were removed.
    pub also: Vec<Code>,
    /// What to do, for people.
    pub advice: String,
}

/// A round of tries, the search in it included, takes so many seconds at the most.
const ROUND: u16 = 5;

/// A peer is tried for so many seconds after it was used.
const TRIED: u16 = 10;

/// An IP packet of so many bytes passes practically everywhere; where it does not, large packets vanish.
const USUAL: u16 = 1400;

/// Judges a case. Every case has a verdict; one that cannot be told is [`Code::Unknown`].
pub fn verdict(case: &Case<'_>) -> Verdict {
    let causes = case.causes();
    let code = causes.first().copied().unwrap_or(Code::Unknown);
    let also: Vec<Code> = causes
        .into_iter()
        .skip(1)
        .filter(|other| *other != Code::Unknown)
        .collect();
    let mut evidence = case.evidence();
    evidence.extend(
        also.iter()
            .map(|other| format!("also {}: {}", other.word(), case.sentence(*other))),
    );
    Verdict {
        code,
        sentence: case.sentence(code),
        evidence,
        also,
        advice: case.advice(code),
    }
}

impl Case<'_> {
    fn own(&self) -> &Observations {
        &self.examination.own
    }

    /// What the peer told of its side.
    fn theirs(&self) -> Option<&Observations> {
        match &self.examination.theirs {
            Theirs::Told(told) => Some(told),
            Theirs::Silent | Theirs::NotAsked => None,
        }
    }

    /// What the peer told, where it opens itself.
    fn opened(&self) -> Option<&Observations> {
        self.theirs().filter(|theirs| theirs.openness == Openness::Open)
    }

    /// All causes that there are, the one that decides first. There may be none that is known.
    fn causes(&self) -> Vec<Code> {
        let standing = self.examination.standing;
        let mut causes = Vec::new();
        if self.own().twin == Finding::Yes {
            causes.push(Code::Twin);
        }
        let reached = standing.session && standing.heard;
        if !reached {
            causes.extend(self.unreached());
            return causes;
        }
        if !standing.shared {
            causes.push(Code::NotInCommonNetwork);
            return causes;
        }
        if self.theirs().is_some_and(|theirs| theirs.twin == Finding::Yes) {
            causes.push(Code::PeerTwin);
        }
        match self.own().way {
            Way::Direct | Way::Lan => causes.push(self.direct()),
            Way::Relay | Way::None => self.relayed(&mut causes),
        }
        causes
    }

    /// Why the peer does not speak to this node.
    fn unreached(&self) -> Option<Code> {
        let standing = self.examination.standing;
        Some(if !standing.registered {
            Code::NoSupernode
        } else if self.examination.peer.is_none() {
            Code::PeerUnknown
        } else if self.other_version.is_some() {
            Code::VersionDiffers
        } else if standing.listed {
            Code::PeerSilent
        } else {
            Code::PeerOffline
        })
    }

    fn direct(&self) -> Code {
        let own = self.own();
        if own.too_large != 0 && own.too_large <= USUAL {
            Code::MtuBlackhole
        } else if own.way == Way::Lan {
            Code::DirectLan
        } else {
            Code::Direct
        }
    }

    /// Why data goes over a supernode.
    fn relayed(&self, causes: &mut Vec<Code>) {
        let (own, theirs) = (self.own(), self.theirs());
        let they_are = |openness| theirs.is_some_and(|theirs| theirs.openness == openness);
        let blocked = (
            own.udp == Finding::No,
            theirs.is_some_and(|theirs| theirs.udp == Finding::No),
        );
        if own.openness == Openness::Hidden {
            causes.push(Code::HiddenAddressOwn);
        }
        if they_are(Openness::Hidden) {
            causes.push(Code::HiddenAddressPeer);
        }
        match blocked {
            (true, true) => causes.push(Code::BothUdpBlocked),
            (true, false) => causes.push(Code::OwnUdpBlocked),
            (false, true) => causes.push(Code::PeerUdpBlocked),
            (false, false) => {}
        }
        if own.openness == Openness::TooManyStrangers {
            causes.push(Code::TooManyStrangersOwn);
        }
        if they_are(Openness::TooManyStrangers) {
            causes.push(Code::TooManyStrangersPeer);
        }
        if self.is_hopeless() {
            let carriers = self.opened().is_some_and(|theirs| theirs.carrier == Finding::Yes);
            causes.push(if carriers && own.carrier == Finding::Yes {
                Code::BothHardCgnat
            } else {
                Code::BothHardNat
            });
        }
        // What came of trying tells something only where nothing kept the two from it.
        if causes.is_empty() {
            causes.push(self.tried());
        }
    }

    /// Whether no port can be foretold or found: both NATs map by destination, not both in sequence, and no router gave a
    /// port.
    fn is_hopeless(&self) -> bool {
        let Some(theirs) = self.opened() else { return false };
        let both = [self.own(), theirs];
        both.iter().all(|end| is_hard(end))
            && !both
                .iter()
                .all(|end| matches!(end.behaviour.ports, Ports::Sequential { .. }))
            && !both.iter().any(|end| end.port_mapping == PortMapping::Held)
    }

    /// Why nothing came of trying, or that nothing was tried.
    fn tried(&self) -> Code {
        let own = self.own();
        let in_use = own.used.is_some_and(|used| used.get() < TRIED);
        let young = |end: &Observations| end.round.is_none_or(|round| round.get() < ROUND);
        if own.rounds == 0 && !in_use {
            return Code::NotUsed;
        }
        if young(own) || own.search == Search::UnderWay {
            return Code::Trying;
        }
        let Some(theirs) = self.opened() else {
            return Code::Unknown;
        };
        let hard = is_hard(own) != is_hard(theirs);
        let known = [own, theirs].iter().all(|end| is_known(end));
        match (own.came, theirs.came) {
            _ if young(theirs) || theirs.search == Search::UnderWay => Code::Trying,
            (0, 0) if own.limited == Finding::Yes || theirs.limited == Finding::Yes => Code::AddressesLimited,
            (0, 1..) if theirs.sent > 0 => Code::FirewallFiltersOwn,
            (1.., 0) if own.sent > 0 => Code::FirewallFiltersPeer,
            (0, 0) if hard && known => Code::SearchFailed,
            (0, 0) if known && own.sent > 0 => Code::BlockedBetween,
            _ => Code::Unknown,
        }
    }

    fn sentence(&self, code: Code) -> String {
        let own = self.own();
        let straight = "what the two send each other straight";
        match code {
            Code::Direct => "the two are in direct touch".into(),
            Code::DirectLan => "the two are in direct touch, in one local network".into(),
            Code::MtuBlackhole => format!(
                "the two are in direct touch, but packets above {} bytes vanish on the way, so full frames are cut",
                own.mtu
            ),
            Code::Trying => "the two go over a supernode, and are trying the straight way right now".into(),
            Code::NotUsed => {
                "the two go over a supernode: nothing was sent lately, so the straight way was not tried".into()
            }
            Code::Twin => "another running machine uses the identity of this node, and each takes the other's place".into(),
            Code::PeerTwin => "another running machine uses the peer's identity, and each takes the other's place".into(),
            Code::PeerUnknown => {
                "no supernode knows a node by that id or address: it is not running, or was never in a network of this one"
                    .into()
            }
            Code::NoSupernode => "no supernode answers this node, so nobody can be reached who is not in touch already".into(),
            Code::VersionDiffers => match self.other_version {
                Some(version) => speaks_version("the peer", version),
                None => "the peer speaks another version of the farlan protocol".into(),
            },
            Code::PeerOffline => "no supernode lists the peer at the moment: its farlan is not running, or offline".into(),
            Code::PeerSilent => {
                "a supernode lists the peer, but it does not answer: it ended or lost its connection a moment ago".into()
            }
            Code::NotInCommonNetwork => "the peer answers, but the two are in no common network".into(),
            Code::HiddenAddressOwn => {
                "this node hides its address from members of open networks, so they reach it over supernodes only".into()
            }
            Code::HiddenAddressPeer => {
                "the peer hides its address from members of open networks, so it is reached over supernodes only".into()
            }
            Code::OwnUdpBlocked => {
                "this machine's network blocks UDP or loses nearly all of it, so everything goes to a supernode over TCP".into()
            }
            Code::PeerUdpBlocked => "the peer's network blocks UDP or loses nearly all of it, so it reaches a supernode over TCP only".into(),
            Code::BothUdpBlocked => "UDP is blocked in both networks, so both reach a supernode over TCP only".into(),
            Code::TooManyStrangersOwn => {
                "this node has met very many strangers in the last minute, and tells no more of them where it is".into()
            }
            Code::TooManyStrangersPeer => {
                "the peer has met very many strangers in the last minute, and tells no more of them where it is".into()
            }
            Code::BothHardNat => {
                "both routers give each connection another port that cannot be foretold, so neither end can aim at the other"
                    .into()
            }
            Code::BothHardCgnat => {
                "both carriers translate addresses and give each connection another port, so neither end can aim at the other"
                    .into()
            }
            Code::AddressesLimited => {
                "so many datagrams went to the other end's addresses in the last minute that no more are sent".into()
            }
            Code::FirewallFiltersOwn => {
                "this node's challenges reach the peer, but what the peer sends straight is dropped before this node".into()
            }
            Code::FirewallFiltersPeer => {
                "the peer's challenges come here, but what this node sends straight is dropped before the peer".into()
            }
            Code::SearchFailed => {
                "one router gives each connection another port, and the search for it has found nothing yet".into()
            }
            Code::BlockedBetween => {
                format!("{straight} reaches neither end, although both routers would let it: something between them drops it")
            }
            Code::Unknown => format!("the two go over a supernode; why {straight} brings no path is not known"),
        }
    }

    fn advice(&self, code: Code) -> String {
        match code {
            Code::Direct | Code::DirectLan => "nothing needs doing".into(),
            Code::Trying => "ask again in a few seconds".into(),
            Code::NotUsed => "send something (farlan ping does), and ask again in a few seconds".into(),
            Code::MtuBlackhole => {
                "find the link with the small MTU (a tunnel, PPPoE, a VPN) and let its router report packets that are too \
                 large, or give its ends the right MTU; farlan goes on meanwhile, somewhat slower"
                    .into()
            }
            Code::Twin => "stop farlan on one of the two machines, and give a clone an identity of its own; farlan status \
                           says how"
                .into(),
            Code::PeerTwin => "have farlan stopped on one of those two machines; farlan status there says more".into(),
            Code::PeerUnknown => "check the id or address (farlan peers), and that farlan is running there".into(),
            Code::NoSupernode => {
                "run farlan netcheck here; if it finds nothing wrong, ask the supernode's operator whether it is up".into()
            }
            Code::VersionDiffers => "update the older of the two".into(),
            Code::PeerOffline => "start farlan there, or see to its connection: farlan status and farlan netcheck".into(),
            Code::PeerSilent => "wait a minute, and see whether farlan is running there".into(),
            Code::NotInCommonNetwork => "join a network of the peer's, or have it join one of this node's".into(),
            Code::HiddenAddressOwn => {
                "remove hide_address from the configuration here, or meet in a network of friends (farlan host)".into()
            }
            Code::HiddenAddressPeer => {
                "have hide_address removed at the peer, or meet in a network of friends (farlan host)".into()
            }
            Code::OwnUdpBlocked => "let UDP out at this network's firewall, or use another network".into(),
            Code::PeerUdpBlocked => "have UDP let out at the firewall of the peer's network, or use another there".into(),
            Code::BothUdpBlocked => "let UDP out at both networks' firewalls; one alone does not help".into(),
            Code::TooManyStrangersOwn | Code::TooManyStrangersPeer => "wait a minute".into(),
            Code::BothHardNat => self.softer(),
            Code::BothHardCgnat => {
                "use IPv6 at both ends, or order a public IPv4 address from one of the carriers: one end is enough".into()
            }
            Code::AddressesLimited => "wait a minute".into(),
            Code::FirewallFiltersOwn => format!("let UDP in to farlan's port at the firewall here; {NETCHECK}"),
            Code::FirewallFiltersPeer => "have UDP let in to farlan's port at the firewall there".into(),
            Code::SearchFailed => self.softer(),
            Code::BlockedBetween => {
                "look for a firewall, a VPN or a carrier that keeps its customers apart; IPv6 or another network may do".into()
            }
            Code::Unknown => format!("{NETCHECK}, and at the peer, too"),
        }
    }

    /// What makes a NAT that maps by destination bearable, at the end whose router can be changed.
    fn softer(&self) -> String {
        let is_carriers = |end: &Observations| end.carrier == Finding::Yes;
        let (own, theirs) = (self.own(), self.opened());
        let changeable = |end: &Observations| is_hard(end) && !is_carriers(end);
        let place = match (changeable(own), theirs.is_some_and(changeable)) {
            (true, true) => "at one of the two ends",
            (false, true) => "at the peer's end",
            _ => "here",
        };
        // Whose router it is nobody can see from behind it, if no card and no mapping tells.
        let unsure = [Some(own), theirs]
            .into_iter()
            .flatten()
            .any(|end| is_hard(end) && end.carrier == Finding::Unknown);
        let carrier = if unsure {
            " (if the carrier translates addresses, too, only IPv6 or a public address helps there)"
        } else {
            ""
        };
        format!(
            "{place}, switch on UPnP or NAT-PMP in the router, forward farlan's UDP port by hand, or use IPv6; one end is \
             enough{carrier}, and until then the relay carries everything"
        )
    }

    /// What was found out, in the order of its weight.
    fn evidence(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let standing = self.examination.standing;
        let own = self.own();
        if self.examination.peer.is_some() && !(standing.session && standing.heard) {
            lines.push(format!(
                "{} registered this node; {} the peer; {} during the examination",
                if standing.registered {
                    "a supernode has"
                } else {
                    "no supernode has"
                },
                if standing.listed { "one lists" } else { "none lists" },
                if standing.heard {
                    "it was heard"
                } else {
                    "nothing came from it"
                },
            ));
        }
        lines.push(format!("this node: {}", nat(own)));
        match self.theirs() {
            Some(theirs) if theirs.openness == Openness::Open => lines.push(format!("the peer: {}", nat(theirs))),
            Some(theirs) => lines.push(format!("the peer: {}, and tells nothing else", theirs.openness.word())),
            None => lines.push("the peer: unknown, it has not told".into()),
        }
        lines.extend(tries("this node", own));
        lines.extend(self.opened().and_then(|theirs| tries("the peer", theirs)));
        let ends = [("this node", Some(own)), ("the peer", self.opened())];
        for (who, end) in ends.into_iter().filter_map(|(who, end)| Some((who, end?))) {
            if let Some(lost) = end.lost {
                lines.push(format!("{who} lost a direct path {} s ago", lost.get()));
            }
            match end.search {
                Search::None => {}
                search => lines.push(format!("{who}'s search for a port: {}", search.word())),
            }
            if end.limited == Finding::Yes {
                lines.push(format!("{who} held challenges back, because there were too many"));
            }
        }
        lines.push(match own.used {
            Some(used) => format!("last used {} s ago", used.get()),
            None => "not used yet".into(),
        });
        if own.mtu > 0 {
            lines.push(match own.too_large {
                0 => format!("IP packets of {} bytes pass", own.mtu),
                too_large => format!("IP packets of {} bytes pass, those of {too_large} do not", own.mtu),
            });
        }
        if let Some(theirs) = self.opened().filter(|theirs| theirs.version != own.version) {
            let [major, minor, patch] = theirs.version;
            lines.push(format!("the peer runs farlan {major}.{minor}.{patch}"));
        }
        lines
    }
}

const NETCHECK: &str = "run farlan netcheck here";

/// Whether a NAT gives each destination another port.
fn is_hard(end: &Observations) -> bool {
    end.behaviour.mapping.is_dependent()
}

/// Whether it is known how an end's NAT maps, or that there is none.
fn is_known(end: &Observations) -> bool {
    end.behaviour.mapping != Mapping::Unknown || end.behaviour.translated == Some(false)
}

/// What is known of an end's network, in words.
fn nat(end: &Observations) -> String {
    let behaviour = &end.behaviour;
    let mut words = vec![match (behaviour.translated, behaviour.mapping) {
        (Some(false), _) => "no address translation",
        (_, Mapping::Unknown) => "how its router maps ports is unknown",
        (_, Mapping::Independent) => "one port for all destinations",
        (_, Mapping::AddressDependent) => "another port for each destination address",
        (_, Mapping::PortDependent) => "another port for each destination address and port",
        (_, Mapping::Dependent) => "another port for each destination",
    }];
    words.extend(match behaviour.ports {
        Ports::Sequential { .. } => Some("one port after the other"),
        Ports::Random if is_hard(end) => Some("in no order"),
        _ => None,
    });
    words.extend(match behaviour.filtering {
        Filtering::Unknown => None,
        Filtering::NotByPort => Some("ports in use are open to whole addresses"),
        Filtering::ByPort => Some("lets in answers only"),
    });
    match end.udp {
        Finding::Yes => words.push("UDP works"),
        Finding::No => words.push("UDP is blocked"),
        Finding::Unknown => words.push("whether UDP works is unknown"),
    }
    if end.carrier == Finding::Yes {
        words.push("behind a carrier's NAT");
    }
    match end.port_mapping {
        PortMapping::Held => words.push("the router gave a port"),
        PortMapping::Refused => words.push("the router gave a port that leads nowhere"),
        PortMapping::None | PortMapping::Unknown => {}
    }
    words.join(", ")
}

/// What came of an end's tries, in words; nothing if there were none.
fn tries(who: &str, end: &Observations) -> Option<String> {
    let round = end.round?;
    Some(format!(
        "{who} tried in {} {}, from {} s ago on: {} challenges sent, {} answered, {} datagrams came straight; told {} \
         endpoints outside, {} local, {} mapped",
        end.rounds,
        if end.rounds == 1 { "round" } else { "rounds" },
        round.get(),
        end.sent,
        end.answered,
        end.came,
        end.told.outside,
        end.told.local,
        end.told.mapped,
    ))
}

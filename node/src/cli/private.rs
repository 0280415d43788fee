//! The commands of private networks.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use farlan_crypto::private_file::{self, OpenError};
use farlan_netconf::DnsLabel;
use zeroize::Zeroizing;

use super::{
    client::Client,
    commands::argument,
    foreground,
    output::{Output, say},
    qr, show,
};
use crate::{
    api::{
        CreateReply, CreateRequest, DelegateRequest, ExportReply, ImportRequest, Invite, InviteReply, InviteRequest,
        InvitesReply, JoinReply, KickReply, KickRequest, Member, MemberReply, MembersReply, NamedNode, OfNetwork,
        RenameRequest, RenewRequest, Reservation, SetReply, SetRequest, UninviteReply, UninviteRequest,
    },
    daemon::Configuration,
    failure::Failure,
    privileges::Holdings,
    secret_text::SecretText,
    shell::time_of_day,
};

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What to call it
    #[arg(value_name = "NAME", value_parser = super::label)]
    name: String,
    /// What stands behind its members' names, NAME.DOMAIN.farlan.internal [default: what is nearest to its name]
    #[arg(long)]
    domain: Option<DnsLabel>,
    /// What this machine is called there, a DNS label [default: its host name]
    #[arg(long, value_name = "NAME")]
    my_name: Option<DnsLabel>,
    /// Its IPv4 subnet, like 10.128.16.0/20 [default: a free one]
    #[arg(long)]
    subnet: Option<String>,
    /// The MTU of its card in bytes, 1280 to 9000 [default: 1372]
    #[arg(long)]
    mtu: Option<u16>,
}

#[derive(Debug, Args)]
pub(super) struct NewInvite {
    /// Into which network: its name, domain or id
    network: String,
    /// How many it lets in; then a controller of the network has to be reached by whoever joins [default: as many as want]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// How long it works: 90m, 12h, 7d, 4w [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires: Option<u64>,
    /// What to call it in `farlan invites`
    #[arg(long, value_parser = super::label)]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Kick {
    /// A name, a node id, at least its first 10 letters, or an address
    member: String,
    /// Of which network [default: the only one of whose members one is called so]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Let the invite by which it came in go on letting others in
    #[arg(long)]
    keep_invite: bool,
}

#[derive(Debug, Args)]
pub(super) struct Rename {
    /// A name, a node id, at least its first 10 letters, or an address
    member: String,
    /// What it is called from now on, a DNS label
    name: DnsLabel,
    /// In which network [default: the only one of whose members one is called so]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Delegate {
    /// A name, a node id, at least its first 10 letters, or an address
    member: String,
    /// Let it renew certificates
    #[arg(long, required_unless_present = "withdraw")]
    renew: bool,
    /// Take that right from it again
    #[arg(long, conflicts_with = "renew")]
    withdraw: bool,
    /// For how long: 52w, 3650d [default: 3650d]
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    lasting: Option<u64>,
    /// In which network [default: the only one of whose members one is called so]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Which network: its name, domain or id
    network: String,
    /// Write the key to a new file, which only its owner may read, and not to standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// What can be done with a network.
#[derive(Debug, Subcommand)]
pub(super) enum Network {
    /// Change what can be changed of a private network, or show it
    ///
    /// Without options it is shown. Subnet and MTU cannot be changed.
    Set(Set),
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// Which network: its name, domain or id
    network: String,
    /// What to call it
    #[arg(long, value_parser = super::label)]
    name: Option<String>,
    /// What stands behind its members' names, NAME.DOMAIN.farlan.internal
    #[arg(long)]
    domain: Option<DnsLabel>,
    /// How long certificates live from their next renewal on: 30d, 52w; 0: as long as fits its size
    #[arg(long, value_name = "TIME", value_parser = life)]
    life: Option<u32>,
    /// Keep an address for a member, or for whoever will be called so; can be repeated
    #[arg(long, value_name = "ADDRESS=MEMBER", value_parser = reservation)]
    reserve: Vec<Reservation>,
    /// Keep an address for nobody any longer; can be repeated
    #[arg(long, value_name = "ADDRESS")]
    release: Vec<std::net::Ipv4Addr>,
    /// This machine's clock is right, though its own certificate has expired by it: sign by it again
    #[arg(long)]
    clock_is_right: bool,
}

pub(super) async fn create(
    configuration: Configuration,
    holdings: Option<Holdings>,
    client: &Client,
    output: &mut Output,
    create: Create,
) -> Result<(), Failure> {
    let request = CreateRequest {
        name: create.name,
        domain: create.domain.map(|domain| domain.to_string()),
        my_name: create.my_name.map(|name| name.to_string()),
        subnet: create.subnet,
        mtu: create.mtu,
    };
    let mut action = async || {
        let reply: CreateReply = client.post("/v1/create", &request, MAKING).await?;
        if output.json() {
            return output.document(&reply);
        }
        let network = &reply.network;
        let name = &network.name;
        output.line(format_args!(
            "made the private network {name} ({}) with the card {}",
            network.subnet, network.interface
        ))?;
        output.line(format_args!("id    {}", network.network_id))?;
        if let Some(address) = network.ipv4 {
            output.line(format_args!("IPv4  {address}"))?;
        }
        if let Some(address) = network.ipv6 {
            output.line(format_args!("IPv6  {address}"))?;
        }
        output.line(&reply.meeting)?;
        for note in &network.notes {
            output.line(format_args!("note: {note}"))?;
        }
        output.line("")?;
        output.line(format_args!("Let others in:  farlan invite {name}"))?;
        output.line(
            "The network's key is in the state directory of this machine alone. If it is lost, the members go on as they are \
             until their certificates expire, within a year: nobody can be invited, kicked or renamed any more, and then the network \
             ends. So name a second holder:",
        )?;
        output.line(format_args!(
            "  farlan export {name} --to FILE       the key as a file, for a safe place or another machine (farlan import)"
        ))?;
        output.line(format_args!(
            "  farlan delegate MEMBER --renew       a member that renews certificates while this machine is away"
        ))
    };
    match holdings {
        None => action().await,
        Some(holdings) => foreground::up_and(configuration, holdings, action).await,
    }
}

/// `farlan invite`: the link alone on standard output, so that it can be piped.
pub(super) async fn invite(client: &Client, output: &mut Output, invite: NewInvite) -> Result<(), Failure> {
    let request = InviteRequest {
        network: invite.network,
        uses: invite.uses,
        expires_in_s: invite.expires,
        name: invite.name,
    };
    let reply: InviteReply = client.post("/v1/invite", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    let until = whole_life(&reply.invite);
    match reply.invite.uses {
        None => say(format_args!(
            "whoever holds this link can come into {} for {until}, and can hand it on:",
            reply.network
        )),
        Some(1) => say(format_args!(
            "the first who joins by this link within {until} comes into {}, once a controller of the network is reached:",
            reply.network
        )),
        Some(uses) => say(format_args!(
            "the first {uses} who join by this link within {until} come into {}, once a controller of the network is reached:",
            reply.network
        )),
    }
    output.line(&*reply.link)?;
    for line in qr::for_terminal(&reply.link) {
        say(line);
    }
    say(format_args!(
        "to withdraw it: farlan uninvite {}",
        show::short(&reply.invite.id)
    ));
    Ok(())
}

/// Said of a network that `farlan host` made: until when its link works, and where its key is.
pub(super) fn say_hosted(network: &str, invite: &Invite) {
    say(format_args!(
        "note: the link works for {}; to withdraw it: farlan uninvite {}; to make another: farlan invite {network}",
        whole_life(invite),
        show::short(&invite.id),
    ));
    say(format_args!(
        "note: the key of {network} is on this machine alone; to keep a copy: farlan export {network} --to FILE"
    ));
}

pub(super) async fn invites(client: &Client, output: &mut Output, network: String) -> Result<(), Failure> {
    let reply: InvitesReply = client
        .post("/v1/invites", &OfNetwork { network }, Duration::ZERO)
        .await?;
    if output.json() {
        return output.document(&reply);
    }
    if reply.invites.is_empty() {
        return output.line(format_args!(
            "{0} has no invites; make one with: farlan invite {0}",
            reply.network
        ));
    }
    let rows: Vec<_> = reply.invites.iter().map(invite_row).collect();
    output.table(["INVITE", "NAME", "USES", "WORKS FOR", "WHO CAME IN"], &rows)
}

fn invite_row(invite: &Invite) -> [String; 5] {
    [
        show::short(&invite.id),
        if invite.name.is_empty() {
            show::nothing()
        } else {
            invite.name.clone()
        },
        match invite.uses {
            Some(uses) => format!("{} of {uses}", invite.taken),
            None => invite.taken.to_string(),
        },
        match invite.withdrawn {
            Some(_) => "withdrawn".to_owned(),
            None => ahead(invite.expires),
        },
        if invite.members.is_empty() {
            show::nothing()
        } else {
            names(&invite.members)
        },
    ]
}

pub(super) async fn uninvite(
    client: &Client,
    output: &mut Output,
    invite: String,
    network: Option<String>,
) -> Result<(), Failure> {
    let request = UninviteRequest { invite, network };
    let reply: UninviteReply = client.post("/v1/uninvite", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    output.line(format_args!(
        "the invite {} lets nobody into {} any more",
        show::short(&reply.invite),
        reply.network
    ))?;
    if reply.members.is_empty() {
        return Ok(());
    }
    output.line(format_args!(
        "who came in by it stays: {} (to throw somebody out: farlan kick MEMBER)",
        names(&reply.members)
    ))
}

pub(super) async fn members(client: &Client, output: &mut Output, network: String) -> Result<(), Failure> {
    let reply: MembersReply = client
        .post("/v1/members", &OfNetwork { network }, Duration::ZERO)
        .await?;
    if output.json() {
        return output.document(&reply);
    }
    let rows: Vec<_> = reply.members.iter().map(member_row).collect();
    output.table(["MEMBER", "NAME", "IPV4", "STATE", "LAST SEEN", "PATH"], &rows)?;
    if reply.complete {
        return Ok(());
    }
    output.line("note: the network's key is elsewhere, so these are the members that this node has met")
}

fn member_row(member: &Member) -> [String; 6] {
    [
        show::short(&member.node_id),
        member.name.clone().unwrap_or_else(show::nothing),
        member.ipv4.map_or_else(show::nothing, |address| address.to_string()),
        match (member.state.as_str(), member.holder) {
            ("certified", true) => "holder".to_owned(),
            (state, _) => state.to_owned(),
        },
        match (member.own, member.seen) {
            (true, _) => "this node".to_owned(),
            (false, None) => show::nothing(),
            (false, Some(seen)) => match time_of_day().get().saturating_sub(seen) {
                0..60 => "now".to_owned(),
                ago => format!("{} ago", show::age(ago)),
            },
        },
        member.path.clone().unwrap_or_else(show::nothing),
    ]
}

pub(super) async fn kick(client: &Client, output: &mut Output, kick: Kick) -> Result<(), Failure> {
    let request = KickRequest {
        member: kick.member,
        network: kick.network,
        keep_invite: kick.keep_invite,
    };
    let reply: KickReply = client.post("/v1/kick", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    output.line(format_args!(
        "{} is no member of {} any more",
        title(&reply.member),
        reply.network
    ))?;
    if let Some(invite) = &reply.withdrawn {
        output.line(format_args!(
            "the invite {} by which it came in is withdrawn, too",
            show::short(invite)
        ))?;
    }
    if !reply.invite_known {
        output.line(format_args!(
            "by which invite it came in is not known here, so links that were made before may let it in again, as another node, until \
             they expire (farlan invites NETWORK shows those that are known)"
        ))?;
    }
    if reply.companions.is_empty() {
        return Ok(());
    }
    output.line(format_args!(
        "by the same invite came in, and stay: {}",
        names(&reply.companions)
    ))
}

pub(super) async fn rename(client: &Client, output: &mut Output, rename: Rename) -> Result<(), Failure> {
    let request = RenameRequest {
        member: rename.member,
        name: rename.name.to_string(),
        network: rename.network,
    };
    let reply: MemberReply = client.post("/v1/rename", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    output.line(format_args!(
        "{} is called {} in {} from its next certificate on",
        show::short(&reply.member.node_id),
        reply.member.name.as_deref().unwrap_or_default(),
        reply.network
    ))
}

pub(super) async fn delegate(client: &Client, output: &mut Output, delegate: Delegate) -> Result<(), Failure> {
    let request = DelegateRequest {
        member: delegate.member,
        network: delegate.network,
        for_s: delegate.lasting,
        withdraw: delegate.withdraw,
    };
    let reply: MemberReply = client.post("/v1/delegate", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    match reply.delegation {
        None => output.line(format_args!(
            "{} renews no certificates of {} any more",
            title(&reply.member),
            reply.network
        )),
        Some(text) => {
            say(format_args!(
                "{} may renew certificates of {}, as soon as it is met, or once this is taken there with: farlan renew -",
                title(&reply.member),
                reply.network
            ));
            output.line(&*text)
        }
    }
}

pub(super) async fn renew(client: &Client, output: &mut Output, text: SecretText) -> Result<(), Failure> {
    let request = RenewRequest {
        delegation: argument(text)?,
    };
    let reply: JoinReply = client.post("/v1/renew", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    output.line(format_args!("this node renews certificates of {}", reply.network.name))
}

pub(super) async fn export(client: &Client, output: &mut Output, export: Export) -> Result<(), Failure> {
    let request = OfNetwork {
        network: export.network,
    };
    let reply: ExportReply = client.post("/v1/export", &request, Duration::ZERO).await?;
    let Some(path) = export.to else {
        if output.json() {
            return output.document(&reply);
        }
        say(format_args!(
            "whoever has this key controls {}; keep it where nobody else gets at it:",
            reply.network
        ));
        return output.line(reply.key.trim_end());
    };
    private_file::create(&path, reply.key.as_bytes()).map_err(|error| Failure::file("write", &path, &error))?;
    say(format_args!(
        "the key of {} is in {}; whoever has it controls the network",
        reply.network,
        path.display()
    ));
    Ok(())
}

pub(super) async fn import(client: &Client, output: &mut Output, from: &Path) -> Result<(), Failure> {
    let text = read_key(from)?;
    let key = text.trim().to_owned().into();
    let reply: JoinReply = client
        .post("/v1/import", &ImportRequest { key }, Duration::ZERO)
        .await?;
    if output.json() {
        return output.document(&reply);
    }
    output.line(format_args!(
        "the key of {0} is here now, so this node is its controller; let the other one, if it still has the key, make no changes \
         any more",
        reply.network.name
    ))
}

/// The key in a file, or on standard input for `-`. A file that others could have read is refused.
fn read_key(from: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = if from.as_os_str() == "-" {
        io::stdin().lock().take(LONGEST_KEY).read_to_string(&mut text)
    } else {
        let file = private_file::open(from).map_err(|error| not_private(from, error))?;
        file.take(LONGEST_KEY).read_to_string(&mut text)
    };
    read.map_err(|error| Failure::file("read", from, &error))?;
    Ok(text)
}

/// Why a file with a key is not read, and what to do.
fn not_private(path: &Path, error: OpenError) -> Failure {
    let shown = path.display();
    match error {
        OpenError::Missing => Failure::file("read", path, &io::ErrorKind::NotFound.into()),
        OpenError::Io(error) => Failure::file("read", path, &error),
        OpenError::NotAFile => Failure::negative(format_args!(
            "{shown} is no regular file; for a key from elsewhere: farlan import - < FILE"
        )),
        OpenError::Names => Failure::negative(format_args!(
            "{shown} has another name (a hard link), by which others may read it; copy it, and remove both"
        )),
        OpenError::Owner(owner) => Failure::negative(format_args!(
            "{shown} belongs to user {owner}, who is somebody else; make it your own with chown if you trust what is in it"
        )),
        OpenError::Permissions(mode) => Failure::negative(format_args!(
            "other users can read {shown} (mode {mode:04o}), and whoever has the key controls the network; if nobody did: \
             chmod 600 {shown}, and import again"
        )),
    }
}

pub(super) async fn set(client: &Client, output: &mut Output, set: Set) -> Result<(), Failure> {
    let request = SetRequest {
        network: set.network,
        name: set.name,
        domain: set.domain.map(|domain| domain.to_string()),
        life_s: set.life,
        reserve: set.reserve,
        release: set.release,
        clock_is_right: set.clock_is_right,
    };
    let reply: SetReply = client.post("/v1/set", &request, Duration::ZERO).await?;
    if output.json() {
        return output.document(&reply);
    }
    output.line(format_args!("name          {}", reply.network))?;
    output.line(format_args!("id            {}", reply.network_id))?;
    output.line(format_args!("domain        {}.farlan.internal", reply.domain))?;
    output.line(format_args!("subnet        {}", reply.subnet))?;
    output.line(format_args!("certificates  live {}", show::age(reply.life_s.into())))?;
    for holder in &reply.holders {
        output.line(format_args!("holder        {holder}"))?;
    }
    for reservation in &reply.reservations {
        output.line(format_args!(
            "reserved      {} for {}",
            reservation.address, reservation.member
        ))?;
    }
    Ok(())
}

/// What a node is called, or else the beginning of its id.
fn title(node: &NamedNode) -> String {
    match &node.name {
        Some(name) => format!("{name} ({})", show::short(&node.node_id)),
        None => show::short(&node.node_id),
    }
}

fn names(nodes: &[NamedNode]) -> String {
    let name = |node: &NamedNode| node.name.clone().unwrap_or_else(|| show::short(&node.node_id));
    nodes.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// How long a new invite works.
fn whole_life(invite: &Invite) -> String {
    show::age(invite.expires.saturating_sub(invite.created))
}

/// How far a time is ahead.
fn ahead(time: u64) -> String {
    match time.saturating_sub(time_of_day().get()) {
        0 => "no longer".to_owned(),
        left => show::age(left),
    }
}

/// Seconds of a span like `90m`, `12h`, `7d`, `4w`.
fn span(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no span of time: give a number and s, m, h, d or w, like 12h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let (number, factor) = match unit {
        's' => (text.strip_suffix('s'), 1),
        'm' => (text.strip_suffix('m'), 60),
        'h' => (text.strip_suffix('h'), 3600),
        'd' => (text.strip_suffix('d'), 86_400),
        'w' => (text.strip_suffix('w'), 7 * 86_400),
        _ => return Err(wrong()),
    };
    let number: u32 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    match u64::from(number) * factor {
        0 => Err("a span of nothing is none".to_owned()),
        seconds => Ok(seconds),
    }
}

/// The same for lives of certificates, where 0 is as long as fits.
fn life(text: &str) -> Result<u32, String> {
    if text == "0" {
        return Ok(0);
    }
    u32::try_from(span(text)?).map_err(|_| "that is longer than certificates can live".to_owned())
}

fn reservation(text: &str) -> Result<Reservation, String> {
    let wrong = || format!("{text:?} is no reservation: give ADDRESS=MEMBER, like 10.128.16.7=printer");
    let (address, member) = text.split_once('=').ok_or_else(wrong)?;
    Ok(Reservation {
        address: address.parse().map_err(|_| wrong())?,
        member: Some(member.to_owned())
            .filter(|member| !member.is_empty())
            .ok_or_else(wrong)?,
    })
}

/// How long making a network may take: where its members meet may have to be found out.
const MAKING: Duration = Duration::from_secs(45);

/// Bytes read of a file with a key: more than the longest.
const LONGEST_KEY: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_others_could_read_is_not_taken() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("home.key");
        assert!(read_key(&path).is_err(), "there is none");
        private_file::create(&path, b"a key").unwrap();
        assert_eq!(read_key(&path).unwrap().as_str(), "a key");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read_key(&path).unwrap_err();
        assert!(refused.message.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn spans_are_numbers_with_a_unit() {
        for (text, seconds) in [
            ("90m", 5400),
            ("12h", 43_200),
            ("7d", 604_800),
            ("4w", 2_419_200),
            ("5s", 5),
        ] {
            assert_eq!(span(text), Ok(seconds), "{text}");
        }
        for text in ["", "7", "d", "-1d", "1.5h", "0d", "1y", "ä"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert_eq!(life("0"), Ok(0));
        assert!(life("99999999w").is_err());
    }

    #[test]
    fn reservations_name_an_address_and_somebody() {
        let reservation = reservation("10.128.16.7=printer").unwrap();
        assert_eq!(reservation.address.to_string(), "10.128.16.7");
        assert_eq!(reservation.member, "printer");
        for text in ["10.128.16.7", "10.128.16.7=", "x=printer", ""] {
            assert!(super::reservation(text).is_err(), "{text}");
        }
    }
}

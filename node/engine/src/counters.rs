//! Named counters: drop, count, go on.

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What happened to packets since the engine was made. Every drop has its reason here.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Names and values, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// What a counter counts, in a sentence; nothing if there is none of that name.
            pub fn meaning(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => Some(concat!($($doc),*).trim_ascii()),)*
                    _ => None,
                }
            }
        }
    };
}

counters! {
    /// Frames sealed for one peer.
    frames_sent,
    /// Frames delivered to a card.
    frames_received,
    /// Copies of group frames sealed, retries included.
    group_copies_sent,
    /// Copies of group frames sent again.
    group_copies_resent,
    /// Copies of group frames given up after the last try.
    group_copies_lost,
    /// ARP, ICMPv6 and DHCP to all that were not sent into a network too large for copies to all.
    group_kept_back,
    /// Copies of others' broadcasts sent on.
    spread_forwarded,
    /// Broadcasts delivered that came signed.
    spread_delivered,
    /// Copies of broadcasts that were here already.
    spread_duplicates,
    /// Copies of broadcasts whose signature was wrong.
    spread_forged,
    /// Copies of broadcasts that were too old or not of this time, or came when nobody told the time.
    spread_stale,
    /// Copies of broadcasts of those who may not send them, for another network, or muted.
    spread_refused,
    /// Copies of broadcasts whose signatures were not checked: too many came.
    spread_limited,
    /// Group frames dropped by this node's own rate limits.
    group_rate_limited,
    /// Group frames not delivered, because their origin sends too many.
    group_origin_limited,
    /// Group frames not delivered, because their origin has long sent far too many.
    group_origin_ignored,
    /// Group frames not delivered, because all origins together send too many.
    group_delivery_limited,
    /// Subscriptions to channels that a supernode did not take, or not all of them, because there were too many.
    subscriptions_limited,
    /// Copies of group frames seen before.
    group_duplicates,
    /// ARP requests and neighbour solicitations answered by this node itself.
    neighbours_answered,
    /// Messages sent in fragments, because they did not fit the path.
    messages_cut,
    /// Messages given up because fragments of them did not come in time or did not fit together.
    fragments_lost,
    /// Credentials of private networks that could not be read or were not valid.
    credentials_refused,
    /// Credentials, applications and answers to them that were not looked at, because there were too many.
    credentials_limited,
    /// Beacons sent, one a link and family.
    beacons_sent,
    /// Beacons of members of networks in common.
    beacons_recognised,
    /// Beacons in which there is no network of this node.
    beacons_foreign,
    /// Beacons not looked at, or not answered, because there were too many.
    beacons_limited,
    /// Datagrams relayed for others.
    relayed,
    /// Datagrams that came by a stream and were not for the supernode at its end to send.
    foreign_stream,
    /// Streams not opened because there are enough.
    streams_refused,
    /// Datagrams not relayed: the source has no registration or another address.
    relay_unknown_source,
    /// Datagrams not relayed: the destination has no registration.
    relay_unknown_destination,
    /// Datagrams not relayed: the destination has not answered that source, and it was no handshake.
    relay_unanswered,
    /// Handshakes not relayed: their source began too many, or with too many others.
    relay_limited_source,
    /// Handshakes not relayed: the sources of one /24 or /56 began too many.
    relay_limited_prefix,
    /// Handshakes and introductions not passed on: their destination gets too many.
    relay_limited_destination,
    /// Datagrams not relayed: their source, or the pair, has used its quota of bytes.
    relay_over_quota,
    /// Look-ups not answered, because a node asked too often.
    lookups_limited,
    /// Challenges not sent to endpoints that peers named or spoke from, because too many went there already.
    candidates_limited,
    /// Questions of peers for this node's observations that were not answered, because there were too many.
    questions_limited,
    /// Questions of nodes where they are seen that were not answered, because there were too many.
    looks_limited,
    /// Way probes of nodes that were not answered, because there were too many.
    way_probes_limited,
    /// Searches that nodes asked for too often.
    searches_limited,
    /// Searches for which two nodes were told each other's address.
    searches_granted,
    /// Searches of this node that began, and for which a supernode told the other end's address.
    searches_begun,
    /// Ways that were found by trying many ports.
    searches_found,
    /// Ways that were found by trying the ports that the NAT was expected to pick.
    ports_predicted,
    /// Datagrams that tried a port in a search.
    search_probes,
    /// Hints not sent, because there were too many.
    hints_limited,
    /// Questions whether strangers get through that were not answered, because there were too many.
    reach_limited,
    /// Datagrams too short, of unknown type or otherwise malformed.
    malformed_datagrams,
    /// Datagrams of another protocol version.
    other_version,
    /// Datagrams to a supernode under a session that a newer one of the same node has replaced.
    replaced_session,
    /// How often a supernode found two machines with one key.
    twins_found,
    /// Datagrams for a session that does not exist.
    unknown_session,
    /// Datagrams that failed authentication.
    forged,
    /// Datagrams received before.
    replayed,
    /// Relayed datagrams from somewhere that is no supernode of this node.
    foreign_relay,
    /// Sealed messages that could not be parsed.
    malformed_messages,
    /// Sealed messages of an unknown kind.
    unknown_messages,
    /// Handshakes begun by this node.
    handshakes_begun,
    /// Handshakes completed.
    handshakes_done,
    /// Peers that made room for others.
    peers_displaced,
    /// Peers there was no room for.
    peers_refused,
    /// Registrations and memberships there was no place for.
    registrations_refused,
    /// Handshake messages refused.
    handshakes_refused,
    /// Initiations whose sender does not know this node's key.
    handshakes_keyless,
    /// Initiations under load whose sender did not prove to be where it says, and was given a cookie.
    handshakes_unproved,
    /// Handshake messages dropped because there were too many of their source, or to one handshake.
    handshakes_limited,
    /// Handshake messages dropped because the queue or the table of half-open ones was full.
    handshakes_overflow,
    /// Cookies that other nodes under load gave to this one.
    cookies_received,
    /// Pieces of public-key work that were taken from the queue.
    public_key_work,
    /// Lists of supernodes that their operator did not sign.
    worlds_refused,
    /// Documents of private networks, and pieces of such, that are not what they should be.
    documents_refused,
    /// Documents and pieces that were not given or taken, because there were too many of one peer.
    documents_limited,
    /// Documents that a supernode took.
    documents_kept,
    /// Documents that made room for others.
    documents_displaced,
    /// Frames too short or too long to be Ethernet.
    malformed_frames,
    /// Frames for a MAC nobody is known to have.
    unknown_destination,
    /// Frames for one MAC sent to all, since nobody is known to have it or it is not where it was.
    flooded,
    /// Foreign MACs that had to make room for others behind the same member.
    learned_displaced,
    /// Frames for a MAC that is not this node's, where that is not allowed.
    foreign_destination,
    /// Frames dropped because the queue towards their peer was full or they waited too long.
    queue_dropped,
    /// Frames of a network the sender did not prove to know.
    unmatched_network,
    /// Frames from machines behind members of private networks that have no right to bridge.
    bridged_without_right,
    /// Frames whose source MAC was not the sender's own.
    foreign_source_mac,
    /// ARP and neighbour messages that spoke for another member's address.
    foreign_neighbour,
    /// Frames whose source IP was not the sender's own.
    foreign_source_ip,
    /// Frames of strangers whose headers and lengths do not fit each other.
    filtered_malformed,
    /// Frames of strangers behind a VLAN tag.
    filtered_tagged,
    /// Frames of strangers that control links and bridges: STP, LLDP, 802.1X, CDP.
    filtered_link_control,
    /// Frames of strangers that are neither ARP nor IP.
    filtered_ethertype,
    /// Packets of strangers with IPv4 options or IPv6 extension headers that are not let in.
    filtered_options,
    /// Packets of strangers that hold another packet, or hide one.
    filtered_tunnel,
    /// Packets of strangers that are none of TCP, UDP and ICMP.
    filtered_protocol,
    /// IGMP and MLD of strangers.
    filtered_membership,
    /// IP fragments of strangers whose first one was not let in, or that overlap it.
    filtered_fragment,
    /// Packets of strangers for an IP address that is not this node's in the network.
    filtered_destination,
    /// DHCP and DHCPv6 of strangers.
    filtered_dhcp,
    /// Router advertisements of strangers.
    filtered_router_advertisement,
    /// ICMP redirects of strangers.
    filtered_redirect,
    /// ICMP messages of strangers that belong to no flow, or of a kind that is not let in.
    filtered_icmp,
    /// Pings of strangers beyond the rate that each may send.
    filtered_ping_rate,
    /// Messages of mDNS, LLMNR and NetBIOS names by strangers that nobody here asked for.
    filtered_name_service,
    /// Packets of strangers for a port that is not opened, in no flow of this machine's.
    filtered_not_open,
    /// Packets of this machine's own LAN services (mDNS, LLMNR, NetBIOS, SSDP, WS-Discovery) that were not sent to strangers.
    kept_from_strangers,
    /// Flows of this machine with strangers that had to make room for others.
    flows_displaced,
}

//! What must hold of what users, files and programs on the own machine say to the daemon.
#![allow(dead_code, reason = "each target uses a part")]

use std::{path::Path, str::FromStr as _};

use farlan::{
    api::{
        self, AddRequest, CircleRequest, HostRequest, JoinRequest, LanGamesRequest, LeaveRequest, MarkRequest,
        OpenRequest, PingRequest, RemoveRequest,
    },
    cli,
    config::{self, Config, SupernodeLink},
    daemon::fuzzing,
    games,
    local_programs::{ListeningCard, LocalPrograms, Table},
    logs::LogFilter,
    names::{self, Directory, Pins, answer},
    ports::PortSet,
    privileges,
};
use farlan_engine::Transport;
use serde::{Serialize, de::DeserializeOwned};

/// Input: a text in the place of the configuration, of the files of the state directory, of a token's, of accounts, and of the
/// kernel's tables of sockets and groups.
pub(crate) fn files(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(failure) = config::parse::<Config>(Path::new("farlan.toml"), text) {
        assert!(failure.message.starts_with("farlan.toml:"), "{failure}");
    }
    fuzzing::state_files(text);
    api::fuzzing::access(text);
    text.lines().for_each(privileges::account_line);
    let mut programs = LocalPrograms::default();
    for table in [Table::Udp, Table::Tcp, Table::Groups] {
        programs.parse(table, text);
    }
    let card = ListeningCard {
        index: 7,
        addresses: vec![[10, 64, 0, 1].into()],
    };
    let all = PortSet::from_str("1-65535").expect("it is a range");
    let reached = programs.reached(&card, &all);
    assert!(reached.without(&all).is_empty());
    for channel in programs.channels(&card, &games::List::shipped()) {
        let is_reached = |port| reached.contains(Transport::Udp, port);
        assert!(channel.is_specific() && channel.port.is_none_or(is_reached));
    }
}

/// Input: a text in the place of the values of options.
pub(crate) fn options(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(filter) = LogFilter::from_str(text) {
        // What was taken once, without the blanks around its parts, is taken again.
        let trimmed: Vec<&str> = text.split(',').map(str::trim).collect();
        assert_eq!(LogFilter::from_str(&trimmed.join(",")), Ok(filter));
    }
    if let Ok(ports) = PortSet::from_str(text) {
        assert!(
            ports
                .ranges()
                .iter()
                .all(|range| 0 < range.first && range.first <= range.last)
        );
        assert!(ports.without(&ports).is_empty() && ports.with(&ports) == ports);
        // Each range is written so that it is read as the same.
        for range in ports.to_string().split(", ") {
            let range = PortSet::from_str(range).expect("it is one");
            assert_eq!(range.ranges().len(), 1);
            assert_eq!(ports.with(&range), ports);
        }
    }
    if let Ok(link) = SupernodeLink::from_str(text) {
        assert!(!link.0.supernodes().is_empty());
    }
    cli::api_url(text);
    api::fuzzing::access(text);
}

/// Input: a DNS message, also as a text: a file of pinned names, or whom somebody means.
pub(crate) fn names(input: &[u8]) {
    let mut directory = Directory::default();
    if let Ok(text) = std::str::from_utf8(input) {
        if let Some(pins) = Pins::from_text(text) {
            directory = Directory::restore(&pins);
            // What was taken is written and taken as the same.
            assert_eq!(Directory::restore(&directory.pins()), directory);
        }
        for found in directory.all() {
            assert!(found.name.ends_with(".farlan.internal"));
            assert_eq!(directory.resolve(&found.name).as_ref(), Ok(&found));
        }
        let _ = directory.resolve(text);
    }
    if let Some(answer) = answer(&directory, input) {
        assert!(answer.len() <= 1232);
        // An answer is no question, or two of these would go on for ever.
        assert_eq!(names::answer(&directory, &answer), None);
    }
}

/// Input: arguments, one a line.
pub(crate) fn arguments(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut arguments = vec!["farlan"];
    arguments.extend(text.lines().take(12));
    cli::takes(&arguments);
}

/// Input: the body of a request to the API. What is read and written is read as the same.
pub(crate) fn requests(input: &[u8]) {
    json::<JoinRequest>(input);
    json::<HostRequest>(input);
    json::<LeaveRequest>(input);
    json::<OpenRequest>(input);
    json::<LanGamesRequest>(input);
    json::<PingRequest>(input);
    json::<CircleRequest>(input);
    json::<MarkRequest>(input);
    json::<AddRequest>(input);
    json::<RemoveRequest>(input);
}

fn json<T: Serialize + DeserializeOwned + PartialEq>(input: &[u8]) {
    let Ok(request) = serde_json::from_slice::<T>(input) else {
        return;
    };
    let written = serde_json::to_vec(&request).expect("texts and numbers can be written");
    assert!(serde_json::from_slice::<T>(&written).is_ok_and(|again| again == request));
}

//! Counters and gauges in the text format of Prometheus (version 0.0.4).

use std::fmt::Write as _;

use farlan_engine::Counters;

use super::schema::Status;
use crate::{daemon::LiftCounters, shell::ShellCounters};

/// The media type of [`exposition`].
pub(super) const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a status says, as metrics: every counter as `farlan_NAME_total`, and how much of everything there is.
pub fn exposition(status: &Status) -> String {
    let count = |amount: usize| u64::try_from(amount).unwrap_or(u64::MAX);
    let registered = status
        .supernodes
        .iter()
        .filter(|supernode| supernode.registered)
        .count();
    let gauges = [
        ("uptime_seconds", "Seconds since the daemon started.", status.uptime_s),
        ("networks", "Joined networks.", count(status.networks)),
        ("peers", "Peers with a session.", count(status.peers)),
        ("supernodes", "Supernodes in use.", count(status.supernodes.len())),
        (
            "supernodes_registered",
            "Supernodes at which this node is registered.",
            count(registered),
        ),
    ];
    let mut text = String::new();
    let version = status
        .version
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    metric(&mut text, "build_info", "The version of the program.", "gauge");
    // Writing to a string does not fail.
    let _ = writeln!(text, "farlan_build_info{{version=\"{version}\"}} 1");
    for (name, help, value) in gauges {
        metric(&mut text, name, help, "gauge");
        let _ = writeln!(text, "farlan_{name} {value}");
    }
    for (name, value) in &status.counters {
        let help = Counters::meaning(name)
            .or_else(|| ShellCounters::meaning(name))
            .or_else(|| LiftCounters::meaning(name));
        let name = format!("{name}_total");
        metric(&mut text, &name, help.unwrap_or(OTHER).trim(), "counter");
        let _ = writeln!(text, "farlan_{name} {value}");
    }
    text
}

fn metric(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP farlan_{name} {help}\n# TYPE farlan_{name} {kind}");
}

/// Of a counter of another version.
const OTHER: &str = "A counter of the daemon.";

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let engine = Counters {
            filtered_dhcp: 7,
            ..Counters::default()
        };
        let shell = ShellCounters::default();
        let counters = engine.iter().chain(shell.iter()).chain([("card_dropped", 3)]);
        let lift = LiftCounters::default();
        let counters = counters.chain(lift.iter());
        Status {
            schema: 1,
            version: "0.1 \"x\"".into(),
            node_id: "n".into(),
            public_key: "k".into(),
            port: 9600,
            uptime_s: 61,
            supernodes: Vec::new(),
            port_mapping: Default::default(),
            names: Default::default(),
            lan_games: Default::default(),
            hosting: None,
            networks: 2,
            peers: 3,
            twin: None,
            notes: Vec::new(),
            counters: counters.map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    #[test]
    fn every_counter_is_a_metric_with_help_and_type() {
        let status = status();
        let text = exposition(&status);
        assert!(text.contains("# TYPE farlan_filtered_dhcp_total counter\nfarlan_filtered_dhcp_total 7\n"));
        assert!(text.contains("farlan_card_dropped_total 3\n"));
        assert!(text.contains("farlan_peers 3\n"));
        assert!(text.contains("farlan_build_info{version=\"0.1 \\\"x\\\"\"} 1\n"));
        assert!(!text.contains(OTHER), "every counter says what it means");
        let lines: Vec<_> = text.lines().collect();
        for metric in lines.chunks(3) {
            let [help, kind, sample] = metric else {
                panic!("{metric:?}")
            };
            let name = sample.split([' ', '{']).next().unwrap();
            assert!(
                help.strip_prefix(&format!("# HELP {name} "))
                    .is_some_and(|help| help.len() > 5),
                "{help}"
            );
            let kind = kind.strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"));
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(name.bytes().all(plain), "{name}");
            assert!(sample.split(' ').next_back().unwrap().parse::<u64>().is_ok());
        }
        assert_eq!(lines.len() / 3, status.counters.len() + 6);
    }
}

//! The tables, in Markdown, and all figures in JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Outcome;
use super::machine::Machine;
use super::measures::{DIRECTIONS, Extent, PARTS, SIZES, STREAMS, Sample};
use super::tables::{NOTHING, Table, median, spread, summary};

/// Counters of farlan that count no drops: traffic, and what is ordinary.
const ORDINARY: [&str; 10] = [
    "frames_sent",
    "frames_received",
    "group_copies_sent",
    "group_copies_resent",
    "group_duplicates",
    "neighbours_answered",
    "messages_cut",
    "relayed",
    "handshakes_begun",
    "handshakes_done",
];

/// All tables.
pub fn markdown(machine: &Machine, extent: Extent, runs: u32, outcomes: &[Outcome], is_gate: bool) -> String {
    let mut text = head(machine, extent, runs);
    let measured: Vec<_> = outcomes.iter().filter(|outcome| !outcome.samples.is_empty()).collect();
    let mut tables = vec![
        throughput(&measured, is_gate),
        cost(&measured),
        split(&measured, is_gate),
    ];
    if !is_gate {
        tables.extend([packets(&measured), round_trips(&measured), memory(&measured)]);
    }
    tables.push(losses(&measured));
    for table in tables.iter().filter(|table| !table.rows.is_empty()) {
        text.push('\n');
        text.push_str(&table.text());
    }
    text.push_str(&systems(outcomes));
    text
}

/// All figures of all runs.
pub fn json(machine: &Machine, extent: Extent, outcomes: &[Outcome]) -> Value {
    let systems: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "name": outcome.name,
                "settings": outcome.settings,
                "version": outcome.version.as_ref().ok(),
                "not_measured": outcome.version.as_ref().err(),
                "runs": outcome.samples,
                "failures": outcome.failures,
            })
        })
        .collect();
    json!({ "machine": machine, "seconds": extent.seconds, "rate": extent.rate, "systems": systems })
}

fn head(machine: &Machine, extent: Extent, runs: u32) -> String {
    let Machine {
        processor,
        cores,
        kernel,
        date,
        commit,
        previous_commit,
        cards,
        congestion,
        load,
        iperf3,
        seal,
    } = machine;
    let previous = previous_commit.as_ref().map(|commit| format!(" against {commit}"));
    format!(
        "{date}, commit {commit}{}; {processor}, {cores} cores, Linux {kernel}, {iperf3}, {cards}, congestion control {congestion}, load average \
         {:.1} before and {:.1} after, sealing 1,400 bytes {:.0} and {:.0} ns. {runs} interleaved runs of {} s each: median (least–greatest).\n",
        previous.unwrap_or_default(),
        load[0],
        load[1],
        seal[0],
        seal[1],
        extent.seconds
    )
}

fn throughput(measured: &[&Outcome], is_gate: bool) -> Table {
    let mut table = Table::new("TCP, Gbit/s", &["system", "MTU"]);
    let kinds: Vec<_> = transfers(is_gate).collect();
    for (streams, direction) in &kinds {
        let plural = if *streams == 1 { "stream" } else { "streams" };
        table.columns.push(format!("{streams} {plural} {direction}"));
    }
    for outcome in measured {
        let mut row = vec![outcome.name.to_owned(), median(outcome, "mtu", 0)];
        for (streams, direction) in &kinds {
            row.push(spread(outcome, &format!("tcp{streams}.{}.gbit", direction.key()), 2));
        }
        table.rows.push(row);
    }
    table
}

fn cost(measured: &[&Outcome]) -> Table {
    let columns = [
        "system",
        "daemons and middle",
        "iperf3 sends",
        "iperf3 receives",
        "all",
        "beside: ksoftirqd",
    ];
    let mut table = Table::new("TCP, one stream, both directions together: CPU s/GB", &columns);
    for outcome in measured {
        let cell = |part: &str| spread(outcome, &format!("tcp1.both.cpu.{part}"), 2);
        let mut row = vec![outcome.name.to_owned()];
        row.extend(["daemons", "sender", "receiver", "all", "ksoftirqd"].map(cell));
        table.rows.push(row);
    }
    table
}

fn split(measured: &[&Outcome], is_gate: bool) -> Table {
    let columns = [
        "system",
        "transfer",
        "daemon A",
        "daemon B",
        "middle",
        "iperf3 sends",
        "iperf3 receives",
        "ksoftirqd",
        "all",
    ];
    let mut table = Table::new("TCP, by process: CPU s/GB (medians)", &columns);
    for outcome in measured {
        for (streams, direction) in transfers(is_gate) {
            let mut row = vec![outcome.name.to_owned(), format!("{streams} × {direction}")];
            for part in PARTS.into_iter().chain(["all"]) {
                row.push(median(
                    outcome,
                    &format!("tcp{streams}.{}.cpu.{part}", direction.key()),
                    2,
                ));
            }
            table.rows.push(row);
        }
    }
    table
}

fn packets(measured: &[&Outcome]) -> Table {
    let columns = [
        "system",
        "bytes",
        "offered kpps",
        "delivered kpps",
        "lost %",
        "doubled",
        "overtaken",
        "CPU µs A",
        "CPU µs B",
        "CPU µs middle",
    ];
    let mut table = Table::new("UDP, CPU µs per delivered packet", &columns);
    for outcome in measured {
        for bytes in SIZES {
            let key = |name: &str| format!("udp{bytes}.{name}");
            table.rows.push(vec![
                outcome.name.to_owned(),
                bytes.to_string(),
                median(outcome, &key("offered_kpps"), 0),
                spread(outcome, &key("delivered_kpps"), 0),
                spread(outcome, &key("lost_percent"), 1),
                median(outcome, &key("doubled"), 0),
                median(outcome, &key("reordered"), 0),
                spread(outcome, &key("cpu.a"), 2),
                spread(outcome, &key("cpu.b"), 2),
                spread(outcome, &key("cpu.middle"), 2),
            ]);
        }
    }
    table
}

fn round_trips(measured: &[&Outcome]) -> Table {
    let columns = [
        "system",
        "idle p50",
        "lowest p50",
        "idle p99",
        "loaded p50",
        "loaded p95",
        "loaded p99",
        "lost idle",
        "lost loaded",
    ];
    let mut table = Table::new(
        "Round trip of a UDP packet, µs, idle and beside one TCP stream",
        &columns,
    );
    for outcome in measured {
        let lowest =
            summary(outcome, "rtt.idle.p50").map_or_else(|| NOTHING.to_owned(), |all| format!("{:.0}", all.least));
        table.rows.push(vec![
            outcome.name.to_owned(),
            median(outcome, "rtt.idle.p50", 0),
            lowest,
            median(outcome, "rtt.idle.p99", 0),
            spread(outcome, "rtt.loaded.p50", 0),
            median(outcome, "rtt.loaded.p95", 0),
            spread(outcome, "rtt.loaded.p99", 0),
            median(outcome, "rtt.idle.lost", 0),
            median(outcome, "rtt.loaded.lost", 0),
        ]);
    }
    table
}

fn memory(measured: &[&Outcome]) -> Table {
    let columns = [
        "system",
        "A idle",
        "A after load",
        "B idle",
        "B after load",
        "middle idle",
        "middle after load",
    ];
    let mut table = Table::new("Resident memory, MB", &columns);
    for outcome in measured {
        let mut row = vec![outcome.name.to_owned()];
        for part in ["a", "b", "middle"] {
            row.extend(["idle", "loaded"].map(|when| median(outcome, &format!("memory.{when}.{part}"), 1)));
        }
        table.rows.push(row);
    }
    table
}

fn losses(measured: &[&Outcome]) -> Table {
    let columns = [
        "system",
        "retransmitted per GB, iperf3",
        "nstat",
        "dropped at sockets, TCP",
        "by cards, TCP",
        "UDP 64",
        "UDP 1200",
        "farlan's own counters",
    ];
    let mut table = Table::new("Losses of a run (medians; of counters the greatest)", &columns);
    for outcome in measured {
        let mut row = vec![outcome.name.to_owned()];
        let keys = [
            "tcp.retransmitted_per_gb.iperf3",
            "tcp.retransmitted_per_gb.nstat",
            "tcp.socket_drops",
            "tcp.card_drops",
            "udp64.card_drops",
            "udp1200.card_drops",
        ];
        row.extend(keys.map(|key| median(outcome, key, 0)));
        row.push(counters(outcome));
        table.rows.push(row);
    }
    table
}

/// The counters of farlan that tell of drops and are not zero.
fn counters(outcome: &Outcome) -> String {
    let mut names: Vec<_> = outcome.samples.iter().flat_map(Sample::keys).collect();
    names.sort_unstable();
    names.dedup();
    let mut told = Vec::new();
    for key in names {
        if let Some(name) = key.strip_prefix("counter.").filter(|name| !ORDINARY.contains(name)) {
            let most = summary(outcome, key).map_or(0.0, |all| all.greatest);
            told.push(format!("{name} {most:.0}"));
        }
    }
    if told.is_empty() {
        NOTHING.to_owned()
    } else {
        told.join(", ")
    }
}

fn systems(outcomes: &[Outcome]) -> String {
    let mut text = "\n### Systems\n\n".to_owned();
    for outcome in outcomes {
        let Outcome {
            name,
            settings,
            version,
            failures,
            ..
        } = outcome;
        let line = match version {
            Ok(version) => format!("* {name}: {version}; {settings}"),
            Err(reason) => format!("* {name}: not measured: {reason}"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
        for failure in failures {
            let _ = writeln!(text, "  * a run failed: {}", failure.replace('\n', "; "));
        }
    }
    text
}

fn transfers(is_gate: bool) -> impl Iterator<Item = (u32, super::measures::Direction)> {
    let streams = STREAMS.into_iter().filter(move |streams| *streams == 1 || !is_gate);
    streams.flat_map(|streams| DIRECTIONS.map(|direction| (streams, direction)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_as_many_cells_as_there_are_columns() {
        let outcome = Outcome {
            name: "system",
            settings: String::new(),
            version: Ok(String::new()),
            samples: vec![Sample::new()],
            failures: Vec::new(),
        };
        let all = [&outcome];
        for table in [
            throughput(&all, false),
            cost(&all),
            split(&all, true),
            packets(&all),
            round_trips(&all),
            memory(&all),
            losses(&all),
        ] {
            assert!(
                table.rows.iter().all(|row| row.len() == table.columns.len()),
                "{}",
                table.title
            );
        }
    }
}

//! The benchmark at work: it ends well, and its figures say of each way what they must.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command;
use farlan_tests::ns::program::{helper, released};
use farlan_tests::ns::requirements;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn one_short_run_has_all_figures() -> Result<()> {
    requirements::check_all()?;
    let file = std::env::temp_dir().join(format!("farlan-lab-{}-bench.json", std::process::id()));
    let outcome = measure(&file);
    let removed = std::fs::remove_file(&file);
    let report = outcome?;
    removed?;

    let wire = run_of(&report, "underlay")?;
    let relay = run_of(&report, "farlan-relay")?;
    for sample in [wire, relay] {
        for streams in [1, 4] {
            for direction in ["ab", "ba"] {
                for figure in ["gbit", "cpu.all", "cpu.sender", "cpu.receiver"] {
                    let name = format!("tcp{streams}.{direction}.{figure}");
                    ensure!(value(sample, &name)? >= 0.0, "{name}");
                }
                ensure!(value(sample, &format!("tcp{streams}.{direction}.gbit"))? > 0.0);
            }
        }
        for bytes in [64, 1200] {
            let [offered, delivered] = ["offered_kpps", "delivered_kpps"].map(|name| format!("udp{bytes}.{name}"));
            let (offered, delivered) = (value(sample, &offered)?, value(sample, &delivered)?);
            ensure!(delivered > 0.0 && delivered <= offered && offered <= 1.05 * RATE_KPPS);
            ensure!(value(sample, &format!("udp{bytes}.doubled"))? == 0.0);
        }
        for when in ["idle", "loaded"] {
            let trips = ["p50", "p95", "p99"].map(|name| value(sample, &format!("rtt.{when}.{name}")));
            let [p50, p95, p99] = trips;
            let (p50, p95, p99) = (p50?, p95?, p99?);
            ensure!(0.0 < p50 && p50 <= p95 && p95 <= p99, "{when}: {p50} {p95} {p99}");
        }
    }
    // What is relayed costs the supernode time, and what takes the wire goes through no daemon.
    ensure!(value(relay, "tcp1.both.cpu.middle")? > 0.0);
    ensure!(value(relay, "memory.loaded.a")? > 1.0);
    ensure!(wire.get("tcp1.both.cpu.daemons").is_none());
    Ok(())
}

/// Thousands of packets a second that are offered.
const RATE_KPPS: f64 = 20.0;

fn measure(file: &std::path::Path) -> Result<Value> {
    // The benchmark finds the released programs by the variable that is set for the tests, or beside itself.
    released("farlan")?;
    let mut bench = Command::new(helper("farlan-bench")?);
    bench.args(["--systems", "underlay,farlan-relay", "--runs", "1", "--seconds", "1"]);
    bench
        .args(["--rate", &(RATE_KPPS * 1000.0).to_string(), "--json"])
        .arg(file);
    let printed = command::finish(bench, LIMIT, None)?.success()?.stdout;
    ensure!(printed.contains("| farlan-relay | 1372 |"), "{printed}");
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

fn run_of<'a>(report: &'a Value, name: &str) -> Result<&'a Value> {
    let systems = report.get("systems").and_then(Value::as_array).context("no systems")?;
    let system = systems
        .iter()
        .find(|system| system.get("name").is_some_and(|one| one == name));
    let run = system.and_then(|system| system.pointer("/runs/0"));
    run.with_context(|| format!("no run of {name}: {report}"))
}

fn value(sample: &Value, name: &str) -> Result<f64> {
    let value = sample.get(name).and_then(Value::as_f64);
    value.with_context(|| format!("no {name} in {sample}"))
}

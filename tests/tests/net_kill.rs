//! A daemon that is killed at any moment, again and again: its state stays readable, and it is back soon.
//!
//! `FARLAN_KILLS` sets how often; `scripts/soak-kill` runs it for long. `FARLAN_KILL_SEED` repeats the moments of a run
//! as far as the machine's scheduling allows.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::program::{NetworkView, registered};
use farlan_tests::ns::trio::JOIN_LIMIT;
use farlan_tests::ns::{Nat, Node, Supernode, Wire, limit};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Kills without another wish.
const KILLS: u32 = 20;

/// The daemon is killed within this time of its last return, in the midst of what it is asked to do.
const LONGEST_LIFE: Duration = Duration::from_secs(3);

/// Every fourth time it is killed while it starts, too, within this time.
const LONGEST_START: Duration = Duration::from_millis(200);

/// From its start to its registration and its address in the network it was in.
const REJOIN_LIMIT: Duration = Duration::from_secs(3);

#[test]
fn killed_at_any_moment_it_is_back_within_three_seconds() {
    let kills = number("FARLAN_KILLS").map_or(KILLS, |kills| u32::try_from(kills).unwrap_or(KILLS));
    let seed = number("FARLAN_KILL_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    });
    println!("{kills} kills, FARLAN_KILL_SEED={seed}");
    // A round is a life, a return, and something between.
    let limit = Duration::from_secs(60) + (LONGEST_LIFE + 2 * REJOIN_LIMIT) * kills;
    limit::test(limit, |lab| {
        let public = lab.public_host("s", Wire::PLAIN)?;
        let supernode = Supernode::start(lab, &public)?;
        let home = lab.home("a", Nat::Port, Wire::PLAIN)?;
        let mut node = Node::new(lab, "a", &home.host, Some(supernode.link()))?;
        node.start()?;
        node.wait_registered(JOIN_LIMIT)?;
        node.host()?;
        let home_network = node.wait_addressed(JOIN_LIMIT)?;
        let id = node.status()?["node_id"].clone();

        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut within = |longest: Duration| {
            let part = f64::from(random.next_u32()) / f64::from(u32::MAX);
            longest.mul_f64(part)
        };
        let (mut times, mut starts_killed, mut writes) = (Vec::new(), 0, 0);
        for kill in 0..kills {
            let meddler = Meddler::start(node.socket());
            thread::sleep(within(LONGEST_LIFE));
            node.kill()?;
            writes += meddler.stop();
            if kill % 4 == 3 {
                node.launch()?;
                thread::sleep(within(LONGEST_START));
                node.kill()?;
                starts_killed += 1;
            }
            let begun = Instant::now();
            node.launch()?;
            back(&mut node, &home_network).with_context(|| format!("after kill {kill}"))?;
            times.push(begun.elapsed());
        }
        ensure!(node.status()?["node_id"] == id, "it has another identity");
        let files: Vec<_> = fs::read_dir(node.state_directory())?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        ensure!(files.len() <= 11, "the crashes leave more and more behind: {files:?}");
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let longest = times.last().copied().unwrap_or_default();
        println!(
            "{} kills ({writes} networks joined and left meanwhile) and {starts_killed} during a start: back after {median:.2?} \
             (median), {longest:.2?} (longest)",
            times.len()
        );
        ensure!(writes > 0, "nothing was changed meanwhile");
        ensure!(longest <= REJOIN_LIMIT, "it took {longest:.2?}");
        Ok(())
    });
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Waits until the daemon is registered and in the network, with the addresses it had.
fn back(node: &mut Node, network: &NetworkView) -> Result<()> {
    wait_for("the daemon to be back", JOIN_LIMIT, || {
        node.process()?.ensure_running()?;
        Ok((registered(&node.status()?) && node.networks()?.contains(network)).then_some(()))
    })
}

/// Joins and leaves networks as fast as the daemon does it.
struct Meddler {
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<u32>,
}

impl Meddler {
    fn start(socket: &Path) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (stop, socket) = (Arc::clone(&over), socket.to_owned());
        let thread = thread::spawn(move || {
            let wishes = [
                ("/v1/join", r#"{"target":"earth"}"#),
                ("/v1/join", r#"{"target":"london"}"#),
                ("/v1/leave", r#"{"network":"earth"}"#),
                ("/v1/leave", r#"{"network":"london"}"#),
            ];
            let mut done = 0;
            for (path, body) in wishes.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // The daemon is killed in the midst of it.
                match post(&socket, path, body) {
                    Ok(true) => done += 1,
                    Ok(false) | Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
            done
        });
        Self { over, thread }
    }

    /// How much was done.
    fn stop(self) -> u32 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// Whether the daemon did it.
fn post(socket: &Path, path: &str, body: &str) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(JOIN_LIMIT))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: farlan\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

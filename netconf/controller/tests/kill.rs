//! A controller that is killed at any moment loses nothing that it acknowledged.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use support::{Place, controller, person, run};

/// How often it is killed; `scripts/soak-controller` says otherwise.
const KILLS: u32 = 200;

/// The longest time that it is given, in milliseconds, from its start in every other round, so that kills meet its opening of the store
/// too, and from its first admission in the others.
const LONGEST: u32 = 200;

/// How long it may take to its first admission, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed_on_sqlite() {
    run(kill_again_and_again(Place::file(), kills()));
}

#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed_on_postgres() {
    // The database goes on, so there is less that could be lost.
    run(async { kill_again_and_again(Place::database().await, kills().div_ceil(5)).await });
}

fn kills() -> u32 {
    std::env::var("FARLAN_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

async fn kill_again_and_again(place: Place, kills: u32) {
    let mut rng = ChaCha20Rng::seed_from_u64(41);
    // Node id, and what it was told: issue, name and address.
    let mut acknowledged: BTreeMap<String, (String, String, String)> = BTreeMap::new();
    let mut busy = 0;
    for round in 0..kills {
        let mut child = Command::new(env!("CARGO_BIN_EXE_controller-load"))
            .args(["joins", &place.name()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (first, came) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            // Nobody waits for it in every other round.
            let tell = |_: &String| first.send(()).unwrap_or_default();
            lines.inspect(tell).collect::<Vec<_>>()
        });
        if round % 2 == 1 {
            came.recv_timeout(PATIENCE).expect("somebody comes in");
        }
        std::thread::sleep(Duration::from_millis(u64::from(rng.next_u32() % LONGEST)));
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.is_empty(), "it ended by itself: {said}");
        let lines = reader.join().unwrap();
        busy += u32::from(!lines.is_empty());
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may be cut.
            if let [node, issue, name, address] = words[..] {
                let told = (issue.to_owned(), name.to_owned(), address.to_owned());
                assert!(acknowledged.insert(node.to_owned(), told).is_none());
            }
        }
    }
    let controller = controller(&place, person(0).public()).await;
    let id = controller.networks().await.unwrap()[0];
    let members = controller.members(&id).await.unwrap();
    let mut names = BTreeMap::new();
    for member in &members {
        let name = member.name.clone().map(|name| name.to_string()).unwrap_or_default();
        let address = member.address.unwrap().to_string();
        if let Some((issue, told_name, told_address)) = acknowledged.remove(&member.node.node_id().to_string()) {
            // A line that was cut says less of the address.
            assert_eq!((member.issue.to_string(), &name), (issue, &told_name));
            assert!(address.starts_with(&told_address), "{address} {told_address}");
        }
        if !name.is_empty() {
            assert!(names.insert(name, member.node).is_none());
        }
    }
    assert!(acknowledged.is_empty(), "lost: {acknowledged:?}");
    let invites = controller.invites(&id).await.unwrap();
    let taken: u64 = invites.iter().map(|invite| invite.taken).sum();
    assert_eq!(
        taken as usize,
        members.len() - 1,
        "uses and members are of one transaction"
    );
    println!("{kills} kills, {busy} of them during joins, {} members", members.len());
    assert!(busy >= kills / 2);
}

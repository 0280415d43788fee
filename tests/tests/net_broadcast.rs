//! A broadcast reaches every member once, a lossy network and a flood notwithstanding. `scripts/games` does the same with 64 members.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::broadcasts::{Listeners, newcomer_hears};
use farlan_tests::ns::crowd::Crowd;
use farlan_tests::ns::echo::EchoStream;
use farlan_tests::ns::limit;

const LIMIT: Duration = Duration::from_secs(240);

/// Members of the network.
const MANY: usize = 16;

/// Broadcasts of all of them together.
const BROADCASTS: usize = 1_000;

/// The share of pairs that must be heard where each machine loses 1 % of what arrives.
const LEAST_SHARE: f64 = 0.9999;

/// A newcomer hears who announces itself every 1.5 s in 3 s; on a busy machine it may take longer.
const NEWCOMER_LIMIT: Duration = Duration::from_secs(9);

/// A flood, what of it a second may come through, and what at once.
const FLOOD: u32 = 1_000;
const FLOOD_TIME: Duration = Duration::from_secs(10);
const MOST_A_SECOND: f64 = 50.0;
const MOST_AT_ONCE: f64 = 100.0;

#[test]
fn every_broadcast_reaches_every_member_once() {
    limit::test(LIMIT, |lab| -> Result<()> {
        let mut crowd = Crowd::start(lab, MANY)?;
        let mut listeners = Listeners::start(&crowd.members)?;
        let account = listeners.exchange(BROADCASTS)?;
        println!("no loss: {account}");
        ensure!(account.missing == 0 && account.doubled == 0, "{account}");
        crowd.lose_one_in(100)?;
        let account = listeners.exchange(BROADCASTS)?;
        println!("1 % loss: {account}");
        ensure!(account.share() >= LEAST_SHARE && account.doubled == 0, "{account}");
        crowd.lose_one_in(0)?;
        let took = newcomer_hears(lab, &mut crowd, NEWCOMER_LIMIT)?;
        println!("a newcomer hears an announcer after {:.2} s", took.as_secs_f64());
        Ok(())
    });
}

#[test]
fn a_flood_reaches_nobody_whole_and_leaves_others_alone() {
    limit::test(LIMIT, |lab| -> Result<()> {
        let crowd = Crowd::start(lab, 5)?;
        let mut listeners = Listeners::start(&crowd.members)?;
        let [_, a, b, ..] = &crowd.members[..] else {
            anyhow::bail!("too few");
        };
        let pings = EchoStream::start(a.host(), b.ipv4()?.into(), Duration::from_millis(20))?;
        let flood = listeners.flood(0, FLOOD, FLOOD_TIME)?;
        let record = pings.stop()?;
        println!("{flood:?}, {} of {} pings lost", record.lost().len(), record.sent.len());
        // A machine that counts late counts more.
        let most = MOST_A_SECOND * flood.took.as_secs_f64() * 1.1 + MOST_AT_ONCE;
        ensure!(f64::from(flood.sent) >= most * 5.0, "that was no flood: {flood:?}");
        let worst = *flood.got.iter().max().context("nobody")?;
        ensure!(worst as f64 <= most, "at most {most}: {flood:?}");
        ensure!(
            flood.got.iter().all(|got| *got > 0),
            "broadcasts do not pass at all: {flood:?}"
        );
        let lost = record.lost().len() as f64 / record.sent.len().max(1) as f64;
        ensure!(lost < 0.01, "{} % of pings were lost", lost * 100.0);
        Ok(())
    });
}

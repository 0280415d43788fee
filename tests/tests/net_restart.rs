//! Daemons that stop, crash and come back while their neighbours go on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::ping::{self, Answer};
use farlan_tests::ns::program::Process;
use farlan_tests::ns::trio::{JOIN_LIMIT, Member, Trio};
use farlan_tests::ns::{Lab, Nat, Wire, limit};

const LIMIT: Duration = Duration::from_secs(180);

/// How long after the daemon answers again the pings may take to get through: generous, for a busy machine.
const RESUME_LIMIT: Duration = Duration::from_secs(15);

/// How many answers show that a ping runs.
const SOME: usize = 10;

/// A ping that runs until it is dropped.
struct RunningPing {
    process: Process,
    what: String,
}

impl RunningPing {
    fn start(lab: &Lab, from: &Member, target: &str, name: &str) -> Result<Self> {
        let mut command = from.host().command("ping");
        command.args(["-n", "-D", "-i", "0.2", target]);
        let process = Process::spawn(command, name, lab.directory())?;
        Ok(Self {
            process,
            what: format!("{name} to {target}"),
        })
    }

    fn answers(&mut self) -> Result<Vec<Answer>> {
        self.process.ensure_running()?;
        Ok(ping::answers(&self.process.log()))
    }

    /// Waits for a number of answers beyond the first `after`, and returns all.
    fn wait_more(&mut self, after: usize, count: usize, limit: Duration) -> Result<Vec<Answer>> {
        let what = format!("{count} more answers of {}", self.what);
        wait_for(&what, limit, || {
            Ok(Some(self.answers()?).filter(|answers| answers.len() >= after + count))
        })
    }
}

/// What must be the same before and after.
#[derive(Debug, PartialEq, Eq)]
struct Face {
    mac: String,
    ipv4: String,
    ipv6: Vec<String>,
}

impl Face {
    fn of(member: &Member) -> Result<Self> {
        let interface = &member.network.interface;
        let mut ipv6 = member.host().addresses(interface, "-6")?;
        ipv6.sort();
        Ok(Self {
            mac: member.mac()?,
            ipv4: member.host().addresses(interface, "-4")?.join(" "),
            ipv6,
        })
    }
}

fn restart_under_ping(end_it: impl Fn(&mut Member) -> Result<()>) {
    limit::test(LIMIT, |lab| {
        let mut trio = Trio::start(lab, [Nat::Port, Nat::Port, Nat::Symmetric], Wire::PLAIN)?;
        let [a, b, _] = trio.abc()?;
        let before = Face::of(b)?;
        let mut pings = [
            RunningPing::start(lab, a, &b.ipv4()?.to_string(), "ping")?,
            RunningPing::start(lab, a, &b.ipv6()?.to_string(), "ping6")?,
        ];
        for ping in &mut pings {
            ping.wait_more(0, SOME, JOIN_LIMIT)?;
        }

        let b = trio.members.get_mut(1).context("there is no b")?;
        end_it(b)?;
        let interface = b.network.interface.clone();
        wait_for("the card to go", JOIN_LIMIT, || {
            Ok((!b.host().interfaces()?.contains(&interface)).then_some(()))
        })?;
        std::thread::sleep(Duration::from_secs(1));
        let down = [pings[0].answers()?.len(), pings[1].answers()?.len()];
        b.node.start()?;
        for (ping, down) in pings.iter_mut().zip(down) {
            ping.wait_more(down, 1, RESUME_LIMIT)?;
        }
        for (ping, down) in pings.iter_mut().zip(down) {
            let answers = ping.wait_more(down, SOME, JOIN_LIMIT)?;
            let gaps = answers.windows(2).map(|pair| pair[1].at - pair[0].at);
            println!("{}: no answer for {:.2} s", ping.what, gaps.fold(0.0, f64::max));
        }
        b.network = b.node.wait_addressed(JOIN_LIMIT)?;
        ensure!(Face::of(b)? == before, "was {before:?}, is {:?}", Face::of(b)?);
        Ok(())
    });
}

#[test]
fn pings_resume_after_a_daemon_was_stopped_and_started() {
    restart_under_ping(|member| {
        let code = member.node.stop()?;
        ensure!(code == 0, "the daemon ended with exit code {code}");
        Ok(())
    });
}

#[test]
fn pings_resume_after_a_daemon_was_killed_and_started() {
    restart_under_ping(|member| member.node.kill());
}

#[test]
fn a_stopped_daemon_takes_its_card_along() {
    limit::test(LIMIT, |lab| {
        let mut trio = Trio::start(lab, [Nat::Port; 3], Wire::PLAIN)?;
        for member in &mut trio.members {
            let interface = member.network.interface.clone();
            ensure!(member.host().interfaces()?.contains(&interface), "there is no card");
            let code = member.node.stop()?;
            ensure!(code == 0, "{} ended with exit code {code}", member.node.name());
            ensure!(
                !member.host().interfaces()?.contains(&interface),
                "{interface} is still there"
            );
        }
        Ok(())
    });
}

#[test]
fn leaving_a_network_takes_its_card_along() {
    limit::test(LIMIT, |lab| {
        let trio = Trio::start(lab, [Nat::Port; 3], Wire::PLAIN)?;
        let [_, b, _] = trio.abc()?;
        b.node.cli(&["leave", &b.network.network_id])?.success()?;
        ensure!(b.node.networks()?.is_empty(), "still listed: {:?}", b.node.networks()?);
        let interface = &b.network.interface;
        wait_for("the card to go", JOIN_LIMIT, || {
            Ok((!b.host().interfaces()?.contains(interface)).then_some(()))
        })
    });
}

//! What is asked, beside what was seen.

use std::fmt;

use super::{figures::Figures, study::Study};

/// One figure beside its goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The goal's number.
    pub goal: &'static str,
    /// Nodes of the world.
    pub nodes: u32,
    /// What was measured.
    pub what: String,
    /// What is asked of it.
    pub asked: String,
    /// What was seen.
    pub seen: String,
    /// Whether that is enough.
    pub passed: bool,
}

impl fmt::Display for Judged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "pass" } else { "FAIL" };
        let Self {
            goal,
            nodes,
            what,
            asked,
            seen,
            ..
        } = self;
        write!(
            out,
            "{goal:<4} {nodes:>10}  {what:<58} {asked:>16} {seen:>16}  {verdict}"
        )
    }
}

/// All goals that these studies can show. Those that compare worlds need the one of [`COMPARED_WITH`] nodes among them.
pub fn judge(studies: &[Study]) -> Vec<Judged> {
    let mut all = Vec::new();
    for study in studies {
        let mut goals = Goals {
            nodes: study.nodes,
            judged: &mut all,
        };
        goals.lobbies(study);
        goals.cost(study);
        if let Some(reference) = studies.iter().find(|other| other.nodes == COMPARED_WITH) {
            goals.flat(
                "copies of a cold broadcast, beside those of 100,000",
                &study.cold,
                &reference.cold,
            );
            goals.flat(
                "copies of a warmed-up one, beside those of 100,000",
                &study.warm,
                &reference.warm,
            );
        }
        goals.others(study);
    }
    all.sort_by_key(|judged| (number(judged.goal), judged.nodes));
    all
}

/// The world that others are compared with.
pub const COMPARED_WITH: u32 = 100_000;

/// Worlds from so many nodes on are judged by how little they have twice, and by times.
const LARGE: u32 = 3000;

fn number(goal: &str) -> u32 {
    goal.trim_start_matches('G').parse().unwrap_or(0)
}

struct Goals<'a> {
    nodes: u32,
    judged: &'a mut Vec<Judged>,
}

impl Goals<'_> {
    fn least(&mut self, goal: &'static str, what: &str, asked: f64, seen: f64, unit: Unit) {
        let asked_text = format!(">= {}", unit.text(asked));
        self.add(goal, what, asked_text, unit.text(seen), seen >= asked);
    }

    fn most(&mut self, goal: &'static str, what: &str, asked: f64, seen: f64, unit: Unit) {
        let asked_text = format!("<= {}", unit.text(asked));
        self.add(goal, what, asked_text, unit.text(seen), seen <= asked);
    }

    fn add(&mut self, goal: &'static str, what: &str, asked: String, seen: String, passed: bool) {
        self.judged.push(Judged {
            goal,
            nodes: self.nodes,
            what: what.to_owned(),
            asked,
            seen,
            passed,
        });
    }

    /// Who gets it, and when.
    fn lobbies(&mut self, study: &Study) {
        for (kind, figures) in [("cold", &study.cold), ("warmed up", &study.warm)] {
            self.least(
                "G2",
                &format!("others in the lobby that got it, {kind}"),
                0.999,
                figures.recall,
                Unit::Share,
            );
            self.least(
                "G2",
                &format!("lobbies of which all got it, {kind}"),
                0.99,
                figures.complete,
                Unit::Share,
            );
            for (share, asked, seen) in [
                ("50", 150.0, figures.times[0]),
                ("95", 300.0, figures.times[1]),
                ("99", 400.0, figures.times[2]),
            ] {
                self.most(
                    "G5",
                    &format!("until {share} % of the lobby have it, {kind}"),
                    asked,
                    seen,
                    Unit::Time,
                );
            }
        }
        for (loss, cold, warm) in &study.losses {
            let percent = loss * 100.0;
            let asked = if *loss > 0.01 { 0.995 } else { 0.999 };
            for (kind, figures) in [("cold", cold), ("warmed up", warm)] {
                let what = format!("others in the lobby that got it, {kind}, {percent:.0} % loss");
                self.least("G2", &what, asked, figures.recall, Unit::Share);
            }
        }
        for found in &study.newcomers {
            let what = format!("newcomers that see a lobby of {} players' game in 1 s", found.players);
            self.least("G7", &what, 0.99, found.within_second, Unit::Share);
        }
    }

    /// What it costs.
    fn cost(&mut self, study: &Study) {
        for (kind, figures) in [("cold", &study.cold), ("warmed up", &study.warm)] {
            let reach = f64::from(figures.reach_most);
            self.most(
                "G3",
                &format!("deliveries of one broadcast, {kind}"),
                192.0,
                reach,
                Unit::Number,
            );
            self.most(
                "G3",
                &format!("copies of one broadcast, mean, {kind}"),
                150.0,
                figures.copies,
                Unit::Number,
            );
            let sent = f64::from(figures.most_sent);
            self.most(
                "G4",
                &format!("copies that one node sends of one, {kind}"),
                140.0,
                sent,
                Unit::Number,
            );
            let twice = if self.nodes < LARGE { 0.12 } else { 0.06 };
            self.most(
                "G6",
                &format!("copies that were there already, {kind}"),
                twice,
                figures.duplicates(),
                Unit::Share,
            );
            self.most(
                "G14",
                &format!("copies over a supernode, {kind}"),
                0.10,
                figures.relayed(),
                Unit::Share,
            );
            let leaf = figures.counts.leaf_header as f64;
            self.most(
                "G15",
                &format!("header of a copy that goes no further, {kind}"),
                152.0,
                leaf,
                Unit::Bytes,
            );
            let header = figures.counts.header as f64;
            self.most(
                "G15",
                &format!("header of any copy, {kind}"),
                296.0,
                header,
                Unit::Bytes,
            );
        }
        let Some(load) = &study.load else { return };
        self.most(
            "G4",
            "all broadcast: copies sent in 1 s, mean",
            8.0,
            load.sent[0],
            Unit::Number,
        );
        self.most(
            "G4",
            "all broadcast: copies sent in 1 s, 99 % of nodes",
            40.0,
            load.sent[1],
            Unit::Number,
        );
        if load.seconds >= 10.0 {
            self.most(
                "G4",
                "all broadcast: copies sent in 1 s, any node",
                400.0,
                load.sent[2],
                Unit::Number,
            );
            self.most(
                "G4",
                "all broadcast: copies received in 1 s, any node",
                400.0,
                load.received[2],
                Unit::Number,
            );
        }
        self.least(
            "G2",
            "others in the lobby that got it, all broadcast",
            0.999,
            load.recall,
            Unit::Share,
        );
    }

    fn flat(&mut self, what: &str, figures: &Figures, reference: &Figures) {
        let ratio = figures.copies / reference.copies;
        let passed = (0.85..=1.15).contains(&ratio);
        self.add("G3", what, "0.85 to 1.15".to_owned(), format!("{ratio:.3}"), passed);
    }

    /// Those who want harm.
    fn others(&mut self, study: &Study) {
        for storm in &study.storms {
            let who = format!("{:?}", storm.attacker).to_lowercase();
            let amplification = storm.amplification;
            self.most(
                "G9",
                &format!("storm of a {who}: all copies for one of its own"),
                1.5,
                amplification,
                Unit::Ratio,
            );
            self.most(
                "G9",
                &format!("storm of a {who}: copies sent in 1 s by another"),
                256.0,
                storm.most_sent,
                Unit::Number,
            );
        }
        if let Some(droppers) = &study.droppers {
            let what = "others in the lobby that got it, 5 % drop";
            self.least("G10", what, 0.999, droppers.recall, Unit::Share);
        }
        if let Some(liars) = &study.liars {
            let ratio = liars.reach / study.cold.reach;
            self.most(
                "G10",
                "deliveries where 5 % inflate, beside honest ones",
                5.0,
                ratio,
                Unit::Ratio,
            );
            let p99 = f64::from(liars.reach_p99);
            self.most(
                "G10",
                "deliveries where 5 % inflate, 99 % of broadcasts",
                4000.0,
                p99,
                Unit::Number,
            );
            let forged = liars.counts.false_deliveries;
            let what = format!("forgeries and replays taken, {} refused as forged", liars.counts.forged);
            self.most("G11", &what, 0.0, forged as f64, Unit::Number);
        }
        let honest = study.cold.counts.false_deliveries + study.warm.counts.false_deliveries;
        self.most(
            "G11",
            "deliveries twice or of nothing, all honest",
            0.0,
            honest as f64,
            Unit::Number,
        );
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Share,
    Number,
    Ratio,
    Time,
    Bytes,
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.3} %", value * 100.0),
            Self::Number if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Number => format!("{value:.1}"),
            Self::Ratio => format!("{value:.2}"),
            Self::Time => format!("{value:.0} ms"),
            Self::Bytes => format!("{value:.0} bytes"),
        }
    }
}

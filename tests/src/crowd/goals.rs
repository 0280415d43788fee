//! What is asked of a supernode that carries a crowd, beside what was seen.

use std::fmt;

use super::measure::Part;

/// One figure beside its goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What was measured.
    pub what: &'static str,
    /// The most that is asked.
    pub most: f64,
    /// What was seen.
    pub seen: f64,
    /// The unit of both.
    pub unit: &'static str,
}

impl Judged {
    /// Whether the goal is kept.
    pub fn kept(&self) -> bool {
        self.seen <= self.most
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, most, seen, unit } = self;
        let verdict = if self.kept() { "kept" } else { "MISSED" };
        write!(out, "* {what}: at most {most:.1} {unit}: {seen:.1} {unit}: {verdict}")
    }
}

/// The goals are those of a million nodes, by the node where they grow with their number: 1.2 GB, keepalives every 25 s at half a
/// core, 150 s of core time until all are back in the window that was stated, and a tenth of a second.
pub fn judge(parts: &[Part]) -> Vec<Judged> {
    let mut all = Vec::new();
    let mut add = |what, most, seen, unit| {
        all.push(Judged { what, most, seen, unit });
    };
    let part = |name: &str| parts.iter().find(|part| part.name == name);
    let alive = part("keepalives");
    if let Some(part) = alive {
        let each = part.resident as f64 / (part.registered as f64).max(1.0);
        add("resident, by the node", 1200.0, each, "bytes");
        add("a keepalive", 12.5, part.each(part.keepalives.0 as f64), "us");
    }
    if let Some(part) = part("everything") {
        let (sent, found, _, p99) = part.lookups;
        let p99 = if found > 0 { p99 } else { f64::INFINITY };
        add("look-ups, 99 of 100 within", 5.0, p99, "ms");
        // Some are under way when the part ends.
        let lost = sent.saturating_sub(found) as f64;
        add("look-ups without an answer", (sent as f64 / 1000.0).ceil(), lost, "");
    }
    if let Some(part) = part("come back") {
        let each = alive.map_or(0.0, |alive| alive.each(alive.keepalives.0 as f64));
        let beside = each * part.keepalives.0 as f64 / 1e6;
        let back = (part.used.0 - beside).max(0.0) * 1e6 / (part.registered as f64).max(1.0);
        add("all are back after", part.window + 0.1, part.seconds, "s");
        add("core time of who comes back, keepalives taken off", 150.0, back, "us");
    }
    let gone = |part: &Part| part.came.saturating_sub(part.registered) as f64;
    let gone = parts.iter().map(gone).fold(0.0, f64::max);
    add("nodes that came and that the supernode does not know", 0.0, gone, "");
    let turn = parts.iter().map(|part| part.longest_turn).fold(0.0, f64::max);
    add("the longest turn", 20.0, turn, "ms");
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, seconds: f64, used: f64, keepalives: u64) -> Part {
        Part {
            name,
            seconds,
            window: 10.0,
            used: (used, 0.0),
            came: 1000,
            registered: 1000,
            resident: 1_100_000,
            longest_turn: 3.0,
            keepalives: (keepalives, keepalives),
            lookups: (100, 100, 0.1, 4.0),
            relayed: (0, 0),
            lists: 0,
            initiations: (0, 0),
            late: 0.0,
            counters: Vec::new(),
        }
    }

    #[test]
    fn what_is_kept_is_told_from_what_is_missed() {
        let good = [
            part("they come", 10.0, 5.0, 0),
            part("keepalives", 10.0, 0.01, 1000),
            part("everything", 10.0, 0.5, 1000),
            // 10 us for each of 2,000 keepalives, and 140 for each node.
            part("come back", 10.0, 0.16, 2000),
        ];
        let judged = judge(&good);
        assert_eq!(judged.len(), 8);
        assert!(judged.iter().all(Judged::kept), "{judged:?}");
        assert_eq!(
            judged[5].to_string(),
            "* core time of who comes back, keepalives taken off: at most 150.0 us: 140.0 us: kept"
        );
        let missed = |change: fn(&mut [Part])| {
            let mut parts = good.clone();
            change(&mut parts);
            judge(&parts).iter().filter(|judged| !judged.kept()).count()
        };
        assert_eq!(missed(|parts| parts[1].resident = 1_300_000), 1);
        assert_eq!(missed(|parts| parts[1].used.0 = 0.013), 1);
        assert_eq!(missed(|parts| parts[2].lookups.3 = 5.1), 1);
        assert_eq!(missed(|parts| parts[2].lookups.1 = 98), 1);
        assert_eq!(missed(|parts| parts[2].lookups.1 = 0), 2);
        assert_eq!(missed(|parts| parts[3].seconds = 10.2), 1);
        assert_eq!(missed(|parts| parts[3].used.0 = 0.18), 1);
        assert_eq!(missed(|parts| parts[3].came = 1001), 1);
        assert_eq!(missed(|parts| parts[0].longest_turn = 21.0), 1);
    }
}

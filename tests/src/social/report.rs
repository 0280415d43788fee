//! Figures for people, and as comma-separated values.

use std::{fmt::Write as _, fs, io, path::Path};

use super::{figures::Figures, goals::Judged, study::Study};

/// The figures of a study that goals do not show.
pub fn tables(study: &Study) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_tables(&mut text, study);
    text
}

fn write_tables(out: &mut String, study: &Study) -> std::fmt::Result {
    writeln!(
        out,
        "\n{} nodes, world \"{}\", {}",
        study.nodes, study.world, study.keys
    )?;
    write!(out, "{}", study.graph)?;
    writeln!(
        out,
        "  {:<12} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>6} {:>7} {:>8} {:>9} {:>5} {:>16}",
        "",
        "casts",
        "lobby %",
        "stars",
        "meshes",
        ">=32",
        "complete",
        "2-hop%",
        "reach",
        "max",
        "copies",
        "twice %",
        "relayed %",
        "most",
        "50/95/99 % ms"
    )?;
    let mut rows = vec![("cold".to_owned(), &study.cold), ("warmed up".to_owned(), &study.warm)];
    for (loss, cold, warm) in &study.losses {
        rows.push((format!("{:.0} % cold", loss * 100.0), cold));
        rows.push((format!("{:.0} % warm", loss * 100.0), warm));
    }
    rows.extend(study.droppers.iter().map(|figures| ("5 % drop".to_owned(), figures)));
    rows.extend(study.liars.iter().map(|figures| ("5 % inflate".to_owned(), figures)));
    for (name, figures) in rows {
        let Figures {
            broadcasts,
            reach,
            reach_most,
            copies,
            most_sent,
            times: [t50, t95, t99],
            ..
        } = figures;
        writeln!(
            out,
            "  {name:<12} {broadcasts:>6} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.2} {:>7.1} {reach:>7.1} {reach_most:>6} {copies:>7.1} {:>8.2} {:>9.2} {most_sent:>5} {:>16}",
            figures.recall * 100.0,
            figures.recall_stars * 100.0,
            figures.recall_meshes * 100.0,
            figures.recall_large * 100.0,
            figures.complete * 100.0,
            figures.two_hops * 100.0,
            figures.duplicates() * 100.0,
            figures.relayed() * 100.0,
            format!("{t50:.0}/{t95:.0}/{t99:.0}"),
        )?;
    }
    if let Some(load) = &study.load {
        writeln!(
            out,
            "  all broadcast for {:.0} s: {} broadcasts, lobby {:.3} %, reach {:.1}; copies in 1 s: sent {:.2} / {:.1} / {:.1}, received {:.2} / {:.1} / {:.1} (mean, 99 %, most); {:.2} % relayed, {:.2} % twice, {} copies not sent on",
            load.seconds,
            load.broadcasts,
            load.recall * 100.0,
            load.reach,
            load.sent[0],
            load.sent[1],
            load.sent[2],
            load.received[0],
            load.received[1],
            load.received[2],
            100.0 * load.counts.relayed as f64 / load.counts.copies.max(1) as f64,
            100.0 * load.counts.duplicates as f64 / load.counts.received.max(1) as f64,
            load.limited,
        )?;
    }
    for storm in &study.storms {
        writeln!(
            out,
            "  storm of a {:?}: {:.0} copies/s, {:.0} of them by others, x {:.2}; one sends {:.0}/s and receives {:.0}/s at most; {:.0} frames/s to one; {} nodes hit",
            storm.attacker,
            storm.copies,
            storm.honest,
            storm.amplification,
            storm.most_sent,
            storm.most_received,
            storm.most_delivered,
            storm.hit
        )?;
    }
    for found in &study.newcomers {
        let [t50, t90, t99] = found.times;
        writeln!(
            out,
            "  newcomers of a game of {} players in {} lobbies: first one seen after {t50:.2} / {t90:.2} / {t99:.2} s (50, 90, 99 %); the first probe finds {:.1} with {:.0} copies",
            found.players, found.lobbies, found.lobbies_first, found.copies
        )?;
    }
    Ok(())
}

/// Writes `goals.csv` and `figures.csv` into a directory.
///
/// # Errors
/// That it could not.
pub fn write_csv(directory: &Path, studies: &[Study], judged: &[Judged]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut goals = "goal,nodes,what,asked,seen,passed\n".to_owned();
    for row in judged {
        let Judged {
            goal,
            nodes,
            what,
            asked,
            seen,
            passed,
        } = row;
        let what = what.replace(',', ";");
        goals.push_str(&format!("{goal},{nodes},{what},{asked},{seen},{passed}\n"));
    }
    fs::write(directory.join("goals.csv"), goals)?;
    let mut figures = "world,nodes,kind,figure,value\n".to_owned();
    for study in studies {
        let mut add = |kind: &str, figure: &str, value: f64| {
            figures.push_str(&format!("{},{},{kind},{figure},{value}\n", study.world, study.nodes));
        };
        let mut kinds = vec![("cold".to_owned(), &study.cold), ("warm".to_owned(), &study.warm)];
        for (loss, cold, warm) in &study.losses {
            kinds.push((format!("loss {loss} cold"), cold));
            kinds.push((format!("loss {loss} warm"), warm));
        }
        kinds.extend(study.droppers.iter().map(|figures| ("droppers".to_owned(), figures)));
        kinds.extend(study.liars.iter().map(|figures| ("liars".to_owned(), figures)));
        for (kind, of) in kinds {
            for (figure, value) in named(of) {
                add(&kind, figure, value);
            }
        }
        if let Some(load) = &study.load {
            for (figure, value) in [
                ("seconds", load.seconds),
                ("broadcasts", load.broadcasts as f64),
                ("recall", load.recall),
                ("reach", load.reach),
                ("sent mean", load.sent[0]),
                ("sent p99", load.sent[1]),
                ("sent most", load.sent[2]),
                ("received mean", load.received[0]),
                ("received p99", load.received[1]),
                ("received most", load.received[2]),
            ] {
                add("load", figure, value);
            }
        }
        for storm in &study.storms {
            let kind = format!("storm {:?}", storm.attacker);
            add(&kind, "copies", storm.copies);
            add(&kind, "amplification", storm.amplification);
            add(&kind, "most sent", storm.most_sent);
            add(&kind, "most received", storm.most_received);
            add(&kind, "most delivered", storm.most_delivered);
        }
        for found in &study.newcomers {
            let kind = format!("newcomers of {}", found.players);
            add(&kind, "within a second", found.within_second);
            add(&kind, "t50", found.times[0]);
            add(&kind, "t99", found.times[2]);
            add(&kind, "lobbies first", found.lobbies_first);
        }
    }
    fs::write(directory.join("figures.csv"), figures)
}

fn named(figures: &Figures) -> Vec<(&'static str, f64)> {
    vec![
        ("broadcasts", figures.broadcasts as f64),
        ("recall", figures.recall),
        ("recall stars", figures.recall_stars),
        ("recall meshes", figures.recall_meshes),
        ("recall of 32 and more", figures.recall_large),
        ("complete", figures.complete),
        ("two hops", figures.two_hops),
        ("reach", figures.reach),
        ("reach p99", figures.reach_p99.into()),
        ("reach most", figures.reach_most.into()),
        ("newcomers' reach", figures.newcomers_reach),
        ("copies", figures.copies),
        (
            "acknowledgements",
            figures.counts.acks as f64 / figures.broadcasts.max(1) as f64,
        ),
        ("duplicates", figures.duplicates()),
        ("relayed", figures.relayed()),
        ("most sent", figures.most_sent.into()),
        ("t50", figures.times[0]),
        ("t95", figures.times[1]),
        ("t99", figures.times[2]),
        (
            "header mean",
            figures.counts.header_bytes as f64 / figures.counts.copies.max(1) as f64,
        ),
    ]
}

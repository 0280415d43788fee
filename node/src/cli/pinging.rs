//! `farlan ping`.

use std::time::Duration;

use serde::Serialize;

use super::{Ping, client::Client, output::Output, show};
use crate::{
    api::{PingReply, PingRequest, SCHEMA},
    failure::{Failure, FailureKind},
};

/// What `--json` prints at the end.
#[derive(Debug, Serialize)]
struct Summary {
    schema: u32,
    sent: u32,
    received: u32,
    pongs: Vec<PingReply>,
    /// Why the last ping without an answer has none, if there is such a ping.
    reason: Option<String>,
}

pub(super) async fn ping(client: &Client, output: &mut Output, ping: Ping) -> Result<(), Failure> {
    let timeout = Duration::from_secs(ping.timeout);
    let timeout_ms = Some(ping.timeout * 1000);
    let request = PingRequest {
        peer: ping.peer.clone(),
        timeout_ms,
    };
    let mut pongs = Vec::new();
    let mut last_failure = None;
    let mut sent = 0;
    while sent < ping.count {
        if sent > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        sent += 1;
        match client.post::<PingReply>("/v1/ping", &request, timeout).await {
            Ok(pong) => {
                if !output.json() {
                    output.line(answer(&pong))?;
                }
                pongs.push(pong);
            }
            Err(failure) => {
                let goes_on = goes_on(failure.kind, !pongs.is_empty());
                // A single failure is the program's last word anyway.
                if goes_on && ping.count > 1 && !output.json() {
                    output.line(format_args!("{sent}: {failure}"))?;
                }
                last_failure = Some(failure);
                if !goes_on {
                    break;
                }
            }
        }
    }
    if output.json() {
        output.document(&Summary {
            schema: SCHEMA,
            sent,
            received: u32::try_from(pongs.len()).unwrap_or(u32::MAX),
            reason: last_failure.as_ref().map(|failure| failure.message.clone()),
            pongs: pongs.clone(),
        })?;
    }
    match last_failure {
        Some(failure) if !goes_on(failure.kind, !pongs.is_empty()) => Err(failure),
        Some(failure) if pongs.is_empty() => Err(verdict(failure, &ping.peer, sent)),
        _ => Ok(()),
    }
}

/// Whether the next ping may get through after one failed: a late answer says nothing about the next, and somebody who
/// answered before can be back; all else is wrong with the question, or with the daemon.
fn goes_on(kind: FailureKind, answered_before: bool) -> bool {
    match kind {
        FailureKind::Timeout => true,
        FailureKind::Negative => answered_before,
        FailureKind::Usage | FailureKind::DaemonDown | FailureKind::Permission => false,
    }
}

/// What several pings without any answer come to.
fn verdict(last: Failure, peer: &str, sent: u32) -> Failure {
    if sent == 1 {
        return last;
    }
    Failure::timeout(format_args!("no answer from {peer} to any of {sent} pings"))
}

fn answer(pong: &PingReply) -> String {
    let PingReply {
        node_id,
        path,
        address,
        supernode,
        tcp,
        rtt_ms,
        ..
    } = pong;
    let over = if *tcp { " over TCP" } else { "" };
    match (path.as_str(), supernode) {
        ("direct", _) => format!("pong from {node_id} direct at {address}{over} in {rtt_ms:.1} ms"),
        (path, Some(supernode)) => {
            let supernode = show::short(supernode);
            format!("pong from {node_id} via {path} {address} (supernode {supernode}){over} in {rtt_ms:.1} ms")
        }
        (path, None) => format!("pong from {node_id} via {path} {address}{over} in {rtt_ms:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Json, Router, routing::post};

    use super::*;
    use crate::api::{Answer, Server, finish};

    /// A daemon that answers every ping with the same.
    async fn ping_at(answer: Result<PingReply, Failure>, count: u32) -> (Result<(), Failure>, usize) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let reply = async move || -> Answer<PingReply> {
            counter.fetch_add(1, Ordering::Relaxed);
            answer.clone().map(Json)
        };
        let _server = Server::start(&path, finish(Router::new().route("/v1/ping", post(reply)))).unwrap();
        let ping = Ping {
            peer: "abcdefghij".into(),
            count,
            timeout: 1,
        };
        let result = super::ping(&Client::new(&path), &mut Output::new(false), ping).await;
        (result, asked.load(Ordering::Relaxed))
    }

    fn pong() -> PingReply {
        PingReply {
            schema: SCHEMA,
            node_id: "abc".into(),
            path: "relay".into(),
            address: "192.0.2.1:9600".parse().unwrap(),
            supernode: Some("abcdefghijklmnop".into()),
            tcp: false,
            rtt_ms: 12.34,
        }
    }

    #[tokio::test]
    async fn silence_is_asked_again_and_ends_with_5() {
        let late = Failure::timeout("no answer from abcdefghij within 1s");
        assert_eq!(ping_at(Err(late.clone()), 1).await, (Err(late.clone()), 1));
        let (result, asked) = ping_at(Err(late), 2).await;
        let failure = result.unwrap_err();
        assert_eq!((failure.kind.exit_code(), asked), (5, 2));
        assert!(
            failure.message.contains("no answer from abcdefghij to any of 2"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn a_hopeless_question_is_asked_once_and_keeps_its_reason() {
        let oneself = Failure::negative("that is this node itself");
        assert_eq!(ping_at(Err(oneself.clone()), 4).await, (Err(oneself), 1));
        assert_eq!(ping_at(Ok(pong()), 2).await, (Ok(()), 2));
    }

    #[test]
    fn whoever_answered_before_may_answer_again() {
        assert!(goes_on(FailureKind::Negative, true));
        assert!(!goes_on(FailureKind::DaemonDown, true));
    }

    #[test]
    fn the_way_is_named() {
        let mut pong = pong();
        let text = "pong from abc via relay 192.0.2.1:9600 (supernode abcdefghij) in 12.3 ms";
        assert_eq!(answer(&pong), text);
        pong.tcp = true;
        let text = "pong from abc via relay 192.0.2.1:9600 (supernode abcdefghij) over TCP in 12.3 ms";
        assert_eq!(answer(&pong), text);
        pong.tcp = false;
        pong.path = "direct".into();
        assert_eq!(answer(&pong), "pong from abc direct at 192.0.2.1:9600 in 12.3 ms");
    }
}

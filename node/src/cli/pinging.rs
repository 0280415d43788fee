//! `farlan ping`.

use std::time::Duration;

use serde::Serialize;

use super::{Ping, client::Client, output::Output};
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
    for i in 0..ping.count {
        if i > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        match client.post::<PingReply>("/v1/ping", &request, timeout).await {
            Ok(pong) => {
                if !output.json() {
                    output.line(answer(&pong))?;
                }
                pongs.push(pong);
            }
            // The next one may get through, unless it is the question that is wrong.
            Err(failure) if matches!(failure.kind, FailureKind::Negative | FailureKind::Timeout) => {
                if !output.json() {
                    output.line(&failure)?;
                }
                last_failure = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    let received = pongs.len();
    if output.json() {
        let received = u32::try_from(received).unwrap_or(u32::MAX);
        output.document(&Summary {
            schema: SCHEMA,
            sent: ping.count,
            received,
            pongs,
        })?;
    }
    match last_failure {
        Some(_) if received == 0 => Err(Failure::negative(format_args!("{} did not answer", ping.peer))),
        _ => Ok(()),
    }
}

fn answer(pong: &PingReply) -> String {
    let PingReply {
        node_id,
        path,
        address,
        rtt_ms,
        ..
    } = pong;
    match path.as_str() {
        "direct" => format!("pong from {node_id} direct at {address} in {rtt_ms:.1} ms"),
        path => format!("pong from {node_id} via {path} {address} in {rtt_ms:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_named() {
        let mut pong = PingReply {
            schema: SCHEMA,
            node_id: "abc".into(),
            path: "relay".into(),
            address: "192.0.2.1:9600".parse().unwrap(),
            rtt_ms: 12.34,
        };
        assert_eq!(answer(&pong), "pong from abc via relay 192.0.2.1:9600 in 12.3 ms");
        pong.path = "direct".into();
        assert_eq!(answer(&pong), "pong from abc direct at 192.0.2.1:9600 in 12.3 ms");
    }
}

//! The API of a running daemon, asked over its Unix socket without a program in between: quick enough to see when
//! something happens.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::program::{Node, registered};

/// How long a request may take; above the 10 s that `join` waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How often is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(5);

/// The API of one daemon.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// That of the daemon with this socket.
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// That of a node.
    pub fn of(node: &Node) -> Self {
        Self::at(node.socket())
    }

    /// What a GET of this path answers.
    ///
    /// # Errors
    /// Nobody answers, or with a refusal.
    pub fn ask(&self, path: &str) -> Result<Value> {
        self.request(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
    }

    /// What a POST of this document answers.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn tell(&self, path: &str, document: &Value) -> Result<Value> {
        let body = document.to_string();
        let length = body.len();
        self.request(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Joins a network by its link or name.
    ///
    /// # Errors
    /// The daemon refuses.
    pub fn join(&self, network: &str) -> Result<()> {
        self.tell("/v1/join", &serde_json::json!({ "target": network }))?;
        Ok(())
    }

    /// Whether the node is registered at a supernode.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn is_registered(&self) -> Result<bool> {
        Ok(registered(&self.ask("/v1/status")?))
    }

    /// At how many supernodes it is registered.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn registrations(&self) -> Result<usize> {
        let status = self.ask("/v1/status")?;
        let all = status["supernodes"].as_array().context("no supernodes")?;
        Ok(all.iter().filter(|one| one["registered"] == true).count())
    }

    /// The node's address on its only network, once its card has it.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ipv4(&self) -> Result<Option<Ipv4Addr>> {
        let networks = self.ask("/v1/networks")?;
        let address = networks.get(0).and_then(|network| network["ipv4"].as_str());
        Ok(address.map(str::parse).transpose()?)
    }

    /// The id of the node.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn node_id(&self) -> Result<String> {
        let status = self.ask("/v1/status")?;
        Ok(status["node_id"].as_str().context("no id")?.to_owned())
    }

    /// The kind of the path to a peer, `direct` or `relay`, and its endpoint; none while there is no session.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn path_to(&self, peer: &str) -> Result<Option<(String, Option<IpAddr>)>> {
        let peers = self.ask("/v1/peers")?;
        let rows = peers.as_array().context("no list of peers")?;
        let row = rows.iter().find(|row| row["node_id"] == peer);
        let Some(kind) = row.and_then(|row| row["path"].as_str()) else {
            return Ok(None);
        };
        let address = row.and_then(|row| row["address"].as_str());
        let address = address.and_then(|text| text.parse::<std::net::SocketAddr>().ok());
        Ok(Some((kind.to_owned(), address.map(|address| address.ip()))))
    }

    /// One of the counters.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), or there is no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let status = self.ask("/v1/status")?;
        status["counters"][name]
            .as_u64()
            .with_context(|| format!("no counter {name}"))
    }

    /// Looks again and again until `probe` yields something, and returns it with the moment before the look that showed it.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn await_it<T>(
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Result<Option<T>>,
    ) -> Result<(T, Instant)> {
        let start = Instant::now();
        loop {
            let looked = Instant::now();
            let outcome = probe();
            if let Ok(Some(value)) = outcome {
                return Ok((value, looked));
            }
            if start.elapsed() >= limit {
                let what = format!("waited {} s in vain for {what}", limit.as_secs());
                return match outcome {
                    Err(error) => Err(error.context(what)),
                    Ok(_) => bail!(what),
                };
            }
            std::thread::sleep(LOOK);
        }
    }

    fn request(&self, request: &str) -> Result<Value> {
        let mut stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("nobody answers at {}", self.socket.display()))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
        serde_json::from_str(body).with_context(|| format!("no JSON: {body}"))
    }
}

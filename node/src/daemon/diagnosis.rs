//! `farlan why` and `farlan netcheck`: asks the data plane, lets `diagnosis` judge, and makes the documents.

use std::time::{Duration, Instant};

use farlan_crypto::PublicKey;
use farlan_engine::{Examination, Standing, Surroundings, Target, Theirs};

use super::{Book, Daemon, pending::Pending};
use crate::{
    api::{CheckedSupernode, Nat, NetcheckReply, Observed, Obstacle, PortMapping, SCHEMA, WhyReply, WhyRequest},
    diagnosis::{Case, Checked, Verdict, obstacles, verdict},
    failure::Failure,
    shell::{Request, Snapshot},
};

/// The examinations under way.
pub(super) type Examinations = Pending<Box<Examination>>;

impl Daemon {
    /// Judges what stands between this node and a peer.
    ///
    /// # Errors
    /// What is asked for is no id or address, or this node's own; the data plane has ended.
    pub async fn why(&self, request: &WhyRequest) -> Result<WhyReply, Failure> {
        let snapshot = self.data_plane.snapshot().await?;
        let whom = {
            let book = self.book.lock().await;
            self.examined(&book, &snapshot, &request.peer)?
        };
        let examination = match whom {
            Some((target, key)) => self.examine(target, key).await?,
            None => nobody(&snapshot),
        };
        let other_version = examination
            .peer
            .as_ref()
            .and_then(|peer| self.troubles.version_of(peer.node));
        let case = Case {
            examination: &examination,
            other_version,
        };
        Ok(reply(&examination, verdict(&case)))
    }

    async fn examine(&self, target: Target, key: Option<PublicKey>) -> Result<Examination, Failure> {
        let (token, answer) = self.examinations.begin();
        self.data_plane.send(Request::Examine { target, key, token }).await?;
        match tokio::time::timeout(LONGEST, answer).await {
            Ok(Ok(examination)) => Ok(*examination),
            Ok(Err(_)) => Err(Failure::negative("the examination was lost")),
            Err(_) => {
                self.examinations.forget(token);
                Err(Failure::timeout("the data plane does not answer"))
            }
        }
    }

    /// Whom `peer` means, and its key, where it was met before; nobody, if it is well written and not known.
    fn examined(
        &self,
        book: &Book,
        snapshot: &Snapshot,
        peer: &str,
    ) -> Result<Option<(Target, Option<PublicKey>)>, Failure> {
        let prefix = peer.to_ascii_lowercase();
        let met = book.contacts.by_prefix(&prefix);
        Ok(match (self.target(book, snapshot, peer)?, met) {
            (Some(target @ Target::Node(node)), met) => Some((target, met.filter(|met| met.node_id() == node))),
            (Some(target), _) => Some((target, None)),
            (None, Some(met)) => Some((Target::Node(met.node_id()), Some(met))),
            (None, None) => None,
        })
    }

    /// Finds out what this node's own network is like, in 5 s at the most.
    ///
    /// # Errors
    /// The data plane has ended.
    pub async fn netcheck(&self) -> Result<NetcheckReply, Failure> {
        self.data_plane.send(Request::LookAround).await?;
        let begun = Instant::now();
        let snapshot = loop {
            tokio::time::sleep(PAUSE).await;
            let snapshot = self.data_plane.snapshot().await?;
            if !snapshot.surroundings.under_way || begun.elapsed() >= CHECKING {
                break snapshot;
            }
        };
        let supernodes = {
            let book = self.book.lock().await;
            self.supernodes(&book, &snapshot)
        };
        let around = &snapshot.surroundings;
        let other_version = supernodes
            .iter()
            .find_map(|supernode| Some((supernode.node_id.as_str(), supernode.other_version?)));
        let checked = Checked {
            surroundings: around,
            known: supernodes.len(),
            registered: supernodes.iter().filter(|supernode| supernode.registered).count(),
            other_version,
            twin: self.troubles.seen_twin().is_some(),
        };
        let found = obstacles(&checked).into_iter().map(|found| Obstacle {
            code: found.code.word().into(),
            sentence: found.sentence,
            advice: found.advice,
        });
        let found = found.collect();
        let supernodes = supernodes.into_iter().map(|supernode| {
            let id = &supernode.node_id;
            let mut reached = around.supernodes.iter();
            let reached = reached.find(|reached| reached.node.to_string() == *id);
            CheckedSupernode {
                udp: reached.map(|reached| reached.udp).unwrap_or_default().word().into(),
                tcp: reached.map(|reached| reached.tcp).unwrap_or_default().word().into(),
                seen_at: reached.and_then(|reached| reached.seen_at),
                also_seen_at: reached.and_then(|reached| reached.also_seen_at),
                mtu: reached.and_then(|reached| bytes(reached.mtu)),
                too_large: reached.and_then(|reached| bytes(reached.too_large)),
                node_id: supernode.node_id,
                address: supernode.address,
                registered: supernode.registered,
                home: supernode.home,
                rtt_ms: supernode.rtt_ms,
                other_version: supernode.other_version,
            }
        });
        Ok(report(around, self.mappings.view(), supernodes.collect(), found))
    }
}

fn report(
    around: &Surroundings,
    port_mapping: PortMapping,
    supernodes: Vec<CheckedSupernode>,
    obstacles: Vec<Obstacle>,
) -> NetcheckReply {
    NetcheckReply {
        schema: SCHEMA,
        udp: around.udp.word().into(),
        tcp: around.tcp.word().into(),
        nat: Nat::from(&around.behaviour),
        nat_ipv6: around.behaviour_by_ipv6.as_ref().map(Nat::from),
        carrier: around.carrier.word().into(),
        port_mapping,
        local: around.local.clone(),
        outside: around.outside.clone(),
        mtu: supernodes.iter().filter_map(|supernode| supernode.mtu).min(),
        hidden: around.hidden,
        supernodes,
        unfinished: around.under_way,
        obstacles,
    }
}

fn reply(examination: &Examination, verdict: Verdict) -> WhyReply {
    let peer = examination.peer.as_ref();
    WhyReply {
        schema: SCHEMA,
        node_id: peer.map(|peer| peer.node.to_string()),
        code: verdict.code.word().into(),
        fine: verdict.code.is_fine(),
        sentence: verdict.sentence,
        evidence: verdict.evidence,
        also: verdict.also.iter().map(|code| code.word().to_owned()).collect(),
        advice: verdict.advice,
        path: peer.and_then(|peer| peer.path).map(|path| path.to_string()),
        address: peer.and_then(|peer| peer.address),
        supernode: peer
            .and_then(|peer| peer.supernode)
            .map(|supernode| supernode.to_string()),
        tcp: peer.is_some_and(|peer| peer.tcp),
        own: peer.map(|_| Observed::from(&examination.own)),
        theirs: match &examination.theirs {
            Theirs::Told(told) => Some(told.into()),
            Theirs::Silent | Theirs::NotAsked => None,
        },
    }
}

/// What is known of somebody of whom nothing is known.
fn nobody(snapshot: &Snapshot) -> Examination {
    Examination {
        peer: None,
        standing: Standing {
            registered: snapshot.supernodes.iter().any(|supernode| supernode.registered),
            ..Standing::default()
        },
        own: Default::default(),
        theirs: Theirs::NotAsked,
    }
}

fn bytes(size: Option<usize>) -> Option<u16> {
    size.and_then(|size| u16::try_from(size).ok())
}

/// How long the data plane may take for an examination: the engine gives itself 4 s.
const LONGEST: Duration = Duration::from_secs(6);

/// How long a check of the own network may take.
const CHECKING: Duration = Duration::from_secs(5);

/// How often is looked whether it is finished; the first time after what is asked first may have been answered.
const PAUSE: Duration = Duration::from_millis(100);

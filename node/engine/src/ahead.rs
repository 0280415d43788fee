//! Datagrams of one batch that are opened together before their turn comes, so that they share the lanes of the cipher.
//!
//! Nothing is decided here: at its turn each datagram is judged as if it were opened then, its counter included. What was opened in vain
//! (a copy, or data under a session that ended meanwhile) is dropped like any other.

use farlan_crypto::{Job, open_batch};

use crate::{
    Batch, Engine, Received, Role, Time,
    wire::datagram::{DATA_HEADER, Datagram, RELAY_HEADER, RelayTarget, SessionIndex},
};

impl Engine {
    /// Opens in place what is data under sessions of this end. Returns by place in the batch whether it was authentic; none where nothing
    /// was done.
    pub(crate) fn open_ahead(&self, now: Time, received: &mut Batch<Received>) -> Vec<Option<bool>> {
        // A single one fills the lanes at its turn as well. What a supernode passes on it does not open, and is to cost it nothing.
        if received.len() < 2 || self.role == Role::Supernode {
            return Vec::new();
        }
        let mut opened = vec![None; received.len()];
        let mut places = Vec::with_capacity(received.len());
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(received.len());
        let mut last = None;
        for (place, (_, datagram)) in received.iter_mut().enumerate() {
            let Some((header_at, local, counter)) = data_in(datagram) else {
                continue;
            };
            let session = match last {
                Some((before, session)) if before == local => session,
                _ => {
                    let peer = self.peers.by_session(local).and_then(|id| self.peers.get(id));
                    peer.and_then(|peer| peer.sessions.get(local))
                }
            };
            last = Some((local, session));
            let Some(session) = session.filter(|session| session.ends() > now) else {
                continue;
            };
            let data = datagram.get_mut(header_at..).unwrap_or_default();
            if let Some((header, sealed)) = data.split_at_mut_checked(DATA_HEADER)
                && let Ok(job) = session.opener.job(counter, header, sealed)
            {
                jobs.push(job);
                places.push(place);
            }
        }
        open_batch(&mut jobs);
        for (place, job) in places.into_iter().zip(jobs) {
            if let Some(opened) = opened.get_mut(place) {
                *opened = Some(job.is_authentic());
            }
        }
        opened
    }
}

/// Where the header of data begins, behind a relay header or not, its session and its counter.
fn data_in(datagram: &[u8]) -> Option<(usize, SessionIndex, u64)> {
    let (at, parsed) = match Datagram::parse(datagram).ok()? {
        Datagram::Relay {
            destination: RelayTarget::Index(_),
            inner,
            ..
        } => (RELAY_HEADER, Datagram::parse(inner).ok()?),
        parsed => (0, parsed),
    };
    match parsed {
        Datagram::Data { receiver, counter } => Some((at, receiver, counter)),
        _ => None,
    }
}

//! Applications: how a member gets a certificate of the network key, and has it renewed.
//!
//! A member asks the holders whom the config names, or where no config is known the peers whom the link names, inside its
//! sessions with them, until one has given it what it wants. At a holder the engine reads what is asked and checks it; the daemon,
//! which holds the keys, decides and answers.
//!
//! A certificate of the network key that has expired, or that nobody has been shown yet, goes with the application. It entitles to an
//! answer and to nothing else: no network is shown or shared for it.
//!
//! What has neither a certificate that was not revoked nor an invite is not answered, as if the network were not here. Who was thrown
//! out and shows an invite is answered, since the invite says that the network is here.

use std::{collections::BTreeMap, time::Duration};

use farlan_crypto::{NodeId, PublicKey};
use farlan_netconf::{
    DirectoryKey, NetworkSecret,
    private::{Admission, Application, Credential, Purpose, Refusal},
};

use crate::{
    Engine, Event, NetworkHandle, Outbox, Time,
    peers::PeerId,
    rates::{Meters, Rate},
    showing::other_side,
    wire::{control::Control, datagram::SessionIndex},
    work::Paper,
};

/// An application is repeated after this, so often; later ones follow after [`LONG`], twice as long each time, up to [`LONGEST`].
const SHORT: Duration = Duration::from_secs(2);
const SHORT_TRIES: u32 = 5;
const LONG: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// A holder with whom no session stands is looked for so often: twice in the minute in which whoever waits for a controller is to have
/// its certificate after that came back. Each time costs a supernode a few datagrams.
const ABSENT: Duration = Duration::from_secs(25);

/// Where a session stands but no way leads to the holder at the moment, as before a supernode has registered this node again, it is
/// tried again after this, so often in a row, before that counts as asking.
const WAYLESS: Duration = Duration::from_millis(200);
const WAYLESS_TRIES: u32 = 25;

/// A holder that has no time is asked again after this. It has many to answer, and this one's turn comes soon.
const BUSY: Duration = Duration::from_secs(8);

/// Those who ask at one time are as far apart as the first bytes of their ids, times this.
const APART: Duration = Duration::from_millis(8);

/// What one peer may ask of a holder.
const ASKS: Rate = Rate::per_second(1, Duration::from_secs(4));

/// Peers of which that is counted, and applications that wait for the daemon.
const MAX_RATED: usize = 1024;
const MAX_OPEN: usize = 256;

/// An application waits so long for the daemon; the one who asks repeats it.
const OPEN_KEPT: Duration = Duration::from_secs(60);

type Of = (NetworkHandle, NodeId);

/// The applications of this node, and those to it.
#[derive(Debug)]
pub(crate) struct Applications {
    next_request: u32,
    asked: BTreeMap<Of, Asked>,
    open: BTreeMap<Of, Open>,
    rates: Meters<PeerId>,
}

/// Somebody who is asked for a certificate.
#[derive(Debug)]
struct Asked {
    key: PublicKey,
    /// When it is next asked, and how often it was.
    at: Time,
    tries: u32,
    /// The session in which it was asked last.
    session: Option<SessionIndex>,
    sent: Option<Sent>,
    /// How often in a row no way led to it.
    kept_back: u32,
}

/// An application that was sent.
#[derive(Debug)]
struct Sent {
    session: SessionIndex,
    under: DirectoryKey,
    request: u32,
    message: Control,
    last: Time,
}

/// Somebody who asks this node.
#[derive(Debug)]
struct Open {
    peer: PeerId,
    session: SessionIndex,
    under: DirectoryKey,
    request: u32,
    place: u8,
    since: Time,
    /// The certificate that the other end has shown, or has sent along.
    credential: Option<Credential>,
    /// The answer, and whether it is to be sent.
    answer: Option<Control>,
    due: bool,
}

/// An application that was read.
#[derive(Debug)]
pub(crate) struct Applied {
    peer: PeerId,
    session: SessionIndex,
    network: NetworkHandle,
    under: DirectoryKey,
    request: u32,
    place: u8,
    bytes: Vec<u8>,
}

impl Default for Applications {
    fn default() -> Self {
        Self {
            next_request: 0,
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            rates: Meters::new(ASKS, MAX_RATED),
        }
    }
}

impl Applications {
    pub(crate) fn deadline(&self) -> Option<Time> {
        let asked = self.asked.values().map(|asked| asked.at);
        let open = self.open.values();
        let open = open.map(|open| if open.due { Time::ZERO } else { open.since + OPEN_KEPT });
        asked.chain(open).min()
    }

    pub(crate) fn drop_network(&mut self, network: NetworkHandle) {
        self.asked.retain(|(of, _), _| *of != network);
        self.open.retain(|(of, _), _| *of != network);
    }

    /// A session stands with somebody: if it is to be asked, it is asked now.
    pub(crate) fn session_stands(&mut self, now: Time, node: &NodeId, local: SessionIndex) {
        let of_node = self.asked.iter_mut().filter(|((_, asked), _)| asked == node);
        for (_, asked) in of_node {
            let last = asked
                .sent
                .as_ref()
                .filter(|sent| sent.session != local)
                .map(|sent| sent.last + SHORT);
            if asked.session != Some(local) {
                asked.tries = 0;
                asked.at = asked.at.min(last.unwrap_or(now).max(now));
            }
        }
    }
}

impl Applications {
    /// A member was met in a network: if it is to be asked, it is asked soon.
    pub(crate) fn met(&mut self, now: Time, network: NetworkHandle, node: &NodeId) {
        let Some(asked) = self.asked.get_mut(&(network, *node)) else {
            return;
        };
        let last = asked.sent.as_ref().map_or(now, |sent| sent.last + SHORT);
        if asked.tries >= SHORT_TRIES && asked.at > last.max(now) {
            asked.tries = 0;
            asked.at = last.max(now);
        }
    }
}

impl Engine {
    /// Brings the list of those who are asked for a certificate in line with what is wanted.
    pub(crate) fn ask_anew(&mut self, now: Time, handle: NetworkHandle) {
        let clock = self.clock(now);
        let network = self.networks.get(handle);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        let wanted = private.wants_certificate(&clock);
        let whom: BTreeMap<NodeId, PublicKey> = private
            .whom_to_ask()
            .into_iter()
            .filter(|_| wanted)
            .map(|key| (key.node_id(), key))
            .collect();
        let asked = &mut self.applications.asked;
        asked.retain(|(of, node), _| *of != handle || whom.contains_key(node));
        for (node, key) in whom {
            asked.entry((handle, node)).or_insert(Asked {
                key,
                at: now,
                tries: 0,
                session: None,
                sent: None,
                kept_back: 0,
            });
        }
    }

    /// Sends applications and answers that are due.
    pub(crate) fn tend_applications(&mut self, now: Time, out: &mut Outbox) {
        let is_due = |(of, asked): (&Of, &Asked)| (asked.at <= now).then_some(*of);
        let due: Vec<Of> = self.applications.asked.iter().filter_map(is_due).collect();
        for of in due {
            self.apply(now, of, out);
        }
        self.applications
            .open
            .retain(|_, open| now.since(open.since) < OPEN_KEPT);
        let mut answers = Vec::new();
        for open in self.applications.open.values_mut().filter(|open| open.due) {
            open.due = false;
            answers.extend(open.answer.clone().map(|answer| (open.peer, open.session, answer)));
        }
        for (peer, session, answer) in answers {
            self.send_control(now, peer, Some(session), &[answer], out);
        }
    }

    /// Asks somebody for a certificate, or makes a session with it first.
    fn apply(&mut self, now: Time, of: Of, out: &mut Outbox) {
        let apart = self.apart();
        let Some(asked) = self.applications.asked.get_mut(&of) else {
            return;
        };
        asked.tries += 1;
        asked.at = now + pause(asked.tries);
        let (key, before) = (asked.key, asked.sent.take());
        let Some(id) = self.pin(now, key) else { return };
        let session = self.peers.get(id).and_then(|peer| peer.sessions.current());
        let Some(local) = session.map(|session| session.local) else {
            if let Some(asked) = self.applications.asked.get_mut(&of) {
                asked.at = asked.at.min(now + ABSENT + APART * apart);
            }
            return self.want(now, id);
        };
        let again = before.filter(|sent| sent.session == local);
        let sent = again.map(|sent| Sent { last: now, ..sent });
        // A network that was joined after the session began is asked for once it was offered there, and then at once.
        let Some(sent) = sent.or_else(|| self.application(now, of.0, id, local)) else {
            return;
        };
        if let Some(asked) = self.applications.asked.get_mut(&of)
            && asked.session.replace(local) != Some(local)
        {
            // However often it was looked for: the first one may come before the credential that goes with it.
            asked.tries = 1;
            asked.at = now + SHORT;
        }
        let left = self.send_control(now, id, Some(local), std::slice::from_ref(&sent.message), out);
        if let Some(asked) = self.applications.asked.get_mut(&of) {
            asked.sent = Some(sent);
            asked.kept_back = if left { 0 } else { asked.kept_back + 1 };
            if !left && asked.kept_back < WAYLESS_TRIES {
                asked.tries = asked.tries.saturating_sub(1);
                asked.at = now + WAYLESS;
            }
        }
    }

    /// An application for a session.
    fn application(&mut self, now: Time, handle: NetworkHandle, id: PeerId, local: SessionIndex) -> Option<Sent> {
        let session = self.peers.get(id)?.sessions.get(local)?;
        let (hash, role) = (session.handshake_hash(), session.role);
        let place = session.networks.place(handle)?;
        let network = self.networks.get(handle)?;
        let private = network.private.as_ref()?;
        let application = private.application(network.ipv4_held(), &hash)?;
        self.applications.next_request = self.applications.next_request.wrapping_add(1).max(1);
        let request = self.applications.next_request;
        let application = application.encode();
        let sealed = (network.secret).seal_in_session(Purpose::Application, &hash, role, request, place, &application);
        Some(Sent {
            session: local,
            under: network.member_key,
            request,
            message: Control::Application { request, place, sealed },
            last: now,
        })
    }

    /// Somebody asks for a certificate.
    pub(crate) fn application_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (request, place, sealed): (u32, u8, &[u8]),
    ) {
        let Some(peer) = self.peers.get(id) else { return };
        let node = peer.key.node_id();
        let Some(session) = peer.sessions.get(local) else {
            return;
        };
        let holds = |network: &&crate::networks::Network| {
            let private = network.private.as_ref();
            private.is_some_and(|private| private.is_holder())
        };
        if !self.networks.iter().any(|network| holds(&network)) {
            return;
        }
        if !self.applications.rates.take(now, id) {
            self.counters.credentials_limited += 1;
            return;
        }
        let (hash, side) = (session.handshake_hash(), other_side(session.role));
        let mut found = None;
        for network in self.networks.iter().filter(holds) {
            let mut secrets = network.secrets();
            let read = secrets.find_map(|(under, secret)| {
                let bytes = secret.open_in_session(Purpose::Application, &hash, side, request, place, sealed);
                Some((under, bytes.ok()?))
            });
            if let Some((under, bytes)) = read {
                found = Some(Applied {
                    peer: id,
                    session: local,
                    network: network.handle,
                    under,
                    request,
                    place,
                    bytes,
                });
                break;
            }
        }
        let Some(applied) = found else {
            self.counters.credentials_refused += 1;
            return;
        };
        // The answer was lost, or is under way.
        let open = self.applications.open.get_mut(&(applied.network, node));
        if let Some(open) = open.filter(|open| (open.session, open.request) == (local, request)) {
            open.due = open.answer.is_some();
            return;
        }
        if !self.handshakes.queue.add_paper(now, id, Paper::Application(applied)) {
            self.counters.credentials_limited += 1;
        }
    }

    /// An application waited for its turn to be checked: the daemon decides.
    pub(crate) fn check_application(&mut self, now: Time, applied: Applied) {
        let peer = self.peers.get(applied.peer);
        let session = peer.and_then(|peer| peer.sessions.get(applied.session));
        let (Some(peer), Some(session)) = (peer, session) else {
            return;
        };
        let (key, hash) = (peer.key, session.handshake_hash());
        let node = key.node_id();
        let network = self.networks.get(applied.network);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        let application = Application::decode(&applied.bytes, private.network(), &key, &hash, self.work);
        let Ok(application) = application else {
            self.counters.credentials_refused += 1;
            return;
        };
        let sent = application.credential().filter(|sent| !private.is_revoked(sent));
        let credential = private.shown_by(&node).or(sent).cloned();
        if credential.is_none() && application.invite().is_none() {
            self.counters.credentials_refused += 1;
            return;
        }
        let of = (applied.network, node);
        if self.applications.open.len() >= MAX_OPEN && !self.applications.open.contains_key(&of) {
            self.counters.credentials_limited += 1;
            return;
        }
        let open = Open {
            peer: applied.peer,
            session: applied.session,
            under: applied.under,
            request: applied.request,
            place: applied.place,
            since: now,
            credential: credential.clone(),
            answer: None,
            due: false,
        };
        self.applications.open.insert(of, open);
        self.events.push(Event::Application {
            network: applied.network,
            node: key,
            request: applied.request,
            application: Box::new(application),
            credential: credential.map(Box::new),
            handshake_hash: Box::new(hash),
        });
    }

    /// The certificate that goes with an application which waits for an answer.
    pub(crate) fn applies_with(&self, handle: NetworkHandle, node: &NodeId, request: u32) -> Option<&Credential> {
        let open = self.applications.open.get(&(handle, *node))?;
        open.credential.as_ref().filter(|_| open.request == request)
    }

    /// Answers an application that came as [`Event::Application`]. Does nothing if that was answered, since nothing else may be sealed
    /// under its number, or has been forgotten; whoever asked asks again.
    pub fn answer_application(&mut self, handle: NetworkHandle, node: &NodeId, request: u32, admission: &Admission) {
        let of = (handle, *node);
        let Some(open) = self
            .applications
            .open
            .get(&of)
            .filter(|open| open.request == request && open.answer.is_none())
        else {
            return;
        };
        let session = self
            .peers
            .get(open.peer)
            .and_then(|peer| peer.sessions.get(open.session));
        let Some(session) = session else { return };
        let place = open.place;
        let secret = self
            .networks
            .get(handle)
            .and_then(|network| network.secret_under(&open.under));
        let Some(secret) = secret else { return };
        let (hash, role) = (session.handshake_hash(), session.role);
        let (status, body) = admission.encode();
        let sealed = secret.seal_in_session(Purpose::Admission, &hash, role, request, place, &body);
        if let Some(open) = self.applications.open.get_mut(&of) {
            open.answer = Some(Control::Admission {
                request,
                place,
                status,
                sealed,
            });
            open.due = true;
        }
    }

    /// The answer to an application of this node.
    pub(crate) fn admission_told(
        &mut self,
        now: Time,
        id: PeerId,
        local: SessionIndex,
        (request, place, status): (u32, u8, u8),
        sealed: &[u8],
    ) {
        let apart = self.apart();
        let Some(peer) = self.peers.get(id) else { return };
        let node = peer.key.node_id();
        let Some(session) = peer.sessions.get(local) else {
            return;
        };
        let (hash, side) = (session.handshake_hash(), other_side(session.role));
        let answers = |asked: &Asked| {
            let sent = asked
                .sent
                .as_ref()
                .filter(|sent| (sent.session, sent.request) == (local, request));
            sent.map(|sent| sent.under)
        };
        let mut asked = self
            .applications
            .asked
            .iter_mut()
            .filter(|((_, whom), _)| *whom == node);
        let Some((handle, under, asked)) =
            asked.find_map(|((handle, _), asked)| Some((*handle, answers(asked)?, asked)))
        else {
            return;
        };
        let network = self.networks.get(handle);
        let secret = network.and_then(|network| network.secret_under(&under));
        let open = |secret: &NetworkSecret| {
            let opened = secret.open_in_session(Purpose::Admission, &hash, side, request, place, sealed);
            opened.ok()
        };
        let Some(bytes) = secret.and_then(open) else {
            self.counters.credentials_refused += 1;
            return;
        };
        if let Some(refusal) = Refusal::from_code(status) {
            if refusal == Refusal::Later {
                // Nothing was decided: it is as if it had not been asked.
                asked.tries = asked.tries.saturating_sub(1);
                asked.at = now + BUSY + APART * apart;
            } else {
                // Others may know better, and this one later.
                asked.tries = asked.tries.max(SHORT_TRIES);
                asked.at = asked.at.max(now + pause(asked.tries));
            }
            asked.sent = None;
            self.events.push(Event::ApplicationRefused {
                network: handle,
                node,
                refusal,
            });
        } else if self
            .handshakes
            .queue
            .add_paper(now, id, Paper::Admission(handle, bytes))
        {
            // Whatever it is worth: to the same request there would be the same answer.
            asked.sent = None;
        } else {
            self.counters.credentials_limited += 1;
        }
    }

    /// A credential for this node waited for its turn to be checked.
    pub(crate) fn check_admission(&mut self, now: Time, handle: NetworkHandle, bytes: &[u8]) {
        let network = self.networks.get(handle);
        let Some(private) = network.and_then(|network| network.private.as_ref()) else {
            return;
        };
        let credential = Credential::decode(bytes, private.network(), self.work);
        let same = credential
            .as_ref()
            .ok()
            .is_some_and(|credential| private.credential() == Some(credential));
        if credential.is_ok()
            && let Some(private) = self
                .networks
                .get_mut(handle)
                .and_then(|network| network.private.as_mut())
        {
            private.set_unsure(false);
        }
        let issued = credential.is_ok_and(|credential| self.credential_issued(now, handle, credential));
        if !issued && !same {
            self.counters.credentials_refused += 1;
        }
        self.ask_anew(now, handle);
    }

    /// What sets this node apart from others that do the same at one time: 0 to 255.
    fn apart(&self) -> u32 {
        self.node_id.as_bytes().first().copied().unwrap_or_default().into()
    }

    /// Has the holders of a private network asked for this node's certificate, though the own one is good: a controller may have given
    /// this node another name or address. Not at once, since all members may hear of it together.
    pub fn ask_again(&mut self, now: Time, handle: NetworkHandle) {
        let apart = self.apart();
        let Some(private) = self
            .networks
            .get_mut(handle)
            .and_then(|network| network.private.as_mut())
        else {
            return;
        };
        private.set_unsure(true);
        self.ask_anew(now, handle);
        for ((_, _), asked) in self.applications.asked.iter_mut().filter(|((of, _), _)| *of == handle) {
            // Another request: the answer to the one before is what it was.
            asked.sent = None;
            asked.tries = 0;
            asked.at = now + APART * apart;
        }
    }
}

/// How long nothing is asked after so many tries.
fn pause(tries: u32) -> Duration {
    match tries.checked_sub(SHORT_TRIES) {
        None => SHORT,
        Some(more) => LONG.saturating_mul(1 << more.min(6)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_are_repeated_soon_and_then_seldom() {
        let pauses: Vec<u64> = (1..=13).map(|tries| pause(tries).as_secs()).collect();
        assert_eq!(pauses, [2, 2, 2, 2, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    }
}

//! Questions to the data plane whose answers come as events, by their numbers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The questions under way.
#[derive(Debug)]
pub(super) struct Pending<T> {
    waiting: Mutex<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    next: u64,
    by_token: BTreeMap<u64, oneshot::Sender<T>>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        let waiting = Waiting {
            next: 0,
            by_token: BTreeMap::new(),
        };
        Self {
            waiting: Mutex::new(waiting),
        }
    }
}

impl<T> Pending<T> {
    /// A number for a new question, and where its answer comes.
    pub(super) fn begin(&self) -> (u64, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        let token = waiting.next;
        waiting.next += 1;
        waiting.by_token.insert(token, sender);
        (token, receiver)
    }

    /// Nobody waits for an answer any more.
    pub(super) fn forget(&self, token: u64) {
        self.lock().by_token.remove(&token);
    }

    /// The answer to a question.
    pub(super) fn end(&self, token: u64, answer: T) {
        if let Some(sender) = self.lock().by_token.remove(&token) {
            // Whoever asked may have given up.
            let _ = sender.send(answer);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().by_token.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        // The map is whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

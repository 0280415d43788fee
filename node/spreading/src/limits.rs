//! What a node spends on others' broadcasts.

use farlan_crypto::NodeId;

use crate::Time;

/// What one node spends on others' broadcasts in all its networks: signatures checked, copies sent on.
#[derive(Debug, Default)]
pub struct Allowances {}

impl Allowances {
    /// Nothing is used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the check of a signature that came by a neighbour.
    pub(crate) fn may_verify(&mut self, now: Time, from: &NodeId) -> bool {
        todo!()
    }
}

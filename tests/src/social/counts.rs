//! What is counted in a run.

/// One broadcast of a run.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Whose it is.
    pub origin: u32,
    /// When it was sent, in nanoseconds.
    pub at: u64,
    /// Who has it, in order of time, and after how many milliseconds.
    pub delivered: Vec<(u32, f32)>,
    /// Copies that were sent of it, all tries.
    pub copies: u32,
}

/// What was counted in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Copies sent, all tries.
    pub copies: u64,
    /// Of them those over a supernode.
    pub relayed: u64,
    /// Copies that arrived.
    pub received: u64,
    /// Of them those that the receiver had already.
    pub duplicates: u64,
    /// Of them those that were refused.
    pub refused: u64,
    /// Acknowledgements sent.
    pub acks: u64,
    /// Copies with a bad signature.
    pub forged: u64,
    /// Deliveries of what nobody had sent, or a second time: there must be none.
    pub false_deliveries: u64,
    /// The longest header of a copy that goes nowhere from its receiver, and of any.
    pub leaf_header: usize,
    /// See [`Counts::leaf_header`].
    pub header: usize,
    /// Sum of the headers of all copies.
    pub header_bytes: u64,
}

impl Counts {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.copies += other.copies;
        self.relayed += other.relayed;
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.acks += other.acks;
        self.forged += other.forged;
        self.false_deliveries += other.false_deliveries;
        self.leaf_header = self.leaf_header.max(other.leaf_header);
        self.header = self.header.max(other.header);
        self.header_bytes += other.header_bytes;
    }
}

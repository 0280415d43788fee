//! Salsa20-Poly1305 in the lanes of SIMD registers, for x86-64: AVX-512, AVX2 or SSE2, whichever the processor has.
//!
//! Salsa20 works on blocks of 64 bytes that do not depend on each other. A message of n blocks needs n + 1: block 0 keys Poly1305. The
//! blocks of all messages of a batch are put in one row, and 16, 8 or 4 of them are made at once, each in its own lane: so the lanes
//! are full with long messages as with short ones. What is left at the end goes through a form for fewer blocks. Poly1305 works
//! with words of 64 bits, on two messages by turns; on four (AVX2) or eight messages (AVX-512 IFMA, which multiplies integers of 52 bits)
//! at once if they have one length; and with IFMA on eight blocks at once of a long message by itself.
//!
//! | file | what it holds |
//! |---|---|
//! | `group` | what goes into a kernel, and what comes out |
//! | `rounds` | the rounds of Salsa20, for registers of any width |
//! | `avx512`, `avx2`, `sse2` | the kernels |
//! | `poly1305`, `across`, `ifma` | the authenticator |
//!
//! The crates `salsa20` and `poly1305`, which do the same elsewhere, are what the tests compare this with.
//!
//! * **Constant time**: no branch and no address depends on a key, a message or a tag. Lengths, counters and where keys lie are no secrets.
//! * **Secrets**: keystream, one-time keys and the states of Poly1305 are overwritten before a call returns, as the crates do it. What the
//!   compiler kept aside on the stack is wiped where keys end, like all of it ([`wipe_stack`](crate::wipe_stack)); registers are not.
//! * **`unsafe`**: reads and writes of whole arrays by intrinsics, and calls of kernels by those who hold the proof that the processor
//!   has what they need: an [`Isa`] exists only for what was detected.
//! * **Checked by**: tests that hold every length and mixed batches against the crates, and Poly1305's edges by Wycheproof's vectors.
//!   `scripts/memcheck` runs them in valgrind, which knows AVX2 and SSE2, and where a key or a message must decide nothing.
//! * **Limits**: blocks are numbered with 32 bits, which 256 GiB under one nonce would need.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::OnceLock;

use subtle::ConstantTimeEq;

use crate::defects::planted;
use crate::job::{Job, KEY, TAG};
use across::Alike;
use group::{BLOCK, Group, Keystream, MOST};
use poly1305::Input;

mod across;
mod avx2;
mod avx512;
mod group;
mod ifma;
mod poly1305;
mod rounds;
mod sse2;
#[cfg(test)]
mod tests;

/// Instructions that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Avx512(Avx512),
    Avx2(Avx2),
    Sse2(Sse2),
}

impl Isa {
    /// All that this processor has, the best first.
    pub fn all() -> impl Iterator<Item = Self> {
        let kinds = [
            Avx512::detected().map(Kind::Avx512),
            Avx2::detected().map(Kind::Avx2),
            Some(Kind::Sse2(Sse2(()))),
        ];
        kinds.into_iter().flatten().map(Self)
    }

    /// The one that is used: the best, unless the environment variable `FARLAN_SIMD` names another one that the processor has. None
    /// if it says `off`. It is read once.
    pub fn chosen() -> Option<Self> {
        static CHOSEN: OnceLock<Option<Isa>> = OnceLock::new();
        *CHOSEN.get_or_init(|| Self::named(&std::env::var("FARLAN_SIMD").unwrap_or_default()))
    }

    fn named(name: &str) -> Option<Self> {
        let named = Self::all().find(|isa| isa.name() == name);
        named.or_else(|| Self::all().next()).filter(|_| name != "off")
    }

    /// What `FARLAN_SIMD` calls it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Avx512(_) => "avx512",
            Kind::Avx2(_) => "avx2",
            Kind::Sse2(_) => "sse2",
        }
    }

    /// Seals a message.
    pub fn seal(self, job: &mut Job<'_>) {
        match self.0 {
            Kind::Avx512(kernels) => seal_one(kernels, job),
            Kind::Avx2(kernels) => seal_one(kernels, job),
            Kind::Sse2(kernels) => seal_one(kernels, job),
        }
    }

    /// Seals messages, each as [`Isa::seal`] does.
    pub fn seal_batch(self, jobs: &mut [Job<'_>]) {
        for jobs in jobs.chunks_mut(TOGETHER) {
            match (self.0, jobs) {
                (_, [job]) => self.seal(job),
                (Kind::Avx512(kernels), jobs) => seal(kernels, jobs),
                (Kind::Avx2(kernels), jobs) => seal(kernels, jobs),
                (Kind::Sse2(kernels), jobs) => seal(kernels, jobs),
            }
        }
    }

    /// Checks a tag, and decrypts only if it is right; [`Job::is_authentic`] says so.
    pub fn open(self, job: &mut Job<'_>) {
        match self.0 {
            Kind::Avx512(kernels) => open_one(kernels, job),
            Kind::Avx2(kernels) => open_one(kernels, job),
            Kind::Sse2(kernels) => open_one(kernels, job),
        }
    }

    /// Opens messages, each as [`Isa::open`] does.
    pub fn open_batch(self, jobs: &mut [Job<'_>]) {
        for jobs in jobs.chunks_mut(TOGETHER) {
            match (self.0, jobs) {
                (_, [job]) => self.open(job),
                (Kind::Avx512(kernels), jobs) => open(kernels, jobs),
                (Kind::Avx2(kernels), jobs) => open(kernels, jobs),
                (Kind::Sse2(kernels), jobs) => open(kernels, jobs),
            }
        }
    }
}

/// Messages whose blocks are put in one row: more would not fill the lanes better, and leave the caches.
const TOGETHER: usize = 32;

/// What an instruction set does for [`seal`] and [`open`]. A value of it proves that the processor has what it needs.
trait Kernels: Copy {
    /// The most blocks at once.
    const LANES: usize;

    /// Makes the first `filled` blocks of `group`, of at most [`Kernels::LANES`]. What the others are has no meaning.
    fn blocks(self, group: &Group<'_>, filled: usize, keystream: &mut Keystream);

    /// Combines `text` with a stream that is at least as long.
    fn xor(self, text: &mut [u8], stream: &[u8]);

    /// [`combine`], with these instructions.
    fn combine(self, runs: &[Run], jobs: &mut [Job<'_>], keys: &mut [[u8; KEY]], keystream: &Keystream);

    /// The tag of a message.
    fn tag(self, input: Input<'_>) -> [u8; TAG];

    /// The tags of at most eight messages.
    fn tags(self, inputs: &[Input<'_>], tags: &mut [[u8; TAG]]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Avx512 {
    /// Whether integers of 52 bits are multiplied, too.
    ifma: bool,
}

impl Avx512 {
    fn detected() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
        let ifma = is_x86_feature_detected!("avx512ifma");
        has.then_some(Self { ifma })
    }
}

impl Kernels for Avx512 {
    const LANES: usize = 16;

    fn blocks(self, group: &Group<'_>, filled: usize, keystream: &mut Keystream) {
        // SAFETY: made by `detected` only.
        unsafe { avx512::blocks(group, filled, keystream) }
    }

    fn xor(self, text: &mut [u8], stream: &[u8]) {
        // SAFETY: made by `detected` only.
        unsafe { avx512::xor(text, stream) }
    }

    fn combine(self, runs: &[Run], jobs: &mut [Job<'_>], keys: &mut [[u8; KEY]], keystream: &Keystream) {
        // SAFETY: made by `detected` only.
        unsafe { avx512::combine(runs, jobs, keys, keystream) }
    }

    fn tag(self, input: Input<'_>) -> [u8; TAG] {
        if self.ifma && ifma::pays(input) {
            // SAFETY: made by `detected` only, and IFMA is there.
            return unsafe { ifma::tag(input) };
        }
        poly1305::tag(input)
    }

    fn tags(self, inputs: &[Input<'_>], tags: &mut [[u8; TAG]]) {
        match Alike::of(inputs, ifma::EIGHT_FROM) {
            // SAFETY: made by `detected` only, and IFMA is there.
            Some(alike) if self.ifma => tags.copy_from_slice(&unsafe { ifma::eight(&alike) }),
            _ if self.ifma && inputs.iter().any(|input| ifma::pays(*input)) => {
                for (input, tag) in inputs.iter().zip(tags) {
                    *tag = self.tag(*input);
                }
            }
            // SAFETY: made by `detected` only, and AVX2 is part of AVX-512.
            _ => unsafe { by_fours(inputs, tags) },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Avx2(());

impl Avx2 {
    fn detected() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Kernels for Avx2 {
    const LANES: usize = 8;

    fn blocks(self, group: &Group<'_>, filled: usize, keystream: &mut Keystream) {
        // SAFETY: made by `detected` only.
        unsafe { avx2::blocks(group, filled, keystream) }
    }

    fn xor(self, text: &mut [u8], stream: &[u8]) {
        // SAFETY: made by `detected` only.
        unsafe { avx2::xor(text, stream) }
    }

    fn combine(self, runs: &[Run], jobs: &mut [Job<'_>], keys: &mut [[u8; KEY]], keystream: &Keystream) {
        // SAFETY: made by `detected` only.
        unsafe { avx2::combine(runs, jobs, keys, keystream) }
    }

    fn tag(self, input: Input<'_>) -> [u8; TAG] {
        poly1305::tag(input)
    }

    fn tags(self, inputs: &[Input<'_>], tags: &mut [[u8; TAG]]) {
        // SAFETY: made by `detected` only.
        unsafe { by_fours(inputs, tags) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sse2(());

impl Kernels for Sse2 {
    const LANES: usize = 4;

    fn blocks(self, group: &Group<'_>, filled: usize, keystream: &mut Keystream) {
        // SAFETY: part of x86-64.
        unsafe { sse2::blocks(group, filled, keystream) }
    }

    fn xor(self, text: &mut [u8], stream: &[u8]) {
        xor(text, stream);
    }

    fn combine(self, runs: &[Run], jobs: &mut [Job<'_>], keys: &mut [[u8; KEY]], keystream: &Keystream) {
        combine(runs, jobs, keys, keystream);
    }

    fn tag(self, input: Input<'_>) -> [u8; TAG] {
        poly1305::tag(input)
    }

    fn tags(self, inputs: &[Input<'_>], tags: &mut [[u8; TAG]]) {
        by_pairs(inputs, tags);
    }
}

/// Tags of four messages at once, where they are alike.
#[target_feature(enable = "avx2")]
fn by_fours(inputs: &[Input<'_>], tags: &mut [[u8; TAG]]) {
    for (inputs, tags) in inputs.chunks(4).zip(tags.chunks_mut(4)) {
        match Alike::of(inputs, across::FROM) {
            Some(alike) => tags.copy_from_slice(&across::tags(&alike)),
            None => by_pairs(inputs, tags),
        }
    }
}

/// Tags in words of 64 bits.
fn by_pairs(inputs: &[Input<'_>], tags: &mut [[u8; TAG]]) {
    let (pairs, left) = inputs.as_chunks::<2>();
    let (tags_of_pairs, tags_left) = tags.as_chunks_mut::<2>();
    for (pair, tags) in pairs.iter().zip(tags_of_pairs) {
        *tags = poly1305::two(pair);
    }
    for (input, tag) in left.iter().zip(tags_left) {
        *tag = poly1305::tag(*input);
    }
}

/// Seals at most [`TOGETHER`] messages.
fn seal<K: Kernels>(kernels: K, jobs: &mut [Job<'_>]) {
    let mut keys = [[0; KEY]; TOGETHER];
    let mut keystream = Keystream::ZERO;
    apply(kernels, jobs, Blocks::All, &mut keys, &mut keystream);
    let tags = tags(kernels, jobs, &keys);
    for (job, tag) in jobs.iter_mut().zip(tags) {
        *job.tag = tag;
    }
    wipe(&mut keys, [[0; KEY]; TOGETHER]);
    wipe(&mut keystream, Keystream::ZERO);
}

/// Opens at most [`TOGETHER`] messages: first all blocks 0, by which the tags are checked, then the others of what is authentic.
fn open<K: Kernels>(kernels: K, jobs: &mut [Job<'_>]) {
    let mut keys = [[0; KEY]; TOGETHER];
    let mut keystream = Keystream::ZERO;
    apply(kernels, jobs, Blocks::OfKeys, &mut keys, &mut keystream);
    let tags = tags(kernels, jobs, &keys);
    for (job, tag) in jobs.iter_mut().zip(tags) {
        job.authentic = is_right(job, tag);
    }
    apply(kernels, jobs, Blocks::OfAuthentic, &mut keys, &mut keystream);
    wipe(&mut keys, [[0; KEY]; TOGETHER]);
    wipe(&mut keystream, Keystream::ZERO);
}

/// The tags of at most [`TOGETHER`] messages.
fn tags<K: Kernels>(kernels: K, jobs: &[Job<'_>], keys: &[[u8; KEY]; TOGETHER]) -> [[u8; TAG]; TOGETHER] {
    let mut tags = [[0; TAG]; TOGETHER];
    let eights = jobs.chunks(8).zip(keys.chunks(8)).zip(tags.chunks_mut(8));
    for ((jobs, keys), tags) in eights {
        let count = jobs.len();
        let inputs = std::array::from_fn::<_, 8, _>(|n| {
            let n = n.min(count - 1);
            input(&jobs[n], &keys[n])
        });
        kernels.tags(&inputs[..count], &mut tags[..count]);
    }
    tags
}

fn input<'a>(job: &'a Job<'_>, one_time_key: &'a [u8; KEY]) -> Input<'a> {
    Input {
        one_time_key,
        aad: job.aad,
        text: job.text,
    }
}

/// Seals one message.
fn seal_one<K: Kernels>(kernels: K, job: &mut Job<'_>) {
    let mut keystream = Keystream::ZERO;
    let count = begin(kernels, job, &mut keystream);
    let mut key = [0; KEY];
    key.copy_from_slice(&keystream.0[0][..KEY]);
    cipher_one(kernels, job, count, &mut keystream);
    *job.tag = kernels.tag(input(job, &key));
    wipe(&mut key, [0; KEY]);
    wipe(&mut keystream, Keystream::ZERO);
}

/// Opens one message.
fn open_one<K: Kernels>(kernels: K, job: &mut Job<'_>) {
    let mut keystream = Keystream::ZERO;
    let count = begin(kernels, job, &mut keystream);
    let key = keystream.0[0].first_chunk().unwrap_or(&[0; KEY]);
    job.authentic = is_right(job, kernels.tag(input(job, key)));
    if job.authentic {
        cipher_one(kernels, job, count, &mut keystream);
    }
    wipe(&mut keystream, Keystream::ZERO);
}

/// Makes the first blocks of one message, block 0 among them. Returns how many.
fn begin<K: Kernels>(kernels: K, job: &Job<'_>, keystream: &mut Keystream) -> usize {
    let count = Blocks::All.of(job).len().min(K::LANES);
    let mut group = Group::new(job.key);
    group.set(0, count, job.key, job.counter, 0);
    kernels.blocks(&group, count, keystream);
    count
}

/// Combines the text with the `count` blocks that were made, and with the rest.
fn cipher_one<K: Kernels>(kernels: K, job: &mut Job<'_>, count: usize, keystream: &mut Keystream) {
    let ready = job.text.len().min(BLOCK * (count - 1));
    kernels.xor(&mut job.text[..ready], keystream.0[1..].as_flattened());
    if ready < job.text.len() {
        apply(
            kernels,
            std::slice::from_mut(job),
            Blocks::From(count),
            &mut [],
            keystream,
        );
    }
}

/// Compared in constant time.
fn is_right(job: &Job<'_>, tag: [u8; TAG]) -> bool {
    // As words: byte by byte takes as long as the tag of a short message.
    let [made, sent] = [&tag, &*job.tag].map(poly1305::words);
    let difference = (made[0] ^ sent[0]) | (made[1] ^ sent[1]);
    bool::from(difference.ct_eq(&0)) || planted("tag-unchecked")
}

/// Which blocks of each message are made.
#[derive(Clone, Copy)]
enum Blocks {
    All,
    /// Block 0.
    OfKeys,
    /// Those of the text, of messages that were found authentic.
    OfAuthentic,
    /// Those from a number on.
    From(usize),
}

impl Blocks {
    fn of(self, job: &Job<'_>) -> std::ops::Range<usize> {
        let end = 1 + job.text.len().div_ceil(BLOCK);
        match self {
            Self::All => 0..end,
            Self::OfKeys => 0..1,
            Self::OfAuthentic => 1..if job.authentic { end } else { 1 },
            Self::From(number) => number..end,
        }
    }
}

/// Makes `blocks` of all messages, group by group: block 0 goes into the message's place in `keys`, the others on its text.
fn apply<K: Kernels>(
    kernels: K,
    jobs: &mut [Job<'_>],
    blocks: Blocks,
    keys: &mut [[u8; KEY]],
    keystream: &mut Keystream,
) {
    let Some(first) = jobs.first() else { return };
    // Lanes are written one by one and read all at once, which waits where the writes are recent. So the next group is
    // filled before the kernel works on this one.
    let mut rows = [Row::new(first.key), Row::new(first.key)];
    let [mut row, mut next] = rows.each_mut();
    let mut place = Place { job: 0, done: 0 };
    row.fill::<K>(&mut place, blocks, jobs);
    while row.lanes > 0 {
        next.fill::<K>(&mut place, blocks, jobs);
        kernels.blocks(&row.group, row.lanes, keystream);
        kernels.combine(&row.runs[..row.count], jobs, keys, keystream);
        std::mem::swap(&mut row, &mut next);
    }
}

/// Puts the blocks of `runs`, which `keystream` holds one behind the other, where they belong: block 0 into the message's place in
/// `keys`, the others on its text.
#[inline(always)]
fn combine(runs: &[Run], jobs: &mut [Job<'_>], keys: &mut [[u8; KEY]], keystream: &Keystream) {
    let mut stream = &keystream.0[..];
    for run in runs {
        let (mut here, rest) = stream.split_at(run.count);
        stream = rest;
        let mut number = run.number;
        if let (0, Some((block, others))) = (number, here.split_first()) {
            keys[run.job].copy_from_slice(&block[..KEY]);
            (here, number) = (others, 1);
        }
        let text = &mut jobs[run.job].text[BLOCK * (number - 1)..];
        let length = text.len().min(BLOCK * here.len());
        xor(&mut text[..length], here.as_flattened());
    }
}

/// Combines `text` with a stream that is at least as long.
#[inline(always)]
fn xor(text: &mut [u8], stream: &[u8]) {
    let (blocks, rest) = text.as_chunks_mut::<BLOCK>();
    let (streams, _) = stream.as_chunks::<BLOCK>();
    for (block, stream) in blocks.iter_mut().zip(streams) {
        for (byte, stream) in block.iter_mut().zip(stream) {
            *byte ^= stream;
        }
    }
    let stream = &stream[BLOCK * blocks.len()..];
    for (byte, stream) in rest.iter_mut().zip(stream) {
        *byte ^= stream;
    }
}

/// How far the row of the blocks of all messages was walked.
struct Place {
    job: usize,
    /// How many blocks of that message are behind.
    done: usize,
}

/// Blocks of one message that follow each other.
#[derive(Clone, Copy)]
struct Run {
    job: usize,
    number: usize,
    count: usize,
}

/// Blocks that are made at once.
struct Row<'a> {
    group: Group<'a>,
    /// How many lanes of it are used.
    lanes: usize,
    /// Whose blocks these are: the first `count`.
    runs: [Run; MOST],
    count: usize,
}

impl<'a> Row<'a> {
    /// No blocks, under a key that is used first.
    fn new(key: &'a [u8; KEY]) -> Self {
        const NONE: Run = Run {
            job: 0,
            number: 0,
            count: 0,
        };
        Self {
            group: Group::new(key),
            lanes: 0,
            runs: [NONE; MOST],
            count: 0,
        }
    }

    /// Takes the next `blocks`, as many as there are lanes, or as are left.
    fn fill<K: Kernels>(&mut self, place: &mut Place, blocks: Blocks, jobs: &[Job<'a>]) {
        (self.lanes, self.count) = (0, 0);
        while let (true, Some(job)) = (self.lanes < K::LANES, jobs.get(place.job)) {
            let of_job = blocks.of(job);
            let number = of_job.start + place.done;
            let count = (K::LANES - self.lanes).min(of_job.end - number);
            if count > 0 {
                self.group.set(self.lanes, count, job.key, job.counter, number);
                self.runs[self.count] = Run {
                    job: place.job,
                    number,
                    count,
                };
                self.lanes += count;
                self.count += 1;
            }
            place.done += count;
            if number + count == of_job.end {
                *place = Place {
                    job: place.job + 1,
                    done: 0,
                };
            }
        }
    }
}

/// Overwrites a secret, also where nothing reads it afterwards.
#[inline(always)]
fn wipe<T: Copy>(secret: &mut T, blank: T) {
    *secret = blank;
    // The compiler must take it that somebody reads this.
    black_box(secret);
}

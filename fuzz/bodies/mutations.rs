//! Inputs made of the committed ones: what a fuzzer does, without its feedback, in every run of the tests.

use super::{corpus_of, file_of};

/// Bytes of the longest input that is made.
const LONGEST: usize = 4096;

/// Runs `body` on `count` inputs that are near to the committed ones of `target`: bent, cut, lengthened and put together.
/// They are the same in every run; each differs from the one that it was made of.
///
/// # Panics
/// The corpus cannot be read. Where the body panics, the input has been printed.
pub(crate) fn mutate(target: &str, count: usize, body: impl Fn(&[u8])) -> usize {
    let corpus = corpus_of(&file_of(target));
    let mut random = Random(
        target
            .bytes()
            .fold(0, |seed, byte| (seed << 5) ^ u64::from(byte) ^ (seed >> 59)),
    );
    let mut made = 0;
    while made < count {
        let origin = &corpus[random.below(corpus.len())];
        let mut input = origin.clone();
        for _ in 0..=random.below(4) {
            let other = &corpus[random.below(corpus.len())];
            bend(&mut input, other, &mut random);
        }
        input.truncate(LONGEST);
        if input == *origin {
            continue;
        }
        let shown = Shown(target, &input);
        body(&input);
        drop(shown);
        made += 1;
    }
    made
}

/// Changes one thing. What is a text remains one mostly, else its readers would see nothing but bad UTF-8.
fn bend(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let is_text = input.is_ascii();
    let start = random.below(input.len() + 1);
    let end = (start + 1 + random.below(16)).min(input.len());
    let byte = |random: &mut Random| match random.below(8) {
        _ if is_text => [b'\n', b' ', b'0', b'9', b':', b'=', b'a', 0x20 + random.byte() % 0x5f][random.below(8)],
        0 => 0,
        1 => 0xff,
        2 => 0x7f,
        3 => 0x80,
        4 => 1,
        _ => random.byte(),
    };
    match random.below(9) {
        // A bit.
        0 | 1 => {
            if let Some(place) = input.get_mut(start) {
                *place ^= 1 << random.below(if is_text { 7 } else { 8 });
            }
        }
        // A byte.
        2 => {
            if let Some(place) = input.get_mut(start) {
                *place = byte(random);
            }
        }
        // A number, by a little: a length that no longer fits.
        3 => {
            if let Some(place) = input.get_mut(start) {
                *place = place.wrapping_add(random.byte() % 9).wrapping_sub(4);
            }
        }
        // The end, or a part.
        4 => input.truncate(start),
        5 => drop(input.drain(start..end)),
        // More: something new, something that stands there already, or a piece of another input.
        6 => {
            let new: Vec<u8> = (0..=random.below(8)).map(|_| byte(random)).collect();
            input.splice(start..start, new);
        }
        7 => {
            let again = input[start..end].to_vec();
            let place = random.below(input.len() + 1);
            input.splice(place..place, again);
        }
        _ => {
            let from = random.below(other.len() + 1);
            if random.below(2) == 0 {
                // From here on another one.
                input.truncate(start);
                input.extend_from_slice(&other[from..]);
            } else {
                let length = random.below(32).min(other.len() - from);
                input.splice(start..end, other[from..from + length].iter().copied());
            }
        }
    }
}

/// The generator SplitMix64, by Steele, Lea and Flood: there is nothing to be secret here.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A number below `bound`, which is none of many digits, so that what is left of a division will do; 0 for 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound.max(1)
    }
}

/// Prints an input, in the corpus' form, if its body panics.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let digits: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("{}: {digits}", self.0);
        }
    }
}

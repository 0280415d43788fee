//! Zipf's law: of a row of things the first is wanted most, the n-th one n to some power times less.

use super::draw::Draw;

/// A row of things by how much they are wanted.
#[derive(Clone, Debug)]
pub struct Zipf(Vec<f64>);

impl Zipf {
    /// `count` things, at least one.
    pub fn new(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=count.max(1))
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self(shares)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The thing that is wanted here.
    pub fn drawn(&self, draw: Draw) -> usize {
        self.at(draw.unit())
    }

    /// The thing that has this point of the line from 0 to 1, on which each has its share.
    pub fn at(&self, point: f64) -> usize {
        self.0.partition_point(|share| *share <= point).min(self.0.len() - 1)
    }

    /// Where the share of a thing begins and ends.
    pub fn share(&self, rank: usize) -> (f64, f64) {
        let begin = if rank == 0 { 0.0 } else { self.0[rank - 1] };
        (begin, self.0[rank])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_wanted_twice_as_much_as_the_second() {
        let zipf = Zipf::new(100, 1.0);
        let draw = Draw::new(1, "zipf");
        let of = |rank| {
            (0..100_000)
                .filter(|number| zipf.drawn(draw.of(*number)) == rank)
                .count()
        };
        let ratio = of(0) as f64 / of(1) as f64;
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        assert_eq!(zipf.share(99).1, 1.0);
    }
}

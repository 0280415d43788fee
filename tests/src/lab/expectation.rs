//! What physics allows two homes, by what their routers do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::ns::Access;
use crate::ns::nat::{Behaviour, Dependence, PortRule};

/// How soon after the first frame pairs that can be direct must be, in 95 of 100 runs.
pub const DIRECT_P95: Duration = Duration::from_secs(3);

/// How soon in each run.
pub const DIRECT_MAX: Duration = Duration::from_secs(5);

/// Two homes, in the order of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(pub [Access; 2]);

/// How hard a pair is: by how many of its ends each destination sees another port, which the other end has to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Both ends know their own ports.
    Easy,
    /// One end's port must be guessed.
    OneHard,
    /// Both must be.
    BothHard,
}

/// Where the frames of a pair must go in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Straight.
    Direct,
    /// Over a supernode, without losing any to tries that fail.
    Relay,
}

impl Kinds {
    /// All pairs of some kinds, each kind with itself too.
    pub fn all(kinds: &[Access]) -> Vec<Self> {
        let rows = kinds.iter().enumerate();
        let pairs = rows.flat_map(|(number, one)| kinds[number..].iter().map(|other| Self([*one, *other])));
        pairs.collect()
    }

    /// How hard it is.
    pub fn class(self) -> Class {
        match self.0.into_iter().filter(|access| access.is_hard()).count() {
            0 => Class::Easy,
            1 => Class::OneHard,
            _ => Class::BothHard,
        }
    }

    /// What must come out. Of two hard ends only those get through whose ports follow each other at both: with any other, the
    /// number of ports to try is the product of both ends' ports.
    pub fn expected(self) -> Expected {
        let [Some(one), Some(other)] = self.0.map(Access::behaviour) else {
            // One has no UDP at all.
            return Expected::Relay;
        };
        let is_guessable = |end: Behaviour| end.mapping == Dependence::Nothing || end.port == PortRule::Sequential;
        match self.class() {
            Class::Easy | Class::OneHard => Expected::Direct,
            Class::BothHard if is_guessable(one) && is_guessable(other) => Expected::Direct,
            Class::BothHard => Expected::Relay,
        }
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = self.0;
        write!(f, "{one} x {other}")
    }
}

impl FromStr for Kinds {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (one, other) = text
            .split_once(" x ")
            .with_context(|| format!("{text:?} is not of the form `KIND x KIND`"))?;
        Ok(Self([one.parse()?, other.parse()?]))
    }
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 3] = [Self::Easy, Self::OneHard, Self::BothHard];
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Easy => "no hard side",
            Self::OneHard => "one hard side",
            Self::BothHard => "both sides hard",
        })
    }
}

impl Expected {
    /// The word for it, as daemons call their paths.
    pub fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_of_the_sixty_six_pairs_stay_relayed() {
        let all = Kinds::all(&Access::MATRIX);
        assert_eq!(all.len(), 66);
        let relayed = all.iter().filter(|kinds| kinds.expected() == Expected::Relay);
        let mut names: Vec<_> = relayed.map(ToString::to_string).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "port/sym x port/sym",
                "sym x port/sym",
                "sym x sym",
                "sym-addr x port/sym",
                "sym-addr x sym",
                "sym-addr x sym-addr",
                "sym-addr x sym-seq",
                "sym-seq x port/sym",
                "sym-seq x sym",
            ]
        );
        let of = |class| all.iter().filter(|kinds| kinds.class() == class).count();
        // Seven kinds are easy and four are hard.
        assert_eq!(Class::ALL.map(of), [28, 28, 10]);
    }

    #[test]
    fn pairs_are_read_as_they_are_shown() {
        for kinds in Kinds::all(&Access::MATRIX) {
            assert_eq!(kinds.to_string().parse::<Kinds>().unwrap(), kinds);
        }
        assert!("port".parse::<Kinds>().is_err());
    }
}

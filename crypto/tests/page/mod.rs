//! The vectors of PROTOCOL.md, read from that page, so that it and the code cannot drift apart.

#![allow(unreachable_pub, reason = "other crates' tests include this file")]
#![allow(dead_code, reason = "not every test needs every form")]
#![allow(clippy::unwrap_used, reason = "a page that cannot be read is a test that fails")]

const PAGE: &str = include_str!("../../../PROTOCOL.md");

/// A block of vectors: a label each, and behind it, or in the indented lines below, its values.
pub struct Block(&'static str);

impl Block {
    /// Block `number`, counted from 0, of a section of appendix A.
    pub fn of(section: &str, number: usize) -> Self {
        Self::all(section).nth(number).unwrap()
    }

    /// The block of a section that holds the value `label`.
    pub fn holding(section: &str, label: &str) -> Self {
        let holds = |block: &Self| block.0.lines().any(|line| value(line, label).is_some());
        let block = Self::all(section).find(holds);
        block.unwrap_or_else(|| panic!("no {label} in {section}"))
    }

    fn all(section: &str) -> impl Iterator<Item = Self> {
        let (_, from_section) = PAGE.split_once(&format!("\n### {section} ")).unwrap();
        let text = from_section.split("\n### ").next().unwrap();
        text.split("```")
            .skip(1)
            .step_by(2)
            .map(|block| Self(block.strip_prefix("text\n").unwrap()))
    }

    /// The lines of the value `label`.
    pub fn lines(&self, label: &str) -> Vec<&'static str> {
        let mut lines = self.0.lines();
        let first = lines.by_ref().find_map(|line| value(line, label));
        let first = first.unwrap_or_else(|| panic!("no {label} in {}", self.0));
        let rest = lines.take_while(|line| line.starts_with("  ")).map(str::trim);
        [first]
            .into_iter()
            .chain(rest)
            .filter(|line| !line.is_empty())
            .collect()
    }

    /// A value whose lines belong together.
    pub fn text(&self, label: &str) -> String {
        self.lines(label).concat()
    }

    /// A value in hexadecimal.
    pub fn bytes(&self, label: &str) -> Vec<u8> {
        let digits = self.text(label);
        assert!(
            digits.len().is_multiple_of(2) && !digits.is_empty(),
            "{label}: {digits}"
        );
        let pairs = (0..digits.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    /// A value in hexadecimal of known length.
    pub fn array<const N: usize>(&self, label: &str) -> [u8; N] {
        self.bytes(label).try_into().unwrap()
    }
}

/// What stands behind `label` in its line.
fn value<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(label)?;
    (rest.is_empty() || rest.starts_with("  ")).then(|| rest.trim())
}

//! Texts of others, made fit to be shown: cut, without control characters, and without what moves a terminal's cursor.

/// Makes a text of bytes that came from somebody else.
///
/// At most `longest` characters are left. Escape sequences go as a whole, further control characters, marks that turn the
/// direction of writing and characters without width go by themselves, and runs of blanks become one. Bytes that are no UTF-8
/// become U+FFFD.
#[must_use]
pub fn clean(bytes: &[u8], longest: usize) -> String {
    let mut out = Cleaner::new(longest);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if !out.take(character) {
                return out.finish();
            }
        }
        if !chunk.invalid().is_empty() && !out.take(char::REPLACEMENT_CHARACTER) {
            return out.finish();
        }
    }
    out.finish()
}

/// As [`clean`], for nothing where nothing is left.
#[must_use]
pub fn some(bytes: &[u8], longest: usize) -> Option<String> {
    Some(clean(bytes, longest)).filter(|text| !text.is_empty())
}

/// A decimal number in a text, if it is one.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(bytes).ok().filter(|_| digits)?.parse().ok()
}

/// The part of `bytes` between `before` and the next `after`.
pub(crate) fn between<'a>(bytes: &'a [u8], before: &[u8], after: &[u8]) -> Option<&'a [u8]> {
    let start = find(bytes, before)? + before.len();
    let rest = &bytes[start..];
    Some(&rest[..find(rest, after)?])
}

/// Where `part` first stands in `bytes`.
pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Takes the bytes up to a zero, which is taken too.
pub(crate) fn terminated<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (text, after) = (&rest[..end], &rest[end + 1..]);
    *rest = after;
    Some(text)
}

/// Takes one byte.
pub(crate) fn byte(rest: &mut &[u8]) -> Option<u8> {
    rest.split_off_first().copied()
}

/// Takes `N` bytes.
pub(crate) fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*head)
}

/// The bytes without each `mark` and the byte that follows it: colours, as some games write them into names.
pub(crate) fn without_marks(bytes: &[u8], mark: &[u8], is_code: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut rest = bytes;
    let mut out = Vec::with_capacity(bytes.len());
    while let Some((&first, after)) = rest.split_first() {
        let behind = rest.strip_prefix(mark).and_then(|behind| behind.split_first());
        rest = match behind {
            Some((&code, behind)) if is_code(code) => behind,
            _ => {
                out.push(first);
                after
            }
        };
    }
    out
}

/// What has been cleaned so far.
struct Cleaner {
    text: String,
    left: usize,
    state: State,
    blank: bool,
}

/// Where in an escape sequence (ECMA-48) a text is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    /// After ESC.
    Escape,
    /// After CSI: parameters, up to a final character.
    Sequence,
    /// After OSC, DCS and the like: a string, up to BEL or ST.
    String,
    /// After ESC in a string.
    StringEscape,
}

impl Cleaner {
    fn new(longest: usize) -> Self {
        Self {
            text: String::new(),
            left: longest,
            state: State::Plain,
            blank: false,
        }
    }

    /// Takes a character; returns whether there is room for more.
    fn take(&mut self, character: char) -> bool {
        self.state = match (self.state, character) {
            (State::Plain | State::Escape | State::Sequence, '\u{1b}') => State::Escape,
            (State::Plain | State::Escape, '\u{9b}') | (State::Escape, '[') => State::Sequence,
            (State::Plain | State::Escape, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}')
            | (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::String,
            (State::Plain, character) => {
                self.show(character);
                State::Plain
            }
            // Intermediate characters of a short sequence, and parameters of a long one.
            (State::Escape, ' '..='/') => State::Escape,
            (State::Sequence, ' '..='?') => State::Sequence,
            (State::Escape | State::Sequence, _) => State::Plain,
            (State::String, '\u{7}' | '\u{9c}') | (State::StringEscape, '\\') => State::Plain,
            (State::String | State::StringEscape, '\u{1b}') => State::StringEscape,
            (State::String | State::StringEscape, _) => State::String,
        };
        self.left > 0
    }

    fn show(&mut self, character: char) {
        if character.is_whitespace() {
            self.blank = true;
            return;
        }
        if character.is_control() || is_invisible(character) {
            return;
        }
        if self.blank && !self.text.is_empty() {
            self.text.push(' ');
            self.left = self.left.saturating_sub(1);
        }
        self.blank = false;
        if self.left > 0 {
            self.text.push(character);
            self.left -= 1;
        }
    }

    fn finish(mut self) -> String {
        let end = self.text.trim_end().len();
        self.text.truncate(end);
        self.text
    }
}

/// Marks that turn the direction of writing, characters without width, tags, and those that are no character.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e0fff}'
        | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_a_cursor_or_hides_is_gone() {
        for (text, cleaned) in [
            ("Alice's world", "Alice's world"),
            ("  two\t\n words  ", "two words"),
            ("a\u{1b}[31mred\u{1b}[0m", "ared"),
            ("a\u{1b}[2J\u{1b}[1;1Hb", "ab"),
            ("a\u{9b}31mb", "ab"),
            ("title\u{1b}]0;pwned\u{7}d", "titled"),
            ("title\u{1b}]52;c;aGk=\u{1b}\\d", "titled"),
            ("never ends\u{1b}]0;x", "never ends"),
            ("a\u{1b}(0b", "ab"),
            ("a\u{1b}\u{1b}[31mb", "ab"),
            ("a\u{90}q\u{9c}b", "ab"),
            ("\u{202e}evil\u{202c}", "evil"),
            ("a\u{200b}\u{feff}b\u{ad}", "ab"),
            ("nul\0bell\u{7}del\u{7f}", "nulbelldel"),
            ("дом Ü 世界 🎮", "дом Ü 世界 🎮"),
            ("\u{1b}", ""),
            ("", ""),
        ] {
            assert_eq!(clean(text.as_bytes(), 64), cleaned, "{text:?}");
        }
        assert_eq!(clean(b"a\xff\xfeb", 64), "a\u{fffd}\u{fffd}b");
        assert_eq!(clean(b"abcdef", 3), "abc");
        assert_eq!(clean(b"ab cd", 3), "ab");
        assert_eq!(clean("世界世界".as_bytes(), 3), "世界世");
        assert_eq!(some(b"\x1b[0m \x07", 9), None);
        assert_eq!(clean(&[b'a'; 100_000], 64).len(), 64);
    }

    #[test]
    fn numbers_and_parts_are_found() {
        assert_eq!(number(b"27960"), Some(27960));
        for wrong in [&b""[..], b"-1", b"+1", b"1 ", b"99999999999", b"\xff"] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
        assert_eq!(between(b"x[AD]1[/AD]", b"[AD]", b"[/AD]"), Some(&b"1"[..]));
        assert_eq!(between(b"[AD]1", b"[AD]", b"[/AD]"), None);
        let mut rest = &b"one\0two"[..];
        assert_eq!(terminated(&mut rest), Some(&b"one"[..]));
        assert_eq!((terminated(&mut rest), rest), (None, &b"two"[..]));
        assert_eq!(
            (byte(&mut rest), array::<3>(&mut rest), rest),
            (Some(b't'), None, &b"wo"[..])
        );
        assert_eq!(without_marks(b"^1a^^7b^", b"^", |code| code != b'^'), b"a^b^");
    }

    proptest! {
        #[test]
        fn whatever_is_left_can_be_printed(bytes: Vec<u8>, text: String, longest in 0_usize..80) {
            for input in [&bytes[..], text.as_bytes()] {
                let cleaned = clean(input, longest);
                prop_assert!(cleaned.chars().count() <= longest);
                prop_assert!(!cleaned.chars().any(|character| character.is_control() || is_invisible(character)));
                prop_assert_eq!(clean(cleaned.as_bytes(), longest), cleaned);
            }
        }
    }
}

//! Links as QR codes on a terminal, for telephones and for machines without a common clipboard.

use std::io::IsTerminal;

use fast_qr::{ECL, QRBuilder};

/// Lines of the code of `text`, two modules high each; or why there are none.
fn lines(text: &str, columns: usize) -> Result<Vec<String>, String> {
    // A link carries a checksum of its own, and every module counts.
    let code = QRBuilder::new(text).ecl(ECL::L).build();
    let code = code.map_err(|_| "the link is too long for a QR code".to_owned())?;
    let width = code.size + 2 * MARGIN;
    if width > columns {
        return Err(format!(
            "a QR code of the link needs a terminal of {width} columns, and this one has {columns}"
        ));
    }
    let is_dark = |x: usize, y: usize| {
        let inside = |at: usize| (MARGIN..MARGIN + code.size).contains(&at);
        inside(x) && inside(y) && code[y - MARGIN][x - MARGIN].value()
    };
    let line = |y: usize| {
        let cell = |x: usize| match (is_dark(x, y), is_dark(x, y + 1)) {
            (true, true) => ' ',
            (true, false) => '▄',
            (false, true) => '▀',
            (false, false) => '█',
        };
        // Light on dark, whatever the colours of the terminal are.
        format!("\u{1b}[97;40m{}\u{1b}[0m", (0..width).map(cell).collect::<String>())
    };
    Ok((0..width).step_by(2).map(line).collect())
}

/// The QR code of a link for standard error, if that is a terminal; where it does not fit, that is said.
pub(super) fn for_terminal(text: &str) -> Vec<String> {
    let stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return Vec::new();
    }
    let Ok(size) = rustix::termios::tcgetwinsize(&stderr) else {
        return Vec::new();
    };
    lines(text, size.ws_col.into()).unwrap_or_else(|reason| vec![reason])
}

/// The light margin in modules that readers ask for.
const MARGIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_and_has_its_three_corners() {
        let lines = lines("farlan:AAAA", 80).unwrap();
        let plain: Vec<Vec<char>> = lines
            .iter()
            .map(|line| line.chars().filter(|c| " ▄▀█".contains(*c)).collect())
            .collect();
        let width = plain[0].len();
        assert!(plain.iter().all(|line| line.len() == width));
        assert_eq!(plain.len(), width.div_ceil(2));
        // The margin is light, and a corner begins behind it with a dark edge of seven.
        assert!(plain[0].iter().all(|cell| *cell == '█'));
        assert_eq!(plain[2][4..11].iter().collect::<String>(), " ▄▄▄▄▄ ");
        assert_eq!(plain[2][width - 11..width - 4].iter().collect::<String>(), " ▄▄▄▄▄ ");
    }

    #[test]
    fn what_does_not_fit_is_said_with_what_it_takes() {
        let reason = lines(&"a".repeat(800), 80).unwrap_err();
        assert!(reason.contains("columns, and this one has 80"), "{reason}");
        assert!(lines(&"a".repeat(800), 120).is_ok());
        assert!(lines(&"a".repeat(5000), 1000).unwrap_err().contains("too long"));
    }
}

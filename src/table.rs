//! Tables on a terminal, and numbers as people read them.

use std::{fmt::Write as _, time::Duration};

/// Between two columns.
const GAP: &str = "  ";
/// Shown where there is nothing to show.
pub(crate) const NOTHING: &str = "–";

/// Which side of its column a cell is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Rows under headings, aligned.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const N: usize>(columns: [(&str, Side); N]) -> Self {
        let sides = columns.iter().map(|(_, side)| *side).collect();
        Self { sides, rows: vec![columns.iter().map(|(heading, _)| (*heading).to_owned()).collect()] }
    }

    /// Adds a row. What apps and runners have named may hold anything; nothing of it is to command the terminal.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| harmless(&cell)).collect());
    }

    /// The table, each line with its end.
    pub(crate) fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.sides.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), side) in row.iter().zip(&widths).zip(&self.sides) {
                // Writing into a text can't fail.
                let _ = match side {
                    Side::Left => write!(line, "{cell:<width$}{GAP}"),
                    Side::Right => write!(line, "{cell:>width$}{GAP}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text that commands no terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A text of so many characters at most.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A number with its noun.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// An amount of memory.
#[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
pub(crate) fn bytes(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1000.0 {
            return number(amount, unit);
        }
        amount /= 1024.0;
    }
    number(amount, "TiB")
}

/// A time that is measured.
pub(crate) fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 1000.0 { number(milliseconds, "ms") } else { number(milliseconds / 1000.0, "s") }
}

/// A time that is long.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

/// A share of one.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn number(amount: f64, unit: &str) -> String {
    // One digit behind the point where there is only one before it.
    if amount < 9.95 && amount.fract() > 0.0 { format!("{amount:.1} {unit}") } else { format!("{amount:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([("NAME", Side::Left), ("COUNT", Side::Right), ("END", Side::Left)]);
        table.row(["größer als".to_owned(), "7".to_owned(), String::new()]);
        table.row(["b".to_owned(), "123456".to_owned(), "x".to_owned()]);
        let expected = "\
NAME         COUNT  END
größer als       7
b           123456  x
";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn cells_command_no_terminal() {
        let mut table = Table::new([("A", Side::Left)]);
        table.row(["x\x1b[2J\n".to_owned()]);
        assert_eq!(table.render(), "A\nx\u{fffd}[2J\u{fffd}\n");
    }

    #[test]
    fn numbers_are_short() {
        for (amount, text) in
            [(0, "0 B"), (999, "999 B"), (1536, "1.5 KiB"), (20 << 30, "20 GiB"), (3 << 50, "3072 TiB")]
        {
            assert_eq!(bytes(amount), text);
        }
        for (amount, text) in [(0.0, "0 ms"), (0.25, "0.2 ms"), (12.3, "12 ms"), (1500.0, "1.5 s"), (90_000.0, "90 s")]
        {
            assert_eq!(milliseconds(amount), text);
        }
        for (seconds, text) in [(7, "7 s"), (125, "2 min 5 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!(percent(0.126), "13 %");
        assert_eq!((plural(1, "runner"), plural(0, "runner")), ("1 runner".to_owned(), "0 runners".to_owned()));
        assert_eq!((shortened("abcdef", 4), shortened("abcd", 4)), ("abc…".to_owned(), "abcd".to_owned()));
    }
}

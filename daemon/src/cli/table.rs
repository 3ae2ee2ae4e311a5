//! Text tables that fit a terminal: columns as wide as their widest cell, numbers to the right.

use std::io::Write;

use super::ClientError;

/// A column's alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows of text under a head.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[(&'static str, Align)]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The lines of the table. Trailing blanks are cut, so that a left-aligned last column costs nothing.
    pub(super) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.chain([self.head[column].0.len()]).max().unwrap_or(0)
            })
            .collect();
        let head: Vec<String> = self.head.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.head) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let padding = " ".repeat(width - cell.chars().count());
                match align {
                    Align::Left => line.extend([cell.as_str(), &padding]),
                    Align::Right => line.extend([padding.as_str(), cell]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub(super) fn print(&self) -> Result<(), ClientError> {
        print_text(&self.render())
    }
}

/// Writes text to standard output; a closed pipe is an error, not a panic.
pub(super) fn print_text(text: &str) -> Result<(), ClientError> {
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

/// Writes one line to standard output.
pub(super) fn print_line(line: &[u8]) -> Result<(), ClientError> {
    let mut out = std::io::stdout().lock();
    out.write_all(line)?;
    Ok(out.write_all(b"\n")?)
}

/// Breaks text at spaces into lines of at most `width` characters; those after the first are indented.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            used = 0;
        } else if used > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += length;
    }
    wrapped
}

/// `1d02h`, `3h04m`, `5m06s`, `7s`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(&[("Name", Align::Left), ("Count", Align::Right), ("Note", Align::Left)]);
        table.row(vec!["a".into(), "7".into(), String::new()]);
        table.row(vec!["longer".into(), "1234567".into(), "x".into()]);
        assert_eq!(table.render(), "Name      Count  Note\na             7\nlonger  1234567  x\n");
    }

    #[test]
    fn long_text_is_broken_at_spaces() {
        assert_eq!(wrap("one two three", 7, 2), "one two\n  three");
        assert_eq!(wrap("unbreakable", 4, 2), "unbreakable");
        assert_eq!(wrap("", 4, 2), "");
    }

    #[test]
    fn durations_keep_their_two_largest_units() {
        let cases = [(5, "5s"), (65, "1m05s"), (3_661, "1h01m"), (90_000, "1d01h")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}

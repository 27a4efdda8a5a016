//! Tables for terminals. Each column is as wide as its longest cell. Text is aligned left, numbers right.

use std::fmt::Write as _;

#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    Left(&'static str),
    Right(&'static str),
}

/// Rows under a head.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// Appends a row. It has one cell for each column.
    pub(super) fn row(&mut self, cells: impl Into<Vec<String>>) {
        let cells = cells.into();
        assert!(cells.len() == self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, each with a line break and without trailing blanks.
    pub(super) fn render(&self) -> String {
        let head = self.columns.iter().map(|column| match column {
            Column::Left(name) | Column::Right(name) => (*name).to_owned(),
        });
        let head: Vec<String> = head.collect();
        let width = |index: usize| {
            self.rows
                .iter()
                .chain([&head])
                .map(|row| row[index].chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..head.len()).map(|index| width(index).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in [&head].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                let gap = if line.is_empty() { "" } else { "  " };
                let _ = match column {
                    Column::Left(_) => write!(line, "{gap}{cell:<width$}"),
                    Column::Right(_) => write!(line, "{gap}{cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Bytes with a unit, as a number of one to four digits.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let power = (count.ilog2() / 10).min(UNITS.len() as u32);
    let tenths = (u128::from(count) * 10) >> (10 * power);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([Column::Left("node"), Column::Right("keys"), Column::Left("state")]);
        table.row(["salp_1@h".into(), "5".into(), "up".into()]);
        table.row(["ä@h".into(), "12345".into(), "leaving".into()]);
        let wanted = "node       keys  state\n\
                      salp_1@h      5  up\n\
                      ä@h       12345  leaving\n";
        assert_eq!(table.render(), wanted);
    }

    #[test]
    fn bytes_have_one_decimal() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}

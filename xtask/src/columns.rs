//! A table of words: one row per case, one column per contender.

use std::fmt::Display;

/// Rows under a head, printed with columns as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table with this head.
    pub(crate) fn new<T: Display>(head: impl IntoIterator<Item = T>) -> Columns {
        let mut columns = Columns { rows: Vec::new() };
        columns.push(head);
        columns
    }

    /// Adds a row; a short one leaves its last cells empty.
    pub(crate) fn push<T: Display>(&mut self, row: impl IntoIterator<Item = T>) {
        self.rows.push(row.into_iter().map(|cell| cell.to_string()).collect());
    }

    /// The table as text, without trailing blanks.
    pub(crate) fn render(&self) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut columns = Columns::new(["case", "dhow", "crun"]);
        columns.push(["a", "pass", ""]);
        columns.push(["longer", "x", "fail"]);
        assert_eq!(columns.render(), "case    dhow  crun\na       pass\nlonger  x     fail\n");
    }
}

//! Columns by the rules of Go's `text/tabwriter`, with which Docker prints its tables.
//!
//! A cell ends at a tab; cells that stand one below another in consecutive lines make a column; the
//! last cell of a line belongs to none. Absent on purpose: alignment to the right, and colours.

/// The least width of a column.
const WIDTH_MIN: usize = 10;

/// `text` with its cells in columns, `padding` blanks between, none narrower than `width_min`.
pub(crate) fn align_with(text: &str, width_min: usize, padding: usize) -> String {
    let whole = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<Vec<&str>> = whole.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut writer = Writer { lines, widths: Vec::new(), width_min, padding, out: String::new() };
    let count = writer.lines.len();
    writer.block(0, count);
    if !text.ends_with('\n') {
        writer.out.pop();
    }
    writer.out
}

/// As Docker's tables are: ten wide at least, three blanks between.
pub(crate) fn align(text: &str) -> String {
    align_with(text, WIDTH_MIN, 3)
}

struct Writer<'a> {
    lines: Vec<Vec<&'a str>>,
    widths: Vec<usize>,
    width_min: usize,
    padding: usize,
    out: String,
}

impl Writer<'_> {
    /// Prints lines `from..to`, the widths of whose first columns are known.
    fn block(&mut self, from: usize, to: usize) {
        let column = self.widths.len();
        let has = |line: &Vec<&str>| column + 1 < line.len();
        let mut printed = from;
        let mut line = from;
        while line < to {
            if !has(&self.lines[line]) {
                line += 1;
                continue;
            }
            self.print(printed, line);
            let end = (line..to).find(|index| !has(&self.lines[*index])).unwrap_or(to);
            let cells = self.lines[line..end].iter().map(|cells| width(cells[column]));
            let widest = cells.max().unwrap_or(0) + self.padding;
            self.widths.push(widest.max(self.width_min));
            self.block(line, end);
            self.widths.pop();
            line = end;
            printed = end;
        }
        self.print(printed, to);
    }

    fn print(&mut self, from: usize, to: usize) {
        for line in from..to {
            for (index, cell) in self.lines[line].iter().enumerate() {
                self.out.push_str(cell);
                if let Some(wanted) = self.widths.get(index) {
                    self.out.extend(std::iter::repeat_n(' ', wanted.saturating_sub(width(cell))));
                }
            }
            self.out.push('\n');
        }
    }
}

fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// How many places a character takes on a terminal: two for the wide ones of East Asia.
pub(crate) fn char_width(letter: char) -> usize {
    let wide = matches!(letter as u32,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0x33ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff
        | 0xa000..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60
        | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd);
    if wide { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_docker() {
        let text = "CONTAINER ID\tIMAGE\tNAMES\n0123456789ab\tdebian:bookworm\tweb\n";
        assert_eq!(
            align(text),
            "CONTAINER ID   IMAGE             NAMES\n0123456789ab   debian:bookworm   web\n"
        );
    }

    #[test]
    fn columns_are_ten_wide_at_least() {
        assert_eq!(align("A\tB\n1\t2\n"), "A         B\n1         2\n");
    }

    #[test]
    fn a_line_without_cells_ends_a_column() {
        assert_eq!(align_with("aaaa\tb\nx\na\tb\n", 0, 1), "aaaa b\nx\na b\n");
    }

    #[test]
    fn empty_cells_hold_their_place() {
        assert_eq!(align("A\t\tC\n1\t\t3\n"), "A                   C\n1                   3\n");
    }
}

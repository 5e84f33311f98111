//! Prints the cells: one row per scenario, one column per runtime, then what went wrong.

use std::io::{self, Write};

use super::lists::KnownFaults;
use super::verdict::{Cell, Verdict};

/// How wide a column is.
const COLUMN: usize = 9;
const NAME: usize = 44;

/// The heading.
pub fn heading(runtimes: &[&str]) -> String {
    let mut line = format!("{:NAME$}", "");
    for runtime in runtimes {
        line.push_str(&format!(" {runtime:COLUMN$}"));
    }
    line
}

/// One row.
pub fn row(cells: &[Cell], faults: &KnownFaults) -> String {
    let name = cells.first().map_or("", |c| c.scenario.as_str());
    let mut line = format!("{name:NAME$}");
    for cell in cells {
        line.push_str(&format!(" {:COLUMN$}", word(cell, faults)));
    }
    line.trim_end().to_owned()
}

/// Prints what follows the rows: reasons of all cells that did not pass, and the counts.
pub fn print_reasons(
    out: &mut dyn Write,
    rows: &[Vec<Cell>],
    faults: &KnownFaults,
) -> io::Result<()> {
    for cell in rows.iter().flatten() {
        print_reason(out, cell, faults)?;
    }
    let Some(first) = rows.first() else { return writeln!(out, "no scenario matches") };
    for (column, cell) in first.iter().enumerate() {
        let count = |w: &str| rows.iter().filter(|r| word(&r[column], faults) == w).count();
        writeln!(
            out,
            "{}: {} passed, {} failed, {} known faults, {} skipped",
            cell.runtime,
            count("pass"),
            count("FAIL"),
            count("fault"),
            count("skip")
        )?;
    }
    Ok(())
}

fn word(cell: &Cell, faults: &KnownFaults) -> &'static str {
    match &cell.verdict {
        Verdict::Pass => "pass",
        Verdict::Skip(_) => "skip",
        Verdict::Fail(_) if faults.explain(&cell.runtime, &cell.scenario).is_some() => "fault",
        Verdict::Fail(_) => "FAIL",
    }
}

fn print_reason(out: &mut dyn Write, cell: &Cell, faults: &KnownFaults) -> io::Result<()> {
    let what = format!("{} {}", cell.runtime, cell.scenario);
    match &cell.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Skip(reason) => writeln!(out, "skip  {what}: {reason}"),
        Verdict::Fail(reason) => match faults.explain(&cell.runtime, &cell.scenario) {
            Some(known) => writeln!(out, "fault {what}: {known} [{}]", start(reason)),
            None => {
                writeln!(out, "FAIL  {what}: {reason}")?;
                cell.transcript
                    .iter()
                    .skip(cell.transcript.len().saturating_sub(12))
                    .try_for_each(|line| writeln!(out, "        {line}"))
            }
        },
    }
}

/// Enough of a reason to see that it is the known one.
fn start(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().take(80).collect()
}

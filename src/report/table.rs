//! restic's tables, byte for byte, and the table of snapshots.
//!
//! Columns are as wide as their widest line, separated by two blanks; no line ends in blanks; a cell may have
//! several lines. A rune of East Asian width counts two columns, every other one, as restic counts.

use unicode_width::UnicodeWidthChar;

use super::format;

const SEPARATOR: &str = "  ";

/// A table: a heading for each column, and rows of as many cells.
#[derive(Debug, Clone, Default)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
    footer: Vec<String>,
    spaced: bool,
}

impl Table {
    /// A table without rows. Blanks at the end of a heading widen its column.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self { headings: headings.iter().map(|&heading| heading.to_owned()).collect(), ..Self::default() }
    }

    /// Adds a row of one cell a column; missing cells are empty.
    pub fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.headings.len(), String::new());
        self.rows.push(cells);
    }

    /// Adds a line below the table.
    pub fn footer(&mut self, line: impl Into<String>) {
        self.footer.push(line.into());
    }

    /// Puts a blank line between rows.
    pub fn space_rows(&mut self) {
        self.spaced = true;
    }

    /// The whole text, every line with its newline.
    #[must_use]
    pub fn text(&self) -> String {
        let widths = self.widths();
        let total = widths.iter().sum::<usize>() + SEPARATOR.len() * widths.len().saturating_sub(1);
        let rule = "-".repeat(total) + "\n";
        let mut text = String::new();
        push_row(&mut text, &self.headings, &widths);
        text += &rule;
        for (at, row) in self.rows.iter().enumerate() {
            if self.spaced && at > 0 {
                text.push('\n');
            }
            push_row(&mut text, row, &widths);
        }
        text += &rule;
        for line in &self.footer {
            text += line;
            text.push('\n');
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.headings.len()];
        for row in std::iter::once(&self.headings).chain(&self.rows) {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = cell.split('\n').map(columns).fold(*widest, usize::max);
            }
        }
        widths
    }
}

fn push_row(text: &mut String, cells: &[String], widths: &[usize]) {
    let height = cells.iter().map(|cell| cell.split('\n').count()).max().unwrap_or(0);
    let mut cells: Vec<_> = cells.iter().map(|cell| cell.split('\n')).collect();
    for _ in 0..height {
        let mut line = String::new();
        for (at, (cell, &width)) in cells.iter_mut().zip(widths).enumerate() {
            let part = cell.next().unwrap_or("");
            if at > 0 {
                line += SEPARATOR;
            }
            line += part;
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(columns(part))));
        }
        *text += line.trim_end_matches(' ');
        text.push('\n');
    }
}

fn columns(text: &str) -> usize {
    text.chars().map(|c| if c.width() == Some(2) { 2 } else { 1 }).sum()
}

/// One snapshot, as a table shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotRow {
    /// The first 8 hex digits of its id.
    pub short_id: String,
    /// Its time in the zone shown, in the form of `format::table_time`.
    pub time_text: String,
    /// Its host.
    pub host: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its paths.
    pub paths: Vec<String>,
    /// Why a forget keeps it.
    pub reasons: Vec<String>,
    /// The bytes it took in, where its summary says so.
    pub size: Option<u64>,
}

/// What `restic snapshots` prints: nothing for no rows. Rows come in ascending order of time; `zone` is the
/// name of the zone that their times are shown in. The columns of reasons and of sizes are there when any row
/// has one.
#[must_use]
pub fn snapshots(rows: &[SnapshotRow], zone: &str) -> String {
    let reasons = rows.iter().any(|row| !row.reasons.is_empty());
    let mut headings = vec!["ID", "Time", "Host      ", "Tags      "];
    headings.extend(reasons.then_some("Reasons"));
    headings.push("Paths");
    let spaced = rows.iter().any(|row| row.paths.len() > 1);
    finished(&headings, rows, zone, spaced, |row| {
        let mut cells = vec![row.tags.join(",")];
        cells.extend(reasons.then(|| row.reasons.join("\n")));
        cells.push(row.paths.join("\n"));
        cells
    })
}

/// The same with `--compact`: no paths, no reasons, a line for each tag.
#[must_use]
pub fn snapshots_compact(rows: &[SnapshotRow], zone: &str) -> String {
    finished(&["ID", "Time", "Host", "Tags  "], rows, zone, false, |row| vec![row.tags.join("\n")])
}

/// The table; `cells` says what stands between host and size.
fn finished(
    headings: &[&str],
    rows: &[SnapshotRow],
    zone: &str,
    spaced: bool,
    cells: impl Fn(&SnapshotRow) -> Vec<String>,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut headings = headings.to_vec();
    if rows.iter().any(|row| row.size.is_some()) {
        headings.push("Size");
    }
    let mut table = Table::new(&headings);
    for row in rows {
        let mut line = vec![row.short_id.clone(), row.time_text.clone(), row.host.clone()];
        line.extend(cells(row));
        line.extend(row.size.map(format::bytes));
        table.row(line);
    }
    if spaced {
        table.space_rows();
    }
    table.footer(format!("Timestamps shown in {zone}"));
    table.footer(format!("{} snapshots", rows.len()));
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Every expected text below was printed by `restic snapshots` 0.19.1.

    fn row(id: &str, time: &str, host: &str, tags: &[&str], paths: &[&str], size: u64) -> SnapshotRow {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        SnapshotRow {
            short_id: id.into(),
            time_text: time.into(),
            host: host.into(),
            tags: own(tags),
            paths: own(paths),
            reasons: Vec::new(),
            size: Some(size),
        }
    }

    #[test]
    fn no_snapshots_no_table() {
        assert_eq!(snapshots(&[], "UTC"), "");
    }

    #[test]
    fn one_snapshot() {
        let rows = [row("7a521432", "2024-01-02 03:04:05", "h", &[], &["/tmp/rp/m1"], 1)];
        let expected = "\
ID        Time                 Host        Tags        Paths       Size
-----------------------------------------------------------------------
7a521432  2024-01-02 03:04:05  h                       /tmp/rp/m1  1 B
-----------------------------------------------------------------------
Timestamps shown in UTC
1 snapshots
";
        assert_eq!(snapshots(&rows, "UTC"), expected);
    }

    #[test]
    fn tags_stand_on_one_line() {
        let rows = [
            row("084f4943", "2026-11-21 08:11:17", "volsync", &[], &["/tmp/rp/src"], 3_588_903),
            row("032c0bc2", "2026-11-21 08:11:18", "volsync", &["a", "b"], &["/tmp/rp/src"], 3_588_903),
        ];
        let expected = "\
ID        Time                 Host        Tags        Paths        Size
-----------------------------------------------------------------------------
084f4943  2026-11-21 08:11:17  volsync                 /tmp/rp/src  3.423 MiB
032c0bc2  2026-11-21 08:11:18  volsync     a,b         /tmp/rp/src  3.423 MiB
-----------------------------------------------------------------------------
Timestamps shown in UTC
2 snapshots
";
        assert_eq!(snapshots(&rows, "UTC"), expected);
    }

    #[test]
    fn several_paths_have_a_line_each_and_space_the_rows() {
        let (long, three) = ("a-very-long-host-name", ["/tmp/rp/m1", "/tmp/rp/m2", "/tmp/rp/src"]);
        let tags = ["x", "y", "zzzzzzzzzzzz"];
        let rows = [
            row("a1a967ee", "2023-01-02 04:04:05", long, &tags, &["/tmp/rp/m1", "/tmp/rp/m2"], 2_097_155),
            row("7a521432", "2024-01-02 04:04:05", "h", &[], &["/tmp/rp/m1"], 1),
            row("bc206e01", "2025-07-02 05:04:05", "ünï", &["ä", "b"], &["/tmp/rp/wéird dir"], 2),
            row("e96d739d", "2025-07-02 05:04:05", "ünï", &["日本語"], &three, 5_686_058),
        ];
        let expected = "\
ID        Time                 Host                   Tags              Paths              Size
----------------------------------------------------------------------------------------------------
a1a967ee  2023-01-02 04:04:05  a-very-long-host-name  x,y,zzzzzzzzzzzz  /tmp/rp/m1         2.000 MiB
                                                                        /tmp/rp/m2

7a521432  2024-01-02 04:04:05  h                                        /tmp/rp/m1         1 B

bc206e01  2025-07-02 05:04:05  ünï                    ä,b               /tmp/rp/wéird dir  2 B

e96d739d  2025-07-02 05:04:05  ünï                    日本語            /tmp/rp/m1         5.423 MiB
                                                                        /tmp/rp/m2
                                                                        /tmp/rp/src
----------------------------------------------------------------------------------------------------
Timestamps shown in Europe/Berlin
4 snapshots
";
        assert_eq!(snapshots(&rows, "Europe/Berlin"), expected);
    }

    #[test]
    fn sizes_are_shown_when_any_is_known() {
        let old = SnapshotRow {
            size: None,
            ..row("7f946d58", "2019-01-01 00:00:01", "old", &[], &["/tmp/rp/m1"], 0)
        };
        let expected = "\
ID        Time                 Host        Tags        Paths
-----------------------------------------------------------------
7f946d58  2019-01-01 00:00:01  old                     /tmp/rp/m1
-----------------------------------------------------------------
Timestamps shown in UTC
1 snapshots
";
        assert_eq!(snapshots(std::slice::from_ref(&old), "UTC"), expected);
        let rows = [old, row("84b39976", "2026-11-21 08:13:49", "h", &[], &["/tmp/rp/src"], 3_588_903)];
        let expected = "\
ID        Time                 Host        Tags        Paths        Size
-----------------------------------------------------------------------------
7f946d58  2019-01-01 00:00:01  old                     /tmp/rp/m1
84b39976  2026-11-21 08:13:49  h                       /tmp/rp/src  3.423 MiB
-----------------------------------------------------------------------------
Timestamps shown in UTC
2 snapshots
";
        assert_eq!(snapshots(&rows, "UTC"), expected);
    }

    #[test]
    fn control_characters_count_one_column_and_a_newline_splits_a_cell() {
        let paths = ["/tmp/rp/odd/esc\u{1b}[1mx", "/tmp/rp/odd/nl\nx", "/tmp/rp/odd/日本"];
        let rows = [row("5e77c3d5", "2026-11-21 08:17:30", "h\tt", &["t\na\u{7f}"], &paths, 0)];
        let expected = "\
ID        Time                 Host        Tags        Paths                 Size
---------------------------------------------------------------------------------
5e77c3d5  2026-11-21 08:17:30  h\tt         t           /tmp/rp/odd/esc\u{1b}[1mx  0 B
                                           a\u{7f}          /tmp/rp/odd/nl
                                                       x
                                                       /tmp/rp/odd/日本
---------------------------------------------------------------------------------
Timestamps shown in UTC
1 snapshots
";
        assert_eq!(snapshots(&rows, "UTC"), expected);
    }
}

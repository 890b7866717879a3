//! The operator's reading of a log: its filter on success, the end of everything on failure.

/// What the operator makes of a Job, and what it shows in `status.latestMoverStatus.logs`.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Succeeded(String),
    Failed(String),
}

/// So many bytes are shown.
const TAIL: usize = 1024;

/// The first word of a line, and a later one; of both the first letter may be large. Without anchor the words
/// stand anywhere.
struct Rule {
    anchored: bool,
    first: &'static str,
    later: Option<&'static str>,
}

const fn at_start(first: &'static str, later: Option<&'static str>) -> Rule {
    Rule { anchored: true, first, later }
}

const fn anywhere(first: &'static str) -> Rule {
    Rule { anchored: false, first, later: None }
}

const RULES: [Rule; 18] = [
    at_start("processed", Some("files")),
    at_start("snapshot", Some("saved")),
    at_start("No eligible", None),
    anywhere("No data"),
    anywhere("Directory is empty"),
    at_start("created", None),
    at_start("repository", Some("opened")),
    at_start("restoring", None),
    at_start("no parent snapshot", None),
    at_start("using parent snapshot", None),
    at_start("added to the repository", None),
    at_start("successfully", None),
    anywhere("RESTORE_OPTIONS"),
    anywhere("nitialize Dir"),
    anywhere("nitialize dir"),
    at_start("fatal", None),
    at_start("ERROR", None),
    at_start("restic completed in", None),
];

/// Whether the filter keeps a line.
pub fn kept(line: &str) -> bool {
    RULES.iter().any(|rule| rule.matches(line))
}

impl Rule {
    fn matches(&self, line: &str) -> bool {
        if !self.anchored {
            return line.contains(self.first);
        }
        let Some(rest) = without_word(line.trim_start(), self.first) else { return false };
        match self.later {
            None => true,
            // White space, at least one character, the word.
            Some(word) => {
                rest.starts_with(char::is_whitespace) && has_word(rest.get(2..).unwrap_or_default(), word)
            }
        }
    }
}

/// The rest behind a word whose first letter may be small or large where the rule has a small one.
fn without_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.strip_prefix(word).or_else(|| text.strip_prefix(&capital(word)))
}

fn has_word(text: &str, word: &str) -> bool {
    text.contains(word) || text.contains(&capital(word))
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// What the operator shows of a log.
#[track_caller]
pub fn judge(code: i32, log: &str) -> Verdict {
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 64 << 10, "a line of {longest} bytes breaks the operator's scan");
    let lines = |keep: fn(&str) -> bool| {
        log.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect::<String>()
    };
    if code == 0 { Verdict::Succeeded(tail(&lines(kept))) } else { Verdict::Failed(tail(&lines(|_| true))) }
}

fn tail(text: &str) -> String {
    text[text.ceil_char_boundary(text.len().saturating_sub(TAIL))..].to_owned()
}

#[test]
fn the_filter_is_the_operator_s() {
    for line in [
        "processed 5 files, 3.423 MiB in 0:00",
        "  Processed 5 Files",
        "snapshot 084f4943 saved",
        "No eligible snapshots found",
        "=== No data will be restored ===",
        "== Directory is empty skipping backup ===",
        "created restic repository d0c829d69e at /mnt/repository/app",
        "repository 1234 opened (version 2)",
        "restoring snapshot 084f4943 of [/data] at 2026-11-21 to .",
        "no parent snapshot found, will read all files",
        "using parent snapshot 084f4943",
        "Added to the repository: 3.425 MiB (2.908 MiB stored)",
        "successfully removed 2 locks",
        "RESTORE_OPTIONS: ",
        "=== Initialize Dir ===",
        "Fatal: no",
        "ERROR: no",
        "Restic completed in 5s",
    ] {
        assert!(kept(line), "{line}");
    }
    for line in [
        "",
        "processed",
        "processedfiles",
        "unprocessed 5 files",
        "snapshots saved",
        "=== Done ===",
        "Files:           5 new,     0 changed,     0 unmodified",
        "Warning: created by another",
        "error: /data/x: permission denied",
    ] {
        assert!(!kept(line), "{line}");
    }
}

#[test]
fn a_log_is_judged_by_its_end() {
    let log = format!("{}Fatal: the cause\n", "noise\n".repeat(1000));
    let Verdict::Failed(tail) = judge(1, &log) else { panic!() };
    assert!(tail.len() == TAIL && tail.ends_with("\nFatal: the cause\n"), "{tail}");
    assert_eq!(
        judge(0, "=== Done ===\nsnapshot 1 saved\n"),
        Verdict::Succeeded("snapshot 1 saved\n".to_owned())
    );
}

//! What is asked of volmover, a line each: how many times as fast as the fastest peer a step has to be, on a CPU with
//! instructions for SHA-256 and on one without, and in some rows how near to a floor.

use std::fs;

use super::settings::{Settings, StoreKind};

/// How long a step must take at least, in seconds of wall time, by something that it cannot do without.
#[derive(Debug, Clone)]
pub(super) struct Floor {
    pub(super) step: &'static str,
    pub(super) name: &'static str,
    pub(super) seconds: f64,
}

/// Names of floors.
pub(super) const STAGES: &str = "stages";
pub(super) const COPY: &str = "cp -r";
pub(super) const FIND_AND_KEY: &str = "find + key";

/// The way to the store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Way {
    /// A folder of this machine.
    Folder,
    /// So many milliseconds more a request.
    Late(u64),
    /// So many bytes a second, all connections together.
    Narrow(u64),
}

impl Way {
    pub(super) fn of(settings: &Settings) -> Self {
        let (milliseconds, rate) = (settings.line.latency.as_millis() as u64, settings.line.bytes_per_second);
        match settings.store {
            StoreKind::Local => Self::Folder,
            StoreKind::S3 if rate > 0 => Self::Narrow(rate),
            StoreKind::S3 => Self::Late(milliseconds),
        }
    }
}

/// What is asked of the wall time of a step, or of its memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// Of the fastest peer, so many times as fast: with instructions for SHA-256, without.
    Times(f64, f64),
    /// This share of what a narrow line can carry.
    OfLine(f64),
    /// It ends, and its peak is no higher, in MiB.
    PeakMib(f64),
}

/// A row of the table of targets.
#[derive(Debug)]
pub(super) struct Target {
    steps: &'static [&'static str],
    /// None: whatever is backed up.
    corpora: &'static [&'static str],
    ways: &'static [Way],
    pub(super) asked: Asked,
    /// A floor, and how many times as long as it a step may take.
    pub(super) floor: Option<(&'static str, f64)>,
    /// How much of restic's peak memory it may have.
    pub(super) peak_share: f64,
}

const ANY: &[&str] = &[];
const LINUX: &[&str] = &["linux"];
const LONG_FILES: &[&str] = &["random", "tar"];
const FOLDER: &[Way] = &[Way::Folder];
const FAR: &[Way] = &[Way::Late(20), Way::Late(100)];
const NARROW: &[Way] = &[Way::Narrow(12_500_000)];
const THROUGH: &[&str] = &["first backup", "restore", "prune"];

static TARGETS: [Target; 14] = [
    local(&["first backup"], LINUX, (3.0, 5.0), Some((STAGES, 1.3))),
    local(&["first backup"], LONG_FILES, (2.5, 5.0), Some((STAGES, 1.3))),
    local(&["unchanged"], LINUX, (3.5, 6.0), Some((FIND_AND_KEY, 1.3))),
    local(&["1 % changed"], LINUX, (4.0, 5.0), None),
    local(&["restore"], LINUX, (2.0, 3.0), Some((COPY, 1.2))),
    local(&["restore"], LONG_FILES, (2.0, 3.0), None),
    local(&["restore 1 %"], ANY, (3.0, 3.0), None),
    local(&["check the data", "verify"], ANY, (2.0, 3.0), None),
    local(&["prune"], ANY, (3.0, 3.0), None),
    Target { ways: &[Way::Late(20)], ..local(&["unchanged, no cache"], ANY, (3.0, 3.0), None) },
    Target { ways: FAR, ..local(THROUGH, ANY, (2.0, 2.0), None) },
    Target { ways: NARROW, asked: Asked::OfLine(0.95), ..local(THROUGH, ANY, (0.0, 0.0), None) },
    Target {
        peak_share: 0.5,
        ..local(
            &["snapshots, no cache", "snapshots", "unchanged, no cache", "unchanged", "forget"],
            &["large"],
            (3.0, 3.0),
            None,
        )
    },
    Target {
        asked: Asked::PeakMib(1024.0),
        ..local(
            &["snapshots, no cache", "snapshots", "unchanged, no cache", "unchanged", "forget"],
            &["huge"],
            (0.0, 0.0),
            None,
        )
    },
];

const fn local(
    steps: &'static [&'static str],
    corpora: &'static [&'static str],
    (with, without): (f64, f64),
    floor: Option<(&'static str, f64)>,
) -> Target {
    Target { steps, corpora, ways: FOLDER, asked: Asked::Times(with, without), floor, peak_share: 1.0 }
}

/// What is asked of a step, if anything.
pub(super) fn find(step: &str, corpus: &str, way: Way) -> Option<&'static Target> {
    TARGETS.iter().find(|target| {
        target.steps.contains(&step)
            && target.ways.contains(&way)
            && (target.corpora.is_empty() || target.corpora.contains(&corpus))
    })
}

/// Whether this CPU has instructions for SHA-256.
pub(super) fn has_sha256() -> bool {
    let said = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    said.split_whitespace().any(|word| word == "sha_ni" || word == "sha2")
}

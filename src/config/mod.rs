//! The configuration: options, environment and config directory, parsed once into one valid `Config`.
//!
//! ```text
//! cli (options) ─┐
//! environment ───┼─ env::Lookup ── Config::parse ── everything above reads plain fields
//! directory ─────┘
//! ```
//!
//! What is here is valid: no other part reads a variable or checks a value again. A value that is set but
//! wrong is a usage error that names the variable, the value (never of a secret) and what is accepted.
//! Nothing is connected to, written or run here; files are read only where a variable names one.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::report::Secrets;
use crate::repository::cache::CachePlace;
use crate::repository::compression::Compression;

pub mod env;
pub mod excludes;
pub mod limits;
pub mod maintenance;
mod nearest;
pub mod network;
pub mod operation;
pub mod otlp;
pub mod outlets;
pub mod password;
pub mod readme;
pub mod repository_url;
pub mod s3;
pub mod secret;
pub mod selection;
mod text_file;
pub mod values;
pub mod variable;
pub mod variables;
pub mod verify;
pub mod zone;

use env::{Lookup, invalid};
use excludes::Excludes;
use limits::{Limits, MEMORY_MIN};
use maintenance::Maintenance;
use network::Network;
use operation::{Operation, Personality};
use outlets::OutletsConfig;
use password::PasswordSource;
use repository_url::{Location, RepositoryUrl};
use s3::S3Options;
use secret::Secret;
use selection::{Identity, SnapshotChoice};
use values::{Parsed, choice, number, size};
use variable::Variable;
#[allow(clippy::wildcard_imports, reason = "the table of names is what this file reads")]
use variables::*;
use verify::VerifyConfig;
use zone::Zones;

/// Everything that a run is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// As whom the program was called.
    pub personality: Personality,
    /// The repository.
    pub repository: RepositoryConfig,
    /// What an S3 store is told besides its location.
    pub s3: S3Options,
    /// What an HTTP store is told.
    pub network: Network,
    /// Source of backup, target of restore, as it was given.
    pub data_dir: PathBuf,
    /// Host, path and tags.
    pub identity: Identity,
    /// Which snapshot is restored.
    pub snapshot: SnapshotChoice,
    /// Whether `MOVER_SNAPSHOT` was set; stats counts one snapshot only then.
    pub snapshot_is_set: bool,
    /// The folder of it that is meant, as the snapshot has it; none: all of it.
    pub subfolder: Option<String>,
    /// What backup does.
    pub backup: BackupConfig,
    /// What restore does.
    pub restore: RestoreConfig,
    /// What forget, prune, check, unlock and repair do.
    pub maintenance: Maintenance,
    /// What verify asks.
    pub verify: VerifyConfig,
    /// How the run behaves.
    pub run: RunConfig,
    /// What the run may use.
    pub performance: Performance,
    /// What the run prints.
    pub output: Output,
    /// Who else is told of it.
    pub outlets: OutletsConfig,
}

/// The repository, and how it is opened and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Where it is; `require_served` before use.
    pub url: RepositoryUrl,
    /// Where its password comes from.
    pub password: PasswordSource,
    /// The key to try first, an id or its first digits.
    pub key_hint: Option<String>,
    /// The first digits of the only id that is accepted; then none is created either.
    pub id_prefix: Option<String>,
    /// Whether a missing repository is created.
    pub on_missing: OnMissing,
    /// The cache; none: no home is known, or none is wanted.
    pub cache: Option<CachePlace>,
    /// How hard to compress.
    pub compression: Compression,
    /// The target size of pack files in bytes.
    pub pack_bytes: u64,
}

/// When the repository does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// Create it.
    Create,
    /// Exit 10.
    Fail,
}

/// When there is nothing to do, or something could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is no failure.
    Accept,
    /// It is one.
    Fail,
}

/// What backup does besides saving `data_dir`.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupConfig {
    /// What is left out.
    pub excludes: Excludes,
    /// Warn when files or bytes shrink by so many percent.
    pub max_shrink_percent: Option<f64>,
    /// When some source could not be read.
    pub on_partial: Verdict,
    /// Do not compare ctimes; also set when inodes are not compared.
    pub ignore_ctime: bool,
    /// Do not compare inodes.
    pub ignore_inode: bool,
    /// Files read at once.
    pub read_concurrency: usize,
}

/// How restore writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreConfig {
    /// Patterns of what is restored; empty: everything.
    pub include: Vec<String>,
    /// Remove what the snapshot does not have.
    pub delete: bool,
    /// Which existing files are replaced.
    pub overwrite: Overwrite,
    /// Write long runs of zeros as holes.
    pub sparse: bool,
    /// Compare sizes first.
    pub space_check: bool,
    /// Which extended attributes are restored.
    pub xattrs: Xattrs,
}

/// Which existing files a restore replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// All that differ.
    Always,
    /// Those whose size or time differ.
    IfChanged,
    /// Those that are older than the snapshot's.
    IfNewer,
    /// None.
    Never,
}

/// Which extended attributes a restore sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Xattrs {
    /// All that can be set.
    All,
    /// None.
    None,
    /// Those whose names match a pattern such as `user.*`.
    Matching(Vec<String>),
}

/// How a run behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunConfig {
    /// When the source is empty or nothing is eligible.
    pub on_empty: Verdict,
    /// How long to wait for a conflicting lock.
    pub lock_wait: Duration,
    /// The longest random wait before the first operation.
    pub jitter: Duration,
    /// Change nothing.
    pub dry_run: bool,
    /// `VolSync` says that it gave the mover more capabilities.
    pub privileged: bool,
}

/// What a run may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performance {
    /// The memory budget in bytes.
    pub memory_bytes: u64,
    /// Workers.
    pub threads: usize,
    /// Requests at once.
    pub connections: usize,
    /// The upload limit in bytes a second.
    pub upload_bytes_per_second: Option<u64>,
    /// The download limit in bytes a second.
    pub download_bytes_per_second: Option<u64>,
}

/// What a run prints.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// JSON lines instead of text.
    pub json: bool,
    /// A `tracing` filter; whoever starts the log checks it.
    pub log_filter: String,
    /// Time zones.
    pub zones: Zones,
    /// How often a second progress is shown.
    pub frames_per_second: Option<f64>,
    /// Where report writes its page.
    pub report_html: Option<PathBuf>,
}

impl Config {
    /// Parses everything that `operations` may need.
    ///
    /// # Errors
    /// A usage error for the first value that is missing or wrong.
    pub fn parse(
        lookup: &Lookup,
        personality: Personality,
        operations: &[Operation],
        limits: &Limits,
    ) -> Result<Self> {
        let repository = RepositoryConfig::parse(lookup)?;
        let (snapshot, subfolder) = SnapshotChoice::parse(lookup, operations)?;
        let on_s3 = matches!(repository.url.location, Location::S3(_));
        Ok(Self {
            personality,
            s3: S3Options::parse(lookup, on_s3)?,
            network: Network::parse(lookup)?,
            data_dir: selection::data_dir(lookup),
            identity: Identity::parse(lookup, operations)?,
            snapshot,
            subfolder,
            snapshot_is_set: lookup.text(&MOVER_SNAPSHOT)?.is_some(),
            backup: BackupConfig::parse(lookup)?,
            restore: RestoreConfig::parse(lookup, personality)?,
            maintenance: Maintenance::parse(lookup, operations)?,
            verify: VerifyConfig::parse(lookup)?,
            run: RunConfig::parse(lookup)?,
            performance: Performance::parse(lookup, limits, on_s3)?,
            output: Output::parse(lookup)?,
            outlets: OutletsConfig::parse(lookup, operations)?,
            repository,
        })
    }

    /// Every secret known so far, for whoever blots them out; the password of a file or command comes later.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        let password = match &self.repository.password {
            PasswordSource::Given(secret) => Some(secret),
            PasswordSource::Command(_) | PasswordSource::File(_) => None,
        };
        let others = self.network.secrets().chain(self.outlets.secrets());
        Secrets {
            texts: password.into_iter().chain(self.s3.secrets()).chain(others).map(Secret::text).collect(),
            ids: self.s3.key_ids().map(Secret::text).collect(),
            names: self.repository.url.names(),
        }
    }
}

/// The variables without which nothing can be done, as far as neither they nor their like are set.
#[must_use]
pub fn missing(lookup: &Lookup) -> Vec<&'static str> {
    let needed: [&[&Variable]; 2] = [
        &[&RESTIC_REPOSITORY, &RESTIC_REPOSITORY_FILE],
        &[&RESTIC_PASSWORD, &RESTIC_PASSWORD_FILE, &RESTIC_PASSWORD_COMMAND],
    ];
    let unset = |variables: &&[&Variable]| variables.iter().all(|variable| lookup.value(variable).is_none());
    needed.into_iter().filter(unset).filter_map(|like| like.first().map(|first| first.name)).collect()
}

impl RepositoryConfig {
    fn parse(lookup: &Lookup) -> Result<Self> {
        let modes = [
            ("auto", Compression::Auto),
            ("off", Compression::Off),
            ("fastest", Compression::Fastest),
            ("better", Compression::Better),
            ("max", Compression::Max),
        ];
        let missing = [("create", OnMissing::Create), ("fail", OnMissing::Fail)];
        let id = |text: &str| {
            values::id_prefix(text, 8)
                .ok_or_else(|| "a repository's id or its first 8 to 64 digits".to_owned())
        };
        let pack = |text: &str| match number(text, 0..=128) {
            Ok(0) => Ok(16),
            Ok(mib @ 4..) => Ok(mib),
            _ => Err("a whole number of MiB from 4 to 128, or 0 for the default".to_owned()),
        };
        Ok(Self {
            url: repository_url(lookup)?,
            password: PasswordSource::parse(lookup)?,
            key_hint: lookup.text(&RESTIC_KEY_HINT)?.map(str::to_owned),
            id_prefix: lookup.parse(&MOVER_REPOSITORY_ID, id)?,
            on_missing: lookup
                .parse(&MOVER_ON_MISSING, |text| choice(text, &missing))?
                .unwrap_or(OnMissing::Create),
            cache: cache(lookup)?,
            compression: lookup.parse(&RESTIC_COMPRESSION, |text| choice(text, &modes))?.unwrap_or_default(),
            pack_bytes: lookup.parse(&RESTIC_PACK_SIZE, pack)?.unwrap_or(16) << 20,
        })
    }
}

impl BackupConfig {
    fn parse(lookup: &Lookup) -> Result<Self> {
        let readers = |text: &str| match number(text, 0..=u64::from(u32::MAX)) {
            Ok(0) => Ok(2),
            other => other,
        };
        let shrink = |text: &str| if text == "off" { Ok(None) } else { values::percent(text).map(Some) };
        let ignore_inode = lookup.flag(&RESTIC_IGNORE_INODE, false)?;
        Ok(Self {
            excludes: Excludes::parse(lookup)?,
            max_shrink_percent: lookup.parse(&MOVER_MAX_SHRINK, shrink)?.flatten(),
            on_partial: lookup.parse(&MOVER_PARTIAL, verdict)?.unwrap_or(Verdict::Fail),
            ignore_ctime: lookup.flag(&RESTIC_IGNORE_CTIME, false)? || ignore_inode,
            ignore_inode,
            read_concurrency: lookup.parse(&RESTIC_READ_CONCURRENCY, readers)?.unwrap_or(2) as usize,
        })
    }
}

impl RestoreConfig {
    fn parse(lookup: &Lookup, personality: Personality) -> Result<Self> {
        let words = [
            ("always", Overwrite::Always),
            ("if-changed", Overwrite::IfChanged),
            ("if-newer", Overwrite::IfNewer),
            ("never", Overwrite::Never),
        ];
        let options = |text: &str| {
            let known = text.split_whitespace().all(|option| option == "--delete");
            known.then(|| !text.trim().is_empty()).ok_or_else(|| "--delete or nothing".to_owned())
        };
        let xattrs_default = match personality {
            Personality::Mover => Xattrs::Matching(vec!["user.*".to_owned()]),
            Personality::Tool => Xattrs::All,
        };
        Ok(Self {
            include: lookup.lines(&MOVER_INCLUDE)?,
            delete: lookup.parse(&RESTORE_OPTIONS, options)?.unwrap_or(false),
            overwrite: lookup
                .parse(&MOVER_OVERWRITE, |text| choice(text, &words))?
                .unwrap_or(Overwrite::Always),
            sparse: lookup.flag(&MOVER_SPARSE, true)?,
            space_check: lookup.flag(&MOVER_SPACE_CHECK, true)?,
            xattrs: lookup.parse(&MOVER_XATTRS, xattrs)?.unwrap_or(xattrs_default),
        })
    }
}

impl RunConfig {
    fn parse(lookup: &Lookup) -> Result<Self> {
        Ok(Self {
            on_empty: lookup.parse(&MOVER_ON_EMPTY, verdict)?.unwrap_or(Verdict::Accept),
            lock_wait: lookup.parse(&MOVER_LOCK_WAIT, values::duration)?.unwrap_or(Duration::from_mins(5)),
            jitter: lookup.parse(&MOVER_JITTER, values::duration)?.unwrap_or_default(),
            dry_run: lookup.flag(&MOVER_DRY_RUN, false)?,
            privileged: lookup.flag(&PRIVILEGED_MOVER, false)?,
        })
    }
}

impl Performance {
    fn parse(lookup: &Lookup, limits: &Limits, on_s3: bool) -> Result<Self> {
        let memory = |text: &str| match values::size(text) {
            Ok(bytes) if bytes >= MEMORY_MIN => Ok(bytes),
            _ => Err("a size such as 512M or 2GiB, at least 96M".to_owned()),
        };
        let count = |variable: &Variable| lookup.parse(variable, |text| number(text, 1..=1024));
        let rate = |variable: &Variable| {
            let kib = lookup.parse(variable, |text| number(text, 0..=u64::from(u32::MAX)))?;
            Ok::<_, Error>(kib.filter(|kib| *kib > 0).map(|kib| kib << 10))
        };
        Ok(Self {
            memory_bytes: lookup.parse(&MOVER_MEMORY, memory)?.unwrap_or_else(|| limits.memory_default()),
            threads: count(&MOVER_THREADS)?.map_or(limits.cpus, |threads| threads as usize),
            connections: count(&MOVER_CONNECTIONS)?.unwrap_or(if on_s3 { 16 } else { 4 }) as usize,
            upload_bytes_per_second: rate(&MOVER_LIMIT_UPLOAD)?,
            download_bytes_per_second: rate(&MOVER_LIMIT_DOWNLOAD)?,
        })
    }
}

impl Output {
    fn parse(lookup: &Lookup) -> Result<Self> {
        let fps = |text: &str| match text.parse::<f64>() {
            Ok(fps) if fps.is_finite() && fps > 0.0 => Ok(fps),
            _ => Err("a number over 0".to_owned()),
        };
        let debug = lookup.flag(&DEBUG_MOVER, false)?;
        let filter = lookup.text(&MOVER_LOG)?.unwrap_or(if debug { "debug" } else { "info" });
        Ok(Self {
            json: lookup.flag(&MOVER_JSON, false)?,
            log_filter: filter.to_owned(),
            zones: Zones::parse(lookup)?,
            frames_per_second: lookup.parse(&RESTIC_PROGRESS_FPS, fps)?,
            report_html: lookup.path(&MOVER_REPORT_HTML),
        })
    }
}

/// From `RESTIC_REPOSITORY`, or from the file that `RESTIC_REPOSITORY_FILE` names.
fn repository_url(lookup: &Lookup) -> Result<RepositoryUrl> {
    match (lookup.text(&RESTIC_REPOSITORY)?, lookup.path(&RESTIC_REPOSITORY_FILE)) {
        (Some(_), Some(_)) => Err(Error::usage("two locations for one repository")
            .at("RESTIC_REPOSITORY and RESTIC_REPOSITORY_FILE")
            .then("Unset one of them")),
        (Some(text), None) => RepositoryUrl::parse(text),
        (None, Some(file)) => {
            let bytes = text_file::read(&RESTIC_REPOSITORY_FILE, &file)?;
            let text = std::str::from_utf8(text_file::trim(&bytes)).map_err(|_| {
                invalid(&RESTIC_REPOSITORY_FILE, &file.to_string_lossy(), "a file with a location")
            })?;
            RepositoryUrl::parse(text)
        }
        (None, None) => Err(Error::usage("no repository").then(
            "Set RESTIC_REPOSITORY to where it is, e.g. /srv/repository or s3:https://host/bucket/prefix",
        )),
    }
}

/// As restic: `RESTIC_CACHE_DIR`, else `restic` below the user's caches.
fn cache(lookup: &Lookup) -> Result<Option<CachePlace>> {
    let bytes_max = lookup.parse(&MOVER_CACHE_SIZE, size)?.unwrap_or(u64::MAX);
    let folder = lookup
        .path(&RESTIC_CACHE_DIR)
        .or_else(|| Some(lookup.path(&XDG_CACHE_HOME)?.join("restic")))
        .or_else(|| Some(lookup.path(&HOME)?.join(".cache/restic")));
    Ok(folder.filter(|_| bytes_max > 0).map(|folder| CachePlace { folder, bytes_max }))
}

fn verdict(text: &str) -> Parsed<Verdict> {
    choice(text, &[("accept", Verdict::Accept), ("fail", Verdict::Fail)])
}

fn xattrs(text: &str) -> Parsed<Xattrs> {
    let words = text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
    let patterns: Vec<String> = words.map(str::to_owned).collect();
    match patterns.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["all"] => Ok(Xattrs::All),
        ["none"] => Ok(Xattrs::None),
        [] => Err("all, none, or patterns such as user.*".to_owned()),
        words if words.iter().any(|word| ["all", "none"].contains(word)) => {
            Err("all, none, or patterns such as user.*".to_owned())
        }
        _ => Ok(Xattrs::Matching(patterns)),
    }
}

#[cfg(test)]
mod tests;

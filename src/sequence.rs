//! The operations of one run, in the order given, on one opened repository; the first failure ends it.
//!
//! Here the configuration becomes the options of operations, and here it is decided whether a missing
//! repository is created, an empty source skipped, a partial backup accepted. The repository is opened once,
//! by the first operation that needs it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::backend::{Backend, FileType};
use crate::backup::exclude::{ExcludeOptions, Excludes};
use crate::backup::parent::Ignore;
use crate::config::operation::{Operation, Personality};
use crate::config::secret::Secret;
use crate::config::selection::SnapshotChoice;
use crate::config::{self, Config, OnMissing, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Holder, Names};
use crate::ops::backup::BackupOptions;
use crate::ops::report::Upkeep;
use crate::ops::restore::{Outcome, Shown};
use crate::ops::snapshots::SnapshotsOptions;
use crate::ops::{self, Limits, Session};
use crate::pattern::Patterns;
use crate::random::random_array;
use crate::report::{Monitor, Operation as Reported};
use crate::repository::lock::{LockOptions, REFRESH};
use crate::repository::open::{Access, Origin};
use crate::repository::scrypt::ScryptCost;
use crate::repository::{Id, Repository};
use crate::restore::select::{Filter, Selection};
use crate::restore::{Overwrite, RestoreOptions, XattrFilter};
use crate::signals::Interruption;
use crate::stores::{self, Surroundings};
use crate::volsync::{self, Line};

mod check;
mod doctor;
mod forget;
mod ls;
mod prune;
mod repair;
mod report;
mod stats;
mod unlock;
mod verify;

/// One run of the program.
pub struct Sequence<'a> {
    config: &'a Config,
    around: &'a Surroundings,
    interruption: &'a Interruption,
    password: Secret,
    locks: LockOptions,
    repository: Option<Arc<Repository>>,
    /// A backup of this run found an empty source, and created nothing.
    skipped_empty_source: bool,
    /// Snapshots that this run saved and that no forget can have removed: a list that lacks one is wrong.
    saved: Vec<Id>,
    /// The repository was created by this run.
    created: bool,
    /// What this run looked after so far.
    upkeep: Upkeep,
}

/// Runs `operations`.
pub fn run(
    config: &Config,
    operations: &[Operation],
    around: &Surroundings,
    interruption: &Interruption,
) -> Result<()> {
    config.repository.url.require_served()?;
    let started = around.clock.elapsed();
    let holder = Holder::this_process(&Names::read(std::path::Path::new("/")));
    let locks = LockOptions { holder, wait: config.run.lock_wait, refresh: REFRESH };
    let password = config.repository.password.fetch()?;
    let mut sequence = Sequence {
        config,
        around,
        interruption,
        password,
        locks,
        repository: None,
        skipped_empty_source: false,
        saved: Vec::new(),
        created: false,
        upkeep: Upkeep::default(),
    };
    sequence.check_forget(operations)?;
    sequence.check_patterns()?;
    if let Some(warning) = volsync::lacking(config.run.privileged) {
        around.monitor.warn(&warning);
    }
    interruption.adopt();
    sequence.jitter()?;
    for operation in operations {
        sequence.step(*operation)?;
    }
    sequence.say(Line::Completed(around.clock.elapsed().saturating_sub(started)));
    sequence.say(Line::Done);
    Ok(())
}

impl Sequence<'_> {
    fn step(&mut self, operation: Operation) -> Result<()> {
        self.monitor().operation_started(operation.name());
        let done = match operation {
            Operation::Init => self.init(),
            Operation::Backup => self.backup(),
            Operation::Restore => self.restore(),
            Operation::Snapshots => self.snapshots(),
            Operation::Forget => {
                // What was saved may be removed again.
                self.saved.clear();
                self.forget()
            }
            Operation::Prune => self.prune(),
            Operation::Check => self.check(),
            Operation::Verify => self.verify(),
            Operation::Doctor => self.doctor(),
            Operation::Unlock => self.unlock(),
            Operation::Stats => self.stats(),
            Operation::Report => self.report(),
            Operation::Ls => self.ls(),
            Operation::RepairIndex => self.repair_index(),
            Operation::RepairSnapshots => self.repair_snapshots(),
        };
        self.monitor().end();
        self.monitor().operation_ended(done.as_ref().err());
        if done.is_ok() && !self.config.run.dry_run {
            self.remember(operation);
        }
        done
    }

    fn monitor(&self) -> &dyn Monitor {
        self.around.monitor.as_ref()
    }

    fn say(&self, line: Line) {
        volsync::say(self.config.personality, self.monitor(), line);
    }

    /// A forget that does not know what to remove is refused before anything runs.
    fn check_forget(&self, operations: &[Operation]) -> Result<()> {
        if operations.contains(&Operation::Forget) && self.config.maintenance.forget {
            self.forget_request()?;
        }
        Ok(())
    }

    /// A pattern that cannot be read is refused before anything is created.
    fn check_patterns(&self) -> Result<()> {
        self.backup_options()?;
        self.restore_options(1)?;
        let include = Patterns::parse(&self.config.restore.include, false);
        include.map_err(|cause| Error::usage("invalid MOVER_INCLUDE").because(cause))?;
        Ok(())
    }

    /// Waits a random time up to `MOVER_JITTER`.
    fn jitter(&self) -> Result<()> {
        let most = self.config.run.jitter;
        let share = u64::from_le_bytes(random_array(self.around.random.as_ref())?) as f64 / u64::MAX as f64;
        let until = self.around.clock.elapsed() + most.mul_f64(share);
        while self.around.clock.elapsed() < until {
            if self.around.stop.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted before the first operation"));
            }
            let left = until.saturating_sub(self.around.clock.elapsed());
            self.around.clock.sleep(left.min(Duration::from_millis(200)));
        }
        Ok(())
    }

    fn access(&self) -> Access<'_> {
        let performance = &self.config.performance;
        Access {
            password: self.password.bytes(),
            key_hint: self.config.repository.key_hint.as_deref(),
            compression: self.config.repository.compression,
            scrypt: ScryptCost::RESTIC,
            threads: performance.threads,
            host_and_user: (&self.locks.holder.hostname, &self.locks.holder.username),
            clock: Arc::clone(&self.around.clock),
            random: Arc::clone(&self.around.random),
        }
    }

    fn connect(&self) -> Result<Arc<dyn Backend>> {
        stores::connect(self.config, self.around)
    }

    /// The repository, opened by the first who asks; created when it is missing and `create` allows it.
    fn repository(&mut self, create: bool) -> Result<Arc<Repository>> {
        if let Some(repository) = &self.repository {
            return Ok(Arc::clone(repository));
        }
        let backend = self.connect()?;
        // A store that is slow or away, and many keys, take their time.
        self.monitor().begin(Reported::Other);
        self.monitor().phase("opening the repository");
        let (opened, locks) = std::thread::scope(|scope| {
            let locks = scope.spawn(|| backend.list(FileType::Lock));
            (self.open(Arc::clone(&backend), create), locks.join())
        });
        self.monitor().end();
        let opened = opened?;
        // A list that failed is asked for again by who needs it.
        Ok(self.keep(match locks {
            Ok(Ok(locks)) => opened.with_listed_locks(locks),
            _ => opened,
        }))
    }

    fn open(&mut self, backend: Arc<dyn Backend>, create: bool) -> Result<Repository> {
        let create = create
            && self.config.repository.on_missing == OnMissing::Create
            && self.config.repository.id_prefix.is_none()
            && !self.config.run.dry_run;
        let repository = if create {
            let (repository, origin) = Repository::open_or_create(backend, &self.access())?;
            self.created = origin == Origin::Created;
            if self.created {
                self.say(Line::InitializeDir);
                self.monitor().initialized(&ops::init::summary(&repository));
            }
            repository
        } else {
            Repository::open(backend, &self.access())?
        };
        self.require_id(&repository)?;
        Ok(repository)
    }

    /// The repository of this run.
    fn keep(&mut self, repository: Repository) -> Arc<Repository> {
        let mut repository = repository.with_memory(self.config.performance.memory_bytes);
        if let Some(place) = &self.config.repository.cache {
            repository = repository.with_cache(place.clone());
        }
        if let Some(cache) = repository.cache() {
            self.around.tally.watch(cache);
        }
        Arc::clone(self.repository.insert(Arc::new(repository)))
    }

    /// The same for operations that say what is stored: nothing is taken from the cache.
    fn stored_repository(&mut self) -> Result<Arc<Repository>> {
        self.repository(false).map(|repository| Arc::new(repository.uncached()))
    }

    /// `MOVER_REPOSITORY_ID`: a path that is not mounted must not pass for the repository.
    fn require_id(&self, repository: &Repository) -> Result<()> {
        let found = &repository.config().id;
        match &self.config.repository.id_prefix {
            Some(wanted) if !found.starts_with(wanted.as_str()) => {
                Err(Error::new(ErrorKind::Other, "this is another repository")
                    .at(repository.backend().location())
                    .because(format!("its id is {found}, MOVER_REPOSITORY_ID is {wanted}"))
                    .then("Check RESTIC_REPOSITORY and what is mounted there"))
            }
            _ => Ok(()),
        }
    }

    fn session(&self, repository: Arc<Repository>) -> Session<'_> {
        Session {
            repository,
            locks: &self.locks,
            monitor: self.monitor(),
            stop: &self.around.stop,
            held: Box::new(|releaser| self.interruption.hold(releaser)),
            limits: Limits {
                memory_bytes: self.config.performance.memory_bytes,
                threads: self.config.performance.threads,
            },
        }
    }

    fn init(&mut self) -> Result<()> {
        self.monitor().begin(Reported::Other);
        if self.config.run.dry_run && self.is_missing()? {
            let url = &self.config.repository.url;
            self.monitor().line(&format!("would create restic repository at {url}"));
            return Ok(());
        }
        if self.config.repository.id_prefix.is_some() {
            return Err(Error::usage("refused to create a repository")
                .at("MOVER_REPOSITORY_ID")
                .because("it says that the repository exists")
                .then("Unset it to create one"));
        }
        let (repository, summary) = ops::init::run(self.connect()?, &self.access())?;
        self.monitor().initialized(&summary);
        self.keep(repository);
        Ok(())
    }

    fn is_missing(&mut self) -> Result<bool> {
        match self.repository(false) {
            Ok(_) => Ok(false),
            Err(error) if error.kind == ErrorKind::RepositoryMissing => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn backup(&mut self) -> Result<()> {
        if ops::backup::is_empty(&self.config.data_dir)? {
            self.monitor().line("== Directory is empty skipping backup ===");
            self.skipped_empty_source = true;
            return self.nothing("the source is empty", &self.config.data_dir.display().to_string());
        }
        let repository = self.repository(true)?;
        self.monitor().begin(Reported::Backup);
        let options = self.backup_options()?;
        let backup = ops::backup::run(&self.session(repository), options)?;
        self.monitor().backed_up(&backup.summary);
        if self.config.maintenance.forget_options.is_none() {
            self.saved.extend(backup.summary.snapshot_id.iter().filter_map(|id| id.parse::<Id>().ok()));
        }
        if backup.shrunk {
            self.monitor()
                .warn("the source shrank by more than MOVER_MAX_SHRINK against the parent snapshot: nothing is forgotten");
        }
        match (backup.summary.errors, self.config.backup.on_partial) {
            (0, _) => {}
            (errors, Verdict::Accept) => {
                self.monitor().warn(&format!("{errors} items of the source could not be read"));
            }
            (errors, Verdict::Fail) => {
                return Err(Error::new(ErrorKind::Partial, "the snapshot is partial")
                    .at(self.config.data_dir.display().to_string())
                    .because(format!("{errors} items of the source could not be read"))
                    .then("See the lines above; MOVER_PARTIAL=accept takes such backups as done"));
            }
        }
        if backup.shrunk { Ok(()) } else { self.forget_after_backup() }
    }

    fn nothing(&self, what: &str, place: &str) -> Result<()> {
        self.monitor().found_nothing();
        match self.config.run.on_empty {
            Verdict::Accept => Ok(()),
            Verdict::Fail => Err(Error::new(ErrorKind::Nothing, what)
                .at(place)
                .because("MOVER_ON_EMPTY=fail")
                .then("Check that the right volume and repository are used")),
        }
    }

    fn backup_options(&self) -> Result<BackupOptions> {
        let Config { identity, backup, performance: _, output, .. } = self.config;
        let excludes = &backup.excludes;
        let marker = |marker: &crate::config::excludes::Marker| match marker.header.as_str() {
            "" => marker.name.clone(),
            header => format!("{}:{header}", marker.name),
        };
        let rules = ExcludeOptions {
            patterns: excludes.patterns.clone(),
            folded_patterns: excludes.patterns_any_case.clone(),
            caches: excludes.caches,
            if_present: excludes.if_present.iter().map(marker).collect(),
            larger_than: excludes.larger_than_bytes,
            one_file_system: !excludes.other_file_systems,
            ignore_files: excludes.ignore_files.clone(),
        };
        Ok(BackupOptions {
            source: self.config.data_dir.clone(),
            host: identity.host.filter().unwrap_or_default().to_owned(),
            path: identity.path.filter().unwrap_or_default().to_owned(),
            tags: identity.tags.clone(),
            excludes: Excludes::new(rules)?,
            exclude_patterns: excludes.patterns.clone(),
            ignore: Ignore { ctime: backup.ignore_ctime, inode: backup.ignore_inode },
            readers: backup.read_concurrency.clamp(1, 64),
            pack_bytes: self.config.repository.pack_bytes as usize,
            tree_zone: output.zones.trees.clone(),
            zone: output.zones.shown.clone(),
            shrink_percent_max: backup.max_shrink_percent,
            dry_run: self.config.run.dry_run,
        })
    }

    fn restore(&mut self) -> Result<()> {
        let create = self.config.personality == Personality::Mover;
        let was_open = self.repository.is_some();
        let repository = self.repository(create)?;
        if self.created && !was_open {
            self.monitor().warn(
                "there was no repository to restore from, so one was created: check RESTIC_REPOSITORY; \
                 MOVER_ON_MISSING=fail makes this an error",
            );
        }
        self.monitor().begin(Reported::Restore);
        let Config { output, restore, data_dir, personality, .. } = self.config;
        self.say(Line::RestoreOptions { delete: restore.delete });
        let (selection, filter) = self.selected();
        let options = self.restore_options(repository.backend().connections())?;
        let session = self.session(repository);
        let shown =
            Shown { zone: &output.zones.shown, target: &volsync::target_name(*personality, data_dir) };
        let outcome = ops::restore::run(&session, &selection, &filter, &shown, options)?;
        match outcome {
            Outcome::Restored(summary) => {
                self.monitor().restored(&summary);
                Ok(())
            }
            Outcome::NothingEligible(existing) => {
                self.monitor().line("No eligible snapshots found");
                self.monitor().warn(&existing);
                self.say(Line::NothingRestored);
                self.nothing("no eligible snapshot", &self.config.repository.url.to_string())
            }
        }
    }

    /// The snapshot that is meant, and which are eligible: host and path filter all but an id.
    fn selected(&self) -> (Selection, Filter) {
        let identity = &self.config.identity;
        let filter = Filter {
            hosts: only(identity.host.filter()),
            paths: only(identity.path.filter()),
            tags: Vec::new(),
        };
        (selection(&self.config.snapshot), filter)
    }

    fn restore_options(&self, connections: usize) -> Result<RestoreOptions> {
        let Config { restore, performance, .. } = self.config;
        Ok(RestoreOptions {
            target: self.config.data_dir.clone(),
            subfolder: self.config.subfolder.clone(),
            delete: restore.delete,
            include: restore.include.clone(),
            overwrite: match restore.overwrite {
                config::Overwrite::Always => Overwrite::Always,
                config::Overwrite::IfChanged => Overwrite::IfChanged,
                config::Overwrite::IfNewer => Overwrite::IfNewer,
                config::Overwrite::Never => Overwrite::Never,
            },
            sparse: restore.sparse,
            space_check: restore.space_check,
            xattrs: match &restore.xattrs {
                config::Xattrs::All => XattrFilter::All,
                config::Xattrs::None => XattrFilter::None,
                config::Xattrs::Matching(patterns) => XattrFilter::Matching(
                    Patterns::parse(patterns, false)
                        .map_err(|cause| Error::usage("invalid MOVER_XATTRS").because(cause))?,
                ),
            },
            threads: performance.threads,
            connections,
            memory_bytes: performance.memory_bytes,
            dry_run: self.config.run.dry_run,
        })
    }

    fn snapshots(&mut self) -> Result<()> {
        let repository = self.repository(false)?;
        let Config { identity, output, .. } = self.config;
        let options = SnapshotsOptions {
            host: identity.host_if_set().map(str::to_owned),
            path: identity.path_if_set().map(str::to_owned),
            tags: identity.tags.clone(),
            json: output.json,
            zone: output.zones.shown.clone(),
        };
        let text = ops::snapshots::run(&self.session(repository), &options)?;
        self.monitor().output(&text);
        Ok(())
    }
}

/// The filter for one value.
fn only(value: Option<&str>) -> Option<Vec<String>> {
    value.map(|value| vec![value.to_owned()])
}

fn selection(choice: &SnapshotChoice) -> Selection {
    match choice {
        SnapshotChoice::Id(prefix) => Selection::Id(prefix.clone()),
        SnapshotChoice::Latest { as_of, back } => Selection::Latest { as_of: *as_of, back: *back },
    }
}

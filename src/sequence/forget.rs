//! `forget`, alone and after a backup: configuration to options, outcome to exit code.
//!
//! Alone it sees every identity and filters by what is set; after a backup it sees the host and path of that
//! backup and nothing else, whatever the options say.

use super::Sequence;
use crate::config::{Config, Verdict};
use crate::error::{Error, Result};
use crate::forget::options::{ForgetOptions, PruneLimits};
use crate::ops::backup::PARTIAL_TAG;
use crate::ops::forget::{self, Choice, ForgetRequest};
use crate::ops::prune::PruneOptions;
use crate::report::Operation;

/// What says that the step is left out.
const SKIPPED: &str = "forget is skipped: MOVER_FORGET=off";

impl Sequence<'_> {
    pub(super) fn forget(&mut self) -> Result<()> {
        if !self.config.maintenance.forget {
            self.monitor().line(SKIPPED);
            self.monitor().skipped();
            return Ok(());
        }
        let request = self.forget_request()?;
        self.forget_by(request)
    }

    /// Backup's own forget, by `FORGET_OPTIONS`.
    pub(super) fn forget_after_backup(&mut self) -> Result<()> {
        let Some(options) = &self.config.maintenance.forget_options else { return Ok(()) };
        if !self.config.maintenance.forget {
            self.monitor().line(SKIPPED);
            return Ok(());
        }
        let mut options = options.clone();
        let identity = &self.config.identity;
        options.filter.host_only = identity.host.filter().map(str::to_owned);
        options.filter.path_only = identity.path.filter().map(str::to_owned);
        let request = self.request(Choice::Policy(Box::new(options)));
        self.forget_by(request)
    }

    /// A forget that is not told what to remove, or is told twice, is refused before anything runs.
    pub(super) fn forget_request(&self) -> Result<ForgetRequest> {
        let choice = self.forget_choice()?.ok_or_else(|| {
            Error::usage("no policy was specified, no snapshots will be removed")
                .at("forget")
                .then("Set FORGET_OPTIONS, MOVER_POLICY_FILE or MOVER_FORGET_SNAPSHOTS")
        })?;
        Ok(self.request(choice))
    }

    /// What forget is told to remove, if it is told.
    pub(super) fn forget_choice(&self) -> Result<Option<Choice>> {
        let Config { maintenance, identity, .. } = self.config;
        let sources = [
            ("FORGET_OPTIONS", maintenance.forget_options.is_some()),
            ("MOVER_POLICY_FILE", maintenance.policy_file.is_some()),
            ("MOVER_FORGET_SNAPSHOTS", !maintenance.forget_snapshots.is_empty()),
        ];
        let set: Vec<&str> =
            sources.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        if set.len() > 1 {
            return Err(Error::usage("forget is told more than once what to remove")
                .at(set.join(", "))
                .then("Set one of them"));
        }
        let (host, path) =
            (identity.host_if_set().map(str::to_owned), identity.path_if_set().map(str::to_owned));
        let choice = if let Some(options) = &maintenance.forget_options {
            let mut options = options.clone();
            // An option counts more than the environment, as in restic.
            if options.filter.hosts.is_empty() {
                options.filter.host_only = host;
            }
            if options.filter.paths.is_empty() {
                options.filter.path_only = path;
            }
            Choice::Policy(Box::new(options))
        } else if let Some(file) = &maintenance.policy_file {
            let mut file = file.clone();
            for line in &mut file.lines {
                line.options.filter.host_only.clone_from(&host);
                line.options.filter.path_only.clone_from(&path);
            }
            Choice::Policies(file)
        } else if maintenance.forget_snapshots.is_empty() {
            return Ok(None);
        } else {
            Choice::Ids(maintenance.forget_snapshots.clone())
        };
        Ok(Some(choice))
    }

    fn request(&self, choice: Choice) -> ForgetRequest {
        let Config { maintenance, output, run, .. } = self.config;
        let options = match &choice {
            Choice::Policy(options) => (**options).clone(),
            Choice::Policies(_) | Choice::Ids(_) => ForgetOptions::default(),
        };
        ForgetRequest {
            dry_run: run.dry_run || options.dry_run,
            unless_tagged: self.unless_tagged(),
            json: output.json,
            zone: output.zones.shown.clone(),
            prune: (options.prune && maintenance.prune).then(|| self.prune_behind(&options.prune_limits)),
            choice,
        }
    }

    /// Where partial snapshots are taken as done, the newest without their tag is kept besides.
    pub(super) fn unless_tagged(&self) -> Option<&'static str> {
        (self.config.backup.on_partial == Verdict::Accept).then_some(PARTIAL_TAG)
    }

    /// What the options say about `--prune`, and else what the operation prune is told.
    fn prune_behind(&self, limits: &PruneLimits) -> PruneOptions {
        let own = self.prune_options();
        PruneOptions {
            unused_max: limits.unused_max.unwrap_or(own.unused_max),
            repack_bytes_max: limits.repack_bytes_max.or(own.repack_bytes_max),
            repack_below_bytes: limits.repack_below_bytes.or(own.repack_below_bytes),
            cacheable_only: limits.cacheable_only,
            uncompressed: limits.uncompressed,
            ..own
        }
    }

    fn forget_by(&mut self, request: ForgetRequest) -> Result<()> {
        let repository = self.repository(false)?;
        self.monitor().begin(Operation::Other);
        if let (Choice::Policy(options), None) = (&request.choice, &request.prune)
            && options.prune
        {
            self.monitor().line("prune is skipped: MOVER_PRUNE=off");
        }
        let session = self.session(repository);
        let summary = forget::run(&session, &request)?;
        self.monitor().forgotten(&summary);
        forget::verdict(&session, &summary)
    }
}

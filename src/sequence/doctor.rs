//! `doctor`: configuration to what is examined, steps to lines.

use std::sync::Arc;

use serde_json::json;

use super::Sequence;
use crate::backend::Backend;
use crate::config::repository_url::Location;
use crate::config::{Config, OnMissing};
use crate::error::Result;
use crate::ops::doctor::{self, Endpoint, Examination, Outcome, Step};
use crate::repository::Repository;
use crate::stores;

impl Sequence<'_> {
    pub(super) fn doctor(&mut self) -> Result<()> {
        let Config { repository, identity, run, data_dir, .. } = self.config;
        let host = identity.host.filter().unwrap_or("*");
        let path = identity.path.filter().unwrap_or("*");
        let examination = Examination {
            configuration: format!("{}, host {host}, path {path}", repository.url),
            endpoint: self.endpoint(),
            folder: match &repository.url.location {
                Location::Local(path) => Some(path.clone()),
                Location::S3(_) | Location::NotYet(_) => None,
            },
            connect: &|| stores::bare(self.config),
            open: &|backend| self.opened(backend),
            creates: repository.on_missing == OnMissing::Create && repository.id_prefix.is_none(),
            dry_run: run.dry_run,
            cache: repository.cache.as_ref().map(|cache| cache.folder.clone()),
            target: data_dir.clone(),
            clock: self.around.clock.as_ref(),
            random: self.around.random.as_ref(),
        };
        let mut steps = Vec::new();
        let outcome = doctor::run(&examination, &mut |step| {
            self.monitor().line(&line(step));
            steps.push(json!({ "name": step.name, "outcome": word(step), "detail": step.detail }));
        });
        if self.config.output.json {
            let passed = outcome.is_ok();
            let report = json!({ "message_type": "doctor", "passed": passed, "steps": steps });
            self.monitor().output(&report.to_string());
        }
        outcome
    }

    fn opened(&self, backend: Arc<dyn Backend>) -> Result<String> {
        let repository = Repository::open(backend, &self.access())?;
        self.require_id(&repository)?;
        Ok(repository.config().id.chars().take(8).collect())
    }

    fn endpoint(&self) -> Option<Endpoint> {
        let Location::S3(place) = &self.config.repository.url.location else { return None };
        let (scheme, authority) = place.endpoint.split_once("://")?;
        let secure = scheme == "https";
        // The port stands after the last colon that is not inside of brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        let network = &self.config.network;
        let proxied = if secure { network.https_proxy.is_some() } else { network.http_proxy.is_some() };
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        Some(Endpoint { host: host.to_owned(), port, secure, proxied })
    }
}

fn word(step: &Step) -> &'static str {
    match step.outcome {
        Outcome::Good => "ok",
        Outcome::Note => "note",
        Outcome::Failed(_) => "FAILED",
    }
}

fn line(step: &Step) -> String {
    format!("{:<6}  {}: {}", word(step), step.name, step.detail)
}

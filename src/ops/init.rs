//! `init`: creates a repository, format 2. An existing one is an error and is not touched. Takes no lock.

use std::sync::Arc;

use crate::backend::Backend;
use crate::error::Result;
use crate::report::InitSummary;
use crate::repository::Repository;
use crate::repository::open::Access;

/// Creates a repository.
pub fn run(backend: Arc<dyn Backend>, access: &Access<'_>) -> Result<(Repository, InitSummary)> {
    let repository = Repository::create(backend, access)?;
    let summary = summary(&repository);
    Ok((repository, summary))
}

/// What is told of a repository that was just created.
#[must_use]
pub fn summary(repository: &Repository) -> InitSummary {
    InitSummary { id: repository.config().id.clone(), location: repository.backend().location() }
}

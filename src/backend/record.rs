//! Counts requests by operation and outcome, and bytes each way; in tests it keeps the list of them too.
//!
//! The order of the list proves what a crash must not break: packs before the index that names them, the
//! index before the snapshot. It changes no request and no answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Backend, BackendErrorKind, BackendResult, FileType, Listed};

/// A method of `Backend` that asks the store something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// `list`
    List,
    /// `stat`
    Stat,
    /// `read`
    Read,
    /// `read_range`
    ReadRange,
    /// `write`
    Write,
    /// `write_new`
    WriteNew,
    /// `delete`
    Delete,
    /// `delete_many`: counted once, whatever the number of names.
    DeleteMany,
    /// `create`
    Create,
}

impl Request {
    /// The word for metrics: the method's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Stat => "stat",
            Self::Read => "read",
            Self::ReadRange => "read_range",
            Self::Write => "write",
            Self::WriteNew => "write_new",
            Self::Delete => "delete",
            Self::DeleteMany => "delete_many",
            Self::Create => "create",
        }
    }
}

/// `None` is success; a `delete_many` counts as its first failure.
pub type Outcome = Option<BackendErrorKind>;

/// How many requests of which kind had which outcome, and how many bytes went each way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestCounts {
    counts: BTreeMap<(Request, Outcome), u64>,
    /// Bytes of files written, of requests that succeeded.
    pub bytes_up: u64,
    /// Bytes of files read.
    pub bytes_down: u64,
}

/// One request and when it ran, in ticks that every start and every end advances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What was asked; a `delete_many` is recorded as one `DeleteMany` a name.
    pub request: Request,
    /// The kind of file; `None` for `create`.
    pub kind: Option<FileType>,
    /// The file's name; empty for requests without one.
    pub name: String,
    /// The tick at its start.
    pub started: u64,
    /// The tick at its end: A came wholly before B if `a.finished < b.started`.
    pub finished: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// A store whose requests are counted.
pub struct Record {
    inner: Arc<dyn Backend>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    counts: RequestCounts,
    ticks: u64,
    /// `None` where only counts are wanted: a run makes millions of requests.
    list: Option<Vec<Recorded>>,
}

impl RequestCounts {
    /// How many requests of this kind, whatever came of them.
    #[must_use]
    pub fn of(&self, request: Request) -> u64 {
        self.iter().filter(|(counted, _, _)| *counted == request).map(|(_, _, count)| count).sum()
    }

    /// How many requests of this kind with this outcome.
    #[must_use]
    pub fn with_outcome(&self, request: Request, outcome: Outcome) -> u64 {
        self.counts.get(&(request, outcome)).copied().unwrap_or(0)
    }

    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// What was counted at least once.
    pub fn iter(&self) -> impl Iterator<Item = (Request, Outcome, u64)> {
        self.counts.iter().map(|((request, outcome), count)| (*request, *outcome, *count))
    }
}

impl Record {
    /// Counts only.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, ledger: Mutex::default() }
    }

    /// Counts, and keeps every request in memory: for tests.
    pub fn keeping_all(inner: Arc<dyn Backend>) -> Self {
        let ledger = Ledger { list: Some(Vec::new()), ..Ledger::default() };
        Self { inner, ledger: Mutex::new(ledger) }
    }

    /// The counts so far.
    pub fn counts(&self) -> RequestCounts {
        self.ledger().counts.clone()
    }

    /// The requests so far, in the order in which they ended; empty where only counts are kept.
    pub fn requests(&self) -> Vec<Recorded> {
        self.ledger().list.clone().unwrap_or_default()
    }

    /// Forgets counts and requests.
    pub fn clear(&self) {
        let mut ledger = self.ledger();
        ledger.counts = RequestCounts::default();
        ledger.list.iter_mut().for_each(Vec::clear);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(
        &self,
        request: Request,
        kind: Option<FileType>,
        name: &str,
        ask: impl FnOnce() -> BackendResult<T>,
    ) -> BackendResult<T> {
        let started = self.ledger().tick();
        let answer = ask();
        let outcome = answer.as_ref().err().map(|error| error.kind);
        let mut ledger = self.ledger();
        let finished = ledger.tick();
        ledger.count(request, outcome);
        if let Some(list) = &mut ledger.list {
            list.push(Recorded { request, kind, name: name.to_owned(), started, finished, outcome });
        }
        answer
    }

    fn count_down(&self, data: &Bytes) {
        self.ledger().counts.bytes_down += data.len() as u64;
    }

    fn count_up(&self, data: &Bytes) {
        self.ledger().counts.bytes_up += data.len() as u64;
    }
}

impl Ledger {
    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn count(&mut self, request: Request, outcome: Outcome) {
        *self.counts.counts.entry((request, outcome)).or_default() += 1;
    }
}

impl Backend for Record {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn connections(&self) -> usize {
        self.inner.connections()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn list(&self, kind: FileType) -> BackendResult<Vec<Listed>> {
        self.run(Request::List, Some(kind), "", || self.inner.list(kind))
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        self.run(Request::Stat, Some(kind), name, || self.inner.stat(kind, name))
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        let data = self.run(Request::Read, Some(kind), name, || self.inner.read(kind, name))?;
        self.count_down(&data);
        Ok(data)
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        let ask = || self.inner.read_range(kind, name, offset, length);
        let data = self.run(Request::ReadRange, Some(kind), name, ask)?;
        self.count_down(&data);
        Ok(data)
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.run(Request::Write, Some(kind), name, || self.inner.write(kind, name, data))?;
        self.count_up(data);
        Ok(())
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.run(Request::WriteNew, Some(kind), name, || self.inner.write_new(kind, name, data))?;
        self.count_up(data);
        Ok(())
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        self.run(Request::Delete, Some(kind), name, || self.inner.delete(kind, name))
    }

    fn delete_many(&self, kind: FileType, names: &[String]) -> Vec<BackendResult<()>> {
        let started = self.ledger().tick();
        let answers = self.inner.delete_many(kind, names);
        let failure = |answer: &BackendResult<()>| answer.as_ref().err().map(|error| error.kind);
        let mut ledger = self.ledger();
        let finished = ledger.tick();
        ledger.count(Request::DeleteMany, answers.iter().find_map(failure));
        if let Some(list) = &mut ledger.list {
            list.extend(names.iter().zip(&answers).map(|(name, answer)| Recorded {
                request: Request::DeleteMany,
                kind: Some(kind),
                name: name.clone(),
                started,
                finished,
                outcome: failure(answer),
            }));
        }
        answers
    }

    fn create(&self) -> BackendResult<()> {
        self.run(Request::Create, None, "", || self.inner.create())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::backend::memory::MemoryBackend;

    const DATA: Bytes = Bytes::from_static(b"12345");

    #[test]
    fn requests_are_counted_by_outcome_and_kept_in_order() {
        let record = Record::keeping_all(Arc::new(MemoryBackend::new()));
        record.create().unwrap();
        record.write(FileType::Pack, "a", &DATA).unwrap();
        record.write_new(FileType::Index, "b", &DATA).unwrap();
        record.write_new(FileType::Index, "b", &DATA).unwrap_err();
        record.read(FileType::Pack, "a").unwrap();
        record.read_range(FileType::Pack, "a", 1, 2).unwrap();
        drop(record.delete_many(FileType::Pack, &["a".to_owned(), "c".to_owned()]));
        let counts = record.counts();
        assert_eq!((counts.bytes_up, counts.bytes_down, counts.total()), (10, 7, 7));
        assert_eq!(counts.of(Request::WriteNew), 2);
        assert_eq!(counts.with_outcome(Request::WriteNew, Some(BackendErrorKind::Exists)), 1);
        assert_eq!(counts.with_outcome(Request::DeleteMany, Some(BackendErrorKind::NotFound)), 1);
        let list = record.requests();
        assert_eq!(
            (list[1].request, list[1].kind, &*list[1].name),
            (Request::Write, Some(FileType::Pack), "a")
        );
        assert!(list[1].finished < list[2].started);
        assert_eq!(list.len(), 8, "the deletes stand one by one");
        record.clear();
        assert_eq!((record.counts().total(), record.requests().len()), (0, 0));
    }
}

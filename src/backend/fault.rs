//! A store that fails by script: for tests of all that stands above a store.
//!
//! Rules say which requests they are for, how many of those pass first, how many are hit, and what happens:
//! a failure before or after the effect, data with a flipped bit, a list that is cut or stale, a delay.
//! Bulk deletes are asked for one by one, so that a rule can hit any of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::layout::path_of;
use super::record::Request;
use super::{Backend, BackendError, BackendErrorKind, BackendResult, FileType, Listed};
use crate::clock::Clock;

/// Every request that changes the store: a rule on these that fails from the nth on for ever is a crash.
pub const CHANGES: [Request; 3] = [Request::Write, Request::WriteNew, Request::Delete];

/// Which requests are hit, and how. Hits the first that matches, once, unless told otherwise.
#[derive(Debug, Clone)]
pub struct Rule {
    requests: Vec<Request>,
    kind: Option<FileType>,
    name: Option<String>,
    skip: u64,
    times: u64,
    effect: Effect,
}

#[derive(Debug, Clone, Default)]
struct Effect {
    delay: Duration,
    before: Option<Failure>,
    after: Option<Failure>,
    flip: Option<usize>,
    cut: Option<usize>,
    stale: Option<Arc<Mutex<Option<Vec<Listed>>>>>,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    kind: BackendErrorKind,
    temporary: Option<bool>,
}

impl Rule {
    /// For any of these requests.
    #[must_use]
    pub fn on(requests: &[Request]) -> Self {
        let requests = requests.to_vec();
        Self { requests, kind: None, name: None, skip: 0, times: 1, effect: Effect::default() }
    }

    /// Only for this kind of file.
    #[must_use]
    pub fn kind(mut self, kind: FileType) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only for the file of this name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Lets the first `requests` that match pass.
    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Hits so many requests.
    #[must_use]
    pub fn times(mut self, requests: u64) -> Self {
        self.times = requests;
        self
    }

    /// Hits every request that matches.
    #[must_use]
    pub fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// The request fails and has no effect.
    #[must_use]
    pub fn fail(mut self, kind: BackendErrorKind) -> Self {
        self.effect.before = Some(Failure { kind, temporary: None });
        self
    }

    /// The request has its effect, but its answer is a failure.
    #[must_use]
    pub fn fail_after(mut self, kind: BackendErrorKind) -> Self {
        self.effect.after = Some(Failure { kind, temporary: None });
        self
    }

    /// Says whether the failure may pass; without it the failure's kind says so.
    #[must_use]
    pub fn temporary(mut self, temporary: bool) -> Self {
        for failure in [&mut self.effect.before, &mut self.effect.after].into_iter().flatten() {
            failure.temporary = Some(temporary);
        }
        self
    }

    /// The lowest bit of the byte at `offset` of the data read is wrong; shorter data stays right.
    #[must_use]
    pub fn flip(mut self, offset: usize) -> Self {
        self.effect.flip = Some(offset);
        self
    }

    /// A list ends after so many files, without an error: what a store must never do.
    #[must_use]
    pub fn cut_list(mut self, files: usize) -> Self {
        self.effect.cut = Some(files);
        self
    }

    /// The first list that is hit is true, and later ones repeat it, whatever was written since.
    #[must_use]
    pub fn stale_list(mut self) -> Self {
        self.effect.stale = Some(Arc::default());
        self
    }

    /// The request takes so much longer.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.effect.delay = delay;
        self
    }

    fn matches(&self, request: Request, kind: Option<FileType>, name: &str) -> bool {
        self.requests.contains(&request)
            && self.kind.is_none_or(|wanted| kind == Some(wanted))
            && self.name.as_ref().is_none_or(|wanted| wanted == name)
    }

    /// Counts a request that matches; whether it is hit.
    fn hit(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let hit = self.times > 0;
        self.times = self.times.saturating_sub(1);
        hit
    }
}

/// A store whose requests fail by script.
pub struct Fault {
    inner: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    rules: Vec<Rule>,
    hits: u64,
    requests: u64,
}

impl Fault {
    /// Without rules nothing fails; delays pass on `clock`.
    pub fn new(inner: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, script: Mutex::default() }
    }

    /// Adds a rule. Where several hit a request, the first of them acts.
    pub fn add(&self, rule: Rule) {
        self.script().rules.push(rule);
    }

    /// Removes all rules; the counts stay.
    pub fn clear(&self) {
        self.script().rules.clear();
    }

    /// How many requests were hit.
    pub fn hits(&self) -> u64 {
        self.script().hits
    }

    /// How many requests came, hit or not.
    pub fn requests(&self) -> u64 {
        self.script().requests
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn effect(&self, request: Request, kind: Option<FileType>, name: &str) -> Effect {
        let mut script = self.script();
        script.requests += 1;
        let matching = script.rules.iter_mut().filter(|rule| rule.matches(request, kind, name));
        // Every rule counts the request, also those behind the one that acts.
        let hit: Vec<Effect> = matching.filter_map(|rule| rule.hit().then(|| rule.effect.clone())).collect();
        let first = hit.into_iter().next();
        script.hits += u64::from(first.is_some());
        first.unwrap_or_default()
    }

    fn run<T>(
        &self,
        request: Request,
        kind: Option<FileType>,
        name: &str,
        ask: impl FnOnce() -> BackendResult<T>,
    ) -> BackendResult<(T, Effect)> {
        let effect = self.effect(request, kind, name);
        if !effect.delay.is_zero() {
            self.clock.sleep(effect.delay);
        }
        let path = kind.map_or_else(|| self.inner.location(), |kind| path_of(kind, name));
        if let Some(failure) = effect.before {
            return Err(failure.error(request, path));
        }
        let answer = ask()?;
        match effect.after {
            Some(failure) => Err(failure.error(request, path)),
            None => Ok((answer, effect)),
        }
    }
}

impl Failure {
    fn error(self, request: Request, path: String) -> BackendError {
        let operation = match request {
            Request::List => "list",
            Request::Stat => "stat",
            Request::Read | Request::ReadRange => "read",
            Request::Write | Request::WriteNew => "write",
            Request::Delete | Request::DeleteMany => "delete",
            Request::Create => "create",
        };
        let error = BackendError::at(self.kind, operation, path, "scripted failure");
        let temporary = self.temporary.unwrap_or(error.temporary);
        error.with_temporary(temporary)
    }
}

impl Effect {
    fn on_data(&self, data: Bytes) -> Bytes {
        let Some(offset) = self.flip else { return data };
        let mut data = data.to_vec();
        if let Some(byte) = data.get_mut(offset) {
            *byte ^= 1;
        }
        data.into()
    }

    fn on_list(&self, mut list: Vec<Listed>) -> Vec<Listed> {
        if let Some(cut) = self.cut {
            list.truncate(cut);
        }
        match &self.stale {
            Some(first) => first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(list).clone(),
            None => list,
        }
    }
}

impl Backend for Fault {
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
        let (list, effect) = self.run(Request::List, Some(kind), "", || self.inner.list(kind))?;
        Ok(effect.on_list(list))
    }

    fn stat(&self, kind: FileType, name: &str) -> BackendResult<u64> {
        Ok(self.run(Request::Stat, Some(kind), name, || self.inner.stat(kind, name))?.0)
    }

    fn read(&self, kind: FileType, name: &str) -> BackendResult<Bytes> {
        let (data, effect) = self.run(Request::Read, Some(kind), name, || self.inner.read(kind, name))?;
        Ok(effect.on_data(data))
    }

    fn read_range(&self, kind: FileType, name: &str, offset: u64, length: usize) -> BackendResult<Bytes> {
        let ask = || self.inner.read_range(kind, name, offset, length);
        let (data, effect) = self.run(Request::ReadRange, Some(kind), name, ask)?;
        Ok(effect.on_data(data))
    }

    fn write(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.run(Request::Write, Some(kind), name, || self.inner.write(kind, name, data)).map(|((), _)| ())
    }

    fn write_new(&self, kind: FileType, name: &str, data: &Bytes) -> BackendResult<()> {
        self.run(Request::WriteNew, Some(kind), name, || self.inner.write_new(kind, name, data))
            .map(|((), _)| ())
    }

    fn delete(&self, kind: FileType, name: &str) -> BackendResult<()> {
        self.run(Request::Delete, Some(kind), name, || self.inner.delete(kind, name)).map(|((), _)| ())
    }

    fn create(&self) -> BackendResult<()> {
        self.run(Request::Create, None, "", || self.inner.create()).map(|((), _)| ())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::backend::testing::SleepClock;

    const DATA: Bytes = Bytes::from_static(b"12345");

    fn fault() -> (Fault, Arc<MemoryBackend>, Arc<SleepClock>) {
        let (memory, clock) = (Arc::new(MemoryBackend::new()), SleepClock::new());
        let fault = Fault::new(Arc::<MemoryBackend>::clone(&memory), Arc::<SleepClock>::clone(&clock));
        (fault, memory, clock)
    }

    fn name(n: u32) -> String {
        format!("{n:064x}")
    }

    #[test]
    fn changes_fail_from_the_nth_on() {
        let (fault, memory, _) = fault();
        fault.add(Rule::on(&CHANGES).skip(3).forever().fail(BackendErrorKind::Other));
        fault.write(FileType::Pack, &name(0), &DATA).unwrap();
        fault.write_new(FileType::Index, &name(1), &DATA).unwrap();
        fault.read(FileType::Pack, &name(0)).unwrap();
        let results = fault.delete_many(FileType::Pack, &[name(0), name(1)]);
        assert_eq!(
            (results[0].is_ok(), results[1].as_ref().unwrap_err().kind),
            (true, BackendErrorKind::Other)
        );
        fault.write(FileType::Snapshot, &name(2), &DATA).unwrap_err();
        assert_eq!((fault.hits(), fault.requests(), memory.content().files().count()), (2, 6, 1));
        fault.clear();
        fault.write(FileType::Snapshot, &name(2), &DATA).unwrap();
    }

    #[test]
    fn a_failure_may_follow_the_effect() {
        let (fault, memory, _) = fault();
        fault
            .add(Rule::on(&[Request::Write]).kind(FileType::Index).fail_after(BackendErrorKind::Unreachable));
        fault.write(FileType::Pack, &name(0), &DATA).unwrap();
        assert!(fault.write(FileType::Index, &name(1), &DATA).unwrap_err().temporary);
        assert_eq!(memory.read(FileType::Index, &name(1)).unwrap(), DATA);
    }

    #[test]
    fn data_is_flipped_lists_are_cut_and_stale_and_time_passes() {
        let (fault, _, clock) = fault();
        for n in 0..3 {
            fault.write(FileType::Pack, &name(n), &DATA).unwrap();
        }
        fault.add(Rule::on(&[Request::Read, Request::ReadRange]).name(&name(1)).flip(4).times(2));
        assert_eq!(fault.read(FileType::Pack, &name(0)).unwrap(), DATA);
        assert_eq!(&fault.read(FileType::Pack, &name(1)).unwrap()[..], b"12344");
        assert_eq!(&fault.read_range(FileType::Pack, &name(1), 0, 5).unwrap()[..], b"12344");
        assert_eq!(fault.read(FileType::Pack, &name(1)).unwrap(), DATA);
        fault.add(Rule::on(&[Request::List]).cut_list(2).delay(Duration::from_secs(9)));
        assert_eq!(fault.list(FileType::Pack).unwrap().len(), 2);
        assert_eq!(clock.elapsed().as_secs(), 9);
        fault.add(Rule::on(&[Request::List]).stale_list().forever());
        assert_eq!(fault.list(FileType::Pack).unwrap().len(), 3);
        fault.delete(FileType::Pack, &name(0)).unwrap();
        assert_eq!(fault.list(FileType::Pack).unwrap().len(), 3);
    }
}

//! A worker's loop: cut, hash, seal and store; directories become trees.
//!
//! One thread does all that for the bytes it was handed, so a chunk crosses threads once, from the reader,
//! and the worker's contexts and scratch memory are used over and over.

use std::sync::Arc;

use super::Stages;
use super::directory::Directory;
use super::large::ChunkTask;
use super::queue::{Batch, Task};
use crate::error::Result;
use crate::repository::Id;
use crate::repository::blob::{BlobType, SCRATCH_BYTES_MAX, Sealer, shrink};

struct Worker<'a> {
    stages: &'a Stages<'a>,
    number: usize,
    sealer: Sealer,
    scratch: Vec<u8>,
}

/// Works until the queue is closed or the run is over.
pub fn work(stages: &Stages<'_>, number: usize, sealer: Sealer) {
    let mut worker = Worker { stages, number, sealer, scratch: Vec::new() };
    while let Some(task) = stages.queue.pop(stages.run) {
        let done = match task {
            Task::Trees(directories) => worker.trees(&directories),
            Task::Chunk(chunk) => worker.chunk(&chunk),
            Task::Segment(segment) => {
                let file = Arc::clone(&segment.file);
                stages.take_step(&file, file.scan(stages.rabin, segment));
                Ok(())
            }
            Task::Files(batch) => worker.files(batch),
        };
        if let Err(error) = done {
            stages.run.fail(error);
        }
    }
    if let Err(error) = worker.identify(&[]) {
        stages.run.fail(error);
    }
}

impl Worker<'_> {
    fn identify(&mut self, contents: &[&[u8]]) -> Result<Vec<Id>> {
        self.stages.store.identify(self.number, &mut self.sealer, contents)
    }

    fn add(&mut self, kind: BlobType, id: Id, plain: &[u8]) -> Result<()> {
        self.stages.store.add(self.number, &mut self.sealer, kind, [(id, plain)])
    }

    fn files(&mut self, batch: Batch) -> Result<()> {
        let bytes = batch.memory.as_ref();
        let contents: Vec<&[u8]> =
            batch.files.iter().map(|file| bytes.get(file.range.clone()).unwrap_or_default()).collect();
        let ids = self.identify(&contents)?;
        let blobs = ids.iter().copied().zip(contents).filter(|(_, content)| !content.is_empty());
        self.stages.store.add(self.number, &mut self.sealer, BlobType::Data, blobs)?;
        for (file, id) in batch.files.into_iter().zip(ids) {
            let mut node = file.node;
            node.content = Some((!file.range.is_empty()).then_some(id).into_iter().collect());
            self.stages.monitor.progress().bytes_done.add(node.size);
            self.stages.file_done(&file.directory, file.slot, &node);
        }
        Ok(())
    }

    fn chunk(&mut self, task: &ChunkTask) -> Result<()> {
        let mut joined = std::mem::take(&mut self.scratch);
        let plain = task.bytes(&mut joined);
        let id = self.identify(&[plain])?.first().copied().unwrap_or_default();
        self.add(BlobType::Data, id, plain)?;
        shrink(&mut joined);
        self.scratch = joined;
        self.stages.take_step(&task.file, task.file.stored(task, id));
        Ok(())
    }

    fn trees(&mut self, mut directories: &[Arc<Directory>]) -> Result<()> {
        let mut json = std::mem::take(&mut self.scratch);
        while !directories.is_empty() {
            let mut ends = Vec::new();
            for directory in directories {
                directory.write_into(&mut json);
                ends.push(json.len());
                if json.len() >= SCRATCH_BYTES_MAX / 2 {
                    break;
                }
            }
            let (written, others) = directories.split_at(ends.len());
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let texts: Vec<&[u8]> =
                starts.zip(&ends).map(|(start, end)| json.get(start..*end).unwrap_or_default()).collect();
            for (directory, tree) in written.iter().zip(self.store_trees(&texts)?) {
                if let Some(above) = self.stages.directory_done(directory, tree) {
                    self.stages.all_done(above);
                }
            }
            directories = others;
            shrink(&mut json);
        }
        self.scratch = json;
        Ok(())
    }

    fn store_trees(&mut self, texts: &[&[u8]]) -> Result<Vec<Id>> {
        let ids = Id::of_many(texts)?;
        if let Some(parents) = self.stages.parent {
            ids.iter().try_for_each(|id| parents.require(id))?;
        }
        let blobs = ids.iter().copied().zip(texts.iter().copied());
        self.stages.store.add(self.number, &mut self.sealer, BlobType::Tree, blobs)?;
        Ok(ids)
    }
}

//! Backup: a directory → blobs in packs → a root tree. The only file that knows all stages.
//!
//! ```text
//! readers   walk ─ stat ─ compare with the parent ─ read        (own four buffers each)
//!             │ batches of small files · segments of large ones
//! workers   cut ─ hash ─ dedup ─ compress, seal, open again, append to an open pack ─ tree
//!             │ finished packs
//! uploaders write the pack ─ list it in an index file           (as many at once as the budget allows)
//! ```
//!
//! A chunk's bytes are copied once, compressed or raw, into the pack that is uploaded. Every buffer comes
//! from a bounded pool (`plan.rs`), so a slow store makes workers wait, and waiting workers make readers
//! wait. The root tree is complete when every entry below it is; `Store::finish` then makes everything
//! durable, and only after that may a snapshot be written.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use rustix::fs::Stat;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Count, Monitor};
use crate::repository::index::Index;
use crate::repository::tree::{Node, NodeKind};
use crate::repository::{Id, Repository};

pub mod chunk;
mod claimed;
pub mod directory;
pub mod effort;
pub mod entry;
pub mod exclude;
pub mod large;
pub mod parent;
pub mod plan;
pub mod queue;
pub mod read;
pub mod run;
pub mod store;
pub mod walk;
pub mod work;

use chunk::Rabin;
use directory::{Directory, Entry};
use entry::NodeMaker;
use exclude::Excludes;
use large::{LargeFile, Step};
use parent::{Ignore, ParentTrees};
use queue::{Queue, Task};
use read::Reader;
use run::{Run, lock};
use store::{Store, StorePlan};
use walk::{Frontier, Work};

/// What to back up, and how.
#[derive(Debug)]
pub struct Options {
    /// The directory whose entries are saved.
    pub source: PathBuf,
    /// What is left out.
    pub excludes: Excludes,
    /// What may differ in an unchanged file.
    pub ignore: Ignore,
    /// Makes nodes.
    pub maker: NodeMaker,
    /// Threads and memory.
    pub plan: plan::Plan,
}

/// New, changed and unmodified items against the parent.
#[derive(Debug, Default)]
pub struct Compared {
    /// Not in the parent.
    pub new: Count,
    /// Other than in the parent.
    pub changed: Count,
    /// As in the parent.
    pub unmodified: Count,
}

impl Compared {
    fn add(&self, previous: Option<&Node>, node: &Node) {
        match previous {
            None => self.new.add(1),
            Some(previous) if previous.is_same(node) => self.unmodified.add(1),
            Some(_) => self.changed.add(1),
        }
    }
}

/// What a run counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Regular files.
    pub files: Compared,
    /// Directories without the root.
    pub dirs: Compared,
    /// Files saved, or taken over.
    pub files_processed: Count,
    /// Their bytes.
    pub bytes_processed: Count,
    /// Items that could not be read.
    pub errors: Count,
}

/// What `save` leads to.
#[derive(Debug)]
pub struct Saved {
    /// The root tree.
    pub tree: Id,
    /// The figures.
    pub counts: Counts,
    /// What was added to the repository.
    pub added: store::Added,
}

/// What the stages share.
pub struct Stages<'a> {
    run: &'a Run<'a>,
    options: &'a Options,
    maker: &'a NodeMaker,
    index: &'a Index,
    parent: Option<&'a ParentTrees<'a>>,
    monitor: &'a dyn Monitor,
    rabin: &'a Rabin,
    store: &'a Store<'a>,
    frontier: Frontier,
    queue: Queue,
    counts: Counts,
    root: Mutex<Option<Id>>,
    root_device: u64,
}

/// Saves `options.source`, and returns when all of it is durable and indexed. `parent` is the root tree to
/// compare with.
pub fn save(
    repository: &Repository,
    index: &Index,
    parent: Option<Id>,
    options: &Options,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<Saved> {
    let stat = stat_source(&options.source)?;
    let run = Run::new(stop);
    let rabin = Rabin::new(repository.config().chunker_polynomial);
    let parents = ParentTrees::new(repository, index);
    // Only a first backup is sure to have more than a pack.
    let starts_short = options.plan.store.starts_short && parent.is_none();
    let plan = StorePlan { starts_short, ..options.plan.store };
    let (store, packs) = Store::new(repository, index, &run, monitor.progress(), plan);
    let stages = Stages {
        run: &run,
        options,
        maker: &options.maker,
        index,
        parent: parent.is_some().then_some(&parents),
        monitor,
        rabin: &rabin,
        store: &store,
        frontier: Frontier::default(),
        queue: Queue::default(),
        counts: Counts::default(),
        root: Mutex::new(None),
        root_device: stat.st_dev,
    };
    let root = root_directory(&stages, parent, &stat);
    stages.frontier.push(std::iter::once(Work::Family(vec![root])));
    let finished = std::thread::scope(|scope| {
        for _ in 0..options.plan.store.uploads {
            let upload = || {
                let _watched = run.watched();
                store.upload(&packs);
            };
            if std::thread::Builder::new().spawn_scoped(scope, upload).is_err() {
                store.lose_uploader();
            }
        }
        let finished = read_and_work(&stages, repository);
        let stored = store.finish();
        finished.and(stored)
    });
    // The first cause comes first: a stage that stopped because another failed has nothing to say.
    run.outcome()?;
    finished?;
    let tree = lock(&stages.root).take().ok_or_else(run::died)?;
    let Stages { counts, .. } = stages;
    Ok(Saved { tree, counts, added: store.added })
}

fn stat_source(source: &Path) -> Result<Stat> {
    rustix::fs::stat(source).map_err(|error| {
        Error::new(ErrorKind::Other, "cannot read the source")
            .at(source.display().to_string())
            .because(std::io::Error::from(error))
    })
}

/// The root; its old node names the parent's root tree and nothing else.
fn root_directory(stages: &Stages<'_>, parent: Option<Id>, stat: &Stat) -> Arc<Directory> {
    let source = &stages.options.source;
    let path = std::path::absolute(source).unwrap_or_else(|_| source.clone());
    let previous =
        parent.map(|subtree| (Node { kind: NodeKind::Dir, subtree: Some(subtree), ..Node::default() }, 0..0));
    Arc::new(Directory::new(path, None, stages.maker.node(b"", stat), previous))
}

/// Runs readers and workers until the root tree is complete or the run is over.
fn read_and_work(stages: &Stages<'_>, repository: &Repository) -> Result<()> {
    let plan = &stages.options.plan;
    let mut sealers = Vec::new();
    for _ in 0..plan.workers {
        sealers.push(repository.sealer()?);
    }
    std::thread::scope(|scope| {
        for (number, sealer) in sealers.into_iter().enumerate() {
            start(scope, stages.run, move || work::work(stages, number, sealer));
        }
        for _ in 0..plan.readers {
            let opener = stages.parent.map(|_| repository.opener()).transpose();
            match opener {
                Ok(opener) => {
                    start(scope, stages.run, move || walk::walk(stages, &mut Reader::new(stages, opener)));
                }
                Err(error) => stages.run.fail(error),
            }
        }
    });
    Ok(())
}

/// Starts a thread whose death, or whose missing, ends the run.
fn start<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    run: &'scope Run<'_>,
    work: impl FnOnce() + Send + 'scope,
) {
    let watched = move || {
        let _watched = run.watched();
        work();
    };
    if std::thread::Builder::new().spawn_scoped(scope, watched).is_err() {
        run.fail(run::died());
    }
}

impl Stages<'_> {
    /// An item could not be read: it is reported, and the backup will end with exit 3.
    fn item_failed(&self, during: &str, path: &Path, cause: &str) {
        self.counts.errors.add(1);
        self.monitor.progress().errors.add(1);
        self.monitor.item_failed(during, &path.to_string_lossy(), cause);
    }

    /// A file was met.
    fn found(&self, bytes: u64) {
        self.monitor.progress().files_total.add(1);
        self.monitor.progress().bytes_total.add(bytes);
    }

    /// An entry is done, or left out; the last of a directory completes it.
    fn complete(&self, directory: &Arc<Directory>, slot: usize, entry: Entry) {
        if directory.complete(slot, entry) {
            self.all_done(Arc::clone(directory));
        }
    }

    /// All entries of a directory are done: where nothing changed it is done as well, else a worker makes its tree.
    fn all_done(&self, mut directory: Arc<Directory>) {
        while let Some(tree) = directory.unchanged() {
            match self.directory_done(&directory, tree) {
                Some(above) => directory = above,
                None => return,
            }
        }
        self.queue.push(Task::Trees(vec![directory]));
    }

    /// A file is stored, or taken over from the parent.
    fn file_done(&self, directory: &Arc<Directory>, slot: usize, node: &Node) {
        let tree = directory.previous_tree();
        let previous = tree.and_then(|tree| tree.text.find(&node.name, None).ok().flatten());
        self.counts.files.add(previous.as_ref().map(|(node, _)| node), node);
        let place = previous.map(|(_, place)| place).unwrap_or_default();
        self.file_counted(directory, slot, node.size, directory.entry(node, &place));
    }

    /// A file is as the parent has it, at `place` of its directory's tree.
    fn file_unchanged(&self, directory: &Arc<Directory>, slot: usize, bytes: u64, place: Range<usize>) {
        self.counts.files.unmodified.add(1);
        self.file_counted(directory, slot, bytes, Entry::AsInParent(place));
    }

    fn file_counted(&self, directory: &Arc<Directory>, slot: usize, bytes: u64, entry: Entry) {
        self.counts.files_processed.add(1);
        self.counts.bytes_processed.add(bytes);
        self.monitor.progress().files_done.add(1);
        self.complete(directory, slot, entry);
    }

    /// A directory's tree is stored. The directory above, if this was its last entry.
    fn directory_done(&self, directory: &Arc<Directory>, tree: Id) -> Option<Arc<Directory>> {
        let mut node = lock(&directory.node).take()?;
        node.subtree = Some(tree);
        if let Some((above, slot)) = &directory.above {
            self.counts.dirs.add(directory.previous.as_ref(), &node);
            above.complete(*slot, above.entry(&node, &directory.place)).then(|| Arc::clone(above))
        } else {
            *lock(&self.root) = Some(tree);
            self.queue.close();
            None
        }
    }

    /// Carries a large file on.
    fn take_step(&self, file: &Arc<LargeFile>, step: Step) {
        step.chunks.into_iter().for_each(|chunk| self.queue.push(Task::Chunk(chunk)));
        if let Some(node) = step.node {
            self.file_done(&file.directory, file.slot, &node);
        }
    }
}

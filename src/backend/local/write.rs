//! How a file gets into a folder: whole or not at all, durable, and exclusively where that is asked for.
//!
//! A temporary file `<name>-tmp-<random>` in the same folder is written and fsynced, then gets its name by
//! `rename` or, where an existing file must win, by `link`; then the folder is fsynced. A network file
//! system may report a rename or a link as failed although it happened (its answer was lost): whether the
//! name stands for our own inode decides, not the answer.

use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::io::{Errno, Result};

use super::LocalBackend;
use super::cause::{failed, is_refusal, refuses_links, refuses_rename_new};
use crate::backend::layout::path_of;
use crate::backend::{BackendError, BackendErrorKind, BackendResult, FileType};
use crate::random::{SystemRandom, random_array};

/// Whether a file that has the name already stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Replaced,
    Stays,
}

/// The temporary file on its way to its name.
struct Draft {
    file: OwnedFd,
    path: PathBuf,
}

impl LocalBackend {
    pub(super) fn store(
        &self,
        kind: FileType,
        name: &str,
        data: &[u8],
        existing: Existing,
    ) -> BackendResult<()> {
        let target = self.path("write", kind, name)?;
        let fail = |errno| failed("write", path_of(kind, name), errno);
        let random = random_array::<8>(&SystemRandom)
            .map_err(|cause| BackendError::new(BackendErrorKind::Other, "write", kind, name, cause))?;
        let mut path = target.clone().into_os_string();
        path.push(format!("-tmp-{:016x}", u64::from_be_bytes(random)));
        let draft = self.open_draft(path.into()).map_err(fail)?;
        let stored = self.fill(&draft.file, data).and_then(|()| self.publish(&draft, &target, existing));
        if let Err(errno) = stored {
            // A draft that cannot be removed is left out by every list; the first failure is the one to tell.
            let _ = self.files.unlink(&draft.path);
            return Err(fail(errno));
        }
        self.fsync_parent(&target).map_err(fail)
    }

    /// Makes the names in the folder of `path` durable, where the file system can.
    pub(super) fn fsync_parent(&self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), |folder| tolerate(self.files.fsync_folder(folder)))
    }

    /// Makes one folder with the repository's own modes; whether it is new.
    pub(super) fn make_folder(&self, path: &Path, mode: Mode) -> Result<bool> {
        match self.files.make_folder(path, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(errno),
        }
        // The umask may have taken bits away; the setgid bit comes from the parent and must stay.
        let folder = self.files.open_folder(path)?;
        let now = Mode::from_raw_mode(self.files.stat_open(&folder)?.st_mode);
        let wanted = mode | now.intersection(Mode::SGID);
        if now != wanted {
            tolerate(self.files.chmod(&folder, wanted))?;
        }
        Ok(true)
    }

    fn open_draft(&self, path: PathBuf) -> Result<Draft> {
        let private = Mode::RUSR | Mode::WUSR;
        let file = match self.files.create(&path, private) {
            Err(Errno::NOENT) => {
                self.make_missing_folders(&path)?;
                self.files.create(&path, private)?
            }
            other => other?,
        };
        Ok(Draft { file, path })
    }

    /// Makes the folders between the root and `file`, never the root: a root that is missing may be a mount
    /// that is missing, and what is written below it would vanish when the mount comes back.
    fn make_missing_folders(&self, file: &Path) -> Result<()> {
        let mode = self.modes().folder;
        let mut folder = self.root.clone();
        let below = file.parent().and_then(|parent| parent.strip_prefix(&self.root).ok());
        for part in below.into_iter().flatten() {
            folder.push(part);
            if self.make_folder(&folder, mode)? {
                self.fsync_parent(&folder)?;
            }
        }
        Ok(())
    }

    fn fill(&self, file: &OwnedFd, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let written = self.files.write(file, data)?;
            data = data.get(written..).filter(|_| written > 0).ok_or(Errno::IO)?;
        }
        tolerate(self.files.chmod(file, self.modes().file))?;
        match self.files.fsync(file) {
            Err(Errno::NOTSUP) => Ok(()),
            other => other,
        }
    }

    fn publish(&self, draft: &Draft, target: &Path, existing: Existing) -> Result<()> {
        if existing == Existing::Replaced {
            return self.unless_ours(draft, target, self.files.rename(&draft.path, target));
        }
        match self.unless_ours(draft, target, self.files.link(&draft.path, target)) {
            Ok(()) => {
                // A second name that stays is left out by every list.
                let _ = self.files.unlink(&draft.path);
                Ok(())
            }
            Err(errno) if refuses_links(errno) => self.publish_without_link(draft, target),
            Err(errno) => Err(errno),
        }
    }

    /// Where links are refused: a rename that spares an existing name, and where that is refused too, the
    /// name is claimed by an exclusive create. Then alone an empty file is seen for a moment.
    fn publish_without_link(&self, draft: &Draft, target: &Path) -> Result<()> {
        match self.unless_ours(draft, target, self.files.rename_new(&draft.path, target)) {
            Err(errno) if refuses_rename_new(errno) => {}
            other => return other,
        }
        drop(self.files.create(target, self.modes().file)?);
        let renamed = self.unless_ours(draft, target, self.files.rename(&draft.path, target));
        if renamed.is_err() {
            let _ = self.files.unlink(target);
        }
        renamed
    }

    /// A failure counts only if the name does not stand for the draft.
    fn unless_ours(&self, draft: &Draft, target: &Path, outcome: Result<()>) -> Result<()> {
        outcome.or_else(|errno| {
            let ours = self.files.stat_open(&draft.file);
            match (ours, self.files.stat(target)) {
                (Ok(ours), Ok(there)) if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino) => Ok(()),
                _ => Err(errno),
            }
        })
    }
}

fn tolerate(outcome: Result<()>) -> Result<()> {
    outcome.or_else(|errno| if is_refusal(errno) { Ok(()) } else { Err(errno) })
}

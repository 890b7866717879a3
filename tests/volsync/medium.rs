//! What a restore wrote is on the volume's medium when its Job ends: the volume is cloned or unmounted next.
//!
//! The medium is a file with a file system in it. A copy of that file, made when the Job ends, has what was written
//! and nothing that memory alone holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::job::{Job, Mounted, Security};
use crate::scenarios::{saved_listing, volume, volumes_can_be_given};
use crate::support::listing::{assert_same, list};
use crate::support::{is_root, skipped};

fn runs(program: &str, arguments: &[&Path]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

/// A medium that is mounted, until it is dropped.
struct Medium {
    at: PathBuf,
}

impl Medium {
    fn mount(image: &Path) -> Option<Self> {
        let at = image.with_extension("mounted");
        fs::create_dir(&at).unwrap();
        (is_root() && runs("mount", &[Path::new("-o"), Path::new("loop"), image, &at])).then_some(Self { at })
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        runs("umount", &[&self.at]);
    }
}

#[test]
fn a_clone_of_the_volume_holds_what_was_restored() {
    if !volumes_can_be_given() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (image, copy) = (folder.path().join("image"), folder.path().join("copy"));
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let made = runs("mkfs.ext4", &[Path::new("-q"), &image]);
    let Some(medium) = made.then(|| Medium::mount(&image)).flatten() else {
        return skipped("what is on a volume's medium: that needs root, mkfs.ext4 and loop devices");
    };
    let (place, volume) = (Mounted::of(Security::Privileged), volume(Security::Privileged.user()));
    let job = |job: Job| job.on(&place).security(Security::Privileged);
    job(Job::source("backup", volume.path())).succeeds();
    job(Job::destination(&medium.at)).succeeds();
    fs::copy(&image, &copy).unwrap();
    let clone = Medium::mount(&copy).unwrap();
    fs::remove_dir(clone.at.join("lost+found")).unwrap();
    assert_same(&saved_listing(volume.path()), &list(&clone.at), "the clone");
}

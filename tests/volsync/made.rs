//! Images made of this machine's programs: no registry is asked for one.
//!
//! A program lies in its image with the libraries that it is linked with, at their own paths, and nothing else does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::way::docker;

/// The root of an image to be.
pub struct Made(TempDir);

impl Made {
    pub fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(root)
    }

    /// Lays a program there with its libraries; returns its copy.
    pub fn program(&self, program: &Path, at: &str) -> PathBuf {
        for library in libraries(program) {
            self.copy(&library, library.to_str().unwrap());
        }
        self.copy(program, at)
    }

    fn copy(&self, from: &Path, at: &str) -> PathBuf {
        let to = self.path(at);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap();
        to
    }

    pub fn link(&self, to: &str, at: &str) {
        fs::create_dir_all(self.path(at).parent().unwrap()).unwrap();
        symlink(to, self.path(at)).unwrap();
    }

    /// A folder that everybody may write to.
    pub fn open_folder(&self, at: &str) {
        fs::create_dir_all(self.path(at)).unwrap();
        fs::set_permissions(self.path(at), fs::Permissions::from_mode(0o1777)).unwrap();
    }

    fn path(&self, at: &str) -> PathBuf {
        self.0.path().join(at.trim_start_matches('/'))
    }

    /// Makes the image with these lines of a Dockerfile; returns its name.
    pub fn import(self, name: &str, changes: &[&str]) -> String {
        let archives = TempDir::new().unwrap();
        let archive = archives.path().join("root.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(self.0.path()).args(["--owner=0", "--group=0", "-cf"]).arg(&archive).arg(".");
        assert!(tar.status().unwrap().success());
        let changes = changes.iter().flat_map(|change| ["--change", change]);
        let arguments = ["import"].into_iter().chain(changes);
        let arguments: Vec<&str> = arguments.chain([archive.to_str().unwrap(), name]).collect();
        docker(&arguments).unwrap();
        name.to_owned()
    }
}

/// The shared libraries of a program, and what loads them; none of a static one.
pub fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let words = String::from_utf8_lossy(&listed.stdout).into_owned();
    words.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

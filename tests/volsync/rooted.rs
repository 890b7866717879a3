//! A Job's container without an engine: a root of its own, made of mounts, and `chroot` into it.
//!
//! As in a container the root is read-only, `/tmp` and `/cache` lie in memory, the Job's mounts stand at their
//! places, there is no network unless the Job has one, and capabilities are dropped for good. What an engine does
//! besides is missing: process ids are this machine's, and memory is not limited.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::job::{Job, lasting_folder};
use crate::made::libraries;
use crate::support::is_root;
use crate::way::{ENTRY, Program};

/// Where another program than the mover stands: its own place may be hidden by a mount.
const OTHER: &str = "/opt/other";

/// What is in every root.
pub struct Rooted {
    /// A copy of the program that every user may read.
    mover: PathBuf,
    /// Programs and libraries at the paths that they have on this machine.
    files: BTreeSet<PathBuf>,
    env: PathBuf,
    setpriv: PathBuf,
    /// Where a run mounts its root; nobody else sees it.
    root: PathBuf,
    _folder: TempDir,
}

impl Rooted {
    /// `None` where mounts may not be made.
    pub fn new() -> Option<Self> {
        let mut trial = Command::new("unshare");
        trial.args(["--mount", "--uts", "--net", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        if !is_root() || !trial.output().is_ok_and(|output| output.status.success()) {
            return None;
        }
        let folder = lasting_folder();
        let (mover, root) = (folder.path().join("entry.sh"), folder.path().join("root"));
        fs::copy(env!("CARGO_BIN_EXE_volmover"), &mover).unwrap();
        fs::create_dir(&root).unwrap();
        let (env, setpriv) = (tool("env")?, tool("setpriv")?);
        let mut files: BTreeSet<PathBuf> =
            [&env, &setpriv, &mover].into_iter().flat_map(|file| libraries(file)).collect();
        files.extend([env.clone(), setpriv.clone()]);
        Some(Self { mover, files, env, setpriv, root, _folder: folder })
    }

    /// The command that runs a Job.
    pub fn command(&self, job: &Job, program: Program<'_>) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts"]);
        if !job.network {
            command.arg("--net");
        }
        command.args(["sh", "-eu", "-c", &self.script(job, program), "sh"]);
        let (uid, gid) = job.security.user();
        let kept: String =
            job.security.capabilities().iter().map(|name| format!(",+{}", name.to_lowercase())).collect();
        let (folder, path) = match program {
            Program::Mover => ("/", Path::new(ENTRY)),
            Program::Other(..) => ("/data", Path::new(OTHER)),
        };
        command.arg(&self.env).args(["-C", folder]).arg(&self.setpriv);
        command.args(["--no-new-privs", "--inh-caps=-all"]);
        command.args([
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            format!("--bounding-set=-all{kept}"),
        ]);
        command.arg(job.group.map_or("--clear-groups".to_owned(), |group| format!("--groups={group}")));
        command.arg(path);
        match program {
            Program::Mover => command.args(&job.operations),
            Program::Other(_, arguments) => command.args(arguments),
        };
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(&job.environment);
        command
    }

    /// Makes the root, and goes into it with what follows.
    fn script(&self, job: &Job, program: Program<'_>) -> String {
        let root = self.root.to_str().unwrap();
        let mut script = format!("mount -t tmpfs -o mode=755 tmpfs {root}\n");
        if !job.network {
            writeln!(script, "echo {} >/proc/sys/kernel/hostname", job.host).unwrap();
        }
        let mut bind = |source: &Path, at: &str, read_only: bool| {
            let (source, at) = (source.to_str().unwrap(), format!("{root}{at}"));
            let (folder, _) = at.rsplit_once('/').unwrap();
            assert!(!format!("{source}{at}").contains([' ', '\'']), "{source} {at}");
            let made = if fs::metadata(source).unwrap().is_dir() {
                format!("mkdir -p {at}")
            } else {
                format!("mkdir -p {folder}; : >{at}")
            };
            let options = if read_only { "bind,ro" } else { "bind" };
            writeln!(script, "{made}; mount -o {options} {source} {at}").unwrap();
        };
        let mut files = self.files.clone();
        if let Program::Other(path, _) = program {
            files.extend(libraries(path));
            bind(path, OTHER, true);
        }
        for file in files {
            bind(&file, file.to_str().unwrap(), true);
        }
        bind(&self.mover, ENTRY, true);
        for at in ["/proc", "/dev"] {
            bind(Path::new(at), at, false);
        }
        // An engine makes files of its own of these.
        for at in ["/etc/hosts", "/etc/resolv.conf"] {
            if Path::new(at).exists() && !job.mounts.iter().any(|mount| mount.at == at) {
                bind(Path::new(at), at, true);
            }
        }
        for mount in &job.mounts {
            bind(&mount.source, &mount.at, mount.read_only);
        }
        let memory = "mount -t tmpfs -o mode=1777 tmpfs";
        writeln!(script, "mkdir -p {root}/tmp {root}/cache\n{memory} {root}/tmp\n{memory} {root}/cache")
            .unwrap();
        writeln!(script, "mount -o remount,bind,ro {root}\nexec chroot {root} \"$@\"").unwrap();
        script
    }
}

fn tool(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name)).into_iter().find(|place| place.exists())
}

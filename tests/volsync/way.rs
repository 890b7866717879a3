//! How a Job's container is run: by a Docker Engine, in a root of its own by `chroot`, or as a plain process under
//! the same user and capabilities.
//!
//! stdout and stderr are one log, as in Kubernetes. In a container the root file system is read-only, `/tmp` lies
//! in memory, capabilities are dropped and none can be gained; `rooted` makes the same of mounts. A plain process sees
//! this machine's files, so the places of mounts in its variables are replaced by the folders behind them, and
//! `MOVER_PATH` keeps `/data`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::job::{Job, lasting_folder};
use crate::log::{self, Verdict};
use crate::made::{Made, libraries};
use crate::rooted::Rooted;
use crate::support::{is_required, is_root, skipped};

/// The name of the mover in its container.
pub const ENTRY: &str = "/mover-restic/entry.sh";

/// How movers run here.
pub enum Way {
    /// In containers of this image.
    Engine(String),
    /// In roots of their own.
    Rooted(Rooted),
    /// As processes of this program, by the mover's name.
    Process(TempDir),
}

/// The way of this run of the tests.
pub static WAY: LazyLock<Way> = LazyLock::new(|| {
    if docker(&["version"]).is_ok() {
        let image = std::env::var("VOLMOVER_IMAGE").unwrap_or_else(|_| import());
        return Way::Engine(image);
    }
    assert!(!is_required(), "no Docker Engine answers: eval \"$(.ci/engine start FOLDER)\"");
    if let Some(rooted) = Rooted::new() {
        skipped("containers: no Docker Engine answers, so movers run by chroot (.ci/engine starts one)");
        return Way::Rooted(rooted);
    }
    skipped(
        "containers: no Docker Engine answers, and only root can make mounts: movers run as plain processes",
    );
    let folder = lasting_folder();
    fs::copy(env!("CARGO_BIN_EXE_volmover"), folder.path().join("entry.sh")).unwrap();
    fs::set_permissions(folder.path().join("entry.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    Way::Process(folder)
});

/// The image, where there is an engine.
pub fn image() -> Option<&'static str> {
    match &*WAY {
        Way::Engine(image) => Some(image),
        Way::Rooted(_) | Way::Process(_) => None,
    }
}

/// Whether movers see this machine's files, and no `/data`.
pub fn is_plain() -> bool {
    matches!(&*WAY, Way::Process(_))
}

/// Runs docker; its stdout, or its stderr.
pub fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).output().map_err(|cause| cause.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// An image of the program under test, laid out as the Dockerfile does.
fn import() -> String {
    let image = Made::new();
    let program = image.program(Path::new(env!("CARGO_BIN_EXE_volmover")), "/usr/local/bin/volmover");
    // Containers are made by copying the image, and most of it is line tables.
    let _ = Command::new("strip").arg(program).status();
    image.link("/usr/local/bin/volmover", ENTRY);
    image.import("volmover-under-test", &["USER 65534:65534", "ENTRYPOINT [\"/usr/local/bin/volmover\"]"])
}

/// What came of a Job.
#[derive(Debug)]
pub struct Ran {
    /// Of a signal that ended it: 128 and its number.
    pub code: i32,
    /// stdout and stderr.
    pub log: String,
}

impl Ran {
    /// As the operator judges it.
    #[track_caller]
    pub fn judged(&self) -> Verdict {
        log::judge(self.code, &self.log)
    }
}

/// What runs in the container of a Job.
#[derive(Debug, Clone, Copy)]
pub enum Program<'a> {
    /// The mover.
    Mover,
    /// A program of this machine, in `/data`, with these arguments.
    Other(&'a Path, &'a [&'a str]),
}

/// A mover under way. It is killed when it is dropped.
pub struct Mover {
    child: Child,
    name: Option<String>,
    output: Option<std::io::PipeReader>,
}

impl Mover {
    /// Starts a Job.
    pub fn start(job: &Job) -> Self {
        Self::start_program(job, Program::Mover)
    }

    /// Starts another program in the container of a Job.
    pub fn start_program(job: &Job, program: Program<'_>) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("volmover-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
        let (mut command, name) = match &*WAY {
            Way::Engine(image) => (contained(job, program, image, &name), Some(name)),
            Way::Rooted(rooted) => (rooted.command(job, program), None),
            Way::Process(folder) => (plain(job, program, &folder.path().join("entry.sh")), None),
        };
        let (output, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        // The command holds the writing ends, and the pipe ends with the last of them.
        drop(command);
        Self { child, name, output: Some(output) }
    }

    /// The id of the process as this machine counts.
    pub fn pid(&self) -> Option<i32> {
        match &self.name {
            None => i32::try_from(self.child.id()).ok(),
            Some(name) => {
                docker(&["inspect", "-f", "{{.State.Pid}}", name]).ok()?.parse().ok().filter(|pid| *pid > 0)
            }
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_raw(self.pid().unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ran {
        let mut log = Vec::new();
        self.output.take().unwrap().read_to_end(&mut log).unwrap();
        let status = self.child.wait().unwrap();
        Ran { code: code(status), log: String::from_utf8(log).unwrap() }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(name) = &self.name {
            let _ = docker(&["rm", "--force", name]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}

/// The path that snapshots record: a plain process has no `/data`.
pub fn recorded(job: Job, volume: &Path) -> Job {
    if is_plain() { job.with("MOVER_PATH", volume.to_str().unwrap()) } else { job }
}

/// Runs a Job to its end.
pub fn run(job: &Job) -> Ran {
    Mover::start(job).finish()
}

fn contained(job: &Job, program: Program<'_>, image: &str, name: &str) -> Command {
    let mut command = Command::new("docker");
    command.args([
        "run",
        "--rm",
        "--name",
        name,
        "--read-only",
        "--tmpfs",
        "/tmp:mode=1777",
        "--tmpfs",
        "/cache:mode=1777",
    ]);
    command.args(["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
    for capability in job.security.capabilities() {
        command.args(["--cap-add", capability]);
    }
    let (uid, gid) = job.security.user();
    command.args(["--user", &format!("{uid}:{gid}")]);
    if let Some(group) = job.group {
        command.args(["--group-add", &group.to_string()]);
    }
    if job.network {
        command.args(["--network", "host"]);
    } else {
        command.args(["--network", "none", "--hostname", &job.host]);
    }
    if let Some(memory) = job.memory {
        command.args(["--memory", memory]);
    }
    for mount in &job.mounts {
        let mode = if mount.read_only { ":ro" } else { "" };
        command.args(["--volume", &format!("{}:{}{mode}", mount.source.display(), mount.at)]);
    }
    // By name: a value in the arguments could be read by everybody.
    for (name, value) in &job.environment {
        command.args(["--env", name]).env(name, value);
    }
    match program {
        Program::Mover => command.args(["--entrypoint", ENTRY, image]).args(&job.operations),
        Program::Other(path, arguments) => {
            for file in libraries(path).iter().map(PathBuf::as_path).chain([path]) {
                command.args(["--volume", &format!("{0}:{0}:ro", file.display())]);
            }
            command.args(["--workdir", "/data", "--entrypoint"]).arg(path).arg(image).args(arguments)
        }
    };
    command
}

fn plain(job: &Job, program: Program<'_>, entry: &Path) -> Command {
    let (path, folder) = match program {
        Program::Mover => (entry, PathBuf::from("/")),
        Program::Other(path, _) => (path, outside(job, "/data")),
    };
    let mut command = if is_root() {
        let (uid, gid) = job.security.user();
        let kept: String =
            job.security.capabilities().iter().map(|name| format!(",+{}", name.to_lowercase())).collect();
        let mut command = Command::new("setpriv");
        command.args([
            &format!("--reuid={uid}"),
            &format!("--regid={gid}"),
            &job.group.map_or("--clear-groups".to_owned(), |group| format!("--groups={group}")),
            "--no-new-privs",
        ]);
        command.args([&format!("--bounding-set=-all{kept}"), "--inh-caps=-all"]).arg(path);
        command
    } else {
        let mut command = Command::new(path);
        command.arg0(ENTRY);
        command
    };
    match program {
        Program::Mover => command.args(&job.operations),
        Program::Other(_, arguments) => command.args(arguments),
    };
    command.current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("MOVER_PATH", "/data");
    if let Some(secret) = job.mounts.iter().find(|mount| mount.at == "/mnt/mover-config") {
        command.env("MOVER_CONFIG_DIR", &secret.source);
    }
    for (name, value) in &job.environment {
        command.env(name, outside(job, value));
    }
    command
}

/// A value in which the place of a mount is replaced by the folder behind it.
pub fn outside(job: &Job, value: &str) -> PathBuf {
    let replaced = job
        .mounts
        .iter()
        .find_map(|mount| Some(mount.source.join(Path::new(value).strip_prefix(&mount.at).ok()?)));
    match replaced {
        Some(path) if path.ends_with("") => path.components().collect(),
        Some(path) => path,
        None => PathBuf::from(value),
    }
}

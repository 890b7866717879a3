//! One call of the binary, what came of it, and what every failure must look like.

#![allow(unreachable_pub, reason = "a module of several binaries")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use tempfile::TempDir;
use volmover::clock::SystemClock;
use volmover::repository::Repository;
use volmover::repository::open::Access;

use crate::support::children::Running;
use crate::support::is_root;
use crate::support::mover::{self, Mover};
use crate::support::scratch;

/// The mark of all secrets: nothing that is printed holds it.
pub const MARK: &str = "Gehe1m";
/// The repository's password.
pub const PASSWORD: &str = "Gehe1m-password";
/// Who owns nothing.
pub const NOBODY: u32 = 65534;

/// A call of the binary, with nothing in its environment but what is asked for.
#[derive(Clone)]
pub struct Call {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    nobody: bool,
}

impl Call {
    /// `volmover` with arguments, parted by blanks.
    pub fn new(arguments: &str) -> Self {
        Self {
            program: PathBuf::from(env!("CARGO_BIN_EXE_volmover")),
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            environment: Vec::new(),
            nobody: false,
        }
    }

    /// On a repository, with the password of all repositories here.
    pub fn on(arguments: &str, repository: impl AsRef<OsStr>) -> Self {
        Self::new(arguments).with("RESTIC_REPOSITORY", repository).with("RESTIC_PASSWORD", PASSWORD)
    }

    /// With a variable, or with another value of it.
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_str().unwrap().to_owned()));
        self
    }

    /// With an argument more.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_str().unwrap().to_owned());
        self
    }

    /// By another path to the program.
    pub fn by_program(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// As a user who may not read what is root's. Who is not root is such a user already.
    pub fn by_nobody(mut self) -> Self {
        if is_root() {
            self.program = COPY.path().join("volmover");
            self.nobody = true;
        }
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned());
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it.
    pub fn start(&self) -> Running {
        Running::start(&mut self.command())
    }

    /// Runs it.
    pub fn run(&self) -> Ran {
        Ran::of(&self.command().output().unwrap())
    }

    /// Runs it, and panics unless it exits with 0; returns stdout.
    #[track_caller]
    pub fn ok(&self) -> String {
        let ran = self.run();
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.assert_no_secret();
        ran.out
    }

    /// Runs it twice, the first time with all that the log has to say, and panics unless it fails with
    /// `code` and a line that begins with `line`, and says the same and what to do in its termination message.
    #[track_caller]
    pub fn fails(&self, code: i32, line: &str) -> Ran {
        let mut loud = self.clone();
        loud.environment.insert(0, ("MOVER_LOG".to_owned(), "trace".to_owned()));
        loud.run().assert_failed(code, line);
        let place = open_folder();
        let message = place.path().join("message");
        fs::write(&message, "").unwrap();
        fs::set_permissions(&message, fs::Permissions::from_mode(0o666)).unwrap();
        let mut told = self.clone();
        told.environment
            .insert(0, ("MOVER_TERMINATION_LOG".to_owned(), message.to_str().unwrap().to_owned()));
        let ran = told.run();
        ran.assert_failed(code, line);
        ran.assert_told(&fs::read_to_string(&message).unwrap());
        ran
    }
}

/// What came of a call.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap());
        Self { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The last line on stderr.
    pub fn last(&self) -> &str {
        self.err.lines().last().unwrap_or_default()
    }

    #[track_caller]
    pub fn assert_failed(&self, code: i32, line: &str) {
        let last = self.last();
        assert!(
            self.code == code && last.starts_with(line),
            "expected {code} {line}\n     got {} {last}\n{}",
            self.code,
            self.err
        );
        assert!(last.starts_with("Fatal: ") && last.len() < 511, "{last}");
        let all = self.out.lines().chain(self.err.lines());
        assert_eq!(all.filter(|line| line.starts_with("Fatal:")).count(), 1, "{}\n{}", self.out, self.err);
        assert!(self.err.ends_with('\n'), "the line has no end: {}", self.err);
        self.assert_no_secret();
    }

    /// The termination message of a failure.
    #[track_caller]
    pub fn assert_told(&self, message: &str) {
        assert!(message.len() <= 4096 && !message.contains(MARK), "{message}");
        let told: Value = serde_json::from_str(message).unwrap_or_else(|cause| panic!("{cause}: {message}"));
        let error = &told["error"];
        let expected = (&self.code.into(), &"failed".into(), &self.last().into());
        assert_eq!((&told["exit_code"], &told["outcome"], &error["line"]), expected);
        for part in ["reason", "what", "next"] {
            assert!(error[part].as_str().is_some_and(|text| text.len() > 3), "no {part}: {message}");
        }
    }

    #[track_caller]
    pub fn assert_no_secret(&self) {
        for text in [&self.out, &self.err] {
            let lines = text.lines().filter(|line| line.contains(MARK) || line.contains("panicked"));
            assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new());
        }
    }
}

/// The program where everybody can reach it: the build's own folder may be closed to others.
static COPY: LazyLock<TempDir> = LazyLock::new(|| {
    // On the disk: nobody drops what is static.
    let folder = opened(TempDir::new().unwrap());
    let copy = folder.path().join("volmover");
    // Written by another process: one that this one starts meanwhile would hold the file open for writing, and
    // what is open for writing cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_volmover")).arg(&copy).status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    folder
});

/// A temporary folder that everybody may read.
pub fn open_folder() -> TempDir {
    opened(scratch())
}

fn opened(folder: TempDir) -> TempDir {
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A source with two files, a folder and a link.
pub fn source() -> TempDir {
    let folder = open_folder();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/text"), "some text\n".repeat(1000)).unwrap();
    fs::write(folder.path().join("short"), "short").unwrap();
    std::os::unix::fs::symlink("d/text", folder.path().join("link")).unwrap();
    folder
}

/// A repository in a folder, whose key opens at once.
pub struct Repo {
    folder: TempDir,
}

impl Repo {
    pub fn new() -> Self {
        let folder = open_folder();
        Repository::create(mover::local(folder.path()), &access()).unwrap();
        Self { folder }
    }

    /// The one in a folder, with the password of all repositories here.
    pub fn of(folder: TempDir) -> Self {
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A call on it.
    pub fn call(&self, arguments: &str) -> Call {
        Call::on(arguments, self.path())
    }

    /// The same from inside this process.
    pub fn mover(&self) -> Mover {
        Mover::of(Repository::open(mover::local(self.path()), &access()).unwrap())
    }

    /// How many files stand in one of its folders.
    pub fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.path().join(folder)).map_or(0, Iterator::count)
    }
}

/// Access by the password of all repositories here.
pub fn access() -> Access<'static> {
    Access { password: PASSWORD.as_bytes(), ..mover::access(Arc::new(SystemClock::new())) }
}

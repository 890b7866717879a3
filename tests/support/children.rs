//! Child processes of a test: they end with it, whatever comes of it.

use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// A process that is killed when it is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|cause| panic!("{command:?}: {cause}")))
    }

    /// Waits for its end; what it says goes by pipes.
    pub fn finish(mut self) -> Output {
        let read = |stream: Option<&mut dyn Read>| {
            let mut bytes = Vec::new();
            stream.map(|stream| stream.read_to_end(&mut bytes)).transpose().unwrap();
            bytes
        };
        let mut err = self.0.stderr.take();
        let reader = std::thread::spawn(move || read(err.as_mut().map(|err| err as &mut dyn Read)));
        let stdout = read(self.0.stdout.as_mut().map(|out| out as &mut dyn Read));
        let status = self.0.wait().unwrap();
        Output { status, stdout, stderr: reader.join().unwrap() }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls until `done`, for twenty seconds at most.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! Child processes of a test: they end with it, whatever comes of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// A process that is killed when it is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|cause| panic!("{command:?}: {cause}")))
    }

    /// A program that listens on the port it is given, when it is ready; `None` where it is not within a minute. The port
    /// may be taken by somebody else meanwhile, who may answer in its place: then it ends, and is started with another.
    pub fn listening(
        command: impl Fn(u16) -> Command,
        is_ready: impl Fn(u16) -> bool,
    ) -> Option<(Self, u16)> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_mins(1) {
            let port = free_port();
            let mut running = Self::start(&mut command(port));
            while running.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_mins(1) {
                if is_ready(port) {
                    return Some((running, port));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        None
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

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The whole answer of an HTTP server, unless there is none.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    // Version 1.0 gets an answer in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
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

//! A loopback TCP proxy that makes a network slow or broken: latency, bandwidth, cut connections.
//!
//! Plain threads, for tests and benches alike. Latency is added to what a client sends first and after an answer,
//! which is once for each request of HTTP/1.1; bandwidth is shared by all connections of one direction.

#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several binaries")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What the line is like. Zero means: no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// Added once to every request.
    pub latency: Duration,
    /// One request of so many waits for `slow_latency` instead.
    pub slow_one_in: u64,
    /// How long the slow ones wait.
    pub slow_latency: Duration,
    /// Bytes per second in each direction, all connections together.
    pub bytes_per_second: u64,
    /// A connection is cut after so many bytes from the server.
    pub cut_after_bytes: u64,
}

impl Line {
    /// Parts with commas between: `20ms` is added to each request, `1%:2s` is what one in a hundred waits
    /// instead, `100mbit` is shared by all connections of a direction.
    pub fn parse(text: &str) -> Option<Self> {
        let mut line = Self::default();
        for part in text.split(',') {
            if let Some((share, latency)) = part.split_once("%:") {
                line.slow_one_in =
                    100 / share.parse::<u64>().ok().filter(|share| (1..=100).contains(share))?;
                line.slow_latency = time(latency)?;
            } else if let Some(megabits) = part.strip_suffix("mbit") {
                line.bytes_per_second = megabits.parse::<u64>().ok()? * 125_000;
            } else {
                line.latency = time(part)?;
            }
        }
        Some(line)
    }
}

/// `20ms` or `2s`.
fn time(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(milliseconds) => Some(Duration::from_millis(milliseconds.parse().ok()?)),
        None => Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?)),
    }
}

/// A running proxy; it stops when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    line: Mutex<Line>,
    stop: AtomicBool,
    /// When the line is free again, in nanoseconds since `start`: up and down.
    busy_until: [AtomicU64; 2],
    start: Instant,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Proxy {
    /// Starts a proxy in front of `target` (`host:port`).
    pub fn start(target: &str, line: Line) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            line: Mutex::new(line),
            stop: AtomicBool::new(false),
            busy_until: [AtomicU64::new(0), AtomicU64::new(0)],
            start: Instant::now(),
            open: Mutex::default(),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        });
        let (shared, target) = (Arc::clone(&state), target.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&target)) else { continue };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                shared.join(&client, &server);
            }
        });
        Self { address, state }
    }

    /// `host:port` of the proxy.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes the line from now on.
    pub fn set_line(&self, line: Line) {
        *self.state.line.lock().unwrap() = line;
    }

    /// Cuts all connections that are open now.
    pub fn cut(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

impl State {
    fn join(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) {
        for stream in [client, server] {
            let _ = stream.set_nodelay(true);
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
        }
        // What a client sends first, and what it sends after an answer, begins a request.
        let answered = Arc::new(AtomicBool::new(true));
        for (direction, from, to) in [(0, client, server), (1, server, client)] {
            let (state, from, to) = (Arc::clone(self), from.try_clone().unwrap(), to.try_clone().unwrap());
            let answered = Arc::clone(&answered);
            thread::spawn(move || state.pump(direction, from, to, &answered));
        }
    }

    fn pump(&self, direction: usize, mut from: TcpStream, mut to: TcpStream, answered: &AtomicBool) {
        let mut buffer = vec![0; 64 << 10];
        let mut passed = 0;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let line = *self.line.lock().unwrap();
            if direction == 1 {
                answered.store(true, Ordering::SeqCst);
            } else if answered.swap(false, Ordering::SeqCst) {
                let requests = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
                let is_slow = line.slow_one_in > 0 && requests.is_multiple_of(line.slow_one_in);
                thread::sleep(if is_slow { line.slow_latency } else { line.latency });
            }
            self.wait_for_room(direction, count as u64, line.bytes_per_second);
            passed += count as u64;
            let cut = direction == 1 && line.cut_after_bytes > 0 && passed > line.cut_after_bytes;
            if cut || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    fn wait_for_room(&self, direction: usize, bytes: u64, bytes_per_second: u64) {
        if bytes_per_second == 0 {
            return;
        }
        let cost = bytes.saturating_mul(1_000_000_000) / bytes_per_second;
        let now = self.start.elapsed().as_nanos() as u64;
        let busy = &self.busy_until[direction];
        let before =
            busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| Some(until.max(now) + cost));
        let until = before.unwrap_or(0).max(now) + cost;
        thread::sleep(Duration::from_nanos(until - now));
    }
}

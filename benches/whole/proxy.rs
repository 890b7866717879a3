//! A relay between a tool and its store that counts HTTP/1.1 requests, the bytes of their bodies and those of answers.
//!
//! It passes bytes on unchanged, so signatures stay valid, and follows the framing of requests only.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Outcome;
use super::store::Counted;

#[derive(Default)]
struct Totals {
    requests: AtomicU64,
    bytes: AtomicU64,
    answered: AtomicU64,
    over: AtomicBool,
}

/// A relay that listens until it is dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    totals: Arc<Totals>,
}

impl Proxy {
    /// Relays to `port` of this machine.
    pub(super) fn start(upstream: u16) -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let totals = Arc::new(Totals::default());
        let shared = Arc::clone(&totals);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || client.and_then(|client| relay(client, upstream, &shared)));
            }
        });
        Ok(Self { port, totals })
    }

    pub(super) fn counted(&self) -> Counted {
        Counted {
            requests: self.totals.requests.load(Ordering::Relaxed),
            bytes: self.totals.bytes.load(Ordering::Relaxed),
            answered: self.totals.answered.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.totals.over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then ends.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn relay(client: TcpStream, upstream: u16, totals: &Arc<Totals>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", upstream))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (answers, back, shared) = (server.try_clone()?, client.try_clone()?, Arc::clone(totals));
    std::thread::spawn(move || {
        let passed = pass_answers(answers, &back, &shared);
        let _closed = back.shutdown(Shutdown::Both);
        passed
    });
    let passed = pass_requests(client, &server, totals);
    let _closed = server.shutdown(Shutdown::Both);
    passed
}

fn pass_answers(mut server: TcpStream, mut client: &TcpStream, totals: &Totals) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = server.read(&mut buffer)?;
        let Some(received) = buffer.get(..length).filter(|received| !received.is_empty()) else {
            return Ok(());
        };
        client.write_all(received)?;
        totals.answered.fetch_add(length as u64, Ordering::Relaxed);
    }
}

fn pass_requests(mut client: TcpStream, mut server: &TcpStream, totals: &Totals) -> io::Result<()> {
    let mut framing = Framing::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = client.read(&mut buffer)?;
        let Some(received) = buffer.get(..length).filter(|received| !received.is_empty()) else {
            return Ok(());
        };
        server.write_all(received)?;
        let (requests, bytes) = framing.follow(received);
        totals.requests.fetch_add(requests, Ordering::Relaxed);
        totals.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Where in the stream of requests the relay stands.
#[derive(Default)]
struct Framing {
    head: Vec<u8>,
    body_left: u64,
}

impl Framing {
    /// How many requests ended their head in these bytes, and how many bytes belonged to bodies.
    fn follow(&mut self, mut received: &[u8]) -> (u64, u64) {
        let (mut requests, mut bytes) = (0, 0);
        while !received.is_empty() {
            if self.body_left > 0 {
                let length = self.body_left.min(received.len() as u64);
                self.body_left -= length;
                bytes += length;
                received = received.get(length as usize..).unwrap_or_default();
                continue;
            }
            let (byte, rest) = received.split_at(1);
            self.head.extend_from_slice(byte);
            received = rest;
            if self.head.ends_with(b"\r\n\r\n") {
                requests += 1;
                self.body_left = body_bytes(&self.head);
                self.head.clear();
            }
        }
        (requests, bytes)
    }
}

/// The length that a head announces. S3 clients announce it always; a chunked body would be counted as heads.
fn body_bytes(head: &[u8]) -> u64 {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

//! A small HTTP/1.1 server of plain threads whose answers a closure writes, byte for byte.
//!
//! For what is no S3: token services, metadata services, servers that answer nonsense or not at all.

#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several binaries")]
#![allow(clippy::unwrap_used, clippy::unnecessary_wraps)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it came: the head with its lines, and the body.
pub struct Received {
    /// Request line and headers.
    pub head: String,
    /// The body, as far as `Content-Length` says.
    pub body: String,
}

/// A running server; it stops when it is dropped.
pub struct Stub {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Stub {
    /// Answers every request with what `answer` returns: all bytes, status line included; none: no answer,
    /// and the connection stays open.
    pub fn start(answer: impl Fn(&Received) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, streams, answer) = (Arc::clone(&stop), Arc::clone(&open), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(&stream, &*answer));
            }
        });
        Self { address, stop, open }
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A whole answer with a body.
pub fn answer(status: &str, body: &str) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Some([head.as_bytes(), body.as_bytes()].concat())
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Received) -> Option<Vec<u8>>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(reader.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = reader.read_exact(&mut body);
    let received = Received { head, body: String::from_utf8_lossy(&body).into_owned() };
    let mut stream = stream;
    match answer(&received) {
        Some(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
        }
        // Hold the connection until the client or the drop of the server ends it.
        None => drop(reader.read(&mut [0])),
    }
}

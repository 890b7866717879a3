//! Metrics for who comes and asks, as long as the run lasts.
//!
//! One caller at a time, who is left when it is silent for a second: a slow one delays the next, never the run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{exposition, metrics};
use crate::report::Collector;

const PATIENCE: Duration = Duration::from_secs(1);
/// No request that is meant for us is longer.
const REQUEST_BYTES_MAX: u64 = 16 << 10;

/// Starts to serve at the first of the addresses that can be had, on a thread of its own.
pub(super) fn start(addresses: &[SocketAddr], collector: Arc<Collector>) -> Result<(), String> {
    let failed = |cause: std::io::Error| match addresses.last() {
        Some(address) => format!("{address}: {cause}"),
        None => cause.to_string(),
    };
    let listener = TcpListener::bind(addresses).map_err(failed)?;
    let serve = move || {
        for stream in listener.incoming().flatten() {
            // Who hangs up early has lost nothing but an answer.
            let _ = answer(&stream, &collector);
        }
    };
    let thread = std::thread::Builder::new().name("metrics".to_owned());
    thread.spawn(serve).map(drop).map_err(failed)
}

fn answer(stream: &TcpStream, collector: &Collector) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(REQUEST_BYTES_MAX)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // An unread rest would reset the connection under the answer.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET"), Some("/metrics" | "/")) => {
            ("200 OK", exposition::text(&metrics::samples(&collector.summary(), None)))
        }
        _ => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

//! Where a repository is kept during a turn, and what is counted there.
//!
//! Local: files that appear in the folder and their bytes; a store without requests counts what is written.
//! S3: a `MinIO` of its own, behind a proxy that counts requests and the bytes of their bodies, and one that
//! makes the way to it longer or narrower.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Outcome;
use super::line::{self, Line};
use super::measure;
use super::proxy::Proxy;
use super::settings::StoreKind;

/// Where an S3 store keeps objects, in its folder.
pub(super) const BUCKET: &str = "bench";
const ACCESS_KEY: &str = "volmover";
const SECRET_KEY: &str = "volmover-bench";

/// Counted since the store was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) bytes: u64,
    pub(super) requests: u64,
    /// Bytes of answers; a folder gives none.
    pub(super) answered: u64,
}

impl Counted {
    /// What came to it since it was `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            requests: self.requests.saturating_sub(before.requests),
            answered: self.answered.saturating_sub(before.answered),
        }
    }

    /// Bytes on the line to the store, in the busier direction.
    pub(super) fn line_bytes(self) -> u64 {
        self.bytes.max(self.answered)
    }
}

/// A store for one turn.
pub(super) enum Store {
    Local(PathBuf),
    S3 { _server: Server, _line: line::Proxy, proxy: Proxy },
}

/// A `MinIO` that ends with its turn.
pub(super) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            let _ended = self.0.wait();
        }
    }
}

impl Store {
    /// A store that holds what it left in `folder` the last time, or nothing.
    pub(super) fn open(kind: StoreKind, line: Line, folder: &Path, peers: &Path) -> Outcome<Self> {
        if kind == StoreKind::Local {
            return Ok(Self::Local(folder.to_owned()));
        }
        fs::create_dir_all(folder.join(BUCKET))?;
        let (api, console) = (free_port()?, free_port()?);
        let child = Command::new(peers.join("bin/minio"))
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{api}")])
            .args(["--console-address", &format!("127.0.0.1:{console}")])
            .arg(folder)
            .envs([("MINIO_ROOT_USER", ACCESS_KEY), ("MINIO_ROOT_PASSWORD", SECRET_KEY)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Server(child);
        wait_until_it_listens(api)?;
        let line = line::Proxy::start(&format!("127.0.0.1:{api}"), line);
        let port = line.address().rsplit(':').next().and_then(|port| port.parse().ok());
        let proxy = Proxy::start(port.ok_or("the line has no port")?)?;
        Ok(Self::S3 { _server: server, _line: line, proxy })
    }

    /// The folder of a local repository.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Local(folder) => Some(folder),
            Self::S3 { .. } => None,
        }
    }

    pub(super) fn restic_url(&self) -> String {
        match self {
            Self::Local(folder) => folder.display().to_string(),
            Self::S3 { proxy, .. } => format!("s3:http://127.0.0.1:{}/{BUCKET}/repository", proxy.port),
        }
    }

    /// What rustic wants to know of the store.
    pub(super) fn rustic_variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Local(folder) => vec![("RUSTIC_REPOSITORY", folder.display().to_string())],
            Self::S3 { proxy, .. } => vec![
                ("RUSTIC_REPOSITORY", "opendal:s3".to_owned()),
                ("OPENDAL_ENDPOINT", format!("http://127.0.0.1:{}", proxy.port)),
                ("OPENDAL_BUCKET", BUCKET.to_owned()),
                ("OPENDAL_ROOT", "/repository".to_owned()),
                ("OPENDAL_REGION", "us-east-1".to_owned()),
                ("OPENDAL_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
                ("OPENDAL_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ],
        }
    }

    pub(super) fn credentials(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::S3 { .. } => vec![("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)],
        }
    }

    pub(super) fn counted(&self) -> Outcome<Counted> {
        Ok(match self {
            Self::Local(folder) => {
                let (bytes, requests) = measure::held(folder)?;
                Counted { bytes, requests, answered: 0 }
            }
            Self::S3 { proxy, .. } => proxy.counted(),
        })
    }
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn wait_until_it_listens(port: u16) -> Outcome<()> {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > Duration::from_secs(30) {
            return Err("MinIO does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

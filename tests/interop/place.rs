//! Where a repository may be, for both programs: a folder, the S3 server of this process, `MinIO`.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volmover::backend::Backend;
use volmover::backend::object::{ObjectBackend, ObjectOptions, StaticKeys};
use volmover::backend::retry::Retry;
use volmover::random::SystemRandom;
use volmover::report::record::RecordingMonitor;
use zeroize::Zeroizing;

use crate::s3::{ACCESS_KEY, Profile, S3Server, SECRET_KEY};
use crate::support;
use crate::support::children::Running;
use crate::support::clock::SleepClock;
use crate::support::mover::{self, Mover};
use crate::support::restic::Restic;

/// A place with one repository in it.
pub(crate) struct Place {
    pub name: &'static str,
    pub backend: Arc<dyn Backend>,
    url: String,
    _kept: Kept,
}

/// What must live as long as the place.
enum Kept {
    Folder { _folder: TempDir },
    Server { _server: Box<S3Server> },
    Minio { _process: Running, _folder: TempDir },
}

impl Place {
    /// A repository of version 1 or 2 in a folder.
    pub(crate) fn folder(version: u32) -> Self {
        let folder = TempDir::new().unwrap();
        let url = folder.path().to_str().unwrap().to_owned();
        let backend = mover::local(folder.path());
        Self::new("folder", backend, url, version, Kept::Folder { _folder: folder })
    }

    /// In the S3 server of this process, with R2's manners: no checksums, equal parts, bursts of 429.
    pub(crate) fn r2(version: u32) -> Self {
        let server = S3Server::start(Profile { bursts: 23, ..Profile::r2() });
        let options = ObjectOptions {
            multipart_threshold_bytes: 8 << 20,
            part_bytes: 5 << 20,
            ..options(&server.endpoint())
        };
        let url = format!("s3:{}/repository/some/prefix", server.endpoint());
        Self::new("R2", object(options), url, version, Kept::Server { _server: Box::new(server) })
    }

    /// In a `MinIO`; `None` where it is missing and not required.
    pub(crate) fn minio(version: u32) -> Option<Self> {
        let program = support::peer("minio")?;
        let folder = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(program);
        command
            .args(["server", "--quiet", "--address", &address, "--console-address", "127.0.0.1:0"])
            .arg(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Running::start(&mut command);
        let endpoint = format!("http://{address}");
        let backend = object(options(&endpoint));
        let start = Instant::now();
        while let Err(error) = backend.create() {
            assert!(start.elapsed() < Duration::from_secs(20), "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let url = format!("s3:{endpoint}/repository/some/prefix");
        let kept = Kept::Minio { _process: process, _folder: folder };
        Some(Self::new("MinIO", backend, url, version, kept))
    }

    fn new(name: &'static str, backend: Arc<dyn Backend>, url: String, version: u32, kept: Kept) -> Self {
        // restic sends it to the process of a lock, to see whether that lives.
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default()).unwrap();
        mover::create_in(backend.as_ref(), version);
        Self { name, backend, url, _kept: kept }
    }

    /// A new session of ours.
    pub(crate) fn mover(&self) -> Mover {
        Mover::open_backend(Arc::clone(&self.backend)).unwrap()
    }

    /// restic on the same repository.
    pub(crate) fn restic(&self, version: &str) -> Option<Restic> {
        let restic = Restic::at(version, &self.url)?;
        Some(restic.with("AWS_ACCESS_KEY_ID", ACCESS_KEY).with("AWS_SECRET_ACCESS_KEY", SECRET_KEY))
    }
}

fn options(endpoint: &str) -> ObjectOptions {
    let mut options = ObjectOptions {
        endpoint: Some(endpoint.to_owned()),
        bucket: "repository".to_owned(),
        prefix: "some/prefix".to_owned(),
        connections: 8,
        ..ObjectOptions::default()
    };
    options.credentials.static_keys = Some(StaticKeys {
        access_key_id: Zeroizing::new(ACCESS_KEY.to_owned()),
        secret_access_key: Zeroizing::new(SECRET_KEY.to_owned()),
        session_token: None,
    });
    options
}

/// Behind a retry whose waits take no time.
fn object(options: ObjectOptions) -> Arc<dyn Backend> {
    let store = Arc::new(ObjectBackend::open(options).unwrap());
    let (monitor, stop) = (Arc::new(RecordingMonitor::default()), Arc::new(AtomicBool::new(false)));
    Arc::new(Retry::new(store, Arc::new(SleepClock::new()), Arc::new(SystemRandom), monitor, stop))
}

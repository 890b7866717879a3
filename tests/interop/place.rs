//! Where a repository may be, for both programs: a folder, the S3 server of this process, `MinIO`.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several binaries")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;
use volmover::backend::Backend;
use volmover::backend::object::{ObjectBackend, ObjectOptions, StaticKeys};
use volmover::backend::retry::Retry;
use volmover::random::SystemRandom;
use volmover::report::record::RecordingMonitor;
use zeroize::Zeroizing;

use crate::s3::{ACCESS_KEY, Profile, S3Server, SECRET_KEY};
use crate::support::children::Running;
use crate::support::clock::SleepClock;
use crate::support::mover::{self, Mover};
use crate::support::restic::Restic;
use crate::support::{minio, scratch};

/// A place, with one repository in it or none yet.
pub struct Place {
    pub name: &'static str,
    pub backend: Arc<dyn Backend>,
    pub url: String,
    kept: Arc<Kept>,
}

/// What must live as long as the place.
enum Kept {
    Folder { _folder: TempDir },
    Server { server: Box<S3Server> },
    Minio { endpoint: String, _process: Running, _folder: TempDir },
}

impl Place {
    /// A repository of version 1 or 2 in a folder.
    pub fn folder(version: u32) -> Self {
        let folder = scratch();
        let url = folder.path().to_str().unwrap().to_owned();
        let backend = mover::local(folder.path());
        let place = Self { name: "folder", backend, url, kept: Arc::new(Kept::Folder { _folder: folder }) };
        place.with_repository(version)
    }

    /// In the S3 server of this process, with R2's manners: no checksums, equal parts, bursts of 429.
    pub fn r2(version: u32) -> Self {
        Self::server("R2", Profile { bursts: 23, ..Profile::r2() }).with_repository(version)
    }

    /// In a `MinIO`; `None` where it is missing and not required.
    pub fn minio(version: u32) -> Option<Self> {
        Some(Self::empty_minio()?.with_repository(version))
    }

    /// An empty prefix in an S3 server of this process.
    pub fn server(name: &'static str, profile: Profile) -> Self {
        let server = Box::new(S3Server::start(profile));
        Self::in_bucket(name, "some/prefix", Arc::new(Kept::Server { server }))
    }

    /// An empty prefix in a `MinIO`.
    pub fn empty_minio() -> Option<Self> {
        let folder = scratch();
        let keys = [ACCESS_KEY, SECRET_KEY];
        let (process, port) = minio::start(folder.path(), keys, |_| (), minio::is_healthy)?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let kept = Kept::Minio { endpoint, _process: process, _folder: folder };
        let place = Self::in_bucket("MinIO", "some/prefix", Arc::new(kept));
        place.backend.create().unwrap();
        Some(place)
    }

    /// Another prefix in the same bucket, empty.
    pub fn beside(&self, prefix: &str) -> Self {
        Self::in_bucket(self.name, prefix, Arc::clone(&self.kept))
    }

    fn in_bucket(name: &'static str, prefix: &str, kept: Arc<Kept>) -> Self {
        let endpoint = match kept.as_ref() {
            Kept::Folder { .. } => panic!("a folder has no buckets"),
            Kept::Server { server } => server.endpoint(),
            Kept::Minio { endpoint, .. } => endpoint.clone(),
        };
        let url = format!("s3:{endpoint}/repository/{prefix}");
        Self { name, backend: object(options(&endpoint, prefix)), url, kept }
    }

    /// The same with a new repository of version 1 or 2, whose key is cheap.
    pub fn with_repository(self, version: u32) -> Self {
        mover::create_in(self.backend.as_ref(), version);
        self
    }

    /// The S3 server of this process, where it is the place.
    pub fn s3(&self) -> &S3Server {
        let Kept::Server { server } = self.kept.as_ref() else {
            panic!("{} is no server of ours", self.name)
        };
        server
    }

    /// A new session of ours.
    pub fn mover(&self) -> Mover {
        Mover::open_backend(Arc::clone(&self.backend)).unwrap()
    }

    /// restic on the same repository.
    pub fn restic(&self, version: &str) -> Option<Restic> {
        let restic = Restic::at(version, &self.url)?;
        Some(restic.with("AWS_ACCESS_KEY_ID", ACCESS_KEY).with("AWS_SECRET_ACCESS_KEY", SECRET_KEY))
    }
}

fn options(endpoint: &str, prefix: &str) -> ObjectOptions {
    let mut options = ObjectOptions {
        endpoint: Some(endpoint.to_owned()),
        bucket: "repository".to_owned(),
        prefix: prefix.to_owned(),
        connections: 8,
        multipart_threshold_bytes: 8 << 20,
        part_bytes: 5 << 20,
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

//! A `MinIO` for movers: http, or https with a certificate of a private authority.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::job::{Job, Store};
use crate::support::children::Running;
use crate::support::{minio, peer, scratch};
use crate::tls::Authority;

const USER: &str = "mover";
/// The secret key of its user.
pub const SECRET: &str = "mover-secret";

/// A server with no bucket.
pub struct Minio {
    port: u16,
    folder: TempDir,
    is_secure: bool,
    _server: Running,
}

impl Minio {
    /// Starts one; `None` where the program is missing and not required.
    pub fn start(is_secure: bool) -> Option<Self> {
        let folder = scratch();
        let certificates = folder.path().join("certificates");
        fs::create_dir(&certificates).unwrap();
        if is_secure {
            let authority = Authority::new("private");
            let (leaf, key) = authority.leaf(&["127.0.0.1", "localhost"]);
            fs::write(certificates.join("public.crt"), leaf.pem()).unwrap();
            fs::write(certificates.join("private.key"), key.serialize_pem()).unwrap();
            fs::write(folder.path().join("ca.crt"), &authority.pem).unwrap();
        }
        let set_up = |command: &mut Command| {
            command.arg("--certs-dir").arg(&certificates);
        };
        // Of https that it listens is known alone.
        let listens = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        let is_ready = if is_secure { listens } else { minio::is_healthy };
        let (server, port) = minio::start(folder.path(), [USER, SECRET], set_up, is_ready)?;
        Some(Self { port, folder, is_secure, _server: server })
    }

    /// `mc` as the administrator, on whom it knows as `local`; `None` where it is missing and not required.
    pub fn client(&self) -> Option<Command> {
        let mut command = Command::new(peer("mc")?);
        let scheme = if self.is_secure { "https" } else { "http" };
        command.env_clear().env("HOME", self.folder.path()).args(["--quiet", "--insecure"]);
        command.env("MC_HOST_local", format!("{scheme}://{USER}:{SECRET}@127.0.0.1:{}", self.port));
        Some(command)
    }

    /// The certificate of the authority.
    fn authority(&self) -> Option<&Path> {
        self.is_secure.then(|| self.folder.path())
    }

    /// A repository in a bucket that may not exist yet.
    pub fn place<'a>(&'a self, path: &'a str) -> InMinio<'a> {
        // By name: the program in the container finds it by /etc/hosts.
        InMinio { minio: self, path, host: "localhost", keys: [USER, SECRET] }
    }
}

/// A repository in it.
pub struct InMinio<'a> {
    minio: &'a Minio,
    path: &'a str,
    host: &'a str,
    keys: [&'a str; 2],
}

impl<'a> InMinio<'a> {
    /// By another name of the server.
    pub fn by_name(self, host: &'a str) -> Self {
        Self { host, ..self }
    }

    /// With the keys of another user.
    pub fn by_user(self, name: &'a str, secret: &'a str) -> Self {
        Self { keys: [name, secret], ..self }
    }

    fn url(&self) -> String {
        let scheme = if self.minio.is_secure { "https" } else { "http" };
        format!("s3:{scheme}://{}:{}/{}", self.host, self.minio.port, self.path)
    }
}

impl Store for InMinio<'_> {
    fn add_to(&self, mut job: Job) -> Job {
        job.network = true;
        job = job.with("RESTIC_REPOSITORY", &self.url());
        job = job.with("AWS_ACCESS_KEY_ID", self.keys[0]).with("AWS_SECRET_ACCESS_KEY", self.keys[1]);
        match self.minio.authority() {
            None => job,
            Some(folder) => {
                job.mount(&folder.join("ca.crt"), "/customCA/ca.crt").with("CUSTOM_CA", "/customCA/ca.crt")
            }
        }
    }

    fn for_restic(&self) -> (String, Vec<(String, String)>) {
        let mut variables = vec![
            ("AWS_ACCESS_KEY_ID".to_owned(), self.keys[0].to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), self.keys[1].to_owned()),
        ];
        if let Some(folder) = self.minio.authority() {
            variables.push(("RESTIC_CACERT".to_owned(), folder.join("ca.crt").to_str().unwrap().to_owned()));
        }
        (self.url(), variables)
    }
}

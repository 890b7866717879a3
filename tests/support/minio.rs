//! A `MinIO` that ends with its test.

use std::path::Path;
use std::process::{Command, Stdio};

use super::children::{Running, get};
use super::peer;

/// Starts one with its data in a folder, and says on which port; `None` where the program is missing and not required.
/// `set_up` adds to its command what is special.
pub fn start(
    folder: &Path,
    [access_key, secret_key]: [&str; 2],
    set_up: impl Fn(&mut Command),
    is_ready: impl Fn(u16) -> bool,
) -> Option<(Running, u16)> {
    let program = peer("minio")?;
    let command = |port| {
        let mut command = Command::new(&program);
        command
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
            .args(["--console-address", "127.0.0.1:0"])
            .env_clear()
            .env("HOME", folder)
            .env("MINIO_ROOT_USER", access_key)
            .env("MINIO_ROOT_PASSWORD", secret_key)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        set_up(&mut command);
        command.arg(folder.join("data"));
        command
    };
    Some(Running::listening(command, is_ready).expect("MinIO serves"))
}

/// Whether it answers without TLS, and not that it is not initialized yet.
pub fn is_healthy(port: u16) -> bool {
    let answer = get(port, "/minio/health/cluster");
    answer.is_some_and(|answer| answer.contains(" 200 "))
}

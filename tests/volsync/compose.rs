//! deploy/compose/compose.yaml, run whole by docker compose, as its first lines say.
//!
//! Nothing is pulled: MinIO, its client and busybox are put into images here, under the names that the file asks for
//! when it is told to. What the file's parts say is looked at in `tests/deploy/compose.rs`, without an engine.

use std::path::PathBuf;
use std::process::Command;

use crate::made::Made;
use crate::support::{peer, skipped};
use crate::way::{docker, image};

/// A project of this file; its containers, networks and volumes go with it.
struct Project {
    compose: PathBuf,
    name: String,
    images: [(&'static str, String); 3],
}

impl Project {
    /// `None` where a program is missing and not required.
    fn new(mover: &str) -> Option<Self> {
        let (compose, minio, client) = (peer("docker-compose")?, peer("minio")?, peer("mc")?);
        let busybox = peer("busybox")?;
        let server = Made::new();
        server.program(&minio, "/usr/bin/minio");
        server.program(&client, "/usr/bin/mc");
        server.open_folder("/tmp");
        let shell = Made::new();
        shell.program(&busybox, "/bin/busybox");
        for applet in ["sh", "mkdir", "date", "seq", "diff", "ls"] {
            shell.link("busybox", &format!("/bin/{applet}"));
        }
        let name = format!("volmover-test-{}", std::process::id());
        let named = |what: &str| format!("{name}-{what}");
        docker(&["tag", mover, &named("mover")]).unwrap();
        server.import(&named("minio"), &["ENTRYPOINT [\"/usr/bin/minio\"]", "ENV MC_CONFIG_DIR=/tmp/mc"]);
        shell.import(&named("busybox"), &[]);
        let images = [("VOLMOVER_IMAGE", "mover"), ("MINIO_IMAGE", "minio"), ("BUSYBOX_IMAGE", "busybox")];
        let images = images.map(|(variable, what)| (variable, named(what)));
        Some(Self { compose, name, images })
    }

    /// Output and whether it went well.
    fn call(&self, arguments: &[&str]) -> (bool, String) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/compose/compose.yaml");
        let mut command = Command::new(&self.compose);
        command.args(["--ansi", "never", "--project-name", &self.name, "--file", file]).args(arguments);
        let output = command.envs(self.images.iter().map(|(name, image)| (*name, image))).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.call(&["--profile", "show", "down", "--volumes", "--timeout", "1"]);
        for (_, image) in &self.images {
            let _ = docker(&["image", "rm", image]);
        }
    }
}

#[test]
fn the_file_runs_as_its_first_lines_say() {
    let Some(image) = image() else { return skipped("compose.yaml: no Docker Engine answers") };
    let Some(project) = Project::new(image) else { return };
    let up = ["up", "--no-build", "--pull", "never", "--abort-on-container-failure", "restore"];
    let (went_well, said) = project.call(&up);
    assert!(went_well && said.contains("restored"), "{said}");
    let (went_well, said) = project.call(&["run", "--rm", "--pull", "never", "show"]);
    assert!(went_well && said.contains("numbers"), "{said}");
    // What is not equal is not shown as if it were: the folder changes, and the restored one does not.
    let (went_well, said) = project.call(&["run", "--rm", "--pull", "never", "folder"]);
    assert!(went_well, "{said}");
    let (went_well, said) = project.call(&["run", "--rm", "--pull", "never", "show"]);
    assert!(!went_well, "{said}");
}

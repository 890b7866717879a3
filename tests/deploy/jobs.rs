//! What the manifests ask the program to do, done: movers of several applications in one repository, then the
//! jobs of its maintenance, with the variables of the rendered objects.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use crate::examples::NFS;
use crate::rendered::Rendered;
use crate::stub::{Stub, answer};
use crate::support::fixture::PASSWORD;
use crate::support::mover;
use crate::support::restic::Restic;
use crate::support::{is_root, scratch, skipped};
use crate::yaml::at;

/// A folder in place of what is mounted at /mnt, /policy and /reports, and who takes metrics.
struct Mounted {
    folder: TempDir,
    gateway: Stub,
    pushed: Arc<Mutex<Vec<String>>>,
}

impl Mounted {
    fn new() -> Self {
        let folder = scratch();
        fs::create_dir_all(folder.path().join("repository/restic")).unwrap();
        fs::create_dir(folder.path().join("mover-restic")).unwrap();
        let own_name = folder.path().join("mover-restic/entry.sh");
        symlink(env!("CARGO_BIN_EXE_volmover"), own_name).unwrap();
        fs::create_dir(folder.path().join("reports")).unwrap();
        mover::create_in(mover::local(&folder.path().join("repository/restic")).as_ref(), 2);
        let pushed: Arc<Mutex<Vec<String>>> = Arc::default();
        let takes = Arc::clone(&pushed);
        let gateway = Stub::start(move |request| {
            takes.lock().unwrap().push(request.head.lines().next().unwrap().to_owned());
            answer("200 OK", "")
        });
        Self { folder, gateway, pushed }
    }

    /// Whether metrics of an operation came in.
    #[track_caller]
    fn told(&self, name: &str, operation: &str) {
        let pushed = self.pushed.lock().unwrap();
        let is = |line: &&String| {
            line.contains(&format!("/obj_name/{name}/")) && line.contains(&format!("/operation/{operation} "))
        };
        assert!(pushed.iter().any(|line| is(&line)), "no {operation} of {name}: {pushed:?}");
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    fn repository(&self) -> PathBuf {
        self.path("repository/restic")
    }

    fn command(&self, program: &Path, operations: &str, data: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(operations.split(' ')).env_clear();
        command.env("RESTIC_REPOSITORY", self.repository()).env("RESTIC_PASSWORD", PASSWORD);
        command.env("DATA_DIR", data).env("MOVER_PATH", "/data");
        command
    }

    /// A mover as VolSync starts it, with the config directory that the rendered Secret makes.
    fn mover(&self, rendered: &Rendered, app: &str, operations: &str, data: &Path) -> Command {
        let config = self.path(&format!("config-{app}"));
        fs::create_dir_all(&config).unwrap();
        let secret = rendered.one("Secret", &format!("{app}-mover-config"));
        for (name, value) in secret["stringData"].as_object().unwrap() {
            let value = if name == "MOVER_PUSHGATEWAY" {
                self.gateway.url()
            } else {
                value.as_str().unwrap().to_owned()
            };
            fs::write(config.join(name), value).unwrap();
        }
        let mut command = self.command(&self.path("mover-restic/entry.sh"), operations, data);
        command.env("MOVER_CONFIG_DIR", config).env("PRIVILEGED_MOVER", "0").env("RESTORE_AS_OF", "");
        command
            .env("SELECT_PREVIOUS", "0")
            .env("RESTORE_OPTIONS", "")
            .env("FORGET_OPTIONS", " --keep-last 1");
        // The wait is looked at elsewhere.
        command.env("MOVER_JITTER", "0s");
        command
    }

    /// The container of a CronJob.
    fn job(&self, rendered: &Rendered, name: &str) -> Command {
        let pod = &rendered.one("CronJob", name)["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let operations: Vec<&str> =
            container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let data = self.path("none");
        let mut command =
            self.command(Path::new(env!("CARGO_BIN_EXE_volmover")), &operations.join(" "), &data);
        command.env_remove("MOVER_PATH");
        for variable in container["env"].as_array().unwrap() {
            let here = |folder: &str| format!("{}/", self.folder.path().join(folder).display());
            let value =
                at(variable, "/value").replace("/policy/", &here("")).replace("/reports/", &here("reports"));
            command.env(at(variable, "/name"), value);
        }
        command.env("MOVER_PUSHGATEWAY", self.gateway.url());
        let policies = rendered.one("ConfigMap", "volsync-maintenance")["data"].as_object().unwrap();
        for (file, text) in policies {
            fs::write(self.path(file), text.as_str().unwrap()).unwrap();
        }
        command
    }
}

#[track_caller]
fn done(command: &mut Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(status.code(), Some(code), "{:?}\n{text}", command.get_args());
    text
}

/// Hosts and how many snapshots each has.
fn identities(mounted: &Mounted) -> Option<Vec<(String, usize)>> {
    let snapshots = Restic::on("restic-0.19", &mounted.repository())?.snapshots();
    let mut hosts: Vec<String> =
        snapshots.iter().map(|snapshot| at(snapshot, "/hostname").to_owned()).collect();
    hosts.sort();
    let mut counted: Vec<(String, usize)> = Vec::new();
    for host in hosts {
        match counted.last_mut().filter(|(last, _)| *last == host) {
            Some((_, count)) => *count += 1,
            None => counted.push((host, 1)),
        }
    }
    Some(counted)
}

#[test]
fn a_shared_repository_with_one_maintenance_job() {
    let apps = ["atuin", "grafana"];
    let namespaces = ["default", "observability"];
    let mounted = Mounted::new();
    let mut rendered = Vec::new();
    for (app, namespace) in apps.into_iter().zip(namespaces) {
        let own = [("APP", app), ("VOLSYNC_NAMESPACE", namespace)];
        let Some(one) = Rendered::of("nfs", &[&NFS[2..], &own].concat()) else { return };
        rendered.push(one);
    }
    let data = scratch();
    for round in 0..3 {
        for (app, rendered) in apps.iter().zip(&rendered) {
            fs::write(data.path().join("whose"), format!("{app} {round}")).unwrap();
            let said = done(&mut mounted.mover(rendered, app, "backup prune", data.path()), 0);
            assert!(said.contains(" saved\n"), "{said}");
        }
    }
    let Some(counted) = identities(&mounted) else { return };
    let both = |count| vec![("atuin.default".to_owned(), count), ("grafana.observability".to_owned(), count)];
    assert_eq!(counted, both(3), "movers neither forget nor prune");
    for (app, rendered) in apps.iter().zip(&rendered) {
        let target = scratch();
        done(&mut mounted.mover(rendered, app, "restore", target.path()), 0);
        assert_eq!(fs::read_to_string(target.path().join("whose")).unwrap(), format!("{app} 2"));
    }
    // Restore from another identity, by its snapshot: as the task does with an id.
    let theirs: Vec<Value> = Restic::on("restic-0.19", &mounted.repository()).unwrap().snapshots();
    let id = theirs.iter().find(|snapshot| snapshot["hostname"] == "atuin.default").unwrap();
    let target = scratch();
    let mut other = mounted.mover(&rendered[1], "grafana", "restore", target.path());
    fs::write(mounted.path("config-grafana/MOVER_SNAPSHOT"), at(id, "/id")).unwrap();
    done(&mut other, 0);
    assert_eq!(fs::read_to_string(target.path().join("whose")).unwrap(), "atuin 0");

    let maintenance = Rendered::of("maintenance-nfs", &NFS[2..4]).unwrap();
    let said = done(&mut mounted.job(&maintenance, "volsync-verify"), 0);
    assert_eq!(said.matches("ok      content: ").count(), 2, "the newest of both: {said}");
    done(&mut mounted.job(&maintenance, "volsync-check"), 0);
    done(&mut mounted.job(&maintenance, "volsync-forget-prune"), 0);
    mounted.told("atuin", "backup");
    for operation in ["verify", "check", "forget", "prune", "report"] {
        mounted.told("volsync-maintenance", operation);
    }
    for report in ["verify", "check", "forget-prune", "conditions"] {
        let text = fs::read_to_string(mounted.path(&format!("reports/{report}.json"))).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["exit_code"], 0, "{report:#}");
    }
    let page = fs::read_to_string(mounted.path("reports/repository.html")).unwrap();
    assert!(page.contains("atuin.default") && page.contains("keep 7 daily snapshots"), "{page}");
    // What the other jobs did, each in a process of its own, is known.
    assert!(!page.contains("not known here"), "{page}");
    let metrics = fs::read_to_string(mounted.path("reports/maintenance.prom")).unwrap();
    let stored = |line: &&str| line.starts_with("mover_identity_stored_bytes{");
    assert_eq!(metrics.lines().filter(stored).count(), 2, "{metrics}");
    // The newest and, while there are fewer than the policy keeps, the oldest: restic's rule.
    assert_eq!(identities(&mounted).unwrap(), both(2));
    Restic::on("restic-0.19", &mounted.repository()).unwrap().check();
    // What the daily job is for: it fails when a volume is lost.
    for folder in fs::read_dir(mounted.path("repository/restic/data")).unwrap() {
        for pack in fs::read_dir(folder.unwrap().path()).unwrap() {
            fs::remove_file(pack.unwrap().path()).unwrap();
        }
    }
    done(&mut mounted.job(&maintenance, "volsync-verify"), 21);
    done(&mut mounted.job(&maintenance, "volsync-check"), 21);
}

/// Each application under its own user, all in the group that the repository's folder belongs to.
#[test]
fn several_users_share_a_repository() {
    if !is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        skipped("movers as several users need root and setpriv");
        return;
    }
    let mounted = Mounted::new();
    let open = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(mounted.folder.path(), 0o755);
    fs::remove_dir_all(mounted.repository()).unwrap();
    fs::create_dir(mounted.repository()).unwrap();
    std::os::unix::fs::chown(mounted.repository(), None, Some(65534)).unwrap();
    open(&mounted.repository(), 0o2770);
    mover::create_in(mover::local(&mounted.repository()).as_ref(), 2);
    done(Command::new("chown").args(["-R", "1001"]).arg(mounted.repository()), 0);
    // The build's own folder may be closed to others.
    let program = mounted.path("entry.sh");
    fs::copy(env!("CARGO_BIN_EXE_volmover"), &program).unwrap();
    let run = |user: &str, operations: &str, data: &Path| {
        let identity = format!("--reuid {user} --regid {user} --groups 65534 {}", program.display());
        let mut command = mounted.command(Path::new("setpriv"), &format!("{identity} {operations}"), data);
        done(command.env("MOVER_HOST", format!("app-{user}")).env("HOME", "/nonexistent"), 0)
    };
    let users = ["1001", "472", "65534"];
    for user in users {
        let data = scratch();
        open(data.path(), 0o755);
        fs::write(data.path().join("whose"), user).unwrap();
        assert!(run(user, "backup", data.path()).contains(" saved\n"));
    }
    for user in users {
        let target = scratch();
        open(target.path(), 0o777);
        run(user, "restore", target.path());
        assert_eq!(fs::read_to_string(target.path().join("whose")).unwrap(), user);
    }
    let none = mounted.path("none");
    run("65534", "unlock prune check", &none);
}

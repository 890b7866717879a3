//! One repository for many: identities, the fences between them, and the one job that keeps them all in order.
//!
//! Two applications run under users of their own, as on a shared NFS or CephFS path; the folder belongs to a group
//! that all movers have besides. Each mounts one Secret into its source and its destination, which says who it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use tempfile::TempDir;

use crate::job::{Job, Mounted, Security, give, open_folder, volume_of};
use crate::peers::restic;
use crate::scenarios::{saved_listing, volume};
use crate::support::listing::{assert_same, list};
use crate::support::mover::create;
use crate::support::source::random_bytes;
use crate::support::{is_root, skipped};
use crate::way::Mover;

/// The group of the folder.
const GROUP: u32 = 4100;

/// An application: who it is, its volume, its Secret.
struct App {
    user: Security,
    volume: TempDir,
    secret: TempDir,
}

impl App {
    fn new(name: &str, uid: u32) -> Self {
        let user = Security::User(uid, uid);
        let app = Self { user, volume: volume(user.user()), secret: open_folder() };
        let variables = [
            ("MOVER_HOST", "{name}.{namespace}"),
            ("MOVER_NAME", name),
            ("MOVER_NAMESPACE", "media"),
            ("MOVER_TAGS", "nightly"),
            ("MOVER_FORGET", "off"),
            ("MOVER_PRUNE", "off"),
        ];
        for (name, value) in variables {
            app.set(name, value);
        }
        app.change(0);
        app
    }

    fn set(&self, name: &str, value: &str) {
        fs::write(self.secret.path().join(name), format!("{value}\n")).unwrap();
    }

    fn of(&self, job: Job, place: &Mounted) -> Job {
        let job = job.on(place).security(self.user).in_group(GROUP);
        job.mount(self.secret.path(), "/mnt/mover-config")
    }

    /// A week's run: retention and prune are asked for, and left to the maintenance.
    fn source(&self, place: &Mounted) -> Job {
        self.of(Job::source("unlock backup prune", self.volume.path()), place)
    }

    fn restored(&self, place: &Mounted, variables: &[(&str, &str)]) -> (String, String) {
        let target = volume_of(self.user.user());
        let job = self.of(Job::destination(target.path()), place);
        let shown = variables.iter().fold(job, |job, (name, value)| job.with(name, value)).succeeds();
        (list(target.path()), shown)
    }

    fn change(&self, round: u64) {
        let seed = u64::from(self.user.user().0) + round;
        fs::write(self.volume.path().join("growing"), random_bytes(seed, 400_000)).unwrap();
        give(self.volume.path(), self.user.user());
    }

    fn listing(&self) -> String {
        saved_listing(self.volume.path())
    }
}

/// A repository in a folder that the group shares, `None` where none can be made.
fn shared() -> Option<Mounted> {
    let place = shared_folder()?;
    create(&place.path(), 2);
    Some(place)
}

/// The folder alone.
fn shared_folder() -> Option<Mounted> {
    if !is_root() {
        skipped("a shared repository: only root can run movers as several users");
        return None;
    }
    let place = Mounted::empty();
    let folder = place.path().parent().unwrap().to_owned();
    chown(&folder, None, Some(GROUP)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o2770)).unwrap();
    Some(place)
}

#[test]
fn many_movers_of_several_users_start_at_once_on_an_empty_path() {
    let Some(place) = shared_folder() else { return };
    let apps = [App::new("alpha", 1301), App::new("beta", 1302), App::new("gamma", 1303)];
    let movers: Vec<_> = (0..6).map(|number| Mover::start(&apps[number % 3].source(&place))).collect();
    let logs: Vec<_> = movers
        .into_iter()
        .map(|mover| {
            let ran = mover.finish();
            assert_eq!(ran.code, 0, "{}", ran.log);
            ran.log
        })
        .collect();
    assert_eq!(logs.iter().filter(|log| log.contains("created restic repository ")).count(), 1);
    assert_eq!((place.count("keys"), place.count("locks")), (1, 0));
    apps[0].source(&place).cheapen();
    for app in &apps {
        assert_same(&app.listing(), &app.restored(&place, &[]).0, "its own volume");
    }
    if let Some(restic) = restic("restic-0.18", &place) {
        restic.check();
    }
}

#[test]
fn selections_stay_within_an_identity() {
    let Some(place) = shared_folder() else { return };
    let (alpha, beta) = (App::new("alpha", 1301), App::new("beta", 1302));
    let bootstrap = alpha.restored(&place, &[]);
    assert!(bootstrap.0.is_empty() && bootstrap.1.contains("No eligible snapshots found"), "{}", bootstrap.1);
    alpha.source(&place).succeeds();
    let first = alpha.listing();
    alpha.change(1);
    alpha.source(&place).succeeds();
    beta.source(&place).succeeds();
    // The newest of all is beta's; alpha has two, and no third.
    let (listing, shown) = alpha.restored(&place, &[]);
    assert!(shown.contains("@alpha.media to .\n"), "{shown}");
    assert_same(&alpha.listing(), &listing, "alpha's latest");
    assert_same(&first, &alpha.restored(&place, &[("SELECT_PREVIOUS", "1")]).0, "alpha's previous");
    for (variable, value) in [("SELECT_PREVIOUS", "2"), ("RESTORE_AS_OF", "1990-01-01T00:00:00Z")] {
        let (listing, shown) = alpha.restored(&place, &[(variable, value)]);
        assert!(listing.is_empty() && shown.contains("No eligible snapshots found"), "{shown}");
    }
    // Another identity is restored from by its name, owners excepted.
    let (listing, shown) = alpha.restored(&place, &[("MOVER_HOST", "beta.media")]);
    assert!(shown.contains("@beta.media to .\n"), "{shown}");
    assert_same(&beta.listing().replace("1302:1302", "1301:1301"), &listing, "beta's, by alpha");
    // A parent is the identity's own.
    let shown = App::new("gamma", 1303).source(&place).succeeds();
    assert!(shown.contains("no parent snapshot found"), "{shown}");
}

#[test]
fn a_missing_repository_can_be_an_error_for_all() {
    let Some(place) = shared_folder() else { return };
    let app = App::new("alpha", 1301);
    app.set("MOVER_ON_MISSING", "fail");
    let tail = app.source(&place).fails(10);
    assert!(tail.contains("\nFatal: repository does not exist: "), "{tail}");
    let target = volume_of(app.user.user());
    app.of(Job::destination(target.path()), &place).fails(10);
    assert!(!place.path().exists());
}

/// Two applications, each with three snapshots.
fn three_rounds(place: &Mounted) -> [App; 2] {
    let apps = [App::new("alpha", 1301), App::new("beta", 1302)];
    for round in 0..3 {
        for app in &apps {
            app.change(round);
            app.source(place).succeeds();
        }
    }
    apps
}

#[test]
fn forget_of_one_leaves_the_others_alone() {
    let Some(place) = shared() else { return };
    let [alpha, beta] = three_rounds(&place);
    assert_eq!(place.count("snapshots"), 6, "MOVER_FORGET=off keeps all");
    let shown = alpha.source(&place).with("MOVER_FORGET", "on").succeeds();
    assert!(shown.contains(" saved\n"), "{shown}");
    assert_eq!(hosts(&place), [("alpha.media".to_owned(), 1), ("beta.media".to_owned(), 3)]);
    assert_same(&beta.listing(), &beta.restored(&place, &[]).0, "beta's latest");
}

#[test]
fn forget_leaves_the_host_s_other_paths_alone() {
    let Some(place) = shared() else { return };
    let alpha = App::new("alpha", 1303);
    for round in 1..3 {
        alpha.change(round);
        alpha.source(&place).with("MOVER_PATH", "/elsewhere").succeeds();
    }
    alpha.source(&place).with("MOVER_FORGET", "on").succeeds();
    assert_eq!(place.count("snapshots"), 3);
}

/// How many snapshots each host has.
fn hosts(place: &Mounted) -> Vec<(String, usize)> {
    let mover = crate::support::mover::Mover::open(&place.path()).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for (_, snapshot) in mover.repository.snapshots().unwrap() {
        assert_eq!(snapshot.tags, ["nightly"], "{}", snapshot.hostname);
        *counts.entry(snapshot.hostname).or_default() += 1;
    }
    counts.into_iter().collect()
}

#[test]
fn one_maintenance_job_serves_all_identities() {
    let Some(place) = shared() else { return };
    let [alpha, beta] = three_rounds(&place);
    App::new("omega", 1303).source(&place).succeeds();
    let before = stored(&place.path());
    let policy = open_folder();
    fs::write(policy.path().join("policy"), "alpha.* * --keep-last 2\nbeta.media /data* --keep-last 1\n")
        .unwrap();
    let nothing = volume_of((1400, 1400));
    let mut job = Job::source("forget prune check", nothing.path()).on(&place).without("FORGET_OPTIONS");
    job = job.security(Security::User(1400, 1400)).in_group(GROUP);
    let job = job.mount(policy.path(), "/policy").with("MOVER_POLICY_FILE", "/policy/policy");
    let ran = job.run();
    assert_eq!(ran.code, 0, "{}", ran.log);
    assert!(ran.log.contains("omega.media"), "what no policy fits is not named:\n{}", ran.log);
    let kept = [("alpha.media".to_owned(), 2), ("beta.media".to_owned(), 1), ("omega.media".to_owned(), 1)];
    assert_eq!(hosts(&place), kept);
    assert!(stored(&place.path()) < before, "nothing was pruned:\n{}", ran.log);
    for app in [&alpha, &beta] {
        assert_same(&app.listing(), &app.restored(&place, &[]).0, "its latest");
    }
    // The movers go on.
    alpha.change(9);
    alpha.source(&place).succeeds();
    assert_same(&alpha.listing(), &alpha.restored(&place, &[]).0, "after the maintenance");
}

/// The bytes of all packs.
fn stored(repository: &Path) -> u64 {
    let folders = fs::read_dir(repository.join("data")).unwrap();
    let packs = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    packs.map(|pack| pack.unwrap().metadata().unwrap().len()).sum()
}

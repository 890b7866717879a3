//! Many at once on one repository: nothing is lost, nobody gives up.

use std::process::Output;

use crate::place::Place;
use crate::support::{listing, scaled};
use crate::world::{World, both, fill, ok};

/// Movers that start in the same second.
const FLEET: usize = 30;

#[test]
fn two_movers_a_restic_and_a_prune() {
    let Some(mut world) = World::new(Place::folder(2), 3) else { return };
    for source in 0..3 {
        world.change(source);
        ok(world.our_backup(source), "first");
        world.note(source, "first");
    }
    for round in 0..scaled(5) {
        for source in 0..3 {
            world.change(source);
        }
        let what = format!("round {round}");
        let mut second = world.our_backup(1);
        second.args(["prune"]).env("FORGET_OPTIONS", "--keep-last 2").env("MOVER_PRUNE_MAX_UNUSED", "0");
        let mut first = world.our_backup(0);
        first.env("FORGET_OPTIONS", "--keep-last 3");
        let ours = [first, second].map(|mut command| command.spawn().unwrap());
        let mut restic =
            world.restics[round % 2].command(&["--retry-lock", "1m", "backup", "--host", "volsync", "."]);
        let restic = restic.current_dir(world.sources[2].path()).output().unwrap();
        let outputs = ours.map(|child| child.wait_with_output().unwrap());
        for output in outputs.iter().chain([&restic]) {
            assert!(output.status.success(), "{what}: {}", both(output));
        }
        // Which backup ended first is not known, so the model learns the new snapshots by their paths.
        world.learn(&what);
        let forget = world.restics[0].run(&["forget", "--keep-last", "3"]);
        assert!(forget.status.success(), "{what}: {}", both(&forget));
        world.keep_last(3);
        world.keep_last_of(1, 2);
        world.assert_sound(&what);
        world.assert_restores(&what);
    }
}

#[test]
fn a_fleet_that_starts_in_one_second_is_saved_whole() {
    let Some(mut world) = World::new(Place::folder(2), FLEET) else { return };
    for source in 0..FLEET {
        fill(world.sources[source].path(), source as u64);
    }
    for round in 0..2 {
        let start = |source| {
            let mut command = world.our_backup(source);
            command.env("FORGET_OPTIONS", "--keep-last 1").spawn().unwrap()
        };
        let children: Vec<_> = (0..FLEET).map(start).collect();
        let outputs: Vec<Output> =
            children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        for output in &outputs {
            assert!(output.status.success(), "round {round}: {}", both(output));
        }
        world.kept.clear();
        world.learn("fleet");
        assert_eq!(world.kept.len(), FLEET, "round {round}");
        world.assert_sound("fleet");
        for source in 0..FLEET {
            std::fs::write(world.sources[source].path().join("more"), [source as u8; 100]).unwrap();
        }
    }
    let list = listing::list(world.sources[0].path());
    assert!(list.contains("more"));
}

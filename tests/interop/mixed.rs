//! Both programs use one repository by turns: back up, forget, prune, restore, and nothing is lost.

use crate::place::Place;
use crate::support::listing;
use crate::support::restic::REFEREES;
use crate::support::scratch;
use crate::support::source;

const ROUNDS: u64 = 10;
const KEPT: usize = 3;

#[test]
fn ten_rounds_by_turns() {
    let folder = scratch();
    let place = Place::folder(2);
    let Some(restics) = REFEREES.map(|version| place.restic(version)).into_iter().collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let mut lists = Vec::new();
    for round in 0..ROUNDS {
        let restic = &restics[round as usize / 2 % restics.len()];
        source::change(folder.path(), round);
        if round % 2 == 0 {
            let summary = place.mover().backup(folder.path()).unwrap().summary;
            assert_eq!(summary.parent.is_some(), round > 0);
        } else {
            restic.backup(folder.path(), &[]);
        }
        lists.push(listing::list(folder.path()));
        restic.ok(&["forget", "--keep-last", &KEPT.to_string(), "--prune", "--max-unused", "0"]);
        let ids = place.mover().snapshot_ids();
        let kept = &lists[lists.len().saturating_sub(KEPT)..];
        assert_eq!(ids.len(), kept.len());
        for (id, list) in ids.iter().zip(kept) {
            listing::assert_same(list, &place.mover().restored(id), &format!("round {round}, by ours"));
        }
        let target = scratch();
        restic.restore("latest", target.path());
        let last = lists.last().unwrap();
        listing::assert_same(last, &listing::list(target.path()), &format!("round {round}, by restic"));
    }
    restics[0].check();
}

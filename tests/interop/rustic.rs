//! rustic as second referee: it opens our repository, checks all data, and lists the same entries.

use rustic_backend::BackendOptions;
use rustic_core::{CheckOptions, Credentials, LsOptions, Repository, RepositoryOptions};

use crate::support::fixture::PASSWORD;
use crate::support::listing;
use crate::support::mover::{self, Mover};
use crate::support::scratch;
use crate::support::source;

#[test]
fn rustic_finds_ours_whole() {
    for version in [1, 2] {
        let (repository, folder) = (scratch(), scratch());
        mover::create(repository.path(), version);
        source::every_kind(folder.path());
        std::fs::write(folder.path().join("chunks"), source::random_bytes(3, 3 << 20)).unwrap();
        let mover = Mover::open(repository.path()).unwrap();
        mover.backup(folder.path()).unwrap();

        let backends = BackendOptions::default().repository(repository.path().to_str().unwrap());
        let options = RepositoryOptions::default().no_cache(true);
        let opened = Repository::new(&options, &backends.to_backends().unwrap())
            .unwrap()
            .open(&Credentials::password(PASSWORD))
            .unwrap();
        let results = opened.check(CheckOptions::default().read_data(true)).unwrap();
        assert!(results.0.is_empty(), "version {version}: {results:?}");
        let opened = opened.to_indexed().unwrap();
        let snapshots = opened.get_all_snapshots().unwrap();
        assert_eq!(snapshots.len(), 1);
        assert_eq!(*snapshots[0].id.to_hex(), *mover.snapshot_ids()[0]);
        let root = opened.node_from_snapshot_and_path(&snapshots[0], "").unwrap();
        let entries = opened.ls(&root, &LsOptions::default().recursive(true)).unwrap();
        let entries = entries.map(Result::unwrap).filter(|(path, _)| !path.as_os_str().is_empty());
        assert_eq!(entries.count(), listing::list(folder.path()).lines().count());
    }
}

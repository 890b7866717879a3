//! Replaces the key files of a local repository by ones that cost nothing to open.
//!
//! restic makes keys that take half a second to open, and tests and benches open repositories hundreds of
//! times. The master key stays the same; what protects it is gone. For fixtures and benches only.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;

use volmover::clock::{Clock, SystemClock};
use volmover::random::SystemRandom;
use volmover::repository::Id;
use volmover::repository::key::{KeyError, KeyFile};
use volmover::repository::scrypt::ScryptCost;

/// A key file that opens at once, for the master key of `stored`; `None` for another password's.
pub(crate) fn cheapened(stored: &[u8], password: &[u8]) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let stored = KeyFile::decode(stored)?;
    let master = match stored.open(password, 1) {
        Ok(master) => master,
        Err(KeyError::WrongPassword) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let made_by = (stored.hostname.as_str(), stored.username.as_str());
    let cost = (ScryptCost::CHEAP, 1);
    let now = SystemClock::new().now();
    Ok(Some(KeyFile::create(password, &master, cost, made_by, now, &SystemRandom)?.encode()))
}

/// Replaces every key file under `repository` that `password` opens, and says how many.
pub(crate) fn replace_keys(repository: &Path, password: &[u8]) -> Result<usize, Box<dyn Error>> {
    let folder = repository.join("keys");
    let paths: Vec<_> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    let mut replaced = 0;
    for path in paths {
        let Some(cheap) = cheapened(&fs::read(&path)?, password)? else { continue };
        fs::write(folder.join(Id::of(&cheap).hex()), &cheap)?;
        fs::remove_file(&path)?;
        replaced += 1;
    }
    Ok(replaced)
}

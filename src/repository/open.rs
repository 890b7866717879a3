//! Opening a repository by password, and creating one.
//!
//! Creation is a race that one of any number of starters wins (an empty shared path on which a fleet
//! starts): `config` is written exclusively first, then the winner's key. A key before its config, as restic
//! writes them, would leave the losers' keys behind, which open nothing and make restic fail at random.
//!
//! ```text
//! winner: write_new(config) ─ write key ─ read config back: mine
//! loser:  write_new(config): exists ─ wait for a key that opens it ─ use the repository
//! died between the two: a config without a key, snapshots, index and data for a minute is taken over,
//!         by one at a time
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Repository;
use super::compression::Compression;
use super::config_file::RepositoryConfig;
use super::crypto::{Cipher, SealKey};
use super::id::Id;
use super::key::{KeyError, KeyFile};
use super::scrypt::ScryptCost;
use crate::backend::{Backend, BackendErrorKind, FileType, Listed};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

/// How many keys are tried, as restic does.
pub const KEYS_MAX: usize = 20;
/// How long a config without a key may be somebody's init in progress.
pub const INIT_GRACE: Duration = Duration::from_mins(1);

/// What opening and creating need besides the backend.
#[derive(Clone)]
pub struct Access<'a> {
    /// The password.
    pub password: &'a [u8],
    /// The key to try first (`RESTIC_KEY_HINT`), an id or its prefix.
    pub key_hint: Option<&'a str>,
    /// How hard to compress what is written.
    pub compression: Compression,
    /// What a new key costs to open.
    pub scrypt: ScryptCost,
    /// Threads that derive a key from the password.
    pub threads: usize,
    /// Host and user that a new key names.
    pub host_and_user: (&'a str, &'a str),
    /// The clock of this run.
    pub clock: Arc<dyn Clock>,
    /// The randomness of this run.
    pub random: Arc<dyn Random>,
}

impl std::fmt::Debug for Access<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Access(***)")
    }
}

/// Whether `open_or_create` found a repository or made one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Opened,
    /// This process made it.
    Created,
}

impl Repository {
    /// Opens an existing repository; `RepositoryMissing` when there is none.
    pub fn open(backend: Arc<dyn Backend>, access: &Access<'_>) -> Result<Self> {
        match look(backend.as_ref(), access)? {
            Found::Repository(opened) => Ok(assemble(backend, *opened, access)),
            Found::Nothing => Err(missing(backend.as_ref())),
            Found::DeadInit(_) => Err(no_key(backend.as_ref())),
        }
    }

    /// Creates a repository; one that exists is an error and is not touched.
    pub fn create(backend: Arc<dyn Backend>, access: &Access<'_>) -> Result<Self> {
        match create(&backend, access)? {
            Some(repository) => Ok(repository),
            None => Err(Error::new(ErrorKind::Other, "create repository failed")
                .at(backend.location())
                .because("config file already exists")
                .then("Use it as it is, or choose another place")),
        }
    }

    /// Opens a repository, or creates it where there is none.
    pub fn open_or_create(backend: Arc<dyn Backend>, access: &Access<'_>) -> Result<(Self, Origin)> {
        loop {
            match look(backend.as_ref(), access)? {
                Found::Repository(opened) => {
                    return Ok((assemble(backend, *opened, access), Origin::Opened));
                }
                Found::DeadInit(config) => take_over(backend.as_ref(), &config, access)?,
                Found::Nothing => {
                    if let Some(repository) = create(&backend, access)? {
                        return Ok((repository, Origin::Created));
                    }
                }
            }
        }
    }
}

type Opened = (Cipher, RepositoryConfig);

fn assemble(backend: Arc<dyn Backend>, (cipher, config): Opened, access: &Access<'_>) -> Repository {
    Repository {
        backend,
        cipher,
        config,
        compression: access.compression,
        clock: Arc::clone(&access.clock),
        random: Arc::clone(&access.random),
        memory_bytes: u64::MAX,
        cache: None,
        listed_locks: Arc::default(),
    }
}

fn missing(backend: &dyn Backend) -> Error {
    Error::new(ErrorKind::RepositoryMissing, "repository does not exist")
        .at(backend.location())
        .because("unable to open config file")
        .then("Check RESTIC_REPOSITORY, or create it with init")
}

fn no_key(backend: &dyn Backend) -> Error {
    let cause = "it has a config, but no key that opens it";
    Error::damaged("the repository cannot be opened", backend.location(), cause)
        .then("Restore its key file from a copy, or initialise it anew if it holds nothing")
}

/// What is there.
enum Found {
    Nothing,
    Repository(Box<Opened>),
    /// A config that stayed without a key that opens it, in a repository that holds nothing.
    DeadInit(Bytes),
}

/// Opens what is there, waiting for the key of an init in progress. Somebody may take a dead init over
/// meanwhile: what was concluded from a config that is no longer there does not count.
fn look(backend: &dyn Backend, access: &Access<'_>) -> Result<Found> {
    loop {
        let (stored, keys) = std::thread::scope(|scope| {
            let keys = scope.spawn(|| backend.list(FileType::Key));
            (read_config(backend), keys.join())
        });
        let Some(stored) = stored? else { return Ok(Found::Nothing) };
        // A key is written after its config.
        let keys = match keys.ok().transpose()?.filter(|keys| !keys.is_empty()) {
            Some(keys) => keys,
            None => backend.list(FileType::Key)?,
        };
        let opened = match try_keys(backend, keys, &stored, access) {
            Ok(None) => wait_for_key(backend, &stored, access),
            tried => tried,
        };
        match opened {
            Ok(Some(opened)) => return Ok(Found::Repository(Box::new(opened))),
            Ok(None) if read_config(backend)?.is_none_or(|now| now != stored) => {}
            Ok(None) => return Ok(Found::DeadInit(stored)),
            Err(error) if read_config(backend)?.is_none_or(|now| now == stored) => return Err(error),
            Err(_) => {}
        }
    }
}

fn read_config(backend: &dyn Backend) -> Result<Option<Bytes>> {
    match backend.read(FileType::Config, "") {
        Err(error) if error.kind == BackendErrorKind::NotFound => Ok(None),
        read => Ok(Some(read?)),
    }
}

/// Tries the stored keys, the hinted one first. `None` when there is no key at all, or, in a repository that
/// holds nothing, only one that a slow init left behind when another took over.
fn try_keys(
    backend: &dyn Backend,
    keys: Vec<Listed>,
    stored: &Bytes,
    access: &Access<'_>,
) -> Result<Option<Opened>> {
    let mut names: Vec<String> = keys.into_iter().map(|file| file.name).collect();
    if names.is_empty() {
        return Ok(None);
    }
    names.sort_unstable();
    if let Some(hint) = access.key_hint {
        names.sort_by_key(|name| !name.starts_with(hint));
    }
    let mut wrong_password = false;
    let mut opens_other = false;
    let mut damage = None;
    for name in names.iter().take(KEYS_MAX) {
        match try_key(backend, name, stored, access) {
            Ok(Tried::Opens(opened)) => return Ok(Some(*opened)),
            Ok(Tried::WrongPassword) => wrong_password = true,
            Ok(Tried::OpensOther) => {
                tracing::warn!("key {name} does not open this repository's config: passed over");
                opens_other = true;
            }
            Err(error) if error.kind == ErrorKind::Damaged => damage = Some(error),
            Err(error) => return Err(error),
        }
    }
    match damage {
        _ if opens_other && holds_nothing(backend)? => Ok(None),
        // The password is right, so it is the config that is not what it was.
        _ if opens_other => Err(Error::damaged(
            "the repository is damaged: cannot read its config",
            "config",
            "the key that opens with this password does not open it",
        )
        .then("Restore the config from a copy")),
        Some(error) if !wrong_password => Err(error),
        _ if names.len() > KEYS_MAX => Err(Error::new(ErrorKind::Other, "no key fits")
            .at(backend.location())
            .because(format!("the first {KEYS_MAX} of {} keys do not open with this password", names.len()))
            .then("Name the key with RESTIC_KEY_HINT")),
        _ => Err(Error::new(ErrorKind::WrongPassword, "wrong password or no key found")
            .at(backend.location())
            .then("Check RESTIC_PASSWORD")),
    }
}

enum Tried {
    Opens(Box<Opened>),
    WrongPassword,
    OpensOther,
}

fn try_key(backend: &dyn Backend, name: &str, stored: &Bytes, access: &Access<'_>) -> Result<Tried> {
    let json = match backend.read(FileType::Key, name) {
        // The loser of a race took it back since it was listed.
        Err(error) if error.is_not_found() => return Ok(Tried::OpensOther),
        read => read?,
    };
    let damaged = |cause: &dyn std::fmt::Display| {
        Error::damaged("the repository is damaged: cannot read a key", format!("keys/{name}"), cause)
            .then("Use another key of this repository, or restore the file from a copy")
    };
    let key = match KeyFile::decode(&json).and_then(|file| file.open(access.password, access.threads)) {
        Ok(key) => key,
        Err(_) if Id::of(&json).hex() != name => {
            return Err(damaged(&"its content does not have the hash that its name says"));
        }
        Err(KeyError::WrongPassword) => return Ok(Tried::WrongPassword),
        Err(KeyError::Damaged(cause)) => return Err(damaged(&cause)),
        Err(KeyError::Refused(cause)) => {
            return Err(Error::new(ErrorKind::Other, "cannot derive the key").because(cause));
        }
    };
    let cipher = key.cipher();
    let mut plain = Vec::new();
    if cipher.open_into(stored, &mut plain).is_err() {
        return Ok(Tried::OpensOther);
    }
    Ok(Tried::Opens(Box::new((cipher, RepositoryConfig::decode(&plain)?))))
}

/// Waits for the key of an init in progress. `None` when the grace is over and there is still none, or when
/// the config is no longer this one: stores without conditional writes let a racing init overwrite it.
fn wait_for_key(backend: &dyn Backend, stored: &Bytes, access: &Access<'_>) -> Result<Option<Opened>> {
    let start = access.clock.elapsed();
    while access.clock.elapsed().saturating_sub(start) < INIT_GRACE {
        if !holds_nothing(backend)? {
            return Err(Error::damaged(
                "the repository cannot be opened",
                backend.location(),
                "all its keys are gone",
            )
            .then("Restore a key file from a copy"));
        }
        access.clock.sleep(Duration::from_millis(500));
        if let Some(opened) = try_keys(backend, backend.list(FileType::Key)?, stored, access)? {
            return Ok(Some(opened));
        }
        if read_config(backend)?.is_none_or(|now| now != *stored) {
            break;
        }
    }
    Ok(None)
}

fn holds_nothing(backend: &dyn Backend) -> Result<bool> {
    for kind in [FileType::Snapshot, FileType::Index, FileType::Pack] {
        if !backend.list(kind)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the config of an init that died. Of many who find it one does so at a time: the one that wrote a
/// claim, an empty file under `locks/` named after that config (restic passes empty locks over). So nobody
/// can remove a config that another has put in its place meanwhile.
fn take_over(backend: &dyn Backend, stored: &Bytes, access: &Access<'_>) -> Result<()> {
    let claim = Id::of(stored).hex();
    match backend.write_new(FileType::Lock, &claim, &Bytes::new()) {
        Err(error) if error.is_exists() => return wait_for_claim(backend, &claim, access),
        written => written?,
    }
    let removed = remove_dead_config(backend, stored);
    remove_if_there(backend, FileType::Lock, &claim)?;
    removed
}

/// Waits until another's take-over is done; a claim that outlives the grace is removed, its holder died.
fn wait_for_claim(backend: &dyn Backend, claim: &str, access: &Access<'_>) -> Result<()> {
    let start = access.clock.elapsed();
    while access.clock.elapsed().saturating_sub(start) < INIT_GRACE {
        match backend.stat(FileType::Lock, claim) {
            Err(error) if error.is_not_found() => return Ok(()),
            there => there?,
        };
        access.clock.sleep(Duration::from_millis(200));
    }
    remove_if_there(backend, FileType::Lock, claim)
}

fn remove_dead_config(backend: &dyn Backend, stored: &Bytes) -> Result<()> {
    let still_empty = holds_nothing(backend)?;
    let no_keys = backend.list(FileType::Key)?.is_empty();
    let unchanged = read_config(backend)?.is_some_and(|now| now == *stored);
    if unchanged && still_empty && no_keys {
        tracing::warn!("the repository has a config but no key: an init died there, starting anew");
        remove_if_there(backend, FileType::Config, "")?;
        // A slow init may have written its key just now: then the config is its, and goes back.
        if !backend.list(FileType::Key)?.is_empty() {
            match backend.write_new(FileType::Config, "", stored) {
                Err(error) if !error.is_exists() => return Err(error.into()),
                _ => {}
            }
        }
    } else if unchanged && still_empty {
        return Err(no_key(backend));
    }
    Ok(())
}

fn remove_if_there(backend: &dyn Backend, kind: FileType, name: &str) -> Result<()> {
    match backend.delete(kind, name) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes a config and its key; `None` when another was first.
fn create(backend: &Arc<dyn Backend>, access: &Access<'_>) -> Result<Option<Repository>> {
    if read_config(backend.as_ref())?.is_some() {
        return Ok(None);
    }
    backend.create()?;
    refuse_leftovers(backend.as_ref())?;
    let master = SealKey::random(access.random.as_ref())?;
    let config = RepositoryConfig::create(access.random.as_ref())?;
    let cipher = master.cipher();
    let key = KeyFile::create(
        access.password,
        &master,
        (access.scrypt, access.threads),
        access.host_and_user,
        access.clock.now(),
        access.random.as_ref(),
    )?;
    let stored = Bytes::from(cipher.seal(&config.encode(), access.random.as_ref())?);
    match backend.write_new(FileType::Config, "", &stored) {
        Err(error) if error.kind == BackendErrorKind::Exists => return Ok(None),
        written => written?,
    }
    let key = Bytes::from(key.encode());
    let key_name = Id::of(&key).hex();
    backend.write(FileType::Key, &key_name, &key)?;
    if read_config(backend.as_ref())?.is_none_or(|now| now != stored) {
        backend.delete(FileType::Key, &key_name)?;
        return Ok(None);
    }
    Ok(Some(assemble(Arc::clone(backend), (cipher, config), access)))
}

/// Where there is no config, anything else is a repository that lost it: making a new one would bury it.
fn refuse_leftovers(backend: &dyn Backend) -> Result<()> {
    for kind in [FileType::Key, FileType::Index, FileType::Snapshot, FileType::Pack] {
        if !backend.list(kind)?.is_empty() && read_config(backend)?.is_none() {
            return Err(Error::new(ErrorKind::Other, "create repository failed")
                .at(backend.location())
                .because(format!("there is no config, but {}/ holds files", kind.folder()))
                .then("Restore the config from a copy, or choose an empty place"));
        }
    }
    Ok(())
}

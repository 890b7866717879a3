//! The whole configuration: defaults, precedence, and every variable that must refuse what is wrong.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::variable::Secrecy;
use super::*;

const LIMITS: Limits = Limits { memory_bytes: 512 << 20, cpus: 3 };
const BASE: [(&str, &str); 2] = [("RESTIC_REPOSITORY", "/srv/repo"), ("RESTIC_PASSWORD", "hunter2")];

fn parse_as(personality: Personality, pairs: &[(&str, &str)]) -> Result<Config> {
    let all = BASE.iter().chain(pairs);
    let environment = all.map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    let lookup = Lookup::new(env::Values::new(), environment)?;
    Config::parse(&lookup, personality, &operation::OPERATIONS, &LIMITS)
}

fn parse(pairs: &[(&str, &str)]) -> Result<Config> {
    parse_as(Personality::Tool, pairs)
}

#[test]
fn defaults() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.repository.url.location, Location::Local(PathBuf::from("/srv/repo")));
    assert_eq!(config.repository.compression, Compression::Auto);
    assert_eq!(config.repository.pack_bytes, 16 << 20);
    assert_eq!(config.repository.on_missing, OnMissing::Create);
    assert_eq!(config.repository.cache, None);
    assert_eq!(config.data_dir, PathBuf::from("/data"));
    assert_eq!(config.backup.read_concurrency, 2);
    assert_eq!(config.backup.on_partial, Verdict::Fail);
    assert_eq!((config.maintenance.forget_options, config.backup.max_shrink_percent), (None, None));
    let expected = RestoreConfig {
        include: Vec::new(),
        delete: false,
        overwrite: Overwrite::Always,
        sparse: true,
        space_check: true,
        xattrs: Xattrs::All,
    };
    assert_eq!(config.restore, expected);
    assert_eq!(config.run.on_empty, Verdict::Accept);
    assert_eq!((config.run.lock_wait, config.run.jitter), (Duration::from_mins(5), Duration::ZERO));
    assert!(!config.run.dry_run && !config.output.json);
    let performance = &config.performance;
    assert_eq!((performance.memory_bytes, performance.threads, performance.connections), (384 << 20, 3, 4));
    assert_eq!((performance.upload_bytes_per_second, performance.download_bytes_per_second), (None, None));
    assert_eq!(config.output.log_filter, "info");
}

#[test]
fn values_that_are_set() {
    let config = parse(&[
        ("RESTIC_COMPRESSION", "max"),
        ("RESTIC_PACK_SIZE", "64"),
        ("RESTIC_READ_CONCURRENCY", "8"),
        ("RESTIC_IGNORE_INODE", "1"),
        ("MOVER_REPOSITORY_ID", "ABCDEF0123"),
        ("MOVER_ON_MISSING", "fail"),
        ("MOVER_MAX_SHRINK", "90%"),
        ("MOVER_PARTIAL", "accept"),
        ("FORGET_OPTIONS", " --keep-hourly 3"),
        ("RESTORE_OPTIONS", " --delete"),
        ("MOVER_OVERWRITE", "if-newer"),
        ("MOVER_SPARSE", "off"),
        ("MOVER_XATTRS", "user.*, security.capability"),
        ("MOVER_INCLUDE", "/a\n/b"),
        ("MOVER_MEMORY", "2GiB"),
        ("MOVER_THREADS", "1"),
        ("MOVER_CONNECTIONS", "5"),
        ("MOVER_LIMIT_UPLOAD", "100"),
        ("MOVER_LIMIT_DOWNLOAD", "0"),
        ("DEBUG_MOVER", "1"),
        ("RESTIC_PROGRESS_FPS", "0.0166"),
    ])
    .unwrap();
    let repository = &config.repository;
    assert_eq!((repository.compression, repository.pack_bytes), (Compression::Max, 64 << 20));
    assert_eq!(
        (repository.id_prefix.as_deref(), repository.on_missing),
        (Some("abcdef0123"), OnMissing::Fail)
    );
    assert!(config.backup.ignore_inode && config.backup.ignore_ctime);
    assert_eq!((config.backup.read_concurrency, config.backup.max_shrink_percent), (8, Some(90.0)));
    assert_eq!(config.backup.on_partial, Verdict::Accept);
    let policy = config.maintenance.forget_options.unwrap().policy.to_string();
    assert_eq!(policy, "keep 3 hourly snapshots");
    assert!(config.restore.delete && !config.restore.sparse);
    assert_eq!((config.restore.overwrite, config.restore.include.len()), (Overwrite::IfNewer, 2));
    let names = ["user.*", "security.capability"].map(str::to_owned).to_vec();
    assert_eq!(config.restore.xattrs, Xattrs::Matching(names));
    let performance = &config.performance;
    assert_eq!((performance.memory_bytes, performance.threads, performance.connections), (2 << 30, 1, 5));
    assert_eq!(performance.upload_bytes_per_second, Some(102_400));
    assert_eq!(performance.download_bytes_per_second, None);
    assert_eq!(config.output.log_filter, "debug");
    assert_eq!(config.output.frames_per_second, Some(0.0166));
}

#[test]
fn zero_is_restics_word_for_the_default() {
    let config = parse(&[("RESTIC_PACK_SIZE", "0"), ("RESTIC_READ_CONCURRENCY", "0")]).unwrap();
    assert_eq!((config.repository.pack_bytes, config.backup.read_concurrency), (16 << 20, 2));
}

#[test]
fn the_mover_restores_user_attributes_unless_told() {
    let user = Xattrs::Matching(vec!["user.*".to_owned()]);
    assert_eq!(parse_as(Personality::Mover, &[]).unwrap().restore.xattrs, user);
    assert_eq!(parse_as(Personality::Mover, &[("MOVER_XATTRS", "all")]).unwrap().restore.xattrs, Xattrs::All);
    assert_eq!(parse(&[("MOVER_XATTRS", "none")]).unwrap().restore.xattrs, Xattrs::None);
}

#[test]
fn blank_options_of_volsync_are_none() {
    let blank = parse(&[("FORGET_OPTIONS", "  "), ("RESTORE_OPTIONS", " "), ("RESTORE_AS_OF", "")]).unwrap();
    assert_eq!(blank, parse(&[]).unwrap());
}

#[test]
fn s3_gets_more_connections() {
    let pairs = [("RESTIC_REPOSITORY", "s3:http://127.0.0.1:9000/bucket/prefix")];
    assert_eq!(parse(&pairs).unwrap().performance.connections, 16);
}

#[test]
fn caches() {
    let cache = |pairs: &[(&str, &str)]| parse(pairs).unwrap().repository.cache.unwrap().folder;
    let home = ("HOME", "/home/me");
    let xdg = ("XDG_CACHE_HOME", "/xdg");
    assert_eq!(cache(&[home]), PathBuf::from("/home/me/.cache/restic"));
    assert_eq!(cache(&[home, xdg]), PathBuf::from("/xdg/restic"));
    let named = [home, xdg, ("RESTIC_CACHE_DIR", "/cache"), ("MOVER_CACHE_SIZE", "500M")];
    assert_eq!(cache(&named), PathBuf::from("/cache"));
    assert_eq!(parse(&named).unwrap().repository.cache.unwrap().bytes_max, 500 << 20);
    assert_eq!(parse(&[home, ("MOVER_CACHE_SIZE", "0")]).unwrap().repository.cache, None);
}

#[test]
fn the_location_may_stand_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "\u{feff} /from/file \n\n").unwrap();
    let name = file.path().to_str().unwrap();
    let config = parse(&[("RESTIC_REPOSITORY", ""), ("RESTIC_REPOSITORY_FILE", name)]).unwrap();
    assert_eq!(config.repository.url.to_string(), "/from/file");
    let both = parse(&[("RESTIC_REPOSITORY_FILE", name)]).unwrap_err().to_string();
    assert!(both.contains("RESTIC_REPOSITORY and RESTIC_REPOSITORY_FILE. Unset one"), "{both}");
    let none = parse(&[("RESTIC_REPOSITORY", "")]).unwrap_err();
    assert_eq!(none.kind.exit_code(), 2);
    assert!(none.to_string().contains("no repository. Set RESTIC_REPOSITORY"), "{none}");
}

#[test]
fn every_kind_of_wrong_value_is_refused() {
    let cases = [
        ("RESTIC_REPOSITORY_FILE", "/nonexistent"),
        ("RESTIC_PACK_SIZE", "abc"),
        ("RESTIC_PACK_SIZE", "3"),
        ("RESTIC_PACK_SIZE", "129"),
        ("RESTIC_PACK_SIZE", " 16"),
        ("RESTIC_PACK_SIZE", "+16"),
        ("RESTIC_READ_CONCURRENCY", "abc"),
        ("RESTIC_READ_CONCURRENCY", "2.5"),
        ("RESTIC_READ_CONCURRENCY", "4294967296"),
        ("RESTIC_COMPRESSION", "AUTO"),
        ("RESTIC_IGNORE_CTIME", "maybe"),
        ("RESTIC_IGNORE_INODE", "2"),
        ("RESTIC_PROGRESS_FPS", "0"),
        ("RESTIC_PROGRESS_FPS", "NaN"),
        ("MOVER_REPOSITORY_ID", "abc"),
        ("MOVER_REPOSITORY_ID", "not hexadecimal"),
        ("MOVER_ON_MISSING", "ignore"),
        ("MOVER_ON_EMPTY", "Fail"),
        ("MOVER_PARTIAL", "ok"),
        ("MOVER_MAX_SHRINK", "90"),
        ("MOVER_LOCK_WAIT", "5"),
        ("MOVER_JITTER", "soon"),
        ("MOVER_DRY_RUN", "perhaps"),
        ("MOVER_JSON", "json"),
        ("DEBUG_MOVER", "x"),
        ("PRIVILEGED_MOVER", "root"),
        ("MOVER_MEMORY", "64M"),
        ("MOVER_MEMORY", "lots"),
        ("MOVER_CACHE_SIZE", "much"),
        ("MOVER_THREADS", "0"),
        ("MOVER_THREADS", "1025"),
        ("MOVER_CONNECTIONS", "many"),
        ("MOVER_LIMIT_UPLOAD", "-1"),
        ("MOVER_LIMIT_DOWNLOAD", "1M"),
        ("MOVER_OVERWRITE", "sometimes"),
        ("MOVER_SPARSE", "x"),
        ("MOVER_SPACE_CHECK", "x"),
        ("MOVER_XATTRS", "all,user.*"),
        ("MOVER_XATTRS", ","),
        ("RESTORE_OPTIONS", "--delete --verify"),
        ("MOVER_VERIFY_MAX_AGE", "26"),
        ("MOVER_VERIFY_SAMPLE", "5"),
        ("MOVER_VERIFY_KEEP", "x"),
    ];
    for (name, value) in cases {
        let mut pairs = vec![(name, value)];
        if name == "RESTIC_REPOSITORY_FILE" {
            pairs.push(("RESTIC_REPOSITORY", ""));
        }
        let error = parse(&pairs).unwrap_err();
        assert_eq!(error.kind.exit_code(), 2, "{name}={value}");
        let line = error.to_string();
        assert!(line.contains(&format!("{name}={value}")), "{line}");
        assert!(line.contains(". Accepted: ") || line.contains("No such file"), "{line}");
        assert!(line.len() < 512, "{line}");
    }
}

/// Bytes that are no text are refused by every variable that is text, so each of the table is really read.
#[test]
fn every_variable_of_the_table_is_read() {
    const PATHS: [&str; 22] = [
        "GLIBC_TUNABLES",
        "RESTIC_REPOSITORY_FILE",
        "RESTIC_PASSWORD_FILE",
        "RESTIC_CACHE_DIR",
        "DATA_DIR",
        "MOVER_CONFIG_DIR",
        "MOVER_POLICY_FILE",
        "CUSTOM_CA",
        "RESTIC_TLS_CLIENT_CERT",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "XDG_CACHE_HOME",
        "HOME",
        "MOVER_VERIFY_DIR",
        "MOVER_VERIFY_SHA256SUMS",
        "MOVER_VERIFY_REPORT",
        "MOVER_VERIFY_JUNIT",
        "MOVER_TERMINATION_LOG",
        "MOVER_REPORT_FILE",
        "MOVER_REPORT_HTML",
        "MOVER_METRICS_FILE",
    ];
    for variable in ALL {
        let bytes = OsString::from_vec(b"\xff\xfe".to_vec());
        let base = BASE.iter().filter(|(name, _)| *name != variable.name);
        let mut environment: env::Values =
            base.map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        environment.insert(variable.name.to_owned(), bytes);
        let parsed = Lookup::new(env::Values::new(), environment)
            .and_then(|lookup| Config::parse(&lookup, Personality::Tool, &operation::OPERATIONS, &LIMITS));
        let free = variable.secrecy == Secrecy::Secret || PATHS.contains(&variable.name);
        match parsed {
            Err(error) if !free => {
                let expected = format!("invalid value: {}: it is not UTF-8", variable.name);
                assert_eq!(error.to_string(), expected);
            }
            Ok(_) | Err(_) => assert!(free, "{} is not read", variable.name),
        }
    }
}

#[test]
fn no_secret_is_printed() {
    let config = parse(&[
        ("RESTIC_REPOSITORY", "s3:https://id:hunter2@host/bucket"),
        ("AWS_ACCESS_KEY_ID", "hunter2"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "hunter2"),
        ("HTTPS_PROXY", "http://u:hunter2@proxy"),
        ("MOVER_PUSHGATEWAY", "http://u:hunter2@push:9091"),
        ("MOVER_NOTIFY_URL", "https://hooks.example/hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@otel:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"),
    ])
    .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let secrets = config.secrets();
    assert!(secrets.texts.len() > 4);
    for secret in ["https://hooks.example/hunter2", "u:hunter2", "hunter2"] {
        assert!(secrets.texts.iter().any(|known| known.as_str() == secret), "{secret}");
    }
    assert_eq!(secrets.ids.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["hunter2"]);
    assert_eq!(secrets.names, ["s3:https://id:***@host/bucket", "https://host", "host", "host"]);
}

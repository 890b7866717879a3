//! The one table of every variable that volmover reads.
//!
//! Options, help and the README's table are made from it, and values are asked for by these names alone, so
//! a variable that is not here cannot be read. Names of restic, `VolSync` and the AWS tools keep their meaning.

use super::operation::Operation;
use super::operation::Operation::{
    Backup, Check, Doctor, Forget, Ls, Prune, RepairIndex, RepairSnapshots, Report, Restore, Snapshots,
    Stats, Unlock, Verify,
};
use super::variable::{Group, Variable};

/// What filters by host and path, or writes them.
const SELECTING: [Operation; 8] = [Backup, Forget, Restore, Snapshots, Verify, Stats, Report, Ls];
/// What takes a lock.
const LOCKING: [Operation; 12] = [
    Backup,
    Forget,
    Prune,
    Restore,
    Snapshots,
    Check,
    Verify,
    Stats,
    Report,
    Ls,
    RepairIndex,
    RepairSnapshots,
];
/// What writes packs.
const WRITING: [Operation; 4] = [Backup, Prune, Forget, RepairSnapshots];

macro_rules! table {
    ($($name:ident = $row:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`; its row says what it is for.")]
            pub static $name: Variable = $row.named(stringify!($name));
        )*

        /// All variables, in the order of the help.
        pub static ALL: &[&Variable] = &[$(&$name),*];
    };
}

table! {
    RESTIC_REPOSITORY = Variable::one(Group::Repository, "URL",
        "where the repository is: a path, local:path, s3:https://host/bucket/prefix, s3:host/bucket/prefix")
        .option("repository").short('r').hidden();
    RESTIC_REPOSITORY_FILE = Variable::one(Group::Repository, "FILE", "a file that says where the repository is")
        .option("repository-file");
    RESTIC_PASSWORD = Variable::one(Group::Repository, "PASSWORD", "the repository's password")
        .secret();
    RESTIC_PASSWORD_FILE = Variable::one(Group::Repository, "FILE",
        "a file that holds the password; used rather than RESTIC_PASSWORD")
        .option("password-file").short('p');
    RESTIC_PASSWORD_COMMAND = Variable::one(Group::Repository, "COMMAND",
        "a command that prints the password; not together with RESTIC_PASSWORD_FILE")
        .option("password-command").hidden();
    RESTIC_KEY_HINT = Variable::one(Group::Repository, "ID", "the key to try first")
        .option("key-hint");
    MOVER_REPOSITORY_ID = Variable::one(Group::Repository, "ID",
        "refuse any other repository, and refuse to create one (the id or at least its first 8 digits)")
        .option("repository-id");
    MOVER_ON_MISSING = Variable::one(Group::Repository, "create|fail",
        "when the repository does not exist: for backup, and for restore as the VolSync mover")
        .option("on-missing").default("create").only(&[Backup, Restore, Doctor]);
    RESTIC_CACHE_DIR = Variable::one(Group::Repository, "DIR", "the cache")
        .option("cache-dir").default("$XDG_CACHE_HOME/restic, else ~/.cache/restic");
    MOVER_CACHE_SIZE = Variable::one(Group::Repository, "SIZE",
        "the most that volmover's caches take in the cache's folder; 0: none is kept")
        .option("cache-size").default("what the volume holds");
    RESTIC_COMPRESSION = Variable::one(Group::Repository, "MODE", "auto, off, fastest, better or max")
        .option("compression").default("auto").only(&WRITING);
    RESTIC_PACK_SIZE = Variable::one(Group::Repository, "MIB", "target size of pack files in MiB, 4 to 128")
        .option("pack-size").default("16").only(&WRITING);

    DATA_DIR = Variable::one(Group::Selection, "DIR", "source of backup, target of restore")
        .option("data-dir").short('d').default("/data").only(&[Backup, Restore, Verify, Doctor]);
    MOVER_HOST = Variable::one(Group::Selection, "HOST",
        "host of the snapshot and of selections (*: any); {name} and {namespace} are filled from MOVER_NAME and \
         MOVER_NAMESPACE")
        .option("host").default("RESTIC_HOST, else volsync").only(&SELECTING);
    RESTIC_HOST = Variable::one(Group::Selection, "HOST", "restic's name of MOVER_HOST, read after it")
        .option("restic-host").default("volsync").only(&SELECTING);
    MOVER_NAME = Variable::one(Group::Selection, "NAME", "name of the object that this run serves")
        .option("name").default("the host's, without what VolSync adds");
    MOVER_NAMESPACE = Variable::one(Group::Selection, "NAMESPACE", "namespace of that object")
        .option("namespace").default("the pod's");
    MOVER_PATH = Variable::one(Group::Selection, "PATH",
        "the absolute path recorded in a snapshot and looked for by selections (*: any)")
        .option("path").default("DATA_DIR, made absolute").only(&SELECTING);
    MOVER_TAGS = Variable::commas(Group::Selection, "TAG,…", "tags of the snapshot; selections ask for them where they are set")
        .option("tags").only(&[Backup, Snapshots, Stats, Report]);
    MOVER_SNAPSHOT = Variable::one(Group::Selection, "ID",
        "the snapshot to take: an id or its first digits, latest, latest~n (the n-th before the latest); with \
          :FOLDER only that folder of it; for verify also latest-each (the newest of every host and path)")
        .option("snapshot").default("by RESTORE_AS_OF and SELECT_PREVIOUS, else latest").only(&[Restore, Verify, Ls, Stats]);
    RESTORE_AS_OF = Variable::one(Group::Selection, "TIME",
        "restore the newest snapshot that is not younger than this time (RFC 3339)")
        .option("restore-as-of").only(&[Restore, Verify, Ls, Stats]);
    SELECT_PREVIOUS = Variable::one(Group::Selection, "N", "restore the n-th snapshot before that")
        .option("select-previous").default("0").only(&[Restore, Verify, Ls, Stats]);

    MOVER_EXCLUDE = Variable::lines(Group::Backup, "PATTERN",
        "leave out what matches, restic's patterns, one a line; lost+found at the root is always left out")
        .option("exclude").short('e').only(&[Backup]);
    MOVER_IEXCLUDE = Variable::lines(Group::Backup, "PATTERN", "the same, upper and lower case alike")
        .option("iexclude").only(&[Backup]);
    MOVER_EXCLUDE_FILE = Variable::lines(Group::Backup, "FILE", "files with patterns, one a line, # for comments")
        .option("exclude-file").only(&[Backup]);
    MOVER_EXCLUDE_CACHES = Variable::flag(Group::Backup, "leave out directories with a CACHEDIR.TAG")
        .also(&["EXCLUDE_CACHES"]).option("exclude-caches").default("off").only(&[Backup]);
    MOVER_EXCLUDE_IF_PRESENT = Variable::lines(Group::Backup, "NAME[:HEADER]",
        "leave out directories that hold a file of this name, one a line")
        .option("exclude-if-present").only(&[Backup]);
    MOVER_EXCLUDE_LARGER_THAN = Variable::one(Group::Backup, "SIZE", "leave out larger files")
        .option("exclude-larger-than").default("off").only(&[Backup]);
    MOVER_ONE_FILE_SYSTEM = Variable::flag(Group::Backup, "stay in the source's file system")
        .option("one-file-system").short('x').default("off").only(&[Backup]);
    MOVER_IGNORE_FILES = Variable::commas(Group::Backup, "NAME,…",
        "names of ignore files (e.g. .backupignore) honoured in any directory")
        .option("ignore-files").default("off").only(&[Backup]);
    MOVER_MAX_SHRINK = Variable::one(Group::Backup, "PERCENT",
        "warn, and do not forget, when files or bytes are so much fewer than in the parent, e.g. 90%")
        .option("max-shrink").default("off").only(&[Backup]);
    MOVER_PARTIAL = Variable::one(Group::Backup, "fail|accept",
        "when some source cannot be read: the snapshot is saved with the tag partial, then exit 3 or 0")
        .option("partial").default("fail").only(&[Backup, Forget, Report]);
    RESTIC_IGNORE_CTIME = Variable::flag(Group::Backup, "do not compare ctimes with the parent's")
        .option("ignore-ctime").default("off").only(&[Backup]);
    RESTIC_IGNORE_INODE = Variable::flag(Group::Backup, "do not compare inodes and ctimes with the parent's")
        .option("ignore-inode").default("off").only(&[Backup]);

    MOVER_INCLUDE = Variable::lines(Group::Restore, "PATTERN",
        "restore only what matches, restic's patterns, one a line")
        .option("include").short('i').only(&[Restore]);
    MOVER_OVERWRITE = Variable::one(Group::Restore, "WHEN", "always, if-changed, if-newer or never")
        .option("overwrite").default("always").only(&[Restore]);
    MOVER_SPARSE = Variable::flag(Group::Restore, "write long runs of zeros as holes")
        .option("sparse").default("on").only(&[Restore, Verify]);
    MOVER_SPACE_CHECK = Variable::flag(Group::Restore,
        "compare sizes first (off for compressing or quota file systems)")
        .option("space-check").default("on").only(&[Restore, Verify]);
    MOVER_XATTRS = Variable::commas(Group::Restore, "PATTERN,…",
        "extended attributes to restore: all, none, or patterns such as user.*")
        .option("xattrs").default("all; user.* as the VolSync mover").only(&[Restore, Verify]);

    MOVER_FORGET = Variable::flag(Group::Maintenance,
        "off: forget, alone and after a backup, prints one line and is skipped")
        .option("forget").default("on").only(&[Backup, Forget]);
    MOVER_POLICY_FILE = Variable::one(Group::Maintenance, "FILE",
        "policies for many identities: lines <host glob> <path glob> <forget options>, the first that matches counts")
        .option("policy-file").only(&[Forget, Report]);
    MOVER_FORGET_SNAPSHOTS = Variable::commas(Group::Maintenance, "ID,…",
        "snapshots to remove, ids or their first digits, never latest")
        .option("forget-snapshots").only(&[Forget]);
    MOVER_PRUNE = Variable::flag(Group::Maintenance, "off: prune prints one line and is skipped")
        .option("prune").default("on").only(&[Prune, Forget]);
    MOVER_PRUNE_MAX_UNUSED = Variable::one(Group::Maintenance, "LIMIT",
        "unused data that may stay: a share of what is used (5%), a size (500M) or unlimited")
        .option("prune-max-unused").default("5%").only(&[Prune, Forget, Report]);
    MOVER_PRUNE_MAX_REPACK_SIZE = Variable::one(Group::Maintenance, "SIZE", "repack at most so much in one run")
        .option("prune-max-repack-size").default("no limit").only(&[Prune, Forget]);
    MOVER_PRUNE_REPACK_SMALLER_THAN = Variable::one(Group::Maintenance, "SIZE", "repack packs that are smaller")
        .option("prune-repack-smaller-than").default("by the sizes of the packs").only(&[Prune, Forget]);
    MOVER_CHECK_READ_DATA = Variable::flag(Group::Maintenance, "read all data, not the structure alone")
        .option("check-read-data").default("off").only(&[Check]);
    MOVER_CHECK_SUBSET = Variable::one(Group::Maintenance, "PART",
        "read a part of the data: 5% or 500M at random, n/t the n-th of t parts")
        .option("check-subset").only(&[Check]);
    MOVER_UNLOCK_ALL = Variable::flag(Group::Maintenance, "remove live locks too")
        .option("unlock-all").default("off").only(&[Unlock]);
    MOVER_REPAIR = Variable::one(Group::Maintenance, "show|apply",
        "apply: do what the repair would do, instead of showing it")
        .option("repair").default("show").only(&[RepairIndex, RepairSnapshots]);

    MOVER_VERIFY_DIR = Variable::one(Group::Verify, "DIR",
        "restore for real into this empty directory, read everything back and compare; it is emptied again")
        .option("verify-dir").only(&[Verify]);
    MOVER_VERIFY_KEEP = Variable::flag(Group::Verify, "leave what was restored there")
        .option("verify-keep").default("off").only(&[Verify]);
    MOVER_VERIFY_COMPARE = Variable::flag(Group::Verify, "list the differences to the live DATA_DIR too")
        .option("verify-compare").default("off").only(&[Verify]);
    MOVER_VERIFY_MAX_AGE = Variable::one(Group::Verify, "DURATION", "the oldest that the snapshot may be, e.g. 26h")
        .option("verify-max-age").only(&[Verify]);
    MOVER_VERIFY_MIN_FILES = Variable::one(Group::Verify, "N", "regular files that it must have")
        .option("verify-min-files").only(&[Verify]);
    MOVER_VERIFY_MIN_BYTES = Variable::one(Group::Verify, "SIZE", "bytes of content that it must have")
        .option("verify-min-bytes").only(&[Verify]);
    MOVER_VERIFY_SHA256SUMS = Variable::one(Group::Verify, "FILE",
        "a list of sha256sum, with paths relative to the snapshot's root, that it must fit")
        .option("verify-sha256sums").only(&[Verify]);
    MOVER_VERIFY_SAMPLE = Variable::one(Group::Verify, "PERCENT",
        "read a random part of the files with all trees, e.g. 5%; not together with MOVER_VERIFY_DIR")
        .option("verify-sample").only(&[Verify]);
    MOVER_VERIFY_SEED = Variable::one(Group::Verify, "N", "the seed of the sample, to take the same one again")
        .option("verify-seed").default("random, and printed").only(&[Verify]);
    MOVER_VERIFY_REPORT = Variable::one(Group::Verify, "FILE", "write the result as JSON")
        .option("verify-report").only(&[Verify]);
    MOVER_VERIFY_JUNIT = Variable::one(Group::Verify, "FILE", "write the result as JUnit's XML, for CI systems")
        .option("verify-junit").only(&[Verify]);

    MOVER_ON_EMPTY = Variable::one(Group::Run, "accept|fail",
        "when the source is empty or nothing is eligible to restore: exit 0 or 24")
        .option("on-empty").default("accept").only(&[Backup, Restore]);
    MOVER_LOCK_WAIT = Variable::one(Group::Run, "DURATION", "how long to wait for a live conflicting lock")
        .option("lock-wait").default("5m").only(&LOCKING);
    MOVER_JITTER = Variable::one(Group::Run, "DURATION", "wait a random time up to this before the first operation")
        .option("jitter").default("0s");
    MOVER_DRY_RUN = Variable::flag(Group::Run, "change nothing, print what would be done")
        .option("dry-run").short('n').default("off");
    MOVER_CONFIG_DIR = Variable::one(Group::Run, "DIR",
        "more variables: file name = variable, content = value; the environment wins")
        .option("config-dir").default("/mnt/mover-config");

    MOVER_MEMORY = Variable::one(Group::Performance, "SIZE", "the memory budget for everything, at least 96M")
        .option("memory").default("75 % of the cgroup's limit, at most 1 GiB, at least 96 MiB");
    MOVER_THREADS = Variable::one(Group::Performance, "N", "workers, 1 to 1024")
        .option("threads").default("the cgroup's CPUs");
    MOVER_CONNECTIONS = Variable::one(Group::Performance, "N", "requests at once, 1 to 1024")
        .option("connections").default("16 on object stores, 4 on disk");
    RESTIC_READ_CONCURRENCY = Variable::one(Group::Performance, "N", "files read at once")
        .option("read-concurrency").default("2").only(&[Backup]);
    MOVER_LIMIT_UPLOAD = Variable::one(Group::Performance, "KIB", "KiB/s")
        .option("limit-upload").default("none");
    MOVER_LIMIT_DOWNLOAD = Variable::one(Group::Performance, "KIB", "KiB/s")
        .option("limit-download").default("none");

    MOVER_JSON = Variable::flag(Group::Output, "restic's JSON lines instead of text")
        .option("json").default("off");
    MOVER_LOG = Variable::one(Group::Output, "FILTER", "what is logged to stderr, a tracing filter")
        .option("log").default("info");
    DEBUG_MOVER = Variable::flag(Group::Output, "the same as MOVER_LOG=debug")
        .option("debug").default("off");
    MOVER_TZ = Variable::one(Group::Output, "ZONE", "time zone of snapshot times and of lines")
        .option("tz").default("TZ, else UTC");
    RESTIC_PROGRESS_FPS = Variable::one(Group::Output, "N", "how often a second progress is shown")
        .option("progress-fps");

    MOVER_TERMINATION_LOG = Variable::one(Group::Outlets, "FILE",
        "where Kubernetes reads why a pod ended: the run's summary as JSON, at most 4096 bytes")
        .option("termination-log").default("/dev/termination-log where it is and can be written");
    MOVER_REPORT_FILE = Variable::one(Group::Outlets, "FILE", "write the run's summary as JSON")
        .option("report-file");
    MOVER_REPORT_HTML = Variable::one(Group::Outlets, "FILE",
        "write the repository's report as one HTML page, which needs no network and no script")
        .option("report-html").only(&[Report]);
    MOVER_METRICS_FILE = Variable::one(Group::Outlets, "FILE",
        "metrics for node-exporter's textfile collector, one file an object; what it holds of others stays")
        .option("metrics-file");
    MOVER_METRICS_LISTEN = Variable::one(Group::Outlets, "ADDRESS", "serve metrics while the run lasts, e.g. :9117")
        .option("metrics-listen");
    MOVER_PUSHGATEWAY = Variable::one(Group::Outlets, "URL", "push metrics to a Pushgateway, a group for each operation of each object")
        .option("pushgateway").hidden();
    OTEL_EXPORTER_OTLP_ENDPOINT = Variable::one(Group::Outlets, "URL",
        "send metrics and the run as a trace by OTLP over HTTP to /v1/metrics and /v1/traces below it")
        .option("otel-endpoint").hidden();
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT = Variable::one(Group::Outlets, "URL", "where metrics go instead, as it is")
        .option("otel-metrics-endpoint").hidden();
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = Variable::one(Group::Outlets, "URL", "where traces go instead, as it is")
        .option("otel-traces-endpoint").hidden();
    OTEL_EXPORTER_OTLP_PROTOCOL = Variable::one(Group::Outlets, "PROTOCOL",
        "http/protobuf or http/json; with grpc nothing is sent, and a warning says so")
        .option("otel-protocol").default("http/protobuf");
    OTEL_METRICS_EXPORTER = Variable::one(Group::Outlets, "otlp|none", "none: send no metrics by OTLP")
        .option("otel-metrics-exporter").default("otlp");
    OTEL_TRACES_EXPORTER = Variable::one(Group::Outlets, "otlp|none", "none: send no trace by OTLP")
        .option("otel-traces-exporter").default("otlp");
    OTEL_EXPORTER_OTLP_HEADERS = Variable::one(Group::Outlets, "NAME=VALUE,…", "headers of both").secret();
    OTEL_SERVICE_NAME = Variable::one(Group::Outlets, "NAME", "what the service is called there")
        .option("otel-service-name").default("volmover");
    OTEL_RESOURCE_ATTRIBUTES = Variable::commas(Group::Outlets, "NAME=VALUE,…", "what else is said of it")
        .option("otel-resource-attributes");
    OTEL_SDK_DISABLED = Variable::flag(Group::Outlets, "send nothing by OTLP")
        .option("otel-disabled").default("off");
    MOVER_NOTIFY_URL = Variable::one(Group::Outlets, "URL", "a webhook that is told how the run ended")
        .option("notify-url").hidden();
    MOVER_NOTIFY_ON = Variable::one(Group::Outlets, "failure|success|both", "when it is told")
        .option("notify-on").default("failure; both for healthchecks");
    MOVER_NOTIFY_FORMAT = Variable::one(Group::Outlets, "FORMAT",
        "json (the summary), ntfy, slack, or healthchecks (pings at start, success and failure)")
        .option("notify-format").default("json");

    RESTIC_CACERT = Variable::commas(Group::Network, "FILE,…",
        "PEM files with certificates to trust instead of the system's")
        .option("cacert");
    CUSTOM_CA = Variable::one(Group::Network, "FILE", "one more such file")
        .option("custom-ca");
    RESTIC_TLS_CLIENT_CERT = Variable::one(Group::Network, "FILE", "a PEM file with a client certificate and its key")
        .option("tls-client-cert");
    RESTIC_HTTP_USER_AGENT = Variable::one(Group::Network, "TEXT", "the User-Agent of requests")
        .option("http-user-agent");
    HTTP_PROXY = Variable::one(Group::Network, "URL", "proxy for http://")
        .also(&["http_proxy"]).option("http-proxy").hidden();
    HTTPS_PROXY = Variable::one(Group::Network, "URL", "proxy for https://")
        .also(&["https_proxy"]).option("https-proxy").hidden();
    NO_PROXY = Variable::one(Group::Network, "HOST,…", "hosts that are reached directly")
        .also(&["no_proxy"]).option("no-proxy");

    MOVER_S3_ADDRESSING = Variable::one(Group::S3, "MODE", "the bucket in the host name or in the path: auto, virtual or path")
        .option("s3-addressing").default("auto");
    MOVER_S3_STORAGE_CLASS = Variable::one(Group::S3, "CLASS", "storage class of data packs")
        .option("s3-storage-class").default("the store's");
    MOVER_S3_SSE = Variable::one(Group::S3, "MODE", "server-side encryption: AES256, aws:kms or aws:kms:<key id>")
        .option("s3-sse").default("the store's");
    AWS_ACCESS_KEY_ID = Variable::one(Group::S3, "ID", "access key").also(&["AWS_ACCESS_KEY"]).secret();
    AWS_SECRET_ACCESS_KEY = Variable::one(Group::S3, "KEY", "its secret").also(&["AWS_SECRET_KEY"]).secret();
    AWS_SESSION_TOKEN = Variable::one(Group::S3, "TOKEN", "the token of temporary keys").secret();
    AWS_DEFAULT_REGION = Variable::one(Group::S3, "REGION", "the region")
        .option("aws-default-region").default("from the URL, else us-east-1 unless the store names another");
    AWS_PROFILE = Variable::one(Group::S3, "NAME", "the profile of the shared credentials file")
        .option("aws-profile").default("default");
    AWS_SHARED_CREDENTIALS_FILE = Variable::one(Group::S3, "FILE", "the shared credentials file")
        .option("aws-shared-credentials-file").default("~/.aws/credentials");
    MINIO_ROOT_USER = Variable::one(Group::S3, "ID", "access key").also(&["MINIO_ACCESS_KEY"]).secret();
    MINIO_ROOT_PASSWORD = Variable::one(Group::S3, "KEY", "its secret").also(&["MINIO_SECRET_KEY"]).secret();
    AWS_WEB_IDENTITY_TOKEN_FILE = Variable::one(Group::S3, "FILE", "a token to exchange for keys")
        .option("aws-web-identity-token-file");
    AWS_ROLE_ARN = Variable::one(Group::S3, "ARN", "the role that the token is exchanged for")
        .option("aws-role-arn");
    AWS_ROLE_SESSION_NAME = Variable::one(Group::S3, "NAME", "the name of that session")
        .option("aws-role-session-name");
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI = Variable::one(Group::S3, "PATH", "where a container gets its keys, on 169.254.170.2")
        .option("aws-container-credentials-relative-uri");
    AWS_CONTAINER_CREDENTIALS_FULL_URI = Variable::one(Group::S3, "URL", "where a container gets its keys")
        .option("aws-container-credentials-full-uri");
    AWS_CONTAINER_AUTHORIZATION_TOKEN = Variable::one(Group::S3, "TOKEN", "what it shows there").secret();
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE = Variable::one(Group::S3, "FILE", "a file with that token")
        .option("aws-container-authorization-token-file");
    RESTIC_AWS_ASSUME_ROLE_ARN = Variable::one(Group::S3, "ARN", "a role to take on top of the keys found")
        .option("aws-assume-role-arn");
    RESTIC_AWS_ASSUME_ROLE_SESSION_NAME = Variable::one(Group::S3, "NAME", "the name of that session")
        .option("aws-assume-role-session-name");
    RESTIC_AWS_ASSUME_ROLE_EXTERNAL_ID = Variable::one(Group::S3, "ID", "the external id that the role asks for")
        .option("aws-assume-role-external-id");
    RESTIC_AWS_ASSUME_ROLE_POLICY = Variable::one(Group::S3, "JSON", "a policy that narrows the role")
        .option("aws-assume-role-policy");
    RESTIC_AWS_ASSUME_ROLE_REGION = Variable::one(Group::S3, "REGION", "the region of the token service")
        .option("aws-assume-role-region").default("us-east-1");
    RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT = Variable::one(Group::S3, "URL", "the token service")
        .option("aws-assume-role-sts-endpoint");

    RESTORE_OPTIONS = Variable::one(Group::VolSync, "--delete", "--delete removes what the snapshot does not have")
        .option("restore-options").only(&[Restore]);
    FORGET_OPTIONS = Variable::one(Group::VolSync, "OPTIONS", "restic's options of forget: after a backup, and for forget itself")
        .option("forget-options").only(&[Backup, Forget, Report]);
    PRIVILEGED_MOVER = Variable::flag(Group::VolSync, "the mover was started with more capabilities")
        .option("privileged").default("off");

    TZ = Variable::one(Group::Machine, "ZONE", "time zone of times inside trees").default("UTC");
    XDG_CACHE_HOME = Variable::one(Group::Machine, "DIR", "where caches are");
    HOME = Variable::one(Group::Machine, "DIR", "where ~ is");
    GLIBC_TUNABLES = Variable::one(Group::Machine, "NAME=VALUE", "settings of the C library's allocator")
        .default("threads share heaps, what is free at their ends goes back");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::variable::Secrecy;
    use super::ALL;
    use super::*;

    #[test]
    fn names_and_options_are_unique() {
        let names: Vec<&str> = ALL.iter().flat_map(|variable| variable.names()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let options: Vec<&str> = ALL.iter().filter_map(|variable| variable.option).collect();
        assert_eq!(options.iter().collect::<BTreeSet<_>>().len(), options.len());
    }

    #[test]
    fn only_secrets_and_the_machine_have_no_option() {
        for variable in ALL {
            let without = variable.secrecy == Secrecy::Secret || variable.group == Group::Machine;
            assert_eq!(variable.option.is_none(), without, "{}", variable.name);
        }
    }

    #[test]
    fn rows_stand_by_group_and_fit_a_table() {
        let mut groups: Vec<Group> = ALL.iter().map(|variable| variable.group).collect();
        groups.dedup();
        assert_eq!(groups, Group::ALL);
        for variable in ALL {
            assert!(!variable.meaning.is_empty() && !variable.meaning.contains(['\n']), "{}", variable.name);
        }
    }
}

//! The programs that metrics go to, each on a free port of this machine, and what they answer.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::support::children::{Running, get};
use super::support::{peer, scratch};

/// How long a program may take to begin, or to show what it was told.
const PATIENCE: Duration = Duration::from_mins(1);

/// A program that listens; it ends with the test.
pub(super) struct Server {
    _running: Running,
    folder: TempDir,
    port: u16,
}

impl Server {
    /// The Pushgateway.
    pub(super) fn pushgateway() -> Option<Self> {
        Self::start("prometheus-pushgateway", "/-/ready", |port, _| {
            vec![format!("--web.listen-address=127.0.0.1:{port}")]
        })
    }

    /// node-exporter, which collects the text files of a folder and nothing else.
    pub(super) fn node_exporter(texts: &Path) -> Option<Self> {
        Self::start("prometheus-node-exporter", "/", |port, _| {
            vec![
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--web.disable-exporter-metrics".to_owned(),
                "--collector.disable-defaults".to_owned(),
                "--collector.textfile".to_owned(),
                format!("--collector.textfile.directory={}", texts.display()),
            ]
        })
    }

    /// Prometheus, which scrapes these ports, each as a job of this name.
    pub(super) fn prometheus(jobs: &[(&str, u16)]) -> Option<Self> {
        Self::prometheus_with(jobs, "", &[])
    }

    /// The same with more of its configuration, and files beside it.
    pub(super) fn prometheus_with(jobs: &[(&str, u16)], more: &str, files: &[(&str, &str)]) -> Option<Self> {
        let job = |(name, port): &(&str, u16)| {
            format!(
                "- {{job_name: {name}, honor_labels: true, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
            )
        };
        let jobs: String = jobs.iter().map(job).collect();
        let global = "{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}";
        let config = format!("global: {global}\n{more}scrape_configs:\n{jobs}");
        Self::start("prometheus", "/-/ready", |port, folder| {
            fs::write(folder.join("config.yml"), &config).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), text).unwrap();
            }
            vec![
                "--config.file=config.yml".to_owned(),
                "--storage.tsdb.path=data".to_owned(),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ]
        })
    }

    /// Alertmanager, which tells a webhook of every alert, and tells it again when it changes.
    pub(super) fn alertmanager(webhook: &str) -> Option<Self> {
        let route =
            "{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}";
        let receivers = format!("[{{name: hook, webhook_configs: [{{url: '{webhook}'}}]}}]");
        let templates = peer("alertmanager")?.ancestors().nth(2).unwrap().join("share/alertmanager");
        Self::start("alertmanager", "/-/ready", |port, folder| {
            for name in ["default.tmpl", "email.tmpl"] {
                fs::copy(templates.join(name), folder.join(name)).unwrap();
            }
            fs::write(folder.join("config.yml"), format!("route: {route}\nreceivers: {receivers}\n"))
                .unwrap();
            vec![
                "--config.file=config.yml".to_owned(),
                "--storage.path=data".to_owned(),
                "--cluster.listen-address=".to_owned(),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ]
        })
    }

    /// `VictoriaMetrics`, which takes what a Pushgateway takes, and OTLP, and answers queries as Prometheus does.
    pub(super) fn victoria_metrics() -> Option<Self> {
        Self::start("victoria-metrics", "/health", |port, _| {
            vec![
                format!("-httpListenAddr=127.0.0.1:{port}"),
                "-storageDataPath=data".to_owned(),
                "-search.latencyOffset=0s".to_owned(),
            ]
        })
    }

    /// `None` where the program is missing and not required.
    fn start(name: &str, ready: &str, arguments: impl Fn(u16, &Path) -> Vec<String>) -> Option<Self> {
        let program = peer(name)?;
        let folder = scratch();
        let log = folder.path().join("log");
        let command = |port| {
            let mut command = Command::new(&program);
            command.args(arguments(port, folder.path())).current_dir(folder.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
            command
        };
        let is_ready = |port| get(port, ready).is_some_and(|answer| answer.contains(" 200 "));
        let (running, port) = Running::listening(command, is_ready)
            .unwrap_or_else(|| panic!("{name} does not begin: {}", fs::read_to_string(&log).unwrap()));
        Some(Self { _running: running, folder, port })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:port`
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The metrics that it shows to who scrapes it.
    pub(super) fn metrics(&self) -> String {
        get(self.port, "/metrics").unwrap()
    }

    /// The value of a query that one series at most answers.
    pub(super) fn query(&self, query: &str) -> Option<f64> {
        let series = self.series(query);
        assert!(series.len() <= 1, "{query}: {series:?}");
        series.first().map(|one| one["value"][1].as_str().unwrap().parse().unwrap())
    }

    /// The series that answer a query.
    #[track_caller]
    pub(super) fn series(&self, query: &str) -> Vec<Value> {
        let answer = get(self.port, &format!("/api/v1/query?query={}", encoded(query))).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let told: Value = serde_json::from_str(body).unwrap_or_else(|cause| panic!("{cause}: {answer}"));
        told["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}")).clone()
    }

    /// Asks until the answer is the expected one.
    #[track_caller]
    pub(super) fn comes_to(&self, query: &str, expected: f64) {
        let start = Instant::now();
        loop {
            let told = self.query(query);
            if told == Some(expected) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{query}: {told:?}, not {expected}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let one = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

//! Chromium, asked by its own protocol over two pipes: what a page needs of the network, what it says, how wide it is.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::children::Running;
use crate::support::peer;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page.
pub(super) struct Browser {
    _process: Running,
    to: File,
    from: Receiver<Value>,
    place: TempDir,
    session: String,
    asked: u64,
    events: Vec<Value>,
}

impl Browser {
    /// `None` where there is no Chromium and none is required.
    pub(super) fn start() -> Option<Self> {
        let program = peer("chromium")?;
        // On the disk: a browser that is killed may still write there.
        let place = TempDir::new().unwrap();
        let [to, from] = ["to", "from"].map(|name| {
            let path = place.path().join(name);
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            path
        });
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<\"$TO\" 4>\"$FROM\""]).arg(program);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        command.args(["--disable-background-networking", "--remote-debugging-pipe"]);
        command.arg(format!("--user-data-dir={}", place.path().join("profile").display())).arg("about:blank");
        command.env("TO", &to).env("FROM", &from).env("HOME", place.path());
        let process =
            Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let from = read(from);
        let (session, events) = (String::new(), Vec::new());
        let mut browser = Self { _process: process, to, from, place, session, asked: 0, events };
        let page = browser.ask("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({"targetId": page, "flatten": true}));
        attached["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        for domain in ["Page", "Network", "Log", "Runtime"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Asks, and waits for the answer.
    #[track_caller]
    pub(super) fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.from.recv_timeout(PATIENCE).unwrap_or_else(|cause| panic!("{method}: {cause}"));
            if answer["id"] == self.asked {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// Opens a page from a file, and waits until it is there.
    #[track_caller]
    pub(super) fn open(&mut self, page: &str) {
        let file = self.place.path().join("page.html");
        std::fs::write(&file, page).unwrap();
        self.events.clear();
        self.ask("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.from.recv_timeout(PATIENCE).unwrap();
            self.events.push(event);
        }
    }

    /// The screen: its width, whether it is dark, and what it is: `screen` or `print`.
    pub(super) fn look(&mut self, width: u32, scheme: &str, medium: &str) {
        let (scale, mobile) = (1, width < 600);
        let screen = json!({"width": width, "height": 900, "deviceScaleFactor": scale, "mobile": mobile});
        self.ask("Emulation.setDeviceMetricsOverride", screen);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"media": medium, "features": features}));
    }

    /// The value of an expression of the page.
    #[track_caller]
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The page as a picture, from top to end.
    pub(super) fn picture(&mut self) -> Vec<u8> {
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.ask("Page.captureScreenshot", whole);
        BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// The page asked for nothing but itself, and nothing was said about it.
    #[track_caller]
    pub(super) fn assert_quiet(&mut self) {
        // Whatever comes late.
        self.evaluate("1");
        while let Ok(event) = self.from.recv_timeout(Duration::from_millis(100)) {
            self.events.push(event);
        }
        let of = |method: &'static str| self.events.iter().filter(move |event| event["method"] == method);
        let asked: Vec<&str> = of("Network.requestWillBeSent")
            .map(|event| event["params"]["request"]["url"].as_str().unwrap())
            .collect();
        assert!(asked.len() == 1 && asked[0].ends_with("/page.html"), "{asked:?}");
        for method in ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"] {
            assert_eq!(of(method).collect::<Vec<_>>(), Vec::<&Value>::new());
        }
    }
}

/// The messages of the browser, each up to a zero byte.
fn read(path: PathBuf) -> Receiver<Value> {
    let (heard, messages) = channel();
    std::thread::spawn(move || {
        let from = BufReader::new(File::open(path).unwrap());
        for message in from.split(0) {
            let Ok(message) = message else { return };
            if heard.send(serde_json::from_slice(&message).unwrap()).is_err() {
                return;
            }
        }
    });
    messages
}

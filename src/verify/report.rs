//! What a verify tells: lines for people, one JSON document, and `JUnit`'s XML as CI systems show it.
//!
//! All three are made from the same figures. A run that learned nothing is told as well: a report that is
//! missing looks like a verify that was never run. No secret is in what is reported here.

use serde_json::{Value, json};

use super::{Check, Verified};
use crate::error::Error;

/// A whole run.
#[derive(Debug)]
pub struct Report<'a> {
    /// The repository's URL, without any password.
    pub location: String,
    /// When the run began, RFC 3339.
    pub time: String,
    /// What was verified.
    pub verified: &'a [Verified],
    /// What the run came to.
    pub error: Option<&'a Error>,
}

/// The lines of one snapshot.
#[must_use]
pub fn lines(verified: &Verified) -> Vec<String> {
    let mut lines: Vec<String> = verified.checks.iter().map(line).collect();
    if let Some(live) = &verified.live {
        lines.push(format!("live    {} differences to the live directory", live.differences_total));
        for difference in &live.differences {
            let what =
                if difference.what.is_empty() { String::new() } else { format!(" ({})", difference.what) };
            lines.push(format!("{}    {}{what}", difference.change, difference.path));
        }
        let more = live.differences_total.saturating_sub(live.differences.len() as u64);
        if more > 0 {
            lines.push(format!("…    and {more} others"));
        }
    }
    lines.iter().map(|line| line.replace(['\n', '\r'], " ")).collect()
}

fn line(check: &Check) -> String {
    let word = if check.passed { "ok    " } else { "FAILED" };
    format!("{word}  {}: {}", check.name, check.detail)
}

impl Report<'_> {
    fn exit_code(&self) -> u8 {
        self.error.map_or(0, |error| error.kind.exit_code())
    }

    /// The JSON document, indented, with a newline at its end.
    #[must_use]
    pub fn json(&self) -> String {
        format!("{:#}\n", self.value())
    }

    /// The same as one line, for `MOVER_JSON`.
    #[must_use]
    pub fn json_line(&self) -> String {
        self.value().to_string()
    }

    fn value(&self) -> Value {
        json!({
            "message_type": "verify",
            "program_version": concat!("volmover ", env!("CARGO_PKG_VERSION")),
            "repository": self.location,
            "time": self.time,
            "passed": self.error.is_none(),
            "exit_code": self.exit_code(),
            "error": self.error.map(ToString::to_string),
            "snapshots": self.verified.iter().map(snapshot).collect::<Vec<_>>(),
        })
    }

    /// The XML document: a suite a snapshot, a case a check. A run that learned nothing is one case.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut suites: Vec<String> = self.verified.iter().map(suite).collect();
        let told = self.verified.iter().any(|verified| !verified.passed());
        if let Some(error) = self.error.filter(|_| !told) {
            let text = escape(&error.to_string());
            suites.push(format!(
                "  <testsuite name=\"volmover verify\" tests=\"1\" failures=\"0\" errors=\"1\">\n    <testcase \
                 classname=\"volmover.verify\" name=\"run\">\n      <error message=\"{text}\"/>\n    \
                 </testcase>\n  </testsuite>\n"
            ));
        }
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"volmover verify\">\n{}</testsuites>\n",
            suites.concat()
        )
    }
}

fn snapshot(verified: &Verified) -> Value {
    let about = &verified.snapshot;
    let checks = verified.checks.iter();
    let failures = verified.failures.iter();
    json!({
        "id": verified.id.hex(),
        "time": time(verified),
        "hostname": about.hostname,
        "paths": about.paths,
        "tags": about.tags,
        "age_seconds": verified.age_seconds,
        "files": verified.files,
        "bytes": verified.bytes,
        "seconds": verified.seconds,
        "passed": verified.passed(),
        "checks": checks.map(|check| json!({
            "name": check.name,
            "passed": check.passed,
            "detail": check.detail,
        })).collect::<Vec<_>>(),
        "failures_total": verified.failures_total,
        "failures": failures.map(|failed| json!({
            "path": failed.item,
            "cause": failed.cause,
        })).collect::<Vec<_>>(),
        "live": verified.live.as_ref().map(|live| json!({
            "differences_total": live.differences_total,
            "differences": live.differences.iter().map(|difference| json!({
                "change": difference.change.to_string(),
                "path": difference.path,
                "what": difference.what,
            })).collect::<Vec<_>>(),
        })),
    })
}

fn time(verified: &Verified) -> String {
    let (seconds, nanoseconds) = verified.snapshot.time.instant();
    jiff::Timestamp::new(seconds, nanoseconds as i32).map(|time| time.to_string()).unwrap_or_default()
}

fn suite(verified: &Verified) -> String {
    let about = &verified.snapshot;
    let name = escape(&format!(
        "snapshot {} of {} on {}",
        verified.id.short(),
        about.paths.join(" "),
        about.hostname
    ));
    let failures = verified.checks.iter().filter(|check| !check.passed).count();
    let mut text = format!(
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" time=\"{:.3}\" timestamp=\"{}\">\n",
        verified.checks.len(),
        verified.seconds,
        escape(&time(verified)),
    );
    text.extend(verified.checks.iter().map(|check| case(verified, check)));
    text.push_str("  </testsuite>\n");
    text
}

fn case(verified: &Verified, check: &Check) -> String {
    let class = escape(&format!("volmover.verify.{}", verified.snapshot.hostname));
    let (name, detail) = (check.name, escape(&check.detail));
    let said = if check.passed {
        format!("<system-out>{detail}</system-out>")
    } else {
        let named = verified.failures.iter().filter(|_| check.name == "content");
        let items: Vec<String> = named.map(|failed| format!("{}: {}", failed.item, failed.cause)).collect();
        format!("<failure message=\"{detail}\">{}</failure>", escape(&items.join("\n")))
    };
    format!("    <testcase classname=\"{class}\" name=\"{name}\">\n      {said}\n    </testcase>\n")
}

/// Text as XML takes it; characters that XML does not know are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other if other.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn xml_holds_any_text() {
        assert_eq!(escape("a<b>&\"c\"\u{1b}\n"), "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}\n");
    }

    #[test]
    fn a_run_that_learned_nothing_is_told() {
        let error = Error::new(ErrorKind::WrongPassword, "wrong password or no key found");
        let report =
            Report { location: "/r".to_owned(), time: String::new(), verified: &[], error: Some(&error) };
        assert!(report.junit().contains("errors=\"1\"") && report.junit().contains("wrong password"));
        assert!(report.json().contains("\"exit_code\": 12") && report.json().contains("\"passed\": false"));
    }
}

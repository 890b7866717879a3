//! A webhook that is told how a run ended, in the words that its kind understands.

use serde_json::json;

use super::http::Http;
use crate::config::outlets::{Notify, NotifyFormat, NotifyOn};
use crate::report::RunSummary;

/// ntfy makes an attachment of what is longer than 4096 bytes; the others take more.
const BODY_BYTES_MAX: usize = 4000;

/// Tells that a run begins, to who wants to know.
pub(super) fn start(http: &Http, config: &Notify) -> Result<(), String> {
    http.post(&below(&config.url.text(), "start"), &[], String::new())
}

/// Whether anybody wants to know that a run begins: who is not told of its success would wait for ever.
pub(super) fn wants_start(config: &Notify) -> bool {
    config.format == NotifyFormat::Healthchecks && config.on != NotifyOn::Failure
}

/// Tells how it ended, to who wants to know that.
pub(super) fn end(http: &Http, config: &Notify, summary: &RunSummary) -> Result<(), String> {
    let failed = summary.error.is_some();
    let wanted = match config.on {
        NotifyOn::Both => true,
        NotifyOn::Failure => failed,
        NotifyOn::Success => !failed,
    };
    if !wanted {
        return Ok(());
    }
    let url = config.url.text();
    let plain = ("Content-Type", "text/plain; charset=utf-8");
    let json = ("Content-Type", "application/json");
    let mut text = summary.text();
    text.truncate(text.floor_char_boundary(BODY_BYTES_MAX));
    match config.format {
        NotifyFormat::Json => http.post(&url, &[json], summary.json()),
        NotifyFormat::Ntfy => {
            let (priority, tags) =
                if failed { ("high", "rotating_light") } else { ("default", "white_check_mark") };
            let title = ascii(&summary.headline());
            let headers = [plain, ("Title", title.as_str()), ("Priority", priority), ("Tags", tags)];
            let body = text.split_once('\n').map_or(text.as_str(), |(_, rest)| rest);
            http.post(&url, &headers, body.to_owned())
        }
        NotifyFormat::Slack => http.post(&url, &[json], json!({ "text": slack(&text) }).to_string()),
        NotifyFormat::Healthchecks if failed => http.post(&below(&url, "fail"), &[plain], text),
        NotifyFormat::Healthchecks => http.post(&url, &[plain], text),
    }
}

/// A URL with one more part of its path, before whatever is asked.
fn below(url: &str, part: &str) -> String {
    let (path, query) =
        url.split_once('?').map_or((url, String::new()), |(path, query)| (path, format!("?{query}")));
    format!("{}/{part}{query}", path.trim_end_matches('/'))
}

/// What a header may hold.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

/// Slack reads these three as marks of its own.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_go_before_the_query() {
        assert_eq!(below("https://hc/u/", "start"), "https://hc/u/start");
        assert_eq!(below("https://hc/u?create=1", "fail"), "https://hc/u/fail?create=1");
        assert_eq!(ascii("é\r\nx"), "???x");
        assert_eq!(slack("<a> & b"), "&lt;a&gt; &amp; b");
    }
}

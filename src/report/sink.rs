//! The two streams that everything printed goes through: stdout and stderr, or a test's buffers.
//!
//! A line is written whole, by one call, and flushed at once: a killed process has said what it knew. A
//! reader that went away (broken pipe) is not a failure of the run, so failed writes are dropped. No line
//! is longer than 60 KiB, since the operator's scan of the log breaks at 64.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

use super::lock;

/// The longest line, in bytes with its newline (`VolSync`'s log filter cannot read 64 KiB).
pub const LINE_BYTES_MAX: usize = 60 * 1024;

/// Where lines go.
pub struct Sinks {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
}

impl Sinks {
    /// The process's own streams.
    #[must_use]
    pub fn standard() -> Arc<Self> {
        Self::new(Box::new(std::io::stdout()), Box::new(std::io::stderr()))
    }

    /// Any two writers.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Arc<Self> {
        Arc::new(Self { out: Mutex::new(out), err: Mutex::new(err) })
    }

    /// Two buffers, and the sinks that fill them.
    #[must_use]
    pub fn captured() -> (Arc<Self>, Buffer, Buffer) {
        let (out, err) = (Buffer::default(), Buffer::default());
        (Self::new(Box::new(out.clone()), Box::new(err.clone())), out, err)
    }

    /// One line to stdout.
    pub(super) fn out_line(&self, text: &str) {
        write_whole(&self.out, one_line(text).as_bytes());
    }

    /// One line to stderr.
    pub(super) fn err_line(&self, text: &str) {
        write_whole(&self.err, one_line(text).as_bytes());
    }

    /// A text of any number of lines to stdout, as it is.
    pub(super) fn out_text(&self, text: &str) {
        if !text.is_empty() {
            let newline = if text.ends_with('\n') { "" } else { "\n" };
            write_whole(&self.out, format!("{text}{newline}").as_bytes());
        }
    }

    /// Bytes to stdout, as they are.
    pub(super) fn out_bytes(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            write_whole(&self.out, bytes);
        }
    }
}

impl fmt::Debug for Sinks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sinks")
    }
}

/// A writer into memory; clones share what was written.
#[derive(Debug, Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// What was written so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The text without control characters: a name with a newline in it cannot forge a line.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// At most `bytes_max` bytes of the text, cut between two characters.
#[must_use]
pub fn clip(text: &str, bytes_max: usize) -> &str {
    text.split_at_checked(text.floor_char_boundary(bytes_max)).map_or(text, |(head, _)| head)
}

fn one_line(text: &str) -> String {
    let mut line = printable(text);
    line.truncate(clip(&line, LINE_BYTES_MAX - 1).len());
    line.push('\n');
    line
}

fn write_whole(stream: &Mutex<Box<dyn Write + Send>>, bytes: &[u8]) {
    let mut stream = lock(stream);
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pipe(Arc<Mutex<Vec<String>>>);

    impl Write for Pipe {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).push(String::from_utf8_lossy(data).into_owned());
            Ok(data.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            lock(&self.0).push("flush".into());
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_line_is_one_write_and_is_flushed_even_into_a_broken_pipe() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let sinks = Sinks::new(Box::new(Pipe(Arc::clone(&calls))), Box::new(std::io::sink()));
        sinks.out_line("one");
        sinks.out_text("");
        sinks.out_text("two\nthree");
        assert_eq!(*lock(&calls), ["one\n", "flush", "two\nthree\n", "flush"]);
    }

    #[test]
    fn no_name_makes_a_line_too_long_or_a_second_line() {
        let (sinks, out, err) = Sinks::captured();
        sinks.out_line(&"é".repeat(100_000));
        assert_eq!(out.text().len(), LINE_BYTES_MAX - 1); // the cut falls between two characters
        sinks.err_line("a\nFatal: b\u{1b}[1m\tc\u{85}");
        assert_eq!(err.text(), "a\\nFatal: b\\u{1b}[1m\\tc\\u{85}\n");
    }
}

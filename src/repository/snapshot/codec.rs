//! Snapshots to JSON and back: restic's fields in restic's order, absent where restic leaves them out.
//!
//! Unknown fields (rustic writes some) are passed over. Nothing panics on any bytes. Sealing is not done here.

use super::{Snapshot, SnapshotSummary};
use crate::repository::Id;
use crate::repository::json::{DecodeError, Reader, push_id, push_number, push_string, push_strings};
use crate::repository::time::NodeTime;
use crate::repository::tree::read_time;

impl Snapshot {
    /// The snapshot's file before it is sealed: JSON without a line feed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.push_fields(&mut out);
        out.push(b'}');
        out
    }

    /// Appends the object that `restic snapshots --json` prints: the snapshot, `id` and `short_id`.
    pub fn encode_listed(&self, id: &Id, out: &mut Vec<u8>) {
        self.push_fields(out);
        out.extend_from_slice(b",\"id\":");
        push_id(out, id);
        out.extend_from_slice(b",\"short_id\":");
        push_string(out, id.short().as_bytes());
        out.push(b'}');
    }

    /// Reads a snapshot's file.
    ///
    /// # Errors
    /// With the place of what is not JSON or not a snapshot: one needs a time and a tree.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        let mut snapshot = Self::default();
        let (mut time, mut tree) = (None, None);
        reader.object(|reader, field| {
            match field {
                b"time" => time = Some(read_time(reader)?),
                b"parent" => snapshot.parent = Some(reader.id()?),
                b"tree" => tree = Some(reader.id()?),
                b"paths" => snapshot.paths = read_texts(reader)?,
                b"hostname" => snapshot.hostname = reader.text()?.into_owned(),
                b"username" => snapshot.username = reader.text()?.into_owned(),
                b"uid" => snapshot.uid = reader.number32()?,
                b"gid" => snapshot.gid = reader.number32()?,
                b"excludes" => snapshot.excludes = read_texts(reader)?,
                b"tags" => snapshot.tags = read_texts(reader)?,
                b"original" => snapshot.original = Some(reader.id()?),
                b"program_version" => snapshot.program_version = reader.text()?.into_owned(),
                b"summary" => snapshot.summary = Some(read_summary(reader)?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        let (no_time, no_tree) =
            (reader.error("a snapshot has a time"), reader.error("a snapshot has a tree"));
        reader.finish()?;
        Ok(Self { time: time.ok_or(no_time)?, tree: tree.ok_or(no_tree)?, ..snapshot })
    }

    /// All but the closing brace.
    fn push_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{");
        push_time(out, b"\"time\":\"", self.time);
        push_id_if_some(out, b",\"parent\":", self.parent.as_ref());
        push_id_if_some(out, b",\"tree\":", Some(&self.tree));
        out.extend_from_slice(b",\"paths\":");
        push_strings(out, &self.paths);
        push_text_unless_empty(out, b",\"hostname\":", &self.hostname);
        push_text_unless_empty(out, b",\"username\":", &self.username);
        push_number_unless_zero(out, b",\"uid\":", self.uid);
        push_number_unless_zero(out, b",\"gid\":", self.gid);
        push_texts_unless_empty(out, b",\"excludes\":", &self.excludes);
        push_texts_unless_empty(out, b",\"tags\":", &self.tags);
        push_id_if_some(out, b",\"original\":", self.original.as_ref());
        push_text_unless_empty(out, b",\"program_version\":", &self.program_version);
        if let Some(summary) = &self.summary {
            out.extend_from_slice(b",\"summary\":{");
            push_time(out, b"\"backup_start\":\"", summary.backup_start);
            push_time(out, b",\"backup_end\":\"", summary.backup_end);
            for (name, number) in figures(summary) {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                push_number(out, number);
            }
            out.push(b'}');
        }
    }
}

/// The figures of a summary, by name and in order.
fn figures(summary: &SnapshotSummary) -> [(&'static str, u64); 12] {
    [
        ("files_new", summary.files_new),
        ("files_changed", summary.files_changed),
        ("files_unmodified", summary.files_unmodified),
        ("dirs_new", summary.dirs_new),
        ("dirs_changed", summary.dirs_changed),
        ("dirs_unmodified", summary.dirs_unmodified),
        ("data_blobs", summary.data_blobs),
        ("tree_blobs", summary.tree_blobs),
        ("data_added", summary.data_added),
        ("data_added_packed", summary.data_added_packed),
        ("total_files_processed", summary.total_files_processed),
        ("total_bytes_processed", summary.total_bytes_processed),
    ]
}

fn read_summary(reader: &mut Reader<'_>) -> Result<SnapshotSummary, DecodeError> {
    let mut summary = SnapshotSummary {
        backup_start: NodeTime::UNSET,
        backup_end: NodeTime::UNSET,
        ..SnapshotSummary::default()
    };
    reader.object(|reader, field| {
        match field {
            b"backup_start" => summary.backup_start = read_time(reader)?,
            b"backup_end" => summary.backup_end = read_time(reader)?,
            b"files_new" => summary.files_new = reader.number()?,
            b"files_changed" => summary.files_changed = reader.number()?,
            b"files_unmodified" => summary.files_unmodified = reader.number()?,
            b"dirs_new" => summary.dirs_new = reader.number()?,
            b"dirs_changed" => summary.dirs_changed = reader.number()?,
            b"dirs_unmodified" => summary.dirs_unmodified = reader.number()?,
            b"data_blobs" => summary.data_blobs = reader.number()?,
            b"tree_blobs" => summary.tree_blobs = reader.number()?,
            b"data_added" => summary.data_added = reader.number()?,
            b"data_added_packed" => summary.data_added_packed = reader.number()?,
            b"total_files_processed" => summary.total_files_processed = reader.number()?,
            b"total_bytes_processed" => summary.total_bytes_processed = reader.number()?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(summary)
}

fn read_texts(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let mut texts = Vec::new();
    reader.array(|reader| reader.text().map(|text| texts.push(text.into_owned())))?;
    Ok(texts)
}

fn push_time(out: &mut Vec<u8>, before: &[u8], time: NodeTime) {
    out.extend_from_slice(before);
    time.format_into(out);
    out.push(b'"');
}

fn push_id_if_some(out: &mut Vec<u8>, before: &[u8], id: Option<&Id>) {
    if let Some(id) = id {
        out.extend_from_slice(before);
        push_id(out, id);
    }
}

fn push_text_unless_empty(out: &mut Vec<u8>, before: &[u8], text: &str) {
    if !text.is_empty() {
        out.extend_from_slice(before);
        push_string(out, text.as_bytes());
    }
}

fn push_texts_unless_empty(out: &mut Vec<u8>, before: &[u8], texts: &[String]) {
    if !texts.is_empty() {
        out.extend_from_slice(before);
        push_strings(out, texts);
    }
}

fn push_number_unless_zero(out: &mut Vec<u8>, before: &[u8], number: u32) {
    if number != 0 {
        out.extend_from_slice(before);
        push_number(out, number.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const FULL: &[u8] = include_bytes!("../../../fixtures/json/snapshot.json");
    const SNAPSHOTS: [&[u8]; 5] = [
        FULL,
        include_bytes!("../../../fixtures/json/snapshot-kolkata.json"),
        include_bytes!("../../../fixtures/json/snapshot-parent.json"),
        include_bytes!("../../../fixtures/json/snapshot-0.14.json"),
        include_bytes!("../../../fixtures/json/snapshot-rewritten.json"),
    ];

    #[test]
    fn what_restic_wrote_is_written_alike() {
        for json in SNAPSHOTS {
            let snapshot = Snapshot::decode(json).unwrap();
            assert_eq!(String::from_utf8_lossy(&snapshot.encode()), String::from_utf8_lossy(json));
        }
    }

    #[test]
    fn every_field_is_read() {
        let full = Snapshot::decode(FULL).unwrap();
        assert_eq!((&*full.hostname, &*full.username, full.uid, full.gid), ("ho\"st<&>", "root", 0, 0));
        assert_eq!((full.tags.len(), &*full.tags[2], &*full.excludes[1]), (3, "th<r>ee", "caché"));
        assert_eq!(full.paths, ["/dev/shm/codec/nasty"]);
        let summary = full.summary.unwrap();
        assert_eq!((summary.files_new, summary.total_bytes_processed), (85, 4_194_353));
        assert_eq!(summary.backup_start, full.time);
        let [_, kolkata, parent, old, rewritten] = SNAPSHOTS.map(|json| Snapshot::decode(json).unwrap());
        assert_eq!(kolkata.time.offset_seconds, 19_800);
        assert!(parent.parent.is_some() && parent.uid == 1 && parent.gid == 1);
        assert!(old.summary.is_none() && old.program_version.is_empty());
        assert!(rewritten.original.is_some());
    }

    #[test]
    fn the_list_is_that_of_restic() {
        let listed = include_str!("../../../fixtures/json/snapshots-list.json");
        let id = listed.split("\"id\":\"").nth(1).unwrap()[..64].parse().unwrap();
        let mut out = b"[".to_vec();
        Snapshot::decode(FULL).unwrap().encode_listed(&id, &mut out);
        out.extend_from_slice(b"]\n");
        assert_eq!(String::from_utf8(out).unwrap(), listed);
    }

    #[test]
    fn absent_and_unknown_fields_are_no_errors_but_tree_and_time_are_needed() {
        let id = Id::of(b"tree");
        let time = "2024-01-01T00:00:00Z";
        let json = format!(
            r#" {{"label":"x","delete":{{"a":[1]}},"paths":null,"tree":"{id}","time":"{time}","parent":null,"summary":{{"total_duration":1.5}}}}"#
        );
        let snapshot = Snapshot::decode(json.as_bytes()).unwrap();
        assert_eq!((snapshot.tree, snapshot.paths.len(), snapshot.parent), (id, 0, None));
        let again = format!(
            r#"{{"time":"{time}","tree":"{id}","paths":[],"summary":{{"backup_start":"0001-01-01T00:00:00Z""#
        );
        assert!(String::from_utf8(snapshot.encode()).unwrap().starts_with(&again));
        for (json, what) in [
            (format!(r#"{{"time":"{time}"}}"#), "a snapshot has a tree"),
            (format!(r#"{{"tree":"{id}"}}"#), "a snapshot has a time"),
            (format!(r#"{{"tree":"{id}","time":"{time}"}}]"#), "something follows the end"),
            (format!(r#"{{"tree":"{id}","time":7}}"#), "expected a string"),
        ] {
            assert_eq!(Snapshot::decode(json.as_bytes()).unwrap_err().what, what);
        }
    }

    #[test]
    fn damaged_json_never_panics() {
        let mut state = 0x0123_4567_89ab_cdef_u64;
        for round in 0..20_000 {
            let mut json = SNAPSHOTS[round % SNAPSHOTS.len()].to_vec();
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = (state >> 8) as usize % json.len();
            if round % 8 == 0 {
                json.truncate(at);
            } else {
                json[at] = (state >> 56) as u8;
            }
            if let Ok(snapshot) = Snapshot::decode(&json) {
                assert_eq!(Snapshot::decode(&snapshot.encode()).unwrap(), snapshot);
            }
        }
    }
}

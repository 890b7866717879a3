//! Kind and name → path inside the repository (restic design, "Repository Layout").

use super::FileType;

/// The path of a file below the repository's root, with `/` between components.
#[must_use]
pub fn path_of(kind: FileType, name: &str) -> String {
    match kind {
        FileType::Config => kind.folder().to_owned(),
        FileType::Pack => format!("{}/{}/{name}", kind.folder(), name.get(..2).unwrap_or("")),
        FileType::Key | FileType::Lock | FileType::Snapshot | FileType::Index | FileType::Probe => {
            format!("{}/{name}", kind.folder())
        }
    }
}

/// Whether `name` is the name of a whole file: 64 lower-case hex digits.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

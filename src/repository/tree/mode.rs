//! From the mode of `stat` to Go's `FileMode`, which nodes record, and back. Nothing here looks at a file.

use super::NodeKind;

/// The bits of `st_mode` that say what a file is.
const TYPE_MASK: u32 = 0o170_000;

/// Go's bits for setuid, setgid and sticky, each beside that of `st_mode`.
const SPECIAL: [(u32, u32); 3] = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];

/// Go's `FileMode` of an `st_mode`: permissions, setuid, setgid, sticky, and the type.
#[must_use]
pub fn go_mode(st_mode: u32) -> u32 {
    let kind = match NodeKind::from_st_mode(st_mode) {
        NodeKind::File => 0,
        NodeKind::Dir => 1 << 31,
        NodeKind::Symlink => 1 << 27,
        NodeKind::BlockDevice => 1 << 26,
        NodeKind::CharDevice => 1 << 26 | 1 << 21,
        NodeKind::Fifo => 1 << 25,
        NodeKind::Socket => 1 << 24,
        NodeKind::Irregular => 1 << 19,
    };
    let special = SPECIAL.iter().filter(|(_, unix)| st_mode & unix != 0).map(|(go, _)| go).sum::<u32>();
    kind | special | st_mode & 0o777
}

/// The twelve bits that `chmod` takes, of Go's `FileMode`: permissions, setuid, setgid, sticky.
#[must_use]
pub fn unix_mode(go_mode: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(go, _)| go_mode & go != 0).map(|(_, unix)| unix).sum::<u32>();
    special | go_mode & 0o777
}

impl NodeKind {
    /// What an `st_mode` says a file is.
    #[must_use]
    pub fn from_st_mode(st_mode: u32) -> Self {
        match st_mode & TYPE_MASK {
            0o100_000 => Self::File,
            0o040_000 => Self::Dir,
            0o120_000 => Self::Symlink,
            0o060_000 => Self::BlockDevice,
            0o020_000 => Self::CharDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => Self::Irregular,
        }
    }

    /// The word in a node's `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::BlockDevice => "dev",
            Self::CharDevice => "chardev",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Irregular => "irregular",
        }
    }

    /// The kind of a node's `type`; an unknown word is [`NodeKind::Irregular`].
    pub(super) fn from_word(word: &[u8]) -> Self {
        match word {
            b"file" => Self::File,
            b"dir" => Self::Dir,
            b"symlink" => Self::Symlink,
            b"dev" => Self::BlockDevice,
            b"chardev" => Self::CharDevice,
            b"fifo" => Self::Fifo,
            b"socket" => Self::Socket,
            _ => Self::Irregular,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of `st_mode` and what restic 0.19.1 recorded for it (`fixtures/json/kinds.json`).
    #[test]
    fn modes_are_those_of_restic() {
        for (st_mode, go, word) in [
            (0o107_777, 13_631_999, "file"),
            (0o060_640, 67_109_280, "dev"),
            (0o020_644, 69_206_436, "chardev"),
            (0o040_755, 2_147_484_141, "dir"),
            (0o042_775, 2_151_678_461, "dir"),
            (0o041_777, 2_148_532_735, "dir"),
            (0o010_644, 33_554_852, "fifo"),
            (0o120_777, 134_218_239, "symlink"),
            (0o102_755, 4_194_797, "file"),
            (0o104_755, 8_389_101, "file"),
            (0o101_644, 1_048_996, "file"),
            (0o100_000, 0, "file"),
            (0o140_755, 16_777_709, "socket"),
        ] {
            assert_eq!((go_mode(st_mode), unix_mode(go)), (go, st_mode & 0o7777), "{st_mode:o}");
            let kind = NodeKind::from_st_mode(st_mode);
            assert_eq!((kind.as_str(), NodeKind::from_word(word.as_bytes())), (word, kind));
        }
        for mode in 0..0o10_000 {
            assert_eq!(unix_mode(go_mode(0o040_000 | mode)), mode);
        }
        assert_eq!(NodeKind::from_st_mode(0), NodeKind::Irregular);
        assert_eq!(NodeKind::from_word(b"door"), NodeKind::Irregular);
    }
}

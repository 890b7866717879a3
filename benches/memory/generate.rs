//! What takes much memory when memory is not bounded: one very long file, and very many tiny ones.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Outcome;
use super::corpus::Noise;

/// A long file has data once in so many bytes, at most `DATA_BYTES_MAX` of it, and holes between.
const APART_BYTES: u64 = 64 << 20;
const DATA_BYTES_MIN: u64 = 64 << 10;
const DATA_BYTES_MAX: u64 = 1 << 20;
/// Files of a folder.
const FOLDER_FILES: u64 = 1000;

/// A file of so many bytes.
pub(super) fn long_file(folder: &Path, bytes: u64) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    let file = File::create(folder.join("long"))?;
    file.set_len(bytes)?;
    let mut noise = Noise(13);
    for start in (0..bytes).step_by(APART_BYTES as usize) {
        let length = DATA_BYTES_MIN + noise.next() % (DATA_BYTES_MAX - DATA_BYTES_MIN);
        let place = start + noise.next() % (APART_BYTES - DATA_BYTES_MAX);
        let data: Vec<u8> = (0..length / 8).flat_map(|_| noise.next().to_le_bytes()).collect();
        let kept = bytes.saturating_sub(place).min(length / 8 * 8);
        file.write_all_at(data.get(..kept as usize).unwrap_or_default(), place)?;
    }
    Ok(())
}

/// So many files, each with another content, in folders of a thousand.
pub(super) fn tiny_files(folder: &Path, files: u64) -> Outcome<()> {
    for start in (0..files).step_by(FOLDER_FILES as usize) {
        let inner = folder.join(format!("{:06}", start / FOLDER_FILES));
        fs::create_dir_all(&inner)?;
        for number in start..files.min(start + FOLDER_FILES) {
            fs::write(inner.join(format!("{number}.txt")), format!("file {number}\n"))?;
        }
    }
    Ok(())
}

//! The C library's allocator, told to give large buffers back.
//!
//! glibc maps buffers of their own from a size on that it raises whenever such a buffer is freed; soon a run's
//! buffers lie between small things, and what was freed stays. With a size that is fixed a restore peaks at three
//! fifths (`benches/README.md`). glibc reads it from a variable, before `main`: so the program starts itself again
//! with the variable set, once. It stays the same process, with the same arguments.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::config::env::Values;
use crate::config::variables::GLIBC_TUNABLES;

const SETTING: &str = "glibc.malloc.mmap_threshold=1048576";

/// Starts the program again unless the allocator was told something. Where that cannot be, the run goes on as it
/// is, with more memory.
pub fn settle(environment: &Values, arguments: impl IntoIterator<Item = OsString>) {
    if !cfg!(target_env = "gnu") || environment.contains_key(GLIBC_TUNABLES.name) {
        return;
    }
    let mut arguments = arguments.into_iter();
    let (Ok(program), Some(called)) = (std::env::current_exe(), arguments.next()) else { return };
    let mut again = Command::new(program);
    again.arg0(called).args(arguments).env(GLIBC_TUNABLES.name, SETTING);
    let _not_started = again.exec();
}

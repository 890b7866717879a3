//! `RESTIC_PASSWORD=… cheap_key REPOSITORY…`: makes local repositories quick to open, and worthless to
//! protect. `fixtures/make.sh` runs it on what restic made.
#![allow(clippy::print_stdout, reason = "a program that talks to its caller")]

use std::error::Error;
use std::path::Path;

mod swap;

fn main() -> Result<(), Box<dyn Error>> {
    let password = std::env::var("RESTIC_PASSWORD")?;
    for repository in std::env::args_os().skip(1) {
        let repository = Path::new(&repository);
        let replaced = swap::replace_keys(repository, password.as_bytes())?;
        if replaced == 0 {
            return Err(format!("{}: no key opens with this password", repository.display()).into());
        }
        println!("{}: {replaced} keys replaced", repository.display());
    }
    Ok(())
}

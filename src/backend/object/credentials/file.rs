//! The shared credentials file: profiles in square brackets, `key = value` below them.

use std::io::ErrorKind;
use std::path::Path;

use zeroize::Zeroizing;

use super::super::failure::Failure;
use super::super::options::StaticKeys;
use super::denied;

/// The keys of `profile` (`default` when none is named). None if there is no such file or profile and
/// none was named; a named profile that is missing, and one with half a key, are errors.
pub(super) fn read(path: &Path, profile: Option<&str>) -> Result<Option<StaticKeys>, Failure> {
    let place = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound && profile.is_none() => return Ok(None),
        Err(error) => return Err(denied(format!("cannot read the credentials file {place}: {error}"))),
    };
    let name = profile.unwrap_or("default");
    match (keys_of(&text, name), profile) {
        (Some(keys), _) if keys.access_key_id.is_empty() || keys.secret_access_key.is_empty() => Err(denied(
            format!("profile {name} in {place} has no aws_access_key_id with aws_secret_access_key"),
        )),
        (None, Some(name)) => Err(denied(format!("no profile {name} in the credentials file {place}"))),
        (keys, _) => Ok(keys),
    }
}

fn keys_of(text: &str, profile: &str) -> Option<StaticKeys> {
    let secret = || Zeroizing::new(String::new());
    let mut keys = StaticKeys { access_key_id: secret(), secret_access_key: secret(), session_token: None };
    let mut inside = false;
    let mut found = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let section = section.trim();
            inside = section.strip_prefix("profile ").unwrap_or(section).trim() == profile;
            found |= inside;
        } else if let Some((key, value)) =
            line.split_once('=').filter(|_| inside && !line.starts_with(['#', ';']))
        {
            let value = Zeroizing::new(value.trim().to_owned());
            match key.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => keys.access_key_id = value,
                "aws_secret_access_key" => keys.secret_access_key = value,
                "aws_session_token" => keys.session_token = Some(value),
                _ => {}
            }
        }
    }
    found.then_some(keys)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_profile_is_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let text = "# aws_access_key_id = no\n[default]\naws_access_key_id=A\naws_secret_access_key = s=1\n\n\
                    [ other ]\nAWS_ACCESS_KEY_ID = B\naws_secret_access_key = t\naws_session_token = u\nregion = x\n\
                    [half]\naws_access_key_id = C\n";
        std::fs::write(&path, text).unwrap();
        let keys = read(&path, None).unwrap().unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.as_str()), ("A", "s=1"));
        assert!(keys.session_token.is_none());
        let keys = read(&path, Some("other")).unwrap().unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.session_token.unwrap().as_str()), ("B", "u"));
        assert!(read(&path, Some("half")).err().unwrap().cause.contains("profile half"));
        assert!(read(&path, Some("nobody")).err().unwrap().cause.contains("no profile nobody"));
        assert!(read(&folder.path().join("none"), None).unwrap().is_none());
        assert!(read(&folder.path().join("none"), Some("x")).is_err());
    }
}

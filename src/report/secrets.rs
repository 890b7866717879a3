//! What nobody may read, and how it is taken out of a text.
//!
//! Passwords and keys are blotted out wherever they stand. The id of an access key is no secret to S3, but it is
//! half of a login: it is blotted out too, except where it is a part of what the store itself is called. An id
//! `minio` would else make `minio.minio.svc` unreadable in every failure, and a host that nobody can read is no
//! cause. Texts of fewer than four bytes are left alone, since every other word would be blotted.

use zeroize::Zeroizing;

const BYTES_MIN: usize = 4;
const BLOT: &str = "***";

/// Texts that nothing may hold which leaves the program.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Passwords and keys.
    pub texts: Vec<Zeroizing<String>>,
    /// Ids of access keys.
    pub ids: Vec<Zeroizing<String>>,
    /// What the store is called, none of it a secret: its URL, its host with the port. Parts of it may look
    /// like an id.
    pub names: Vec<String>,
}

impl Secrets {
    /// Passwords and keys alone.
    #[must_use]
    pub fn of(texts: impl Iterator<Item = Zeroizing<String>>) -> Self {
        Self { texts: texts.collect(), ..Self::default() }
    }

    /// The text without any of them.
    #[must_use]
    pub fn blot(&self, mut text: String) -> String {
        for secret in self.texts.iter().filter(|secret| secret.len() >= BYTES_MIN) {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), BLOT);
            }
        }
        for id in self.ids.iter().filter(|id| id.len() >= BYTES_MIN) {
            if text.contains(id.as_str()) {
                text = self.without(&text, id);
            }
        }
        text
    }

    /// The text without an id, but for where that is a part of a name, and not all of it.
    fn without(&self, text: &str, id: &str) -> String {
        let longer = self.names.iter().filter(|name| name.len() > id.len());
        let named: Vec<(usize, usize)> = longer
            .flat_map(|name| text.match_indices(name.as_str()))
            .map(|(start, name)| (start, start + name.len()))
            .collect();
        let mut blotted = String::with_capacity(text.len());
        let mut done = 0;
        for (start, id) in text.match_indices(id) {
            let end = start + id.len();
            if !named.iter().any(|(from, to)| *from <= start && end <= *to) {
                blotted.push_str(text.get(done..start).unwrap_or_default());
                blotted.push_str(BLOT);
                done = end;
            }
        }
        blotted + text.get(done..).unwrap_or_default()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(texts: &[&str], ids: &[&str], names: &[&str]) -> Secrets {
        let hidden = |texts: &[&str]| texts.iter().map(|text| Zeroizing::new((*text).to_owned())).collect();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Secrets { texts: hidden(texts), ids: hidden(ids), names }
    }

    #[track_caller]
    fn assert_blotted(secrets: &Secrets, text: &str, expected: &str) {
        assert_eq!(secrets.blot(text.to_owned()), expected);
    }

    #[test]
    fn passwords_go_wherever_they_stand() {
        let secrets = secrets(&["geheim", "abc"], &[], &["geheim.example"]);
        assert_blotted(&secrets, "geheim, at geheim.example: abc", "***, at ***.example: abc");
    }

    #[test]
    fn an_id_goes_unless_it_is_a_part_of_what_the_store_is_called() {
        let names =
            ["s3:http://minio.minio.svc:9000/minio-backups", "minio.minio.svc", "minio.minio.svc:9000"];
        let secrets = secrets(&["geheim"], &["minio"], &names);
        for kept in
            ["no such host: minio.minio.svc", "s3:http://minio.minio.svc:9000/minio-backups/config: x"]
        {
            assert_blotted(&secrets, kept, kept);
        }
        let told = "minio.minio.svc says: minio (minio-backups, xminiox) is unknown, minio";
        assert_blotted(&secrets, told, "minio.minio.svc says: *** (***-backups, x***x) is unknown, ***");
        assert_blotted(&secrets, "minio.geheim.svc", "***.***.svc");
    }

    #[test]
    fn an_id_that_is_the_whole_name_goes_unless_its_place_shows_what_it_is() {
        let secrets = secrets(&[], &["minio"], &["minio", "minio:9000", "http://minio:9000"]);
        assert_blotted(&secrets, "key minio at minio:9000", "key *** at minio:9000");
        assert_blotted(&secrets, "an id ü minio ü", "an id ü *** ü");
    }
}

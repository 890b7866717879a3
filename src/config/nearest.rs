//! The name that somebody may have meant: smallest edit distance, if it is small enough to help.

/// The candidate nearest to `name`; none when even that one is another word.
pub(super) fn of<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance_max = 1 + name.chars().count() / 3;
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= distance_max)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements that turn `from` into `to` (Levenshtein), a row at a time.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut next = vec![line + 1];
        for ((right, above), diagonal) in to.iter().zip(row.iter().skip(1)).zip(&row) {
            let before = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(left != *right)).min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, edits) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), edits, "{from} {to}");
        }
    }

    #[test]
    fn only_near_names_help() {
        let names = ["HOST", "PATH", "EXCLUDE"];
        assert_eq!(of("HOSTS", names), Some("HOST"));
        assert_eq!(of("EXLUCDE", names), Some("EXCLUDE"));
        assert_eq!(of("METRICS", names), None);
        assert_eq!(of("X", []), None);
    }
}

//! One component against one part with wildcards, as Go's `path.Match` does it.
//!
//! `*` any characters, `?` one character, `[a-z]` or `[^a-z]` one of a set, `\` takes the next character as it
//! is. A character is a UTF-8 sequence, or a single byte where there is none: names need not be UTF-8.

/// Whether a part can be read: brackets are closed and not empty, and no backslash stands at the end.
pub(super) fn is_sound(glob: &[u8]) -> bool {
    let mut rest = glob;
    while !rest.is_empty() {
        match one(rest, None) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

/// Whether all of `text` matches. A part that is not sound matches nothing.
pub(super) fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut glob, mut text) = (glob, text);
    // Where to go on after the last `*` when a later part fails: the star takes one character more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = glob {
            glob = after;
            retry = Some((after, text));
            continue;
        }
        let step = match (glob.is_empty(), text.is_empty()) {
            (true, true) => return true,
            (false, false) => {
                let (character, text_after) = character(text);
                one(glob, Some(character)).filter(|(fits, _)| *fits).map(|(_, after)| (after, text_after))
            }
            _ => None,
        };
        if let Some(next) = step {
            (glob, text) = next;
            continue;
        }
        let Some((after, from)) = retry.filter(|(_, from)| !from.is_empty()) else { return false };
        let (_, longer) = character(from);
        (glob, text) = (after, longer);
        retry = Some((after, longer));
    }
}

/// Reads one element of the part (not a star's run) and says whether `character` fits it; `None`: malformed.
fn one(glob: &[u8], character_wanted: Option<u32>) -> Option<(bool, &[u8])> {
    match glob {
        [b'*' | b'?', after @ ..] => Some((true, after)),
        [b'[', after @ ..] => set(after, character_wanted),
        _ => {
            let (literal, after) = escaped(glob)?;
            Some((character_wanted == Some(literal), after))
        }
    }
}

fn set(glob: &[u8], wanted: Option<u32>) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match glob {
        [b'^', after @ ..] => (true, after),
        _ => (false, glob),
    };
    let mut found = false;
    let mut ranges = 0;
    loop {
        if let ([b']', after @ ..], true) = (rest, ranges > 0) {
            return Some((found != negated, after));
        }
        let (low, after) = bound(rest)?;
        let (high, after) = match after {
            [b'-', after @ ..] => bound(after)?,
            _ => (low, after),
        };
        found |= wanted.is_some_and(|wanted| (low..=high).contains(&wanted));
        ranges += 1;
        rest = after;
    }
}

/// One end of a range inside brackets; something must follow it.
fn bound(glob: &[u8]) -> Option<(u32, &[u8])> {
    if matches!(glob, [] | [b'-' | b']', ..]) {
        return None;
    }
    escaped(glob).filter(|(_, after)| !after.is_empty())
}

fn escaped(glob: &[u8]) -> Option<(u32, &[u8])> {
    let text = match glob {
        [b'\\', after @ ..] => after,
        _ => glob,
    };
    (!text.is_empty()).then(|| character(text))
}

/// The first character; a byte that begins no UTF-8 sequence is U+FFFD and one byte long, as in Go.
fn character(text: &[u8]) -> (u32, &[u8]) {
    let Some((&first, after)) = text.split_first() else { return (0, text) };
    if first < 0x80 {
        return (u32::from(first), after);
    }
    for length in 2..=4 {
        let Some((sequence, after)) = text.split_at_checked(length) else { break };
        if let Some(character) = std::str::from_utf8(sequence).ok().and_then(|text| text.chars().next()) {
            return (u32::from(character), after);
        }
    }
    (0xfffd, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_matches_as_go_does() {
        // The table of Go's path/match_test.go, without slashes.
        for (glob, text, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
        ] {
            assert_eq!(matches(glob.as_bytes(), text.as_bytes()), expected, "{glob} {text}");
        }
        assert!(matches(b"a?b", b"a\xffb"));
    }

    #[test]
    fn it_knows_what_is_malformed() {
        for bad in ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "a[b"] {
            assert!(!is_sound(bad.as_bytes()), "{bad}");
        }
        for good in ["", "a", "*", "[a]", "[^a-z]x", "a\\]", "]"] {
            assert!(is_sound(good.as_bytes()), "{good}");
        }
    }
}

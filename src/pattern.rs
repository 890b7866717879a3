//! restic's patterns: which paths an exclude or include list means (`internal/filter` of restic, behaviour of 0.19).
//!
//! A pattern is cut at slashes. It matches a path when its parts match a run of the path's components: at the
//! root when it begins with `/`, anywhere else; what lies below a match matches too. `**` stands for any number
//! of components, `*` `?` `[…]` stay inside one. The last pattern that says something wins: `!` takes back.
//! Pure: nothing here looks at a file, and a malformed pattern is an error when it is read, never later.

mod glob;

/// Text with wildcards, matched as a whole: `*` is any run of characters, slashes too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Reads it; `*` any characters, `?` one, `[a-z]` one of a set, `\\` takes the next as it is.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if glob::is_sound(text.as_bytes()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadPattern(text.to_owned()))
        }
    }

    /// Whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        glob::matches(self.0.as_bytes(), text.as_bytes())
    }

    /// The text that was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A list of patterns, read once.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    list: Vec<Pattern>,
    fold_case: bool,
    negates: bool,
}

/// What a list says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Match {
    /// The path is meant.
    pub matched: bool,
    /// Something below the path may be meant. Only false lets a walk leave a directory out.
    pub child_may_match: bool,
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a pattern: a bracket or a backslash has no end")]
pub struct BadPattern(pub String);

#[derive(Debug, Clone)]
struct Pattern {
    parts: Vec<Part>,
    negated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// The leading `/` of an absolute pattern.
    Root,
    /// `**`
    AnyDepth,
    /// Exactly these bytes.
    Literal(Vec<u8>),
    /// A part with `*`, `?`, `[…]` or `\`.
    Glob(Vec<u8>),
}

/// The first component of an absolute path.
const ROOT: &[u8] = b"/";

impl Patterns {
    /// Reads one pattern a line; empty lines are passed over. With `fold_case`, upper and lower case are one.
    pub fn parse<S: AsRef<str>>(lines: &[S], fold_case: bool) -> Result<Self, BadPattern> {
        let lines = lines.iter().map(AsRef::as_ref).filter(|line| !line.is_empty());
        let patterns: Vec<Pattern> =
            lines.map(|line| Pattern::parse(line, fold_case)).collect::<Result<_, _>>()?;
        let negates = patterns.iter().any(|pattern| pattern.negated);
        Ok(Self { list: patterns, fold_case, negates })
    }

    /// Whether there is no pattern at all; then nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What the list says of `path`, raw bytes with `/` between components; a path that begins with `/` is absolute.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> Match {
        if self.list.is_empty() || path.is_empty() {
            return Match::default();
        }
        let folded;
        let path = if self.fold_case {
            folded = String::from_utf8_lossy(path).to_lowercase().into_bytes();
            folded.as_slice()
        } else {
            path
        };
        self.matches_components(&components(path))
    }

    fn matches_components(&self, path: &[&[u8]]) -> Match {
        let mut said = Match::default();
        for pattern in &self.list {
            let matched = matches_parts(&pattern.parts, path);
            if pattern.negated {
                said.matched &= !matched;
                said.child_may_match &= !matched;
                continue;
            }
            said.matched |= matched;
            said.child_may_match |= pattern.child_may_match(path);
            if said.matched && said.child_may_match && !self.negates {
                break;
            }
        }
        said
    }
}

impl Pattern {
    fn parse(line: &str, fold_case: bool) -> Result<Self, BadPattern> {
        let (negated, text) = match line.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let text = if fold_case { text.to_lowercase() } else { text.to_owned() };
        let cleaned = clean(text.as_bytes());
        let parts: Vec<Part> = components(&cleaned).into_iter().map(Part::of).collect();
        let sound = parts.iter().all(|part| !matches!(part, Part::Glob(glob) if !glob::is_sound(glob)));
        if sound { Ok(Self { parts, negated }) } else { Err(BadPattern(line.to_owned())) }
    }

    /// Whether something below `path` may match: always for a relative pattern, else as far as both reach.
    fn child_may_match(&self, path: &[&[u8]]) -> bool {
        if self.parts.first() != Some(&Part::Root) {
            return true;
        }
        let path = match any_depth(&self.parts) {
            Some(position) => path.get(..position).unwrap_or(path),
            None => path,
        };
        let parts = self.parts.get(..path.len()).unwrap_or(&self.parts);
        matches_parts(parts, path)
    }
}

impl Part {
    fn of(text: &[u8]) -> Self {
        match text {
            ROOT => Self::Root,
            b"**" => Self::AnyDepth,
            _ if text.iter().any(|byte| b"\\[]*?".contains(byte)) => Self::Glob(text.to_vec()),
            _ => Self::Literal(text.to_vec()),
        }
    }

    fn matches(&self, component: &[u8]) -> bool {
        match self {
            Self::Root => component == ROOT,
            Self::Literal(text) => text == component,
            Self::Glob(glob) => glob::matches(glob, component),
            // Only ever asked of parts without `**`.
            Self::AnyDepth => false,
        }
    }
}

fn any_depth(parts: &[Part]) -> Option<usize> {
    parts.iter().position(|part| *part == Part::AnyDepth)
}

/// `**` is tried as no component, one, two and so on, the first of several first.
fn matches_parts(parts: &[Part], path: &[&[u8]]) -> bool {
    let Some(position) = any_depth(parts) else { return matches_run(parts, path) };
    let (before, rest) = parts.split_at_checked(position).unwrap_or_default();
    let after = rest.get(1..).unwrap_or_default();
    let most = (path.len() + 1).saturating_sub(parts.len());
    if path.len() + 1 < parts.len() {
        return false;
    }
    let mut expanded = Vec::with_capacity(before.len() + most + after.len());
    (0..=most).any(|count| {
        expanded.clear();
        expanded.extend_from_slice(before);
        expanded.extend(std::iter::repeat_n(Part::Glob(b"*".to_vec()), count));
        expanded.extend_from_slice(after);
        matches_parts(&expanded, path)
    })
}

/// Whether the parts match some run of components: the first ones for an absolute pattern.
fn matches_run(parts: &[Part], path: &[&[u8]]) -> bool {
    if parts.is_empty() {
        return path.is_empty();
    }
    if parts.len() > path.len() {
        return false;
    }
    if parts.first() == Some(&Part::Root) {
        return matches_here(parts, path);
    }
    let skip = usize::from(path.first() == Some(&ROOT));
    path.windows(parts.len()).skip(skip).any(|run| matches_here(parts, run))
}

fn matches_here(parts: &[Part], path: &[&[u8]]) -> bool {
    parts.iter().zip(path).rev().all(|(part, component)| part.matches(component))
}

/// Cuts at slashes; an absolute path has `/` as its first component.
fn components(path: &[u8]) -> Vec<&[u8]> {
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    if let Some(first) = parts.first_mut().filter(|first| first.is_empty()) {
        *first = ROOT;
    }
    // Go cuts `/` into two empty strings, of which the first becomes the root and the second stays.
    parts
}

/// Go's `filepath.Clean`: no doubled slashes, no `.`, `..` resolved where it can be.
fn clean(path: &[u8]) -> Vec<u8> {
    let absolute = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match kept.last() {
                Some(last) if *last != b".." => {
                    kept.pop();
                }
                _ if absolute => {}
                _ => kept.push(part),
            },
            _ => kept.push(part),
        }
    }
    let joined = kept.join(&b'/');
    match (absolute, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn says(patterns: &[&str], path: &str) -> (bool, bool) {
        let said = Patterns::parse(patterns, false).unwrap().matches(path.as_bytes());
        (said.matched, said.child_may_match)
    }

    fn matched(pattern: &str, path: &str) -> bool {
        says(&[pattern], path).0
    }

    #[test]
    fn relative_patterns_match_anywhere_and_what_is_below() {
        for (pattern, path, expected) in [
            ("*.go", "/foo/bar/test.go", true),
            ("*.c", "/foo/bar/test.go", false),
            ("foo", "/foo", true),
            ("foo", "/user/foo/bar", true),
            ("foo/bar", "/user/foo/bar/baz", true),
            ("foo/bar", "/user/foo/x/bar", false),
            ("bar/*", "/foo/bar/baz", true),
            ("bar/*", "/foo/bar", false),
            ("fo?", "/x/foo", true),
            ("fo?", "/x/fo", false),
            ("f[ao]o", "/x/fao", true),
            ("f[^a]o", "/x/fao", false),
            ("foo/", "/x/foo", true),
            ("./foo", "/x/foo", true),
            ("../foo", "/x/foo", false),
            ("*", "/x", true),
            ("f\\*", "/f*", true),
            ("f\\*", "/fo", false),
        ] {
            assert_eq!(matched(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn absolute_patterns_match_at_the_root_only() {
        for (pattern, path, expected) in [
            ("/foo", "/foo", true),
            ("/foo", "/foo/bar", true),
            ("/foo", "/x/foo", false),
            ("/*", "/foo", true),
            ("/*/bar", "/foo/bar/baz", true),
            ("/foo/*/bar", "/foo/bar", false),
            ("/foo", "foo", false),
        ] {
            assert_eq!(matched(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn double_star_spans_directories() {
        for (pattern, path, expected) in [
            ("/foo/**/bar", "/foo/bar", true),
            ("/foo/**/bar", "/foo/a/bar", true),
            ("/foo/**/bar", "/foo/a/b/bar/c", true),
            ("/foo/**/bar", "/x/foo/bar", false),
            ("foo/**/bar/**/x", "/foo/bar/x", true),
            ("foo/**/bar/**/x", "/y/foo/bar/one/two/x/a", true),
            ("**/bar", "/a/b/bar", true),
            ("/**", "/a", true),
            ("foo/**", "/foo/a", true),
            ("/home/user/**/important*", "/home/user/a/b/important.txt", true),
            ("**", "/a/b", true),
        ] {
            assert_eq!(matched(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn children_may_match_as_far_as_an_absolute_pattern_reaches() {
        for (pattern, path, expected) in [
            ("*.txt", "/a", true),
            ("/a/b/c", "/a", true),
            ("/a/b/c", "/a/b", true),
            ("/a/b/c", "/a/x", false),
            ("/a/b/c", "/x", false),
            ("/a/**/c", "/a/x/y", true),
            ("/a/**/c", "/x", false),
            ("/a/*/c", "/a/x", true),
            ("/a", "/a/b/c", true),
        ] {
            assert_eq!(says(&[pattern], path).1, expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_later_negation_takes_back() {
        let patterns = ["/home/**", "!/home/user", "!*.keep"];
        assert_eq!(says(&patterns, "/home/other/x"), (true, true));
        assert_eq!(says(&patterns, "/home/user/x"), (false, false));
        assert_eq!(says(&patterns, "/home/other/x.keep"), (false, false));
        assert_eq!(says(&["!foo", "foo"], "/foo"), (true, true));
    }

    #[test]
    fn case_is_folded_when_asked_for() {
        let patterns = Patterns::parse(&["*.JPG", "/Über"], true).unwrap();
        assert!(patterns.matches(b"/a/b.jpg").matched);
        assert!(patterns.matches("/üBER/x".as_bytes()).matched);
        assert!(!Patterns::parse(&["*.JPG"], false).unwrap().matches(b"/a/b.jpg").matched);
    }

    #[test]
    fn malformed_patterns_are_errors_and_empty_ones_nothing() {
        for bad in ["[a", "a/[]/b", "x\\", "[]a]", "!/foo/[", "[-x]"] {
            assert_eq!(Patterns::parse(&[bad], false).unwrap_err(), BadPattern(bad.to_owned()));
        }
        let none = Patterns::parse(&["", ""], false).unwrap();
        assert!(none.is_empty());
        assert_eq!(none.matches(b"/x"), Match::default());
    }
}

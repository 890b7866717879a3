//! The little XML that S3 and STS answer with, as a flat list of leaves.
//!
//! Answers are small (lists go through opendal), so they are read whole. What does not parse is an error.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::Event;

/// One element without children.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// A number of its own for each parent element, so that siblings can be told from cousins.
    pub(super) parent: usize,
    /// The local name.
    pub(super) name: String,
    /// The text inside.
    pub(super) text: String,
}

/// An answer taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    /// The local name of the outermost element.
    pub(super) root: String,
    /// All leaves in document order.
    pub(super) leaves: Vec<Leaf>,
}

impl Document {
    /// The text of the first leaf of that name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.leaves.iter().find(|leaf| leaf.name == name).map(|leaf| leaf.text.as_str())
    }
}

/// Takes an answer apart; none if it is not one whole XML document.
pub(super) fn parse(body: &[u8]) -> Option<Document> {
    let body = std::str::from_utf8(body).ok()?;
    let mut reader = Reader::from_str(body);
    let mut document = Document::default();
    let mut open: Vec<usize> = Vec::new();
    let mut elements = 0_usize;
    let mut text = String::new();
    let mut is_leaf = false;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if open.is_empty() {
                    start.local_name().as_ref().clone_into(&mut document.root);
                }
                elements += 1;
                open.push(elements);
                text.clear();
                is_leaf = true;
            }
            Event::Empty(empty) if open.is_empty() => {
                empty.local_name().as_ref().clone_into(&mut document.root);
                return Some(document);
            }
            Event::Text(part) => text.push_str(&part.xml10_content()),
            Event::CData(part) => text.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) => text.push(resolve(&reference)?),
            Event::End(end) => {
                open.pop()?;
                if is_leaf {
                    let parent = open.last().copied().unwrap_or(0);
                    let name = end.local_name().as_ref().to_owned();
                    document.leaves.push(Leaf { parent, name, text: text.trim().to_owned() });
                }
                is_leaf = false;
                if open.is_empty() {
                    return Some(document);
                }
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// `text` with the characters escaped that XML gives a meaning.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    quick_xml::escape::escape(text)
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character);
    }
    match reference.xml10_content().as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn leaves_keep_text_and_family() {
        let document = parse(
            b"<?xml version=\"1.0\"?>\n<D xmlns=\"x\"><E><K>a&amp;b</K><C> Busy </C></E><E><K>&#99;</K></E></D>",
        )
        .unwrap();
        assert_eq!(document.root, "D");
        let flat: Vec<_> = document
            .leaves
            .iter()
            .map(|leaf| (leaf.parent, leaf.name.as_str(), leaf.text.as_str()))
            .collect();
        assert_eq!(flat, [(2, "K", "a&b"), (2, "C", "Busy"), (5, "K", "c")]);
        assert_eq!(parse(b"<Location/>").unwrap().root, "Location");
        assert_eq!(parse(b"<L>eu-1</L>").unwrap().text("L"), Some("eu-1"));
    }

    #[test]
    fn half_a_document_is_none() {
        assert_eq!(parse(b"<D><K>a</K>"), None);
        assert_eq!(parse(b"no xml"), None);
        assert_eq!(parse(b""), None);
        assert_eq!(escape("a<b&\"c"), "a&lt;b&amp;&quot;c");
    }
}

//! HTML out of which no text can break: markup is the program's own, everything else is escaped.
//!
//! `markup` takes what is written in this program's source alone (`&'static str`), and every other way in
//! escapes. So a name in a repository is text whatever it holds: it opens no element, ends no attribute, and
//! characters that would hide or turn what stands around them are shown as their numbers.

/// A page in the making.
#[derive(Debug, Default)]
pub struct Html(String);

impl Html {
    /// Markup of this program.
    pub fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text between elements.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                hidden if misleads(hidden) => self.0.extend(hidden.escape_unicode()),
                other => self.0.push(other),
            }
        }
        self
    }

    /// A start tag with attributes.
    pub fn open(&mut self, tag: &'static str, attributes: &[(&'static str, &str)]) -> &mut Self {
        self.markup("<").markup(tag).attributes(attributes).markup(">")
    }

    /// Attributes, each with a blank before it.
    pub fn attributes(&mut self, attributes: &[(&'static str, &str)]) -> &mut Self {
        for (name, value) in attributes {
            self.markup(" ").markup(name).markup("=\"").text(value).markup("\"");
        }
        self
    }

    /// An end tag.
    pub fn close(&mut self, tag: &'static str) -> &mut Self {
        self.markup("</").markup(tag).markup(">")
    }

    /// An element that holds text.
    pub fn element(
        &mut self,
        tag: &'static str,
        attributes: &[(&'static str, &str)],
        text: &str,
    ) -> &mut Self {
        self.open(tag, attributes).text(text).close(tag)
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

/// Whether a character ends a line, turns the direction of what follows, or cannot be seen.
fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let mut html = Html::default();
        html.element("p", &[("title", "\"><script>'&")], "</p><script>alert(1)</script>&amp;'\"");
        assert_eq!(
            html.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">&lt;/p&gt;&lt;script&gt;alert(1)\
             &lt;/script&gt;&amp;amp;&#39;&quot;</p>"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        let mut html = Html::default();
        html.text("a\u{202e}b\u{0}\n\u{2066}é\u{200b}\u{fffd}");
        assert_eq!(html.finish(), "a\\u{202e}b\\u{0}\\u{a}\\u{2066}é\\u{200b}\u{fffd}");
    }
}

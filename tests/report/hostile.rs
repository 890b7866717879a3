//! Names out of a repository are text on the page, whatever they hold.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use volmover::repository::snapshot::Snapshot;

use crate::browser::Browser;
use crate::call::Repo;
use crate::made::{page, report};
use crate::support::scratch;

/// Folders, as one may be called.
const NAMES: [&[u8]; 9] = [
    b"<script>document.title='owned'<\xff",
    b"\"><img src=x onerror=document.title='owned'>",
    b"'onmouseover='document.title=1' x='",
    b"<style><!-- <svg onload=alert(1)>",
    b"&lt;b&gt;&amp;&#60;i&#62;",
    "a\u{202e}txt.exe\u{2066}".as_bytes(),
    b"line\nbreak\x07\x1b[31m",
    b"]]><b>bold",
    b"javascript:alert(1)",
];

fn repository() -> Repo {
    let repo = Repo::new();
    let source = scratch();
    for name in NAMES {
        let folder = source.path().join(OsStr::from_bytes(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), name.repeat(200)).unwrap();
    }
    fs::create_dir_all(source.path().join("d".repeat(250)).join("e".repeat(250))).unwrap();
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let (_, first) = repo.mover().repository.snapshots().unwrap().remove(0);
    for (number, text) in
        ["<script>alert(1)</script>", "\"><b>", "</td></table></section><h1>"].iter().enumerate()
    {
        let mut snapshot = Snapshot { hostname: (*text).to_owned(), ..first.clone() };
        snapshot.paths = vec![format!("/{text}"), format!("/{}", "<i>".repeat(2000))];
        snapshot.tags = vec![(*text).to_owned()];
        snapshot.time.seconds -= number as i64;
        crate::made::write(&repo.mover(), snapshot);
    }
    repo
}

#[test]
fn no_name_is_markup() {
    let repo = repository();
    let page = page(&repo, &[("FORGET_OPTIONS", "--keep-last 1 --keep-tag <script>alert(1)</script>")]);
    // Every tag is one that the program writes.
    for tag in page.split('<').skip(1) {
        let name = tag.trim_start_matches('/').split(['>', ' ', '\n']).next().unwrap();
        let known = [
            "!DOCTYPE", "a", "b", "bdi", "body", "code", "data", "dd", "defs", "details", "div", "dl", "dt",
            "figure", "footer", "h1", "h2", "h3", "h4", "head", "header", "html", "li", "main", "meta", "p",
            "path", "pattern", "rect", "section", "span", "style", "summary", "svg", "table", "tbody", "td",
            "th", "thead", "time", "title", "tr", "ul",
        ];
        assert!(known.contains(&name), "<{tag}");
    }
    assert!(page.contains("&lt;script&gt;") && page.contains("a\\u{202e}txt.exe"), "the names are shown");
    assert!(!page.contains('\u{202e}') && !page.contains('\u{7}'));
    assert!(page.len() < 200_000, "{} bytes", page.len());
    let told = report(&repo, &[]);
    assert_eq!(told["identities"].as_array().unwrap().len(), 4);
}

#[test]
fn a_browser_makes_no_element_of_a_name() {
    let Some(mut browser) = Browser::start() else { return };
    let page = page(&repository(), &[]);
    browser.open(&page);
    for (expression, expected) in [
        ("document.title.startsWith('Repository report: ')", "true"),
        ("document.querySelectorAll('script,img,iframe,object,i,link').length", "0"),
        ("document.querySelectorAll('h1').length", "1"),
        ("[...document.querySelectorAll('b')].every(b => b.parentNode.matches('.advice li'))", "true"),
        (
            "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => /^on|^style$/.test(a.name)).length",
            "0",
        ),
        (
            "[...document.querySelectorAll('[href]')].every(a => a.getAttribute('href').startsWith('#identity-'))",
            "true",
        ),
        ("document.body.innerText.includes(\"<script>document.title='owned'<\")", "true"),
    ] {
        assert_eq!(browser.evaluate(expression).to_string(), expected, "{expression}");
    }
    browser.assert_quiet();
}

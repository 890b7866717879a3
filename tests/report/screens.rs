//! The page on a telephone and on a wide screen, light and dark, and on paper.
//!
//! The pictures land in the build's folder for tests (`target/tmp/report`), to be looked at.

use std::fs;
use std::path::Path;

use crate::browser::Browser;
use crate::call::Repo;
use crate::made::{fleet, page};
use crate::support::scratch;

fn policy(repo: &Repo) -> String {
    let place = scratch();
    let file = place.path().join("policy");
    fs::write(&file, "*.databases * --keep-hourly 24 --keep-daily 7\n* * --keep-daily 14 --keep-weekly 8 --keep-monthly 6\n")
        .unwrap();
    page(repo, &[("MOVER_POLICY_FILE", file.to_str().unwrap())])
}

#[test]
fn on_every_screen_it_fits_and_asks_for_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let page = policy(&fleet());
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&pictures).unwrap();
    let mut grounds = Vec::new();
    for width in [375, 768, 1440] {
        for scheme in ["light", "dark"] {
            browser.look(width, scheme, "screen");
            browser.open(&page);
            let inner = browser.evaluate("innerWidth").as_u64().unwrap();
            assert_eq!(inner, u64::from(width));
            let scrolled = browser.evaluate("document.documentElement.scrollWidth").as_u64().unwrap();
            assert!(scrolled <= inner, "{scheme}, {width}: {scrolled}");
            // Nothing is cut off at the edge either.
            let out = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 && e.checkVisibility()).map(e => e.outerHTML.slice(0, 80)).join('\\n')";
            assert_eq!(browser.evaluate(out), "", "{scheme}, {width}");
            assert_eq!(browser.evaluate("document.querySelectorAll('.identity').length"), 5);
            grounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
            assert_readable(&mut browser, &format!("{scheme}, {width}"));
            browser.assert_quiet();
            fs::write(pictures.join(format!("{width}-{scheme}.png")), browser.picture()).unwrap();
        }
    }
    assert_ne!(grounds[0], grounds[1], "dark is another ground");
    // The style sheet is the one that the page's policy names: without it nothing of this would hold.
    assert_eq!(browser.evaluate("getComputedStyle(document.querySelector('.advice')).listStyleType"), "none");
}

/// Text stands out from its ground as WCAG 2 asks for: 4.5 to 1.
#[track_caller]
fn assert_readable(browser: &mut Browser, place: &str) {
    let faint = "(() => {
        const parts = text => text.match(/[\\d.]+/g).map(Number);
        const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = e => { for (; e; e = e.parentElement) {
            const c = parts(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } };
        const faint = new Set();
        for (const e of document.querySelectorAll('main *')) {
            if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
            const [a, b] = [light(parts(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
            if ((a + 0.05) / (b + 0.05) < 4.5) faint.add(e.tagName + '.' + e.className + ' ' + ((a + 0.05) / (b + 0.05)).toFixed(2));
        }
        return [...faint].join(', ');
    })()";
    assert_eq!(browser.evaluate(faint), "", "{place}");
}

/// On paper all is light, and what is folded on a screen is open.
#[test]
fn on_paper_nothing_is_folded() {
    let Some(mut browser) = Browser::start() else { return };
    browser.look(800, "dark", "print");
    browser.open(&policy(&fleet()));
    assert_eq!(browser.evaluate("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
    let heights =
        "[...document.querySelectorAll('details table')].map(t => t.getBoundingClientRect().height)";
    let all_open = format!("{heights}.length == 5 && {heights}.every(h => h > 40)");
    assert_eq!(browser.evaluate(&all_open), true);
    let paper = browser.ask("Page.printToPDF", serde_json::json!({}));
    assert!(paper["data"].as_str().unwrap().len() > 20_000);
}

//! Random lists and random policies: restic 0.19 and volmover decide alike and print alike.
//!
//! A failure prints its seed; `FORGET_SEED=<seed>` runs that list alone.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::fmt::Write;
use volmover::repository::snapshot::Snapshot;

use super::lists::{List, snapshot};
use super::support::restic::Restic;
use super::support::scaled;

/// Lists at scale 1, and policies on each.
const LISTS: usize = 20;
const POLICIES: usize = 3;

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "America/St_Johns",
    "Africa/Casablanca",
];

const DAY: i64 = 86_400;

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn within(&mut self, range: std::ops::Range<i64>) -> i64 {
        range.start + self.roll((range.end - range.start) as u64) as i64
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    fn one_of<'a, T: ?Sized>(&mut self, things: &[&'a T]) -> &'a T {
        things[self.roll(things.len() as u64) as usize]
    }

    fn some_of(&mut self, words: &[&str]) -> Vec<String> {
        let mut some = Vec::new();
        while !self.once_in(3) {
            some.push(self.one_of(words).to_owned());
        }
        some
    }
}

/// A list: runs of steps with gaps, turns of the clock, ends of months, same seconds, the future.
fn list(dice: &mut Dice, now: i64) -> Vec<Snapshot> {
    let zones: Vec<TimeZone> =
        (0..=dice.roll(3)).map(|_| TimeZone::get(dice.one_of(&ZONES)).unwrap()).collect();
    let step = [600, 3600, 3 * 3600, DAY, 5 * DAY, 20 * DAY, 150 * DAY][dice.roll(7) as usize];
    // 2024-03-31 01:00 and 2024-10-27 01:00 in UTC: the clocks of Europe turn.
    let mut time =
        [now, now + 40 * DAY, 1_711_846_800, 1_729_990_800, dice.within(0..now)][dice.roll(5) as usize];
    let hosts = &["a", "b", "host c"][..=dice.roll(3) as usize];
    let mut list = Vec::new();
    let mut used = std::collections::BTreeSet::new();
    for _ in 0..=dice.roll(70) {
        // What is the future for the program that runs first must not be the past for the next.
        if (now - 1..now + 600).contains(&time) {
            time = now - 2;
        }
        let nanoseconds = dice.roll(4) as u32 * 250_000_000 + dice.roll(2) as u32;
        let zone = &zones[dice.roll(zones.len() as u64) as usize];
        let mut made = snapshot(time, nanoseconds, zone);
        dice.one_of(hosts).clone_into(&mut made.hostname);
        made.tags = dice.some_of(&["a", "b", "c", "partial"]);
        made.paths = match dice.roll(6) {
            0 => vec!["/y".to_owned(), "/x".to_owned()],
            1 => vec!["/x".to_owned(), "/y".to_owned()],
            2 => vec!["/x".to_owned()],
            _ => vec!["/data".to_owned()],
        };
        if dice.once_in(20) {
            made.summary = None;
        }
        // Of two at the very same instant restic keeps now the one, now the other.
        if used.insert((time, nanoseconds)) {
            list.push(made);
        }
        time -= match dice.roll(12) {
            0 => 0,
            1 => dice.within(0..400 * DAY),
            2 => {
                // On to the last day of a month, where months are counted back in odd ways.
                let day = Timestamp::from_second(time).unwrap().to_zoned(zone.clone());
                let last = day.first_of_month().unwrap().timestamp().as_second() - DAY;
                (time - last).max(0)
            }
            _ => dice.within(step / 2..step * 3 / 2),
        };
    }
    list
}

fn duration(dice: &mut Dice) -> String {
    let mut text = String::new();
    for (unit, most) in [("y", 3), ("m", 15), ("d", 40), ("h", 50)] {
        if dice.once_in(2) {
            write!(text, "{}{unit}", dice.roll(most)).unwrap();
        }
    }
    if text.is_empty() { "1d".to_owned() } else { text }
}

fn policy(dice: &mut Dice) -> String {
    let mut words = vec!["-n".to_owned()];
    for period in ["last", "hourly", "daily", "weekly", "monthly", "yearly"] {
        if dice.once_in(4) {
            let count = dice.roll(9);
            let count = if dice.once_in(8) { "unlimited".to_owned() } else { count.to_string() };
            words.push(format!("--keep-{period}={count}"));
        }
        if period != "last" && dice.once_in(7) {
            words.push(format!("--keep-within-{period}={}", duration(dice)));
        }
    }
    if dice.once_in(4) {
        words.push(format!("--keep-within={}", duration(dice)));
    }
    if dice.once_in(5) {
        words.push(format!("--keep-tag={}", dice.one_of(&["a", "b", "a,b", "", "c,partial", "none"])));
    }
    if dice.once_in(2) {
        words.push("--keep-last=1".to_owned());
    }
    if dice.once_in(2) {
        let group = dice.one_of(&["", "host", "paths", "tags", "host,tags", "host,paths,tags"]);
        words.push(format!("--group-by={group}"));
    }
    for (option, values) in
        [("host", ["a", "b"]), ("tag", ["a", ""]), ("path", ["/data", "/x"]), ("tag", ["a,b", "partial"])]
    {
        if dice.once_in(8) {
            words.push(format!("--{option}={}", dice.one_of(&values)));
        }
    }
    if dice.once_in(4) {
        words.push("--compact".to_owned());
    }
    words.join(" ")
}

/// Groups in an order of their own: restic's changes from run to run.
fn groups(json: &str) -> Vec<Value> {
    if json.trim().is_empty() {
        return Vec::new();
    }
    let mut groups: Vec<Value> = serde_json::from_str(json).unwrap();
    groups.sort_by_key(|group| [&group["host"], &group["paths"], &group["tags"]].map(Value::to_string));
    groups
}

/// The first line, and the tables in an order of their own.
fn paragraphs(text: &str) -> Vec<&str> {
    let (first, rest) = text.split_once('\n').unwrap();
    let mut paragraphs: Vec<&str> = rest.split("\n\n").collect();
    paragraphs.sort_unstable();
    paragraphs.insert(0, first);
    paragraphs
}

/// What differs, without what never does.
fn shown(part: &Value) -> String {
    let Some(list) = part.as_array() else { return part.to_string() };
    let line = |item: &Value| {
        let snapshot = if item["snapshot"].is_null() { item } else { &item["snapshot"] };
        let parts = ["short_id", "time", "tags", "paths"].map(|part| snapshot[part].to_string());
        format!("{} {}", parts.join(" "), item["matches"])
    };
    list.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Restic and volmover on one list with one policy; false where both refuse.
fn compare(list: &List, restic: &Restic, zone: &TimeZone, options: &str, place: &str) -> bool {
    let words: Vec<&str> = options.split(' ').collect();
    let run = |more: &[&str]| restic.run(&[&["forget", "--no-lock"], more, &words].concat());
    let now = Timestamp::now();
    let json = run(&["--json"]);
    let errors = String::from_utf8_lossy(&json.stderr).into_owned();
    let ours = match list.printed(options, zone, now) {
        Ok(ours) => ours,
        Err(error) => {
            let line = "refusing to delete last snapshot of snapshot group";
            assert!(error.to_string().starts_with(line), "{place}: {error}");
            assert!(
                errors.contains(line) && json.status.code() == Some(1),
                "{place}: we refuse: {error}\n{errors}"
            );
            return false;
        }
    };
    assert!(json.status.success(), "{place}: restic refuses: {errors}");
    let theirs = String::from_utf8(json.stdout).unwrap();
    let (our_groups, their_groups) = (groups(&ours.0), groups(&theirs));
    assert_eq!(our_groups.len(), their_groups.len(), "{place}");
    for (our, their) in our_groups.iter().zip(&their_groups) {
        for part in ["tags", "host", "paths", "reasons", "keep", "remove"] {
            assert!(
                our[part] == their[part],
                "{place}\n{part} of {} {} {}\nours:\n{}\nrestic:\n{}",
                our["host"],
                our["paths"],
                our["tags"],
                shown(&our[part]),
                shown(&their[part])
            );
        }
    }
    if our_groups.len() == 1 {
        assert_eq!(ours.0, theirs.trim_end(), "{place}");
    }
    let text = String::from_utf8(run(&[]).stdout).unwrap();
    let (our_text, their_text) = (paragraphs(&ours.1), paragraphs(&text));
    for (our, their) in our_text.iter().zip(&their_text) {
        assert!(our == their, "{place}\nours:\n{our}\nrestic:\n{their}");
    }
    assert_eq!(our_text.len(), their_text.len(), "{place}");
    true
}

#[test]
fn any_policy_on_any_list() {
    let Some(_) = Restic::at("restic-0.19", "") else { return };
    let first = std::env::var("FORGET_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = if let Some(seed) = first {
        seed..seed + 1
    } else {
        let seed = Timestamp::now().as_second() as u64 * 1000;
        seed..seed + scaled(LISTS) as u64
    };
    println!("seeds {seeds:?}");
    let place = List::new();
    let (mut compared, mut refused) = (0, 0);
    for seed in seeds {
        let mut dice = Dice(seed);
        place.clear();
        for snapshot in list(&mut dice, Timestamp::now().as_second()) {
            place.write(&snapshot);
        }
        let name = dice.one_of(&ZONES);
        let restic = Restic::on("restic-0.19", place.path()).unwrap().in_zone(name);
        let zone = TimeZone::get(name).unwrap();
        for number in 0..POLICIES {
            let options = policy(&mut dice);
            let Ok(parsed) = volmover::forget::options::ForgetOptions::parse(&options, "FORGET_OPTIONS")
            else {
                let words: Vec<&str> = options.split(' ').collect();
                let error = restic.run(&[&["forget", "--no-lock"], &words[..]].concat());
                assert!(
                    String::from_utf8_lossy(&error.stderr).contains("no policy was specified"),
                    "{options}"
                );
                continue;
            };
            assert!(parsed.dry_run);
            let place_of = format!("FORGET_SEED={seed} {name} policy {number}: {options}");
            if compare(&place, &restic, &zone, &options, &place_of) { compared += 1 } else { refused += 1 }
        }
    }
    println!("{compared} alike, {refused} refused by both");
    assert!(first.is_some() || compared > refused, "{compared} {refused}");
}

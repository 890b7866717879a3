//! The examples of restic's manual ("Removing snapshots according to a policy"), and cases that took thought.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::lists::{List, at};
use super::support::restic::Restic;

/// The days that are kept of snapshots at noon of these days.
fn kept(list: &List, options: &str) -> Vec<String> {
    let (json, _) = list.printed(options, &TimeZone::UTC, Timestamp::now()).unwrap();
    let groups: Value = serde_json::from_str(&json).unwrap();
    let keep = groups[0]["keep"].as_array().unwrap();
    let mut days: Vec<String> =
        keep.iter().map(|kept| kept["time"].as_str().unwrap()[..10].to_owned()).collect();
    days.reverse();
    days
}

fn sundays() -> List {
    let list = List::new();
    for day in
        ["2019-09-01", "2019-09-08", "2019-09-15", "2019-09-22", "2019-09-29", "2019-10-06", "2019-10-13"]
    {
        list.write(&at(&format!("{day}T11:00:00Z")));
    }
    for day in ["2019-10-20", "2019-10-27", "2019-11-03", "2019-11-10", "2019-11-17"] {
        list.write(&at(&format!("{day}T11:00:00Z")));
    }
    list
}

#[test]
fn a_backup_every_sunday() {
    let list = sundays();
    let last_four = ["2019-10-27", "2019-11-03", "2019-11-10", "2019-11-17"];
    assert_eq!(kept(&list, "--keep-daily 4"), last_four, "days without a snapshot do not count");
    assert_eq!(kept(&list, "--keep-weekly 4"), last_four);
    let months = ["2019-09-01", "2019-09-29", "2019-10-27", "2019-11-17"];
    assert_eq!(kept(&list, "--keep-monthly 12"), months, "the oldest stays while a counter is left");
    assert_eq!(kept(&list, "--keep-monthly 3"), months[1..]);
    assert_eq!(kept(&list, "--keep-last 1 --keep-yearly 2"), ["2019-09-01", "2019-11-17"]);
}

/// The documented policy for one backup a day over years: 7 days, 5 weeks, 12 months, 75 years.
#[test]
fn a_backup_every_day_for_years() {
    let Some(restic) = Restic::at("restic-0.19", "") else { return };
    drop(restic);
    let list = List::new();
    let first = "2014-01-01T23:10:00Z".parse::<Timestamp>().unwrap().as_second();
    for day in 0..1500 {
        let time = Timestamp::from_second(first + day * 86_400).unwrap();
        list.write(&at(&time.to_string()));
    }
    let options = "--keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly 75";
    same_as_restic(&list, options);
    same_as_restic(
        &list,
        "--keep-within 7d --keep-within-weekly 1m --keep-within-monthly 1y --keep-within-yearly 75y",
    );
    let days = kept(&list, options);
    assert_eq!(days.first().unwrap(), "2014-01-01");
    assert_eq!(days.last().unwrap(), "2018-02-08");
    assert_eq!(days.len(), 7 + 4 + 11 + 4, "{days:?}");
}

/// 31 March less a month is 3 March, and what is just as old is too old.
#[test]
fn months_are_normalised() {
    let list = List::new();
    for time in [
        "2023-03-31T12:00:00Z",
        "2023-03-03T12:00:00.000000001Z",
        "2023-03-03T12:00:00Z",
        "2023-02-28T12:00:01Z",
    ] {
        list.write(&at(time));
    }
    assert_eq!(kept(&list, "--keep-within 1m"), ["2023-03-03", "2023-03-31"]);
    same_as_restic(&list, "--keep-within 1m");
}

/// A snapshot from the future is kept, but nothing is counted back from it.
#[test]
fn the_future_is_not_the_newest() {
    let list = List::new();
    let now = Timestamp::now().as_second();
    for hours in [24 * 400, -1, -30, -24 * 20] {
        list.write(&at(&Timestamp::from_second(now + hours * 3600).unwrap().to_string()));
    }
    assert_eq!(kept(&list, "--keep-within 2d").len(), 3);
    same_as_restic(&list, "--keep-within 2d");
    list.clear();
    for hours in [24 * 400, 24 * 300] {
        list.write(&at(&Timestamp::from_second(now + hours * 3600).unwrap().to_string()));
    }
    same_as_restic(&list, "--keep-within 2d");
}

/// A durations so long that they overflow keep everything.
#[test]
fn within_ages_keeps_everything() {
    let list = sundays();
    for span in ["1000000000y", "9223372036854775807h", "400000y", "18446744073709551615d"] {
        assert_eq!(kept(&list, &format!("--keep-within {span}")).len(), 12, "{span}");
    }
}

#[track_caller]
fn same_as_restic(list: &List, options: &str) {
    let Some(restic) = Restic::on("restic-0.19", list.path()) else { return };
    let words: Vec<&str> = options.split(' ').collect();
    let ours = list.printed(options, &TimeZone::UTC, Timestamp::now()).unwrap();
    let run = |more: &[&str]| restic.ok(&[&["forget", "-n", "--no-lock"], more, &words].concat());
    assert_eq!(ours.0, run(&["--json"]).trim_end(), "{options}");
    assert_eq!(ours.1, run(&[]), "{options}");
}

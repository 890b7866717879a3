//! Charts over time: a line that adds up, and bars. Only the shapes are drawn; what they mean stands beside them
//! as text, which a narrow screen does not shrink.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::tz::TimeZone;

use super::{short_size, time};
use crate::report::html::Html;

/// Units of a drawing, both ways.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;
/// Steps of a line at most.
const STEPS: f64 = 400.0;
/// Bars at most, and at least, empty ones counted.
const BARS_MAX: i64 = 60;
const BARS_MIN: i64 = 20;
/// What a bar stands for, in seconds, and in words.
const UNITS: [(i64, &str); 5] = [
    (3600, "hour"),
    (86_400, "day"),
    (7 * 86_400, "week"),
    (30 * 86_400, "30 days"),
    (365 * 86_400, "365 days"),
];

/// How the sum of `values`, given in the order of time, grew.
pub(super) fn line(html: &mut Html, values: &[(i64, u64)], zone: &TimeZone) {
    let (Some((first, _)), Some((last, _))) = (values.first(), values.last()) else { return };
    let all: u64 = values.iter().map(|(_, value)| value).sum();
    let span = (last - first).max(1) as f64;
    let mut path = String::from("M0 100");
    let (mut sum, mut drawn) = (0, -1.0);
    for (place, (seconds, value)) in values.iter().enumerate() {
        sum += value;
        let step = ((seconds - first) as f64 / span * STEPS).round();
        // The last of all that fall upon one step counts for it.
        let next = values.get(place + 1).map(|(next, _)| ((next - first) as f64 / span * STEPS).round());
        if step > drawn && next != Some(step) {
            let (x, y) = (step / STEPS * WIDTH, HEIGHT - share(sum, all) * (HEIGHT - 2.0));
            // Writing to a `String` cannot fail.
            let _ = write!(path, "H{x:.1}V{y:.1}");
            drawn = step;
        }
    }
    path.push_str("H1000V100z");
    let label = format!("{} in all", short_size(all));
    drawing(html, "chart", &label, &path);
    scale(html, (*first, *last), zone);
}

/// `values` by hour, day, week or a longer time, whichever makes not too many bars.
pub(super) fn bars(html: &mut Html, values: &[(i64, u64)], zone: &TimeZone) {
    let (Some((first, _)), Some((last, _))) = (values.first(), values.last()) else { return };
    let few = |(seconds, _): &(i64, &str)| last.div_euclid(*seconds) - first.div_euclid(*seconds) < BARS_MAX;
    let (unit, word) = UNITS.into_iter().find(few).unwrap_or((365 * 86_400, "365 days"));
    let end = last.div_euclid(unit);
    // A single bar does not take the whole width: the time before it is shown too.
    let begin = first.div_euclid(unit).clamp(end - BARS_MAX + 1, end - BARS_MIN + 1);
    let mut sums: BTreeMap<i64, u64> = BTreeMap::new();
    for (seconds, value) in values.iter().filter(|(seconds, _)| seconds.div_euclid(unit) >= begin) {
        *sums.entry(seconds.div_euclid(unit) - begin).or_default() += value;
    }
    let most = sums.values().copied().max().unwrap_or(0);
    let width = WIDTH / (end - begin + 1) as f64;
    let mut path = String::new();
    for (place, sum) in sums.iter().filter(|(_, sum)| **sum > 0) {
        let height = (share(*sum, most) * HEIGHT).max(1.0);
        let (x, bar) = (*place as f64 * width, width * 0.8);
        let _ = write!(path, "M{x:.1} 100v-{height:.1}h{bar:.1}v{height:.1}z");
    }
    let label = format!("A bar for each {word}, {} at most", short_size(most));
    drawing(html, "chart low", &label, &path);
    scale(html, (begin * unit, *last), zone);
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn drawing(html: &mut Html, class: &str, label: &str, path: &str) {
    html.element("p", &[("class", "measure")], label);
    html.markup("<svg viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\" role=\"img\"");
    html.attributes(&[("class", class), ("aria-label", label)]).markup(">");
    html.open("path", &[("d", path)]).close("path").markup("</svg>");
}

/// What stands below a drawing: its beginning and its end.
fn scale(html: &mut Html, (first, last): (i64, i64), zone: &TimeZone) {
    html.markup("<div class=\"scale\">");
    time(html, first, zone);
    time(html, last, zone);
    html.markup("</div>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(chart: impl Fn(&mut Html)) -> String {
        let mut html = Html::default();
        chart(&mut html);
        html.finish()
    }

    #[test]
    fn a_line_ends_at_the_sum_of_all() {
        let values = [(0, 10), (50, 0), (100, 30)];
        let page = drawn(|html| line(html, &values, &TimeZone::UTC));
        assert!(page.contains("d=\"M0 100H0.0V75.5H500.0V75.5H1000.0V2.0H1000V100z\""), "{page}");
        assert!(page.contains(">40 B in all</p>"), "{page}");
        // However many there are, it has no more steps than can be seen.
        let many: Vec<(i64, u64)> = (0..100_000).map(|second| (second, 1)).collect();
        assert!(drawn(|html| line(html, &many, &TimeZone::UTC)).len() < 8000);
    }

    #[test]
    fn bars_are_of_the_shortest_time_that_leaves_few() {
        let day = 86_400;
        let values: Vec<(i64, u64)> = (0..300).map(|number| (number * day, 5)).collect();
        let page = drawn(|html| bars(html, &values, &TimeZone::UTC));
        assert!(
            page.contains("A bar for each week, 35 B at most") && page.matches('z').count() < 70,
            "{page}"
        );
        let one = drawn(|html| bars(html, &[(day, 7)], &TimeZone::UTC));
        assert!(one.contains("d=\"M950.0 100v-100.0h40.0v100.0z\""), "{one}");
        let ages = drawn(|html| bars(html, &[(-62_135_596_800, 1), (253_402_214_400, 1)], &TimeZone::UTC));
        assert!(ages.contains("365 days"), "{ages}");
    }
}

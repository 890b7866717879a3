//! Metrics pushed to a Pushgateway: a group for each operation of each object.
//!
//! POST replaces the families that are sent and leaves the others of the group, so a failed run does not
//! erase the time of the last success. The group is named in the path; values that a path cannot hold go as
//! base64, as the Pushgateway has it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::exposition;
use super::http::Http;
use super::metrics::{Group, Sample};

/// The name that everything is pushed under.
const JOB: &str = "volmover";

/// Pushes samples, group by group.
pub(super) fn push(http: &Http, url: &str, samples: &[Sample]) -> Result<(), String> {
    let mut groups: Vec<&Group> = Vec::new();
    for sample in samples {
        if !groups.contains(&&sample.group) {
            groups.push(&sample.group);
        }
    }
    let base = url.trim_end_matches('/');
    for group in groups {
        let place = format!("{base}/metrics/job/{JOB}{}", path(group));
        let text = exposition::of_group(samples, group);
        http.post(&place, &[("Content-Type", "text/plain; version=0.0.4")], text)?;
    }
    Ok(())
}

fn path(group: &Group) -> String {
    let plain = |value: &str| {
        !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
    };
    let part = |(name, value): &(&str, String)| {
        if plain(value) {
            return format!("/{name}/{value}");
        }
        // A lone equals sign is the empty value.
        let coded = if value.is_empty() { "=".to_owned() } else { URL_SAFE_NO_PAD.encode(value) };
        format!("/{name}@base64/{coded}")
    };
    group.0.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_fits_into_the_path() {
        let group = |name: &str, namespace: &str| {
            Group([
                ("obj_name", name.to_owned()),
                ("obj_namespace", namespace.to_owned()),
                ("role", "source".to_owned()),
                ("operation", "repair-index".to_owned()),
            ])
        };
        let rest = "/role/source/operation/repair-index";
        assert_eq!(path(&group("app", "ns.1")), format!("/obj_name/app/obj_namespace/ns.1{rest}"));
        assert_eq!(path(&group("a/b", "")), format!("/obj_name@base64/YS9i/obj_namespace@base64/={rest}"));
    }
}

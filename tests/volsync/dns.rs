//! Names are resolved in the image, which has no shared library and no `nsswitch.conf`.
//!
//! The container gets the `resolv.conf` that a pod gets. The server behind it knows one Service, by the whole name
//! that the search list makes of what the URL says.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use crate::job::{Job, Security, open_folder, volume_of};
use crate::minio::Minio;
use crate::scenarios::{saved_listing, volume};
use crate::support::listing::{assert_same, list};
use crate::support::{is_root, skipped};
use crate::way::image;

const SERVICE: &str = "minio.storage.svc.cluster.local";

/// A name server at an address of this machine's own; it answers until the test ends, and notes what was asked.
fn name_server(address: Ipv4Addr) -> Arc<Mutex<Vec<String>>> {
    let socket = UdpSocket::bind((address, 53)).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let (name, answer) = answer(&query[..length]);
            notes.lock().unwrap().push(name);
            let _ = socket.send_to(&answer, from);
        }
    });
    asked
}

/// The name that is asked for, and the answer: 127.0.0.1 for the service, nothing for its other record types,
/// NXDOMAIN for every other name.
fn answer(query: &[u8]) -> (String, Vec<u8>) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
        at = end;
    }
    let (name, kind) = (labels.join("."), &query[at + 1..at + 3]);
    let known = name.eq_ignore_ascii_case(SERVICE);
    let has_address = known && kind == [0, 1];
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend(&query[12..at + 5]);
    if has_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    (name, answer)
}

#[test]
fn a_service_is_found_by_its_short_name() {
    if image().is_none() || !is_root() {
        return skipped("names: a container with a name server of its own needs an engine and root");
    }
    let Some(minio) = Minio::start(false) else { return };
    let server = Ipv4Addr::new(127, 53, 0, (std::process::id() % 250 + 1) as u8);
    let asked = name_server(server);
    let folder = open_folder();
    let resolv = folder.path().join("resolv.conf");
    let text = format!(
        "nameserver {server}\nsearch media.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    );
    std::fs::write(&resolv, text).unwrap();
    let place = minio.place("bucket/app").by_name("minio.storage");
    let volume = volume(Security::Default.user());
    let target = volume_of(Security::Default.user());
    for job in [Job::source("backup", volume.path()), Job::destination(target.path())] {
        job.on(&place).mount(&resolv, "/etc/resolv.conf").succeeds();
    }
    assert_same(&saved_listing(volume.path()), &list(target.path()), "the restored volume");
    let asked = asked.lock().unwrap();
    assert!(asked.iter().any(|name| name == "minio.storage.media.svc.cluster.local"), "{asked:?}");
    // A name that nobody knows is not a missing repository.
    let nowhere = minio.place("bucket/app").by_name("nobody.storage");
    let job = Job::destination(target.path()).on(&nowhere).mount(&resolv, "/etc/resolv.conf");
    let tail = job.fails(22);
    assert!(tail.contains("nobody.storage"), "{tail}");
}

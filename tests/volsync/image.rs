//! The image itself, where `VOLMOVER_IMAGE` names one: what is in it, how large it is, whom it runs as.

use crate::way::docker;

#[test]
fn the_image_is_one_static_program_and_a_link() {
    let Ok(image) = std::env::var("VOLMOVER_IMAGE") else {
        return crate::support::skipped("the image: VOLMOVER_IMAGE names none");
    };
    let size: u64 = docker(&["image", "inspect", "-f", "{{.Size}}", &image]).unwrap().parse().unwrap();
    assert!(size < 25_000_000, "{size} bytes");
    let of = |template: &str| docker(&["image", "inspect", "-f", template, &image]).unwrap();
    assert_eq!(of("{{.Config.User}}"), "65534:65534");
    assert_eq!(of("{{.Config.Entrypoint}}"), "[/usr/local/bin/volmover]");
    for (label, value) in [
        ("title", "volmover"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
    ] {
        let label = format!("org.opencontainers.image.{label}");
        assert_eq!(of(&format!("{{{{index .Config.Labels \"{label}\"}}}}")), value, "{label}");
    }
    let container = docker(&["create", &image]).unwrap();
    let files = std::process::Command::new("sh")
        .args(["-c", &format!("docker export {container} | tar -t")])
        .output()
        .unwrap();
    let inside = |text: &str| {
        let search =
            format!("docker export {container} | tar -xO usr/local/bin/volmover | grep -qaF '{text}'");
        std::process::Command::new("sh").args(["-c", &search]).status().unwrap().success()
    };
    // Authorities that sign for Amazon, Cloudflare and Let's Encrypt: the image has no file of them.
    for root in ["Amazon Root CA 1", "GTS Root R4", "ISRG Root X1"] {
        assert!(inside(root), "{root}");
    }
    assert!(!inside(env!("CARGO_MANIFEST_DIR")), "the program names the folder that it was built in");
    docker(&["rm", &container]).unwrap();
    let listed = String::from_utf8_lossy(&files.stdout).into_owned();
    // Docker itself puts folders and empty files into every container.
    let own = |line: &&str| {
        !line.ends_with('/') && !["dev/", "etc/", ".dockerenv"].iter().any(|head| line.starts_with(head))
    };
    assert_eq!(
        listed.lines().filter(own).collect::<Vec<_>>(),
        ["mover-restic/entry.sh", "usr/local/bin/volmover"]
    );
    let version = docker(&["run", "--rm", &image, "--version", "--verbose"]).unwrap();
    assert!(version.contains("\nlinked: static; debug assertions: off\n"), "{version}");
}

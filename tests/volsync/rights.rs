//! What a mover may do is decided by its capabilities, not by its user.

use std::fs;
use std::path::Path;

use crate::job::{Job, Mounted, Security, Store, volume_of};
use crate::scenarios::{KEEP, saved_listing, volume, volumes_can_be_given};
use crate::support::listing::{assert_same, list};
use crate::support::{is_root, skipped};

/// A backup by a privileged mover of a volume with files of several owners.
fn of_several_owners(place: &dyn Store) -> String {
    let volume = volume((1001, 2002));
    std::os::unix::fs::chown(volume.path().join("folder/large"), Some(3003), Some(4004)).unwrap();
    let job = Job::source("backup", volume.path()).on(place).security(Security::Privileged);
    job.with("FORGET_OPTIONS", KEEP).succeeds();
    saved_listing(volume.path())
}

#[test]
fn a_privileged_mover_restores_owners() {
    if !is_root() {
        return skipped("owners: only root can set them");
    }
    let place = Mounted::of(Security::Privileged);
    let expected = of_several_owners(&place);
    let target = volume_of((1001, 2002));
    let ran = Job::destination(target.path()).on(&place).security(Security::Privileged).run();
    assert!(ran.code == 0 && !ran.log.contains("Warning"), "{}", ran.log);
    assert_same(&expected, &list(target.path()), "the restored volume");
}

#[test]
fn others_restore_all_but_the_owners_and_say_so_once() {
    if !is_root() {
        return skipped("owners: only root can set them");
    }
    let place = Mounted::of(Security::Privileged);
    let expected = of_several_owners(&place);
    for security in [Security::User(0, 0), Security::Default, Security::User(1234, 5678)] {
        let target = volume_of(security.user());
        place.hand_over(security);
        let ran = Job::destination(target.path()).on(&place).security(security).run();
        assert_eq!(ran.code, 0, "{}", ran.log);
        assert_eq!(ran.log.matches("Warning: ").count(), 1, "{}", ran.log);
        assert!(ran.log.contains("CAP_CHOWN"), "{}", ran.log);
        let (uid, gid) = security.user();
        let owner = format!("{uid}:{gid}");
        let expected = expected.replace("1001:2002", &owner).replace("3003:4004", &owner);
        assert_same(&expected, &list(target.path()), &owner);
    }
}

#[test]
fn a_mover_that_is_called_privileged_and_is_not_says_so() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    let ran = Job::source("backup", volume.path()).on(&place).with("PRIVILEGED_MOVER", "1").run();
    assert_eq!(ran.code, 0, "{}", ran.log);
    let warning = "Warning: PRIVILEGED_MOVER is set, but this process lacks CHOWN, DAC_OVERRIDE, FOWNER: ";
    assert!(ran.log.contains(warning), "{}", ran.log);
}

#[test]
fn a_privileged_mover_reads_what_is_closed_to_others() {
    if !is_root() {
        return skipped("other owners: only root can make them");
    }
    let (place, volume) = (Mounted::of(Security::Privileged), volume((1001, 2002)));
    fs::set_permissions(
        volume.path().join("folder/deep"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let job = Job::source("backup", volume.path()).on(&place).with("FORGET_OPTIONS", KEEP);
    job.clone().security(Security::Privileged).succeeds();
    job.security(Security::User(0, 0)).fails(1);
}

/// An access list: its owner, user 1234, the group, the mask, others; tag, rights and id each.
const ACCESS_LIST: [(u16, u16, u32); 5] =
    [(1, 6, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];

#[test]
fn a_mover_restores_the_users_attributes_alone() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    let entries = ACCESS_LIST
        .map(|(tag, rights, id)| [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat());
    let list = [&2_u32.to_le_bytes()[..], &entries.concat()].concat();
    let name = "system.posix_acl_access";
    let text = volume.path().join("text");
    if rustix::fs::setxattr(&text, name, &list, rustix::fs::XattrFlags::empty()).is_err() {
        return skipped("access lists: this file system has none");
    }
    Job::source("backup", volume.path()).on(&place).succeeds();
    let has = |target: &Path, name: &str| {
        rustix::fs::getxattr(target.join("text"), name, &mut [0_u8; 256][..]).is_ok()
    };
    assert!(has(volume.path(), name));
    for (xattrs, expected) in [("", false), ("all", true)] {
        let target = volume_of(Security::Default.user());
        Job::destination(target.path()).on(&place).with("MOVER_XATTRS", xattrs).succeeds();
        assert!(has(target.path(), "user.comment"));
        assert_eq!(has(target.path(), name), expected, "MOVER_XATTRS={xattrs}");
    }
}

//! Who a user is, by the image's own `/etc/passwd` and `/etc/group`.

use std::io::Read;
use std::os::fd::BorrowedFd;

use base::place::Place;
use runtime::spec::HIGHEST_ID;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};

use crate::container::ContainerSpec;
use crate::error::{Error, Result};

/// Databases are read up to this size: an image must not fill the engine's memory.
const LONGEST: u64 = 4 << 20;

/// A process's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// The home directory; `/` where the user has none.
    pub(crate) home: String,
}

impl Identity {
    pub(crate) fn to_oci(&self) -> runtime::spec::User {
        runtime::spec::User {
            uid: self.uid,
            gid: self.gid,
            umask: None,
            additional_gids: self.groups.clone(),
        }
    }
}

/// Looks `user` (`name`, `uid`, either with `:group`; empty is root) and `groups` up in the root
/// file system `root`.
pub(crate) fn look_up(root: BorrowedFd<'_>, user: &str, groups: &[String]) -> Result<Identity> {
    identify(user, groups, &read(root, "etc/passwd"), &read(root, "etc/group"))
}

/// As [`look_up`], with the groups that `spec` asks for and, unless it wants those alone, that the root
/// file system says `user` is in.
pub(crate) fn look_up_for(root: BorrowedFd<'_>, user: &str, spec: &ContainerSpec) -> Result<Identity> {
    let (passwd, group) = (read(root, "etc/passwd"), read(root, "etc/group"));
    identify_in(user, &spec.groups, &passwd, &group, spec.strict_groups)
}

/// The thinking half: from the texts of both databases to an identity.
pub(crate) fn identify(user: &str, groups: &[String], passwd: &str, group: &str) -> Result<Identity> {
    identify_in(user, groups, passwd, group, false)
}

/// As [`identify`]; `strict` leaves out the groups that only the database says the user is in.
fn identify_in(user: &str, groups: &[String], passwd: &str, group: &str, strict: bool) -> Result<Identity> {
    let (user, group_name) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let uid = number(user)?;
    // A number is one, whatever the image calls its users: one of the name `1000` may be root.
    let entry = passwd.lines().filter_map(User::parse).find(|entry| match uid {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let entry = match (entry, uid) {
        (Some(entry), _) => entry,
        (None, Some(uid)) => User { name: "", uid, gid: 0, home: "/" },
        (None, None) => {
            return Err(Error::invalid(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    let all: Vec<Group<'_>> = group.lines().filter_map(Group::parse).collect();
    let find = |name: &str| -> Result<u32> {
        if let Some(gid) = number(name)? {
            return Ok(gid);
        }
        let found = all.iter().find(|group| group.name == name);
        found.map(|group| group.gid).ok_or_else(|| {
            Error::invalid(format!("unable to find group {name}: no matching entries in group file"))
        })
    };
    let mut identity =
        Identity { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: entry.home.to_owned() };
    if identity.home.is_empty() {
        identity.home = "/".to_owned();
    }
    match group_name {
        Some(name) => identity.gid = find(name)?,
        None if strict => {}
        // The databases say which further groups one is in, unless one was asked for.
        None => {
            let member = |group: &&Group<'_>| {
                !entry.name.is_empty() && group.members.split(',').any(|name| name == entry.name)
            };
            identity.groups.extend(all.iter().filter(member).map(|group| group.gid));
        }
    }
    for name in groups {
        identity.groups.push(find(name)?);
    }
    // The first group is among the further ones, or a program that changes it escapes what files
    // forbid to the group (CVE-2022-36109).
    identity.groups.push(identity.gid);
    identity.groups.sort_unstable();
    identity.groups.dedup();
    // The databases are the image's: what they say is no better than what is asked for.
    if identity.to_oci().is_in_range() { Ok(identity) } else { Err(out_of_range()) }
}

/// A user or group by number; `None` if it is a name.
fn number(text: &str) -> Result<Option<u32>> {
    match text.parse::<i64>() {
        Ok(number) => match u32::try_from(number) {
            Ok(number) if number <= HIGHEST_ID => Ok(Some(number)),
            _ => Err(out_of_range()),
        },
        Err(_) => Ok(None),
    }
}

fn out_of_range() -> Error {
    Error::invalid(format!("uids and gids must be in range 0-{HIGHEST_ID}"))
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or("/") })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or("") })
    }
}

/// A file of the root file system; empty where it cannot be read: many images have none.
fn read(root: BorrowedFd<'_>, path: &str) -> String {
    // Without the confinement a symbolic link in the image could show a file of the host.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened =
        openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
    let mut bytes = Vec::new();
    // Only a regular file: a device could have no end, or do something when it is opened.
    if let Ok(fd) = opened
        && let place = Place::of(fd)
        && place.kind().is_ok_and(|kind| kind == FileType::RegularFile)
        && let Ok(file) = place.read()
    {
        let _ = file.take(LONGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv/web:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nlogs:x:103:other,web\nbin:x:1:root,daemon\n";

    #[track_caller]
    fn check(user: &str, groups: &[&str], expected: &str) {
        let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        let text = match identify(user, &groups, PASSWD, GROUP) {
            Ok(Identity { uid, gid, groups, home }) => format!("{uid}:{gid} {groups:?} {home}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        check("", &[], "0:0 [0, 1] /root");
        check("web", &[], "101:102 [102, 103] /srv/web");
        check("101", &[], "101:102 [102, 103] /srv/web");
        check("web:logs", &[], "101:103 [103] /srv/web");
        check("web:7", &[], "101:7 [7] /srv/web");
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        check("4711", &[], "4711:0 [0] /");
        check("nobody", &[], "unable to find user nobody: no matching entries in passwd file");
        for user in ["4294967295", "2147483648", "-1", "web:4294967295", "0:-1"] {
            check(user, &[], "uids and gids must be in range 0-2147483647");
        }
        check("0", &["4294967295"], "uids and gids must be in range 0-2147483647");
        check("2147483647", &[], "2147483647:0 [0] /");
        check("web:nogroup", &[], "unable to find group nogroup: no matching entries in group file");
    }

    #[test]
    fn a_name_of_the_image_is_no_way_to_a_number_that_no_user_has() {
        let passwd = "evil:x:4294967295:0::/:/bin/sh\nother:x:5:4294967295::/:/bin/sh\n";
        for user in ["evil", "other"] {
            assert!(identify(user, &[], passwd, "").is_err(), "{user}");
        }
        assert!(identify("5:evil", &[], passwd, "evil:x:4294967295:\n").is_err());
    }

    #[test]
    fn a_number_is_no_name_whatever_the_image_calls_its_users() {
        let passwd = "1000:x:0:0::/:/bin/sh\nroot:x:0:0::/root:/bin/sh\n";
        let group = "1000:x:0:\n2000:x:0:\n";
        let found = identify("1000:1000", &["2000".to_owned()], passwd, group).expect("numbers");
        assert_eq!((found.uid, found.gid, found.groups), (1000, 1000, vec![1000, 2000]));
        assert_eq!(identify("1000", &[], passwd, group).expect("a number").uid, 1000);
    }

    #[test]
    fn what_the_database_says_of_groups_does_not_count_where_those_named_alone_do() {
        let groups = ["7".to_owned(), "bin".to_owned()];
        let strict = identify_in("web", &groups, PASSWD, GROUP, true).expect("an identity");
        assert_eq!((strict.gid, strict.groups), (102, vec![1, 7, 102]));
    }

    #[test]
    fn further_groups_are_added() {
        check("web", &["7", "root"], "101:102 [0, 7, 102, 103] /srv/web");
    }
}

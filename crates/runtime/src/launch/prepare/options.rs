//! Mount options as people write them, sorted by what they concern.
//!
//! Source: <https://github.com/opencontainers/runtime-spec/blob/v1.2.1/config.md#linux-mount-options>.

use crate::sys::mount::attr;

const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;
pub(super) const MS_REC: u64 = 1 << 14;

/// Mount options, sorted by what they concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MountOptions {
    /// A bind mount; `Some(true)` if what is mounted below the source comes along.
    pub(super) bind: Option<bool>,
    /// Attributes of the mount itself.
    pub(super) attributes: Attributes,
    /// Attributes of the mount and of all below it.
    pub(super) recursive: Attributes,
    /// Propagation flag, and whether it is for the mounts below too.
    pub(super) propagation: Option<(u64, bool)>,
    /// What is mounted there already is to be changed.
    pub(super) remount: bool,
    /// Filled with what was there before.
    pub(super) copy_up: bool,
    /// An idmapped mount; `Some(true)` with all below.
    pub(super) idmap: Option<bool>,
    /// For the file system: names with or without value.
    pub(super) rest: Vec<(String, Option<String>)>,
}

/// Attributes switched on and off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) set: u64,
    pub(super) clear: u64,
}

impl Attributes {
    fn put(&mut self, bit: u64, on: bool) {
        if on {
            self.set |= bit;
            self.clear &= !bit;
        } else {
            self.clear |= bit;
            self.set &= !bit;
        }
    }

    /// Access times are one field, not single bits.
    fn put_atime(&mut self, value: u64) {
        self.clear |= attr::ATIME;
        self.set = self.set & !attr::ATIME | value;
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl MountOptions {
    /// The attributes of a mount that has none below it: what is asked for a whole tree goes last, as
    /// where there is one.
    pub(super) fn alone(&self) -> Attributes {
        let (own, tree) = (self.attributes, self.recursive);
        Attributes { set: own.set & !tree.clear | tree.set, clear: own.clear & !tree.set | tree.clear }
    }
}

/// Sorts options; what is neither an attribute nor a propagation is for the file system.
pub(super) fn parse(options: &[String]) -> MountOptions {
    let mut parsed = MountOptions::default();
    for option in options {
        match option.as_str() {
            "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
            "rbind" => parsed.bind = Some(true),
            "tmpcopyup" => parsed.copy_up = true,
            "idmap" => parsed.idmap = Some(false),
            "ridmap" => parsed.idmap = Some(true),
            "remount" => parsed.remount = true,
            // As it is anyway, or a matter of the kernel's log.
            "defaults" | "silent" | "loud" | "async" | "nomand" | "noiversion" | "nolazytime" | "" => {}
            name => {
                if let Some(propagation) = propagation(name) {
                    parsed.propagation = Some(propagation);
                } else if !attribute(&mut parsed.attributes, name)
                    && !name.strip_prefix('r').is_some_and(|plain| attribute(&mut parsed.recursive, plain))
                {
                    parsed.rest.push(match name.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                        None => (name.to_owned(), None),
                    });
                }
            }
        }
    }
    parsed
}

/// A propagation by name: its flag, and whether it is recursive.
pub(super) fn propagation(name: &str) -> Option<(u64, bool)> {
    Some(match name {
        "private" => (MS_PRIVATE, false),
        "rprivate" => (MS_PRIVATE, true),
        "slave" => (MS_SLAVE, false),
        "rslave" => (MS_SLAVE, true),
        "shared" => (MS_SHARED, false),
        "rshared" => (MS_SHARED, true),
        "unbindable" => (MS_UNBINDABLE, false),
        "runbindable" => (MS_UNBINDABLE, true),
        _ => return None,
    })
}

/// The propagation that keeps the host's mounts coming in, but nothing going out.
pub(super) const SLAVE: u64 = MS_SLAVE;
pub(super) const PRIVATE: u64 = MS_PRIVATE;
pub(super) const SHARED: u64 = MS_SHARED;

fn attribute(attributes: &mut Attributes, name: &str) -> bool {
    match name {
        "ro" => attributes.put(attr::RDONLY, true),
        "rw" => attributes.put(attr::RDONLY, false),
        "nosuid" => attributes.put(attr::NOSUID, true),
        "suid" => attributes.put(attr::NOSUID, false),
        "nodev" => attributes.put(attr::NODEV, true),
        "dev" => attributes.put(attr::NODEV, false),
        "noexec" => attributes.put(attr::NOEXEC, true),
        "exec" => attributes.put(attr::NOEXEC, false),
        "nodiratime" => attributes.put(attr::NODIRATIME, true),
        "diratime" => attributes.put(attr::NODIRATIME, false),
        "nosymfollow" => attributes.put(attr::NOSYMFOLLOW, true),
        "symfollow" => attributes.put(attr::NOSYMFOLLOW, false),
        "noatime" => attributes.put_atime(attr::NOATIME),
        "strictatime" | "norelatime" => attributes.put_atime(attr::STRICTATIME),
        "relatime" | "atime" | "nostrictatime" => attributes.put_atime(0),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> MountOptions {
        parse(&text.split(',').map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_sorted_by_what_they_concern() {
        let parsed = parse_text("rbind,ro,nosuid,rprivate,rnoexec,size=64k,mode=755,newinstance");
        assert_eq!(parsed.bind, Some(true));
        assert_eq!(parsed.attributes.set, attr::RDONLY | attr::NOSUID);
        assert_eq!(parsed.recursive.set, attr::NOEXEC);
        assert_eq!(parsed.propagation, Some((MS_PRIVATE, true)));
        let rest: Vec<_> = parsed.rest.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        assert_eq!(rest, [("size", Some("64k")), ("mode", Some("755")), ("newinstance", None)]);
    }

    #[test]
    fn every_option_that_is_announced_is_understood() {
        // These are words of the file systems, which the kernel knows of all of them.
        const OF_FILE_SYSTEMS: [&str; 4] = ["dirsync", "lazytime", "mand", "sync"];
        for option in crate::features::MOUNT_OPTIONS {
            let parsed = parse_text(option);
            assert_eq!(parsed.rest.is_empty(), !OF_FILE_SYSTEMS.contains(&option), "{option}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_asked_for_a_whole_tree_holds_for_a_mount_alone() {
        let alone = |text| parse_text(text).alone();
        assert_eq!(alone("rro"), Attributes { set: attr::RDONLY, clear: 0 });
        assert_eq!(alone("rro,rw"), Attributes { set: attr::RDONLY, clear: 0 });
        assert_eq!(alone("ro,rrw"), Attributes { set: 0, clear: attr::RDONLY });
        assert_eq!(alone("noatime,rstrictatime").set, attr::STRICTATIME);
    }

    #[test]
    fn the_last_of_two_that_contradict_wins() {
        assert_eq!(parse_text("ro,rw").attributes, Attributes { set: 0, clear: attr::RDONLY });
        assert_eq!(parse_text("rw,ro").attributes, Attributes { set: attr::RDONLY, clear: 0 });
        assert_eq!(parse_text("noatime,strictatime").attributes.set, attr::STRICTATIME);
    }
}

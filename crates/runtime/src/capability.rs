//! Capabilities by name and as the kernel's bit sets.

use rustix::thread::CapabilitySet;

use crate::spec::Capabilities;

/// Names by number.
pub(crate) const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The five sets as the kernel's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapabilitySets {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) inheritable: u64,
    pub(crate) permitted: u64,
    pub(crate) ambient: u64,
    /// The highest capability that the kernel knows.
    pub(crate) last: u32,
}

/// A capability's bit.
pub(crate) fn bit(name: &str) -> Option<u64> {
    NAMES.iter().position(|&known| known == name).map(|number| 1 << number)
}

impl CapabilitySets {
    /// Translates names; those that this runtime or this kernel does not know, and those outside
    /// `available`, come back as the second value.
    pub(crate) fn from_spec(capabilities: &Capabilities, available: u64, last: u32) -> (Self, Vec<String>) {
        let known = u64::MAX >> (63 - last.min(63));
        let mut lacking: Vec<String> = Vec::new();
        let mut set = |names: &[String]| {
            let mut bits = 0;
            for name in names {
                match bit(name).filter(|bit| bit & known & available != 0) {
                    Some(bit) => bits |= bit,
                    None if lacking.contains(name) => {}
                    None => lacking.push(name.clone()),
                }
            }
            bits
        };
        let inheritable = set(&capabilities.inheritable);
        let permitted = set(&capabilities.permitted);
        let sets = Self {
            bounding: set(&capabilities.bounding),
            effective: set(&capabilities.effective),
            inheritable,
            permitted,
            // The kernel grants only what is in both (capabilities(7)). The rest is left out in
            // silence: the configuration that `runc spec` writes asks for it.
            ambient: set(&capabilities.ambient) & permitted & inheritable,
            last,
        };
        (sets, lacking)
    }

    /// The numbers of all capabilities that cannot be had again, those without a name included.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = u32> {
        let bounding = self.bounding;
        (0..=self.last).filter(move |number| bounding & 1 << number == 0)
    }
}

/// What this process itself may hand on.
pub(crate) fn available() -> u64 {
    let permitted = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    permitted & bounding
}

/// The highest capability that the kernel knows, which may be one that has no name here yet.
pub(crate) fn last() -> u32 {
    let known = |number: &u32| {
        let bit = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::capability_is_in_bounding_set(bit).is_ok()
    };
    (0..64).take_while(known).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_does_not_have_is_left_out_and_named() {
        let names = ["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_INVENTED"].map(ToOwned::to_owned);
        let available = !(1 << 24);
        let (sets, lacking) = CapabilitySets::from_spec(&Capabilities::of(&names), available, 40);
        assert_eq!((sets.bounding, sets.effective, sets.permitted), (1, 1, 1));
        assert_eq!(lacking, ["CAP_SYS_RESOURCE", "CAP_INVENTED"]);
    }

    #[test]
    fn capabilities_without_a_name_are_dropped_too() {
        let (sets, _) = CapabilitySets::from_spec(&Capabilities::of(&NAMES.map(str::to_owned)), u64::MAX, 43);
        assert_eq!(sets.dropped().collect::<Vec<_>>(), [41, 42, 43]);
        let (sets, _) = CapabilitySets::from_spec(&Capabilities::default(), u64::MAX, 63);
        assert_eq!(sets.dropped().count(), 64);
    }

    #[test]
    fn the_kernel_tells_its_highest_capability() {
        let told = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("read");
        assert_eq!(told.trim().parse(), Ok(last()));
    }

    #[test]
    fn only_what_is_permitted_and_inheritable_becomes_ambient() {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        let wanted = Capabilities {
            permitted: names(&["CAP_CHOWN", "CAP_KILL"]),
            inheritable: names(&["CAP_KILL", "CAP_SETUID"]),
            ambient: names(&["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"]),
            ..Capabilities::default()
        };
        let (sets, lacking) = CapabilitySets::from_spec(&wanted, u64::MAX, 40);
        assert_eq!(Some(sets.ambient), bit("CAP_KILL"));
        assert_eq!(lacking, Vec::<String>::new());
    }
}

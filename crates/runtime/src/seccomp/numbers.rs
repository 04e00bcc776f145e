//! Numbers of system calls, by architecture.
//!
//! The tables are the kernel's, as of Linux 6.17: `name=number`, separated by blanks.

use std::collections::HashMap;

/// An architecture that a filter can cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    X86_64,
    X86,
    X32,
    Aarch64,
}

/// The bit that sets calls of x32 apart; they share x86-64's architecture number.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

impl Architecture {
    /// The architecture that this program is built for.
    pub(crate) fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// This architecture and those that its processors run too.
    pub(crate) fn family(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Self::X86 => &[Self::X86],
            Self::X32 => &[Self::X32],
            Self::Aarch64 => &[Self::Aarch64],
        }
    }

    /// By the specification's name; `None` for those whose calls cannot be made here.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::X86_64, Self::X86, Self::X32, Self::Aarch64]
            .into_iter()
            .find(|architecture| architecture.name() == name)
    }

    /// The specification's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    /// The kernel's number, as a filter sees it.
    pub(crate) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Numbers by name, the bit of x32 included.
    pub(crate) fn numbers(self) -> HashMap<&'static str, u32> {
        let (table, bit) = match self {
            Self::X86_64 => (include_str!("x86_64.txt"), 0),
            Self::X86 => (include_str!("x86.txt"), 0),
            Self::X32 => (include_str!("x32.txt"), X32_BIT),
            Self::Aarch64 => (include_str!("aarch64.txt"), 0),
        };
        table
            .split_whitespace()
            .filter_map(|entry| {
                let (name, number) = entry.split_once('=')?;
                Some((name, number.parse::<u32>().ok()? | bit))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(architecture: Architecture, name: &str, number: u32) {
        assert_eq!(architecture.numbers().get(name), Some(&number), "{name}");
    }

    #[test]
    fn numbers_are_the_kernels() {
        check(Architecture::X86_64, "openat", libc::SYS_openat as u32);
        check(Architecture::X86_64, "clone3", 435);
        check(Architecture::X86, "openat", 295);
        check(Architecture::X86, "socketcall", 102);
        check(Architecture::X32, "execve", X32_BIT | 520);
        check(Architecture::Aarch64, "openat", 56);
    }
}

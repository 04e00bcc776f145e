//! The kernel's modules that Gantry uses: which are there, and loading them before they are needed.
//!
//! The kernel loads most of them by itself at first use, but one that several ask for at once can be
//! missing for the second for a moment, and one that is not installed is reported as an operation
//! that is not supported. So they are looked up and loaded by name first.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use tracing::warn;

/// A module and what it is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// What does not work without it.
    pub(crate) purpose: &'static str,
    /// The kernel's configuration that makes it.
    pub(crate) option: &'static str,
    /// Whether nothing works without it.
    pub(crate) needed: bool,
}

/// What is known of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Part of the running kernel.
    There,
    /// Can be loaded.
    Loadable,
    /// Neither.
    Absent,
    /// The kernel has no list of its modules here: what it can do shows only when it is asked.
    Unknown,
}

/// What Gantry uses of the kernel that may be a module.
pub(crate) const MODULES: &[Module] = &[
    module("overlay", "the layers of images", "CONFIG_OVERLAY_FS", true),
    module("bridge", "networks of containers", "CONFIG_BRIDGE", true),
    module("veth", "networks of containers", "CONFIG_VETH", true),
    module("nf_tables", "addresses, ports and services", "CONFIG_NF_TABLES", true),
    module("nft_ct", "addresses, ports and services", "CONFIG_NFT_CT", true),
    module("nft_chain_nat", "addresses, ports and services", "CONFIG_NFT_NAT", true),
    module("nft_masq", "reaching the outside", "CONFIG_NFT_MASQ", true),
    module("nft_fib_ipv4", "published ports", "CONFIG_NFT_FIB_IPV4", true),
    module("nft_reject_ipv4", "services without endpoints", "CONFIG_NFT_REJECT", true),
    module("nft_numgen", "services with several endpoints", "CONFIG_NFT_NUMGEN", true),
    module("nft_hash", "services that keep to one endpoint", "CONFIG_NFT_HASH", true),
    module("nft_dup_ipv4", "the host's input rules for published ports", "CONFIG_NFT_DUP_IPV4", false),
];

const fn module(name: &'static str, purpose: &'static str, option: &'static str, needed: bool) -> Module {
    Module { name, purpose, option, needed }
}

/// What is known of the kernel's modules.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    loaded: BTreeSet<String>,
    built_in: BTreeSet<String>,
    loadable: BTreeSet<String>,
    /// Whether the lists are of the running kernel.
    listed: bool,
}

impl Modules {
    /// Looks at the running kernel.
    pub(crate) fn of_this_kernel() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self::below(Path::new("/"), &release)
    }

    fn below(root: &Path, release: &str) -> Self {
        let folder = root.join("lib/modules").join(release);
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let loaded = read(&root.join("proc/modules"));
        let built_in = read(&folder.join("modules.builtin"));
        let loadable = read(&folder.join("modules.dep"));
        Self {
            loaded: loaded.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect(),
            built_in: built_in.lines().filter_map(name_of).collect(),
            loadable: loadable.lines().filter_map(|line| name_of(line.split(':').next()?)).collect(),
            listed: !built_in.is_empty() || !loadable.is_empty(),
        }
    }

    pub(crate) fn presence(&self, module: &Module) -> Presence {
        if self.loaded.contains(module.name) || self.built_in.contains(module.name) {
            Presence::There
        } else if self.loadable.contains(module.name) {
            Presence::Loadable
        } else if self.listed {
            Presence::Absent
        } else {
            Presence::Unknown
        }
    }

    fn with(&self, presence: Presence) -> impl Iterator<Item = &'static Module> {
        MODULES.iter().filter(move |module| self.presence(module) == presence)
    }
}

/// Loads what is used and not there yet; an error names what the kernel lacks, and the cure.
pub(crate) fn load() -> anyhow::Result<()> {
    let modules = Modules::of_this_kernel();
    check(&modules)?;
    let loadable: Vec<_> = modules.with(Presence::Loadable).map(|module| module.name).collect();
    if loadable.is_empty() {
        return Ok(());
    }
    let loaded = Command::new("modprobe")
        .args(["-a", "-q"])
        .args(&loadable)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match loaded {
        Ok(status) if status.success() => {}
        // What is really missing shows where it is used.
        Ok(status) => {
            warn!(%status, modules = loadable.join(" "), "not all modules of the kernel could be loaded")
        }
        Err(error) => warn!(%error, "modprobe cannot be run; the kernel has to load its modules by itself"),
    }
    Ok(())
}

fn check(modules: &Modules) -> anyhow::Result<()> {
    let what = "this kernel lacks what containers need, built in or as a module";
    refuse_without(modules.with(Presence::Absent), what)
}

/// An error, if any of these is one that nothing works without.
fn refuse_without(missing: impl Iterator<Item = &'static Module>, what: &str) -> anyhow::Result<()> {
    let list: Vec<_> = missing
        .filter(|module| module.needed)
        .map(|module| format!("{} ({}, for {})", module.name, module.option, module.purpose))
        .collect();
    if list.is_empty() {
        return Ok(());
    }
    anyhow::bail!(
        "{what}: {}; install the package with all of this kernel's modules, or start a kernel that has them; \
         `gantry doctor` shows what else is missing",
        list.join(", ")
    )
}

/// The module's name in a line that is the path of its file.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    Some(file.split(".ko").next()?.replace('-', "_")).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(loaded: &str, built_in: &str, loadable: &str) -> Modules {
        let root = tempfile::tempdir().expect("temporary directory");
        let folder = root.path().join("lib/modules/6.1.0");
        std::fs::create_dir_all(&folder).expect("make a directory");
        std::fs::create_dir_all(root.path().join("proc")).expect("make a directory");
        std::fs::write(root.path().join("proc/modules"), loaded).expect("write");
        std::fs::write(folder.join("modules.builtin"), built_in).expect("write");
        std::fs::write(folder.join("modules.dep"), loadable).expect("write");
        Modules::below(root.path(), "6.1.0")
    }

    #[test]
    fn a_module_is_there_if_it_is_loaded_or_built_in_or_can_be() {
        let modules = kernel(
            "overlay 163840 0 - Live 0x0\nnf_tables 1 1 nft_ct, Live 0x0\n",
            "kernel/net/bridge/bridge.ko\n",
            "kernel/drivers/net/veth.ko.xz: kernel/a.ko.xz\nkernel/net/netfilter/nft-masq.ko:\n",
        );
        let check = |name: &str, expected| {
            let module = MODULES.iter().find(|module| module.name == name).expect("used");
            assert_eq!(modules.presence(module), expected, "{name}");
        };
        check("overlay", Presence::There);
        check("bridge", Presence::There);
        check("nf_tables", Presence::There);
        check("veth", Presence::Loadable);
        check("nft_masq", Presence::Loadable);
        check("nft_hash", Presence::Absent);
    }

    #[test]
    fn what_is_absent_is_named_with_its_purpose_and_a_cure() {
        let text =
            check(&kernel("", "kernel/fs/ext4/ext4.ko\n", "")).expect_err("nothing is there").to_string();
        assert!(text.contains("overlay (CONFIG_OVERLAY_FS, for the layers of images), bridge"), "{text}");
        assert!(!text.contains("nft_dup_ipv4"), "not needed: {text}");
    }

    #[test]
    fn a_kernel_without_a_list_of_modules_may_have_everything() {
        let modules = kernel("", "", "");
        assert!(check(&modules).is_ok());
        assert_eq!(modules.presence(&MODULES[0]), Presence::Unknown);
    }
}

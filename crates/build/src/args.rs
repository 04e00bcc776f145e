//! Build arguments: which are declared where, and what they are worth.

use std::collections::{BTreeMap, BTreeSet};

use oci::Platform;

/// Arguments that need no declaration and say nothing about what is built.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Bytes of what the arguments are worth together: with more no program could be started. A line may
/// double what the one before it declared.
const WORTH_MAX: usize = oci::limits::EXEC_MAX;

/// The arguments of a build.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    given: BTreeMap<String, Option<String>>,
    /// Declared before the first FROM.
    global: BTreeMap<String, Option<String>>,
    /// Declared in the current stage, which begins with those that were declared before the first.
    declared: BTreeMap<String, Option<String>>,
    consumed: BTreeSet<String>,
}

impl Args {
    /// The arguments that a user gave, and those that every build has.
    pub(crate) fn new(given: &BTreeMap<String, Option<String>>, target: &Platform) -> Self {
        let mut global = BTreeMap::new();
        for (prefix, platform) in [("BUILD", &Platform::host()), ("TARGET", target)] {
            let mut set = |name: &str, value: String| global.insert(format!("{prefix}{name}"), Some(value));
            set("PLATFORM", platform.to_string());
            set("OS", platform.os.clone());
            set("ARCH", platform.architecture.clone());
            set("VARIANT", platform.variant.clone());
        }
        Self { given: given.clone(), global, declared: BTreeMap::new(), consumed: BTreeSet::new() }
    }

    /// Declares an argument before the first FROM.
    pub(crate) fn declare_global(&mut self, name: &str, default: Option<String>) -> Result<(), String> {
        let value = self.worth(name, default);
        self.global.insert(name.to_owned(), value);
        check(&self.global)
    }

    /// Declares an argument in the current stage. Gives its value.
    pub(crate) fn declare(&mut self, name: &str, default: Option<String>) -> Result<Option<String>, String> {
        let default = default.or_else(|| self.global.get(name).cloned().flatten());
        let value = self.worth(name, default);
        self.declared.insert(name.to_owned(), value.clone());
        check(&self.declared)?;
        Ok(value)
    }

    /// The value of an argument in FROM.
    pub(crate) fn global(&self, name: &str) -> Option<String> {
        self.global.get(name).cloned().flatten()
    }

    /// The value of an argument in the current stage.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.declared.get(name).cloned().flatten().or_else(|| self.predefined(name))
    }

    /// What RUN gets beside the image's environment, as `NAME=value`. Proxies reach it besides.
    pub(crate) fn for_run(&self, is_set: impl Fn(&str) -> bool) -> Vec<String> {
        let declared = self.declared.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        declared.filter(|(name, _)| !is_set(name)).map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Takes over which arguments a stage used that knew these.
    pub(crate) fn take_used(&mut self, stage: Self) {
        self.consumed.extend(stage.consumed);
    }

    /// Arguments that were given and that no instruction declared.
    pub(crate) fn unused(&self) -> Vec<String> {
        let known = |name: &&String| !self.consumed.contains(*name) && !PREDEFINED.contains(&name.as_str());
        self.given.keys().filter(known).cloned().collect()
    }

    fn predefined(&self, name: &str) -> Option<String> {
        PREDEFINED.contains(&name).then(|| self.given.get(name).cloned().flatten())?
    }

    fn worth(&mut self, name: &str, default: Option<String>) -> Option<String> {
        match self.given.get(name) {
            Some(given) => {
                self.consumed.insert(name.to_owned());
                given.clone()
            }
            None => default,
        }
    }
}

/// Whether arguments stay within their bound.
fn check(args: &BTreeMap<String, Option<String>>) -> Result<(), String> {
    let bytes = args.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
    match bytes.sum::<usize>() > WORTH_MAX {
        true => Err(format!("build arguments are longer than {WORTH_MAX} bytes together")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        let given = [("A", "given"), ("http_proxy", "p"), ("X", "unused")];
        let given = given.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into();
        Args::new(&given, &Platform::new("linux", "arm64", ""))
    }

    #[test]
    fn a_stage_sees_only_what_it_declares() {
        let mut global = args();
        let args = &mut global;
        args.declare_global("A", Some("default".into())).expect("short");
        args.declare_global("B", Some("b".into())).expect("short");
        assert_eq!(args.global("A").as_deref(), Some("given"));
        let (mut args, mut next) = (global.clone(), global);
        assert_eq!(args.get("A"), None);
        assert_eq!(args.declare("B", None).expect("short").as_deref(), Some("b"));
        assert_eq!(args.declare("A", Some("other".into())).expect("short").as_deref(), Some("given"));
        assert_eq!(next.get("B"), None);
        assert_eq!(next.declare("TARGETARCH", None).expect("short").as_deref(), Some("arm64"));
    }

    #[test]
    fn arguments_do_not_grow_with_each_line() {
        let mut args = args();
        let long = || Some("x".repeat(1 << 20));
        for declare in
            [Args::declare_global, |args: &mut Args, name: &str, value| args.declare(name, value).map(drop)]
        {
            declare(&mut args, "L1", long()).expect("one");
            declare(&mut args, "L1", long()).expect("the same");
            let error = declare(&mut args, "L2", long()).expect_err("two");
            assert_eq!(error, "build arguments are longer than 2097152 bytes together");
        }
    }

    #[test]
    fn what_a_command_has_is_what_is_declared_and_not_set() {
        let mut args = args();
        args.declare("A", None).expect("short");
        args.declare("HOME", Some("x".into())).expect("short");
        assert_eq!(args.for_run(|name| name == "HOME"), ["A=given"]);
        assert_eq!(args.unused(), ["X"]);
        let mut other = self::args();
        other.declare("X", None).expect("short");
        args.take_used(other);
        assert!(args.unused().is_empty());
    }
}

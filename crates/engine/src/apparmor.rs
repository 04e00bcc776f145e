//! AppArmor: whether the host has it, and the profile that containers have unless they name another.
//!
//! The profile is Docker's and has its name, `docker-default`: what is written about that holds here,
//! and an engine beside this one that has loaded it already is not disturbed.
//! Source: the behaviour of `github.com/moby/profiles`, the revision of 2026.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use runtime::spec::Spec;

use crate::container::{AppArmor, Security};
use crate::error::{Error, Result};

/// The name of the profile that containers have unless they name another.
pub(crate) const DEFAULT: &str = "docker-default";

/// What takes every profile away.
const UNCONFINED: &str = "unconfined";

/// How long the host's program may take to load a profile.
const LOADING: Duration = Duration::from_secs(30);

/// Where the host's profiles and what they share are.
const SHARED: &str = "/etc/apparmor.d";

/// What the host has of AppArmor; does not change while it is up, but for the profiles that are loaded.
#[derive(Debug)]
pub(crate) struct Host {
    /// Whether the kernel has it in force.
    pub(crate) kernel: bool,
    /// The host's program that loads profiles.
    pub(crate) parser: Option<PathBuf>,
    /// Where the kernel shows what it has of it.
    shown: PathBuf,
    /// Held by the one that loads the default profile; when that failed last, and why.
    loading: Mutex<Option<(Instant, String)>>,
}

impl Host {
    /// Looks at this host.
    pub(crate) fn get() -> &'static Self {
        static HOST: OnceLock<Host> = OnceLock::new();
        HOST.get_or_init(|| offload::in_place(|| Self::at(Path::new("/"))))
    }

    /// Looks at the host whose root is `root`.
    fn at(root: &Path) -> Self {
        let enabled = fs::read(root.join("sys/module/apparmor/parameters/enabled"));
        let shown = root.join("sys/kernel/security/apparmor");
        let parser = ["sbin/apparmor_parser", "usr/sbin/apparmor_parser", "usr/bin/apparmor_parser"];
        Self {
            // Where it cannot be seen, as in a container, nothing of it can be told or changed.
            kernel: enabled.is_ok_and(|text| text.starts_with(b"Y")) && shown.join("profiles").exists(),
            parser: parser.into_iter().map(|path| root.join(path)).find(|path| path.exists()),
            shown,
            loading: Mutex::default(),
        }
    }

    /// Whether containers have the default profile: it can be loaded, or somebody else has loaded it.
    pub(crate) fn is_applied(&self) -> bool {
        let is_loaded = || offload::in_place(|| self.is_loaded(DEFAULT)).unwrap_or(false);
        self.kernel && (self.parser.is_some() || is_loaded())
    }

    /// The profile of a container's processes; `None` is none at all.
    ///
    /// A profile that was named on a host without AppArmor is refused.
    pub(crate) fn profile<'a>(&self, security: &'a Security) -> Result<Option<&'a str>> {
        match &security.apparmor {
            AppArmor::Unconfined => Ok(None),
            AppArmor::Profile(name) if name == UNCONFINED => Ok(None),
            AppArmor::Profile(name) if !self.kernel => Err(Error::invalid(format!(
                "apparmor profile \"{name}\" was asked for: apparmor: config provided but apparmor not supported by this host"
            ))),
            AppArmor::Profile(name) => Ok(Some(name)),
            AppArmor::RuntimeDefault if !self.is_applied() => Err(Error::invalid(
                "the default apparmor profile was asked for: apparmor: config provided but apparmor not supported by this host (it takes a kernel with AppArmor, and apparmor_parser unless docker-default is loaded)",
            )),
            AppArmor::RuntimeDefault => Ok(Some(DEFAULT)),
            AppArmor::Default if security.privileged || !self.is_applied() => Ok(None),
            AppArmor::Default => Ok(Some(DEFAULT)),
        }
    }

    /// Makes sure that `profile` is loaded; loads it if it is the default one. Blocks.
    pub(crate) fn ensure(&self, profile: &str) -> Result<()> {
        if self.is_loaded(profile)? {
            return Ok(());
        }
        if profile != DEFAULT {
            return Err(Error::invalid(format!(
                "apparmor failed to apply profile: \"{profile}\" is not loaded: load it with apparmor_parser -r"
            )));
        }
        self.load_once().map_err(|why| {
            let what = format!("AppArmor enabled on system but the {DEFAULT} profile could not be loaded");
            Error::internal(what).with_source(std::io::Error::other(why))
        })
    }

    /// Loads the default profile unless somebody does meanwhile: all containers want it at once after the
    /// machine has started, and it takes a slow one many seconds.
    fn load_once(&self) -> Result<(), String> {
        let begun = Instant::now();
        let mut failed = self.loading.lock();
        if self.is_loaded(DEFAULT).unwrap_or(false) {
            return Ok(());
        }
        if let Some((_, why)) = failed.as_ref().filter(|(when, _)| *when >= begun) {
            return Err(why.clone());
        }
        self.load().map_err(|error| {
            let why = error.to_string();
            *failed = Some((Instant::now(), why.clone()));
            why
        })
    }

    fn is_loaded(&self, profile: &str) -> Result<bool> {
        match fs::read_to_string(self.shown.join("profiles")) {
            Ok(text) => Ok(lists(&text, profile)),
            // That takes a right over AppArmor; each profile's own directory may be open nevertheless.
            Err(source) => has_directory(&self.shown.join("policy/profiles"), profile).map_err(|_| {
                Error::internal(format!("Could not check if {profile} AppArmor profile was loaded"))
                    .with_source(source)
            }),
        }
    }

    fn load(&self) -> std::io::Result<()> {
        let parser =
            self.parser.as_ref().ok_or_else(|| std::io::Error::other("apparmor_parser is missing"))?;
        let own = fs::read_to_string("/proc/self/attr/apparmor/current")
            .or_else(|_| fs::read_to_string("/proc/self/attr/current"))
            .unwrap_or_default();
        let text = text(name_of(&own), &|name| Path::new(SHARED).join(name).exists());
        // Without its cache, which may not be writable.
        let mut child = Command::new(parser)
            .arg("-Kr")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        // It reads all of it before it says anything, and a pipe holds more than a profile.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(text.as_bytes());
        }
        let end = Instant::now() + LOADING;
        while child.try_wait()?.is_none() {
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                return Err(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    "apparmor_parser does not end",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(std::io::Error::other(format!(
            "apparmor_parser: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

/// Whether the kernel's list, `NAME (MODE)` a line, has a profile. A name may have blanks in it.
fn lists(text: &str, profile: &str) -> bool {
    text.lines().any(|line| line.rsplit_once(" (").is_some_and(|(name, _)| name == profile))
}

/// Whether one of the kernel's directories, `NAME.NUMBER` with a file `name` each, is a profile's.
fn has_directory(profiles: &Path, profile: &str) -> std::io::Result<bool> {
    let names = fs::read_dir(profiles)?.flatten().map(|entry| fs::read_to_string(entry.path().join("name")));
    Ok(names.flatten().any(|name| name.trim_end() == profile))
}

/// The profile that a container was started under, by the configuration that it was started with; what
/// it would be given today may be another one. Blocks.
pub(crate) fn of_bundle(bundle: &Path) -> Result<Option<String>> {
    let spec = Spec::load(&bundle.join("config.json")).map_err(|source| {
        Error::internal("find the AppArmor profile that the container was started under").with_source(source)
    })?;
    Ok(spec.process.and_then(|process| process.apparmor_profile).filter(|name| !name.is_empty()))
}

/// The profile that a process says it is under: a name, or with its mode.
fn name_of(label: &str) -> &str {
    let label = label.trim().trim_end_matches('\0');
    match label.split_once(" (").map_or(label, |(name, _)| name) {
        "" => UNCONFINED,
        name => name,
    }
}

/// The default profile, for a daemon under the profile `daemon`; `has` says what the host's profiles
/// share.
fn text(daemon: &str, has: &dyn Fn(&str) -> bool) -> String {
    // From 4.0 on "network" no longer opens unix sockets.
    let abi = if has("abi/3.0") { "abi <abi/3.0>,\n" } else { "" };
    let tunables = if has("tunables/global") { "#include <tunables/global>" } else { "@{PROC}=/proc/" };
    let base = if has("abstractions/base") { "#include <abstractions/base>" } else { "" };
    format!(
        r#"{abi}{tunables}

profile "{DEFAULT}" flags=(attach_disconnected,mediate_deleted) {{
  {base}
  network,
  # The kernel's cryptography is no container's.
  deny network alg,
  capability,
  file,
  umount,

  # Signals from the host's processes, from runtimes and engines under profiles of their own, and among
  # the container's.
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (receive) peer="{daemon}",
  signal (send,receive) peer="{DEFAULT}",

  # Nothing is written in procfs but below the processes' directories and sys/kernel/shm*.
  deny @{{PROC}}/* w,
  deny @{{PROC}}/{{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}}/** w,
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,

  deny mount,

  # Nor in sysfs but below fs/cgroup.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,

  ptrace (trace,tracedby,read,readby) peer="{DEFAULT}",
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn host(kernel: bool, parser: bool) -> Host {
        at(kernel, parser.then(|| "/sbin/apparmor_parser".into()), Path::new("/none"))
    }

    fn at(kernel: bool, parser: Option<PathBuf>, shown: &Path) -> Host {
        Host { kernel, parser, shown: shown.to_owned(), loading: Mutex::default() }
    }

    #[track_caller]
    fn check(host: &Host, apparmor: AppArmor, privileged: bool, expected: Result<Option<&str>, &str>) {
        let security = Security { apparmor, privileged, ..Security::default() };
        let found = host.profile(&security);
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
            (Err(error), Err(part)) => assert!(error.full_message().contains(part), "{error:?}"),
            _ => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_container_has_the_default_profile_where_there_is_one() {
        let named = || AppArmor::Profile("mine".to_owned());
        let unconfined = || AppArmor::Profile("unconfined".to_owned());
        let full = host(true, true);
        check(&full, AppArmor::Default, false, Ok(Some(DEFAULT)));
        check(&full, AppArmor::Default, true, Ok(None));
        check(&full, AppArmor::RuntimeDefault, true, Ok(Some(DEFAULT)));
        check(&full, AppArmor::Unconfined, false, Ok(None));
        check(&full, unconfined(), false, Ok(None));
        check(&full, named(), false, Ok(Some("mine")));
        check(&full, named(), true, Ok(Some("mine")));
        let no_parser = host(true, false);
        check(&no_parser, AppArmor::Default, false, Ok(None));
        check(&no_parser, AppArmor::RuntimeDefault, false, Err("and apparmor_parser unless"));
        check(&no_parser, named(), false, Ok(Some("mine")));
        for without in [host(false, true), host(false, false)] {
            let refused = "apparmor: config provided but apparmor not supported";
            check(&without, AppArmor::Default, false, Ok(None));
            check(&without, AppArmor::Unconfined, false, Ok(None));
            check(&without, unconfined(), false, Ok(None));
            check(&without, named(), false, Err(refused));
            check(&without, named(), true, Err(refused));
            check(&without, AppArmor::RuntimeDefault, false, Err(refused));
        }
    }

    #[test]
    fn the_host_is_seen_as_it_is() {
        let root = tempfile::tempdir().expect("temporary directory");
        let make = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("make directories");
            fs::write(path, text).expect("write");
        };
        assert!(!Host::at(root.path()).kernel);
        make("sys/module/apparmor/parameters/enabled", "Y\n");
        assert!(!Host::at(root.path()).kernel, "nothing can be seen of it");
        make("sys/kernel/security/apparmor/profiles", "docker (enforce)\nmy own (complain)\n");
        let found = Host::at(root.path());
        assert!(found.kernel && !found.is_applied());
        // What somebody else has loaded is there without the program that loads.
        make("sys/kernel/security/apparmor/profiles", "docker-default (enforce)\nmy own (complain)\n");
        assert!(found.is_applied());
        let found_profile = found.profile(&Security::default()).expect("it is there").map(str::to_owned);
        assert_eq!(found_profile.as_deref(), Some(DEFAULT));
        assert!(found.ensure("docker-default").is_ok() && found.ensure("my own").is_ok());
        let missing = found.ensure("my").expect_err("not loaded");
        assert!(missing.full_message().contains("\"my\" is not loaded"), "{missing:?}");
        make("sbin/apparmor_parser", "");
        assert!(Host::at(root.path()).is_applied());
        make("sys/module/apparmor/parameters/enabled", "N\n");
        assert!(!Host::at(root.path()).kernel);
    }

    #[test]
    fn a_profile_is_found_where_the_list_of_all_cannot_be_read() {
        let shown = tempfile::tempdir().expect("temporary directory");
        let host = at(true, None, shown.path());
        assert!(host.ensure(DEFAULT).is_err() && !host.is_applied());
        let directory = shown.path().join("policy/profiles/docker-default.7");
        fs::create_dir_all(&directory).expect("make directories");
        fs::write(directory.join("name"), "docker-default\n").expect("write");
        assert!(host.ensure(DEFAULT).is_ok() && host.is_applied());
        assert!(host.ensure("docker").is_err());
    }

    #[test]
    fn what_joins_a_container_has_the_profile_that_this_was_started_under() {
        let bundle = tempfile::tempdir().expect("temporary directory");
        let start = |profile: Option<&str>| {
            let mut spec = runtime::defaults::spec();
            spec.process.as_mut().expect("a process").apparmor_profile = profile.map(str::to_owned);
            spec.save(&bundle.path().join("config.json")).expect("write");
            of_bundle(bundle.path()).expect("read")
        };
        assert_eq!(start(Some("docker-default")).as_deref(), Some("docker-default"));
        assert_eq!(start(None), None);
        fs::remove_file(bundle.path().join("config.json")).expect("remove");
        assert!(of_bundle(bundle.path()).is_err());
    }

    #[test]
    fn a_default_profile_that_cannot_be_loaded_is_an_error() {
        let root = tempfile::tempdir().expect("temporary directory");
        fs::write(root.path().join("profiles"), "").expect("write");
        let check = |parser: Option<PathBuf>, expected: &str| {
            let host = at(true, parser, root.path());
            let error = host.ensure(DEFAULT).expect_err("not loaded").full_message();
            assert!(error.starts_with(
                "AppArmor enabled on system but the docker-default profile could not be loaded"
            ));
            assert!(error.contains(expected), "{error}");
        };
        check(None, "apparmor_parser is missing");
        check(Some("/bin/false".into()), "apparmor_parser: ");
        assert!(at(true, Some("/bin/true".into()), root.path()).ensure(DEFAULT).is_ok());
    }

    #[test]
    fn many_that_want_the_default_profile_at_once_load_it_once() {
        let root = tempfile::tempdir().expect("temporary directory");
        fs::write(root.path().join("profiles"), "").expect("write");
        let parser = root.path().join("parser");
        let script = "#!/bin/sh\ncat >/dev/null\ncd \"${0%/*}\" && echo run >>runs && \
                      echo 'docker-default (enforce)' >profiles\n";
        fs::write(&parser, script).expect("write");
        fs::set_permissions(&parser, fs::Permissions::from_mode(0o755)).expect("let it run");
        let host = at(true, Some(parser), root.path());
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..16).map(|_| scope.spawn(|| host.ensure(DEFAULT))).collect();
            for one in all {
                one.join().expect("no panic").expect("it is loaded");
            }
        });
        assert_eq!(fs::read_to_string(root.path().join("runs")).expect("it ran"), "run\n");
    }

    #[test]
    fn the_profile_includes_what_the_host_has() {
        let bare = text("unconfined", &|_| false);
        assert!(bare.starts_with("@{PROC}=/proc/\n"));
        assert!(bare.contains("signal (receive) peer=\"unconfined\","));
        assert!(!bare.contains("include"));
        let full = text("mine", &|_| true);
        assert!(full.starts_with("abi <abi/3.0>,\n#include <tunables/global>\n"));
        assert!(full.contains("#include <abstractions/base>") && full.contains("peer=\"mine\""));
        assert_eq!(name_of("unconfined\n"), "unconfined");
        assert_eq!(name_of("my own (enforce)\n"), "my own");
        assert_eq!(name_of(""), "unconfined");
    }
}

//! The rules that keep a container from reaching its host. Each test is an attack that has worked
//! on some runtime, or a promise of the design.

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;

use runtime::shim::descriptors::Descriptors;
use runtime::shim::protocol::{FailureKind, Request, Response, Stdio};
use runtime::shim::{ClientError, EXIT_FILE};
use runtime::spec::{Capabilities, IdMapping, Mount, Namespace, NamespaceKind, Process, Spec};
use support::{Sandbox, create_request, shell, shell_process};

/// Asks for a container that must be refused; gives the reason.
#[track_caller]
fn refused(sandbox: &Sandbox, id: &str, spec: Spec) -> String {
    refusal(sandbox.try_create(id, spec, Stdio::default()))
}

#[track_caller]
fn refusal(answer: Result<Response, ClientError>) -> String {
    match answer {
        Err(ClientError::Refused(failure)) => failure.message,
        other => panic!("not refused: {other:?}"),
    }
}

fn without_mount(mut spec: Spec, destination: &str) -> Spec {
    spec.mounts.retain(|mount| mount.destination != Path::new(destination));
    spec
}

fn prepared(sandbox: &Sandbox, id: &str, change: impl FnOnce(&Path)) {
    let rootfs = sandbox.dir.path().join(id).join("rootfs");
    std::fs::create_dir_all(&rootfs).expect("make the root directory");
    testkit::rootfs::busybox(&rootfs);
    change(&rootfs);
}

#[test]
fn cve_2019_5736_the_runtimes_program_cannot_be_written_from_inside() {
    let sandbox = Sandbox::new();
    // The first process becomes the runtime's own program, as seen from inside, and stays it.
    let mut spec = shell("");
    spec.process.as_mut().expect("process").args = vec!["/proc/self/exe".to_owned(), "init".to_owned()];
    sandbox.create("c1", spec, Stdio::default());
    sandbox.start("c1");
    let before = std::fs::read(support::PROGRAM).expect("read the program");
    let attack = shell_process("exec 3</proc/1/exe; : > /proc/self/fd/3 || : > /proc/1/exe");
    let outcome = sandbox.exec("c1", "attack", attack);
    assert!(outcome.stderr.contains("Read-only file system"), "{outcome:?}");
    assert_eq!(std::fs::read(support::PROGRAM).expect("read the program").len(), before.len());
}

#[test]
fn cve_2021_30465_a_link_in_the_image_does_not_lead_a_mount_out_of_the_root() {
    let sandbox = Sandbox::new();
    let outside = sandbox.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("make a directory of the host");
    prepared(&sandbox, "c1", |rootfs| {
        symlink(format!("/../../../../..{}", outside.display()), rootfs.join("escape")).expect("link");
        let inside = outside.strip_prefix("/").expect("an absolute path");
        std::fs::create_dir_all(rootfs.join(inside)).expect("make the same directory inside");
    });
    let mut spec = shell("mount | grep -c /inner");
    spec.mounts.push(Mount::filesystem("tmpfs", "/escape/inner", &[]));
    let outcome = sandbox.run("c1", spec).expect(0);
    assert_eq!(outcome.stdout, "1\n");
    assert_eq!(std::fs::read_dir(&outside).expect("list").count(), 0, "something was made on the host");
}

#[test]
fn cve_2024_21626_a_working_directory_cannot_be_an_open_directory_of_the_host() {
    let sandbox = Sandbox::new();
    sandbox.create("held", shell("exec sleep 1000"), Stdio::default());
    sandbox.start("held");
    for number in 3..24 {
        let cwd = format!("/proc/self/fd/{number}");
        let id = format!("c{number}");
        let mut spec = shell("cat /proc/self/cwd/etc/hostname; cat ../../../../etc/machine-id");
        spec.process.as_mut().expect("process").cwd = cwd.clone().into();
        match sandbox.try_create(&id, spec, Stdio::default()) {
            Err(ClientError::Refused(_)) => {}
            Ok(_) => {
                let connection = sandbox.attach(&id);
                sandbox.start(&id);
                let outcome = support::outcome(connection);
                assert_eq!(outcome.stdout, "", "descriptor {number} leads out of the container");
            }
            Err(error) => panic!("{error}"),
        }
        let process = Process { cwd: cwd.into(), ..shell_process("cat ../../../../etc/machine-id") };
        let (container, exec) = ("held".to_owned(), id.clone());
        let request =
            Request::Exec { container, exec, process, stdio: Stdio::default(), attach: None, limit: None };
        assert!(sandbox.client().ask(&request).is_err(), "a process joined at descriptor {number}");
    }
}

#[test]
fn a_program_has_no_descriptors_but_its_standard_streams() {
    let sandbox = Sandbox::new();
    let outcome =
        sandbox.run("c1", shell("for f in /proc/self/fd/*; do readlink $f; done; sleep 0")).expect(0);
    let open: Vec<_> = outcome.stdout.lines().filter(|line| !line.starts_with("/proc/")).collect();
    assert_eq!(open.len(), 3, "{outcome:?}");
}

#[test]
fn cve_2019_19921_procfs_is_not_mounted_through_a_link_of_the_image() {
    let sandbox = Sandbox::new();
    prepared(&sandbox, "c1", |rootfs| {
        std::fs::remove_dir(rootfs.join("proc")).expect("remove");
        symlink("/tmp", rootfs.join("proc")).expect("link");
    });
    let reason = refused(&sandbox, "c1", shell("true"));
    assert!(reason.contains("/proc"), "{reason}");
}

#[test]
fn cve_2019_16884_nothing_can_be_mounted_over_the_parts_of_procfs_that_matter() {
    let sandbox = Sandbox::new();
    for (number, target) in
        ["/proc/self/attr", "/proc/sys/kernel", "/proc", "/tmp/../proc/1"].iter().enumerate()
    {
        let mut spec = shell("true");
        spec.mounts.push(Mount::bind("/tmp", *target, &[]));
        let reason = refused(&sandbox, &format!("c{number}"), spec);
        assert!(reason.contains("/proc"), "{reason}");
    }
}

#[test]
fn cve_2025_31133_a_null_device_of_the_images_own_is_not_used() {
    let sandbox = Sandbox::new();
    prepared(&sandbox, "c1", |rootfs| symlink("/proc/sysrq-trigger", rootfs.join("dev/null")).expect("link"));
    let mut spec = shell("true");
    spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    let reason = refused(&sandbox, "c1", spec);
    assert!(reason.contains("/dev/null"), "{reason}");
}

#[test]
fn cve_2025_31133_masked_files_are_the_hosts_null_device() {
    let sandbox = Sandbox::new();
    let outcome =
        sandbox.run("c1", shell("stat -c '%t:%T' /proc/keys; cat /proc/keys; ls /sys/firmware")).expect(0);
    assert_eq!(outcome.stdout, "1:3\n");
}

#[test]
fn cve_2025_52565_the_console_is_not_mounted_through_a_link_of_the_image() {
    let sandbox = Sandbox::new();
    prepared(&sandbox, "c1", |rootfs| {
        symlink("/proc/sys/kernel/hostname", rootfs.join("dev/console")).expect("link");
        std::fs::create_dir(rootfs.join("dev/pts")).expect("make a directory");
    });
    let mut spec = without_mount(without_mount(shell("true"), "/dev"), "/dev/mqueue");
    spec.process.as_mut().expect("process").terminal = true;
    let stdio = Stdio { terminal: true, ..Stdio::default() };
    let reason = refusal(sandbox.try_create("c1", spec, stdio));
    assert!(reason.contains("/dev/console"), "{reason}");
}

#[test]
fn cve_2025_52565_a_terminal_comes_only_from_a_devpts() {
    let sandbox = Sandbox::new();
    prepared(&sandbox, "c1", |rootfs| {
        std::fs::create_dir(rootfs.join("dev/pts")).expect("make a directory");
        std::fs::write(rootfs.join("dev/pts/ptmx"), "").expect("write");
    });
    let mut spec = shell("true");
    spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    spec.process.as_mut().expect("process").terminal = true;
    let stdio = Stdio { terminal: true, ..Stdio::default() };
    let reason = refusal(sandbox.try_create("c1", spec, stdio));
    assert!(reason.contains("/dev/pts"), "{reason}");
}

#[test]
fn cve_2025_52881_a_kernel_parameter_is_not_written_to_a_file_of_the_image() {
    let sandbox = Sandbox::new();
    let fake = "proc/sys/net/ipv4/ip_unprivileged_port_start";
    prepared(&sandbox, "c1", |rootfs| {
        std::fs::create_dir_all(rootfs.join("proc/sys/net/ipv4")).expect("make directories");
        std::fs::write(rootfs.join(fake), "fake").expect("write");
    });
    let mut spec = without_mount(shell("true"), "/proc");
    let linux = spec.linux.as_mut().expect("linux");
    linux.sysctl.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "99".to_owned());
    linux.masked_paths.clear();
    linux.readonly_paths.clear();
    sandbox.run("c1", spec).expect(0);
    let content = std::fs::read_to_string(sandbox.dir.path().join("c1/rootfs").join(fake)).expect("read");
    assert_eq!(content, "fake");
    let outcome = sandbox.run("c2", shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start")).expect(0);
    assert_eq!(outcome.stdout, "99\n", "the parameter of the sandbox's network was set");
}

#[test]
fn a_filter_that_cannot_be_enforced_keeps_the_container_from_being_made() {
    let sandbox = Sandbox::new();
    let mut spec = shell("true");
    let filter =
        spec.linux.as_mut().and_then(|linux| linux.seccomp.as_mut()).expect("the default has a filter");
    filter.flags = vec!["SECCOMP_FILTER_FLAG_INVENTED".to_owned()];
    assert!(refused(&sandbox, "c1", spec).contains("SECCOMP_FILTER_FLAG_INVENTED"));
}

#[test]
fn the_filter_and_the_capabilities_hold_in_the_container_and_in_what_joins_it() {
    let sandbox = Sandbox::new();
    let look = "grep -E '^(CapEff|CapBnd|Seccomp):' /proc/self/status | tr '\\n\\t' '  '; unshare -U true && echo open";
    sandbox.create("held", shell("exec sleep 1000"), Stdio::default());
    sandbox.start("held");
    let inside = sandbox.run("c1", shell(look)).stdout;
    assert_eq!(inside.trim(), "CapEff: 00000000a80425fb CapBnd: 00000000a80425fb Seccomp: 2");
    let joined = sandbox.exec("held", "e1", shell_process(look)).stdout;
    assert_eq!(joined, inside);
}

#[test]
fn a_process_that_joins_a_container_is_in_its_user_namespace_too() {
    let sandbox = Sandbox::new();
    let mut spec = shell("cat /proc/self/uid_map >&2; exec sleep 1000");
    let linux = spec.linux.as_mut().expect("linux");
    linux.namespaces.push(Namespace::new(NamespaceKind::User));
    let mapping = IdMapping { container_id: 0, host_id: 200_000, size: 1000 };
    linux.uid_mappings = vec![mapping];
    linux.gid_mappings = vec![mapping];
    // The network is the sandbox's, which root of the new namespace may not mount a view of.
    let spec = without_mount(spec, "/sys");
    let spec = without_mount(spec, "/sys/fs/cgroup");
    prepared(&sandbox, "c1", |rootfs| {
        std::os::unix::fs::chown(rootfs, Some(200_000), Some(200_000)).expect("give the root away");
        let above = rootfs.parent().and_then(Path::parent).expect("the root is two directories deep");
        for directory in [rootfs, rootfs.parent().expect("a bundle"), above] {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory, open).expect("open the way");
        }
    });
    sandbox.create("c1", spec, Stdio::default());
    sandbox.start("c1");
    let outcome = sandbox.exec("c1", "e1", shell_process("cat /proc/self/uid_map; id -u")).expect(0);
    let words: Vec<_> = outcome.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "200000", "1000", "0"]);
}

#[test]
fn a_process_is_in_the_containers_cgroup_before_its_program_begins() {
    let sandbox = Sandbox::new();
    let group = format!("{}/held", sandbox.cgroup.display());
    let look = "grep -v -c HELD /proc/self/cgroup";
    sandbox.create(
        "held",
        shell(&format!("{} >&2; exec sleep 1000", look.replace("HELD", &group))),
        Stdio::default(),
    );
    let first = sandbox.attach("held");
    sandbox.start("held");
    let mut first = first;
    let frame = first.receive().expect("receive").expect("a frame");
    assert_eq!(frame.payload, b"0\n", "the first process is outside of its cgroup somewhere");
    let outcome = sandbox.exec("held", "e1", shell_process(&look.replace("HELD", &group)));
    assert_eq!(outcome.stdout, "0\n");
}

#[test]
fn a_root_file_system_that_is_a_link_is_refused() {
    let sandbox = Sandbox::new();
    let (bundle, _) = sandbox.bundle("c1", shell("true"));
    let link = bundle.join("link");
    symlink("/", &link).expect("link");
    let rootfs = runtime::Rootfs::Path(link);
    let request = create_request("c1", bundle, rootfs, Stdio::default(), &Descriptors::default());
    assert!(refusal(sandbox.client().ask(&request)).contains("symbolic link"));
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened_though_a_node_can_be_made() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run("c1", shell("mknod /tmp/mem c 1 1 && cat /tmp/mem")).expect(1);
    assert!(outcome.stderr.contains("Operation not permitted"), "{outcome:?}");
}

#[test]
fn paths_that_are_masked_or_read_only_are_so_for_root() {
    let sandbox = Sandbox::new();
    let outcome = sandbox
        .run("c1", shell("echo h > /proc/sys/kernel/hostname; echo x > /proc/sys/kernel/core_pattern"));
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome:?}");
}

#[test]
fn an_option_that_a_mount_does_not_have_is_refused() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    std::fs::create_dir(&source).expect("make a directory of the host");
    let mut tried = 0;
    let mut check = |mount: Mount, word: &str| {
        tried += 1;
        let mut spec = shell("");
        spec.mounts.push(mount);
        let message = refused(&sandbox, &format!("c{tried}"), spec);
        assert!(message.contains(&format!("`{word}`")), "{message}");
    };
    for word in ["readonly", "RO", "rro ", "noexecs", "rsync", "sync", "uid=5", "remount", "tmpcopyup"] {
        let named = word.split('=').next().expect("a word");
        check(Mount::bind(source.clone(), "/mnt", &["rbind", "rprivate", word]), named);
    }
    for (kind, word) in [("tmpfs", "remount"), ("proc", "tmpcopyup"), ("debugfs", "readonly")] {
        check(Mount::filesystem(kind, "/mnt", &[word]), word);
    }
    check(Mount::filesystem("cgroup", "/sys/fs/cgroup", &["Ro"]), "Ro");
    let mut mapped = shell("");
    mapped.mounts.push(Mount::filesystem("tmpfs", "/mnt", &["idmap"]));
    let message = refused(&sandbox, "mapped", mapped);
    assert!(message.contains("for a bind mount only"), "{message}");
}

#[test]
fn what_is_asked_for_a_whole_tree_of_mounts_is_not_taken_back_for_one() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    std::fs::create_dir(&source).expect("make a directory of the host");
    let mut spec = shell(
        "touch /mnt/x; touch /memory/x; cd /sys/fs/cgroup && for d in . *; do [ ! -d $d ] || mkdir $d/x; done",
    );
    spec.mounts.push(Mount::bind(source.clone(), "/mnt", &["rbind", "rro", "rw"]));
    spec.mounts.push(Mount::filesystem("tmpfs", "/memory", &["rw", "rro"]));
    // Without a cgroup namespace it is the host's tree that is shown.
    let linux = spec.linux.as_mut().expect("linux");
    linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Cgroup);
    let mut spec = without_mount(spec, "/sys/fs/cgroup");
    spec.mounts.push(Mount::filesystem("cgroup", "/sys/fs/cgroup", &["rro"]));
    let outcome = sandbox.run("c1", spec);
    let attempts = outcome.stderr.lines().filter(|line| !line.contains("File exists")).count();
    assert!(attempts >= 3, "{outcome:?}");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), attempts, "{outcome:?}");
    assert_eq!(std::fs::read_dir(&source).expect("list").count(), 0);
}

#[test]
fn containers_die_with_their_shim() {
    let sandbox = Sandbox::new();
    let pid = sandbox.create("c1", shell("exec sleep 1000"), Stdio::default());
    sandbox.start("c1");
    let shim = rustix::process::Pid::from_raw(sandbox.handle.pid as i32).expect("a pid");
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).expect("kill the shim");
    testkit::wait_until("the container to die", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let gone = stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ");
        if gone { Ok(()) } else { Err(stat) }
    });
    assert!(!sandbox.handle.is_alive());
}

#[test]
fn a_container_that_cannot_be_made_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let mut spec = shell("true");
    spec.process.as_mut().expect("process").args = vec!["/bin/missing".to_owned()];
    match sandbox.try_create("c1", spec, Stdio::default()) {
        Err(ClientError::Refused(failure)) => assert_eq!(failure.kind, FailureKind::ProgramNotFound),
        other => panic!("not refused: {other:?}"),
    }
    let cgroup = runtime::cgroup::Cgroup::at(&sandbox.cgroup.join("c1")).expect("good path");
    assert!(!cgroup.exists(), "the cgroup is still there");
    assert!(!sandbox.dir.path().join("state/c1").join(EXIT_FILE).exists());
    sandbox.run("c1", shell("true")).expect(0);
}

#[test]
fn capabilities_of_another_user_are_gone_unless_they_are_ambient() {
    let sandbox = Sandbox::new();
    let mut spec = shell("grep -E '^CapEff' /proc/self/status | cut -f2");
    let process = spec.process.as_mut().expect("process");
    process.user.uid = 1000;
    process.user.gid = 1000;
    assert_eq!(sandbox.run("c1", spec.clone()).stdout, "0000000000000000\n");
    let one = vec!["CAP_NET_BIND_SERVICE".to_owned()];
    let process = spec.process.as_mut().expect("process");
    process.capabilities =
        Some(Capabilities { ambient: one.clone(), inheritable: one.clone(), ..Capabilities::of(&one) });
    assert_eq!(sandbox.run("c2", spec).stdout, "0000000000000400\n");
}

//! Containers with users of their own: a sandbox's user namespace, idmapped layers and volumes. The
//! attackers in here are root of such a container, with every right that one can have there.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use runtime::Rootfs;
use runtime::shim::descriptors::Descriptors;
use runtime::shim::protocol::{Response, Stdio};
use runtime::shim::{ClientError, Network};
use runtime::spec::{Capabilities, IdMapping, Mount, Namespace, NamespaceKind, Spec};
use support::{Outcome, Sandbox, create_request, outcome, shell, shell_process};

const FIRST: u32 = 300_000;
const MAP: IdMapping = IdMapping { container_id: 0, host_id: FIRST, size: 65_536 };

/// A sandbox with users of its own, as pods have it.
fn sandbox(pid: bool) -> Sandbox {
    Sandbox::with(|spec| {
        spec.users = Some(MAP);
        spec.ipc = true;
        spec.hostname = Some("mapped".to_owned());
        spec.network = Network::New;
        spec.pid = pid;
    })
}

/// The layers of a container.
struct Layers {
    lower: PathBuf,
    changes: PathBuf,
}

impl Layers {
    fn new(sandbox: &Sandbox, id: &str) -> Self {
        let lower = sandbox.dir.path().join("lower");
        if !lower.exists() {
            std::fs::create_dir(&lower).expect("make a directory");
            testkit::rootfs::busybox(&lower);
            std::fs::set_permissions(&lower, Permissions::from_mode(0o755)).expect("open the root");
            let copied = std::fs::copy(support::ATTACKER, lower.join("bin/attacker"));
            copied.expect("give the attacker his program");
        }
        let changes = sandbox.dir.path().join(format!("{id}-changes"));
        for name in ["fs", "work"] {
            std::fs::create_dir_all(changes.join(name)).expect("make a directory");
        }
        std::fs::set_permissions(changes.join("fs"), Permissions::from_mode(0o755)).expect("open the root");
        Self { lower, changes }
    }

    fn rootfs(&self) -> Rootfs {
        Rootfs::Overlay {
            lower: vec![self.lower.clone()],
            upper: Some(self.changes.join("fs")),
            work: Some(self.changes.join("work")),
            volatile: false,
            mapped: true,
        }
    }

    /// The owner of a file that the container made, on disk.
    #[track_caller]
    fn owner(&self, path: &str) -> (u32, u32) {
        owner(&self.changes.join("fs").join(path))
    }
}

#[track_caller]
fn owner(path: &Path) -> (u32, u32) {
    let stat = std::fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (stat.uid(), stat.gid())
}

/// A configuration in the sandbox's user namespace; `mounts` are added.
fn mapped(sandbox: &Sandbox, command: &str, mounts: &[Mount]) -> Spec {
    let mut spec = shell(command);
    spec.mounts.extend_from_slice(mounts);
    let linux = spec.linux.get_or_insert_default();
    // The sandbox's, as with the network.
    linux.namespaces.retain(|namespace| {
        let is_shared = match namespace.kind {
            NamespaceKind::Ipc | NamespaceKind::Uts => true,
            NamespaceKind::Pid => sandbox.handle.init_pid.is_some(),
            _ => false,
        };
        !is_shared
    });
    spec.hostname = None;
    let linux = spec.linux.get_or_insert_default();
    if sandbox.handle.init_pid.is_some() {
        let shared = sandbox.handle.process_namespace().expect("the shim lives").expect("it shares one");
        linux.namespaces.push(Namespace { kind: NamespaceKind::Pid, path: Some(shared.path) });
    }
    let users = sandbox.handle.user_namespace().expect("it has users of its own");
    linux.namespaces.push(Namespace { kind: NamespaceKind::User, path: Some(users.path) });
    linux.namespaces.push(Namespace::new(NamespaceKind::Cgroup));
    linux.uid_mappings = vec![MAP];
    linux.gid_mappings = vec![MAP];
    spec
}

/// With every right there is, and no filter: what a privileged pod has.
fn privileged(mut spec: Spec) -> Spec {
    let all: Vec<String> = runtime::features::features()["linux"]["capabilities"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    spec.process.as_mut().expect("process").capabilities = Some(Capabilities::of(&all));
    let linux = spec.linux.as_mut().expect("linux");
    linux.seccomp = None;
    linux.masked_paths.clear();
    linux.readonly_paths.clear();
    spec
}

fn volume(source: &Path, target: &str, options: &[&str]) -> Mount {
    Mount::bind(source.to_owned(), target, options)
}

/// What the configuration names, open. The user namespace is no link in procfs.
fn opened(sandbox: &Sandbox, spec: &Spec, bundle: &Path) -> Descriptors {
    let mut with = Descriptors::default();
    let users = sandbox.handle.user_namespace().expect("it has users of its own");
    with.namespace(NamespaceKind::User, users.fd);
    with.complete(spec, bundle).expect("open what the configuration names");
    with
}

fn try_create(sandbox: &Sandbox, id: &str, spec: &Spec) -> (Layers, Result<Response, ClientError>) {
    try_create_with(sandbox, id, spec, Stdio::default())
}

fn try_create_with(
    sandbox: &Sandbox,
    id: &str,
    spec: &Spec,
    stdio: Stdio,
) -> (Layers, Result<Response, ClientError>) {
    let layers = Layers::new(sandbox, id);
    let (bundle, _) = sandbox.bundle(id, spec.clone());
    let with = opened(sandbox, spec, &bundle);
    let request = create_request(id, bundle, layers.rootfs(), stdio, &with);
    (layers, sandbox.client().ask_with(&request, &with))
}

#[track_caller]
fn run(sandbox: &Sandbox, id: &str, spec: &Spec) -> (Layers, Outcome) {
    let (layers, created) = try_create(sandbox, id, spec);
    created.unwrap_or_else(|error| panic!("{error}; shim log: {}", sandbox.log()));
    let connection = sandbox.attach(id);
    sandbox.start(id);
    (layers, outcome(connection))
}

#[track_caller]
fn refusal(sandbox: &Sandbox, id: &str, spec: &Spec) -> String {
    match try_create(sandbox, id, spec).1 {
        Err(ClientError::Refused(failure)) => failure.message,
        other => panic!("not refused: {other:?}"),
    }
}

/// Starts a container that sleeps; gives its first process.
#[track_caller]
fn hold(sandbox: &Sandbox, id: &str, spec: &Spec) -> u32 {
    let (_, created) = try_create(sandbox, id, spec);
    let Ok(Response::Pid(pid)) = created else { panic!("{created:?}; shim log: {}", sandbox.log()) };
    sandbox.start(id);
    pid
}

#[test]
fn root_inside_is_nobody_outside_and_what_it_writes_is_roots_on_disk() {
    let sandbox = sandbox(false);
    let data = sandbox.dir.path().join("volume");
    std::fs::create_dir(&data).expect("make a directory");
    std::fs::write(data.join("given"), "from outside\n").expect("write");
    std::fs::set_permissions(data.join("given"), Permissions::from_mode(0o600)).expect("close it");
    let group = data.join("of-a-group");
    std::fs::create_dir(&group).expect("make a directory");
    chown(&group, None, Some(2000)).expect("give it to a group");
    let command = "cat /proc/self/uid_map /proc/self/gid_map /data/given && stat -c '%u %g' / /etc /data/of-a-group \
                   && touch /made /data/made && chown 1000:2000 /made /data/made && mkdir -p /etc/deep/er \
                   && echo more >> /etc/passwd && rm /bin/vi && ln -s a /link; exec sleep 1000";
    let spec = mapped(&sandbox, command, &[volume(&data, "/data", &["rbind", "idmap"])]);
    let (layers, created) = try_create(&sandbox, "c1", &spec);
    let Ok(Response::Pid(pid)) = created else { panic!("{created:?}; shim log: {}", sandbox.log()) };
    let mut connection = sandbox.attach("c1");
    sandbox.start("c1");
    let mut said = String::new();
    while !said.ends_with("0 0\n0 2000\n") {
        let frame = connection.receive().expect("receive").expect("a frame");
        said.push_str(&String::from_utf8_lossy(&frame.payload));
        assert!(said.len() < 4096, "{said}");
    }
    let words: Vec<_> = said.split_whitespace().collect();
    assert_eq!(words[..6], ["0", "300000", "65536", "0", "300000", "65536"]);
    assert!(said.contains("from outside"), "{said}");
    testkit::wait_until("the files to be made", || {
        if layers.changes.join("fs/link").is_symlink() { Ok(()) } else { Err("no link yet") }
    });
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    assert!(status.contains("Uid:\t300000\t300000\t300000\t300000"), "{status}");
    for made in ["made", "link", "etc/passwd", "etc/deep/er"] {
        let expected = if made == "made" { (1000, 2000) } else { (0, 0) };
        assert_eq!(layers.owner(made), expected, "{made}");
    }
    assert_eq!(owner(&data.join("made")), (1000, 2000));
    let whiteout = std::fs::symlink_metadata(layers.changes.join("fs/bin/vi")).expect("what hides a file");
    assert_eq!((whiteout.rdev(), whiteout.mode() & 0o170_000), (0, 0o020_000));
}

#[test]
fn containers_of_a_sandbox_share_what_it_has_and_root_rules_there() {
    let sandbox = sandbox(false);
    let pid = hold(&sandbox, "held", &mapped(&sandbox, "exec sleep 1000", &[]));
    let look = "for kind in user net ipc uts; do readlink /proc/self/ns/$kind; done; hostname";
    let (_, second) = run(&sandbox, "c2", &mapped(&sandbox, look, &[]));
    let second = second.expect(0).stdout;
    let joined = sandbox.exec("held", "e1", shell_process(look)).expect(0).stdout;
    assert_eq!(second, joined);
    assert!(second.ends_with("mapped\n"), "{second}");
    for kind in ["user", "net", "ipc", "uts", "pid", "mnt", "cgroup"] {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        assert_ne!(of(&pid.to_string()), of("self"), "{kind}");
    }
    // What the namespaces belong to is decided by who made them: this works if they are the sandbox's.
    let rule = "set -e; ip link set lo down; ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward; \
                cat /proc/sys/net/ipv4/ip_forward; mkdir /m; mount -t tmpfs none /m; touch /m/x; mount -t proc none /m; \
                hostname other; echo 77 > /proc/sys/kernel/shmmni; test -d /sys/class/net/lo; \
                mount -t sysfs none /m; mount -t mqueue none /m";
    let (_, outcome) = run(&sandbox, "c3", &privileged(mapped(&sandbox, rule, &[])));
    assert_eq!(outcome.expect(0).stdout, "1\n");
}

#[test]
fn root_with_every_right_gets_nothing_of_the_hosts() {
    let sandbox = sandbox(false);
    let secret = sandbox.dir.path().join("secret");
    std::fs::create_dir(&secret).expect("make a directory");
    std::fs::set_permissions(&secret, Permissions::from_mode(0o755)).expect("open it");
    std::fs::write(secret.join("shadow"), "hash").expect("write");
    std::fs::set_permissions(secret.join("shadow"), Permissions::from_mode(0o600)).expect("close it");
    // A part of the host that got in without its ids being mapped, as by a leak.
    let leak = volume(&secret, "/leak", &["rbind"]);
    let disk = "/dev/disk-of-the-host";
    let attacks = [
        "cat /leak/shadow",
        "echo x > /leak/new",
        "rm /leak/shadow",
        "chown 0:0 /leak/shadow",
        "chmod 666 /leak/shadow",
        "echo '0 0 1' > /proc/self/uid_map",
        "echo '0 0 65536' > /proc/1/gid_map",
        "mknod /dev/disk b 259 0",
        "mknod /dev/memory c 1 1",
        "chown 65536 /tmp",
        "chown 300000 /tmp",
        "echo '|/bin/sh' > /proc/sys/kernel/core_pattern",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo 1 > /proc/sys/fs/protected_hardlinks",
        "echo /bin/sh > /proc/sys/kernel/modprobe",
        "echo 0 > /sys/kernel/mm/ksm/run",
        "echo x > /sys/kernel/uevent_helper",
        "cat /proc/kcore",
        "cat /proc/kallsyms | grep -v '^0000000000000000'",
        "dmesg -n 1",
        "date -s 2001-01-01; date +%Y | grep 2001",
        "mount -t ext4 /dev/vda /mnt",
        "mount -t debugfs none /mnt",
        "mount -t tracefs none /mnt",
        "mount -t securityfs none /mnt",
        "mount -t devtmpfs none /mnt",
        "swapoff -a && false",
        "insmod /bin/busybox",
        "nsenter -t 1 -U -m -n /bin/true --fork; nsenter --user=/proc/1/ns/user /bin/true",
        "losetup /dev/loop0 /bin/busybox",
        "unshare -Ur sh -c 'cat /leak/shadow || echo 1 > /proc/sys/kernel/sysrq || chown 1000 /leak/shadow || mount -t ext4 /dev/vda /mnt'",
        "unshare -U sh -c 'echo \"0 0 1\" > /proc/self/uid_map'",
        "ulimit -n 2000000000",
        "echo -1000 > /proc/self/oom_score_adj; grep -qx -- -1000 /proc/self/oom_score_adj",
        "chroot /proc/1/root/../../../.. cat /leak/shadow",
    ];
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read");
    let mut script = String::from("mkdir -p /mnt; ");
    for (index, attack) in attacks.iter().enumerate() {
        script += &format!("if ({attack}) >/tmp/said 2>&1; then echo \"works {index}\"; fi\n");
    }
    script += "echo done";
    let (layers, outcome) = run(&sandbox, "c1", &privileged(mapped(&sandbox, &script, &[leak])));
    let outcome = outcome.expect(0);
    let worked: Vec<&str> = outcome
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("works ")?.parse::<usize>().ok())
        .map(|index| attacks[index])
        .collect();
    assert!(worked.is_empty(), "{worked:#?}");
    assert!(outcome.stdout.ends_with("done\n"), "{outcome:?}");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read"), before);
    assert_eq!(std::fs::read_to_string(secret.join("shadow")).expect("it is there"), "hash");
    assert_eq!(owner(&secret.join("shadow")), (0, 0));
    assert!(!Path::new(disk).exists() && layers.changes.join("fs/leak").exists());
}

#[test]
fn devices_of_the_host_are_shown_and_belong_to_nobody() {
    let sandbox = sandbox(false);
    let command = "stat -c '%u %g' /dev/null /dev/kmsg; readlink /dev/ptmx; echo x > /dev/null && echo written; \
                   head -c 1 /dev/kmsg || echo closed";
    let mut spec = privileged(mapped(&sandbox, command, &[]));
    let device = |path: &str| {
        let stat = std::fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        runtime::spec::LinuxDevice {
            path: path.into(),
            kind: "c".to_owned(),
            major: i64::from(rustix::fs::major(stat.rdev())),
            minor: i64::from(rustix::fs::minor(stat.rdev())),
            ..Default::default()
        }
    };
    spec.linux.as_mut().expect("linux").devices = ["/dev/ptmx", "/dev/kmsg"].map(device).into();
    let (_, outcome) = run(&sandbox, "c1", &spec);
    let outcome = outcome.expect(0);
    assert_eq!(outcome.stdout, "65534 65534\n65534 65534\npts/ptmx\nwritten\nclosed\n", "{outcome:?}");
}

#[test]
fn what_lies_at_a_devices_path_must_be_the_device() {
    let sandbox = sandbox(false);
    let directory = tempfile::tempdir_in("/dev").expect("a directory where devices are");
    let (secret, link) = (directory.path().join("secret"), directory.path().join("link"));
    std::fs::write(&secret, "hash").expect("write");
    std::os::unix::fs::symlink("/dev/zero", &link).expect("link");
    let with = |path: &Path, kind: &str, (major, minor): (i64, i64)| {
        let mut spec = mapped(&sandbox, &format!("head -c 4 {} | od -An -tx1", path.display()), &[]);
        let (path, kind) = (path.to_owned(), kind.to_owned());
        let device = runtime::spec::LinuxDevice { path, kind, major, minor, ..Default::default() };
        spec.linux.as_mut().expect("linux").devices = vec![device];
        spec
    };
    // A file, another device, a node of the other kind.
    let (zero, null) = (Path::new("/dev/zero"), Path::new("/dev/null"));
    for (id, spec) in [
        ("c1", with(&secret, "c", (1, 250))),
        ("c2", with(zero, "c", (1, 250))),
        ("c3", with(null, "b", (1, 3))),
    ] {
        let refused = refusal(&sandbox, id, &spec);
        assert!(refused.contains("neither there nor at"), "{refused}");
    }
    let (_layers, outcome) = run(&sandbox, "c4", &with(&link, "c", (1, 5)));
    assert_eq!(outcome.stdout.trim(), "00 00 00 00", "{outcome:?}");
}

#[test]
fn root_who_may_order_its_own_groups_does_so() {
    let sandbox = sandbox(false);
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let order = "cd /sys/fs/cgroup; test -e cgroup.controllers || cd pids; mkdir inner && \
                 echo $$ > inner/cgroup.procs && cat /proc/self/cgroup; echo 1 > pids.max";
    let with = |id: &str, access: &str| {
        let mut spec = privileged(mapped(&sandbox, order, &[]));
        for mount in &mut spec.mounts {
            if mount.destination == Path::new("/sys/fs/cgroup") {
                mount.options.retain(|option| option != "ro" && option != "rw");
                mount.options.push(access.to_owned());
            }
        }
        run(&sandbox, id, &spec).1
    };
    // A limit is never the container's to change; of v1, nothing is.
    let mine = with("c1", "rw");
    assert_eq!(mine.stdout.contains("/inner"), unified, "{mine:?}");
    assert!(mine.status.code != 0, "{mine:?}");
    for (id, access) in [("c2", "ro"), ("c3", "rro")] {
        let others = with(id, access);
        assert!(!others.stdout.contains("/inner") && others.status.code != 0, "{others:?}");
    }
}

#[test]
fn a_program_for_everybody_to_be_root_is_so_inside_only() {
    let sandbox = sandbox(false);
    let data = sandbox.dir.path().join("volume");
    std::fs::create_dir(&data).expect("make a directory");
    let inside = "cp /bin/attacker /data/root && chmod 6755 /data/root && exec sleep 1000";
    let spec = mapped(&sandbox, inside, &[volume(&data, "/data", &["rbind", "idmap"])]);
    let pid = hold(&sandbox, "c1", &spec);
    testkit::wait_until("the program to be made", || {
        let mode = std::fs::metadata(data.join("root")).map(|stat| stat.mode() & 0o7777);
        if mode.as_ref().is_ok_and(|mode| *mode == 0o6755) { Ok(()) } else { Err(format!("{mode:?}")) }
    });
    // A user of the container becomes its root by it, and nobody outside.
    let mut process = shell_process("exec /data/root root");
    process.user.uid = 1000;
    process.user.gid = 1000;
    let stdio = Stdio { stdin: true, ..Stdio::default() };
    let mut running = sandbox.exec_attached("c1", "e1", process, stdio);
    assert_eq!(running.receive().expect("receive").expect("a frame").payload, b"0\n");
    let users: Vec<String> = processes_of(pid);
    assert!(
        users.iter().all(|uid| (FIRST..FIRST + 65_536).contains(&uid.parse().expect("a number"))),
        "{users:?}"
    );
    // On disk it is root's, as with every runtime: who has volumes keeps others away from them.
    assert_eq!(owner(&data.join("root")), (0, 0));
}

/// Who the processes in the container of `pid` are, as the host counts.
fn processes_of(pid: u32) -> Vec<String> {
    let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid")).expect("it runs");
    let mut users = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("list").flatten() {
        if std::fs::read_link(entry.path().join("ns/pid")).is_ok_and(|theirs| theirs == namespace) {
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let ids = status.lines().filter_map(|line| line.strip_prefix("Uid:"));
            users.extend(ids.flat_map(str::split_whitespace).map(str::to_owned));
        }
    }
    assert!(users.len() > 4, "{users:?}");
    users
}

#[test]
fn process_one_of_a_shared_namespace_gives_root_nothing() {
    let sandbox = sandbox(true);
    let look = "cat /proc/1/maps; ls /proc/1/root; readlink /proc/1/exe; cat /proc/1/environ; ls /proc/1/fd; kill -9 1; \
                nsenter -t 1 -m -p true";
    let spec = privileged(mapped(&sandbox, &format!("{look}; echo done"), &[]));
    let (_, outcome) = run(&sandbox, "c1", &spec);
    let outcome = outcome.expect(0);
    assert_eq!(outcome.stdout, "done\n", "{outcome:?}");
    let init = sandbox.handle.init_pid.expect("it shares processes");
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).expect("it lives");
    let nobody = FIRST + 65_534;
    assert!(status.contains(&format!("Uid:\t{nobody}\t{nobody}")), "{status}");
    assert!(status.contains("CapBnd:\t0000000000000000"), "{status}");
    let users = sandbox.handle.user_namespace().expect("it has users of its own");
    let own = std::fs::metadata(format!("/proc/{init}/ns/user")).expect("look");
    let stat = rustix::fs::fstat(&users.fd).expect("look");
    assert_eq!((stat.st_dev, stat.st_ino), (own.dev(), own.ino()));
    // Another container sees the first one's processes.
    hold(&sandbox, "c2", &mapped(&sandbox, "exec sleep 4321", &[]));
    let (_, outcome) = run(&sandbox, "c3", &mapped(&sandbox, "ps | grep -c 'sleep 432[1]'", &[]));
    assert_eq!(outcome.expect(0).stdout, "1\n");
}

#[test]
fn nobody_takes_over_what_joins() {
    let sandbox = sandbox(false);
    let spec = privileged(mapped(&sandbox, "exec /bin/attacker trace", &[]));
    let stdio = Stdio { stdin: true, ..Stdio::default() };
    let (_, created) = try_create_with(&sandbox, "c1", &spec, stdio);
    created.unwrap_or_else(|error| panic!("{error}; shim log: {}", sandbox.log()));
    let mut attacker = sandbox.attach("c1");
    sandbox.start("c1");
    assert_eq!(attacker.receive().expect("receive").expect("a frame").payload, b"ready\n");
    for round in 0..30 {
        sandbox.exec("c1", &format!("e{round}"), shell_process("true")).expect(0);
    }
    runtime::cgroup::Cgroup::at(&sandbox.cgroup.join("c1")).expect("a path").kill_all().expect("end it");
    let found = outcome(attacker).stdout;
    assert_eq!(found, "", "somebody was seized");
}

#[test]
fn streams_belong_to_whoever_writes_to_them() {
    let sandbox = sandbox(false);
    let command = "echo out > /dev/stdout; echo err > /dev/stderr; echo more > /proc/self/fd/1";
    for (name, user) in [("root", 0), ("other", 1000)] {
        let mut spec = mapped(&sandbox, command, &[]);
        let process = spec.process.as_mut().expect("process");
        process.user.uid = user;
        process.user.gid = user;
        let (_, outcome) = run(&sandbox, name, &spec);
        let outcome = outcome.expect(0);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\nmore\n", "err\n"), "{name}");
    }
    hold(&sandbox, "held", &mapped(&sandbox, "exec sleep 1000", &[]));
    let mut process = shell_process(command);
    process.user.uid = 1000;
    let outcome = sandbox.exec("held", "e1", process.clone()).expect(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\nmore\n", "err\n"));
    process.terminal = true;
    process.args = vec!["/bin/sh".into(), "-c".into(), "tty && echo out > /dev/tty".into()];
    let outcome = sandbox.exec("held", "e2", process).expect(0);
    assert_eq!(outcome.stdout, "/dev/pts/0\r\nout\r\n");
}

#[test]
fn who_is_nobody_outside_cannot_be_run_as() {
    let sandbox = sandbox(false);
    let mut spec = mapped(&sandbox, "true", &[]);
    spec.process.as_mut().expect("process").user.uid = 65_536;
    let told = refusal(&sandbox, "c1", &spec);
    assert!(told.contains("cannot setuid to unmapped uid 65536 in user namespace"), "{told}");
    let mut spec = mapped(&sandbox, "true", &[]);
    spec.process.as_mut().expect("process").user.additional_gids = vec![70_000];
    let told = refusal(&sandbox, "c2", &spec);
    assert!(told.contains("cannot setgid to unmapped gid 70000 in user namespace"), "{told}");
    hold(&sandbox, "held", &mapped(&sandbox, "exec sleep 1000", &[]));
    let mut process = shell_process("true");
    process.user.gid = 65_536;
    let exec = runtime::shim::protocol::Request::Exec {
        container: "held".to_owned(),
        exec: "e1".to_owned(),
        process,
        stdio: Stdio::default(),
        attach: None,
        limit: None,
    };
    let told = sandbox.client().ask(&exec).expect_err("refused").to_string();
    assert!(told.contains("cannot setgid to unmapped gid 65536 in user namespace"), "{told}");
}

#[test]
fn a_file_system_that_cannot_be_mapped_is_refused() {
    let sandbox = sandbox(false);
    for (id, source) in [("c1", "/proc/sys"), ("c2", "/sys/kernel")] {
        let spec = mapped(&sandbox, "true", &[volume(Path::new(source), "/data", &["rbind", "idmap"])]);
        let told = refusal(&sandbox, id, &spec);
        let expected = format!(
            "failed to set MOUNT_ATTR_IDMAP on {source} (maybe the filesystem used doesn't support idmap mounts on this kernel?)"
        );
        assert!(told.contains(&expected), "{told}");
    }
}

#[test]
fn memory_and_single_files_are_mapped_too() {
    let sandbox = sandbox(false);
    let shm = sandbox.dir.path().join("shm");
    std::fs::create_dir(&shm).expect("make a directory");
    let options = Some(c"mode=1777,size=65536");
    rustix::mount::mount("shm", &shm, "tmpfs", rustix::mount::MountFlags::NODEV, options)
        .expect("mount memory");
    let file = sandbox.dir.path().join("hosts");
    std::fs::write(&file, "127.0.0.1 localhost\n").expect("write");
    let mounts =
        [volume(&shm, "/dev/shm", &["rbind", "idmap"]), volume(&file, "/etc/hosts", &["rbind", "idmap"])];
    let command = "touch /dev/shm/made && echo more >> /etc/hosts && stat -c %u /dev/shm/made /etc/hosts";
    let mut spec = mapped(&sandbox, command, &[]);
    spec.mounts.retain(|mount| mount.destination != Path::new("/dev/shm"));
    spec.mounts.extend(mounts);
    let unmount = || rustix::mount::unmount(&shm, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    if !maps_memory() {
        let told = refusal(&sandbox, "c1", &spec);
        unmount();
        assert!(told.contains("failed to set MOUNT_ATTR_IDMAP on"), "{told}");
        return;
    }
    let (_, outcome) = run(&sandbox, "c1", &spec);
    let owners = (owner(&shm.join("made")), owner(&file));
    unmount();
    assert_eq!(outcome.expect(0).stdout, "0\n0\n");
    assert_eq!(owners, ((0, 0), (0, 0)));
    assert!(std::fs::read_to_string(&file).expect("read").ends_with("more\n"));
}

/// Whether the kernel can map the ids of file systems in memory, as those from 6.3 on can.
fn maps_memory() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(3))
}

#[test]
fn users_of_its_own_need_a_network_of_its_own() {
    testkit::require_root();
    let dir = tempfile::tempdir().expect("temporary directory");
    let spec = runtime::shim::LaunchSpec {
        id: "sandbox".to_owned(),
        run_dir: dir.path().join("run"),
        state_dir: dir.path().join("state"),
        network: Network::Host,
        ipc: false,
        hostname: None,
        pid: false,
        users: Some(MAP),
        cgroup: None,
        log: dir.path().join("shim.log"),
        program: Some(support::PROGRAM.into()),
    };
    let told = runtime::shim::launch(&spec).expect_err("refused").to_string();
    assert!(told.contains("needs a new network"), "{told}");
}

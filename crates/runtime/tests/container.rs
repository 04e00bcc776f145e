//! What a container's configuration asks for is what its program sees.

mod support;

use runtime::Rootfs;
use runtime::shim::descriptors::Descriptors;
use runtime::shim::protocol::{Response, Stdio};
use runtime::spec::{LinuxDevice, Mount, Process, Rlimit, Spec};
use support::{Sandbox, create_request, outcome, shell};

/// Runs a command in a container whose configuration was changed; gives its output.
#[track_caller]
fn check(command: &str, change: impl FnOnce(&Sandbox, &mut Spec), expected: &str) {
    let sandbox = Sandbox::new();
    let mut spec = shell(command);
    change(&sandbox, &mut spec);
    let outcome = sandbox.run("c1", spec).expect(0);
    assert_eq!(outcome.stdout, expected, "{outcome:?}; shim log: {}", sandbox.log());
}

fn process(spec: &mut Spec) -> &mut Process {
    spec.process.as_mut().expect("process")
}

#[test]
fn a_user_has_its_groups_mask_home_and_directory() {
    let change = |_: &Sandbox, spec: &mut Spec| {
        let process = process(spec);
        process.user.uid = 65534;
        process.user.gid = 65534;
        process.user.additional_gids = vec![50];
        process.user.umask = Some(0o27);
        process.cwd = "/made/for/it".into();
    };
    check("id -u; id -G; umask; echo $HOME; pwd", change, "65534\n65534 50\n0027\n/home\n/made/for/it\n");
}

#[test]
fn new_privileges_can_be_forbidden() {
    let change = |_: &Sandbox, spec: &mut Spec| process(spec).no_new_privileges = true;
    check(
        "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t\\n' '  '",
        change,
        "NoNewPrivs: 1 Seccomp: 2 ",
    );
}

#[test]
fn a_limit_is_set_and_one_that_cannot_be_raised_is_lowered_with_a_warning() {
    let limit = |kind: &str, soft, hard| Rlimit { kind: kind.to_owned(), soft, hard };
    let change =
        move |_: &Sandbox, spec: &mut Spec| process(spec).rlimits = vec![limit("RLIMIT_NOFILE", 77, 99)];
    check("ulimit -Sn; ulimit -Hn", change, "77\n99\n");
    let sandbox = Sandbox::new();
    let mut spec = shell("ulimit -Hn");
    process(&mut spec).rlimits = vec![limit("RLIMIT_NOFILE", 1 << 19, 1 << 19)];
    let text = sandbox.run("c1", spec).expect(0).stdout;
    let given: u64 = text.trim().parse().expect("a number");
    assert!(
        given == 1 << 19 || sandbox.log().contains("RLIMIT_NOFILE is limited to"),
        "{text} {}",
        sandbox.log()
    );
}

#[test]
fn the_root_can_be_read_only_with_writable_places() {
    let change = |_: &Sandbox, spec: &mut Spec| {
        spec.root.as_mut().expect("root").readonly = true;
        spec.mounts.push(Mount::filesystem("tmpfs", "/tmp", &["nosuid", "size=64k"]));
    };
    check("touch /x 2>/dev/null || echo no; touch /tmp/x && echo yes", change, "no\nyes\n");
}

#[test]
fn a_bind_mount_is_read_only_down_to_the_last_of_its_mounts_if_asked() {
    let change = |sandbox: &Sandbox, spec: &mut Spec| {
        let shared = sandbox.dir.path().join("shared");
        std::fs::create_dir(&shared).expect("make a directory");
        std::fs::write(shared.join("file"), "content\n").expect("write");
        spec.mounts.push(Mount::bind(shared.clone(), "/data", &["ro"]));
        spec.mounts.push(Mount::bind(shared.join("file"), "/etc/one", &["rro"]));
        spec.mounts.push(Mount::bind(shared, "/open", &[]));
    };
    let command = "cat /data/file /etc/one; touch /data/x 2>/dev/null || echo no; (echo x > /etc/one) 2>/dev/null || \
                   echo no; touch /open/x && ls /data";
    check(command, change, "content\ncontent\nno\nno\nfile\nx\n");
}

/// How many of the mounts at and below a bind mount of the host's `/dev` can be written.
fn writable_below(option: &str) -> u32 {
    let sandbox = Sandbox::new();
    let mut spec = shell("grep -c ' /devices[^ ]* rw' /proc/self/mountinfo");
    spec.mounts.push(Mount::bind("/dev", "/devices", &[option]));
    sandbox.run("c1", spec).stdout.trim().parse().expect("a number")
}

#[test]
fn what_is_mounted_below_a_bind_mount_is_read_only_only_if_that_is_asked_for() {
    let all = writable_below("rw");
    assert!(all > 1, "the host has nothing mounted below /dev");
    assert_eq!(writable_below("ro"), all - 1);
    assert_eq!(writable_below("rro"), 0);
}

#[test]
fn a_tmpfs_can_begin_with_what_was_there() {
    let change = |sandbox: &Sandbox, spec: &mut Spec| {
        let home = sandbox.dir.path().join("c1/rootfs/home");
        std::fs::create_dir_all(home.join("deep")).expect("make directories");
        std::fs::write(home.join("deep/file"), "here\n").expect("write");
        std::os::unix::fs::symlink("deep/file", home.join("link")).expect("link");
        testkit::rootfs::busybox(home.parent().expect("a root"));
        spec.mounts.push(Mount::filesystem("tmpfs", "/home", &["tmpcopyup", "ro"]));
    };
    check(
        "cat /home/link; touch /home/x 2>/dev/null || echo no; mount | grep -c ' /home '",
        change,
        "here\nno\n1\n",
    );
}

#[test]
fn devices_are_made_with_their_owners() {
    let change = |_: &Sandbox, spec: &mut Spec| {
        let linux = spec.linux.as_mut().expect("linux");
        linux.devices.push(LinuxDevice {
            path: "/dev/net/tun".into(),
            kind: "c".to_owned(),
            major: 10,
            minor: 200,
            file_mode: Some(0o640),
            uid: Some(5),
            gid: Some(6),
        });
    };
    check("stat -c '%a %u %g %t:%T' /dev/net/tun; ls -l /dev | grep -c '^c'", change, "640 5 6 a:c8\n6\n");
}

#[test]
fn an_overlay_keeps_changes_in_its_upper_directory_and_shows_nothing_on_the_host() {
    let sandbox = Sandbox::new();
    let (bundle, _) =
        sandbox.bundle("c1", shell("echo changed > /etc/passwd; cat /etc/extra; rm /etc/group"));
    let dir = |name: &str| {
        let path = sandbox.dir.path().join(name);
        std::fs::create_dir_all(path.join("etc")).expect("make a directory");
        path
    };
    let base = sandbox.dir.path().join("base");
    std::fs::create_dir(&base).expect("make a directory");
    testkit::rootfs::busybox(&base);
    let top = dir("top");
    std::fs::write(top.join("etc/extra"), "from above\n").expect("write");
    let (upper, work) = (dir("upper"), sandbox.dir.path().join("work"));
    std::fs::create_dir(&work).expect("make a directory");
    let rootfs = Rootfs::Overlay {
        lower: vec![top, base.clone()],
        upper: Some(upper.clone()),
        work: Some(work),
        volatile: false,
        mapped: false,
    };
    let request = create_request("c1", bundle, rootfs, Stdio::default(), &Descriptors::default());
    assert!(matches!(sandbox.ask(&request), Response::Pid(_)));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read");
    let here = sandbox.dir.path().to_str().expect("text");
    assert!(!mounts.contains(here), "the host has a mount of the container");
    let connection = sandbox.attach("c1");
    sandbox.start("c1");
    assert_eq!(outcome(connection).expect(0).stdout, "from above\n");
    assert_eq!(std::fs::read_to_string(upper.join("etc/passwd")).expect("read"), "changed\n");
    assert!(std::fs::read_to_string(base.join("etc/passwd")).expect("read").starts_with("root:"));
    assert!(base.join("etc/group").exists());
}

#[test]
fn an_overlay_has_as_many_layers_as_an_image_may_have() {
    let sandbox = Sandbox::new();
    let (bundle, _) = sandbox.bundle("c1", shell("ls /layers | wc -l"));
    let base = sandbox.dir.path().join("base");
    std::fs::create_dir(&base).expect("make a directory");
    testkit::rootfs::busybox(&base);
    let long = "x".repeat(120);
    let mut lower: Vec<_> = (0..127)
        .map(|number| {
            let layer = sandbox.dir.path().join(format!("{long}/{long}/{number}"));
            std::fs::create_dir_all(layer.join("layers")).expect("make directories");
            std::fs::write(layer.join("layers").join(number.to_string()), "").expect("write");
            layer
        })
        .collect();
    lower.push(base);
    let rootfs = Rootfs::Overlay { lower, upper: None, work: None, volatile: false, mapped: false };
    let request = create_request("c1", bundle, rootfs, Stdio::default(), &Descriptors::default());
    sandbox.ask(&request);
    let connection = sandbox.attach("c1");
    sandbox.start("c1");
    assert_eq!(outcome(connection).expect(0).stdout, "127\n");
}

#[test]
fn a_container_has_the_clocks_domain_and_priorities_it_asks_for() {
    let change = |_: &Sandbox, spec: &mut Spec| {
        use runtime::spec::{IoPriority, Namespace, NamespaceKind, Scheduler, TimeOffset};
        let linux = spec.linux.as_mut().expect("linux");
        linux.namespaces.push(Namespace::new(NamespaceKind::Time));
        linux.time_offsets.insert("boottime".to_owned(), TimeOffset { secs: 1_000_000_000, nanosecs: 0 });
        spec.hostname = Some("named".to_owned());
        let process = process(spec);
        process.scheduler =
            Some(Scheduler { policy: "SCHED_BATCH".to_owned(), nice: 7, ..Scheduler::default() });
        process.io_priority = Some(IoPriority { class: "IOPRIO_CLASS_IDLE".to_owned(), priority: 0 });
    };
    let command = "cut -c1-2 /proc/uptime; hostname; cut -d' ' -f19 /proc/self/stat; ionice | cut -d: -f1";
    check(command, change, "10\nnamed\n7\nidle\n");
}

/// A root in a sandbox's bundle with these links, each with what it says.
fn with_links(sandbox: &Sandbox, id: &str, links: &[(&str, &str)]) -> std::path::PathBuf {
    let root = sandbox.dir.path().join(id).join("rootfs");
    std::fs::create_dir_all(root.join("etc")).expect("make a root");
    testkit::rootfs::busybox(&root);
    for (link, says) in links {
        let _ = std::fs::remove_file(root.join(link));
        std::os::unix::fs::symlink(says, root.join(link)).expect("link");
    }
    root
}

#[test]
fn what_is_mounted_behind_a_link_to_nothing_is_made_below_the_root() {
    let sandbox = Sandbox::new();
    let (shown, outside) = (sandbox.dir.path().join("shown"), sandbox.dir.path().join("outside"));
    std::fs::write(&shown, "shown\n").expect("write");
    let directory = sandbox.dir.path().join("directory");
    std::fs::create_dir(&directory).expect("make");
    std::fs::write(directory.join("f"), "in it\n").expect("write");
    let up = format!("{}{}", "../".repeat(40), &outside.display().to_string()[1..]);
    let links = [
        ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
        ("absolute", "/made/for/it"),
        ("up", up.as_str()),
        ("one", "two"),
        ("two", "./three//"),
        ("three", "end/of/chain"),
        ("dir", "no/such/dir"),
    ];
    let root = with_links(&sandbox, "c1", &links);
    let mut spec = shell(
        "cat /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf /absolute /up /three/deep/x; cat /dir/f /no/such/dir/f",
    );
    for target in ["/etc/resolv.conf", "/absolute", "/up", "/one/deep/x"] {
        spec.mounts.push(Mount::bind(&shown, target, &["rprivate", "ro"]));
    }
    spec.mounts.push(Mount::bind(&directory, "/dir", &["rprivate"]));
    let outcome = sandbox.run("c1", spec).expect(0);
    assert_eq!(outcome.stdout, "shown\n".repeat(5) + "in it\nin it\n", "{outcome:?}");
    assert!(!outside.exists(), "it was made on the host");
    assert!(root.join(outside.strip_prefix("/").expect("an absolute path")).exists());
    // What the links say is what they have said.
    assert_eq!(std::fs::read_link(root.join("up")).expect("a link").to_str(), Some(up.as_str()));
}

#[test]
fn a_file_is_not_mounted_on_a_directory_and_that_is_said() {
    let sandbox = Sandbox::new();
    let file = sandbox.dir.path().join("file");
    std::fs::write(&file, "x").expect("write");
    let directory = sandbox.dir.path().join("directory");
    std::fs::create_dir(&directory).expect("make");
    for (id, source, target) in [("c1", &file, "/tmp"), ("c2", &directory, "/bin/busybox")] {
        let mut spec = shell("true");
        spec.mounts.push(Mount::bind(source, target, &["rprivate"]));
        let error = sandbox.try_create(id, spec, Stdio::default()).expect_err(id).to_string();
        let begin =
            format!("mount on `{target}` (Are you trying to mount a directory onto a file (or vice-versa)? ");
        assert!(error.contains(&begin) && error.ends_with("expected type): not a directory"), "{error}");
    }
}

#[test]
fn links_to_nothing_that_lead_to_each_other_end() {
    let sandbox = Sandbox::new();
    let shown = sandbox.dir.path().join("shown");
    std::fs::write(&shown, "shown\n").expect("write");
    // The kernel itself finds the circle; that the other grows with each step it cannot know.
    let grows = format!("grows/{}", "x/".repeat(200));
    for (link, says) in [("circle", "circle"), ("grows", grows.as_str())] {
        with_links(&sandbox, link, &[(link, says)]);
        let mut spec = shell("true");
        spec.mounts.push(Mount::bind(&shown, format!("/{link}/f"), &["rprivate"]));
        let error = sandbox.try_create(link, spec, Stdio::default()).expect_err(link).to_string();
        assert!(error.contains(&format!("/{link}/f")), "{error}");
    }
}

//! Against real devices: files behind loop devices.

use std::io::Write as _;

use super::*;

const SIZE: u64 = 8 << 20;

/// A loop device, and a place to mount it; both are gone afterwards.
struct Device {
    root: tempfile::TempDir,
    path: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("run it");
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Device {
    fn new(read_only: bool, prepare: impl FnOnce(&Path)) -> Self {
        testkit::require_root();
        let root = tempfile::tempdir().expect("temporary directory");
        let disk = root.path().join("disk");
        File::create(&disk).and_then(|disk| disk.set_len(SIZE)).expect("make a disk");
        prepare(&disk);
        let disk = disk.display().to_string();
        let arguments: &[&str] = if read_only { &["--read-only"] } else { &[] };
        let path = run("losetup", &[arguments, &["--find", "--show", &disk]].concat()).into();
        Self { root, path }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn wanted(&self, kind: Option<&str>, read_only: bool) -> FileSystem {
        FileSystem {
            device: self.path.clone(),
            kind: kind.map(str::to_owned),
            options: vec!["noatime".to_owned()],
            read_only,
        }
    }

    fn refused(&self, wanted: &FileSystem) -> String {
        let error = mount(&self.place("refused"), wanted).expect_err("it is refused");
        assert!(!is_mounted(&self.place("refused")).expect("look"));
        base::error::chain(&error).to_string()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for name in ["one", "two", "refused"] {
            super::super::memory::unmount(&self.place(name));
        }
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

#[test]
fn an_empty_device_is_formatted_once_and_is_one_file_system_for_all_pods() {
    let device = Device::new(false, |_| {});
    let unformatted = device.refused(&device.wanted(None, true));
    assert!(unformatted.contains("cannot mount unformatted disk /dev/loop"), "{unformatted}");
    let none = device.refused(&device.wanted(Some("none-such"), false));
    assert_eq!(none, "the device is empty, and this node has no program mkfs.none-such to format it");
    for kind in ["../evil", "", "a b"] {
        assert_eq!(
            device.refused(&device.wanted(Some(kind), false)),
            format!("`{kind}` is no kind of a file system")
        );
    }
    let held = lock(&device.path).expect("locked");
    assert_eq!(device.refused(&device.wanted(None, false)), "another program has locked the device");
    drop(held);
    let (one, two) = (device.place("one"), device.place("two"));
    mount(&one, &device.wanted(None, false)).expect("formatted, and mounted");
    fs::write(one.join("kept"), "data").expect("write");
    mount(&one, &device.wanted(None, false)).expect("it is mounted already");
    mount(&two, &device.wanted(Some("ext4"), true)).expect("for a second pod");
    assert_eq!(fs::read_to_string(two.join("kept")).expect("read"), "data");
    let table = fs::read_to_string("/proc/self/mounts").expect("procfs is mounted");
    let line = table.lines().find(|line| line.contains(&one.display().to_string())).expect("it is mounted");
    assert!(line.contains(" ext4 ") && line.contains("noatime"), "{line}");
    // It is not there any more, and then again, with what was in it.
    for place in [&one, &two] {
        super::super::memory::unmount(place);
        mounting::remove(place).expect("nothing is left");
    }
    mount(&one, &device.wanted(None, false)).expect("mounted");
    assert_eq!(fs::read_to_string(one.join("kept")).expect("read"), "data");
}

#[test]
fn what_is_on_a_device_stays_and_is_what_is_mounted() {
    let unknown = Device::new(false, |disk| {
        let mut disk = File::options().write(true).open(disk).expect("open");
        disk.write_all(b"somebody's data").expect("write");
    });
    let said = unknown.refused(&unknown.wanted(Some("ext4"), false));
    assert_eq!(said, "the device has something unknown on it, and is left as it is");
    let of_ext2 = |disk: &Path| drop(run("mkfs.ext2", &["-q", "-F", &disk.display().to_string()]));
    let older = Device::new(true, of_ext2);
    let said = older.refused(&older.wanted(Some("xfs"), false));
    assert!(said.starts_with("mount it as xfs, with ext2 on it"), "{said}");
    // Who only reads may have what nobody can write to.
    older.refused(&older.wanted(None, false));
    mount(&older.place("one"), &older.wanted(None, true)).expect("mounted");
    fs::write(older.place("one").join("file"), "x").expect_err("nothing is written");
    let mut wanted = older.wanted(None, false);
    wanted.device = older.root.path().join("disk");
    assert_eq!(older.refused(&wanted), "only directory and block device are supported");
}

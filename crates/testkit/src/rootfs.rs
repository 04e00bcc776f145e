//! Small root file systems made from the machine's own static busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Where Debian's `busybox-static` puts its program.
const BUSYBOX: &str = "/bin/busybox";

/// Fills the directory `root` with a root file system: busybox, its applets, users and the
/// directories that a container expects. A few megabytes, made in milliseconds.
#[track_caller]
pub fn busybox(root: &Path) {
    assert!(Path::new(BUSYBOX).exists(), "{BUSYBOX} is missing: install the package busybox-static");
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "var", "home"] {
        fs::create_dir_all(root.join(dir)).expect("create a directory of the root file system");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("open up /tmp");
    fs::copy(BUSYBOX, root.join("bin/busybox")).expect("copy busybox");
    let list = Command::new(BUSYBOX).arg("--list").output().expect("run busybox");
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|&applet| applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).expect("link an applet");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/sh\n";
    fs::write(root.join("etc/passwd"), users).expect("write /etc/passwd");
    fs::write(root.join("etc/group"), "root:x:0:\nstaff:x:50:nobody\nnogroup:x:65534:\n")
        .expect("write /etc/group");
}

/// The same root file system as the bytes of a tar archive, as `docker import` takes it.
#[track_caller]
pub fn busybox_tar() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("temporary directory");
    busybox(dir.path());
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all(".", dir.path()).expect("archive the root file system");
    archive.into_inner().expect("finish the archive")
}

//! Stores, archives and mounts for the tests of this crate.
#![allow(dead_code, unreachable_pub, reason = "every test target uses its own part of this")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Image, ImportOptions, Snapshot, Store};
use oci::{ContainerConfig, Digest, ImageConfig, Reference};
use tar::{EntryType, Header};
use tempfile::TempDir;

/// A store in a temporary directory.
pub struct TestStore {
    pub store: Store,
    pub dir: TempDir,
}

impl TestStore {
    pub fn new() -> Self {
        testkit::require_root();
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(&dir.path().join("image")).expect("open the store");
        Self { store, dir }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Closes the store and opens it again, as a restart does.
    pub fn reopen(self) -> Self {
        let Self { store, dir } = self;
        drop(store);
        let store =
            testkit::wait_until("the store's lock", || match Store::open(&dir.path().join("image")) {
                // A program that another test starts just now has a copy of all descriptors for a moment.
                Err(image::OpenError::Locked(path)) => Err(path),
                opened => Ok(opened.expect("open the store again")),
            });
        Self { store, dir }
    }

    /// What is in one of the store's directories.
    pub fn names(&self, directory: &str) -> Vec<String> {
        names(&self.root().join(directory))
    }

    /// Waits until nothing unfinished is left.
    pub fn wait_until_clean(&self) {
        testkit::wait_until("an empty ingest directory", || match self.names("ingest") {
            names if names.is_empty() => Ok(()),
            names => Err(names),
        });
    }

    pub fn import(&self, archive: &[u8], name: &str) -> Image {
        let options = ImportOptions { name: Some(reference(name)), ..ImportOptions::default() };
        self.store.image_import(archive, options).expect("import an archive")
    }
}

pub fn reference(text: &str) -> Reference {
    Reference::parse(text).expect(text)
}

pub fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("list a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Runs a shell script in the file system that a container with this snapshot would see, mounted in
/// a mount namespace of its own.
#[track_caller]
pub fn in_container(snapshot: &Snapshot, script: &str) -> String {
    let lower: Vec<String> = snapshot.lower.iter().map(|path| path.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        snapshot.upper.display(),
        snapshot.work.display()
    );
    let mounted = tempfile::tempdir().expect("mount point");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec"])
        .arg("mount -t overlay overlay -o \"$1\" \"$2\"; cd \"$2\"; eval \"$3\"")
        .args(["sh", &options])
        .arg(mounted.path())
        .arg(script)
        .output()
        .expect("run unshare");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{script}` failed: {complaint}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// An archive made by hand, entry by entry.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, "", content, |_| {})
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, "", b"", |header| header.set_mode(mode))
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"", |_| {})
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"", |_| {})
    }

    /// An entry whose name is written as it is, whatever it says.
    pub fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        link: &str,
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        let fields = header.as_ustar_mut().expect("ustar");
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        change(&mut header);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.padded(content)
    }

    /// A PAX header for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let len =
                (rest + 1..).find(|len| rest + len.to_string().len() == *len).expect("there is a length");
            write!(content, "{len} {key}=").expect("into memory");
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.entry(EntryType::XHeader, "PaxHeaders/x", "", &content, |_| {})
    }

    pub fn padded(mut self, content: &[u8]) -> Self {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

/// The configuration of an image with these layer archives.
pub fn config_of(layers: &[&[u8]]) -> ImageConfig {
    let mut config = ImageConfig::for_platform(&oci::Platform::host());
    config.created = Some("2024-01-01T00:00:00Z".into());
    config.config = ContainerConfig { cmd: Some(vec!["/bin/sh".into()]), ..ContainerConfig::default() };
    config.rootfs.diff_ids = layers.iter().map(|layer| Digest::sha256_of(layer)).collect();
    config
}

/// What an old `docker save` would write for one image with these layers.
pub fn docker_archive(tag: &str, layers: &[&[u8]]) -> Vec<u8> {
    let config = config_of(layers).to_bytes();
    let config_name = format!("{}.json", Digest::sha256_of(&config).hex());
    let mut archive = Archive::new();
    let mut paths = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let path = format!("layer{at}/layer.tar");
        archive = archive.dir(&format!("layer{at}/"), 0o755).file(&path, layer);
        paths.push(format!("\"{path}\""));
    }
    let manifest =
        format!(r#"[{{"Config":"{config_name}","RepoTags":["{tag}"],"Layers":[{}]}}]"#, paths.join(","));
    archive.file(&config_name, &config).file("manifest.json", manifest.as_bytes()).finish()
}

//! Crashes: after any number of steps the work on a pod's volumes is left, and taken up by who knows no more
//! than what is on disk.

use std::fs;
use std::task::Poll;

use super::*;
use crate::pod::volumes::memory::{self, Memory};
use crate::pod::volumes::payload::File;

/// A pod's directory, whose mounts go with it.
struct Pod {
    root: tempfile::TempDir,
}

impl Pod {
    fn new() -> Self {
        testkit::require_root();
        Self { root: tempfile::tempdir().expect("temporary directory") }
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("uid")
    }

    /// What a daemon that has just begun knows.
    fn volumes(&self) -> Volumes {
        Volumes::new(self.directory())
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory().join(PLACES).join(name)
    }

    /// The phases that the record tells.
    fn recorded(&self) -> BTreeMap<String, Phase> {
        let record = base::record::read::<VolumesFile>(&self.directory().join(RECORD));
        let records = record.map(Records::from).unwrap_or_default();
        records.into_iter().map(|(name, known)| (name, known.phase)).collect()
    }

    /// What there is of volumes: those that lie in their places, and those that are mounted.
    fn found(&self) -> BTreeSet<String> {
        let listed = base::fs::entries(&self.directory().join(PLACES)).expect("listed");
        let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        listed.iter().map(name).map(|name| name.trim_start_matches(MAKING).to_owned()).collect()
    }

    fn mounted(&self) -> usize {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("procfs is mounted");
        let below = format!(" {}", self.root.path().display());
        mounts.lines().filter(|line| line.contains(&below)).count()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for path in base::fs::entries(&self.directory().join(PLACES)).unwrap_or_default() {
            memory::unmount(&path);
        }
    }
}

fn files(text: &str, in_memory: bool) -> Recipe {
    let file = File { bytes: text.as_bytes().to_vec(), mode: 0o644, user: None };
    Recipe::Files { files: BTreeMap::from([("key".to_owned(), file)]), group: None, in_memory }
}

/// A volume of each kind; the host's part is `host`.
fn recipes(host: &Path, text: &str) -> Vec<(String, Recipe)> {
    let source = k8s_openapi::api::core::v1::HostPathVolumeSource {
        path: host.display().to_string(),
        type_: Some("DirectoryOrCreate".to_owned()),
    };
    let named = |(name, recipe): (&str, Recipe)| (name.to_owned(), recipe);
    [
        ("cache", Recipe::Directory { group: Some(7) }),
        ("host", Recipe::HostPath(source)),
        ("keys", files(text, true)),
        ("scratch", Recipe::Memory(Memory { mode: 0o777, ..Memory::default() })),
        ("settings", files(text, false)),
    ]
    .map(named)
    .to_vec()
}

/// Lets `work` go on until it has waited for `waits` things, and leaves it there as a crash would: what was
/// begun ends, nothing more is begun. Gives whether it came to its end.
async fn crash_after(waits: usize, volumes: &mut Volumes, work: Work, file_work: &FileWork) -> bool {
    let alone = Arc::clone(&volumes.alone);
    let mut left = waits;
    let over = {
        let mut going: std::pin::Pin<Box<dyn Future<Output = ()>>> = match work {
            Work::Publish(recipes) => Box::pin(async {
                volumes.publish(file_work, recipes, false).await.map(drop).expect("published");
            }),
            Work::Remove => Box::pin(async {
                volumes.remove(file_work).await.expect("removed");
            }),
        };
        futures::future::poll_fn(|context| match going.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        })
        .await
    };
    drop(alone.lock().await);
    over
}

enum Work {
    Publish(Vec<(String, Recipe)>),
    Remove,
}

#[tokio::test]
async fn after_a_crash_at_any_moment_it_is_known_what_there_may_be_and_it_is_taken_away() {
    let file_work = FileWork::new();
    let mut over = false;
    let mut crashes = 0;
    while !over {
        let pod = Pod::new();
        let host = pod.root.path().join("host");
        let wanted = recipes(&host, "s3cret");
        over = crash_after(crashes, &mut pod.volumes(), Work::Publish(wanted), &file_work).await;
        let (found, recorded) = (pod.found(), pod.recorded());
        for name in &found {
            assert!(recorded.contains_key(name), "{name} after {crashes} waits: {found:?}, {recorded:?}");
        }
        pod.volumes().remove(&file_work).await.expect("removed");
        assert_eq!(pod.mounted(), 0, "after {crashes} waits");
        assert!(!pod.directory().exists(), "after {crashes} waits");
        crashes += 1;
    }
    assert!(crashes > 2, "it was left at {crashes} moments");
}

#[tokio::test]
async fn what_a_crash_left_of_a_removal_is_taken_away_or_made_again() {
    let file_work = FileWork::new();
    let mut over = false;
    let mut crashes = 0;
    while !over {
        let pod = Pod::new();
        let host = pod.root.path().join("host");
        pod.volumes().publish(&file_work, recipes(&host, "s3cret"), false).await.expect("published");
        assert_eq!(pod.mounted(), 2, "what may be secret is in memory");
        fs::write(pod.place("cache").join("kept"), "x").expect("write");
        over = crash_after(crashes, &mut pod.volumes(), Work::Remove, &file_work).await;
        if crashes % 2 == 0 {
            // The pod is there after all, as one is whose node has been told late.
            let mut volumes = pod.volumes();
            let shown =
                volumes.publish(&file_work, recipes(&host, "s3cret"), false).await.expect("published");
            assert_eq!(fs::read_to_string(shown["keys"].path.join("key")).expect("written"), "s3cret");
            assert!(memory::is_mounted(&shown["scratch"].path).expect("look"));
            assert!(pod.recorded().values().all(|&phase| phase == Phase::Published), "{:?}", pod.recorded());
        }
        pod.volumes().remove(&file_work).await.expect("removed");
        assert_eq!((pod.mounted(), pod.directory().exists()), (0, false), "after {crashes} waits");
        assert!(host.is_dir(), "what is the host's stays");
        crashes += 1;
    }
    assert!(crashes > 2, "it was left at {crashes} moments");
}

#[tokio::test]
async fn what_is_published_is_brought_up_to_date_and_written_down_once() {
    let (file_work, pod) = (FileWork::new(), Pod::new());
    let host = pod.root.path().join("host");
    let mut volumes = pod.volumes();
    volumes.publish(&file_work, recipes(&host, "one"), false).await.expect("published");
    fs::write(pod.place("scratch").join("kept"), "x").expect("write");
    let written = |pod: &Pod| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(pod.directory().join(RECORD)).expect("a record").ino()
    };
    let before = written(&pod);
    // By the same daemon, and by one that reads what there is.
    for (mut volumes, text) in [(volumes, "two"), (pod.volumes(), "three")] {
        volumes.publish(&file_work, recipes(&host, text), true).await.expect("brought up to date");
        for name in ["keys", "settings"] {
            assert_eq!(fs::read_to_string(pod.place(name).join("key")).expect("written"), text);
        }
    }
    assert!(pod.place("scratch").join("kept").exists(), "what is mounted stays");
    assert_eq!(written(&pod), before, "nothing new is to be known");
    // What a reboot does: memory is gone, and there again before the first container is.
    for name in ["keys", "scratch"] {
        memory::unmount(&pod.place(name));
    }
    pod.volumes().publish(&file_work, recipes(&host, "four"), false).await.expect("published");
    assert_eq!((pod.mounted(), written(&pod)), (2, before));
}

#[tokio::test]
async fn what_an_earlier_version_left_is_known_by_where_it_lies_and_what_a_later_one_wrote_stays() {
    let file_work = FileWork::new();
    for record in [None, Some("{\"version\": 1, \"volu")] {
        let pod = Pod::new();
        for name in ["cache", "..half"] {
            fs::create_dir_all(pod.place(name)).expect("make a directory");
        }
        memory::mount(&pod.place("keys"), &Memory { mode: 0o755, ..Memory::default() }).expect("mount");
        if let Some(text) = record {
            fs::write(pod.directory().join(RECORD), text).expect("write");
        }
        pod.volumes().remove(&file_work).await.expect("removed");
        assert_eq!((pod.mounted(), pod.directory().exists()), (0, false), "{record:?}");
    }
    let pod = Pod::new();
    fs::create_dir_all(pod.place("disk")).expect("make a directory");
    let later = r#"{"version": 3, "volumes": {"disk": {"kind": "device", "phase": "attached"}}}"#;
    fs::write(pod.directory().join(RECORD), later).expect("write");
    let refused = pod.volumes().remove(&file_work).await.expect_err("it is not understood");
    let said = base::error::chain(&refused).to_string();
    assert!(said.ends_with("use the program that wrote it"), "{said}");
    pod.volumes().publish(&file_work, Vec::new(), false).await.expect_err("it is not understood");
    assert!(pod.place("disk").exists());
}

/// A container to which its volume is mounted `Bidirectional` gives on to the host what it mounts there.
#[tokio::test]
async fn what_is_mounted_in_a_volume_is_not_removed_with_it() {
    let (file_work, pod) = (FileWork::new(), Pod::new());
    let host = pod.root.path().join("host");
    pod.volumes().publish(&file_work, recipes(&host, "x"), false).await.expect("published");
    fs::write(host.join("precious"), "x").expect("write");
    for place in [pod.place("cache").join("data"), pod.place("scratch").join("a/data")] {
        fs::create_dir_all(&place).expect("make a directory");
        rustix::mount::mount_bind(&host, &place).expect("mount");
        rustix::mount::mount_bind(&host, &place).expect("mount once more");
    }
    pod.volumes().remove(&file_work).await.expect("removed");
    assert!(host.join("precious").exists());
    assert_eq!((pod.mounted(), pod.directory().exists()), (0, false));
}

#[tokio::test]
async fn volumes_that_fill_the_disk_can_be_removed() {
    let (file_work, pod) = (FileWork::new(), Pod::new());
    let disk = pod.root.path();
    rustix::mount::mount("disk", disk, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"size=256k"))
        .expect("mount");
    let host = disk.join("host");
    pod.volumes().publish(&file_work, recipes(&host, "x"), false).await.expect("published");
    let full = fs::write(pod.place("cache").join("large"), vec![0; 1 << 20]).expect_err("it is full");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    pod.volumes().remove(&file_work).await.expect("removed");
    assert!(!pod.directory().exists());
    memory::unmount(disk);
}

/// What a running container has of the host is mounted already.
#[tokio::test]
async fn running_containers_get_what_is_new_though_a_path_of_the_host_is_gone() {
    let (file_work, pod) = (FileWork::new(), Pod::new());
    let host = pod.root.path().join("host");
    let mut volumes = pod.volumes();
    volumes.publish(&file_work, recipes(&host, "x"), false).await.expect("published");
    fs::remove_dir(&host).expect("remove");
    volumes.publish(&file_work, recipes(&host, "y"), true).await.expect("brought up to date");
    assert!(!host.exists(), "nothing is made on the host under running containers");
    for name in ["keys", "settings"] {
        assert_eq!(fs::read_to_string(pod.place(name).join("key")).expect("read"), "y", "{name}");
    }
    pod.volumes().remove(&file_work).await.expect("removed");
}

#[tokio::test]
async fn one_volume_that_cannot_be_made_leaves_the_others_made_and_is_tried_again() {
    let (file_work, pod) = (FileWork::new(), Pod::new());
    let host = pod.root.path().join("host");
    fs::write(&host, "a file").expect("write");
    let mut volumes = pod.volumes();
    let error = volumes.publish(&file_work, recipes(&host, "x"), false).await.expect_err("no directory");
    assert!(error.to_string().contains("hostPath type check failed"), "{error}");
    assert!(pod.place("cache").is_dir());
    fs::remove_file(&host).expect("remove");
    let shown = volumes.publish(&file_work, recipes(&host, "x"), false).await.expect("published");
    assert_eq!(shown.len(), 5);
    assert!(shown["keys"].read_only && !shown["cache"].read_only && shown["host"].path == host);
    // A record that was tampered with leads nowhere else.
    let record = pod.directory().join(RECORD);
    let outside = pod.root.path().join("outside");
    fs::create_dir(&outside).expect("make a directory");
    let text = r#"{"version": 1, "volumes": {"../../outside": {"kind": "directory", "phase": "published"}}}"#;
    fs::write(&record, text).expect("write");
    pod.volumes().remove(&file_work).await.expect("removed");
    assert!(outside.is_dir());
    assert_eq!((pod.mounted(), pod.directory().exists()), (0, false));
}

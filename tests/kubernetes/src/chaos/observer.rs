//! Looks into the claims from outside, all the time: what was there once must be there in the end.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use docker_tests::Daemon;

use super::RECORD;

/// What was seen of a claim's records: which file they are in, and how many bytes there were.
type Known = BTreeMap<PathBuf, (u64, u64)>;

/// A thread that looks into all volumes of the node.
pub(super) struct Observer {
    volumes: PathBuf,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<(Known, Vec<String>)>,
}

impl Observer {
    pub(super) fn start(daemon: &Daemon) -> Self {
        let volumes = daemon.seen(&daemon.root().join("local-path"));
        let ends = Arc::<AtomicBool>::default();
        let (place, told) = (volumes.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            let (mut known, mut wrong) = (Known::new(), Vec::new());
            while !told.load(Ordering::Relaxed) {
                look(&place, &mut known, &mut wrong);
                std::thread::sleep(Duration::from_millis(20));
            }
            (known, wrong)
        });
        Self { volumes, ends, thread }
    }

    /// What is wrong with the claims, none of which has been deleted.
    pub(super) fn finish(self) -> Vec<String> {
        self.ends.store(true, Ordering::Relaxed);
        let (mut known, mut wrong) = self.thread.join().expect("the observer does not panic");
        look(&self.volumes, &mut known, &mut wrong);
        if known.is_empty() {
            wrong.push("no claim has any records".to_owned());
        }
        for path in known.keys() {
            match std::fs::read(path) {
                Ok(records) => {
                    wrong.extend(missing(&records).map(|what| format!("{}: {what}", path.display())))
                }
                Err(error) => wrong.push(format!("{} is gone: {error}", path.display())),
            }
            if let Ok(overlaps) = std::fs::read_to_string(path.with_file_name("overlaps")) {
                wrong.push(format!("{}: {overlaps}", path.display()));
            }
        }
        wrong
    }
}

fn look(volumes: &Path, known: &mut Known, wrong: &mut Vec<String>) {
    let volumes = std::fs::read_dir(volumes).into_iter().flatten().flatten();
    for path in volumes.map(|volume| volume.path().join("data/records")) {
        let Ok(file) = std::fs::metadata(&path) else { continue };
        let is = (file.ino(), file.len());
        let was = known.insert(path.clone(), is).unwrap_or(is);
        if was.0 != is.0 || was.1 > is.1 {
            wrong.push(format!("{}: was {was:?}, is {is:?}", path.display()));
        }
    }
}

/// What is missing or torn among the records of a claim. The last may be under way.
fn missing(records: &[u8]) -> Option<String> {
    let read = |record: &[u8]| std::str::from_utf8(record).ok()?.trim().parse::<usize>().ok();
    let mut found = records.chunks_exact(RECORD).map(read).zip(1..);
    let (found, number) = found.find(|(found, number)| *found != Some(*number))?;
    Some(format!("in the place of record {number} is {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(numbers: &[usize]) -> Vec<u8> {
        numbers.iter().flat_map(|number| format!("{number:>15}\n").into_bytes()).collect()
    }

    #[test]
    fn what_is_missing_torn_or_written_twice_is_found() {
        assert_eq!(missing(&records(&[1, 2, 3])), None);
        assert_eq!(missing(&[records(&[1, 2]), b"   ".to_vec()].concat()), None, "the last may be under way");
        assert!(missing(&records(&[1, 3])).is_some());
        assert!(missing(&records(&[1, 2, 1])).is_some());
        assert!(missing(&[records(&[1]), vec![0; RECORD], records(&[3])].concat()).is_some());
    }

    #[test]
    fn records_that_shrink_or_are_in_another_file_are_found() {
        let volumes = std::env::temp_dir().join(format!("observer-{}", std::process::id()));
        let data = volumes.join("pvc-1/data");
        std::fs::create_dir_all(&data).expect("make a volume");
        let (mut known, mut wrong) = (Known::new(), Vec::new());
        std::fs::write(data.join("records"), records(&[1, 2])).expect("write");
        look(&volumes, &mut known, &mut wrong);
        std::fs::write(data.join("records"), records(&[1, 2, 3])).expect("write");
        look(&volumes, &mut known, &mut wrong);
        assert_eq!(wrong, [""; 0]);
        std::fs::write(data.join("records"), records(&[1])).expect("write");
        look(&volumes, &mut known, &mut wrong);
        assert_eq!(wrong.len(), 1);
        std::fs::write(data.join("other"), records(&[1, 2, 3])).expect("write");
        std::fs::rename(data.join("other"), data.join("records")).expect("rename");
        look(&volumes, &mut known, &mut wrong);
        assert_eq!(wrong.len(), 2);
        std::fs::remove_dir_all(&volumes).expect("remove it");
    }
}

//! What runs in the pods of a StatefulSet whose daemon, shims and disk are made to fail: it proves from the inside
//! that no other process of its ordinal lives, and that nothing is lost that was written into its claim.
//!
//! The lock of a file in the claim is held as long as this process lives, whoever kills it: a second one that
//! finds it taken says so in `overlaps`. `records` grows by one record at a time, each flushed before the next, so
//! that what is missing shows. On a full disk it tries the same record again.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use kubernetes_tests::chaos::RECORD;
use rustix::fs::{FlockOperation, flock};

/// How long it waits before the next record, and before it tries again what did not fit.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let claim = std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: witness DIRECTORY"))?;
    let claim = Path::new(&claim);
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = end.recv() => Ok(()),
        result = testify(claim) => result,
    }
}

/// Holds the lock and writes records, without an end.
async fn testify(claim: &Path) -> io::Result<()> {
    let lock = patiently(|| open(&claim.join("lock"))).await;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let who = std::env::var("POD").unwrap_or_default();
        let said = format!("{who} began while another lived\n");
        let overlaps = patiently(|| File::options().create(true).append(true).open(claim.join("overlaps")));
        let mut overlaps = overlaps.await;
        patiently(|| overlaps.write_all(said.as_bytes())).await;
        patiently(|| flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)).await;
    }
    let records = patiently(|| open(&claim.join("records"))).await;
    // Whatever was written before stays: this goes on behind it.
    let mut number = records.metadata()?.len().div_ceil(RECORD as u64);
    loop {
        let record = format!("{:>width$}\n", number + 1, width = RECORD - 1);
        patiently(|| records.write_all_at(record.as_bytes(), number * RECORD as u64)).await;
        patiently(|| records.sync_data()).await;
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

/// Tries until it can be done.
async fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => eprintln!("witness: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

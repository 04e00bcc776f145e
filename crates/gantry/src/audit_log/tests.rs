//! Modes, on a disk that takes what is written and on one that does not.

use std::path::PathBuf;

use super::*;

fn log(mode: Mode, path: PathBuf, rotation: Rotation) -> (Log, Writer) {
    let (sender, lines) = mpsc::channel(if mode == Mode::Batch { 4 } else { TOGETHER });
    let waiting = Arc::new(AtomicUsize::new(0));
    let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
    let losses = Losses::new("log", &clock, &metrics::Registry::default());
    let file = Rotated::open(&path, rotation, clock.now()).expect("open");
    let log =
        Log { mode, format: Format::Json, lines: sender, waiting: waiting.clone(), losses: losses.clone() };
    (log, Writer { output: Output::File(Box::new(file)), clock, lines, waiting, losses })
}

/// What a line came to: as `process` gives it, for lines that are there already.
async fn put(log: &Log, length: usize) -> Option<bool> {
    let (written, wait) = oneshot::channel();
    let mut line = vec![b'x'; length - 1];
    line.push(b'\n');
    let most = if log.mode == Mode::Batch { WAITING_BYTES } else { TOGETHER_BYTES };
    log.take(line, (log.mode != Mode::Batch).then_some(written), most);
    wait.await.ok()
}

#[tokio::test]
async fn what_is_waited_for_is_written_and_what_cannot_be_is_told() {
    let root = tempfile::tempdir().expect("temporary directory");
    let path = root.path().join("audit.log");
    let (log, writer) = log(Mode::BlockingStrict, path.clone(), Rotation { size: 1, ..Rotation::default() });
    let (stop, lost) = (CancellationToken::new(), log.losses.clone());
    let writing = tokio::spawn(writer.run(stop.clone()));
    assert_eq!(put(&log, 10).await, Some(true));
    assert_eq!(std::fs::metadata(&path).expect("there").len(), 10);
    // A line that no file takes stands for a disk that does not.
    assert_eq!(put(&log, 2 << 20).await, Some(false));
    assert_eq!((lost.get(), std::fs::metadata(&path).expect("there").len()), (1, 10));
    assert_eq!(put(&log, 10).await, Some(true));
    let all: Vec<_> = (0..100).map(|_| put(&log, 10)).collect();
    let all = futures::future::join_all(all).await;
    assert!(all.iter().all(|written| *written == Some(true)));
    assert_eq!(log.waiting.load(Ordering::SeqCst), 0);
    stop.cancel();
    writing.await.expect("it ends");
    assert_eq!(std::fs::metadata(&path).expect("there").len(), 1020);
    assert_eq!(put(&log, 10).await, None, "nobody writes any more");
}

#[tokio::test]
async fn who_does_not_wait_loses_what_is_too_much() {
    let root = tempfile::tempdir().expect("temporary directory");
    let path = root.path().join("audit.log");
    let (log, writer) = log(Mode::Batch, path.clone(), Rotation::default());
    for _ in 0..6 {
        put(&log, 10).await;
    }
    assert_eq!(log.losses.get(), 2);
    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(stop).await;
    assert_eq!(std::fs::metadata(&path).expect("there").len(), 40, "what was taken is written at the end");
    assert_eq!(log.waiting.load(Ordering::SeqCst), 0);
}

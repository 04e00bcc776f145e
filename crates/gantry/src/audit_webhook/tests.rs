//! Batches, back-off and bounds, to somebody who answers and to somebody who does not.

use std::sync::Mutex;

use apiserver::outside::PeerError;
use base::Clock;
use http::{Response, StatusCode};
use serde_json::Value;

use super::*;

/// Somebody who is sent events, and answers as often as he is to.
struct Site {
    /// How many events each request had, and when it came.
    asked: Mutex<Vec<(usize, Duration)>>,
    /// How often he answers that he cannot, first of all.
    fails: Mutex<usize>,
    silent: bool,
    began: Instant,
}

struct Zeros;

impl Random for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

impl Peer for Site {
    fn ask(
        &self,
        request: Request<Bytes>,
        _: usize,
    ) -> BoxFuture<'static, Result<Response<Bytes>, PeerError>> {
        let list: Value = serde_json::from_slice(request.body()).expect("JSON");
        assert_eq!((&list["kind"], &list["apiVersion"]), (&"EventList".into(), &"audit.k8s.io/v1".into()));
        assert_eq!(request.uri(), "https://audit.example/k");
        let count = list["items"].as_array().map_or(0, Vec::len);
        self.asked.lock().expect("nobody panicked").push((count, self.began.elapsed()));
        if self.silent {
            return std::future::pending().boxed();
        }
        let mut fails = self.fails.lock().expect("nobody panicked");
        let code = if *fails > 0 { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        *fails = fails.saturating_sub(1);
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = code;
        ready(Ok(answer)).boxed()
    }
}

impl Site {
    fn new(fails: usize, silent: bool) -> Arc<Self> {
        Arc::new(Self { asked: Mutex::default(), fails: Mutex::new(fails), silent, began: Instant::now() })
    }

    fn counts(&self) -> Vec<usize> {
        self.asked.lock().expect("nobody panicked").iter().map(|(count, _)| *count).collect()
    }

    fn seconds(&self) -> Vec<u64> {
        self.asked.lock().expect("nobody panicked").iter().map(|(_, at)| at.as_secs()).collect()
    }
}

fn options(mode: Mode) -> Options {
    Options {
        kubeconfig: PathBuf::new(),
        mode,
        first_back_off: Duration::from_secs(10),
        batches: Batches { buffer: 10, size: 4, wait: Duration::from_secs(30), throttle: None },
    }
}

/// Begins to send to `site`.
fn begin(options: Options, site: &Arc<Site>) -> (Webhook, tokio::task::JoinHandle<()>, CancellationToken) {
    let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
    let losses = Losses::new("webhook", &clock, &metrics::Registry::default());
    let url = Uri::from_static("https://audit.example/k");
    let (webhook, sender) = open(options, url, site.clone(), losses, Arc::new(Zeros));
    let stop = CancellationToken::new();
    let running = tokio::spawn(sender.run(stop.clone()));
    (webhook, running, stop)
}

fn event() -> Vec<u8> {
    br#"{"kind":"Event"}"#.to_vec()
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn events_are_sent_when_there_are_enough_of_them_or_time_has_passed() {
    let site = Site::new(0, false);
    let (webhook, running, stop) = begin(options(Mode::Batch), &site);
    for _ in 0..9 {
        assert!(webhook.send(event()).await);
    }
    settle().await;
    assert_eq!(site.counts(), [4, 4]);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!((site.counts(), site.seconds()), (vec![4, 4, 1], vec![0, 0, 30]));
    assert!(webhook.send(event()).await);
    settle().await;
    stop.cancel();
    running.await.expect("it ends");
    assert_eq!(site.counts(), [4, 4, 1, 1], "what was there at the end is sent");
    assert_eq!((webhook.losses.get(), webhook.waiting.load(Ordering::SeqCst)), (0, 0));
    assert!(webhook.send(event()).await, "nobody waits for it");
    assert_eq!(webhook.losses.get(), 1, "nobody sends any more");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_sent_again_and_given_up_in_the_end() {
    for (fails, seconds, lost) in [(2, vec![30, 40, 55], 0), (9, vec![30, 40, 55, 77, 111], 1)] {
        let site = Site::new(fails, false);
        let (webhook, _running, _stop) = begin(options(Mode::Batch), &site);
        webhook.send(event()).await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!((site.seconds(), webhook.losses.get()), (seconds, lost));
        assert_eq!(webhook.waiting.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_costs_events_and_neither_memory_nor_time() {
    let site = Site::new(0, true);
    let (webhook, running, stop) = begin(options(Mode::Batch), &site);
    for _ in 0..1000 {
        assert!(webhook.send(event()).now_or_never().expect("nobody waits"));
        tokio::task::yield_now().await;
    }
    settle().await;
    assert_eq!(site.counts().len(), AT_ONCE);
    // One batch is gathered besides those that are sent and those that wait.
    let held = (AT_ONCE + 1) * 4 + 10;
    assert_eq!(webhook.losses.get(), 1000 - held as u64);
    assert!(webhook.waiting.load(Ordering::SeqCst) <= held * event().len());
    // A few that are large are as many.
    webhook.take(Taken { text: vec![b' '; WAITING_BYTES], sent: None });
    assert_eq!(webhook.losses.get(), 1001 - held as u64);
    let began = Instant::now();
    stop.cancel();
    running.await.expect("it ends");
    assert!(began.elapsed() <= 3 * TRY, "{:?}", began.elapsed());
    assert_eq!((webhook.losses.get(), webhook.waiting.load(Ordering::SeqCst)), (1001, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_does_so_until_its_event_is_sent_and_is_told_if_it_must_be() {
    for (mode, fails, seconds, is_kept) in [
        (Mode::Blocking, 0, 0, true),
        (Mode::BlockingStrict, 1, 10, true),
        (Mode::BlockingStrict, 9, 81, false),
        (Mode::Blocking, 9, 81, true),
    ] {
        let site = Site::new(fails, false);
        let (webhook, _running, _stop) = begin(options(mode), &site);
        let began = Instant::now();
        assert_eq!(webhook.send(event()).await, is_kept, "{mode:?} {fails}");
        assert_eq!(began.elapsed().as_secs(), seconds, "{mode:?} {fails}");
        assert!(site.counts().iter().all(|count| *count == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn so_often_is_sent_and_no_more() {
    let site = Site::new(0, false);
    let throttle = Some(Throttle { rate: 0.5, burst: 3 });
    let batches = Batches { buffer: 100, size: 1, wait: Duration::ZERO, throttle };
    let (webhook, _running, _stop) = begin(Options { batches, ..options(Mode::Batch) }, &site);
    for _ in 0..6 {
        webhook.send(event()).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(site.seconds(), [0, 0, 0, 2, 4, 6]);
    // Unused, the bucket is full again and no fuller.
    for _ in 0..4 {
        webhook.send(event()).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(site.seconds()[6..], [60, 60, 60, 62]);
}

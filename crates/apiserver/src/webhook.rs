//! Those who are asked about users, by webhook: one question at a time to each of a bounded number, asked again
//! while there is time where it cannot be reached, and what they have answered.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use model::lenient::null_is_default;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::outside::{Outside, Peer};

/// How much may be answered.
const LONGEST: usize = 1 << 20;
/// So many questions to one at a time; so many others wait, for as long as they would for the answer.
const AT_ONCE: usize = 128;
const WAITING: usize = 2048;
/// How much of a reason is kept.
const LONGEST_REASON: usize = 1 << 10;
/// How long before it is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is read of an answer: it is the question again, with a status.
#[derive(Deserialize)]
#[serde(bound(deserialize = "S: Default + Deserialize<'de>"))]
struct Review<S> {
    #[serde(default, deserialize_with = "null_is_default")]
    status: S,
}

/// Somebody who is asked.
pub(crate) struct Hook {
    url: Uri,
    peer: Arc<dyn Peer>,
    room: Semaphore,
    crowd: Mutex<Crowd>,
}

/// For whom it is asked, so that nobody takes all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On<'a> {
    /// A user: a quarter at most.
    User(&'a str),
    /// All those together of whom nothing is known yet: three quarters.
    Strangers,
}

/// Who waits for an answer, or for the question to be sent.
#[derive(Default)]
struct Crowd {
    all: usize,
    of: HashMap<Option<String>, (usize, Arc<Semaphore>)>,
}

/// One of those, until it is dropped.
struct Entered<'a> {
    crowd: &'a Mutex<Crowd>,
    who: Option<String>,
    room: Arc<Semaphore>,
}

impl On<'_> {
    /// How many of so many it may have.
    fn part(self, all: usize) -> usize {
        match self {
            Self::User(_) => all / 4,
            Self::Strangers => all / 4 * 3,
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut crowd = self.crowd.lock();
        crowd.all -= 1;
        if let Some((number, _)) = crowd.of.get_mut(&self.who) {
            *number -= 1;
            if *number == 0 {
                crowd.of.remove(&self.who);
            }
        }
    }
}

impl Hook {
    /// The one that a kubeconfig names.
    pub(crate) fn of_kubeconfig(outside: &dyn Outside, path: &Path) -> Result<Self, String> {
        let (url, peer) = outside.of_kubeconfig(path)?;
        Ok(Self { url, peer, room: Semaphore::new(AT_ONCE), crowd: Mutex::default() })
    }

    /// Takes a place among those who wait, if there is one for this one.
    fn enter(&self, on: On<'_>) -> Option<Entered<'_>> {
        let who = match on {
            On::User(user) => Some(user.to_owned()),
            On::Strangers => None,
        };
        let mut crowd = self.crowd.lock();
        let present = crowd.of.get(&who).map_or(0, |(number, _)| *number);
        if crowd.all >= WAITING || present >= on.part(WAITING) {
            return None;
        }
        crowd.all += 1;
        let new = || (0, Arc::new(Semaphore::new(on.part(AT_ONCE))));
        let (number, room) = crowd.of.entry(who.clone()).or_insert_with(new);
        *number += 1;
        let room = room.clone();
        Some(Entered { crowd: &self.crowd, who, room })
    }

    /// Sends a question, and gives the status that is answered within `patience`.
    pub(crate) async fn ask<S: DeserializeOwned + Default>(
        &self,
        on: On<'_>,
        question: &Value,
        patience: Duration,
    ) -> Result<S, String> {
        let entered = self.enter(on).ok_or_else(|| format!("too many wait for {}", self.url))?;
        let body = Bytes::from(question.to_string());
        let asking = async {
            let _own = entered.room.acquire().await.map_err(|error| error.to_string())?;
            let _place = self.room.acquire().await.map_err(|error| error.to_string())?;
            let mut pause = PAUSE;
            loop {
                match self.once(body.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err((why, false)) => return Err(why),
                    Err((why, true)) => tracing::debug!(url = %self.url, why, "a webhook is asked again"),
                }
                tokio::time::sleep(pause).await;
                pause += pause / 2;
            }
        };
        match tokio::time::timeout(patience, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("{} did not answer within {patience:?}", self.url)),
        }
    }

    /// The answer, or why there is none, and whether there may be one later.
    async fn once<S: DeserializeOwned + Default>(&self, body: Bytes) -> Result<S, (String, bool)> {
        let request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(body);
        let request = request.map_err(|error| (error.to_string(), false))?;
        let answer = self.peer.ask(request, LONGEST).await;
        let answer = answer.map_err(|error| {
            let again = matches!(error, crate::outside::PeerError::Reach { .. });
            (base::error::chain(&error).to_string(), again)
        })?;
        let status = answer.status();
        if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
            let later = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            return Err((format!("{} answered {status}", self.url), later));
        }
        serde_json::from_slice::<Review<S>>(answer.body())
            .map(|review| review.status)
            .map_err(|error| (format!("{} answered what is no review: {error}", self.url), false))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Answers by what was asked, for a while. Of too many, those that are over go first, then any.
pub(crate) struct Remembered<T> {
    most: usize,
    answers: Mutex<HashMap<[u8; 32], (T, Duration)>>,
}

impl<T: Clone> Remembered<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, answers: Mutex::default() }
    }

    /// What was answered, if that is still good.
    pub(crate) fn get(&self, key: &[u8; 32], now: Duration) -> Option<T> {
        let answers = self.answers.lock();
        answers.get(key).filter(|(_, until)| now < *until).map(|(answer, _)| answer.clone())
    }

    /// What was answered, if that is still remembered, be it still good or not.
    pub(crate) fn last(&self, key: &[u8; 32]) -> Option<T> {
        self.answers.lock().get(key).map(|(answer, _)| answer.clone())
    }

    /// Remembers nothing of it any more.
    pub(crate) fn forget(&self, key: &[u8; 32]) {
        self.answers.lock().remove(key);
    }

    /// Remembers an answer until then.
    pub(crate) fn keep(&self, key: [u8; 32], answer: T, until: Duration) {
        let mut answers = self.answers.lock();
        if answers.len() >= self.most && !answers.contains_key(&key) {
            // Half of them, so that this is seldom.
            let mut ends: Vec<Duration> = answers.values().map(|(_, until)| *until).collect();
            let middle = ends.len() / 2;
            let (_, middle, _) = ends.select_nth_unstable(middle);
            let middle = *middle;
            answers.retain(|_, (_, until)| *until > middle);
        }
        answers.insert(key, (answer, until));
    }
}

/// What somebody says, no longer than it is remembered.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_REASON));
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Peer for Silent {
        fn ask(
            &self,
            _: Request<Bytes>,
            _: usize,
        ) -> futures::future::BoxFuture<'static, Result<http::Response<Bytes>, crate::outside::PeerError>>
        {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_all_of_those_who_are_asked() {
        let hook = Hook {
            url: Uri::from_static("https://policy.example/"),
            peer: Arc::new(Silent),
            room: Semaphore::new(AT_ONCE),
            crowd: Mutex::default(),
        };
        let question = Value::Null;
        let ask = |on| hook.ask::<Value>(on, &question, Duration::from_secs(9));
        let mut asking = Vec::new();
        let mut fill = |on, number| {
            let mut refused = None;
            for _ in 0..number {
                let mut one = Box::pin(ask(on));
                match futures::FutureExt::now_or_never(&mut one) {
                    None => asking.push(one),
                    Some(outcome) => refused = Some(outcome.expect_err("refused")),
                }
            }
            (asking.len(), refused.is_some_and(|why| why.contains("too many wait")))
        };
        assert_eq!(fill(On::User("eve"), WAITING / 4), (WAITING / 4, false));
        assert_eq!(fill(On::User("eve"), 10), (WAITING / 4, true));
        assert_eq!(hook.room.available_permits(), AT_ONCE / 4 * 3, "others are asked about");
        assert_eq!(fill(On::User("jane"), 1), (WAITING / 4 + 1, false));
        assert_eq!(fill(On::Strangers, WAITING), (WAITING, true));
        drop(asking);
        assert_eq!(hook.room.available_permits(), AT_ONCE);
        assert!(hook.crowd.lock().of.is_empty() && hook.crowd.lock().all == 0);
    }

    #[test]
    fn a_reason_is_no_longer_than_it_is_kept() {
        assert_eq!(cut("why".to_owned()), "why");
        assert_eq!(cut("é".repeat(1000)).len(), 1024);
        assert_eq!(cut(format!("x{}", "é".repeat(1000))).len(), 1023);
    }

    #[test]
    fn answers_are_remembered_while_they_are_good_and_not_too_many() {
        let known = Remembered::new(100);
        let key = |number: u64| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            key
        };
        let second = Duration::from_secs;
        known.keep(key(0), "a", second(10));
        assert_eq!(known.get(&key(0), second(9)), Some("a"));
        assert_eq!(known.get(&key(0), second(10)), None);
        assert_eq!(known.get(&key(1), second(0)), None);
        for number in 0..10_000 {
            known.keep(key(number), "b", second(number + 1));
            assert!(known.answers.lock().len() <= 100);
        }
        assert_eq!(known.get(&key(9_999), second(0)), Some("b"), "the newest is there");
        assert_eq!(known.get(&key(1), second(0)), None, "what ends first went");
        // All of the same age: there is room all the same.
        let same = Remembered::new(10);
        for number in 0..100 {
            same.keep(key(number), (), second(1));
        }
        assert!(same.answers.lock().len() <= 10);
    }
}

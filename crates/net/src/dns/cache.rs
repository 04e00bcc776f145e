//! Answers of other servers, kept for as long as these let them be.
//!
//! A question is known again by all of it but its number and the case of its letters: whoever wants
//! signatures, or takes larger packets, asks another one. What is given again says how much longer it may
//! be kept.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::forward::{HEADER, TRUNCATED, name_end};

/// So many answers are kept, so many bytes of each, and of what each is known by.
const MOST: usize = 4096;
const LARGEST: usize = 4096;
const LONGEST_KEY: usize = 512;
/// Nothing is kept for longer, whatever is said of it: names of the host's surroundings change with them.
const LONGEST: Duration = Duration::from_secs(30);
const OPTIONS: u16 = 41;
const AUTHORITY: u16 = 6;

/// The answers.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
}

/// A question: of whom, whether in a connection, and what, without its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    servers: Vec<IpAddr>,
    whole: bool,
    question: Vec<u8>,
}

struct Entry {
    answer: Vec<u8>,
    since: Instant,
    until: Instant,
}

impl Key {
    /// What `question` is known by; nothing for what is none, or longer than questions for one name are:
    /// what pads it to as much as a packet holds is not kept.
    pub(super) fn new(question: &[u8], whole: bool, servers: &[IpAddr]) -> Option<Self> {
        if question.len() + size_of_val(servers) > LONGEST_KEY {
            return None;
        }
        let end = name_end(question, HEADER)?;
        let mut known = question.get(2..)?.to_vec();
        known[HEADER - 2..end - 2].make_ascii_lowercase();
        Some(Self { servers: servers.to_vec(), whole, question: known })
    }
}

impl Cache {
    /// The answer to `question`, as if it were given now.
    pub(super) fn get(&self, key: &Key, question: &[u8], now: Instant) -> Option<Vec<u8>> {
        let entry = self.entries.get(key).filter(|entry| now < entry.until)?;
        let mut answer = entry.answer.clone();
        // The number and the letters of whoever asks.
        let end = name_end(question, HEADER)?;
        answer.get_mut(..2)?.copy_from_slice(&question[..2]);
        answer.get_mut(HEADER..end)?.copy_from_slice(&question[HEADER..end]);
        let age = u32::try_from(now.duration_since(entry.since).as_secs()).unwrap_or(u32::MAX);
        for record in records(&entry.answer)?.iter().filter(|record| record.kind != OPTIONS) {
            let left = record.lifetime.saturating_sub(age);
            answer.get_mut(record.at..record.at + 4)?.copy_from_slice(&left.to_be_bytes());
        }
        Some(answer)
    }

    /// Keeps an answer that may be kept.
    pub(super) fn put(&mut self, key: Key, answer: &[u8], now: Instant) {
        let Some(lifetime) = lifetime(answer).filter(|lifetime| !lifetime.is_zero()) else { return };
        if self.entries.len() >= MOST {
            self.entries.retain(|_, entry| now < entry.until);
        }
        if self.entries.len() >= MOST {
            // Whoever asks for more names than that at a time asks again.
            self.entries.clear();
        }
        self.entries.insert(key, Entry { answer: answer.to_vec(), since: now, until: now + lifetime });
    }
}

/// For how long an answer may be kept; nothing of one that says no more than that nobody can tell.
fn lifetime(answer: &[u8]) -> Option<Duration> {
    const CODE: u8 = 0x0f;
    const NO_ERROR: u8 = 0;
    const NO_SUCH_NAME: u8 = 3;
    let flags = answer.get(2..4)?;
    if answer.len() > LARGEST || flags[0] & TRUNCATED != 0 {
        return None;
    }
    if ![NO_ERROR, NO_SUCH_NAME].contains(&(flags[1] & CODE)) {
        return None;
    }
    let answers = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let records = records(answer)?;
    let of_records = records.iter().filter(|record| record.kind != OPTIONS).map(|record| record.lifetime);
    let shortest = if answers == 0 || flags[1] & CODE == NO_SUCH_NAME {
        // That there is nothing is so for as long as the authority says (RFC 2308, 5).
        let authority = records.iter().find(|record| record.kind == AUTHORITY)?;
        authority.lifetime.min(authority.minimum?)
    } else {
        of_records.min()?
    };
    Some(Duration::from_secs(shortest.into()).min(LONGEST))
}

/// A record of an answer.
struct Record {
    kind: u16,
    /// Where its lifetime is written.
    at: usize,
    lifetime: u32,
    /// The last number of its data, which in an authority's is how long nothing may be believed.
    minimum: Option<u32>,
}

/// All records of an answer to one question; nothing if it cannot be read.
fn records(answer: &[u8]) -> Option<Vec<Record>> {
    let count = |at: usize| Some(usize::from(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?])));
    if count(4)? != 1 {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let mut at = name_end(answer, HEADER)? + 4;
    let mut records = Vec::new();
    for _ in 0..count(6)? + count(8)? + count(10)? {
        let fixed = name_end(answer, at)?;
        let kind = u16::try_from(count(fixed)?).ok()?;
        let (data, length) = (fixed + 10, count(fixed + 8)?);
        at = data + length;
        answer.get(data..at)?;
        let minimum = if length >= 4 { number(at - 4) } else { None };
        records.push(Record { kind, at: fixed + 4, lifetime: number(fixed + 4)?, minimum });
    }
    Some(records)
}

/// Keeps a message as the answer to itself, and finds it again.
pub(super) fn fuzz(message: &[u8]) {
    let now = Instant::now();
    let Some(key) = Key::new(message, false, &[]) else { return };
    let mut cache = Cache::default();
    cache.put(key.clone(), message, now);
    let found = cache.get(&key, message, now);
    assert!(found.is_none_or(|found| found.len() == message.len()), "an answer changed its length");
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
    use hickory_proto::rr::rdata::{A, SOA};
    use hickory_proto::rr::{Name, RData, Record, RecordType};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    fn question(number: u16, text: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = number;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name(text), RecordType::A));
        message.to_vec().expect("encode")
    }

    fn answer(to: &[u8], code: ResponseCode, lifetimes: &[u32]) -> Vec<u8> {
        let asked = Message::from_vec(to).expect("a question");
        let mut message = Message::response(asked.metadata.id, OpCode::Query);
        message.metadata.response_code = code;
        let query = asked.queries[0].clone();
        message.add_query(query.clone());
        let record = |lifetime: &u32| {
            Record::from_rdata(query.name().clone(), *lifetime, RData::A(A([192, 0, 2, 7].into())))
        };
        message.add_answers(lifetimes.iter().map(record));
        if lifetimes.is_empty() {
            let soa = SOA::new(name("ns.org."), name("me.org."), 1, 7200, 1800, 86400, 4);
            message.add_authorities([Record::from_rdata(name("org."), 900, RData::SOA(soa))]);
        }
        message.to_vec().expect("encode")
    }

    fn key(question: &[u8]) -> Key {
        Key::new(question, false, &[]).expect("a question")
    }

    fn times(answer: &[u8]) -> Vec<u32> {
        Message::from_vec(answer).expect("an answer").answers.iter().map(|record| record.ttl).collect()
    }

    #[test]
    fn an_answer_is_given_again_for_as_long_as_it_may_be_kept() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let asked = question(7, "www.Example.org.");
        cache.put(key(&asked), &answer(&asked, ResponseCode::NoError, &[20, 9]), now);
        let again = question(9, "WWW.example.org.");
        let given = cache.get(&key(&again), &again, now + Duration::from_secs(8)).expect("kept");
        assert_eq!(times(&given), [12, 1], "what is left of it");
        assert_eq!(given[..2], again[..2], "the number of whoever asks");
        assert_eq!(given[HEADER..HEADER + 17], again[HEADER..HEADER + 17], "and the letters");
        assert_eq!(cache.get(&key(&again), &again, now + Duration::from_secs(9)), None, "no longer");
        let other = question(7, "www.example.com.");
        assert_eq!(cache.get(&key(&other), &other, now), None);
        assert_ne!(key(&asked), Key::new(&asked, true, &[]).expect("a question"), "in a connection");
        assert_ne!(key(&asked), Key::new(&asked, false, &[[192, 0, 2, 53].into()]).expect("a question"));
    }

    #[test]
    fn that_there_is_nothing_is_believed_for_as_long_as_the_authority_says_and_failures_are_not() {
        let now = Instant::now();
        let kept_for = |code: ResponseCode, lifetimes: &[u32]| {
            let mut cache = Cache::default();
            let asked = question(7, "www.example.org.");
            cache.put(key(&asked), &answer(&asked, code, lifetimes), now);
            (0..60).find(|age| cache.get(&key(&asked), &asked, now + Duration::from_secs(*age)).is_none())
        };
        assert_eq!(kept_for(ResponseCode::NXDomain, &[]), Some(4));
        assert_eq!(kept_for(ResponseCode::NoError, &[]), Some(4));
        assert_eq!(kept_for(ResponseCode::NoError, &[86400]), Some(30), "nothing for longer");
        assert_eq!(kept_for(ResponseCode::NoError, &[0]), Some(0));
        assert_eq!(kept_for(ResponseCode::ServFail, &[]), Some(0));
    }

    #[test]
    fn what_is_longer_than_a_question_is_not_known_again() {
        let mut padded = question(7, "www.example.org.");
        padded.resize(LONGEST_KEY, 0);
        assert!(Key::new(&padded, false, &[]).is_some());
        assert_eq!(Key::new(&padded, false, &[[192, 0, 2, 53].into()]), None);
        padded.push(0);
        assert_eq!(Key::new(&padded, false, &[]), None);
        let many = [IpAddr::from([192, 0, 2, 53]); LONGEST_KEY];
        assert_eq!(Key::new(&question(7, "www.example.org."), false, &many), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let asked = question(7, "www.example.org.");
        let whole = answer(&asked, ResponseCode::NoError, &[20]);
        for length in 0..whole.len() {
            assert_eq!(lifetime(&whole[..length]), None, "{length} bytes");
        }
        let mut cut = whole.clone();
        cut[2] |= TRUNCATED;
        assert_eq!(lifetime(&cut), None);
        assert!(lifetime(&whole).is_some());
    }
}

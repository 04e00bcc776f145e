//! Asking the host's resolvers.
//!
//! They are asked in their order, as the host's own library does, since the first may know names that the
//! others do not. One that has not answered in the time that it has is asked no more before the others,
//! but from time to time beside them: whoever asks does not wait for it. What the others say beforehand
//! counts if it is an address; that there is no such name they may say of what only the first one knows.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::{Random, SystemRandom};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::cache::{Cache, Key};
use crate::{Config, network};

/// How long one resolver may take. Clients ask again after five seconds, and must hear by then.
const PATIENCE: Duration = Duration::from_millis(2200);
/// When the next one is asked too.
const STAGGER: Duration = Duration::from_millis(300);
/// How long one that did not answer is asked no more before others, nor more than once.
const REST: Duration = Duration::from_secs(10);
/// How long the host's configuration is believed.
const FRESH: Duration = Duration::from_secs(5);
pub(super) const TRUNCATED: u8 = 2;
pub(super) const HEADER: usize = 12;
/// The longest answer of one packet that is taken. Of a longer one it is only told that it is.
const LONGEST: usize = 4096;

/// The host's resolvers.
pub(super) struct Upstream {
    config: Config,
    /// Addresses that lead back to ourselves.
    own: Vec<IpAddr>,
    known: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    cache: Mutex<Cache>,
    silent: Arc<Silent>,
    /// Waits for those who ask on although somebody else has answered: whoever is silent is found out.
    asking: TaskTracker,
}

/// Those that did not answer, and when they may be tried again.
#[derive(Default)]
struct Silent(Mutex<HashMap<SocketAddr, Instant>>);

/// How one resolver is thought of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It answers, as far as is known.
    Answers,
    /// It did not, some time ago.
    Probed,
    /// It did not just now.
    Rests,
}

/// What a question came to.
type Outcome = io::Result<Vec<u8>>;

impl Upstream {
    /// The resolvers that the host of `config` asks, without the addresses in `own`.
    pub(super) fn new(config: Config, own: Vec<IpAddr>) -> Self {
        let asking = TaskTracker::new();
        Self { config, own, known: Mutex::new(None), cache: Mutex::default(), silent: Arc::default(), asking }
    }

    /// What is kept of an answer to `question`, as [`Upstream::ask`] would give it.
    pub(super) fn kept(&self, question: &[u8], whole: bool, wanted: &[IpAddr]) -> Option<Vec<u8>> {
        let key = Key::new(question, whole, wanted)?;
        self.cache.lock().get(&key, question, Instant::now())
    }

    /// Asks the resolvers that are `wanted`, or the host's where there are none, twice if need be. The answer
    /// has the question's number.
    ///
    /// `whole` wants the answer even if it does not fit into a packet.
    pub(super) async fn ask(&self, question: &[u8], whole: bool, wanted: &[IpAddr]) -> Outcome {
        let servers = wanted.iter().filter(|wanted| !self.is_own(wanted));
        let mut servers: Vec<SocketAddr> = servers.map(|&wanted| (wanted, 53).into()).collect();
        if servers.is_empty() {
            servers = self.servers();
        }
        let mut answer = self.ask_round(&servers, question, whole).await;
        if answer.is_err() {
            answer = self.ask_round(&servers, question, whole).await;
        }
        let answer = answer?;
        if let Some(key) = Key::new(question, whole, wanted) {
            self.cache.lock().put(key, &answer, Instant::now());
        }
        Ok(answer)
    }

    /// Asks each of `servers` once, and takes the first answer that counts.
    async fn ask_round(&self, servers: &[SocketAddr], question: &[u8], whole: bool) -> Outcome {
        let mut order = self.silent.order(servers, Instant::now());
        let mut last: Outcome = Err(io::Error::new(io::ErrorKind::NotFound, "the host has no resolver"));
        let mut asked = FuturesUnordered::new();
        // Those that are waited for, in order, and whether what those after them say must wait for them.
        let mut waiting: Vec<(SocketAddr, bool)> = Vec::new();
        // What somebody said in the meantime.
        let mut said: Option<Vec<u8>> = None;
        let mut next = Instant::now();
        loop {
            // Those that rest are asked when nobody else is left.
            let waits_turn = order.first().is_some_and(|(_, standing)| *standing != Standing::Rests);
            if !order.is_empty() && (asked.is_empty() || (waits_turn && next <= Instant::now())) {
                let (server, standing) = order.remove(0);
                waiting.push((server, standing == Standing::Answers));
                asked.push(self.probe(server, question, whole));
                let at_once = order.first().is_some_and(|(_, standing)| *standing == Standing::Probed);
                next = Instant::now() + if at_once { Duration::ZERO } else { STAGGER };
                continue;
            }
            let come = tokio::select! {
                come = asked.next() => come,
                () = sleep_until(next), if waits_turn => continue,
            };
            let Some((server, outcome)) = come else { return last };
            let at = waiting.iter().position(|(waiting, _)| *waiting == server).unwrap_or_default();
            waiting.remove(at);
            let must_wait = |before: &[(SocketAddr, bool)]| before.iter().any(|(_, counts)| *counts);
            match outcome {
                Ok(answer) if is_failure(&answer) => last = last.or(Ok(answer)),
                Ok(answer) if has_records(&answer) || !must_wait(&waiting[..at]) => return Ok(answer),
                Ok(answer) => said = said.or(Some(answer)),
                Err(error) => last = last.or(Err(error)),
            }
            if !must_wait(&waiting)
                && let Some(answer) = said.take()
            {
                return Ok(answer);
            }
        }
    }

    /// Asks one; goes on, and finds out whether it answers, though nobody waits for it any more.
    async fn probe(&self, server: SocketAddr, question: &[u8], whole: bool) -> (SocketAddr, Outcome) {
        let (question, silent) = (question.to_vec(), Arc::clone(&self.silent));
        let task = self.asking.spawn(async move {
            let outcome = ask_one(server, &question, whole).await;
            silent.heard(server, outcome.is_ok());
            outcome
        });
        let outcome = task.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        (server, outcome)
    }

    /// Whether an address leads back to ourselves.
    fn is_own(&self, address: &IpAddr) -> bool {
        self.own.contains(address)
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let mut known = self.known.lock();
        if let Some((_, servers)) = known.as_ref().filter(|(since, _)| since.elapsed() < FRESH) {
            return servers.clone();
        }
        let servers: Vec<_> = network::upstream(&self.config)
            .nameservers
            .into_iter()
            .filter(|address| !self.is_own(address))
            .map(|address| (address, 53).into())
            .collect();
        *known = Some((Instant::now(), servers.clone()));
        servers
    }
}

impl Silent {
    /// `servers` with their standing, those before others that answer. Of those that are to be probed each is
    /// for whoever asks first.
    fn order(&self, servers: &[SocketAddr], now: Instant) -> Vec<(SocketAddr, Standing)> {
        let mut silent = self.0.lock();
        let standing = |server: &SocketAddr| match silent.get_mut(server) {
            None => (*server, Standing::Answers),
            Some(until) if now < *until => (*server, Standing::Rests),
            Some(until) => {
                *until = now + REST;
                (*server, Standing::Probed)
            }
        };
        let mut order: Vec<_> = servers.iter().map(standing).collect();
        order.sort_by_key(|(_, standing)| *standing);
        order
    }

    /// Takes down whether one has answered.
    fn heard(&self, server: SocketAddr, has_answered: bool) {
        match has_answered {
            true => drop(self.0.lock().remove(&server)),
            false => drop(self.0.lock().insert(server, Instant::now() + REST)),
        }
    }
}

/// Whether an answer says no more than that its server cannot tell.
fn is_failure(answer: &[u8]) -> bool {
    const CODE: u8 = 0x0f;
    const NO_ERROR: u8 = 0;
    const NO_SUCH_NAME: u8 = 3;
    answer.get(3).is_none_or(|flags| ![NO_ERROR, NO_SUCH_NAME].contains(&(flags & CODE)))
}

/// Whether an answer has records of what was asked.
fn has_records(answer: &[u8]) -> bool {
    answer.get(6..8).is_some_and(|count| count != [0, 0])
}

/// Asks one resolver, for the time that it has.
async fn ask_one(server: SocketAddr, question: &[u8], whole: bool) -> Outcome {
    let answer =
        timeout(PATIENCE, ask_udp(server, question)).await.unwrap_or_else(|late| Err(late.into()))?;
    if !whole || answer[2] & TRUNCATED == 0 {
        return Ok(answer);
    }
    timeout(PATIENCE, ask_tcp(server, question)).await.unwrap_or_else(|late| Err(late.into()))
}

/// One question from a port that nobody can guess, under a number that nobody can guess. It is sent once
/// more when half of the time is over: packets get lost.
async fn ask_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        "[::]:0".parse().expect("an address")
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    let asked = renumbered(question)?;
    socket.send(&asked).await?;
    let mut again = Some(Instant::now() + PATIENCE / 2);
    let mut buffer = vec![0; LONGEST + 1];
    loop {
        let length = tokio::select! {
            received = socket.recv(&mut buffer) => received?,
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                again = None;
                socket.send(&asked).await?;
                continue;
            }
        };
        if answers(&asked, &buffer[..length]) {
            buffer.truncate(length);
            buffer[..2].copy_from_slice(&question[..2]);
            if length > LONGEST {
                cut(&mut buffer);
            }
            return Ok(buffer);
        }
    }
}

/// Leaves of an answer that did not come whole what says so: whoever asked asks again by a connection.
fn cut(answer: &mut Vec<u8>) {
    let question = question_section(answer).map_or(0, <[u8]>::len);
    answer.truncate(HEADER + question);
    answer[2] |= TRUNCATED;
    // No records follow, of none of the three kinds.
    answer[6..HEADER].fill(0);
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let asked = renumbered(question)?;
    let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &asked].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if !answers(&asked, &answer) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question"));
    }
    answer[..2].copy_from_slice(&question[..2]);
    Ok(answer)
}

fn renumbered(question: &[u8]) -> io::Result<Vec<u8>> {
    if question.len() < HEADER {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut asked = question.to_vec();
    SystemRandom.fill(&mut asked[..2]);
    Ok(asked)
}

/// Whether `answer` has the number of `asked` and is about the same name.
fn answers(asked: &[u8], answer: &[u8]) -> bool {
    let Some(question) = question_section(asked) else { return false };
    answer.len() >= HEADER
        && answer[..2] == asked[..2]
        && answer
            .get(HEADER..HEADER + question.len())
            .is_some_and(|echoed| echoed.eq_ignore_ascii_case(question))
}

/// Name, type and class of the only question in a message.
fn question_section(message: &[u8]) -> Option<&[u8]> {
    // A question's name is never written by a reference to another.
    let end = name_end(message, HEADER)?;
    message.get(HEADER..end + 4).filter(|_| message.get(end - 1) == Some(&0))
}

/// Where the name that begins at `at` ends in a message; a reference to another name ends it.
pub(super) fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            length if length < 64 => at += length + 1,
            reference if reference >= 192 => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// Takes a message as the answer to itself, and as one that did not come whole.
pub(super) fn fuzz(message: &[u8]) {
    if answers(message, message) {
        let mut short = message.to_vec();
        cut(&mut short);
        assert!(answers(message, &short), "a cut answer is to another question");
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;

    use super::*;

    fn message(number: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&[0, 1, 0, 1]);
        bytes
    }

    #[test]
    fn an_answer_counts_only_for_its_own_question() {
        let asked = message(7, b"\x03www\x03org\0");
        assert!(answers(&asked, &message(7, b"\x03WWW\x03org\0")));
        assert!(!answers(&asked, &message(8, b"\x03www\x03org\0")), "another number");
        assert!(!answers(&asked, &message(7, b"\x03bad\x03org\0")), "another name");
        assert!(!answers(&asked, &asked[..20]), "cut");
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_for_a_packet_is_asked_for_by_a_connection() {
        let resolver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
        let server = resolver.local_addr().expect("bound");
        let resolves = tokio::spawn(async move {
            let mut buffer = [0; 512];
            for length in [LONGEST, LONGEST + 1, 2 * LONGEST] {
                let (asked, client) = resolver.recv_from(&mut buffer).await.expect("a question");
                let mut answer = buffer[..asked].to_vec();
                answer[7] = 200;
                answer.resize(length, 7);
                resolver.send_to(&answer, client).await.expect("answer");
            }
        });
        let question = message(7, b"\x03www\x03org\0");
        let fits = ask_udp(server, &question).await.expect("an answer");
        assert_eq!((fits.len(), fits[2] & TRUNCATED), (LONGEST, 0));
        for _ in 0..2 {
            let cut = ask_udp(server, &question).await.expect("an answer");
            let says_so = Message::from_vec(&cut).expect("it can be read");
            assert!(says_so.metadata.truncation && says_so.answers.is_empty(), "{says_so:?}");
            assert_eq!((says_so.metadata.id, says_so.queries.len()), (7, 1));
        }
        resolves.await.expect("no panic");
    }

    /// A resolver that answers each question with `count` records.
    async fn resolver(count: u8, code: u8) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
        let at = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let mut answer = buffer[..length].to_vec();
                (answer[3], answer[7]) = (code, count);
                for _ in 0..count {
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
                }
                socket.send_to(&answer, client).await.expect("answer");
            }
        });
        at
    }

    fn upstream() -> Upstream {
        Upstream::new(Config::new("test", "/nowhere"), Vec::new())
    }

    /// Waits until it is known that `dead` does not answer.
    async fn found_out(upstream: &Upstream, dead: SocketAddr) {
        let rests = || {
            let standing = upstream.silent.order(&[dead], Instant::now())[0].1;
            (standing == Standing::Rests).then_some(())
        };
        let limit = timeout(Duration::from_secs(60), async {
            while rests().is_none() {
                tokio::task::yield_now().await;
            }
        });
        limit.await.expect("it has not answered in the time that it has");
    }

    #[tokio::test]
    async fn one_that_does_not_answer_is_found_out_and_not_waited_for_any_more() {
        for (count, code) in [(1, 0), (0, 3)] {
            let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
            let dead = silent.local_addr().expect("bound");
            let (upstream, living) = (upstream(), resolver(count, code).await);
            let ask = async |name: &[u8]| {
                let answer = upstream.ask_round(&[dead, living], &message(7, name), false).await;
                let answer = answer.expect("the other answers");
                (answer[7], answer[3])
            };
            assert_eq!(ask(b"\x03www\x03org\0").await, (count, code));
            found_out(&upstream, dead).await;
            let mut buffer = [0; 512];
            while silent.try_recv(&mut buffer).is_ok() {}
            for _ in 0..20 {
                assert_eq!(ask(b"\x04next\x03org\0").await, (count, code));
            }
            assert!(silent.try_recv(&mut buffer).is_err(), "it rests");
            // It comes back when it is tried again, and answers.
            upstream.silent.0.lock().insert(dead, Instant::now());
            let order = upstream.silent.order(&[dead, living], Instant::now());
            assert_eq!(order, [(living, Standing::Answers), (dead, Standing::Probed)]);
            let others = upstream.silent.order(&[dead, living], Instant::now());
            assert_eq!(others[1].1, Standing::Rests, "one tries it, nobody else");
            upstream.silent.heard(dead, true);
            assert_eq!(upstream.silent.order(&[dead], Instant::now()), [(dead, Standing::Answers)]);
        }
    }

    #[tokio::test]
    async fn what_only_the_first_knows_is_not_denied_by_the_second_and_a_failure_is_nobodys_answer() {
        let (upstream, question) = (upstream(), message(7, b"\x03www\x03org\0"));
        let (fails, denies, knows) = (resolver(0, 2).await, resolver(0, 3).await, resolver(1, 0).await);
        let ask = async |servers: &[SocketAddr]| {
            let answer = upstream.ask_round(servers, &question, false).await.expect("an answer");
            (answer[7], answer[3])
        };
        assert_eq!(ask(&[fails, knows]).await, (1, 0));
        assert_eq!(ask(&[denies, knows]).await, (0, 3), "the first has said so");
        assert_eq!(ask(&[fails]).await, (0, 2));
        // Somebody who takes his time, but answers.
        let slow = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
        let at = slow.local_addr().expect("bound");
        let servers = [at, denies];
        let late = async {
            let mut buffer = [0; 512];
            let (length, client) = slow.recv_from(&mut buffer).await.expect("a question");
            tokio::time::sleep(STAGGER * 2).await;
            let mut answer = buffer[..length].to_vec();
            answer[7] = 1;
            slow.send_to(&answer, client).await.expect("answer");
        };
        let (answer, ()) = tokio::join!(ask(&servers), late);
        assert_eq!(answer, (1, 0));
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_the_next_who_asks() {
        let (upstream, knows) = (upstream(), resolver(1, 0).await);
        *upstream.known.lock() = Some((Instant::now(), vec![knows]));
        let question = message(7, b"\x03www\x03org\0");
        assert_eq!(upstream.kept(&question, false, &[]), None);
        let answer = upstream.ask(&question, false, &[]).await.expect("an answer");
        assert_eq!(upstream.kept(&question, false, &[]).expect("kept"), answer);
        let again = upstream.kept(&message(9, b"\x03WWW\x03org\0"), false, &[]).expect("kept");
        assert_eq!(again[..2], [0, 9]);
        assert_eq!(upstream.kept(&question, true, &[]), None, "in a connection it is another");
    }
}

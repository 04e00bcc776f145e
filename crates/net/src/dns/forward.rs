//! Asking the host's resolvers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use base::{Random, SystemRandom};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::{Config, network};

/// How long one resolver may take. Clients ask again after five seconds, and must hear by then.
const PATIENCE: Duration = Duration::from_millis(2200);
/// How long the host's configuration is believed.
const FRESH: Duration = Duration::from_secs(5);
const TRUNCATED: u8 = 2;
const HEADER: usize = 12;
/// The longest answer of one packet that is taken. Of a longer one it is only told that it is.
const LONGEST: usize = 4096;

/// The host's resolvers.
pub(super) struct Upstream {
    config: Config,
    /// Addresses that lead back to ourselves.
    own: Vec<IpAddr>,
    known: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Upstream {
    /// The resolvers that the host of `config` asks, without the addresses in `own`.
    pub(super) fn new(config: Config, own: Vec<IpAddr>) -> Self {
        Self { config, own, known: Mutex::new(None) }
    }

    /// Asks one resolver after the other, twice round: those that are `wanted`, or the host's where
    /// there are none. The answer has the question's number.
    ///
    /// `whole` wants the answer even if it does not fit into a packet.
    pub(super) async fn ask(&self, question: &[u8], whole: bool, wanted: &[IpAddr]) -> io::Result<Vec<u8>> {
        let wanted = wanted.iter().filter(|wanted| !self.is_own(wanted));
        let mut servers: Vec<SocketAddr> = wanted.map(|&wanted| (wanted, 53).into()).collect();
        if servers.is_empty() {
            servers = self.servers();
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no resolver");
        for server in servers.iter().chain(&servers) {
            let answer =
                timeout(PATIENCE, ask_udp(*server, question)).await.unwrap_or_else(|late| Err(late.into()));
            match answer {
                Ok(answer) if whole && answer[2] & TRUNCATED != 0 => {
                    return timeout(PATIENCE, ask_tcp(*server, question))
                        .await
                        .unwrap_or_else(|late| Err(late.into()));
                }
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
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

/// One question from a port that nobody can guess, under a number that nobody can guess.
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
    let mut buffer = vec![0; LONGEST + 1];
    loop {
        let length = socket.recv(&mut buffer).await?;
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
    let mut end = HEADER;
    loop {
        match usize::from(*message.get(end)?) {
            0 => return message.get(HEADER..end + 5),
            length if length < 64 => end += length + 1,
            _ => return None,
        }
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
}

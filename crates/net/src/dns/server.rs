//! The server: takes questions over UDP and TCP and answers them, or passes them on.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::forward::Upstream;
use super::message::{Outcome, Question, answers};
use super::shares::{Asker, Shares};
use super::zone::{Portion, parse_reverse};
use super::{Answer, Data, Directory, Kind, Listener, Listeners, Place, listener, message};
use crate::network::Inner;

/// How many questions are passed on at the same time, of all and of one asker; more are dropped, and asked
/// again. So are those of whoever has the most when all places are taken.
const PENDING: (usize, usize) = (1024, 64);
/// How many TCP connections are served at the same time, of all and of one asker; more are closed.
const CONNECTIONS: (usize, usize) = (256, 8);
const IDLE: Duration = Duration::from_secs(10);
/// How many names an alias may lead over.
const ALIASES: usize = 8;

/// A server that has not started yet.
struct Server {
    doors: [Door; 2],
    desk: Arc<Desk>,
}

/// Where questions come in.
struct Door {
    udp: UdpSocket,
    tcp: TcpListener,
    /// Whether those who ask there mean the cluster.
    of_cluster: bool,
}

/// What answering needs.
struct Desk {
    inner: Arc<Inner>,
    upstream: Upstream,
    pending: Arc<Shares>,
    connections: Arc<Shares>,
    /// Turns the order of several addresses round, so that clients that take the first spread.
    turn: AtomicUsize,
}

/// An answer, or a question that others have to be asked.
enum Reply {
    Now(Vec<u8>),
    /// With what the alias stands for, and who asks.
    Later(Question, Vec<Data>, String, Place),
    /// With whom to ask; empty for the host's resolvers.
    PassOn(Question, Vec<IpAddr>),
    Silence,
}

/// Serves at the sockets of `listeners` until `stop`, on a thread of its own: names are answered
/// whatever keeps everybody else busy. `tasks` waits for it.
pub(crate) fn start(
    listeners: Listeners,
    inner: &Arc<Inner>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    let server = {
        let _inside = runtime.enter();
        Server::new(listeners, Arc::clone(inner))?
    };
    let (owner, stop) = (tasks.token(), stop.clone());
    std::thread::Builder::new().name("names".to_owned()).spawn(move || {
        let _owner = owner;
        runtime.block_on(async {
            let serving = TaskTracker::new();
            server.start(&serving, &stop);
            serving.close();
            serving.wait().await;
        });
        runtime.shutdown_background();
    })?;
    Ok(())
}

impl Server {
    /// A server at the sockets of `listeners`; call it from inside a runtime.
    fn new(listeners: Listeners, inner: Arc<Inner>) -> io::Result<Self> {
        let door = |Listener { udp, tcp, .. }, of_cluster| -> io::Result<Door> {
            let (udp, tcp) = (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?);
            Ok(Door { udp, tcp, of_cluster })
        };
        let doors = [door(listeners.of_cluster, true)?, door(listeners.of_containers, false)?];
        let upstream = Upstream::new(inner.config().clone(), inner.own_name_servers());
        let desk = Desk {
            inner,
            upstream,
            pending: Shares::new(PENDING.0, PENDING.1),
            connections: Shares::new(CONNECTIONS.0, CONNECTIONS.1),
            turn: AtomicUsize::new(0),
        };
        Ok(Self { doors, desk: Arc::new(desk) })
    }

    /// Serves until `stop`; `tasks` owns what runs.
    fn start(self, tasks: &TaskTracker, stop: &CancellationToken) {
        let Self { doors, desk } = self;
        for Door { udp, tcp, of_cluster } in doors {
            let at = Counter { desk: desk.clone(), of_cluster, tasks: tasks.clone(), stop: stop.clone() };
            tasks.spawn(stop.clone().run_until_cancelled_owned(serve_udp(Arc::new(udp), at.clone())));
            tasks.spawn(stop.clone().run_until_cancelled_owned(serve_tcp(tcp, at)));
        }
    }
}

/// Where questions of one door are dealt with, and by whose tasks.
#[derive(Clone)]
struct Counter {
    desk: Arc<Desk>,
    of_cluster: bool,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn serve_udp(socket: Arc<UdpSocket>, at: Counter) {
    let Counter { desk, of_cluster, tasks, stop } = at;
    let mut buffer = vec![0; 4096];
    loop {
        let (length, client, link) = match listener::receive(&socket, &mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An earlier answer could not be delivered; that is no reason to stop, but should it go
                // on, one to keep calm.
                tracing::debug!(%error, "receive a question");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let question = &buffer[..length];
        // Whatever a question does to us, the next one is answered.
        let reply = base::panics::catch(|| match desk.place(client, Some(link)) {
            Some(place) => desk.reply(&place, question, of_cluster, true),
            None => Reply::Silence,
        });
        let reply = reply.unwrap_or_else(|panic| {
            tracing::error!(%client, %panic, "answering a question panicked");
            Reply::Silence
        });
        match reply {
            Reply::Now(answer) => send(&socket, &answer, client).await,
            Reply::Silence => {}
            reply => {
                let asker = desk.place(client, Some(link)).map(asker);
                let Some(share) = asker.and_then(|asker| desk.pending.take(&asker)) else { continue };
                let (socket, desk, question) = (socket.clone(), desk.clone(), question.to_vec());
                tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
                    tokio::select! {
                        answer = desk.complete(reply, &question, true) => if let Some(answer) = answer {
                            send(&socket, &answer, client).await;
                        },
                        () = share.given_up() => {}
                    }
                }));
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%client, %error, "send an answer");
    }
}

async fn serve_tcp(listener: TcpListener, at: Counter) {
    let Counter { desk, of_cluster, tasks, stop } = at;
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let asker = desk.place(client, None).map(asker);
                let Some(share) = asker.and_then(|asker| desk.connections.take(&asker)) else { continue };
                let desk = desk.clone();
                tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
                    tokio::select! {
                        served = serve_connection(stream, client, &desk, of_cluster) => if let Err(error) = served {
                            tracing::debug!(%client, %error, "connection for names ended");
                        },
                        () = share.given_up() => {}
                    }
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "accept a connection for names");
                // Out of descriptors: some are given back when connections end.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(
    mut stream: TcpStream,
    client: SocketAddr,
    desk: &Desk,
    of_cluster: bool,
) -> io::Result<()> {
    loop {
        let Ok(length) = timeout(IDLE, stream.read_u16()).await? else { return Ok(()) };
        let mut question = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut question)).await??;
        let Some(place) = desk.place(client, None) else { return Ok(()) };
        let answer = match desk.reply(&place, &question, of_cluster, false) {
            Reply::Now(answer) => Some(answer),
            Reply::Silence => None,
            reply => desk.complete(reply, &question, false).await,
        };
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        timeout(IDLE, stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())).await??;
    }
}

impl Desk {
    /// Who asks; none for strangers, who are not served: an open resolver is used to flood others. Whoever
    /// asks by a `link` that does not lead to its address is one. A connection has no link: what it is told
    /// goes to the address that it claims. Nor has the host itself: from its own addresses nothing comes in.
    fn place(&self, client: SocketAddr, link: Option<Option<u32>>) -> Option<Place> {
        let place = self.inner.directory().place_of(client.ip().to_canonical())?;
        let Some(link) = link else { return Some(place) };
        let leads = |network| link.is_some() && self.inner.link_of(network) == link;
        let is_right = match &place.at {
            _ if place.is_host => true,
            Some(network) => leads(network),
            None => false,
        };
        is_right.then_some(place)
    }

    /// What we can say at once; of the cluster's names only to those who mean the cluster.
    fn reply(&self, place: &Place, bytes: &[u8], of_cluster: bool, udp: bool) -> Reply {
        let directory = self.inner.directory();
        let Some(question) = Question::parse(bytes) else { return Reply::Silence };
        if let Some(data) = self.container(&directory, place, &question) {
            return done(question.answer(
                Outcome::Found,
                &data,
                Vec::new(),
                Some(""),
                udp.then(|| question.udp_limit()),
            ));
        }
        let zone = self.inner.zone().now();
        let limit = udp.then(|| question.udp_limit());
        // Who names the cluster's server as its own means it too.
        let asks_cluster = || {
            let cluster = &self.inner.config().cluster_dns;
            place.name_servers.iter().any(|server| cluster.contains(server))
        };
        let known = match of_cluster || asks_cluster() {
            true => zone.answer(&question.name, question.kind, self.portion(limit)),
            false => Answer::Elsewhere,
        };
        match known {
            Answer::Records(data) => {
                if let Some(Data::Alias(target)) = data.first().filter(|_| question.kind != Kind::Alias) {
                    let target = target.clone();
                    return Reply::Later(question, data, target, place.clone());
                }
                done(question.answer(Outcome::Found, &data, Vec::new(), Some(zone.domain()), limit))
            }
            Answer::NoSuchName => {
                done(question.answer(Outcome::NoSuchName, &[], Vec::new(), Some(zone.domain()), limit))
            }
            Answer::NotYet => done(question.answer(Outcome::Failed, &[], Vec::new(), None, limit)),
            // Who is cut off from everything else must not get word out by asking for names either.
            Answer::Elsewhere if place.internal => {
                done(question.answer(Outcome::NoSuchName, &[], Vec::new(), None, limit))
            }
            Answer::Elsewhere => match self.upstream.kept(bytes, !udp, &place.name_servers) {
                Some(answer) => Reply::Now(answer),
                None => Reply::PassOn(question, place.name_servers.clone()),
            },
        }
    }

    /// The answer of others.
    async fn complete(&self, reply: Reply, bytes: &[u8], udp: bool) -> Option<Vec<u8>> {
        match reply {
            Reply::Now(answer) => Some(answer),
            Reply::Silence => None,
            Reply::PassOn(question, servers) => match self.upstream.ask(bytes, !udp, &servers).await {
                Ok(answer) => Some(answer),
                Err(error) => {
                    tracing::debug!(name = question.name, %error, "nobody answers");
                    question.answer(Outcome::Failed, &[], Vec::new(), None, udp.then(|| question.udp_limit()))
                }
            },
            Reply::Later(question, data, target, place) => {
                let (outcome, more) = self.follow(&question, target, &place).await;
                question.answer(outcome, &data, more, None, udp.then(|| question.udp_limit()))
            }
        }
    }

    /// The records at the end of an alias: clients want the whole way in one answer.
    async fn follow(
        &self,
        question: &Question,
        mut target: String,
        place: &Place,
    ) -> (Outcome, Vec<hickory_proto::rr::Record>) {
        let failed = (Outcome::Failed, Vec::new());
        let mut way = Vec::new();
        for _ in 0..ALIASES {
            let portion = Portion::within(message::LONGEST);
            let answer = self.inner.zone().now().answer(&target, question.kind, portion);
            let Some(asked) = question.question_for(&target) else { return failed };
            match answer {
                Answer::Records(data) => {
                    let Some(inside) = Question::parse(&asked) else { return failed };
                    let bytes = inside.answer(Outcome::Found, &data, Vec::new(), None, None);
                    let Some((_, records)) = bytes.as_deref().and_then(answers) else { return failed };
                    way.extend(records);
                    let Some(Data::Alias(next)) = data.into_iter().next() else {
                        return (Outcome::Found, way);
                    };
                    target = next;
                }
                Answer::NoSuchName => return (Outcome::NoSuchName, way),
                Answer::NotYet => return failed,
                // Nor must it get word out by a name that leads there.
                Answer::Elsewhere if place.internal => return (Outcome::NoSuchName, way),
                Answer::Elsewhere => {
                    let answer = self.upstream.ask(&asked, true, &place.name_servers).await;
                    let Ok(bytes) = answer else { return failed };
                    let Some((outcome, records)) = answers(&bytes) else { return failed };
                    way.extend(records);
                    return (outcome, way);
                }
            }
        }
        failed
    }

    /// What containers in the asker's networks the name means; `None` if it is no container's.
    fn container(&self, directory: &Directory, place: &Place, question: &Question) -> Option<Vec<Data>> {
        if place.networks.is_empty() {
            return None;
        }
        if let Some(address) = parse_reverse(&question.name) {
            let name = directory.name_of(place, address)?;
            return Some(if question.kind == Kind::Pointer { vec![Data::Pointer(name)] } else { Vec::new() });
        }
        let addresses = directory.addresses_of(place, &question.name);
        if addresses.is_empty() {
            return None;
        }
        // The name exists, but may have no record of another kind: saying that it does not exist would
        // make clients that ask for IPv6 first give up.
        let mut data: Vec<_> = addresses.into_iter().map(Data::Address).collect();
        data.retain(|data| question.kind == Kind::Any || question.kind == data.kind());
        self.turn(&mut data);
        Some(data)
    }

    /// What of many records fits into an answer, from another one on each time.
    fn portion(&self, limit: Option<usize>) -> Portion<'_> {
        Portion { turn: Some(&self.turn), ..Portion::within(limit.unwrap_or(message::LONGEST)) }
    }

    fn turn(&self, data: &mut [Data]) {
        if data.len() > 1 {
            let by = self.turn.fetch_add(1, Ordering::Relaxed) % data.len();
            data.rotate_left(by);
        }
    }
}

fn asker(place: Place) -> Asker {
    Asker { network: place.at, owner: place.owner }
}

fn done(answer: Option<Vec<u8>>) -> Reply {
    answer.map_or(Reply::Silence, Reply::Now)
}

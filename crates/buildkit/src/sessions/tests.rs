use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use build::solve::{FileSelection, Session as _, SessionError};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::{Request as Call, Response as Answer, Status, Streaming};
use tower::Service as _;

use super::*;
use crate::channel::{self, Answers};
use crate::session::Client;
use crate::transfer::{Memory, Receiver, Sender, packet};
use crate::wire::fsutil::types::Packet;
use crate::wire::fsutil::types::packet::PacketType;
use crate::wire::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use crate::wire::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use crate::wire::moby::filesync::v1::auth_server::{Auth, AuthServer};
use crate::wire::moby::filesync::v1::file_send_server::{FileSend, FileSendServer};
use crate::wire::moby::filesync::v1::file_sync_server::{FileSync, FileSyncServer};
use crate::wire::moby::filesync::v1::{
    BytesMessage, CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use crate::wire::moby::sshforward::v1::ssh_server::{Ssh, SshServer};
use crate::wire::moby::sshforward::v1::{
    BytesMessage as AgentMessage, CheckAgentRequest, CheckAgentResponse,
};

/// A client that has a directory, a place for a file, a secret and an agent.
#[derive(Clone)]
struct Offers {
    directory: std::path::PathBuf,
    /// What its file is filled with, and the name that the exporter gave it.
    file: Arc<Mutex<(String, Vec<u8>)>>,
    asked: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Offers {
    fn new(directory: &Path) -> Self {
        Offers { directory: directory.to_owned(), file: Arc::default(), asked: Arc::default() }
    }
}

impl Answers for Offers {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (path, request) = (request.uri().path().to_owned(), channel::boxed(request));
        let offers = self.clone();
        let Ok(answer) = match path.split('/').nth(1).unwrap_or_default() {
            "moby.filesync.v1.FileSync" => FileSyncServer::new(offers).call(request).await,
            "moby.filesync.v1.FileSend" => FileSendServer::new(offers).call(request).await,
            "moby.filesync.v1.Auth" => AuthServer::new(offers).call(request).await,
            "moby.buildkit.secrets.v1.Secrets" => SecretsServer::new(offers).call(request).await,
            "moby.sshforward.v1.SSH" => SshServer::new(offers).call(request).await,
            _ => Ok(channel::unimplemented(&path)),
        };
        answer
    }
}

#[tonic::async_trait]
impl FileSync for Offers {
    type DiffCopyStream = BoxStream<'static, Result<Packet, Status>>;
    type TarStreamStream = BoxStream<'static, Result<Packet, Status>>;

    async fn diff_copy(&self, call: Call<Streaming<Packet>>) -> Result<Answer<Self::DiffCopyStream>, Status> {
        let texts = |key: &str| {
            let values = call.metadata().get_all(key).into_iter();
            values.filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect::<Vec<String>>()
        };
        for key in
            ["dir-name", "include-patterns", "exclude-patterns", "followpaths", "exclude-patterns-encoded"]
        {
            self.asked.lock().insert(key.to_owned(), texts(key));
        }
        if texts("dir-name") != ["context"] {
            return Err(Status::not_found("no access allowed"));
        }
        let top = std::fs::File::open(&self.directory)?;
        let sender = Sender::new(top)?;
        // Says what it has; when there is nothing to say, listens.
        let answers =
            stream::unfold((sender, call.into_inner(), false), |(mut sender, mut heard, done)| async move {
                if done {
                    return None;
                }
                loop {
                    match sender.next() {
                        Ok(Some(next)) => return Some((Ok(next), (sender, heard, false))),
                        Ok(None) => {}
                        Err(error) => {
                            return Some((Err(Status::unknown(error.to_string())), (sender, heard, true)));
                        }
                    }
                    match heard.next().await {
                        Some(Ok(packet)) => sender.take(packet).expect("a packet that is taken"),
                        _ => return None,
                    }
                    if sender.is_done() {
                        return Some((Ok(packet(PacketType::PacketFin)), (sender, heard, true)));
                    }
                }
            });
        Ok(Answer::new(answers.boxed()))
    }

    async fn tar_stream(&self, _: Call<Streaming<Packet>>) -> Result<Answer<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("no"))
    }
}

#[tonic::async_trait]
impl FileSend for Offers {
    type DiffCopyStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        call: Call<Streaming<BytesMessage>>,
    ) -> Result<Answer<Self::DiffCopyStream>, Status> {
        let text = |key: &str| {
            call.metadata().get(key).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let name = format!("{} {}", text("buildkit-attachable-exporter-id"), text("exporter-md-name"));
        if text("buildkit-attachable-exporter-id") == "9" {
            return Err(Status::already_exists("target already exists"));
        }
        let file = Arc::clone(&self.file);
        let mut pieces = call.into_inner();
        let mut content = Vec::new();
        while let Some(piece) = pieces.next().await {
            content.extend_from_slice(&piece?.data);
        }
        *file.lock() = (name, content);
        Ok(Answer::new(stream::empty().boxed()))
    }
}

#[tonic::async_trait]
impl Secrets for Offers {
    async fn get_secret(&self, call: Call<GetSecretRequest>) -> Result<Answer<GetSecretResponse>, Status> {
        match &*call.into_inner().id {
            "known" => Ok(Answer::new(GetSecretResponse { data: Bytes::from_static(b"quiet") })),
            "never" => std::future::pending().await,
            other => Err(Status::not_found(format!("secret {other} not found"))),
        }
    }
}

#[tonic::async_trait]
impl Ssh for Offers {
    type ForwardAgentStream = BoxStream<'static, Result<AgentMessage, Status>>;

    async fn check_agent(&self, call: Call<CheckAgentRequest>) -> Result<Answer<CheckAgentResponse>, Status> {
        match &*call.into_inner().id {
            "default" => Ok(Answer::new(CheckAgentResponse {})),
            "never" => std::future::pending().await,
            _ => Err(Status::unknown("unset ssh forward key")),
        }
    }

    /// An agent that says everything twice.
    async fn forward_agent(
        &self,
        call: Call<Streaming<AgentMessage>>,
    ) -> Result<Answer<Self::ForwardAgentStream>, Status> {
        let twice = |message: Result<AgentMessage, Status>| stream::iter([message.clone(), message]);
        Ok(Answer::new(call.into_inner().flat_map(twice).boxed()))
    }
}

#[tonic::async_trait]
impl Auth for Offers {
    async fn credentials(
        &self,
        call: Call<CredentialsRequest>,
    ) -> Result<Answer<CredentialsResponse>, Status> {
        let (username, secret) = match &*call.into_inner().host {
            "named" => ("me", "word"),
            "token" => ("", "token"),
            "never" => std::future::pending().await,
            _ => ("", ""),
        };
        Ok(Answer::new(CredentialsResponse { username: username.to_owned(), secret: secret.to_owned() }))
    }

    async fn fetch_token(&self, _: Call<FetchTokenRequest>) -> Result<Answer<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn get_token_authority(
        &self,
        _: Call<GetTokenAuthorityRequest>,
    ) -> Result<Answer<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn verify_token_authority(
        &self,
        _: Call<VerifyTokenAuthorityRequest>,
    ) -> Result<Answer<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("no"))
    }
}

fn introduction(id: &str) -> Introduction {
    let methods = [
        "/moby.filesync.v1.FileSync/DiffCopy",
        "/moby.filesync.v1.FileSend/diffcopy",
        "/moby.filesync.v1.Auth/Credentials",
        "/moby.buildkit.secrets.v1.Secrets/GetSecret",
        "/moby.sshforward.v1.SSH/CheckAgent",
        "/moby.sshforward.v1.SSH/ForwardAgent",
    ];
    Introduction {
        id: id.to_owned(),
        shared_key: "key".to_owned(),
        methods: methods.map(str::to_owned).to_vec(),
    }
}

fn me() -> Owner {
    Owner::of("me")
}

/// Opens a session of a client that offers `offers`; it lasts until what comes back is dropped.
fn open(sessions: &Sessions, id: &str, offers: &Offers) -> AbortOnDropHandle<()> {
    open_of(sessions, id, offers, me())
}

fn open_of(sessions: &Sessions, id: &str, offers: &Offers, owner: Owner) -> AbortOnDropHandle<()> {
    let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(64 << 10);
    let (sessions, introduction, offers) = (sessions.clone(), introduction(id), offers.clone());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let (held, _) = tokio::join!(sessions.hold(introduction, owner, near), channel::serve(far, offers));
        held.expect("a session that is held");
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_directory_is_received_and_only_what_changed_is_sent_again() {
    let (from, into) = (tempfile::tempdir().expect("from"), tempfile::tempdir().expect("into"));
    for at in 0..300 {
        let directory = from.path().join(format!("{}", at % 7));
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join(format!("{at}")), vec![b'x'; at * 999]).expect("a file");
    }
    let sessions = Sessions::new();
    let offers = Offers::new(from.path());
    let _held = open(&sessions, "one", &offers);
    let client = Client::new(sessions.clone(), sessions.find("one", &me()).await.expect("a session"));
    assert_eq!((client.id(), client.shared_key()), ("one", "key"));
    let selection = FileSelection {
        include: vec!["a".to_owned(), "b/**".to_owned()],
        exclude: vec!["ä b".to_owned()],
        follow: Vec::new(),
    };
    let bytes = AtomicU64::new(0);
    let receive = || async {
        bytes.store(0, Ordering::Relaxed);
        let told = |so_far: build::solve::Transferred| bytes.store(so_far.bytes, Ordering::Relaxed);
        client.receive_files("context", &selection, into.path(), &told).await.expect("received");
        bytes.load(Ordering::Relaxed)
    };
    let all = (0..300).map(|at| at * 999).sum::<u64>();
    let first = receive().await;
    assert!(first > all && first < all + 300 * 64, "{first} of {all}");
    let asked = offers.asked.lock().clone();
    assert_eq!(asked["include-patterns"], ["a", "b/**"]);
    assert_eq!(asked["exclude-patterns"], ["%C3%A4+b"]);
    assert_eq!(asked["exclude-patterns-encoded"], ["1"]);
    std::fs::write(from.path().join("3/10"), "changed").expect("a file");
    let second = receive().await;
    assert!(second < 300 * 64, "{second}");
    for at in 0..300 {
        let name = format!("{}/{at}", at % 7);
        let (left, right) = (std::fs::read(from.path().join(&name)), std::fs::read(into.path().join(&name)));
        assert_eq!(left.expect("a file"), right.expect("a file"), "{name}");
    }
    let other = client.receive_files("elsewhere", &selection, into.path(), &|_| {}).await;
    assert!(matches!(other, Err(SessionError::NotOffered(_))), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_agents_and_credentials_are_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let sessions = Sessions::new();
    let _held = open(&sessions, "one", &Offers::new(directory.path()));
    let client = Client::new(sessions.clone(), sessions.find("prefix:one", &me()).await.expect("a session"));
    assert_eq!(client.secret("known").await.expect("an answer").as_deref(), Some(&b"quiet"[..]));
    assert_eq!(client.secret("other").await.expect("an answer"), None);
    let named = client.credentials("named").await.expect("an answer").expect("credentials");
    assert_eq!((named.username.as_str(), named.password.as_str()), ("me", "word"));
    let token = client.credentials("token").await.expect("an answer").expect("credentials");
    assert_eq!((token.username.as_str(), token.identity_token.as_str()), ("", "token"));
    assert!(client.credentials("none").await.expect("an answer").is_none());
    client.ssh_check("default").await.expect("an agent");
    assert!(client.ssh_check("other").await.is_err());
    let mut agent = client.ssh_connect("default").await.expect("an agent");
    agent.write_all(b"hello").await.expect("written");
    agent.flush().await.expect("flushed");
    let mut heard = [0; 10];
    agent.read_exact(&mut heard).await.expect("read");
    assert_eq!(&heard, b"hellohello");
    agent.shutdown().await.expect("closed");
    assert_eq!(agent.read(&mut heard).await.expect("the end"), 0);
    assert!(matches!(client.upload("/x").await, Err(SessionError::NotOffered(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_with_the_client_when_its_sink_is_shut() {
    let directory = tempfile::tempdir().expect("a directory");
    let sessions = Sessions::new();
    let offers = Offers::new(directory.path());
    let _held = open(&sessions, "one", &offers);
    let client = Client::new(sessions.clone(), sessions.find("one", &me()).await.expect("a session"));
    let content: Vec<u8> = (0..5_000_000_u32).map(|at| at as u8).collect();
    let metadata = BTreeMap::from([("name".to_owned(), "app.tar".to_owned())]);
    let mut sink = client.send_file("3", &metadata).await.expect("a sink");
    sink.write_all(&content).await.expect("written");
    sink.shutdown().await.expect("shut");
    let (name, got) = offers.file.lock().clone();
    assert_eq!(name, "3 app.tar");
    assert!(got == content, "{} bytes of {}", got.len(), content.len());
    let mut refused = client.send_file("9", &BTreeMap::new()).await.expect("a sink");
    let written = async {
        refused.write_all(&content).await?;
        refused.shutdown().await
    };
    let error = written.await.expect_err("refused").to_string();
    assert!(error.contains("target already exists"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_its_owner_s_alone_and_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let sessions = Sessions::new();
    let owner = me();
    let coming = sessions.find("one", &owner);
    tokio::pin!(coming);
    assert!(futures::poll!(&mut coming).is_pending(), "nobody has opened it");
    let held = open(&sessions, "one", &Offers::new(directory.path()));
    let found = coming.await.expect("it has come");
    assert!(sessions.find("one", &Owner::of("another")).await.is_err(), "it is somebody else's");
    let another = Owner::of("another");
    let _theirs = open_of(&sessions, "theirs", &Offers::new(directory.path()), another.clone());
    sessions.find("theirs", &another).await.expect("its owner finds it");
    let client = Client::new(sessions.clone(), Arc::clone(&found));
    assert!(client.other("theirs").await.is_none(), "it is somebody else's");
    let second = open(&sessions, "second", &Offers::new(directory.path()));
    let other = client.other("second").await.expect("a session of the same client's");
    assert_eq!(other.id(), "second");
    drop(second);
    assert!(sessions.find("two", &me()).await.is_err(), "it never comes");
    assert!(matches!(sessions.check(&introduction("one")), Err(SessionsError::Exists(_))));
    assert!(matches!(sessions.check(&introduction("")), Err(SessionsError::NoId)));
    drop(held);
    found.gone().await;
    assert!(sessions.find("one", &me()).await.is_err(), "it is gone");
    let client = Client::new(sessions.clone(), found);
    assert!(matches!(client.ssh_check("default").await, Err(SessionError::Gone)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_there_and_does_not_answer_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let sessions = Sessions::new();
    let _held = open(&sessions, "one", &Offers::new(directory.path()));
    let client = Client::new(sessions.clone(), sessions.find("one", &me()).await.expect("a session"));
    let asked = async {
        let late = "the client has not answered for 30 s";
        assert_eq!(client.secret("never").await.expect_err(late).to_string(), late);
        assert_eq!(client.ssh_check("never").await.expect_err(late).to_string(), late);
        assert_eq!(client.credentials("never").await.map(drop).expect_err(late).to_string(), late);
    };
    tokio::time::timeout(std::time::Duration::from_secs(100), asked).await.expect("an end");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_more_loses_its_session() {
    let (near, _far) = tokio::io::duplex(64 << 10);
    let sessions = Sessions::new();
    sessions.hold(introduction("one"), me(), near).await.expect("it ends by itself");
}

/// A client of a tree's receiving side, as the exporter of directories meets it.
#[derive(Clone)]
struct Takes {
    into: std::path::PathBuf,
}

impl Answers for Takes {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let mut server = tonic::server::Grpc::new(tonic_prost::ProstCodec::<Packet, Packet>::default());
        server.streaming(self.clone(), channel::boxed(request)).await
    }
}

impl tonic::server::StreamingService<Packet> for Takes {
    type Response = Packet;
    type ResponseStream = BoxStream<'static, Result<Packet, Status>>;
    type Future = futures::future::BoxFuture<'static, Result<Answer<Self::ResponseStream>, Status>>;

    fn call(&mut self, call: Call<Streaming<Packet>>) -> Self::Future {
        let into = self.into.clone();
        Box::pin(async move {
            let receiver =
                Receiver::new(std::fs::File::open(into)?, &Memory::new()).map_err(std::io::Error::other)?;
            let state = (receiver, call.into_inner(), Vec::new(), false);
            let answers =
                stream::unfold(state, |(mut receiver, mut heard, mut asked, mut said)| async move {
                    loop {
                        if let Some(id) = asked.pop() {
                            let request = Packet { id, ..packet(PacketType::PacketReq) };
                            return Some((Ok(request), (receiver, heard, asked, said)));
                        }
                        if receiver.is_complete() && !said {
                            said = true;
                            return Some((Ok(packet(PacketType::PacketFin)), (receiver, heard, asked, said)));
                        }
                        receiver.take(heard.next().await?.ok()?).expect("a packet that is taken");
                        asked.extend(receiver.requests());
                    }
                });
            Ok(Answer::new(answers.boxed()))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_sent_to_the_client() {
    let (from, into) = (tempfile::tempdir().expect("from"), tempfile::tempdir().expect("into"));
    std::fs::create_dir(from.path().join("d")).expect("a directory");
    for at in 0..200 {
        std::fs::write(from.path().join(format!("d/{at}")), vec![b'x'; at * 999]).expect("a file");
    }
    let (near, far) = tokio::io::duplex(64 << 10);
    let sessions = Sessions::new();
    let takes = Takes { into: into.path().to_owned() };
    let holding = {
        let sessions = sessions.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = tokio::join!(sessions.hold(introduction("one"), me(), near), channel::serve(far, takes));
        }))
    };
    let client = Client::new(sessions.clone(), sessions.find("one", &me()).await.expect("a session"));
    client.send_tree("0", from.path(), &|_| {}).await.expect("sent");
    for at in 0..200 {
        let got = std::fs::read(into.path().join(format!("d/{at}"))).expect("a file");
        assert_eq!(got.len(), at * 999);
    }
    drop(holding);
}

//! What a build asks a client for, over the client's session.

mod contents;
mod files;
mod header;
mod sink;
mod tree;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use build::solve::{
    Duplex, FileSelection, FileSink, Session, SessionError, Transfers, Upload as UploadStream,
};
use bytes::Bytes;
use engine::image::RegistryAuth;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::Uri;
use oci::Digest;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::{Code, Request, Status};

use crate::channel::{Channel, LONGEST};
use crate::sessions::{Open, Sessions};
use crate::wire::moby::buildkit::secrets::v1::GetSecretRequest;
use crate::wire::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use crate::wire::moby::filesync::v1::CredentialsRequest;
use crate::wire::moby::filesync::v1::auth_client::AuthClient;
use crate::wire::moby::sshforward::v1::ssh_client::SshClient;
use crate::wire::moby::sshforward::v1::{BytesMessage, CheckAgentRequest};
use crate::wire::moby::upload::v1::upload_client::UploadClient;

/// How long a client may take to answer where nothing but its answer comes.
const ANSWER: Duration = Duration::from_secs(30);
/// Messages that wait to be sent to a client.
const WAITING: usize = 16;

const FILES: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const SEND: &str = "/moby.filesync.v1.FileSend/DiffCopy";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
const UPLOAD: &str = "/moby.upload.v1.Upload/Pull";
const CONTENT: &str = "/containerd.services.content.v1.Content/Read";

/// The host that calls over a session name; nobody looks at it.
pub(crate) fn origin() -> Uri {
    Uri::from_static("http://localhost")
}

/// A client, for as long as its session lasts.
#[derive(Clone)]
pub(crate) struct Client {
    sessions: Sessions,
    open: Arc<Open>,
}

impl Client {
    /// The client of a session that is among `sessions`.
    pub(crate) fn new(sessions: Sessions, open: Arc<Open>) -> Self {
        Client { sessions, open }
    }

    /// The way to the client, if it serves `method`.
    fn serving(&self, method: &str, what: &str) -> Result<Channel, SessionError> {
        if self.open.is_gone() {
            return Err(SessionError::Gone);
        }
        match self.open.serves(method) {
            true => Ok(self.open.channel()),
            false => Err(SessionError::NotOffered(format!("{what} not supported by the client"))),
        }
    }

    /// What `call` comes to, unless the client takes too long or goes meanwhile.
    async fn soon<T>(
        &self,
        call: impl Future<Output = Result<T, SessionError>> + Send,
    ) -> Result<T, SessionError> {
        let late = || SessionError::Failed(format!("the client has not answered for {} s", ANSWER.as_secs()));
        let timed = tokio::time::timeout(ANSWER, call);
        self.answered(async { timed.await.unwrap_or_else(|_| Err(late())) }).await
    }

    /// What `call` comes to, unless the client goes meanwhile.
    async fn answered<T>(
        &self,
        call: impl Future<Output = Result<T, SessionError>> + Send,
    ) -> Result<T, SessionError> {
        tokio::select! {
            biased;
            answered = call => match answered {
                Err(SessionError::Failed(_)) if self.open.is_gone() => Err(SessionError::Gone),
                answered => answered,
            },
            () = self.open.gone() => Err(SessionError::Gone),
        }
    }
}

/// What a client's failure means to who asked.
fn failure(status: Status) -> SessionError {
    match status.code() {
        Code::NotFound | Code::Unimplemented => SessionError::NotOffered(status.message().to_owned()),
        _ => SessionError::Failed(status.message().to_owned()),
    }
}

impl Session for Client {
    fn id(&self) -> &str {
        self.open.id()
    }

    fn shared_key(&self) -> &str {
        self.open.shared_key()
    }

    fn owner(&self) -> &str {
        self.open.owner().as_str()
    }

    fn other<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Arc<dyn Session>>> {
        Box::pin(async move {
            let open = self.sessions.find(id, self.open.owner()).await.ok()?;
            let other: Arc<dyn Session> = Arc::new(Client::new(self.sessions.clone(), open));
            Some(other)
        })
    }

    fn receive_files<'a>(
        &'a self,
        name: &'a str,
        selection: &'a FileSelection,
        into: &'a Path,
        told: Transfers<'a>,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(self.answered(async move {
            let channel = self.serving(FILES, "local sources are")?;
            files::receive(channel, self.sessions.memory(), name, selection, into, told).await
        }))
    }

    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, SessionError>> {
        Box::pin(self.soon(async move {
            if !self.open.serves(SECRET) {
                return Ok(None);
            }
            let mut secrets = SecretsClient::with_origin(self.open.channel(), origin());
            let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
            match secrets.get_secret(request).await {
                Ok(answer) => Ok(Some(answer.into_inner().data)),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(failure(status)),
            }
        }))
    }

    fn ssh_check<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(self.soon(async move {
            let mut agents = SshClient::with_origin(self.serving(AGENT, "agents are")?, origin());
            agents.check_agent(CheckAgentRequest { id: id.to_owned() }).await.map_err(failure)?;
            Ok(())
        }))
    }

    fn ssh_connect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Box<dyn Duplex>, SessionError>> {
        Box::pin(self.answered(async move {
            let mut agents = SshClient::with_origin(self.serving(FORWARD, "agents are")?, origin())
                .max_decoding_message_size(LONGEST);
            let (sender, messages) = futures::channel::mpsc::channel(WAITING);
            let mut request = Request::new(messages);
            put(&mut request, "buildkit.ssh.id", [id])?;
            let answers = agents.forward_agent(request).await.map_err(failure)?.into_inner();
            let answers = answers.map(|message| match message {
                Ok(message) => Ok(message.data),
                Err(status) => Err(std::io::Error::other(status.message().to_owned())),
            });
            let sender = futures::SinkExt::sink_map_err(sender, std::io::Error::other);
            let sender = futures::SinkExt::with(sender, |data: Bytes| async move {
                Ok::<_, std::io::Error>(BytesMessage { data })
            });
            let writer = SinkWriter::new(CopyToBytes::new(Box::pin(sender)));
            let duplex: Box<dyn Duplex> =
                Box::new(tokio::io::join(StreamReader::new(Box::pin(answers)), writer));
            Ok(duplex)
        }))
    }

    fn credentials<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<RegistryAuth>, SessionError>> {
        Box::pin(self.soon(async move {
            if !self.open.serves(CREDENTIALS) {
                return Ok(None);
            }
            let mut auth = AuthClient::with_origin(self.open.channel(), origin());
            let request = CredentialsRequest { host: host.to_owned() };
            let answer = auth.credentials(request).await.map_err(failure)?.into_inner();
            Ok(match (answer.username.is_empty(), answer.secret.is_empty()) {
                (true, true) => None,
                // A token that others are got with.
                (true, false) => {
                    Some(RegistryAuth { identity_token: answer.secret, ..RegistryAuth::default() })
                }
                (false, _) => Some(RegistryAuth {
                    username: answer.username,
                    password: answer.secret,
                    ..RegistryAuth::default()
                }),
            })
        }))
    }

    fn send_file<'a>(
        &'a self,
        exporter: &'a str,
        metadata: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<FileSink, SessionError>> {
        Box::pin(async move { sink::open(self.serving(SEND, "exported files are")?, exporter, metadata) })
    }

    fn send_tree<'a>(
        &'a self,
        exporter: &'a str,
        directory: &'a Path,
        told: Transfers<'a>,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(self.answered(async move {
            tree::send(self.serving(SEND, "exported files are")?, exporter, directory, told).await
        }))
    }

    fn upload<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<UploadStream, SessionError>> {
        Box::pin(self.answered(async move {
            let mut uploads = UploadClient::with_origin(self.serving(UPLOAD, "uploads are")?, origin())
                .max_decoding_message_size(LONGEST);
            let mut request = Request::new(futures::stream::pending());
            put(&mut request, "urlpath", [path])?;
            put(&mut request, "urlhost", ["buildkit-session"])?;
            let messages = uploads.pull(request).await.map_err(failure)?.into_inner();
            let upload: UploadStream = Box::pin(messages.map(|message| match message {
                Ok(message) => Ok(message.data),
                Err(status) => Err(failure(status)),
            }));
            Ok(upload)
        }))
    }

    fn content_size<'a>(
        &'a self,
        store: &'a str,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<u64>, SessionError>> {
        Box::pin(self.soon(async move {
            contents::size(self.serving(CONTENT, "content stores are")?, store, digest).await
        }))
    }

    fn content_read<'a>(
        &'a self,
        store: &'a str,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<UploadStream, SessionError>> {
        Box::pin(self.soon(async move {
            contents::read(self.serving(CONTENT, "content stores are")?, store, digest).await
        }))
    }

    fn content_write<'a>(
        &'a self,
        store: &'a str,
        digest: &'a Digest,
        size: u64,
        content: UploadStream,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(self.answered(async move {
            contents::write(self.serving(CONTENT, "content stores are")?, store, digest, size, content).await
        }))
    }
}

/// Puts values into a call's head, each as one of its own; what is not ASCII is escaped, and that is told.
fn put<'v, T>(
    request: &mut Request<T>,
    key: &'static str,
    values: impl IntoIterator<Item = &'v str>,
) -> Result<(), SessionError> {
    let values: Vec<&str> = values.into_iter().collect();
    let escaped = values.iter().any(|value| !value.is_ascii());
    for value in values {
        let value = if escaped { header::escape(value) } else { value.to_owned() };
        let value: MetadataValue<Ascii> = value.parse().map_err(|_| {
            SessionError::Failed(format!("`{}` cannot be sent in a head", value.escape_debug()))
        })?;
        request.metadata_mut().append(MetadataKey::from_static(key), value);
    }
    if escaped {
        let key = format!("{key}-encoded").parse::<MetadataKey<Ascii>>();
        let key = key.map_err(|_| SessionError::Failed("a head's name".to_owned()))?;
        request.metadata_mut().insert(key, MetadataValue::from_static("1"));
    }
    Ok(())
}

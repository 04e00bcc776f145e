//! Definitions, a client that has a directory, and what a job told.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use build::solve::{
    Duplex, Event, FileSelection, FileSink, Job, JobOptions, Ref, Session, SessionError, SolveError, Solver,
    Transferred, Transfers, Upload,
};
use bytes::Bytes;
use engine::image::RegistryAuth;
use futures::StreamExt;
use futures::future::BoxFuture;
use llb::pb::{self, file_action::Action, op};
use llb::{Builder, Output};
use oci::Digest;

/// A client with files, secrets and an agent.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) directories: HashMap<String, PathBuf>,
    pub(crate) secrets: HashMap<String, Vec<u8>>,
    pub(crate) agent: bool,
    /// It never says anything when it is asked for a secret.
    pub(crate) silent: bool,
    pub(crate) transfers: AtomicUsize,
    /// It has nothing in common with others.
    pub(crate) alone: bool,
    /// Other sessions of its own.
    pub(crate) others: HashMap<String, Arc<Client>>,
    /// It sends no more than the beginning of what is in its stores.
    pub(crate) stops: bool,
    /// Who it is, where it is not who the others are.
    pub(crate) owner: Option<String>,
    /// What it has in its stores of content.
    pub(crate) stores: Arc<Stores>,
}

/// Stores of content.
#[derive(Default)]
pub(crate) struct Stores {
    /// By the names of stores, and digests.
    pub(crate) contents: Mutex<HashMap<(String, Digest), Vec<u8>>>,
    /// What has been read.
    pub(crate) read: Mutex<Vec<Digest>>,
}

impl Stores {
    /// Puts content into a store; gives its digest.
    pub(crate) fn put(&self, store: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256_of(content);
        self.contents.lock().expect("whole").insert((store.to_owned(), digest.clone()), content.to_vec());
        digest
    }

    pub(crate) fn get(&self, store: &str, digest: &Digest) -> Option<Vec<u8>> {
        self.contents.lock().expect("whole").get(&(store.to_owned(), digest.clone())).cloned()
    }

    /// What has been read since this was asked last.
    pub(crate) fn take_read(&self) -> Vec<Digest> {
        std::mem::take(&mut *self.read.lock().expect("whole"))
    }
}

impl Session for Client {
    fn id(&self) -> &str {
        "session"
    }

    fn shared_key(&self) -> &str {
        if self.alone { "" } else { "shared" }
    }

    fn other<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Arc<dyn Session>>> {
        Box::pin(async move { Some(Arc::clone(self.others.get(id)?) as Arc<dyn Session>) })
    }

    fn owner(&self) -> &str {
        self.owner.as_deref().unwrap_or("owner")
    }

    fn receive_files<'a>(
        &'a self,
        name: &'a str,
        _selection: &'a FileSelection,
        into: &'a Path,
        told: Transfers<'a>,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(async move {
            self.transfers.fetch_add(1, Ordering::Relaxed);
            let from = self.directories.get(name).ok_or(SessionError::NotOffered(name.to_owned()))?;
            let failed = |error: std::io::Error| SessionError::Failed(error.to_string());
            std::fs::remove_dir_all(into).map_err(failed)?;
            let status = std::process::Command::new("cp").arg("-a").arg(from).arg(into).status();
            assert!(status.map_err(failed)?.success());
            told(Transferred { bytes: 1, done: true });
            Ok(())
        })
    }

    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, SessionError>> {
        Box::pin(async move {
            if self.silent {
                std::future::pending::<()>().await;
            }
            Ok(self.secrets.get(id).cloned().map(Bytes::from))
        })
    }

    fn ssh_check<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), SessionError>> {
        let missing = Err(SessionError::NotOffered(format!("unset ssh forward key {id}")));
        Box::pin(async move { if self.agent { Ok(()) } else { missing } })
    }

    fn ssh_connect<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<Box<dyn Duplex>, SessionError>> {
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(1024);
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut read, mut write) = tokio::io::split(far);
                let mut asked = [0; 5];
                if read.read_exact(&mut asked).await.is_ok() {
                    let _ = write.write_all(b"the agent has heard ").await;
                    let _ = write.write_all(&asked).await;
                    let _ = write.shutdown().await;
                }
            });
            Ok(Box::new(near) as Box<dyn Duplex>)
        })
    }

    fn credentials<'a>(
        &'a self,
        _host: &'a str,
    ) -> BoxFuture<'a, Result<Option<RegistryAuth>, SessionError>> {
        Box::pin(async { Ok(None) })
    }

    fn send_file<'a>(
        &'a self,
        exporter: &'a str,
        _metadata: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<FileSink, SessionError>> {
        Box::pin(async move { Err(SessionError::NotOffered(exporter.to_owned())) })
    }

    fn send_tree<'a>(
        &'a self,
        exporter: &'a str,
        _directory: &'a Path,
        _told: Transfers<'a>,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(async move { Err(SessionError::NotOffered(exporter.to_owned())) })
    }

    fn upload<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Upload, SessionError>> {
        Box::pin(async move { Err(SessionError::NotOffered(path.to_owned())) })
    }

    fn content_size<'a>(
        &'a self,
        store: &'a str,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<u64>, SessionError>> {
        Box::pin(async move { Ok(self.stores.get(store, digest).map(|content| content.len() as u64)) })
    }

    fn content_read<'a>(
        &'a self,
        store: &'a str,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Upload, SessionError>> {
        Box::pin(async move {
            let content = self.stores.get(store, digest);
            let content =
                content.ok_or_else(|| SessionError::NotOffered(format!("content {digest}: not found")))?;
            self.stores.read.lock().expect("whole").push(digest.clone());
            let pieces: Vec<_> =
                content.chunks(1 << 16).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let is_whole = pieces.len() < 2;
            if self.stops && !is_whole {
                let first = pieces.into_iter().take(1);
                return Ok(futures::stream::iter(first).chain(futures::stream::pending()).boxed());
            }
            Ok(futures::stream::iter(pieces).boxed())
        })
    }

    fn content_write<'a>(
        &'a self,
        store: &'a str,
        digest: &'a Digest,
        size: u64,
        mut content: Upload,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(async move {
            let mut whole = Vec::new();
            while let Some(piece) = content.next().await {
                whole.extend_from_slice(&piece?);
            }
            assert_eq!(whole.len() as u64, size, "{digest}");
            assert_eq!(self.stores.put(store, &whole), *digest);
            Ok(())
        })
    }
}

/// A definition under way.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) builder: Builder,
}

impl Draft {
    pub(crate) fn source(&mut self, identifier: &str) -> Output {
        let source = pb::SourceOp { identifier: identifier.to_owned(), ..Default::default() };
        self.builder.add(op::Op::Source(source), &[], None, Default::default())
    }

    pub(crate) fn busybox(&mut self) -> Output {
        self.source("docker-image://docker.io/library/busybox:latest")
    }

    /// Runs a line of shell on a root file system; `mounts` are beside it.
    pub(crate) fn run(&mut self, root: &Output, line: &str) -> Output {
        self.run_with(root, line, Vec::new(), &[], |_| {})
    }

    pub(crate) fn run_with(
        &mut self,
        root: &Output,
        line: &str,
        mounts: Vec<pb::Mount>,
        inputs: &[Output],
        change: impl FnOnce(&mut pb::ExecOp),
    ) -> Output {
        let words = ["/bin/sh", "-c", line].map(str::to_owned);
        let meta = pb::Meta {
            args: words.to_vec(),
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            remove_mount_stubs_recursive: true,
            ..Default::default()
        };
        let root_mount = pb::Mount { dest: "/".to_owned(), input: 0, output: 0, ..Default::default() };
        let mut exec = pb::ExecOp {
            meta: Some(meta),
            mounts: [vec![root_mount], mounts].concat(),
            network: pb::NetMode::None.into(),
            ..Default::default()
        };
        change(&mut exec);
        let inputs = [std::slice::from_ref(root), inputs].concat();
        self.builder.add(op::Op::Exec(exec), &inputs, None, Default::default())
    }

    /// Does actions on files: the first input is what they work on.
    pub(crate) fn files(&mut self, inputs: &[Output], actions: Vec<pb::FileAction>) -> Output {
        self.builder.add(op::Op::File(pb::FileOp { actions }), inputs, None, Default::default())
    }

    pub(crate) fn finish(&self, result: &Output) -> llb::Definition {
        self.builder.finish(Some(result))
    }
}

/// Copies from input 1 to input 0.
pub(crate) fn copy(src: &str, dest: &str) -> pb::FileActionCopy {
    pb::FileActionCopy {
        src: src.to_owned(),
        dest: dest.to_owned(),
        mode: -1,
        timestamp: -1,
        follow_symlink: true,
        dir_copy_contents: true,
        create_dest_path: true,
        allow_wildcard: true,
        ..Default::default()
    }
}

/// An action alone, whose outcome is the operation's.
pub(crate) fn alone(action: Action, secondary: i64) -> pb::FileAction {
    pb::FileAction { input: 0, secondary_input: secondary, output: 0, action: Some(action) }
}

/// A mount of an input.
pub(crate) fn bind(input: i64, dest: &str, read_only: bool) -> pb::Mount {
    pb::Mount {
        input,
        dest: dest.to_owned(),
        output: llb::SKIP_OUTPUT,
        readonly: read_only,
        ..Default::default()
    }
}

pub(crate) fn cache(id: &str, dest: &str, sharing: pb::CacheSharingOpt) -> pb::Mount {
    let option = pb::CacheOpt { id: id.to_owned(), sharing: sharing.into() };
    pb::Mount {
        mount_type: pb::MountType::Cache.into(),
        cache_opt: Some(option),
        ..bind(llb::EMPTY, dest, false)
    }
}

/// What came of a definition.
pub(crate) struct Solved {
    pub(crate) result: Result<Ref, SolveError>,
    pub(crate) events: Vec<Event>,
}

impl Solved {
    /// What its steps wrote.
    pub(crate) fn output(&self) -> String {
        let logs = self.events.iter().filter_map(|event| match event {
            Event::Log(log) => Some(String::from_utf8_lossy(&log.bytes).into_owned()),
            _ => None,
        });
        logs.collect()
    }

    /// How many vertices were found done, of those that are operations on what is here.
    pub(crate) fn cached(&self) -> usize {
        let is_cached = |event: &&Event| matches!(event, Event::Vertex(vertex) if vertex.cached);
        self.events.iter().filter(is_cached).count()
    }

    #[track_caller]
    pub(crate) fn expect(&self) -> &Ref {
        match &self.result {
            Ok(result) => result,
            Err(error) => panic!("{error}\nafter:\n{}", self.output()),
        }
    }

    #[track_caller]
    pub(crate) fn error(&self) -> String {
        match &self.result {
            Ok(_) => panic!("it worked:\n{}", self.output()),
            Err(error) => error.to_string(),
        }
    }
}

pub(crate) async fn solve(solver: &Solver, client: &Arc<Client>, definition: &llb::Definition) -> Solved {
    let session: Arc<dyn Session> = Arc::clone(client) as Arc<dyn Session>;
    let job = solver.job(JobOptions { session: Some(session), ..JobOptions::default() });
    solve_in(&job, definition).await
}

pub(crate) async fn solve_in(job: &Job, definition: &llb::Definition) -> Solved {
    let result = async {
        let result = job.solve(definition).await?;
        result.evaluate().await?;
        Ok(result)
    };
    let result = result.await;
    job.close();
    Solved { result, events: job.events().collect().await }
}

pub(crate) async fn text(result: &Ref, path: &str) -> String {
    let bytes = result.read_file(path, None).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

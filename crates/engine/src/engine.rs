//! The engine itself: opening, sharing and closing it.

mod change;
mod effects;
mod reopen;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Random, RecordError, Timestamp, Trouble};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::container::{ContainerRecord, RestartPolicy};
use crate::error::{Context, Error, Kind, Result};
use crate::event::{EventBus, EventKind};
use crate::exec::ExecCell;
use crate::id::ExecId;
use crate::id_blocks::IdBlocks;
use crate::places::Places;
use crate::registry::{ContainerCell, Registry};
use crate::state::{self, Claim, EngineFile};
use crate::trouble::LeftOut;
use crate::volume::Volumes;
use crate::work::{Removals, blocking, in_place, removals};

/// How long closing waits for what is being done.
const PATIENCE: Duration = Duration::from_secs(10);

/// A handle to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) id: String,
    pub(crate) boot: String,
    pub(crate) started: Timestamp,
    pub(crate) images: image::Store,
    /// Made when it is first needed: it reads the host's certificates.
    registries: Mutex<Option<image::registry::Client>>,
    pub(crate) network: net::Network,
    pub(crate) registry: Registry,
    pub(crate) execs: RwLock<HashMap<ExecId, Arc<ExecCell>>>,
    pub(crate) volumes: Volumes,
    pub(crate) quotas: crate::storage::Quotas,
    pub(crate) flushes: crate::flushes::Flushes,
    pub(crate) log_watcher: crate::container::LogWatcher,
    pub(crate) events: EventBus,
    pub(crate) tasks: TaskTracker,
    /// Those that listen to shims: they go on until all else has come to its end, which may wait for what they hear.
    pub(crate) listeners: TaskTracker,
    pub(crate) id_blocks: IdBlocks,
    /// Places for those who remove what was thrown away.
    pub(crate) removals: Removals,
    /// Where the engine was opened; what it does later is done there, whoever asks for it.
    pub(crate) runtime: Handle,
    pub(crate) closing: CancellationToken,
    /// Nobody has to be listened to any more.
    pub(crate) deaf: CancellationToken,
    /// The host goes down: nothing is started any more.
    pub(crate) going_down: CancellationToken,
    /// What could not be taken up, in words.
    pub(crate) troubles: Mutex<Vec<Trouble>>,
    /// Containers and sandboxes that could not be taken up.
    pub(crate) left_out: RwLock<LeftOut>,
    /// Let go of last, when the engine is closed.
    pub(crate) claim: Mutex<Option<Claim>>,
}

impl Engine {
    /// Opens the engine at `config.root`: finds its containers again, learns what ended meanwhile,
    /// starts those whose restart policy says so, clears away what was half made.
    ///
    /// Fails with [`crate::Kind::Conflict`] while another process has the same root or the same run
    /// directory open, before anything in them is touched. A single container, sandbox, volume, image
    /// or network that cannot be taken up is left alone, and told by [`Engine::troubles`].
    pub async fn open(config: Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self> {
        let places = Places::new(&config.root, &config.run, &config.instance);
        let mut troubles = Vec::new();
        let (claim, id, boot) = in_place(|| -> Result<_> {
            let claim = Claim::take(&config.root, &config.run)?;
            let id = engine_id(&config, &places, random.as_ref(), &mut troubles)?;
            places.prepare()?;
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
            let boot = boot.context(|| "read the boot's id".to_owned())?.trim().to_owned();
            Ok((claim, id, boot))
        })?;
        let image_root = places.images();
        let options = image::StoreOptions { blobs: config.image_blobs };
        let images = blocking(move || {
            image::Store::open_with(&image_root, options)
                .map_err(|source| Error::internal("open the image store").with_source(source))
        })
        .await?;
        let of_network = net::Config { pins_dir: places.netns(), ..config.network.clone() };
        let network = net::Network::open(of_network).await.map_err(|source| {
            let kind = match &source {
                net::OpenError::SubnetTaken { .. } | net::OpenError::NoSubnet { .. } => Kind::Conflict,
                net::OpenError::BadName { .. } => Kind::Invalid,
                _ => Kind::Internal,
            };
            Error::new(kind, "open the network").with_source(source)
        })?;
        let id_blocks = in_place(|| IdBlocks::open(&places.ids(), config.user_ids.clone(), &mut troubles));
        let started = clock.now();
        let volumes = in_place(|| Volumes::open(&places, started, &mut troubles));
        let engine = Self {
            inner: Arc::new(Inner {
                events: EventBus::new(Arc::clone(&clock)),
                config,
                places,
                clock,
                random,
                id,
                boot,
                started,
                images,
                registries: Mutex::new(None),
                network,
                registry: Registry::default(),
                execs: RwLock::default(),
                volumes,
                quotas: crate::storage::Quotas::default(),
                flushes: crate::flushes::Flushes::default(),
                id_blocks,
                log_watcher: crate::container::LogWatcher::default(),
                tasks: TaskTracker::new(),
                listeners: TaskTracker::new(),
                removals: removals(),
                runtime: Handle::current(),
                closing: CancellationToken::new(),
                deaf: CancellationToken::new(),
                going_down: CancellationToken::new(),
                troubles: Mutex::default(),
                left_out: RwLock::default(),
                claim: Mutex::new(Some(claim)),
            }),
        };
        for trouble in troubles {
            engine.trouble(trouble);
        }
        engine.reopen().await;
        Ok(engine)
    }

    /// Closes the engine: ends its tasks and lets go of the root. Stops no container.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(PATIENCE, self.inner.tasks.wait()).await.is_err() {
            // Whoever reads an archive slowly must not keep the engine from closing.
            tracing::warn!(tasks = self.inner.tasks.len(), "closed while something was still being done");
        }
        self.inner.deaf.cancel();
        self.inner.listeners.close();
        if tokio::time::timeout(PATIENCE, self.inner.listeners.wait()).await.is_err() {
            tracing::warn!(shims = self.inner.listeners.len(), "closed while shims were still listened to");
        }
        self.inner.network.close().await;
        self.inner.claim.lock().take();
    }

    /// Removes the control groups of the instance, with whatever process is left in them.
    pub async fn cgroups_remove(&self) -> Result<()> {
        let own = self.inner.places.own_group().to_owned();
        blocking(move || crate::cgroup::kill(&own)).await
    }

    /// What the engine was opened with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The time of day, as the engine's clock tells it.
    pub fn now(&self) -> base::Timestamp {
        self.inner.clock.now()
    }

    /// The images, for those who build them.
    pub fn images(&self) -> &image::Store {
        &self.inner.images
    }

    /// The networks, for those who program services and names.
    pub fn network(&self) -> &net::Network {
        &self.inner.network
    }

    /// What speaks with registries.
    pub(crate) fn registries(&self) -> Result<image::registry::Client> {
        let mut known = self.inner.registries.lock();
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let client = image::registry::Client::new(image::registry::Config {
            insecure: self.inner.config.insecure_registries.clone(),
            user_agent: format!("gantry/{}", env!("CARGO_PKG_VERSION")),
            ..image::registry::Config::default()
        })
        .map_err(|source| Error::internal("prepare to speak with registries").with_source(source))?;
        *known = Some(client.clone());
        Ok(client)
    }

    /// Writes down what became of a container.
    pub(crate) fn save_life(&self, record: &ContainerRecord) -> Result<()> {
        state::save_life(&self.inner.places.container(&record.id), record)
    }

    /// Brings to disk that a container was started, where that decides whether it comes back after the
    /// machine has been off.
    pub(crate) async fn flush_life(&self, cell: &ContainerCell) -> Result<()> {
        if cell.record().spec.restart == RestartPolicy::No {
            return Ok(());
        }
        let directory = self.inner.places.container(&cell.id);
        blocking(move || state::flush_life(&directory)).await
    }

    /// Tells subscribers that something happened to a container.
    pub(crate) fn emit(
        &self,
        cell: &ContainerCell,
        action: impl Into<std::borrow::Cow<'static, str>>,
        more: &[(&str, String)],
    ) {
        if cell.is_hidden() {
            return;
        }
        let record = cell.record();
        let mut attributes: BTreeMap<String, String> = record.resolved.labels.clone();
        // Whoever made the container listens by its labels, however many its image has.
        if !crate::event::fits(&attributes) {
            attributes.clone_from(&record.spec.labels);
        }
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.insert("image".to_owned(), record.spec.image.clone());
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.inner.events.emit(EventKind::Container, action, cell.id.as_str(), attributes);
    }
}

/// The name of this engine, made up at its first start. A root that a later version of this program
/// made is refused; one that has lost its name gets another.
fn engine_id(
    config: &Config,
    places: &Places,
    random: &dyn Random,
    troubles: &mut Vec<Trouble>,
) -> Result<String> {
    let path = places.engine();
    match state::load::<EngineFile>(&path) {
        Ok(record) => return Ok(record.id),
        Err(RecordError::Missing) => {}
        Err(RecordError::Damaged(error)) => {
            troubles.push(Trouble::new("the engine's own name", &path, &error));
            let aside = path.with_file_name(format!("engine.json.damaged-{:016x}", random.next_u64()));
            std::fs::rename(&path, aside).context(|| format!("set `{}` aside", path.display()))?;
        }
        Err(error) => {
            let root = config.root.display();
            return Err(Error::conflict(format!("use the root `{root}`")).with_source(error));
        }
    }
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    let hex = hex::encode(bytes);
    let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    state::save_durably(&path, &EngineFile { id: id.clone() })?;
    Ok(id)
}

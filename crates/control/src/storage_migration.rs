//! All objects of a resource are stored in the version that is stored now, where a StorageVersionMigration asks for
//! it; where the resource is a custom one, its definition says then that no other version is stored.
//!
//! Nothing of an object is changed: it is applied without a field, and the server stores what it does not store as it
//! would today. One migration of a resource runs at a time; one that was interrupted begins again.

use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use base::backoff::Backoff;
use base::error::chain;
use client::api::{Patch, PatchOptions};
use client::{
    Action, Api, Client, Controller, Error, ListOptions, ObjectKey, Partial, Reconcile, Resource as _,
    ResourceKind,
};
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use model::Status;
use model::field::shortened;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{Context, kinds};

mod plan;

use plan::{End, Step, begin, begin_definition, begun_at, close, end, finish_definition, step, wanted};

const MANAGER: &str = "storage-version-migrator-controller";
/// So many resources are migrated at a time, and so many objects of one.
const WORKERS: usize = 5;
const OBJECTS_AT_ONCE: usize = 16;
/// So many objects are listed at a time.
const PAGE: usize = 500;
/// How soon, how rarely and how often what passes is tried again with one object.
const SOON: Duration = Duration::from_millis(50);
const RARELY: Duration = Duration::from_secs(2);
const TRIES: u32 = 8;
/// After so long it is looked again where whoever serves a resource is gone.
const LATER: Action = Action::After(Duration::from_secs(5));

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let migrations = context.informers.of::<StorageVersionMigration>();
    let store = migrations.store();
    let of_same_resource = move |changed: &StorageVersionMigration| {
        let all = store.list();
        let same = all.iter().filter(|other| wanted(other) == wanted(changed));
        same.map(|other| other.key()).collect()
    };
    let reconciler = Reconciler {
        client: context.client.clone(),
        clock: Arc::clone(&context.clock),
        beginning: Mutex::default(),
        stop: context.stop.clone(),
    };
    Controller::new("storage-version-migrator", &migrations)
        .watches(&migrations, of_same_resource)
        .workers(WORKERS)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler {
    client: Client,
    clock: Arc<dyn Clock>,
    /// Held by who decides whether one is to begin, until it has.
    beginning: Mutex<()>,
    stop: CancellationToken,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let migration = {
            let _one = self.beginning.lock().await;
            // The copy may not show yet what was written of them.
            let api = Api::<StorageVersionMigration>::all(&self.client);
            let all = api.list_all(&ListOptions::default()).await?.items;
            let Some(migration) = all.iter().find(|migration| migration.name() == key.name) else {
                return Ok(Action::Done);
            };
            match step(migration, &all) {
                Step::Nothing => return Ok(Action::Done),
                Step::Close => return self.close(migration).await,
                Step::Begin => self.begin(migration).await?,
                Step::Migrate => migration.clone(),
            }
        };
        // It may take long, and goes on where it is when there is somebody again.
        tokio::select! {
            () = self.stop.cancelled() => Ok(Action::Done),
            done = self.migrate(migration) => done,
        }
    }
}

impl Reconciler {
    async fn write(&self, migration: &StorageVersionMigration) -> Result<StorageVersionMigration, Error> {
        Api::all(&self.client).update_status(migration).await
    }

    /// Changes the definition of the migrated resource, if it is a custom one.
    async fn define(
        &self,
        migration: &StorageVersionMigration,
        change: impl FnOnce(&mut CustomResourceDefinition) + Send,
    ) -> Result<(), Error> {
        let (group, resource) = wanted(migration);
        let definitions = Api::<CustomResourceDefinition>::all(&self.client);
        if group.is_empty() {
            return Ok(());
        }
        let definition = match definitions.find(&format!("{resource}.{group}")).await {
            Ok(Some(definition)) => definition,
            // Nobody defines what cannot be a name.
            Ok(None) | Err(Error::Name { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut changed = definition.clone();
        change(&mut changed);
        if changed == definition {
            return Ok(());
        }
        match definitions.update_status(&changed).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, migration: &StorageVersionMigration) -> Result<StorageVersionMigration, Error> {
        let now = self.clock.now();
        self.define(migration, |definition| begin_definition(definition, migration.name(), now)).await?;
        let mut migration = migration.clone();
        begin(&mut migration, now);
        self.write(&migration).await
    }

    async fn migrate(&self, mut migration: StorageVersionMigration) -> Result<Action, Error> {
        let (group, resource) = wanted(&migration);
        let all = kinds::everything(&self.client).await?;
        let named = |kind: &&kinds::Kind| kind.resource.group == group && kind.resource.plural == resource;
        let Some(kind) = all.all.iter().find(named) else {
            if all.are_silent_of_group(group) {
                return Ok(LATER);
            }
            let why = "resource does not exist in discovery".to_owned();
            return self.end(migration, End::Failed(why)).await;
        };
        if !kind.can("list") || !kind.can("patch") {
            return self.end(migration, End::Failed("resource not found".to_owned())).await;
        }
        let kind = &kind.resource;
        let since = match begun_at(&migration) {
            Some(since) => since,
            None => {
                let api: Api<Partial> = Api::partial(&self.client, kind, None);
                let first = api.list(&ListOptions::default().limit(1)).await?;
                migration.status.get_or_insert_default().resource_version =
                    Some(first.metadata.resource_version.clone());
                let Some(since) = begun_at(&migration) else {
                    let why = format!("resource version {:?} is no number", first.metadata.resource_version);
                    migration.status.get_or_insert_default().resource_version = None;
                    return self.end(migration, End::Failed(why)).await;
                };
                migration = self.write(&migration).await?;
                since
            }
        };
        match self.store_anew(kind, since).await {
            Ok(()) => self.end(migration, End::Succeeded).await,
            Err(error) if is_passing(&error) => Err(error),
            Err(error) => {
                let why = format!("migration encountered unhandled error: {}", chain(&error));
                self.end(migration, End::Failed(shortened(why))).await
            }
        }
    }

    /// Has all objects of a kind stored as they would be stored today. Those that were written after a revision are.
    async fn store_anew(&self, kind: &ResourceKind, since: u64) -> Result<(), Error> {
        let api: Api<Partial> = Api::partial(&self.client, kind, None);
        let mut options = ListOptions::default().limit(PAGE);
        let mut has_expired = false;
        loop {
            let page = match api.list(&options).await {
                Err(Error::Expired(Status { metadata, .. })) if !has_expired && next(&metadata).is_some() => {
                    // What is left is told as it is now: those that are new were stored today.
                    options.continue_token = next(&metadata);
                    has_expired = true;
                    continue;
                }
                page => page?,
            };
            has_expired = false;
            let old = page.items.into_iter().filter(|object| object.revision() <= since);
            let mut objects = stream::iter(old)
                .map(|object| async move { self.store_patiently(kind, &object).await })
                .buffer_unordered(OBJECTS_AT_ONCE);
            while let Some(stored) = objects.next().await {
                stored?;
            }
            if page.metadata.continue_token.is_empty() {
                return Ok(());
            }
            options.continue_token = Some(page.metadata.continue_token);
        }
    }

    /// Tries again where something passes: what is stored already need not be looked through once more.
    async fn store_patiently(&self, kind: &ResourceKind, object: &Partial) -> Result<(), Error> {
        let mut backoff = Backoff::new(SOON, RARELY);
        loop {
            match self.store_one(kind, object).await {
                Err(error) if is_passing(&error) && backoff.failures() < TRIES => {
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                done => return done,
            }
        }
    }

    async fn store_one(&self, kind: &ResourceKind, object: &Partial) -> Result<(), Error> {
        let namespace = object.namespace().filter(|_| kind.namespaced);
        let api: Api<Partial> = Api::partial(&self.client, kind, namespace);
        // That very one at that very revision: what others wrote since, they wrote as it is stored today. One that is
        // gone is in conflict with its uid; what is not found is the kind.
        let fields = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"uid": object.uid(), "resourceVersion": object.resource_version()},
        });
        match api.patch(object.name(), &Patch::Apply(fields), &PatchOptions::manager(MANAGER)).await {
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn end(&self, mut migration: StorageVersionMigration, how: End) -> Result<Action, Error> {
        end(&mut migration, &how, self.clock.now());
        let ended = self.write(&migration).await?;
        self.close(&ended).await
    }

    /// Says of the definition how a migration ended, and then of the migration that this was said.
    async fn close(&self, migration: &StorageVersionMigration) -> Result<Action, Error> {
        let now = self.clock.now();
        self.define(migration, |definition| finish_definition(definition, migration, now)).await?;
        let mut migration = migration.clone();
        close(&mut migration);
        self.write(&migration).await?;
        Ok(Action::Done)
    }
}

/// How a list goes on that has expired, if it does.
fn next(metadata: &Map<String, Value>) -> Option<String> {
    let token = metadata.get("continue").and_then(Value::as_str)?;
    (!token.is_empty()).then(|| token.to_owned())
}

/// Whether it may be otherwise when it is tried again: who serves the kind, converts it, or looks at what is written,
/// may come back; and a kind that is not found may be served in another version, or not at all.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Unavailable(_)
        | Error::Expired(_)
        | Error::NotFound(_)
        | Error::Transport { .. }
        | Error::Timeout { .. } => true,
        Error::Api(status) => status.code >= 500,
        _ => false,
    }
}

//! All objects of a resource are stored in the version that is stored now, where a StorageVersionMigration asks for
//! it; where the resource is a custom one, its definition says then that no other version is stored.
//!
//! Nothing of an object is changed: it is applied without a field, and the server stores what it does not store as it
//! would today. One migration of a resource runs at a time; one that was interrupted begins again.

use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use client::api::{Patch, PatchOptions};
use client::{
    Action, Api, Client, Controller, Error, ListOptions, ObjectKey, Partial, Reconcile, Resource as _,
    ResourceKind, Store,
};
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::json;

use crate::{Context, kinds};

mod plan;

use plan::{End, Step, begin, begin_definition, close, end, finish_definition, step, wanted};

const MANAGER: &str = "storage-version-migrator-controller";
/// So many resources are migrated at a time, and so many objects of one.
const WORKERS: usize = 5;
const OBJECTS_AT_ONCE: usize = 16;
/// So many objects are listed at a time.
const PAGE: usize = 500;
/// After so long it is looked again where somebody else was faster, or whoever serves a resource is gone.
const AGAIN: Action = Action::After(Duration::from_millis(20));
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
        migrations: migrations.store(),
        client: context.client.clone(),
        clock: Arc::clone(&context.clock),
    };
    Controller::new("storage-version-migrator", &migrations)
        .watches(&migrations, of_same_resource)
        .workers(WORKERS)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler {
    migrations: Store<StorageVersionMigration>,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let all = self.migrations.list();
        let Some(migration) = all.iter().find(|migration| migration.key() == *key) else {
            return Ok(Action::Done);
        };
        let done = match step(migration, &all) {
            Step::Nothing => return Ok(Action::Done),
            Step::Close => self.close(migration).await,
            Step::Begin => match self.begin(migration).await {
                Ok(begun) => self.migrate(begun).await,
                Err(error) => Err(error),
            },
            Step::Migrate => self.migrate(StorageVersionMigration::clone(migration)).await,
        };
        match done {
            // It is another by now, or it has gone: that it is so wakes this one again.
            Err(Error::Conflict(_)) => Ok(AGAIN),
            Err(Error::NotFound(_)) => Ok(Action::Done),
            done => done,
        }
    }
}

impl Reconciler {
    async fn write(&self, migration: &StorageVersionMigration) -> Result<StorageVersionMigration, Error> {
        Api::all(&self.client).update_status(migration).await
    }

    /// The definition of the migrated resource, if it is a custom one.
    async fn definition(
        &self,
        migration: &StorageVersionMigration,
    ) -> Result<Option<CustomResourceDefinition>, Error> {
        let (group, resource) = wanted(migration);
        if group.is_empty() {
            return Ok(None);
        }
        Api::all(&self.client).find(&format!("{resource}.{group}")).await
    }

    async fn write_definition(&self, definition: &CustomResourceDefinition) -> Result<(), Error> {
        Api::all(&self.client).update_status(definition).await.map(drop)
    }

    async fn begin(&self, migration: &StorageVersionMigration) -> Result<StorageVersionMigration, Error> {
        if let Some(mut definition) = self.definition(migration).await? {
            begin_definition(&mut definition, migration.name(), self.clock.now());
            self.write_definition(&definition).await?;
        }
        let mut migration = migration.clone();
        begin(&mut migration, self.clock.now());
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
            return self.end(migration, End::Failed("resource does not exist in discovery")).await;
        };
        if !kind.can("list") || !kind.can("patch") {
            return self.end(migration, End::Failed("resource not found")).await;
        }
        let kind = &kind.resource;
        let status = migration.status.get_or_insert_default();
        if status.resource_version.as_deref().is_none_or(str::is_empty) {
            let first: Api<Partial> = Api::partial(&self.client, kind, None);
            let first = first.list(&ListOptions::default().limit(1)).await?;
            status.resource_version = Some(first.metadata.resource_version);
            migration = self.write(&migration).await?;
        }
        match self.store_anew(kind).await {
            Ok(()) => self.end(migration, End::Succeeded).await,
            Err(error) if is_passing(&error) => Err(error),
            Err(error) => {
                tracing::warn!(%error, migration = migration.name(), kind = %kind.kind, "a migration failed");
                self.end(migration, End::Failed("migration encountered unhandled error")).await
            }
        }
    }

    /// Has all objects of a kind stored as they would be stored today.
    async fn store_anew(&self, kind: &ResourceKind) -> Result<(), Error> {
        let api: Api<Partial> = Api::partial(&self.client, kind, None);
        let mut options = ListOptions::default().limit(PAGE);
        loop {
            let page = api.list(&options).await?;
            let mut objects = stream::iter(page.items)
                .map(|object| async move { self.store_one(kind, &object).await })
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

    async fn store_one(&self, kind: &ResourceKind, object: &Partial) -> Result<(), Error> {
        let namespace = object.namespace().filter(|_| kind.namespaced);
        let api: Api<Partial> = Api::partial(&self.client, kind, namespace);
        // That very one at that very revision: what others wrote since, they wrote as it is stored today.
        let fields = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"uid": object.uid(), "resourceVersion": object.resource_version()},
        });
        match api.patch(object.name(), &Patch::Apply(fields), &PatchOptions::manager(MANAGER)).await {
            Ok(_) | Err(Error::Conflict(_) | Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn end(&self, mut migration: StorageVersionMigration, how: End) -> Result<Action, Error> {
        end(&mut migration, how, self.clock.now());
        let ended = self.write(&migration).await?;
        self.close(&ended).await
    }

    /// Says of the definition how a migration ended, and then of the migration that this was said.
    async fn close(&self, migration: &StorageVersionMigration) -> Result<Action, Error> {
        if let Some(mut definition) = self.definition(migration).await? {
            finish_definition(&mut definition, migration, self.clock.now());
            self.write_definition(&definition).await?;
        }
        let mut migration = migration.clone();
        close(&mut migration);
        self.write(&migration).await?;
        Ok(Action::Done)
    }
}

/// Whether it may be otherwise when it is tried again.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable(_) | Error::Expired(_) | Error::Transport { .. } | Error::Timeout { .. }
    )
}

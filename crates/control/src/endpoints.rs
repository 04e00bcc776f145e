//! Endpoints: which pods stand behind a service. EndpointSlices, and the older Endpoints beside them.

use std::collections::BTreeMap;
use std::time::Duration;

use client::api::{DeleteOptions, WriteOptions};
use client::{
    Action, Api, Client, Controller, Error, Freshness, ObjectKey, Outlines, Reconcile, Resource as _, Store,
};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::pods::PodOutline;
use crate::{Context, ownership};

mod mirror;
mod plan;
mod slices;

pub(crate) use mirror::run as mirror;
use plan::{members, older, plan, shown_by};
use slices::Step;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let services = context.informers.of::<Service>();
    let pods = context.informers.of::<Pod>();
    let slices = context.informers.of::<EndpointSlice>();
    let endpoints = context.informers.of::<Endpoints>();
    let reconciler = Reconciler {
        services: services.store(),
        pods: pods.outlines(),
        slices: slices.store(),
        endpoints: endpoints.store(),
        fresh: Freshness::new(slices.store()),
        older: context.client_of("endpoint-controller"),
        context: context.clone(),
    };
    let known = services.store();
    let of_pod = move |pod: &Pod| -> Vec<ObjectKey> {
        let services = known.list_namespace(pod.namespace().unwrap_or_default());
        services.iter().filter(|service| plan::selects(service, pod)).map(|service| service.key()).collect()
    };
    let of_slice = |slice: &EndpointSlice| -> Vec<ObjectKey> {
        let service = plan::service_of(slice, plan::MANAGER);
        service.map(|name| ObjectKey::new(slice.namespace().unwrap_or_default(), name)).into_iter().collect()
    };
    Controller::new("endpointslice", &services)
        .watches(&pods, of_pod)
        .watches(&slices, of_slice)
        .reads(&endpoints)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler {
    context: Context,
    /// Writes the older form, which is another controller's in Kubernetes.
    older: Client,
    services: Store<Service>,
    /// What is looked at of all pods of a service.
    pods: Outlines<Pod, PodOutline>,
    slices: Store<EndpointSlice>,
    endpoints: Store<Endpoints>,
    fresh: Freshness<EndpointSlice>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        if !self.fresh.ready(key).await {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        let Some(service) = self.services.get(key) else {
            // Slices name the service as their owner and are collected; so is the older object.
            self.fresh.forget(key);
            return self.remove_older(key).await;
        };
        if service.metadata.deletion_timestamp.is_some() || !plan::has_selector(&service) {
            return Ok(Action::Done);
        }
        let members = members(&service, &self.pods.select(&key.namespace, &plan::selector(&service)));
        let own = shown_by(plan::MANAGER, &self.slices, ("Service", key, Some(service.uid())));
        let api: Api<EndpointSlice> = Api::namespaced(&self.context.client, &key.namespace);
        let steps = plan(&service, &members, &own);
        // The cache may not show yet that the service is gone: what is made for it now would stay behind.
        let makes =
            steps.iter().any(|step| matches!(step, Step::Create(_))) || self.endpoints.get(key).is_none();
        if makes {
            let services: Api<Service> = Api::namespaced(&self.context.client, &key.namespace);
            if !ownership::stays(&services, &*service).await? {
                return Ok(Action::Done);
            }
        }
        match carry_out(&api, &self.fresh, key, steps).await? {
            Some(action) => Ok(action),
            None => self.publish_older(key, &service, &members).await,
        }
    }
}

/// Does what was planned for the slices of a service; gives what is to be done if that could not be.
async fn carry_out(
    api: &Api<EndpointSlice>,
    fresh: &Freshness<EndpointSlice>,
    key: &ObjectKey,
    steps: Vec<Step>,
) -> Result<Option<Action>, Error> {
    // One that is written twice goes on from what was written first.
    let mut written: BTreeMap<String, Option<String>> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Create(slice) => match api.create(&slice).await {
                Ok(slice) => fresh.created(key, &slice),
                Err(Error::Forbidden(_) | Error::NotFound(_)) => return Ok(Some(Action::Done)),
                Err(error) => return Err(error),
            },
            Step::Update(mut slice) => {
                if let Some(version) = written.get(slice.name()) {
                    slice.metadata.resource_version.clone_from(version);
                }
                match api.update(&slice).await {
                    Ok(slice) => {
                        written.insert(slice.name().to_owned(), slice.metadata.resource_version.clone());
                        fresh.created(key, &slice);
                    }
                    Err(Error::NotFound(_) | Error::Conflict(_)) => {
                        return Ok(Some(Action::After(Duration::from_millis(20))));
                    }
                    Err(error) => return Err(error),
                }
            }
            Step::Delete(slice) => match api.delete(slice.name(), &DeleteOptions::default()).await {
                Ok(()) => fresh.deleted(key, &slice),
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            },
        }
    }
    Ok(None)
}

impl Reconciler {
    async fn publish_older(
        &self,
        key: &ObjectKey,
        service: &Service,
        members: &[slices::Member],
    ) -> Result<Action, Error> {
        let api: Api<Endpoints> = Api::namespaced(&self.older, &key.namespace);
        let wanted = older(service, members);
        let written = match self.endpoints.get(key) {
            Some(current) if plan::same_older(&current, &wanted) => return Ok(Action::Done),
            Some(current) => {
                let mut changed = wanted;
                changed.metadata.resource_version.clone_from(&current.metadata.resource_version);
                api.update(&changed).await
            }
            None => api.create_with(&wanted, &WriteOptions::default()).await,
        };
        match written {
            Ok(_) | Err(Error::NotFound(_) | Error::Forbidden(_)) => Ok(Action::Done),
            Err(Error::Conflict(_) | Error::AlreadyExists(_)) => Ok(Action::After(Duration::from_millis(50))),
            Err(error) => Err(error),
        }
    }

    /// The older object goes with its service, whoever has written it; one that is somebody's leadership is
    /// no service's.
    async fn remove_older(&self, key: &ObjectKey) -> Result<Action, Error> {
        if self.endpoints.get(key).is_none_or(|endpoints| mirror::is_leadership(&endpoints)) {
            return Ok(Action::Done);
        }
        let api: Api<Endpoints> = Api::namespaced(&self.older, &key.namespace);
        match api.delete(&key.name, &DeleteOptions::default()).await {
            Ok(()) | Err(Error::NotFound(_)) => Ok(Action::Done),
            Err(error) => Err(error),
        }
    }
}

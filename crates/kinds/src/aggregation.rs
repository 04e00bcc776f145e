//! Which group versions are registered and by whom they are served, by the objects that say so: APIServices, and the
//! services and endpoints that they name.
//!
//! What is read here `apiserver::aggregation` goes by.

mod places;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apiserver::Objects;
use apiserver::aggregation::{
    Absence, Amend, Availability, Place, Priority, Registered, Registration, Registrations, RemoteServer,
    ServiceReference, Source,
};
use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::Object;
use model::gvk::GroupVersion;
use model::validate::{flag, number, text};
use parking_lot::Mutex;
use serde_json::Value;

use crate::followed::{Followed, Step};

use places::{Endpoints, Service};
use plan::Known;

pub(crate) use plan::{LOCAL, available, local_services, managed};

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";
/// By this label endpoints say of which service they are.
const OF_SERVICE: &str = "kubernetes.io/service-name";

/// Makes what reads the APIServices of a server.
pub fn aggregation() -> Source {
    Arc::new(|objects: Arc<dyn Objects>| Arc::new(ApiServices::new(&*objects)))
}

/// Reads the objects.
struct ApiServices {
    index: Mutex<Index>,
}

struct Index {
    registrations: Followed,
    services: Followed,
    endpoints: Followed,
    /// By name: what is registered, and what else is to be known of it.
    known: BTreeMap<String, Known>,
    /// The same, as it was given last.
    shown: Arc<Registered>,
    /// The namespaces of services that are named: of others nothing is looked at.
    namespaces: BTreeSet<String>,
    of_services: BTreeMap<(String, String), Service>,
    /// By namespace and the object's name.
    of_endpoints: BTreeMap<(String, String), Endpoints>,
}

impl ApiServices {
    fn new(objects: &dyn Objects) -> Self {
        let index = Index {
            registrations: Followed::new(objects, GROUP, PLURAL),
            services: Followed::new(objects, "", "services"),
            endpoints: Followed::new(objects, "discovery.k8s.io", "endpointslices"),
            known: BTreeMap::new(),
            shown: Arc::default(),
            namespaces: BTreeSet::new(),
            of_services: BTreeMap::new(),
            of_endpoints: BTreeMap::new(),
        };
        Self { index: Mutex::new(index) }
    }
}

impl Registrations for ApiServices {
    fn registered(&self) -> Arc<Registered> {
        let mut index = self.index.lock();
        index.catch_up();
        index.shown.clone()
    }

    fn changed(&self, seen: [u64; 3]) -> BoxFuture<'static, ()> {
        let index = self.index.lock();
        let registrations = index.registrations.after(seen[0]);
        if index.namespaces.is_empty() {
            return registrations;
        }
        let rest = [index.services.after(seen[1]), index.endpoints.after(seen[2])];
        futures::future::select_all([registrations].into_iter().chain(rest)).map(drop).boxed()
    }

    fn places(&self, service: &ServiceReference) -> Result<Vec<Place>, Absence> {
        let mut index = self.index.lock();
        index.catch_up();
        let found = index.of_services.get(&(service.namespace.clone(), service.name.clone()));
        let first = (service.namespace.clone(), String::new());
        let endpoints = index
            .of_endpoints
            .range(first..)
            .take_while(|((namespace, _), _)| *namespace == service.namespace)
            .map(|(_, endpoints)| endpoints)
            .filter(|endpoints| endpoints.service == service.name);
        places::of(service, found, &endpoints.collect::<Vec<_>>())
    }

    fn found(&self, name: &str, availability: &Availability, now: Timestamp) -> Option<Amend> {
        let mut index = self.index.lock();
        index.catch_up();
        index.known.get(name)?.told(name, availability, now)
    }

    fn register(&self, served: &BTreeSet<GroupVersion>) -> Vec<Amend> {
        let mut index = self.index.lock();
        index.catch_up();
        plan::register(&index.known, served)
    }
}

impl Index {
    fn catch_up(&mut self) {
        let mut changed = false;
        let known = &mut self.known;
        self.registrations.catch_up(|step| {
            changed = true;
            match step {
                Step::Forget => known.clear(),
                Step::Put(changed, object) => {
                    known.insert(changed.name.clone(), Known::of(&object));
                }
                Step::Gone(changed) => drop(known.remove(&changed.name)),
            }
        });
        if changed {
            let namespaces: BTreeSet<String> = self
                .known
                .values()
                .filter_map(|known| Some(known.registration.remote.as_ref()?.service.namespace.clone()))
                .collect();
            if namespaces != self.namespaces {
                // What was passed over before may be wanted now.
                self.namespaces = namespaces;
                self.of_services.clear();
                self.of_endpoints.clear();
                self.services.begin_anew();
                self.endpoints.begin_anew();
            }
        }
        if !self.namespaces.is_empty() {
            let (namespaces, services) = (&self.namespaces, &mut self.of_services);
            self.services.catch_up_with(
                |changed| namespaces.contains(&changed.namespace),
                |step| match step {
                    Step::Forget => services.clear(),
                    Step::Put(changed, object) => {
                        services
                            .insert((changed.namespace.clone(), changed.name.clone()), Service::of(&object));
                    }
                    Step::Gone(changed) => {
                        services.remove(&(changed.namespace.clone(), changed.name.clone()));
                    }
                },
            );
            let endpoints = &mut self.of_endpoints;
            self.endpoints.catch_up_with(
                |changed| namespaces.contains(&changed.namespace),
                |step| match step {
                    Step::Forget => endpoints.clear(),
                    Step::Put(changed, object) => {
                        let key = (changed.namespace.clone(), changed.name.clone());
                        endpoints.insert(key, Endpoints::of(&object));
                    }
                    Step::Gone(changed) => {
                        endpoints.remove(&(changed.namespace.clone(), changed.name.clone()));
                    }
                },
            );
        }
        let seen = [self.registrations.version(), self.services.version(), self.endpoints.version()];
        if changed {
            let generation = self.shown.generation + 1;
            let all = self.known.values().map(|known| known.registration.clone());
            self.shown = Arc::new(Registered::new(generation, seen, all));
        } else if self.shown.seen != seen {
            self.shown = Arc::new(self.shown.seen_again(seen));
        }
    }
}

/// What an APIService says.
fn registration(object: &Object) -> Registration {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let group = text(spec, "group");
    let service = spec.get("service").filter(|service| !service.is_null());
    let remote = service.filter(|_| group != GROUP).map(|service| {
        Arc::new(RemoteServer {
            service: ServiceReference {
                namespace: text(service, "namespace").to_owned(),
                name: text(service, "name").to_owned(),
                port: number(service, "port").and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            },
            authorities: STANDARD.decode(text(spec, "caBundle")).unwrap_or_default(),
            any_certificate: flag(spec, "insecureSkipTLSVerify"),
        })
    });
    let available = plan::condition(object).is_some_and(|condition| text(condition, "status") == "True");
    let priority = |name: &str| number(spec, name).unwrap_or_default();
    Registration {
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
        version: GroupVersion::new(group, text(spec, "version")),
        priority: Priority { group: priority("groupPriorityMinimum"), version: priority("versionPriority") },
        remote,
        available,
    }
}

#[cfg(test)]
mod tests;

//! Who is served first, by the objects that say so: FlowSchemas and PriorityLevelConfigurations.
//!
//! What is read here `apiserver::fairness` goes by. Two schemas and two levels are there whether or not their
//! objects are, and a schema whose level is not there counts for nothing, which its condition `Dangling` tells.

mod own;
mod read;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apiserver::Objects;
use apiserver::fairness::{Amendment, Configuration, FlowControl, FlowControls, LevelConfiguration, Schema};
use base::Timestamp;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::Object;
use model::field::quote;
use model::validate::text;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::flowcontrol::{flow_schema, priority_level_configuration};
use crate::followed::{Followed, Step};

#[cfg(test)]
use own::reconcile;

pub(crate) use own::made;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Who applies the conditions, as in Kubernetes.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// The condition of a schema whose level is not there.
const DANGLING: &str = "Dangling";
/// So many conditions are told at a time.
const AT_ONCE: usize = 64;

/// Makes what reads the flow schemas and priority levels of a server.
pub fn flow_control() -> FlowControls {
    Arc::new(|objects: Arc<dyn Objects>| Arc::new(Flows::new(&*objects)))
}

/// Reads the objects.
struct Flows {
    known: Mutex<Known>,
}

struct Known {
    schemas: Followed,
    levels: Followed,
    /// By precedence and name, which is the order in which they are asked.
    by_order: BTreeMap<(i64, String), Ordered>,
    orders: HashMap<String, i64>,
    of_names: BTreeMap<String, LevelConfiguration>,
}

/// A schema, and what its object says of its level.
struct Ordered {
    schema: Arc<Schema>,
    dangling: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    status: String,
    reason: String,
    message: String,
}

impl Flows {
    fn new(objects: &dyn Objects) -> Self {
        let known = Known {
            schemas: Followed::new(objects, GROUP, "flowschemas"),
            levels: Followed::new(objects, GROUP, "prioritylevelconfigurations"),
            by_order: BTreeMap::new(),
            orders: HashMap::new(),
            of_names: BTreeMap::new(),
        };
        Self { known: Mutex::new(known) }
    }
}

impl FlowControl for Flows {
    fn configuration(&self, now: Timestamp) -> Configuration {
        let mut known = self.known.lock();
        known.catch_up();
        known.configuration(now)
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        let (schemas, levels) = {
            let known = self.known.lock();
            (known.schemas.newer(), known.levels.newer())
        };
        futures::future::select(schemas, levels).map(drop).boxed()
    }
}

impl Known {
    fn catch_up(&mut self) {
        let Self { schemas, levels, by_order, orders, of_names } = self;
        schemas.catch_up(|step| {
            let name = match &step {
                Step::Forget => {
                    by_order.clear();
                    orders.clear();
                    return;
                }
                Step::Put(changed, _) | Step::Gone(changed) => changed.name.clone(),
            };
            if let Some(order) = orders.remove(&name) {
                by_order.remove(&(order, name.clone()));
            }
            if let Step::Put(_, object) = &step {
                let order = read::precedence(object);
                orders.insert(name.clone(), order);
                let schema = Arc::new(read::schema(object));
                by_order.insert((order, name), Ordered { schema, dangling: Condition::of(object) });
            }
        });
        levels.catch_up(|step| match step {
            Step::Forget => of_names.clear(),
            // One that says nothing that could be kept to is taken for one that is not there.
            Step::Put(changed, object) => {
                match read::level(&object) {
                    Some(level) => of_names.insert(changed.name.clone(), level),
                    None => of_names.remove(&changed.name),
                };
            }
            Step::Gone(changed) => drop(of_names.remove(&changed.name)),
        });
    }

    fn configuration(&self, now: Timestamp) -> Configuration {
        let mut levels: Vec<LevelConfiguration> = self.of_names.values().cloned().collect();
        for (name, spec) in priority_level_configuration::must() {
            if !self.of_names.contains_key(name) {
                levels.extend(read::level(&own_object(name, spec)));
            }
        }
        let [(first, first_spec), (last, last_spec)] = flow_schema::must();
        let is_there = |name: &str| self.of_names.contains_key(name);
        let used = self.by_order.values().filter(|known| {
            is_there(&known.schema.level) || [first, last].contains(&known.schema.name.as_str())
        });
        let mut schemas: Vec<Arc<Schema>> = used.map(|known| known.schema.clone()).collect();
        if !self.orders.contains_key(first) {
            schemas.insert(0, Arc::new(read::schema(&own_object(first, first_spec))));
        }
        // The one for all that is for none comes last, whatever else has its precedence.
        let last = match schemas.iter().position(|schema| schema.name == last) {
            Some(at) => schemas.remove(at),
            None => Arc::new(read::schema(&own_object(last, last_spec))),
        };
        schemas.push(last);
        let wrong = self.by_order.values().filter_map(|known| {
            let wanted = Condition::wanted(&known.schema.level, is_there(&known.schema.level));
            let is_right = known.dangling.as_ref() == Some(&wanted);
            (!is_right).then(|| wanted.amendment(&known.schema.name, now))
        });
        Configuration { levels, schemas, amendments: wrong.take(AT_ONCE).collect() }
    }
}

/// One that is there without an object.
fn own_object(name: &str, spec: Value) -> Object {
    Object::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("it is an object")
}

impl Condition {
    /// What an object says.
    fn of(schema: &Object) -> Option<Self> {
        let all = schema.get_list(&["status", "conditions"]);
        let condition = all.iter().find(|condition| text(condition, "type") == DANGLING)?;
        let [status, reason, message] =
            ["status", "reason", "message"].map(|field| text(condition, field).to_owned());
        Some(Self { status, reason, message })
    }

    fn wanted(level: &str, is_there: bool) -> Self {
        let (status, reason, what) = if is_there {
            ("False", "Found", "and it exists")
        } else {
            ("True", "NotFound", "but there is no such object")
        };
        let message = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {} {what}",
            quote(level)
        );
        Self { status: status.to_owned(), reason: reason.to_owned(), message }
    }

    fn amendment(self, schema: &str, now: Timestamp) -> Amendment {
        let Self { status, reason, message } = self;
        Amendment {
            path: format!("/apis/{GROUP}/v1/flowschemas/{schema}/status?fieldManager={MANAGER}&force=true"),
            object: json!({
                "apiVersion": format!("{GROUP}/v1"),
                "kind": "FlowSchema",
                "metadata": {"name": schema},
                "status": {"conditions": [{
                    "type": DANGLING, "status": status, "reason": reason, "message": message,
                    "lastTransitionTime": model::time::format(now),
                }]},
            }),
        }
    }
}

#[cfg(test)]
mod tests;

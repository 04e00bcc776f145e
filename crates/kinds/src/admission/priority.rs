//! A pod's priority is that of the class which it names, and of all classes one is for those that name none.

use apiserver::{Admission, Admitting, Context, Operation, Result, Write, at_once};
use model::validate::flag;
use model::{GroupResource, Object};
use serde_json::Value;

use crate::scheduling::priority_class::SYSTEM;

/// Works out the priority of pods, and sees that there is one default class at most.
pub(super) struct Priority;

/// What a class gives to pods.
struct Class {
    name: String,
    priority: i64,
    policy: String,
}

impl Admission for Priority {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        at_once(match (write.is_of("", "pods"), write.old) {
            (true, None) => admit(&write.context, object),
            (true, Some(old)) => {
                keep(object, old);
                Ok(())
            }
            (false, _) => Ok(()),
        })
    }

    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        at_once(match object.filter(|_| write.is_of("scheduling.k8s.io", "priorityclasses")) {
            Some(class) if flag(class.value(), "globalDefault") => only_default(write, class),
            _ => Ok(()),
        })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn classes() -> GroupResource {
    GroupResource::new("scheduling.k8s.io", "priorityclasses")
}

/// The class of pods that name none: of several, of which there should be none, the lowest.
fn default(context: &Context<'_>) -> Option<Object> {
    let all = context.all_containing(&classes(), "\"globalDefault\":true").into_iter();
    all.filter(|class| flag(class.value(), "globalDefault")).min_by_key(value)
}

fn value(class: &Object) -> i64 {
    class.get_i64(&["value"]).unwrap_or_default()
}

fn read(class: &Object) -> Class {
    let policy = class.get_str(&["preemptionPolicy"]).unwrap_or("PreemptLowerPriority");
    Class { name: class.name().to_owned(), priority: value(class), policy: policy.to_owned() }
}

/// The class of a pod; none where it names one that is not there.
fn class(context: &Context<'_>, name: &str) -> Option<Class> {
    let plain = |name: &str, priority| Class {
        name: name.to_owned(),
        priority,
        policy: "PreemptLowerPriority".to_owned(),
    };
    if name.is_empty() {
        return Some(default(context).map_or_else(|| plain("", 0), |class| read(&class)));
    }
    if let Some(class) = context.find(&classes(), "", name) {
        return Some(read(&class));
    }
    // What every cluster has is known before it is there.
    SYSTEM.iter().find(|(system, ..)| *system == name).map(|(_, priority, _)| plain(name, *priority))
}

fn admit(context: &Context<'_>, pod: &mut Object) -> Result<()> {
    let name = pod.get_str(&["spec", "priorityClassName"]).unwrap_or_default();
    let Some(class) = class(context, name) else {
        return Err(context.forbidden(pod, format!("no PriorityClass with name {name} was found")));
    };
    let priority = class.priority;
    if let Some(given) = pod.get(&["spec", "priority"]).and_then(Value::as_i64)
        && given != priority
    {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        );
        return Err(context.forbidden(pod, why));
    }
    let policy = class.policy;
    if let Some(given) = pod.get_str(&["spec", "preemptionPolicy"])
        && given != policy
    {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(context.forbidden(pod, why));
    }
    if !class.name.is_empty() {
        pod.set(&["spec", "priorityClassName"], class.name);
    }
    pod.set(&["spec", "priority"], priority);
    pod.set(&["spec", "preemptionPolicy"], policy);
    Ok(())
}

/// What was worked out once stays where a new form does not say it.
fn keep(pod: &mut Object, old: &Object) {
    for field in ["priority", "preemptionPolicy"] {
        let place = ["spec", field];
        if let (None, Some(known)) = (pod.get(&place), old.get(&place)) {
            pod.set(&place, known.clone());
        }
    }
}

fn only_default(write: &Write<'_>, class: &Object) -> Result<()> {
    let Some(default) = default(&write.context) else { return Ok(()) };
    if write.operation == Operation::Update && default.name() == class.name() {
        return Ok(());
    }
    let why =
        format!("PriorityClass {} is already marked as default. Only one default can exist", default.name());
    Err(write.context.forbidden(class, why))
}

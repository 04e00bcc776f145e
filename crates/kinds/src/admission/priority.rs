//! A pod's priority is that of the class which it names.

use apiserver::{Admission, Admitting, Context, Result, Write, at_once};
use model::Object;
use serde_json::Value;

/// Works out the priority of pods.
pub(super) struct Priority;

impl Admission for Priority {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        at_once(if write.makes("", "pods") { admit(&write.context, object) } else { Ok(()) })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// Priority classes are two so far: those that every cluster has. Everything else is 0.
fn admit(context: &Context<'_>, pod: &mut Object) -> Result<()> {
    let priority: i64 = match pod.get_str(&["spec", "priorityClassName"]).unwrap_or_default() {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        other => {
            let why = format!("no PriorityClass with name {other} was found");
            return Err(context.forbidden(pod, why));
        }
    };
    if let Some(given) = pod.get(&["spec", "priority"]).and_then(Value::as_i64)
        && given != priority
    {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        );
        return Err(context.forbidden(pod, why));
    }
    pod.set(&["spec", "priority"], priority);
    if pod.get(&["spec", "preemptionPolicy"]).is_none() {
        pod.set(&["spec", "preemptionPolicy"], "PreemptLowerPriority");
    }
    Ok(())
}

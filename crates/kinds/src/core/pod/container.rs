//! Finding the container of a pod that a request means, and the node it runs on.

use model::Object;
use serde_json::Value;

use apiserver::Call;
use apiserver::node::PodTarget;
use apiserver::{Error, Result};

/// Where a pod runs; a failure where no node has it yet.
pub(super) fn target(call: &Call, pod: &Object) -> Result<PodTarget> {
    let node = pod.get_str(&["spec", "nodeName"]).unwrap_or_default();
    if node.is_empty() {
        return Err(Error::bad_request(format!("pod {} does not have a host assigned", pod.name())));
    }
    Ok(PodTarget {
        namespace: call.namespace().to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        node: node.to_owned(),
    })
}

/// The container that a request names; where it names none, the pod's default or only one.
pub(super) fn container(pod: &Object, named: Option<&str>) -> Result<String> {
    let names = |list: &str| -> Vec<String> {
        pod.get_list(&["spec", list])
            .iter()
            .filter_map(|c| c.get("name").and_then(Value::as_str).map(str::to_owned))
            .collect()
    };
    let (containers, inits) = (names("containers"), names("initContainers"));
    let ephemeral = names("ephemeralContainers");
    match named {
        Some(name) => {
            let known = [&containers, &inits, &ephemeral].iter().any(|l| l.iter().any(|n| n == name));
            if known {
                return Ok(name.to_owned());
            }
            Err(Error::bad_request(format!("container {name} is not valid for pod {}", pod.name())))
        }
        None => {
            if let Some(name) = pod.annotation("kubectl.kubernetes.io/default-container")
                && containers.iter().any(|c| c == name)
            {
                return Ok(name.to_owned());
            }
            match containers.as_slice() {
                [only] => Ok(only.clone()),
                many => {
                    let mut text = format!(
                        "a container name must be specified for pod {}, choose one of: [{}]",
                        pod.name(),
                        many.join(" ")
                    );
                    if !inits.is_empty() {
                        text.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
                    }
                    Err(Error::bad_request(text))
                }
            }
        }
    }
}

//! Images are always asked for at their registry, so that nobody runs what another was allowed to pull.

use apiserver::{Admission, Admitting, Operation, Write, at_once};
use model::Object;
use serde_json::Value;

/// Lets images be pulled each time.
pub(super) struct AlwaysPullImages;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

impl Admission for AlwaysPullImages {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        let is_new = write.operation == Operation::Create
            || write
                .old
                .is_none_or(|old| images(object).any(|image| !images(old).any(|known| known == image)));
        if write.is_of("", "pods") && is_new {
            pull_always(object);
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn images(pod: &Object) -> impl Iterator<Item = &str> {
    let containers = LISTS.into_iter().flat_map(|list| pod.get_list(&["spec", list]));
    containers.filter_map(|container| container["image"].as_str())
}

fn pull_always(pod: &mut Object) {
    let Some(spec) = pod.fields_mut().get_mut("spec") else { return };
    for list in LISTS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["imagePullPolicy"] = "Always".into();
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(image) = volume.get_mut("image").filter(|image| image.is_object()) {
            image["pullPolicy"] = "Always".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_image_of_a_pod_is_pulled_each_time() {
        let pod = json!({"spec": {
            "containers": [{"name": "a", "imagePullPolicy": "Never"}], "initContainers": [{"name": "b"}],
            "volumes": [{"name": "c", "image": {"reference": "x"}}, {"name": "d", "emptyDir": {}}],
        }});
        let mut pod = Object::from_value(pod).expect("an object");
        pull_always(&mut pod);
        let expected = json!({
            "containers": [{"name": "a", "imagePullPolicy": "Always"}],
            "initContainers": [{"name": "b", "imagePullPolicy": "Always"}],
            "volumes": [
                {"name": "c", "image": {"reference": "x", "pullPolicy": "Always"}}, {"name": "d", "emptyDir": {}},
            ],
        });
        assert_eq!(pod.get(&["spec"]), Some(&expected));
    }
}

//! The pods of a namespace run on the nodes that an annotation of it, or the configuration, picks.

use std::collections::BTreeMap;

use apiserver::{Admission, Admitting, Error, Result, Write, at_once};
use model::{GroupResource, Object, Status};
use serde::Deserialize;
use serde_json::Value;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// What the configuration has for namespaces that say nothing.
const DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

/// Adds to the node selectors of pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PodNodeSelector {
    /// What pods may ask for, by namespace.
    selectors: BTreeMap<String, Labels>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    pod_node_selector_plugin_config: BTreeMap<String, String>,
}

impl Admission for PodNodeSelector {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        at_once(if write.makes("", "pods") { self.admit(write, object) } else { Ok(()) })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

impl PodNodeSelector {
    /// As a document says.
    pub(super) fn configured(document: &Value) -> Result<Self, String> {
        let document = Document::deserialize(document).map_err(|error| error.to_string())?;
        let read = |(namespace, text): (String, String)| labels(&text).map(|labels| (namespace, labels));
        let selectors =
            document.pod_node_selector_plugin_config.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { selectors })
    }

    fn admit(&self, write: &Write<'_>, pod: &mut Object) -> Result<()> {
        let name = write.context.namespace();
        let namespace = write.context.find(&GroupResource::new("", "namespaces"), "", name);
        let asked = namespace.as_ref().and_then(|namespace| namespace.annotation(ANNOTATION));
        let of_namespace = match asked {
            Some(text) => labels(text).map_err(|why| Error::from(Status::internal(why)))?,
            None => self.selectors.get(DEFAULT).cloned().unwrap_or_default(),
        };
        let given = pod.get(&["spec", "nodeSelector"]).and_then(Value::as_object);
        let mut selector: Labels = given
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        if of_namespace.iter().any(|(name, value)| selector.get(name).is_some_and(|given| given != value)) {
            let why = "pod node label selector conflicts with its namespace node label selector";
            return Err(write.context.forbidden(pod, why));
        }
        selector.extend(of_namespace);
        let allowed = self.selectors.get(name).filter(|allowed| !allowed.is_empty());
        if allowed
            .is_some_and(|allowed| selector.iter().any(|(name, value)| allowed.get(name) != Some(value)))
        {
            let why = "pod node label selector labels conflict with its namespace whitelist";
            return Err(write.context.forbidden(pod, why));
        }
        if !selector.is_empty() {
            let selector: serde_json::Map<String, Value> =
                selector.into_iter().map(|(name, value)| (name, value.into())).collect();
            pod.set(&["spec", "nodeSelector"], selector);
        }
        Ok(())
    }
}

/// Reads `a=b,c=d`.
fn labels(text: &str) -> Result<Labels, String> {
    let pairs = text.split(',').filter(|_| !text.is_empty());
    pairs
        .map(|pair| match pair.split('=').collect::<Vec<_>>()[..] {
            [name, value] if model::names::qualified(name.trim()).is_empty() => {
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            }
            [_, _] => Err(format!("invalid label key in selector: {pair}")),
            _ => Err(format!("invalid selector: [{pair}]")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_lists_of_labels() {
        let read = |text: &str| labels(text).map(|all| format!("{all:?}"));
        assert_eq!(read(""), Ok("{}".to_owned()));
        assert_eq!(read("a=b, c/d=e"), Ok(r#"{"a": "b", "c/d": "e"}"#.to_owned()));
        assert_eq!(read("a"), Err("invalid selector: [a]".to_owned()));
        assert_eq!(read("a=b,="), Err("invalid label key in selector: =".to_owned()));
        let document =
            json!({"podNodeSelectorPluginConfig": {"clusterDefaultNodeSelector": "a=b", "space": "c=d"}});
        assert_eq!(PodNodeSelector::configured(&document).map(|it| it.selectors.len()), Ok(2));
        assert!(PodNodeSelector::configured(&json!({"podNodeSelectorPluginConfig": {"x": "!"}})).is_err());
        assert!(PodNodeSelector::configured(&json!({"other": {}})).is_err());
    }
}

//! What objects of all kinds have in common, and no more.

use std::collections::BTreeMap;

use model::OwnerReference;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Labels, Resource};

/// Type and metadata of an object of any kind, for those who need nothing else: a copy of a whole
/// cluster's objects stays small, and what an object holds is skipped rather than read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Partial {
    /// `apiVersion`; empty in the items of a list.
    pub api_version: String,
    /// `kind`; empty in the items of a list.
    pub kind: String,
    /// The metadata.
    pub metadata: PartialMetadata,
}

/// The metadata that tell an object from others and say what it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartialMetadata {
    /// The name.
    pub name: String,
    /// The namespace; [`None`] for what is cluster-wide.
    pub namespace: Option<String>,
    /// The uid.
    pub uid: String,
    /// The revision at which the object was written.
    pub resource_version: String,
    /// Since when the object is being deleted.
    pub deletion_timestamp: Option<String>,
    /// Who has to act before the object may go.
    #[serde(deserialize_with = "null_as_none")]
    pub finalizers: Vec<String>,
    /// To whom the object belongs.
    #[serde(deserialize_with = "null_as_none")]
    pub owner_references: Vec<OwnerReference>,
    /// Labels.
    #[serde(deserialize_with = "null_as_none")]
    pub labels: BTreeMap<String, String>,
}

/// Clients may say `null` where they mean nothing.
fn null_as_none<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Resource for Partial {
    fn name(&self) -> &str {
        &self.metadata.name
    }

    fn namespace(&self) -> Option<&str> {
        self.metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty())
    }

    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.get(key).map(String::as_str)
    }

    fn labels(&self) -> Labels {
        self.metadata.labels.clone()
    }

    fn owners(&self) -> Vec<OwnerReference> {
        self.metadata.owner_references.clone()
    }

    fn is_being_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn type_of(&self) -> (String, String) {
        (self.api_version.clone(), self.kind.clone())
    }

    fn forget_managers(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_metadata_is_skipped() {
        let text = r#"{"kind": "Pod", "apiVersion": "v1", "spec": {"containers": []}, "metadata": {
            "name": "a", "namespace": "b", "uid": "u", "resourceVersion": "7", "labels": {"k": "v"},
            "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}], "finalizers": ["f"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "o"}]}}"#;
        let object: Partial = serde_json::from_str(text).expect("an object");
        assert_eq!((object.key().to_string(), object.revision()), ("b/a".to_owned(), 7));
        assert_eq!((object.label("k"), object.owners().len()), (Some("v"), 1));
        assert_eq!((object.uid(), object.is_being_deleted()), ("u", false));
        assert_eq!(object.metadata.finalizers, ["f"]);
        let object: Partial = serde_json::from_str(r#"{"metadata": {"labels": null}}"#).expect("an object");
        assert_eq!(object, Partial::default());
    }
}

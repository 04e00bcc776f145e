//! Documents that say how something is asked, each of a kind that the reader knows.

use model::field::quote;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A version and a kind.
pub(super) type Form = (&'static str, &'static str);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: String,
    kind: String,
}

/// What a document says that has to be in one of these forms; the first is the one that is asked for.
pub(super) fn read<T: DeserializeOwned>(document: &Value, forms: &[Form]) -> Result<T, String> {
    let told = |error: serde_json::Error| error.to_string();
    let Head { api_version, kind } = Head::deserialize(document).map_err(told)?;
    if !forms.contains(&(&api_version, &kind)) {
        let (version, wanted) = forms.first().copied().unwrap_or_default();
        let article = if wanted.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
        let (kind, api_version) = (quote(&kind), quote(&api_version));
        return Err(format!("it has to be {article} {wanted} of {version}, not {kind} of {api_version}"));
    }
    let mut said = document.clone();
    if let Some(said) = said.as_object_mut() {
        said.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
    }
    T::deserialize(said).map_err(told)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_of_one_of_the_forms_that_are_known() {
        let read = |document: Value| -> Result<BTreeMap<String, u32>, String> {
            read(&document, &[("a/v1", "Answer"), ("a/v1beta1", "Older")])
        };
        let said = Ok(BTreeMap::from([("x".to_owned(), 1)]));
        assert_eq!(read(json!({"apiVersion": "a/v1", "kind": "Answer", "x": 1})), said);
        assert_eq!(read(json!({"apiVersion": "a/v1beta1", "kind": "Older", "x": 1})), said);
        for (other, why) in [
            (json!({"apiVersion": "a/v1", "kind": "Older"}), "not \"Older\" of \"a/v1\""),
            (json!({}), "not \"\" of \"\""),
            (json!({"apiVersion": 1, "kind": "Answer"}), "expected a string"),
            (json!([]), "it has to be an Answer of a/v1, not \"\" of \"\""),
            (json!({"apiVersion": "a/v1", "kind": "Answer", "x": "y"}), "expected u32"),
        ] {
            let told = read(other.clone()).expect_err("refused");
            assert!(told.contains(why), "{other}: {told}");
        }
    }
}

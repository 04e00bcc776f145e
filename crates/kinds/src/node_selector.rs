//! Selectors of nodes, where no pod is that they belong to.

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, invalid, list, text};
use serde_json::Value;

/// A selector of nodes, of which one term must match.
pub(crate) fn rules(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    let terms_path = path.child("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(FieldError::required(&terms_path, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        let path = terms_path.index(index);
        let expressions = path.child("matchExpressions");
        for (index, one) in list(term, "matchExpressions").iter().enumerate() {
            let path = expressions.index(index);
            let (values, of_values) = (list(one, "values"), path.child("values"));
            match text(one, "operator") {
                "In" | "NotIn" if values.is_empty() => {
                    let message = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.push(FieldError::required(&of_values, message));
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.push(FieldError::forbidden(&of_values, message));
                }
                "Gt" | "Lt" if values.len() != 1 => {
                    let message = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                    errors.push(FieldError::required(&of_values, message));
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
                other => {
                    let message = "not a valid selector operator";
                    errors.push(FieldError::invalid(&path.child("operator"), other, message));
                }
            }
            let key = text(one, "key");
            invalid(errors, &path.child("key"), key, names::qualified(key));
        }
    }
}

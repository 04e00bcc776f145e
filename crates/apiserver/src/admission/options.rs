//! The options of a request, as those are told them who are asked of it.

use serde_json::{Value, json};

use super::Operation;
use crate::request::{DeleteOptions, FieldValidation, WriteOptions};

/// How the client wants something done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Options<'a> {
    /// To make or to change something.
    Write(&'a WriteOptions),
    /// To delete something.
    Delete(&'a DeleteOptions),
    /// There is nothing to be said.
    None,
}

impl Options<'_> {
    /// As an object of Kubernetes' kinds. A patch is one form of an update there, and has the options of one.
    pub(super) fn document(self, operation: Operation) -> Value {
        let kind = match operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return Value::Null,
        };
        let mut document = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        match self {
            Self::Write(options) => write(options, &mut document),
            Self::Delete(options) => delete(options, &mut document),
            Self::None => {}
        }
        document
    }
}

fn write(options: &WriteOptions, document: &mut Value) {
    if options.dry_run {
        document["dryRun"] = json!(["All"]);
    }
    if options.explicit_manager {
        document["fieldManager"] = json!(options.field_manager);
    }
    match options.field_validation {
        FieldValidation::Ignore => document["fieldValidation"] = json!("Ignore"),
        FieldValidation::Strict => document["fieldValidation"] = json!("Strict"),
        // What is so where nothing is said.
        FieldValidation::Warn => {}
    }
}

fn delete(options: &DeleteOptions, document: &mut Value) {
    if let Some(seconds) = options.grace_period_seconds {
        document["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(wanted) = &options.preconditions {
        let mut preconditions = json!({});
        for (name, value) in [("uid", &wanted.uid), ("resourceVersion", &wanted.resource_version)] {
            if let Some(value) = value {
                preconditions[name] = json!(value);
            }
        }
        document["preconditions"] = preconditions;
    }
    if let Some(policy) = &options.propagation_policy {
        document["propagationPolicy"] = json!(policy);
    }
    if let Some(orphan) = options.orphan_dependents {
        document["orphanDependents"] = json!(orphan);
    }
    if !options.dry_run.is_empty() {
        document["dryRun"] = json!(options.dry_run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_as_kubernetes_tells_them() {
        let check = |options: Options<'_>, operation, expected: Value| {
            assert_eq!(options.document(operation), expected);
        };
        let head = |kind: &str, rest: Value| {
            let mut all = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
            for (name, value) in rest.as_object().into_iter().flatten() {
                all[name] = value.clone();
            }
            all
        };
        let plain = WriteOptions { field_manager: "curl".into(), ..WriteOptions::default() };
        check(Options::Write(&plain), Operation::Create, head("CreateOptions", json!({})));
        let said = WriteOptions {
            dry_run: true,
            explicit_manager: true,
            field_validation: FieldValidation::Strict,
            ..plain
        };
        let expected = json!({"dryRun": ["All"], "fieldManager": "curl", "fieldValidation": "Strict"});
        check(Options::Write(&said), Operation::Update, head("UpdateOptions", expected));
        let delete: DeleteOptions = serde_json::from_value(json!({
            "gracePeriodSeconds": 3, "propagationPolicy": "Orphan", "preconditions": {"uid": "u"},
        }))
        .expect("options");
        let expected =
            json!({"gracePeriodSeconds": 3, "propagationPolicy": "Orphan", "preconditions": {"uid": "u"}});
        check(Options::Delete(&delete), Operation::Delete, head("DeleteOptions", expected));
        check(Options::None, Operation::Connect, Value::Null);
    }
}

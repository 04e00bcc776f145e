//! What lists of webhooks have in common, be those to change writes or to look at them: how they are shown, what is
//! filled in, what must hold.

pub(crate) mod client;
pub(crate) mod conversion;
mod rules;

pub(crate) use rules::rule_with_operations;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, integer};
use base::Timestamp;
use model::Object;
use model::default::{Fields, each, existing, missing};
use model::validate::Functions;
use serde_json::{Value, json};

use crate::spec_and_status::SpecAndStatus;

/// What webhooks are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// To change what is written.
    Mutating,
    /// To say whether it may be.
    Validating,
}

const COLUMNS: &[Column] = &[NAME, integer("Webhooks", "How many webhooks it names."), AGE];

/// A kind of lists of webhooks.
pub(crate) fn of(resource: Resource, sort: Sort) -> Resource {
    let resource = match sort {
        Sort::Mutating => resource.defaults(mutating).rules(Functions::of(rules::mutating)),
        Sort::Validating => resource.defaults(defaults).rules(Functions::of(rules::validating)),
    };
    resource.category("api-extensions").columns(COLUMNS, cells).strategy(SpecAndStatus::default().counted())
}

fn mutating(fields: &mut Fields) {
    defaults(fields);
    for webhook in each(fields, "webhooks") {
        missing(webhook, "reinvocationPolicy", "Never");
    }
}

fn defaults(fields: &mut Fields) {
    for webhook in each(fields, "webhooks") {
        missing(webhook, "failurePolicy", "Fail");
        missing(webhook, "matchPolicy", "Equivalent");
        missing(webhook, "namespaceSelector", json!({}));
        missing(webhook, "objectSelector", json!({}));
        missing(webhook, "timeoutSeconds", 10);
        for rule in each(webhook, "rules") {
            missing(rule, "scope", "*");
        }
        if let Some(client) = existing(webhook, "clientConfig") {
            client::defaults(client);
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.get_list(&["webhooks"]).len().into(), age(object, now)]
}

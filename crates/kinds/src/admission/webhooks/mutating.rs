//! Webhooks that change what is written, one after the other.

use std::borrow::Cow;
use std::sync::Arc;

use apiserver::{Admission, Admitting, Error, Form, Operation, Result, Write, after_asking, at_once};
use model::Object;
use model::merge::json_patch::{self, JsonPatchError};
use serde_json::{Value, json};

use super::super::remade::remade;
use super::super::rounds::Rounds;
use super::call::{Asking, Failure};
use super::conditions;
use super::hook::Hook;
use super::is_exempt;
use super::known::Known;
use super::matching::{As, Named, by_rules, by_selectors, namespace_of};
use super::review::Answer;

const NAME: &str = "MutatingAdmissionWebhook";

/// Asks those webhooks that may change what is written, in the order of their objects' names and of their places in
/// those.
pub(crate) struct MutatingAdmissionWebhook(Known);

impl Default for MutatingAdmissionWebhook {
    fn default() -> Self {
        Self(Known::new("mutatingwebhookconfigurations"))
    }
}

impl Admission for MutatingAdmissionWebhook {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        let Some(asked) = self.asked(write, Some(object)) else { return at_once(Ok(())) };
        after_asking(async move {
            let mut seen = write.seen(object).into_owned();
            let changed = write.context.wait_for(ask_all(write, &asked, Some(&mut seen))).await?;
            if changed {
                write.take(object, seen);
            }
            Ok(())
        })
    }

    fn validate<'a>(&'a self, write: &'a Write<'a>, _: Option<&'a Object>) -> Admitting<'a> {
        // A deletion changes nothing, and these are asked of it all the same.
        if write.operation != Operation::Delete {
            return at_once(Ok(()));
        }
        let Some(asked) = self.asked(write, None) else { return at_once(Ok(())) };
        after_asking(async move { write.context.wait_for(ask_all(write, &asked, None)).await.map(drop) })
    }

    fn looks_at_sent(&self) -> bool {
        true
    }

    fn keeps_form(&self) -> bool {
        // What is taken from one is looked at as such.
        true
    }
}

/// Those who are asked by their rules, with their places among all.
type Asked = Vec<(usize, Arc<Hook>, As)>;

impl MutatingAdmissionWebhook {
    /// Those who are to be asked, as far as rules say so; none where there is nobody.
    fn asked(&self, write: &Write<'_>, object: Option<&Object>) -> Option<Asked> {
        asked(&self.0, write, object)
    }
}

/// Those of `known` who are to be asked, as far as rules say so; none where there is nobody.
pub(super) fn asked(known: &Known, write: &Write<'_>, object: Option<&Object>) -> Option<Asked> {
    if write.form == Form::Effect {
        return None;
    }
    let hooks = known.hooks(&write.context);
    if hooks.is_empty() || is_exempt(write) {
        return None;
    }
    let named = Named::of(write, namespace_of(write, object));
    let equivalents = write.context.equivalents(write.subresource);
    let hooks = hooks.iter().enumerate();
    let asked: Asked = hooks
        .filter_map(|(index, hook)| Some((index, hook.clone(), by_rules(hook, &named, &equivalents)?)))
        .collect();
    (!asked.is_empty()).then_some(asked)
}

/// The name of what is written.
pub(in super::super) fn name_of<'a>(write: &'a Write<'_>, object: Option<&'a Object>) -> &'a str {
    match (write.form, write.old) {
        (Form::Sent, _) if !write.context.name().is_empty() => write.context.name(),
        (_, Some(old)) => old.name(),
        (_, None) => object.map_or("", Object::name),
    }
}

/// Asks one after the other; whether one of them has changed the object.
async fn ask_all(write: &Write<'_>, asked: &Asked, mut object: Option<&mut Object>) -> Result<bool> {
    let old = write.old.map(|old| write.seen(old));
    let namespace = namespace_of(write, object.as_deref()).to_owned();
    let name = name_of(write, object.as_deref()).to_owned();
    let kind = match object.as_deref().or(write.old) {
        Some(some) => write.seen_kind(some),
        None => write.context.resource().gvk(),
    };
    let options = write.options();
    let asking =
        Asking { write, namespace: &namespace, name: &name, kind: &kind, options: &options, sort: "admit" };
    let again = write.is_again();
    if again {
        let now = object.as_deref();
        write.kept(NAME, |rounds: &mut Rounds| rounds.begin(now));
    }
    let mut changed = false;
    for (index, hook, of) in asked {
        let named = Named::of(write, &namespace);
        if !by_selectors(hook, write, &named, object.as_deref(), old.as_deref())? {
            continue;
        }
        if again && !write.kept(NAME, |rounds: &mut Rounds| rounds.is_due(&hook.id)) {
            continue;
        }
        if !conditions::hold(hook, "admit", write, of, object.as_deref(), old.as_deref()).await? {
            continue;
        }
        let round = u8::from(again);
        let place = format!("round_{round}_index_{index}");
        let began = write.context.elapsed();
        let said = ask_one(&asking, hook, of, object.as_deref_mut(), old.as_deref(), &place).await;
        let mutated = matches!(said, Ok(true));
        let note = json!({"configuration": &*hook.configuration, "webhook": hook.name, "mutated": mutated});
        write.context.note(format!("mutation.webhook.admission.k8s.io/{place}"), &note.to_string());
        let failed_open = format!("failed-open.mutation.webhook.admission.k8s.io/{place}");
        let judged = asking.judge(hook, said, began, failed_open);
        if mutated {
            changed = true;
            write.kept(NAME, Rounds::change);
            write.ask_again();
        }
        if hook.asked_again {
            write.kept(NAME, |rounds: &mut Rounds| rounds.asked(&hook.id));
        }
        judged?;
    }
    if let Some(object) = object.filter(|_| asked.iter().any(|(_, hook, _)| hook.asked_again)) {
        write.kept(NAME, |rounds: &mut Rounds| rounds.end(object));
    }
    Ok(changed)
}

/// Asks one, and does what it says; whether that changed the object.
async fn ask_one(
    asking: &Asking<'_>,
    hook: &Hook,
    of: &As,
    object: Option<&mut Object>,
    old: Option<&Object>,
    place: &str,
) -> Result<bool, Failure> {
    let write = asking.write;
    let own = |error: Error| Failure::Own(error.to_string());
    let shown = match (of, &object) {
        (_, None) => None,
        (As::Itself, Some(object)) => Some(Cow::Borrowed(&**object)),
        (As::Equivalent(to), Some(object)) => {
            Some(Cow::Owned(write.convert((**object).clone(), to).await.map_err(own)?))
        }
    };
    let old = match (of, old) {
        (_, None) => None,
        (As::Itself, Some(old)) => Some(Cow::Borrowed(old)),
        (As::Equivalent(to), Some(old)) => {
            Some(Cow::Owned(write.convert(old.clone(), to).await.map_err(own)?))
        }
    };
    let (answer, long) = asking.ask(hook, of, shown.as_deref(), old.as_deref()).await?;
    let Answer { patch: Some(patch), .. } = answer else { return Ok(false) };
    let patch = Arc::new(patch);
    let Some(shown) = shown else {
        let name = model::field::quote(&hook.name);
        return Err(Failure::Own(format!(
            "admission webhook {name} attempted to modify the object, which is not supported for this operation"
        )));
    };
    let patched = patched(write, of, &shown, &patch, long.is_some()).await.map_err(Failure::Own)?;
    drop(long);
    write.context.note_sent(format!("patch.webhook.admission.k8s.io/{place}"), || {
        json!({
            "configuration": &*hook.configuration, "webhook": hook.name, "patch": *patch, "patchType": "JSONPatch",
        })
        .to_string()
    });
    if patched == *shown {
        return Ok(false);
    }
    let changed = match of {
        As::Itself => patched,
        As::Equivalent(_) => write.convert(patched, write.context.resource()).await.map_err(own)?,
    };
    match object {
        Some(object) => *object = changed,
        None => return Ok(false),
    }
    Ok(true)
}

/// What a patch makes of an object: one of its kind, with its defaults.
async fn patched(
    write: &Write<'_>,
    of: &As,
    object: &Object,
    patch: &Arc<Value>,
    is_long: bool,
) -> Result<Object, String> {
    let told = |error: JsonPatchError| error.to_string();
    let patched = if is_long {
        let (document, patch) = (object.value().clone(), patch.clone());
        let reach = write.context.reach();
        reach.digest(is_long, move || json_patch::apply(&document, &patch)).await.map_err(told)?
    } else {
        json_patch::apply(object.value(), patch).map_err(told)?
    };
    let resource = match of {
        As::Itself => write.context.resource(),
        As::Equivalent(other) => other,
    };
    let remade = remade(write, resource, object, patched).map_err(|error| error.to_string())?;
    Ok(remade.object)
}

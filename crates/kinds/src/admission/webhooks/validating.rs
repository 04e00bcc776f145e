//! Webhooks that say whether something may be written, all at once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use apiserver::{Admission, Admitting, Error, Result, Write, after_asking, at_once};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use model::{GroupVersionKind, Object};

use super::call::Asking;
use super::conditions;
use super::hook::Hook;
use super::known::Known;
use super::matching::{As, Named, by_selectors, namespace_of};
use super::mutating::{asked, name_of};

/// Asks those webhooks that say whether something may be written.
pub(crate) struct ValidatingAdmissionWebhook(Known);

impl Default for ValidatingAdmissionWebhook {
    fn default() -> Self {
        Self(Known::new("validatingwebhookconfigurations"))
    }
}

impl Admission for ValidatingAdmissionWebhook {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let Some(asked) = asked(&self.0, write, object) else { return at_once(Ok(())) };
        after_asking(async move { write.context.wait_for(ask_all(write, &asked, object)).await })
    }

    fn looks_at_sent(&self) -> bool {
        true
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// An object as it is to be and as it was, in one version.
type Forms<'a> = (Option<Cow<'a, Object>>, Option<Cow<'a, Object>>);

async fn ask_all(write: &Write<'_>, asked: &[(usize, Arc<Hook>, As)], object: Option<&Object>) -> Result<()> {
    let seen = object.map(|object| write.seen(object));
    let old = write.old.map(|old| write.seen(old));
    let namespace = namespace_of(write, object);
    let named = Named::of(write, namespace);
    let mut relevant = Vec::new();
    for (_, hook, of) in asked {
        if by_selectors(hook, write, &named, seen.as_deref(), old.as_deref())?
            && conditions::hold(hook, "validate", write, of, seen.as_deref(), old.as_deref()).await?
        {
            relevant.push((hook, of));
        }
    }
    if relevant.is_empty() {
        return Ok(());
    }
    // Each version is made once, however many are asked of it.
    let mut forms: HashMap<GroupVersionKind, Forms<'_>> = HashMap::new();
    for (_, of) in &relevant {
        let As::Equivalent(to) = of else { continue };
        if let Entry::Vacant(place) = forms.entry(to.gvk()) {
            place.insert((converted(write, &seen, of).await?, converted(write, &old, of).await?));
        }
    }
    let itself: Forms<'_> = (seen, old);
    let of_some = itself.0.as_deref().or(itself.1.as_deref());
    let kind = of_some.map_or_else(|| write.context.resource().gvk(), |some| write.seen_kind(some));
    let options = write.options();
    let name = name_of(write, object);
    let asking = Asking { write, namespace, name, kind: &kind, options: &options, sort: "validating" };
    let all = relevant.iter().enumerate().map(|(index, (hook, of))| {
        let (object, old) = match of {
            As::Itself => &itself,
            As::Equivalent(to) => forms.get(&to.gvk()).unwrap_or(&itself),
        };
        let asking = &asking;
        async move {
            let began = write.context.elapsed();
            let said = asking.ask(hook, of, object.as_deref(), old.as_deref()).await;
            let note = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
            asking.judge(hook, said, began, note).map(drop)
        }
    });
    let mut all: FuturesUnordered<_> = all.collect();
    let mut refused = None;
    while let Some(outcome) = all.next().await {
        // The first one says why; all are heard.
        if let Err(error) = outcome {
            refused.get_or_insert(error);
        }
    }
    refused.map_or(Ok(()), Err)
}

async fn converted<'o>(
    write: &Write<'_>,
    object: &Option<Cow<'_, Object>>,
    of: &As,
) -> Result<Option<Cow<'o, Object>>, Error> {
    let (Some(object), As::Equivalent(to)) = (object, of) else { return Ok(None) };
    let converted = write.convert(object.clone().into_owned(), to).await?;
    Ok(Some(Cow::Owned(converted)))
}

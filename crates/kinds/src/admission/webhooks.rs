//! Webhooks that are asked of writes: those that change what is written, one after the other, and those that say
//! whether it may be, all at once.
//!
//! Which of them are asked is decided by [`matching`] out of what their objects say ([`hook`]); what they are sent
//! and what they answer is [`review`]'s; [`call`] asks one, and what becomes of a write of which one cannot be asked
//! is decided there too. Whoever is asked is reached by `apiserver::callout`, which bounds what it can do to others.

mod call;
mod conditions;
mod hook;
mod known;
mod matcher;
mod matching;
mod mutating;
mod review;
mod validating;

pub(crate) use matcher::Matcher;
pub(super) use matching::namespace_of;
pub(crate) use mutating::MutatingAdmissionWebhook;
pub(super) use mutating::name_of;
pub(crate) use validating::ValidatingAdmissionWebhook;

use apiserver::Write;

/// For the fuzzer: how many bytes of an answer are told on, and its patch.
pub(crate) fn answer(text: &[u8], uid: &str, mutating: bool) -> Option<(usize, Option<serde_json::Value>)> {
    let answer = review::read(text, hook::Version::V1, uid, mutating).ok()?;
    let told = answer.warnings.iter().map(String::len).sum::<usize>();
    let noted = answer.annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    Some((told + noted, answer.patch))
}

const GROUP: &str = "admissionregistration.k8s.io";

/// What no webhook is asked of: whoever keeps others from writing could not be got rid of otherwise.
const EXEMPT: [&str; 6] = [
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
];

fn is_exempt(write: &Write<'_>) -> bool {
    let resource = write.context.resource();
    resource.group == GROUP && EXEMPT.contains(&resource.plural.as_str())
}

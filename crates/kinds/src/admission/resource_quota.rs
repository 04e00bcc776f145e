//! Nothing is made of which a quota of the namespace leaves too little.
//!
//! What an object takes is written into the quotas in the transaction that it is stored in, so that all who make
//! something at once never get more than there is. What comes back is counted: a status of a quota that does not say
//! what is used is one that asks for that, and a controller asks whenever something has gone. It is counted in a turn of
//! the namespace, so that those who make something do not keep it from coming to an end. As long as nobody takes anything
//! meanwhile, which the revision of the quota tells, the count is right: what is made before a quota knows of it changes
//! that, too.

mod limited;
mod matching;
mod usage;

use apiserver::{Admission, Admitting, Along, Operation, Result, Write, after_asking, at_once};
use model::{GroupResource, Object, Quantity};
use serde_json::{Map, Value};

use crate::pod_amounts::{Amounts, add, of};
use limited::Limited;
use matching::{Kind, matches};

/// What is used where nothing is.
const NONE: Quantity = Quantity::ZERO;

/// Charges what is made to quotas.
#[derive(Debug, Default)]
pub(super) struct ResourceQuota {
    /// What nobody may take where no quota counts it.
    limited: Vec<Limited>,
}

impl Admission for ResourceQuota {
    fn settle<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        let resource = write.context.resource();
        let asks = write.operation == Operation::Update
            && write.subresource == "status"
            && resource.group.is_empty()
            && resource.plural == "resourcequotas"
            && object.get(&["status", "used"]).is_none();
        if !asks {
            return at_once(Ok(()));
        }
        after_asking(async move {
            // Where the quota was changed before it came, it is counted anew, and the turn is still its own.
            write.context.take_turn().await?;
            // Others' objects may be shown later than the quota, which was charged with them.
            write.context.sees(write.old.unwrap_or(object)).await?;
            count(write, object);
            Ok(())
        })
    }

    fn takes_turns(&self, write: &Write<'_>) -> bool {
        let resource = write.context.resource();
        let kind = Kind::of(&resource.group, &resource.plural);
        let counts = |quota: &Object| {
            ["spec", "status"].into_iter().any(|part| {
                let hard = quota.get(&[part, "hard"]).and_then(Value::as_object);
                hard.is_some_and(|hard| hard.keys().any(|name| kind.counts(name)))
            })
        };
        let is_limited = || self.limited.iter().any(|limited| limited.is_of(kind));
        is_charged(write)
            && (is_limited() || write.context.list(&quotas(), write.context.namespace()).iter().any(counts))
    }

    fn along(&self, write: &Write<'_>, object: &Object) -> Result<Vec<Along>> {
        let all = write.context.list(&quotas(), write.context.namespace());
        if !self.limited.is_empty() {
            limited::check(&self.limited, write, &all, object)?;
        }
        let mut along = Vec::new();
        for quota in all {
            let new = match charge(write, &quota, object)? {
                Some(charged) => charged,
                // It is not counted yet: whoever counts now, and has not seen this object, is not to have it right.
                None if will_count(write, &quota, object) => quota.clone(),
                None => continue,
            };
            along.push(Along { resource: quotas(), old: quota, new });
        }
        Ok(along)
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn quotas() -> GroupResource {
    GroupResource::new("", "resourcequotas")
}

/// Whether a write may take something: what is made does, and some that is changed.
fn is_charged(write: &Write<'_>) -> bool {
    let resource = write.context.resource();
    if !resource.namespaced || is_ignored(&resource.group, &resource.plural) {
        return false;
    }
    let kind = Kind::of(&resource.group, &resource.plural);
    match (write.operation, write.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => matches!(kind, Kind::Services | Kind::Claims),
        (Operation::Update, "resize") => kind == Kind::Pods,
        _ => false,
    }
}

/// Events come by the thousand, and go by themselves.
fn is_ignored(group: &str, plural: &str) -> bool {
    matches!((group, plural), ("" | "events.k8s.io", "events"))
}

/// Whether a quota bounds something that the object may take, of which its status does not tell yet.
fn will_count(write: &Write<'_>, quota: &Object, object: &Object) -> bool {
    let resource = write.context.resource();
    let kind = Kind::of(&resource.group, &resource.plural);
    let told = quota.get(&["status", "hard"]).and_then(Value::as_object);
    let is_news = |name: &str| told.is_none_or(|told| !told.contains_key(name));
    let hard = quota.get(&["spec", "hard"]).and_then(Value::as_object);
    let names = hard.into_iter().flat_map(Map::keys).map(String::as_str);
    let news: Vec<&str> = names.filter(|name| kind.counts(name) && is_news(name)).collect();
    matches(quota, kind, &news, object)
}

/// The quota with what the object takes; none where that is nothing that it counts.
fn charge(write: &Write<'_>, quota: &Object, object: &Object) -> Result<Option<Object>> {
    let resource = write.context.resource();
    let kind = Kind::of(&resource.group, &resource.plural);
    let hard = of(quota.get(&["status"]), "hard");
    let counted: Vec<&str> = hard.keys().map(String::as_str).filter(|name| kind.counts(name)).collect();
    if !matches(quota, kind, &counted, object) {
        return Ok(None);
    }
    let refuse = |why: String| write.context.forbidden(object, why);
    if kind == Kind::Pods
        && let Some(missing) = usage::missing(object, &counted)
    {
        return Err(refuse(format!("failed quota: {}: must specify {missing}", quota.name())));
    }
    let mut used = of(quota.get(&["status"]), "used");
    if counted.iter().any(|name| !used.contains_key(*name)) {
        let names = counted.join(",");
        return Err(refuse(format!("status unknown for quota: {}, resources: {names}", quota.name())));
    }
    let mut taken = usage::of_new(kind, object, write.context.now());
    let negative: Vec<&str> =
        taken.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        let names = negative.join(",");
        return Err(refuse(format!("quota usage is negative for resource(s): {names}")));
    }
    if let Some(old) = write.old.filter(|old| matches(quota, kind, &counted, old)) {
        for (name, before) in usage::of_object(kind, old, write.context.now()) {
            if let Some(amount) = taken.get_mut(&name) {
                *amount = if *amount > before { difference(*amount, before) } else { NONE };
            }
        }
    }
    taken.retain(|name, amount| !amount.is_zero() && hard.contains_key(name));
    if taken.is_empty() {
        return Ok(None);
    }
    let before = used.clone();
    add(&mut used, &taken);
    let exceeded: Vec<&String> = taken.keys().filter(|name| used[*name] > hard[*name]).collect();
    if !exceeded.is_empty() {
        let shown = |amounts: &Amounts| {
            let all: Vec<String> = exceeded
                .iter()
                .map(|name| format!("{name}={}", amounts.get(*name).copied().unwrap_or(NONE)))
                .collect();
            all.join(",")
        };
        return Err(refuse(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            quota.name(),
            shown(&taken),
            shown(&before),
            shown(&hard)
        )));
    }
    let mut charged = quota.clone();
    charged.set(&["status", "used"], json(&used));
    Ok(Some(charged))
}

fn difference(from: Quantity, less: Quantity) -> Quantity {
    let mut left = from;
    left -= less;
    left
}

fn json(amounts: &Amounts) -> Value {
    amounts
        .iter()
        .map(|(name, amount)| (name.clone(), amount.to_string().into()))
        .collect::<Map<_, _>>()
        .into()
}

/// Counts what is used of all that a quota bounds.
fn count(write: &Write<'_>, quota: &mut Object) {
    let hard = of(quota.get(&["spec"]), "hard");
    let namespace = write.context.namespace();
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), NONE)).collect();
    for kind in Kind::COUNTED_BY_OBJECT {
        let counted: Vec<&str> = hard.keys().map(String::as_str).filter(|name| kind.counts(name)).collect();
        if counted.is_empty() {
            continue;
        }
        for object in write.context.list(&kind.resource(), namespace) {
            if matches(quota, kind, &counted, &object) {
                let mut taken = usage::of_object(kind, &object, write.context.now());
                taken.retain(|name, _| hard.contains_key(name));
                add(&mut used, &taken);
            }
        }
    }
    // Of the others it only matters how many there are.
    let has_scopes = !matching::scopes(quota).is_empty();
    for name in hard.keys().filter(|_| !has_scopes) {
        if let Some(resource) = matching::counted_resource(name) {
            let count = write.context.count(&resource, namespace);
            let count =
                Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), model::quantity::Format::Decimal);
            used.insert(name.clone(), count);
        }
    }
    quota.set(&["status", "hard"], json(&hard));
    quota.set(&["status", "used"], json(&used));
}

//! The phases of a write, in the order in which it goes through them.
//!
//! | phase | what happens | where |
//! | --- | --- | --- |
//! | decode | the body becomes an object of the version that the path names; what the schema lacks is dropped | `crate::decode` |
//! | default | what is left out is filled in | [`default`] |
//! | note | what was sent is noted as its manager's, and nothing that comes after | `super::managed` |
//! | mutate | others, then the resource's strategy, change the object | [`mutate`] |
//! | prune and validate | what others put in that the schema lacks is dropped; the rules must hold | [`mutate`], [`validate`] |
//! | validate by others | others may refuse | [`validate_by_others`] |
//! | accompany | what only the last moment knows is filled in; what has to change along with the object is settled; quotas may refuse | [`accompany`] |
//! | convert and store | the object becomes one of the stored version, and is stored | `crate::storage` |
//!
//! What is read, be it to be changed, is in the version that the path names: see [`Call::served`]. All
//! phases but the last speak of that version.
//!
//! Each may fail, and each that asks somebody waits for the answer. Where others were faster, the phases
//! are gone through again.

use std::time::Duration;

use model::field::FieldError;
use model::{Object, Status};
use parking_lot::Mutex;

use super::Part;
use crate::admission::{Admission, Again, Along, Form, MOST_ALONG, Operation, Options, Write};
use crate::allocation::TAKEN_AT_ONCE;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::state::State;
use crate::turns::Turn;

/// The write as others see it.
pub(super) fn write<'a>(
    call: &'a Call,
    operation: Operation,
    form: Form,
    old: Option<&'a Object>,
    options: Options<'a>,
) -> Write<'a> {
    Write {
        context: call.context(),
        identity: &call.identity,
        operation,
        subresource: &call.target.subresource,
        old,
        dry_run: match options {
            Options::Write(options) => options.dry_run,
            Options::Delete(options) => options.is_dry_run(),
            Options::None => false,
        },
        form,
        warnings: Mutex::default(),
        options,
        again: Again::default(),
    }
}

/// What the object of a change of this part is to those who look at what is sent.
pub(super) fn form(call: &Call, part: Part) -> Form {
    let takes_another_kind = || {
        let subresource = call.resource.find_subresource(&call.target.subresource);
        subresource.is_some_and(|subresource| subresource.kind.is_some())
    };
    match part {
        Part::Scale => Form::Scale,
        // What is changed though the path names something else is no request of its own either.
        Part::Own if call.target.subresource.is_empty() || takes_another_kind() => Form::Effect,
        Part::Whole | Part::Named | Part::Own => Form::Own,
    }
}

/// Fills in what the object leaves out.
pub(super) fn default(call: &Call, object: &mut Object) -> Result<()> {
    call.resource.apply_defaults(object).map_err(|why| Status::too_large(why).into())
}

/// Lets others, then the resource's strategy, change the object; `restore` puts back what this write may not
/// change, whatever others did to it.
pub(super) async fn mutate(
    call: &Call,
    write: &Write<'_>,
    part: Part,
    object: &mut Object,
    restore: impl Fn(Object) -> Object,
) -> Result<()> {
    let keeps_form = mutate_by_others(call, write, object, |_| true).await?;
    if !keeps_form {
        *object = prune(call, restore(object.take()))?;
        default(call, object)?;
    }
    if let (Some(drops), None, _) | (Some(drops), Some(_), Part::Whole | Part::Scale) =
        (&call.resource.drops, write.old, part)
    {
        drops(object, write.old);
    }
    let strategy = &*call.resource.strategy;
    match (write.old, part) {
        (None, _) => strategy.admit_create(&write.context, object).await?,
        (Some(old), Part::Whole | Part::Scale) => strategy.admit_update(&write.context, object, old).await?,
        (Some(_), Part::Named | Part::Own) => return Ok(()),
    }
    // An object that begins with an empty status has the zeros of one, too.
    default(call, object)
}

/// Lets others change the object, as often as they want it. Whether all of them have kept its form.
async fn mutate_by_others(
    call: &Call,
    write: &Write<'_>,
    object: &mut Object,
    who: impl Fn(&dyn Admission) -> bool,
) -> Result<bool> {
    let mut keeps_form = true;
    loop {
        let mut timing = Timing::begin(call, write, false);
        for (place, other) in call.state.admission.iter().enumerate().filter(|(_, other)| who(&***other)) {
            let outcome = other.mutate(write, object).await;
            timing.one(place, other.name(), outcome.is_err());
            outcome?;
            keeps_form &= other.keeps_form();
        }
        timing.end(false);
        if !write.again.begin() {
            return Ok(keeps_form && !write.again.is_reformed());
        }
    }
}

/// Asks others of what is sent to a subresource that takes a kind of its own, or of what is never stored; gives what
/// they made of it, and what whoever sent it is told. `holds` is asked in between, as the rules of a resource are.
pub(crate) async fn admit_sent(
    call: &Call,
    operation: Operation,
    options: Options<'_>,
    mut object: Object,
    holds: impl Fn(&Object) -> Result<()>,
) -> Result<(Object, Vec<String>)> {
    let looks = |other: &dyn Admission| other.looks_at_sent();
    if !call.state.admission.iter().any(|other| looks(&**other)) {
        holds(&object)?;
        return Ok((object, Vec::new()));
    }
    let write = write(call, operation, Form::Sent, None, options);
    mutate_by_others(call, &write, &mut object, looks).await?;
    holds(&object)?;
    ask_others(call, &write, Some(&object), looks).await?;
    let warnings = std::mem::take(&mut *write.warnings.lock());
    Ok((object, warnings))
}

/// Without what others put in that the schema lacks.
fn prune(call: &Call, object: Object) -> Result<Object> {
    let Some(schema) = &call.resource.schema else { return Ok(object) };
    let decoded = model::decode::value(schema, object.into_value());
    Ok(decoded.map_err(|error| Error::bad_request(error.0))?.object)
}

/// The rules of the resource must hold.
pub(super) fn validate(call: &Call, write: &Write<'_>, part: Part, object: &Object) -> Result<()> {
    let resource = &*call.resource;
    let (rules, scope) = (&*resource.rules, resource.scope());
    let mut errors: Vec<FieldError> = match (write.old, part) {
        (None, _) => model::validate::create(rules, object, scope),
        (Some(old), Part::Whole | Part::Scale) => model::validate::update(rules, object, old, scope),
        (Some(old), Part::Named) => {
            model::validate::update_part(rules, write.subresource, object, old, scope)
        }
        (Some(_), Part::Own) => Vec::new(),
    };
    if matches!(part, Part::Whole | Part::Scale) {
        errors.extend(resource.strategy.validate(object));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&resource.group_kind(), object.name(), &errors).into())
}

/// What is odd about an object that may be written all the same: what its kind says of it, and what others do.
pub(super) fn warnings(call: &Call, write: &Write<'_>, part: Part, object: &Object) -> Vec<String> {
    let mut warnings = own_warnings(call, part, object, write.old);
    warnings.append(&mut write.warnings.lock());
    warnings
}

fn own_warnings(call: &Call, part: Part, object: &Object, old: Option<&Object>) -> Vec<String> {
    if !matches!(part, Part::Whole | Part::Scale) {
        return Vec::new();
    }
    let without_effect = call
        .resource
        .without_effect
        .map(|what| format!("this {} is stored, but {what} yet", call.resource.kind));
    let odd = call.resource.warnings.map(|warnings| warnings(object, old));
    without_effect.into_iter().chain(odd.into_iter().flatten()).collect()
}

/// Others may refuse.
pub(super) async fn validate_by_others(
    call: &Call,
    write: &Write<'_>,
    object: Option<&Object>,
) -> Result<()> {
    ask_others(call, write, object, |_| true).await
}

async fn ask_others(
    call: &Call,
    write: &Write<'_>,
    object: Option<&Object>,
    who: impl Fn(&dyn Admission) -> bool,
) -> Result<()> {
    let mut timing = Timing::begin(call, write, true);
    for (place, other) in call.state.admission.iter().enumerate().filter(|(_, other)| who(&***other)) {
        let outcome = other.validate(write, object).await;
        timing.one(place, other.name(), outcome.is_err());
        outcome?;
    }
    timing.end(false);
    Ok(())
}

/// Counts how long those take who are asked of a write.
struct Timing<'a> {
    state: &'a State,
    operation: Operation,
    validates: bool,
    began: Duration,
    last: Duration,
}

impl<'a> Timing<'a> {
    fn begin(call: &'a Call, write: &Write<'_>, validates: bool) -> Self {
        let began = call.state.clock.elapsed();
        Self { state: &call.state, operation: write.operation, validates, began, last: began }
    }

    /// One of them has answered.
    fn one(&mut self, place: usize, name: &'static str, rejected: bool) {
        let (now, last) = (self.state.clock.elapsed(), self.last);
        self.last = now;
        let took = now.saturating_sub(last);
        let find = || {
            let labels = [name, self.operation.as_str(), flag(rejected), self.kind()];
            self.state.meters.admission.with(labels)
        };
        if rejected {
            find().observe(took);
            self.end(true);
        } else {
            self.state.admitting.of(place, self.operation, self.validates, find).observe(took);
        }
    }

    fn kind(&self) -> &'static str {
        if self.validates { "validate" } else { "admit" }
    }

    /// All of them have, or one has refused.
    fn end(&self, rejected: bool) {
        let labels = [self.operation.as_str(), flag(rejected), self.kind()];
        self.state.meters.admission_steps.with(labels).observe(self.last.saturating_sub(self.began));
    }
}

fn flag(set: bool) -> &'static str {
    if set { "true" } else { "false" }
}

/// What changes along with an object, and the turn in which it does.
pub(super) struct Accompanied {
    pub(super) along: Vec<Along>,
    _turn: Option<Turn>,
}

/// Asks those who change something along with the object; they may refuse, last of all. What it gives is held until
/// the object is stored.
pub(super) async fn accompany(call: &Call, write: &Write<'_>, object: &mut Object) -> Result<Accompanied> {
    for other in call.state.admission.iter() {
        other.settle(write, object).await?;
    }
    let object = &*object;
    let others = || call.state.admission.iter().filter(|other| other.takes_turns(write));
    if others().next().is_none() {
        return Ok(Accompanied { along: Vec::new(), _turn: None });
    }
    let turn = call.state.turns.take(call.namespace()).await?;
    let mut along = Vec::new();
    for other in others() {
        along.extend(other.along(write, object)?);
    }
    // What it takes that nobody else may have is in the same transaction.
    let takes = call.resource.strategy.claims(object).len();
    if along.len() > MOST_ALONG || along.len() + takes > TAKEN_AT_ONCE {
        let why = format!(
            "too much would have to change along with it: {} other objects, where there is room for {}",
            along.len(),
            MOST_ALONG.min(TAKEN_AT_ONCE.saturating_sub(takes))
        );
        return Err(write.context.forbidden(object, why));
    }
    Ok(Accompanied { along, _turn: Some(turn) })
}

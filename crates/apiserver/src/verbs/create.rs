//! Making an object.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use model::merge::apply::Manager;
use model::{Object, Status};

use super::modify::{identity, keep_identity};
use super::{Part, managed, phases};
use crate::admission::{Form, Operation, Options};
use crate::authorisation::{self, Attributes};
use crate::body::Body;
use crate::cache::Stored;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::request::{ResourceTarget, Verb, WriteOptions};
use crate::resource::{Resource, partition};
use crate::storage::Raced;
use crate::{decode, storage};

/// How often a name is made up before giving up.
const NAME_TRIES: usize = 8;
/// How often an object is admitted anew after others took what was chosen for it, or changed its namespace.
const TRIES: usize = 16;
/// How long an object waits for what makes it admissible.
const ADMISSION_WAIT: Duration = Duration::from_secs(1);

/// A new object.
pub(crate) struct Created {
    outcome: Outcome,
    /// What is odd about it.
    warnings: Vec<String>,
}

enum Outcome {
    /// It is stored.
    Stored(Arc<Stored>),
    /// It would have been.
    DryRun(Object),
}

impl Created {
    /// The answer to the client.
    pub(super) fn answer(&self, call: &Call, warnings: &[String]) -> Response<Body> {
        let warnings = [warnings, &self.warnings].concat();
        match &self.outcome {
            Outcome::Stored(stored) => call.answer(StatusCode::CREATED, stored, &warnings),
            Outcome::DryRun(object) => call.answer_object(StatusCode::CREATED, object, &warnings),
        }
    }
}

pub(super) async fn handle(call: &Call) -> Result<Response<Body>> {
    check_allowed(call)?;
    let options = call.write_options()?;
    let (object, warnings) = decode::object(call, options.field_validation)?;
    let again = || Ok(decode::object(call, options.field_validation)?.0);
    Ok(create_object(call, &options, object, again).await?.answer(call, &warnings))
}

/// A kind that is about to go gets no more objects.
fn check_allowed(call: &Call) -> Result<()> {
    match call.resource.refuses_create {
        Some(why) => {
            let status = Status::method_not_supported(&call.group_resource(), "create");
            Err(Status { message: why.to_owned(), ..status }.into())
        }
        None => Ok(()),
    }
}

/// Makes the object that a request to change it names, though it is not there. Who may change may not
/// always make, too. None where somebody made it in between.
pub(super) async fn make_missing(
    call: &Call,
    options: &WriteOptions,
    object: Object,
) -> Result<Option<Created>> {
    let target = ResourceTarget { verb: Verb::Create, ..call.target.clone() };
    let attributes = Attributes::Resource(target.attributes());
    let decision = call.state.authorizer.decide(&call.identity, attributes).await;
    authorisation::check(&call.identity, attributes, &decision)?;
    let again = || Ok(object.clone());
    match create_object(call, options, again()?, again).await {
        Ok(created) => Ok(Some(created)),
        Err(error) if error.status().is_already_exists() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes `object`, which has been decoded and nothing else. Where it has to be tried again, which is seldom, `again`
/// gives the same once more: a copy of all would cost more than what is done with it.
pub(crate) async fn create_object(
    call: &Call,
    options: &WriteOptions,
    object: Object,
    again: impl Fn() -> Result<Object>,
) -> Result<Created> {
    check_allowed(call)?;
    let has_name = !object.name().is_empty() || object.generate_name().is_empty();
    let mut object = Some(object);
    for _ in 0..NAME_TRIES {
        match try_create(call, options, &mut object, &again).await {
            Err(error) if !has_name && error.status().is_already_exists() => {}
            outcome => return outcome,
        }
    }
    let resource = call.group_resource();
    Err(Status::generate_name_conflict(&resource, again()?.generate_name(), 1).into())
}

/// Tries with one name, which is made up where the object has none.
async fn try_create(
    call: &Call,
    options: &WriteOptions,
    object: &mut Option<Object>,
    again: &impl Fn() -> Result<Object>,
) -> Result<Created> {
    for _ in 0..TRIES {
        let mut object = object.take().map_or_else(again, Ok)?;
        check_identity(call, &object)?;
        begin_metadata(call, &mut object);
        phases::default(call, &mut object)?;
        if let Ok(created) = admit_and_store(call, options, object).await? {
            return Ok(created);
        }
    }
    Err(taken(call))
}

fn taken(call: &Call) -> Error {
    let message = format!("others were faster to change what the {} needs; try again", call.resource.kind);
    Status::too_many_requests(message, 1).into()
}

/// The object as every one of its resource begins.
fn begun(resource: &Resource, mut object: Object) -> Object {
    if resource.has_subresource("status") && !resource.strategy.keeps_status_on_create() {
        object.fields_mut().shift_remove("status");
    }
    if resource.strategy.counts_generations() {
        object.set_generation(1);
    }
    object
}

async fn admit_and_store(
    call: &Call,
    options: &WriteOptions,
    mut object: Object,
) -> Result<Result<Created, Raced>> {
    let write = phases::write(call, Operation::Create, Form::Own, None, Options::Write(options));
    let namespace = write.context.admit_into_namespace(&object)?;
    wait_until_admissible(call, &object).await;
    object = begun(&call.resource, object);
    if object.managed_fields().is_empty() {
        let manager = Manager {
            name: &options.field_manager,
            subresource: "",
            ignored: super::modify::ignored_fields(call, Part::Whole),
            now: call.now,
        };
        object = managed::note(call, None, object, manager).await?;
    }
    // Others may have any part in what an object is to be, but not in what it is.
    let identity = identity(&object);
    let restore = |mut object| {
        keep_identity(&mut object, &identity);
        begun(&call.resource, object)
    };
    phases::mutate(call, &write, Part::Whole, &mut object, restore).await?;
    phases::validate(call, &write, Part::Whole, &object)?;
    phases::validate_by_others(call, &write, Some(&object)).await?;
    let key = crate::state::object_name(call.namespace(), object.name());
    if call.partition().get(&key).is_some() {
        return Err(Status::already_exists(&call.group_resource(), object.name()).into());
    }
    let accompanied = phases::accompany(call, &write, &mut object).await?;
    let warnings = phases::warnings(call, &write, Part::Whole, &object);
    if options.dry_run {
        return Ok(Ok(Created { outcome: Outcome::DryRun(object), warnings }));
    }
    let along = &accompanied.along;
    let stored = storage::create(&call.state, &call.resource, &object, namespace, along).await?;
    Ok(match stored {
        Ok(stored) => Ok(Created { outcome: Outcome::Stored(call.served(stored).await?), warnings }),
        Err(raced) => Err(raced),
    })
}

/// Name and namespace must agree with the path, and nothing may be claimed that the server decides.
fn check_identity(call: &Call, object: &Object) -> Result<()> {
    check_namespace(call, object)?;
    if !call.target.name.is_empty() && object.name() != call.target.name && !object.name().is_empty() {
        return Err(Error::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object.name(),
            call.target.name
        )));
    }
    if !object.resource_version().is_empty() {
        return Err(Error::bad_request("resourceVersion should not be set on objects to be created"));
    }
    Ok(())
}

/// The object's namespace, where it names one, must be that of the path.
pub(super) fn check_namespace(call: &Call, object: &Object) -> Result<()> {
    let named = object.namespace().unwrap_or_default();
    if call.resource.namespaced && call.target.namespace.is_empty() {
        return Err(Error::bad_request("an empty namespace may not be set during creation"));
    }
    if call.resource.namespaced && !named.is_empty() && named != call.target.namespace {
        return Err(Error::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

fn begin_metadata(call: &Call, object: &mut Object) {
    if object.name().is_empty() && !object.generate_name().is_empty() {
        let name = model::names::generate(object.generate_name(), call.state.random.next_u64());
        object.set_name(&name);
    }
    object.set_namespace(Some(call.namespace()).filter(|n| !n.is_empty()));
    object.set_uid(&call.state.new_uid());
    object.set_creation_timestamp(call.now);
    let metadata = object.metadata_mut();
    for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        metadata.shift_remove(field);
    }
}

/// Gives others a moment to make what the object needs, such as a new namespace's default account.
async fn wait_until_admissible(call: &Call, object: &Object) {
    let context = call.context();
    let Some(awaited) = call.resource.strategy.awaits(&context, object) else { return };
    let mut changes = call.state.cache.partition(&partition(&awaited.group, &awaited.resource)).subscribe();
    let waiting = async {
        while call.resource.strategy.awaits(&context, object).is_some() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    // Without it, admission says what is missing.
    let _ = tokio::time::timeout(ADMISSION_WAIT, waiting).await;
}

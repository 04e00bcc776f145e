//! Policies: what writes are changed to, and whether something may be written, in expressions.
//!
//! Policies and their bindings are read once for each change of them ([`kept`]); their expressions are compiled when
//! one is first asked of a write ([`compiled`]). Which policies are asked is decided by their rules before anything is
//! waited for. What expressions ask of the authorizer is answered between two evaluations ([`scope`]), since that may
//! have to ask somebody itself.

mod checks;
mod compiled;
mod expressions;
mod kept;
mod mutating;
mod patch;
mod request;
mod scope;
mod validating;

use std::borrow::Cow;
use std::sync::Arc;

use apiserver::{ConditionsChecked, Form, Resource, Result, Write};
use model::select::LabelSelector;
use model::validate::text;
use model::{GroupResource, Object, Status};
use serde_json::Value;

pub(crate) use checks::{
    check_conditions, check_mutating, check_mutating_binding, check_validating, check_validating_binding,
};
use compiled::{Binding, Compiled, ParameterKind, Policy};
use kept::Kept;
pub(crate) use mutating::MutatingAdmissionPolicy;
use request::Authorizer;
use scope::{Data, Evaluation};
pub(crate) use validating::ValidatingAdmissionPolicy;

use super::webhooks::namespace_of;

/// What no policy is asked of: whoever keeps others from writing could not be got rid of otherwise. Nor of reviews, of
/// which nothing is stored.
fn is_exempt(write: &Write<'_>) -> bool {
    let resource = write.context.resource();
    let plural = resource.plural.as_str();
    match resource.group.as_str() {
        "admissionregistration.k8s.io" => matches!(
            plural,
            "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
        ),
        "authentication.k8s.io" => matches!(plural, "selfsubjectreviews" | "tokenreviews"),
        "authorization.k8s.io" => matches!(
            plural,
            "localsubjectaccessreviews"
                | "selfsubjectaccessreviews"
                | "selfsubjectrulesreviews"
                | "subjectaccessreviews"
        ),
        _ => false,
    }
}

/// So many causes of a refusal are told.
const MOST_CAUSES: usize = 256;

/// The object of a write as it is to be, and as it was.
type Forms<'o> = (Option<Cow<'o, Object>>, Option<Cow<'o, Object>>);

/// Who is asked of a write.
struct Asked {
    /// The policies whose rules name it, and as what it is looked at.
    policies: Vec<(Arc<Policy>, Option<Arc<Resource>>)>,
    /// What binds policies, these and others.
    bindings: Arc<Vec<Arc<Binding>>>,
    /// As what else it could be looked at.
    equivalents: Vec<Arc<Resource>>,
}

impl Asked {
    /// What binds a policy.
    fn bindings_of(&self, policy: &Policy) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().map(|binding| &**binding).filter(|binding| binding.policy == policy.name)
    }
}

/// The policies of one kind, and what binds them.
struct Policies {
    policies: Kept<Policy>,
    bindings: Kept<Binding>,
}

impl Policies {
    /// Those of these resources.
    fn new(policies: &'static str, bindings: &'static str) -> Self {
        Self { policies: Kept::new(policies, Policy::read), bindings: Kept::new(bindings, Binding::read) }
    }

    /// Those that are asked of a write, by their rules, and what binds them; none where none is asked.
    fn asked(&self, write: &Write<'_>, object: Option<&Object>) -> Option<Asked> {
        if write.form == Form::Effect || is_exempt(write) {
            return None;
        }
        let policies = self.policies.all(&write.context);
        if policies.is_empty() {
            return None;
        }
        let equivalents = write.context.equivalents(write.subresource);
        let policies: Vec<_> = policies
            .iter()
            .filter_map(|policy| {
                Some((policy.clone(), policy.matcher.by_rules(write, object, &equivalents)?))
            })
            .collect();
        if policies.is_empty() {
            return None;
        }
        Some(Asked { policies, bindings: self.bindings.all(&write.context), equivalents })
    }
}

/// The objects of parameters with which a binding of a policy has it asked, each once; none where it has it not asked.
async fn bound(
    write: &Write<'_>,
    object: Option<&Object>,
    seen: &Forms<'_>,
    equivalents: &[Arc<Resource>],
    (policy, binding): (&Policy, &Binding),
) -> std::result::Result<Vec<Option<Object>>, String> {
    if binding.matcher.by_rules(write, object, equivalents).is_none() {
        return Ok(Vec::new());
    }
    match binding.matcher.by_selectors(write, seen.0.as_deref(), seen.1.as_deref()) {
        Ok(true) => parameters(write, object, policy, binding).await,
        Ok(false) => Ok(Vec::new()),
        Err(status) => Err(status.message),
    }
}

/// The objects that a policy takes its parameters from; one that is none where it takes none.
async fn parameters(
    write: &Write<'_>,
    object: Option<&Object>,
    policy: &Policy,
    binding: &Binding,
) -> std::result::Result<Vec<Option<Object>>, String> {
    let (Some(of), Some(reference)) = (&policy.parameters, &binding.parameters) else {
        return Ok(vec![None]);
    };
    let ParameterKind { group, version, kind } = of;
    let Some(resource) = write.context.resource_of_kind(group, version, kind) else {
        return Err(format!(
            "failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'"
        ));
    };
    let namespace = match (resource.namespaced, text(reference, "namespace")) {
        (true, "") => match namespace_of(write, object) {
            "" => {
                let why =
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
                return Err(why.to_owned());
            }
            namespace => namespace,
        },
        (true, namespace) => namespace,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
    };
    let told = |error: apiserver::Error| error.to_string();
    let selector = reference.get("selector").filter(|selector| !selector.is_null());
    let found: Vec<Object> = match (text(reference, "name"), selector) {
        ("", None) => return Err("one of name or selector must be provided".to_owned()),
        ("", Some(selector)) => {
            let selector = LabelSelector::from_json(Some(selector)).map_err(|error| error.to_string())?;
            write.context.read_selected(&resource, namespace, &selector).await.map_err(told)?
        }
        (name, _) => {
            let found = write.context.read(&resource, namespace, name).await.map_err(told)?;
            found.into_iter().collect()
        }
    };
    if found.is_empty() && text(reference, "parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found.into_iter().map(Some).collect())
}

/// An object of a write as one of another version, if it is looked at as one.
async fn looked_at<'o>(
    write: &Write<'_>,
    object: &'o Object,
    to: Option<&Resource>,
) -> Result<Cow<'o, Object>> {
    match to {
        None => Ok(Cow::Borrowed(object)),
        Some(to) => write.convert(object.clone(), to).await.map(Cow::Owned),
    }
}

/// The namespace that a write is in, if it is in one.
fn namespace_object(write: &Write<'_>, object: Option<&Object>) -> Option<Object> {
    let resource = write.context.resource();
    let namespace = namespace_of(write, object);
    let is_namespace = resource.plural == "namespaces" && resource.group.is_empty();
    if namespace.is_empty() || is_namespace {
        return None;
    }
    write.context.find(&GroupResource::new("", "namespaces"), "", namespace)
}

/// A write as expressions see it, looked at as one of another version if it is.
struct About<'o> {
    request: Value,
    namespace: Option<Object>,
    forms: Forms<'o>,
}

impl<'o> About<'o> {
    /// A write of these forms, which may be in another version.
    fn new(write: &Write<'_>, of: Option<&Resource>, forms: Forms<'o>) -> Self {
        let (object, old) = (forms.0.as_deref(), forms.1.as_deref());
        let request = request::document(write, of, object, old);
        let namespace = namespace_object(write, object.or(old));
        Self { request, namespace, forms }
    }

    /// A write of these forms, as one of another version.
    async fn converted(
        write: &Write<'_>,
        of: Option<&Resource>,
        (object, old): (Option<&'o Object>, Option<&'o Object>),
    ) -> Result<Self> {
        let mut forms = [None, None];
        for (form, object) in forms.iter_mut().zip([object, old]) {
            if let Some(object) = object {
                *form = Some(looked_at(write, object, of).await?);
            }
        }
        let [object, old] = forms;
        Ok(Self::new(write, of, (object, old)))
    }

    fn data<'a>(&'a self, parameter: Option<&'a Object>) -> Data<'a> {
        Data {
            object: self.forms.0.as_deref().map(Object::value),
            old: self.forms.1.as_deref().map(Object::value),
            request: &self.request,
            namespace: self.namespace.as_ref().map(Object::value),
            parameter: parameter.map(Object::value),
        }
    }
}

/// Whose conditions are asked, as they are counted: a webhook's or a policy's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'a> {
    pub(super) name: &'a str,
    /// `webhook` or `policy`.
    pub(super) kind: &'static str,
    /// `admit` or `validate`.
    pub(super) sort: &'static str,
}

/// Conditions under which somebody is asked of a write.
#[derive(Debug)]
pub(super) struct Conditions(Compiled);

impl Conditions {
    /// Reads them.
    pub(super) fn read(conditions: &[Value]) -> Self {
        Self(Compiled::read(conditions))
    }

    /// Whether all of them hold, or why that cannot be told.
    pub(super) async fn hold(
        &self,
        holder: Holder<'_>,
        write: &Write<'_>,
        of: Option<&Resource>,
        object: Option<&Object>,
        old: Option<&Object>,
    ) -> std::result::Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let expressions = self.0.expressions(&write.context).await;
        let about = About::converted(write, of, (object, old)).await.map_err(|error| error.to_string())?;
        let authorizer = Authorizer(write);
        let data = about.data(None);
        let mut evaluation = Evaluation::new(&data, &[], &authorizer);
        hold(holder, write, &mut evaluation, expressions).await
    }
}

/// Whether conditions hold, or why that cannot be told; counts that.
async fn hold<'a>(
    holder: Holder<'_>,
    write: &Write<'_>,
    evaluation: &mut Evaluation<'a>,
    conditions: &'a [expressions::Expression],
) -> std::result::Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let began = evaluation.elapsed();
    let held = evaluation.all_hold(conditions).await;
    let Holder { name, kind, sort } = holder;
    let took = evaluation.elapsed().saturating_sub(began);
    write.context.count_conditions(&ConditionsChecked {
        name,
        kind,
        sort,
        operation: write.operation,
        took,
        failed: held.failed,
        excluded: held.answer == Ok(false),
    });
    held.answer
}

/// The word for what went wrong with an expression, by what is said of it; nothing did where nothing is said.
fn error_word(message: Option<&str>) -> &'static str {
    match message {
        None => "no_error",
        Some(why) if why.starts_with("compilation") => "compile_error",
        Some(why) if why.starts_with("validation failed due to running out of cost budget") => {
            "out_of_budget"
        }
        Some(_) => "invalid_error",
    }
}

fn add_cause(status: &mut Status, message: String) {
    let cause = model::status::Cause { reason: String::new(), message, field: String::new() };
    status.details.get_or_insert_default().causes.push(cause);
}

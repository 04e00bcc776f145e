//! Groups of pods stay as long as pods of theirs have not ended, and come from Workloads that are there.

use apiserver::{Admission, Admitting, Context, Result, Write, at_once};
use model::{GroupResource, Object};

use super::storage_protection::protect;

const GROUP: &str = "scheduling.k8s.io";

/// Gives PodGroups the finalizer that holds them; a controller lets go of them.
pub(super) struct PodGroupProtection;

impl Admission for PodGroupProtection {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        if write.makes(GROUP, "podgroups") {
            protect(object, "scheduling.k8s.io/podgroup-protection");
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// Lets no PodGroup be made of a template that is not there.
pub(super) struct PodGroupWorkloadExists;

impl Admission for PodGroupWorkloadExists {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        at_once(match object.filter(|_| write.makes(GROUP, "podgroups")) {
            Some(group) => check(&write.context, group),
            None => Ok(()),
        })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn check(context: &Context<'_>, group: &Object) -> Result<()> {
    let reference = ["spec", "podGroupTemplateRef", "workload"];
    let Some(reference) = group.get(&reference).filter(|reference| !reference.is_null()) else {
        return Ok(());
    };
    let named = |field: &str| model::validate::text(reference, field);
    let (workload, template) = (named("workloadName"), named("podGroupTemplateName"));
    let refuse = |why: String| Err(context.forbidden(group, format!("PodGroup rejected: {why}")));
    let quoted = model::field::quote(workload);
    let workloads = GroupResource::new(GROUP, "workloads");
    let Some(workload) = context.find(&workloads, context.namespace(), workload) else {
        return refuse(format!("Workload {quoted} not found"));
    };
    if workload.deletion_timestamp().is_some() {
        return refuse(format!("Workload {quoted} is being deleted"));
    }
    let templates = workload.get_list(&["spec", "podGroupTemplates"]);
    if templates.iter().any(|known| model::validate::text(known, "name") == template) {
        return Ok(());
    }
    let template = model::field::quote(template);
    refuse(format!("PodGroupTemplate {template} not found in Workload {quoted}"))
}

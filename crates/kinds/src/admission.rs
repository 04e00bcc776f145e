//! What is asked of each write besides its own kind: one file a question.
//!
//! Each is an [`Admission`], named as Kubernetes' admission plugins are, and all are asked in their order.

mod default_tolerations;
pub(crate) mod node_restriction;
mod priority;
pub(crate) mod service_account;

use std::sync::Arc;

use apiserver::Admission;

/// All that is asked of each write, in the order in which it is asked.
pub fn admission() -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(priority::Priority),
        Arc::new(default_tolerations::DefaultTolerationSeconds),
    ]
}

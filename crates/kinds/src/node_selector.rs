//! Selectors of nodes, where no pod is that they belong to.

pub(crate) use crate::pod_spec::affinity::node_selector as rules;

//! Typed and dynamic Kubernetes client, informers, work queue, controller runtime.
#![forbid(unsafe_code)]

//! Containers, sandboxes, volumes, networks, exec, logs, events: one API under Docker and Kubernetes alike.
#![forbid(unsafe_code)]

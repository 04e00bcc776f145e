//! Kubernetes REST machinery: resource table, admission, authentication, watch cache, discovery, OpenAPI.
#![forbid(unsafe_code)]

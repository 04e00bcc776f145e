//! Kubernetes objects: untyped object, typed views, schema; default, prune, validate, merge, convert, select.
#![forbid(unsafe_code)]

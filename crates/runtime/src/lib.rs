//! OCI runtime and shim: synchronous, single-threaded, no tokio.

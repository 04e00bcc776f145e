//! Dockerfiles: text to instructions, what is to be said of them, and build definitions.
#![forbid(unsafe_code)]

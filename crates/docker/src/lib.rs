//! Docker Engine HTTP API over the engine.
#![forbid(unsafe_code)]

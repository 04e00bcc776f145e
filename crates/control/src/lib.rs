//! Scheduler and controllers.
#![forbid(unsafe_code)]

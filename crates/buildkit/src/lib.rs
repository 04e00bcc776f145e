//! BuildKit's services over a connection, and its clients' services over their sessions.
#![forbid(unsafe_code)]

mod wire;

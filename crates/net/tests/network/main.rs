//! The network on hosts that the tests make for themselves: real links, rules and traffic.

mod bridge;
mod host;
mod many;
mod names;
mod namespaces;
mod neighbours;
mod ports;
mod records;
mod services;

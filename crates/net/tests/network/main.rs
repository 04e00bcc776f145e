//! The network on hosts that the tests make for themselves: real links, rules and traffic.

mod bridge;
mod host;
mod names;
mod ports;
mod services;

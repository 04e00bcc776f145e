//! The Common Expression Language as Kubernetes 1.36 has it.
//!
//! Rules of definitions, admission policies and conditions of webhooks are expressions of this language. An
//! [`Environment`] says which variables there are and what is [`declared`] about them; it [compiles](Environment::compile)
//! a source to a [`Checked`] expression, which knows its type and [estimates](Checked::estimate) its cost; a
//! [`Program`] is evaluated on values within a [`Budget`].
//!
//! Nothing here trusts a source or data: sources, trees, types and patterns are bounded when they are read, and an
//! evaluation cannot take more time or memory than its budget has, whatever the expression says.
#![forbid(unsafe_code)]

mod ast;
mod budget;
mod checker;
mod cost;
pub mod declared;
mod environment;
mod escape;
mod lexer;
mod library;
mod parser;
mod program;
pub mod schema;
mod source;
#[cfg(test)]
mod tests;
mod time;
mod types;
mod validators;
mod value;

pub use budget::{Budget, MOST_WORK, PER_CALL_LIMIT};
pub use cost::CostEstimate;
pub use declared::Declared;
pub use environment::{Checked, Environment};
pub use escape::escape;
pub use library::{Authorizer, AuthorizerValue, Decision, Question};
pub use model::structural::PatternRoom;
pub use program::{Program, ProgramError, Variables};
pub use source::{Issue, Issues};
pub use types::Type;
pub use value::{EvalError, List, Map, Object, Text, Value};

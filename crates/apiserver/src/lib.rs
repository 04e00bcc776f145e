//! Kubernetes REST machinery: resource table, admission, authentication, watch cache, discovery, OpenAPI.
//!
//! [`Server`] serves a Kubernetes API over TLS from what is in a [`store::Store`]; [`Handle`] is the
//! same service for callers inside the process, without TLS. Every resource, built in or custom, is
//! an entry of one table ([`resource`]); this crate knows no kind by name, the built-in ones are made by
//! the crate `kinds` out of what is public here. Every request takes one path: read what is asked
//! (`request`), establish who asks (`authentication`) and whether they may (`authorisation`), decode,
//! default, admit, validate, store, answer. Reads and watches come from memory (`cache`), where each
//! object is encoded once and its bytes are shared by all who read it.
#![forbid(unsafe_code)]

mod account;
mod admission;
pub mod aggregation;
mod allocation;
pub mod audit;
mod authentication;
mod authorisation;
pub mod body;
mod bootstrap;
mod cache;
mod call;
pub mod callout;
mod compress;
mod config;
mod connections;
mod consistency;
mod deadline;
mod decode;
pub mod definitions;
pub mod encryption;
mod error;
mod expression;
pub mod fairness;
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod identity;
mod impersonation;
mod jws;
mod listener;
mod meters;
mod names;
mod negotiate;
pub mod node;
mod objects;
pub mod openapi;
pub mod outside;
mod paced;
mod passing;
mod paths;
mod payload;
pub mod pki;
mod protobuf;
mod proxy;
mod reach;
mod render;
pub mod request;
pub mod resource;
mod scale;
mod selection;
mod server;
mod service;
mod session;
mod share;
mod state;
mod storage;
mod stream;
mod style;
pub mod table;
mod turns;
mod verbs;
mod version;
mod webhook;
mod workers;

pub use admission::{Admission, Along, Form, MOST_ALONG, Operation, Write};
pub use allocation::{Claim, Refusal};
pub use authentication::fixed::{FixedTokens, FixedTokensError};
pub use authentication::front_proxy::FrontProxy;
pub use authentication::structured::{OidcOptions, Structured, StructuredError};
pub use authentication::token::{Bound, Lifetime};
pub use authentication::webhook::TokenWebhook;
pub use authorisation::{
    AccessWebhook, AccessWebhookOptions, Administrators, Attributes, Authorization, AuthorizationMode,
    Authorizer, Deciding, Decision, KnownRules, ModesError, PolicyRule, ResourceAttributes, decided,
};
pub use body::Body;
pub use call::Call;
pub use config::{Config, ParseServiceCidrError, ServiceAccountTokens, ServiceCidr};
pub use encryption::{Encryption, EncryptionError};
pub use error::{Error, Result};
pub use handle::Handle;
pub use identity::{ADMINISTRATORS, AUTHENTICATED, Identity};
pub use meters::policies::{ConditionsChecked, PolicyChecked};
pub use names::is_near;
pub use node::NodeTransport;
pub use objects::{Changed, Collection, News, Objects};
pub use proxy::Upstream;
pub use reach::{Bounds, Reach};
pub use resource::{
    Admitting, Context, Graceful, Resource, Strategy, Subresource, Table, after_asking, at_once,
};
pub use server::{Server, StartError};
pub use session::{CommandSession, PortSession};
pub use verbs::Modified;

//! Typed and dynamic Kubernetes client, informers, work queue, controller runtime.
//!
//! A [`Client`] speaks to one API server over a [`Transport`]; [`Api`] has the verbs of one kind of
//! object, typed (k8s-openapi) or not ([`model::Object`]). An [`Informer`] keeps a copy of a kind's
//! objects in memory by list and watch, and a [`Controller`] turns changes into keys and keys into
//! calls of a reconciler.
//!
//! What always holds: a reconciler gets a key, never an event; the same key is never reconciled
//! twice at once; every task that is spawned here is waited for by whoever runs it.
#![forbid(unsafe_code)]

pub mod api;
mod client;
pub mod controller;
mod error;
mod freshness;
pub mod informer;
pub mod leader;
mod queue;
pub mod recorder;
pub mod remote;
mod resource;
mod supervise;
pub mod transport;

pub use api::{
    Api, DeleteOptions, List, ListOptions, Patch, PatchOptions, WatchEvent, WatchOptions, WriteOptions,
};
pub use client::Client;
pub use controller::{Action, Controller, Reconcile};
pub use error::{Error, OptionalExt};
pub use freshness::Freshness;
pub use informer::{Change, Informer, Informers, Outline, Outlined, Outlines, Store};
pub use queue::{WorkQueue, write_metrics};
pub use recorder::{EventType, EventWriter, Recorder};
pub use resource::{Labels, ObjectKey, Partial, PartialMetadata, Resource, ResourceKind, Typed};
pub use supervise::supervise;
pub use transport::Transport;

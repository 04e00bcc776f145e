//! Objects that must always be there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use model::Object;
use serde_json::Value;

use crate::authentication::front_proxy::FrontProxy;
use crate::config::ServiceCidr;

/// What such objects are made from.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The address by which pods reach the server.
    pub address: IpAddr,
    /// The server's port.
    pub port: u16,
    /// The server's address among those of services.
    pub service_address: Ipv4Addr,
    /// The network of services' addresses.
    pub service_network: ServiceCidr,
    /// The certificate of the installation's authority, in PEM.
    pub certificate: String,
    /// By what servers behind this one know those who say in headers who their callers are: this server, and what
    /// stands in front of it.
    pub front_proxy: Arc<FrontProxy>,
    /// The day, as `2026-01-31`.
    pub today: String,
}

/// An object that must always be there, with its name, and its namespace unless it is cluster-wide.
#[derive(Clone, Debug)]
pub enum Permanent {
    /// Made where it is missing.
    Made(Value),
    /// Made where it is missing, brought back to this form at every start where it is not.
    Kept(Value),
    /// Looked at when the server starts and never else: made where it is missing, otherwise changed as the
    /// function says, which gets what there is and what there is to be.
    AtStart(Value, fn(&Object, &Object) -> Option<Object>),
    /// The same, looked at again and again.
    Reconciled(Value, fn(&Object, &Object) -> Option<Object>),
}

/// Makes them, for an installation.
pub type MakePermanent = Arc<dyn Fn(&Installation) -> Vec<Permanent> + Send + Sync>;

//! The text of a kubeconfig file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Authority, Issued};

/// A kubeconfig by which `client` reaches the server at `url` (`https://127.0.0.1:6443`).
///
/// Certificates and key are embedded: the file works wherever it is copied to.
pub fn kubeconfig(authority: &Authority, client: &Issued, url: &str) -> String {
    let ca = STANDARD.encode(authority.certificate_pem());
    let certificate = STANDARD.encode(&client.certificate);
    let key = STANDARD.encode(&client.key);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: gantry\n  \
           cluster:\n    \
             server: {url}\n    \
             certificate-authority-data: {ca}\n\
         users:\n\
         - name: gantry\n  \
           user:\n    \
             client-certificate-data: {certificate}\n    \
             client-key-data: {key}\n\
         contexts:\n\
         - name: gantry\n  \
           context:\n    \
             cluster: gantry\n    \
             user: gantry\n\
         current-context: gantry\n"
    )
}

//! Who a client certificate stands for: its common name is the user, its organisations the groups.

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::Identity;

/// The identity in a certificate that TLS has verified; none where it names nobody.
pub(crate) fn identity(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    // Where there are several, the last: others, whoever looks at a request for it among them, take that too.
    let user = subject.iter_common_name().last()?.as_str().ok()?;
    if user.is_empty() {
        return None;
    }
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok());
    Some(Identity::new(user, groups))
}

//! `POST /auth`: what `docker login` asks.

use engine::image::RegistryAuth;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::images::credentials;
use crate::wire::registry::{AuthAnswer, AuthConfig};

/// Checks credentials at a registry.
pub(crate) async fn auth(mut call: Call) -> Answer {
    let document: AuthConfig = call.json().await?;
    let registry = match document.serveraddress.as_str() {
        "" => "docker.io".to_owned(),
        address => host(address).to_owned(),
    };
    let auth: RegistryAuth = credentials::auth(&document)?;
    let token = call.engine().registry_login(&registry, auth).await?;
    answer::json(&AuthAnswer {
        status: "Login Succeeded".to_owned(),
        identity_token: token.unwrap_or_default(),
    })
}

/// The host and port of an address that may be a whole URL.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn an_address_may_be_a_url() {
        assert_eq!(host("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(host("localhost:5000"), "localhost:5000");
        assert_eq!(host("http://reg.example:80/v2/"), "reg.example:80");
    }
}

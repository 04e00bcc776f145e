//! How webhooks are reached, of admission and of conversion: what is filled in, what must hold, and how it is read.

use std::net::{IpAddr, SocketAddr};

use apiserver::callout::{Callee, Found, Service};
use apiserver::{Reach, Upstream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::default::{Fields, existing, missing};
use model::field::{FieldError, Path, quote};
use model::validate::{Errors, list, number, text};
use model::{GroupResource, names};
use serde_json::Value;

use crate::proxied::address;

/// The port of a service where none is named.
const PORT: i64 = 443;
const FORM: &str = "; desired format: https://host[/path]";

/// What is filled in.
pub(crate) fn defaults(client: &mut Fields) {
    if let Some(service) = existing(client, "service") {
        missing(service, "port", PORT);
    }
}

/// What must hold. `path` is that of the configuration.
pub(crate) fn rules(client: &Value, path: &Path<'_>, errors: &mut Errors) {
    let url = client.get("url").filter(|url| !url.is_null());
    let service = client.get("service").filter(|service| !service.is_null());
    match (url, service) {
        (Some(url), None) => of_url(url.as_str().unwrap_or_default(), &path.child("url"), errors),
        (None, Some(service)) => of_service(service, &path.child("service"), errors),
        _ => errors.push(FieldError::required(path, "exactly one of url or service is required")),
    }
}

/// The authorities have to be some, where there is anything: a webhook that nobody vouches for converts nothing.
pub(crate) fn authority(client: &Value, path: &Path<'_>, errors: &mut Errors) {
    let encoded = text(client, "caBundle");
    let decoded = || STANDARD.decode(encoded).unwrap_or_default();
    if !encoded.is_empty() && !apiserver::callout::is_authority(&decoded()) {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.push(FieldError::invalid(&path.child("caBundle"), encoded, why));
    }
}

/// The parts of an address, as Go reads it.
struct Parts<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("parse {}: {why}", quote(url)));
        if url.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return refuse("net/url: invalid control character in URL");
        }
        let (url_without, fragment) = url.split_once('#').unwrap_or((url, ""));
        let (scheme, rest) = match url_without.split_once(':') {
            Some(("", _)) => return refuse("missing protocol scheme"),
            Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
            Some((scheme, _)) if !scheme.contains(['/', '?']) => {
                return refuse("first path segment in URL cannot contain colon");
            }
            _ => ("", url_without),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default());
        let (user, host) = match authority.unwrap_or_default().rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority.unwrap_or_default()),
        };
        if host.contains([' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}']) {
            return refuse("invalid character in host name");
        }
        let port = match host.rsplit_once(']') {
            Some((_, port)) => port,
            None => host.find(':').map_or("", |at| &host[at..]),
        };
        let digits = port.strip_prefix(':').unwrap_or(port);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return refuse(&format!("invalid port {} after host", quote(port)));
        }
        Ok(Self { scheme, user, host, query, fragment })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '+' | '-' | '.'))
}

fn of_url(url: &str, path: &Path<'_>, errors: &mut Errors) {
    let parts = match Parts::of(url) {
        Ok(parts) => parts,
        Err(why) => {
            errors.push(FieldError::required(path, format!("url must be a valid URL: {why}{FORM}")));
            return;
        }
    };
    let mut refuse = |value: &str, why: String| errors.push(FieldError::invalid(path, value.to_owned(), why));
    if !parts.scheme.eq_ignore_ascii_case("https") {
        refuse(parts.scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if parts.host.is_empty() {
        refuse("", format!("host must be specified{FORM}"));
    }
    if let Some(user) = parts.user {
        refuse(user, "user information is not permitted in the URL".to_owned());
    }
    if !parts.fragment.is_empty() {
        refuse(parts.fragment, "fragments are not permitted in the URL".to_owned());
    }
    if !parts.query.is_empty() {
        refuse(parts.query, "query parameters are not permitted in the URL".to_owned());
    }
}

fn of_service(service: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(service, "name").is_empty() {
        errors.push(FieldError::required(&path.child("name"), "service name is required"));
    }
    if text(service, "namespace").is_empty() {
        errors.push(FieldError::required(&path.child("namespace"), "service namespace is required"));
    }
    let port = number(service, "port").unwrap_or_default();
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(","));
        errors.push(FieldError::invalid(&path.child("port"), port, why));
    }
    of_path(text(service, "path"), &path.child("path"), errors);
}

fn of_path(named: &str, path: &Path<'_>, errors: &mut Errors) {
    if matches!(named, "" | "/") {
        return;
    }
    let mut refuse = |why: String| errors.push(FieldError::invalid(path, named.to_owned(), why));
    if named == "//" {
        refuse("segment[0] may not be empty".to_owned());
        return;
    }
    if !named.starts_with('/') {
        refuse("must start with a '/'".to_owned());
    }
    let rest = named.get(1..).unwrap_or_default();
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            refuse(format!("segment[{index}] may not be empty"));
            continue;
        }
        for why in names::dns1123_subdomain(step) {
            refuse(format!("segment[{index}]: {why}"));
        }
    }
}

/// Whom a configuration names, or why that cannot be asked.
pub(crate) fn callee(client: &Value) -> Result<Callee, String> {
    let authorities = match text(client, "caBundle") {
        "" => None,
        encoded => Some(STANDARD.decode(encoded).map_err(|error| format!("caBundle: {error}"))?.into()),
    };
    if let Some(service) = client.get("service").filter(|service| !service.is_null()) {
        let port = number(service, "port").unwrap_or(PORT);
        let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
        let named = Service {
            namespace: text(service, "namespace").to_owned(),
            name: text(service, "name").to_owned(),
            find,
        };
        return Ok(Callee::behind(named, port, text(service, "path"), authorities));
    }
    let url = text(client, "url");
    Callee::at(url, authorities).ok_or_else(|| format!("{} is no address of https://", quote(url)))
}

/// One of those behind a service that take requests, at one of its ports; where the service only stands for a name, at
/// that.
pub(crate) fn find(reach: &Reach, service: &Service, port: u16) -> Result<Found, String> {
    let Service { namespace, name, .. } = service;
    let found = reach.find(&GroupResource::new("", "services"), namespace, name);
    let found = found.ok_or_else(|| format!("service {} not found", quote(name)))?;
    if let Some(name) = external_name(&found) {
        return Ok(Found::Named(name.to_owned(), port));
    }
    let ports = found.get_list(&["spec", "ports"]);
    let wanted = ports.iter().find(|one| number(one, "port") == Some(i64::from(port)));
    let wanted = wanted.ok_or_else(|| format!("no service port {port} found for service {}", quote(name)))?;
    let slices = reach.list(&GroupResource::new("discovery.k8s.io", "endpointslices"), namespace);
    let of_service = |slice: &&model::Object| slice.label("kubernetes.io/service-name") == Some(name);
    let mut all: Vec<Upstream> =
        slices.iter().filter(of_service).flat_map(|slice| endpoints(slice, text(wanted, "name"))).collect();
    if all.is_empty() {
        return Err(format!("no endpoints available for service {}", quote(name)));
    }
    let chosen = usize::try_from(reach.random() % all.len() as u64).unwrap_or_default();
    Ok(Found::At(all.swap_remove(chosen)))
}

/// The name that a service stands for, whatever its ports.
fn external_name(service: &model::Object) -> Option<&str> {
    let stands_for = service.get_str(&["spec", "type"]) == Some("ExternalName");
    service.get_str(&["spec", "externalName"]).filter(|name| stands_for && !name.is_empty())
}

/// Those of a slice that take requests. What a certificate vouches for is asked and nobody else, wherever it is: but
/// nobody is led to what is near the server itself.
fn endpoints(slice: &model::Object, port: &str) -> Vec<Upstream> {
    let ports = slice.get_list(&["ports"]).iter().filter(|one| text(one, "name") == port);
    let number = ports.filter_map(|one| u16::try_from(number(one, "port")?).ok()).next();
    let Some(number) = number else { return Vec::new() };
    let ready =
        |endpoint: &&Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
    let reached = slice.get_list(&["endpoints"]).iter().filter(ready).filter_map(|endpoint| {
        let ip: IpAddr = address(list(endpoint, "addresses").first()?.as_str()?).ok()?;
        let node = text(endpoint, "nodeName").to_owned();
        Some(Upstream { node, address: SocketAddr::new(ip, number), tls: true })
    });
    reached.collect()
}

#[cfg(test)]
mod tests {
    use model::field::aggregate;
    use serde_json::json;

    use super::*;

    fn check(client: Value, expected: &str) {
        let mut errors = Errors::new();
        rules(&client, &Path::root("c"), &mut errors);
        let found = if errors.is_empty() { String::new() } else { aggregate(&errors) };
        assert_eq!(found, expected, "{client}");
        if expected.is_empty() {
            assert!(callee(&client).is_ok(), "{client}");
        }
    }

    #[test]
    fn a_webhook_is_at_an_address_or_behind_a_service() {
        let service = |change: Value| {
            let mut service = json!({"namespace": "n", "name": "s", "port": 443});
            for (name, value) in change.as_object().into_iter().flatten() {
                service[name] = value.clone();
            }
            json!({"service": service})
        };
        check(json!({"url": "https://example.org/a"}), "");
        check(json!({"url": "https://[::1]:8443"}), "");
        check(service(json!({})), "");
        check(service(json!({"path": "/a/b.c/"})), "");
        check(json!({}), "c: Required value: exactly one of url or service is required");
        check(
            json!({"url": "https://a.b", "service": {"name": "s"}}),
            "c: Required value: exactly one of url or service is required",
        );
        check(
            json!({"url": "http://a"}),
            "c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        );
        check(
            json!({"url": "https:///a"}),
            "c.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
        );
        check(
            json!({"url": "https://u:p@a"}),
            "c.url: Invalid value: \"u:p\": user information is not permitted in the URL",
        );
        check(
            json!({"url": "https://a/?b=c#d"}),
            "[c.url: Invalid value: \"d\": fragments are not permitted in the URL, \
             c.url: Invalid value: \"b=c\": query parameters are not permitted in the URL]",
        );
        check(
            json!({"url": "https://a:x"}),
            "c.url: Required value: url must be a valid URL: parse \"https://a:x\": invalid port \":x\" after host; \
             desired format: https://host[/path]",
        );
        check(service(json!({"name": ""})), "c.service.name: Required value: service name is required");
        check(
            service(json!({"namespace": ""})),
            "c.service.namespace: Required value: service namespace is required",
        );
        check(
            service(json!({"port": 0})),
            "c.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
        );
        check(
            service(json!({"path": "/a//B"})),
            "[c.service.path: Invalid value: \"/a//B\": segment[1] may not be empty, c.service.path: Invalid value: \
             \"/a//B\": segment[2]: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
             validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')]",
        );
        check(
            service(json!({"path": "//"})),
            "c.service.path: Invalid value: \"//\": segment[0] may not be empty",
        );
    }

    #[test]
    fn a_service_may_stand_for_a_name() {
        let name_of = |spec: Value| {
            let object =
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
            let object = model::Object::from_value(object).expect("an object");
            external_name(&object).map(str::to_owned)
        };
        let named = json!({"type": "ExternalName", "externalName": "hooks.example.org"});
        assert_eq!(name_of(named).as_deref(), Some("hooks.example.org"));
        assert_eq!(name_of(json!({"type": "ClusterIP", "externalName": "hooks.example.org"})), None);
        assert_eq!(name_of(json!({"type": "ExternalName"})), None);
    }

    #[test]
    fn those_behind_a_service_are_found_by_the_name_of_its_port() {
        let slice = model::Object::from_value(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "x"},
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 8443}],
            "endpoints": [
                {"addresses": ["10.42.0.7"], "nodeName": "one"},
                {"addresses": ["10.42.0.8"], "conditions": {"ready": false}},
                {"addresses": ["127.0.0.1"]},
                {"addresses": []},
            ],
        }))
        .expect("an object");
        let address = "10.42.0.7:8443".parse().expect("an address");
        let one = Upstream { node: "one".into(), address, tls: true };
        assert_eq!(endpoints(&slice, "b"), [one]);
        assert_eq!(endpoints(&slice, "c"), []);
    }
}

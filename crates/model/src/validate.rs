//! Whether an object makes sense: the rules of its kind, in Kubernetes' words.
//!
//! Types are checked before, by [`crate::decode`]; defaults are filled in before, as
//! [`crate::default`] says. The rules of metadata hold for all kinds; those of one are [`Rules`].

pub mod format;
pub mod metadata;

use serde_json::{Map, Value};

use crate::field::{FieldError, Path};
use crate::names;
use crate::object::Object;

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the cluster as a whole.
    Cluster,
    /// In a namespace.
    Namespaced,
}

/// What gathers errors.
pub type Errors = Vec<FieldError>;

/// The rules of one kind, besides those of metadata, which hold for all.
pub trait Rules: Send + Sync + 'static {
    /// What is wrong with a name.
    fn name(&self, name: &str) -> Vec<String> {
        names::dns1123_subdomain(name)
    }

    /// Whether it is one of Kubernetes' own kinds, whose finalizers have a domain unless they are Kubernetes'.
    fn is_own(&self) -> bool {
        true
    }

    /// Rules of an object as it is.
    fn object(&self, _object: &Object, _errors: &mut Errors) {}

    /// Rules of an object that is to be made, besides those of any.
    fn creation(&self, _object: &Object, _errors: &mut Errors) {}

    /// Rules of the change from `old`.
    fn change(&self, _object: &Object, _old: &Object, _errors: &mut Errors) {}

    /// Rules of the change from `old` by the `status` subresource.
    fn status(&self, _object: &Object, _old: &Object, _errors: &mut Errors) {}

    /// Rules of the change from `old` by any subresource that is a part of the object, by its name.
    fn part(&self, _part: &str, object: &Object, old: &Object, errors: &mut Errors) {
        self.status(object, old, errors);
    }
}

/// No rules but those of metadata.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Rules for Plain {}

/// Rules that are functions.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    name: fn(&str) -> Vec<String>,
    object: fn(&Object, &mut Errors),
    creation: fn(&Object, &mut Errors),
    change: fn(&Object, &Object, &mut Errors),
    status: fn(&Object, &Object, &mut Errors),
}

impl Functions {
    /// Rules of names alone.
    pub fn named(name: fn(&str) -> Vec<String>) -> Self {
        Self { name, object: |_, _| {}, creation: |_, _| {}, change: |_, _, _| {}, status: |_, _, _| {} }
    }

    /// Rules of an object as it is.
    pub fn of(object: fn(&Object, &mut Errors)) -> Self {
        Self { object, ..Self::named(names::dns1123_subdomain) }
    }

    /// The same with other rules of names.
    pub fn name(self, name: fn(&str) -> Vec<String>) -> Self {
        Self { name, ..self }
    }

    /// The same with rules of an object that is to be made, besides those of any.
    pub fn creation(self, creation: fn(&Object, &mut Errors)) -> Self {
        Self { creation, ..self }
    }

    /// The same with rules of the change from the second to the first.
    pub fn change(self, change: fn(&Object, &Object, &mut Errors)) -> Self {
        Self { change, ..self }
    }

    /// The same with rules of such a change by the `status` subresource.
    pub fn status(self, status: fn(&Object, &Object, &mut Errors)) -> Self {
        Self { status, ..self }
    }
}

impl Rules for Functions {
    fn name(&self, name: &str) -> Vec<String> {
        (self.name)(name)
    }

    fn object(&self, object: &Object, errors: &mut Errors) {
        (self.object)(object, errors);
    }

    fn creation(&self, object: &Object, errors: &mut Errors) {
        (self.creation)(object, errors);
    }

    fn change(&self, object: &Object, old: &Object, errors: &mut Errors) {
        (self.change)(object, old, errors);
    }

    fn status(&self, object: &Object, old: &Object, errors: &mut Errors) {
        (self.status)(object, old, errors);
    }
}

/// What is wrong with a defaulted object that is to be created.
pub fn create(rules: &dyn Rules, object: &Object, scope: Scope) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::object(object, scope, rules, &mut errors);
    own_finalizers(rules, object, &mut errors);
    rules.object(object, &mut errors);
    rules.creation(object, &mut errors);
    errors
}

/// What is wrong with an object that is to replace `old`; see [`replacement`].
pub fn update(rules: &dyn Rules, object: &Object, old: &Object, scope: Scope) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::change(object, old, &mut errors);
    metadata::common(object, scope, &mut errors);
    own_finalizers(rules, object, &mut errors);
    replacement(rules, object, old, &mut errors);
    rules.change(object, old, &mut errors);
    errors
}

/// What is wrong with an object as it is, by [`Rules::object`], where it is to replace `old`. What was wrong with
/// that already, by rules that came after it, and has not changed holds up nothing else.
pub fn replacement(rules: &(impl Rules + ?Sized), object: &Object, old: &Object, errors: &mut Errors) {
    let mut found = Vec::new();
    rules.object(object, &mut found);
    if !found.is_empty() {
        let mut known = Vec::new();
        rules.object(old, &mut known);
        found.retain(|error| !known.contains(error));
    }
    errors.append(&mut found);
}

/// What is wrong with an object that is to replace `old` through its `status` subresource.
pub fn update_status(rules: &dyn Rules, object: &Object, old: &Object, scope: Scope) -> Vec<FieldError> {
    update_part(rules, "status", object, old, scope)
}

/// What is wrong with an object that is to replace `old` through the subresource `part`.
pub fn update_part(
    rules: &dyn Rules,
    part: &str,
    object: &Object,
    old: &Object,
    scope: Scope,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::change(object, old, &mut errors);
    metadata::common(object, scope, &mut errors);
    own_finalizers(rules, object, &mut errors);
    rules.part(part, object, old, &mut errors);
    errors
}

fn own_finalizers(rules: &dyn Rules, object: &Object, errors: &mut Errors) {
    if rules.is_own() {
        metadata::own_finalizers(object, errors);
    }
}

/// The text in a field, nothing where there is none.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list in a field.
pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of an object in a field.
pub fn entries<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(name).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The whole number in a field.
pub fn number(value: &Value, name: &str) -> Option<i64> {
    value.get(name).and_then(Value::as_i64)
}

/// Whether a field is true.
pub fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// Reports each of `messages` about a value.
pub fn invalid(errors: &mut Errors, path: &Path<'_>, value: impl Into<Value>, messages: Vec<String>) {
    if messages.is_empty() {
        return;
    }
    let value = value.into();
    errors.extend(messages.into_iter().map(|message| FieldError::invalid(path, value.clone(), message)));
}

/// Reports a number that is below 0.
pub fn not_negative(errors: &mut Errors, value: &Value, name: &str, path: &Path<'_>) {
    if let Some(amount) = number(value, name).filter(|amount| *amount < 0) {
        errors.push(FieldError::invalid(&path.child(name), amount, "must be greater than or equal to 0"));
    }
}

/// One of a few words; a required one may not be empty.
pub fn one_of(errors: &mut Errors, value: &Value, name: &str, path: &Path<'_>, allowed: &[&str]) {
    let word = text(value, name);
    if word.is_empty() {
        errors.push(FieldError::required(&path.child(name), ""));
    } else if !allowed.contains(&word) {
        errors.push(FieldError::not_supported(&path.child(name), word, allowed));
    }
}

/// An IP address, as Kubernetes words it. None is meant by an address of the other family, and none has zeros
/// at the beginning of its numbers, which some take for octal ones.
pub fn address(errors: &mut Errors, path: &Path<'_>, address: &str) {
    use std::net::IpAddr;
    let message = match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => "must not be an IPv4-mapped IPv6 address",
        Ok(_) => return,
        Err(_) if without_zeros(address).parse::<std::net::Ipv4Addr>().is_ok() => "must not have leading 0s",
        Err(_) => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    };
    errors.push(FieldError::invalid(path, address, message));
}

/// A range of IP addresses, as Kubernetes words it.
pub fn range(errors: &mut Errors, path: &Path<'_>, range: &str) {
    use std::net::IpAddr;
    let mut refuse = |message: &str| errors.push(FieldError::invalid(path, range, message));
    let parsed = range.split_once('/').and_then(|(address, length)| {
        let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let bits: u32 = length.parse().ok().filter(|_| plain)?;
        let parsed = address.parse::<IpAddr>();
        let has_zeros = parsed.is_err();
        let parsed = parsed.or_else(|_| without_zeros(address).parse::<IpAddr>()).ok()?;
        let most = if parsed.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some((parsed, bits, has_zeros, length.len() > 1 && length.starts_with('0')))
    });
    let Some((address, bits, has_zeros, length_has_zeros)) = parsed else {
        return refuse("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    };
    if has_zeros {
        return refuse("must not have leading 0s in IP");
    }
    if length_has_zeros {
        return refuse("must not have leading 0s in prefix length");
    }
    let has_host_bits = match address {
        IpAddr::V4(four) => four.to_bits().checked_shl(bits).unwrap_or_default() != 0,
        IpAddr::V6(six) => six.to_bits().checked_shl(bits).unwrap_or_default() != 0,
    };
    if has_host_bits {
        refuse("must not have bits set beyond the prefix length");
    } else if matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some() && bits >= 96) {
        refuse("must not have an IPv4-mapped IPv6 address");
    }
}

/// An IPv4 address without zeros at the beginning of its numbers.
fn without_zeros(address: &str) -> String {
    let plain = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    address.split('.').map(plain).collect::<Vec<_>>().join(".")
}

/// Reports an address at which nobody but whoever sends to it can be: a service that leads there leads to
/// the node's own.
pub fn special_address(errors: &mut Errors, path: &Path<'_>, text: &str) {
    let Ok(address) = text.parse::<std::net::IpAddr>() else { return };
    let (link_local, link_local_group) = match address {
        std::net::IpAddr::V4(address) => {
            (address.is_link_local(), matches!(address.octets(), [224, 0, 0, _]))
        }
        std::net::IpAddr::V6(address) => {
            let [first, second, ..] = address.octets();
            (address.is_unicast_link_local(), first == 0xff && second & 0x0f == 2)
        }
    };
    let mut refuse = |message: &str| errors.push(FieldError::invalid(path, text, message));
    if address.is_unspecified() {
        refuse("may not be unspecified (0.0.0.0 or ::)");
    }
    if address.is_loopback() {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_group {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// Reports a field that has changed.
pub fn immutable(errors: &mut Errors, new: Option<&Value>, old: Option<&Value>, path: &Path<'_>) {
    if new != old {
        let value = new.cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid(path, value, "field is immutable"));
    }
}

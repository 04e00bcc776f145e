//! The functions that there are: those of the language and all of Kubernetes' libraries.
//!
//! Each file declares the functions of one library: their overloads by the names that Kubernetes gives them, since
//! cost goes by those, and one implementation for all overloads of a function, which looks at its arguments.

mod authorizer;
mod conversions;
mod format;
mod lists;
mod network;
mod operators;
mod optional;
mod patch;
mod quantity;
mod regex;
mod semver;
mod sets;
mod strings;
mod strings_format;
mod urls;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

pub use authorizer::{Authorizer, AuthorizerValue, Decision, Question};
pub(crate) use optional::{first_valued, value_or};
pub(crate) use regex::Patterns;

use crate::budget::Budget;
use crate::types::Type;
use crate::value::{EvalError, Evaluated, Value, no_overload};

/// A function by its name.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) call: Implementation,
    pub(crate) overloads: Vec<Overload>,
}

/// One way in which a function can be called.
pub(crate) struct Overload {
    /// Its name.
    pub(crate) id: String,
    /// Whether it is called on its first argument.
    pub(crate) member: bool,
    pub(crate) arguments: Vec<Type>,
    pub(crate) result: Type,
    /// How many type parameters it has.
    pub(crate) parameters: u32,
}

/// What a function does.
pub(crate) type Implementation = for<'a> fn(&[Value<'a>], &mut Context<'_>) -> Evaluated<'a>;

/// What functions need besides their arguments.
pub(crate) struct Context<'c> {
    pub(crate) budget: &'c mut Budget,
    /// The overload that is called; empty if that is known only now.
    pub(crate) overload: &'c str,
    /// The pattern of the call, if it is known from the source.
    pub(crate) pattern: Option<&'c model::structural::Regex>,
    /// Patterns that were made meanwhile.
    pub(crate) patterns: &'c mut Patterns,
}

/// A declaration: the function's name, what it does, its overloads with their signatures.
type Declaration = (&'static str, Implementation, &'static [(&'static str, &'static str)]);

/// What only functions of a library know.
#[derive(Clone, Debug)]
pub enum Other {
    /// An amount.
    #[doc(hidden)]
    Quantity(Arc<model::Quantity>),
    /// An address.
    #[doc(hidden)]
    Ip(Arc<std::net::IpAddr>),
    /// A range of addresses.
    #[doc(hidden)]
    Cidr(Arc<Cidr>),
    /// A URL.
    #[doc(hidden)]
    Url(Arc<urls::Url>),
    /// A version.
    #[doc(hidden)]
    Semver(Arc<semver::Version>),
    /// A format of text.
    #[doc(hidden)]
    Format(&'static format::Format),
    /// Who is asked what somebody may do, and what is asked so far.
    #[doc(hidden)]
    Authorizer(Arc<AuthorizerValue>),
}

pub(crate) use network::Cidr;

impl Other {
    pub(crate) fn ty(&self) -> Type {
        match self {
            Self::Quantity(_) => Type::object("kubernetes.Quantity"),
            Self::Ip(_) => Type::opaque("net.IP"),
            Self::Cidr(_) => Type::opaque("net.CIDR"),
            Self::Url(_) => Type::object("kubernetes.URL"),
            Self::Semver(_) => Type::object("kubernetes.Semver"),
            Self::Format(_) => Type::object("kubernetes.NamedFormat"),
            Self::Authorizer(value) => Type::object(value.type_name()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Ip(address) => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Cidr(cidr) => u64::from(cidr.prefix).div_ceil(8),
            _ => 1,
        }
    }

    /// Whether it is compared with its own kind only.
    pub(crate) fn is_particular(&self) -> bool {
        true
    }

    pub(crate) fn equal(&self, other: &Self) -> Result<bool, EvalError> {
        Ok(match (self, other) {
            (Self::Quantity(one), Self::Quantity(two)) => one == two,
            (Self::Ip(one), Self::Ip(two)) => one == two,
            (Self::Cidr(one), Self::Cidr(two)) => one == two,
            (Self::Url(one), Self::Url(two)) => one.text() == two.text(),
            (Self::Semver(one), Self::Semver(two)) => one.compare(two).is_eq(),
            (Self::Format(one), Self::Format(two)) => one.name == two.name,
            _ => return no_overload(),
        })
    }
}

/// Every function, by its name.
pub(crate) static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Function> = HashMap::new();
    let declared = [
        operators::FUNCTIONS,
        conversions::FUNCTIONS,
        optional::FUNCTIONS,
        strings::FUNCTIONS,
        lists::FUNCTIONS,
        sets::FUNCTIONS,
        regex::FUNCTIONS,
        urls::FUNCTIONS,
        network::FUNCTIONS,
        quantity::FUNCTIONS,
        semver::FUNCTIONS,
        format::FUNCTIONS,
        authorizer::FUNCTIONS,
        patch::FUNCTIONS,
    ];
    for (name, call, overloads) in declared.into_iter().flatten() {
        let overloads = overloads.iter().map(|(id, signature)| overload((*id).to_owned(), signature));
        add(&mut functions, name, *call, overloads);
    }
    for (name, call, overloads) in operators::comparisons().into_iter().chain(lists::typed()) {
        add(
            &mut functions,
            name,
            call,
            overloads.into_iter().map(|(id, signature)| overload(id, &signature)),
        );
    }
    for format in format::FORMATS {
        add(
            &mut functions,
            format.function,
            format::named,
            [overload(format.function.to_owned(), "() -> format")],
        );
    }
    functions
});

fn add(
    functions: &mut HashMap<&'static str, Function>,
    name: &'static str,
    call: Implementation,
    overloads: impl IntoIterator<Item = Overload>,
) {
    // A library may add overloads to a function that another has; whoever comes last knows all of them.
    let function = functions.entry(name).or_insert_with(|| Function { name, call, overloads: Vec::new() });
    function.call = call;
    function.overloads.extend(overloads);
}

/// Reads a signature: `string.(int, A) -> list(A)`.
fn overload(id: String, signature: &str) -> Overload {
    let (before, result) = signature.split_once(" -> ").expect("signatures have a result");
    let (target, arguments) = before.split_once('(').expect("signatures have arguments");
    // A target may have parentheses itself, and so ends at the last point before an opening one.
    let (target, arguments) = match before.find(".(") {
        Some(dot) => (&before[..dot], &before[dot + 2..]),
        None => (target, arguments),
    };
    let mut types = Vec::new();
    if !target.is_empty() {
        types.push(read(target));
    }
    let inner = arguments.strip_suffix(')').expect("arguments end");
    types.extend(split(inner).into_iter().map(read));
    let result = read(result);
    let parameters = types.iter().chain([&result]).map(parameters_of).max().unwrap_or(0);
    Overload { id, member: !target.is_empty(), arguments: types, result, parameters }
}

fn parameters_of(ty: &Type) -> u32 {
    match ty {
        Type::Param(number) => number + 1,
        other => other
            .parameters()
            .into_iter()
            .flat_map(|parts| parts.iter())
            .map(parameters_of)
            .max()
            .unwrap_or(0),
    }
}

/// Splits at commas that are in no parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

fn read(text: &str) -> Type {
    let (name, inner) = match text.split_once('(') {
        Some((name, rest)) => (name, split(rest.strip_suffix(')').expect("parameters end"))),
        None => (text, Vec::new()),
    };
    match (name, inner.as_slice()) {
        ("bool", []) => Type::Bool,
        ("int", []) => Type::Int,
        ("uint", []) => Type::Uint,
        ("double", []) => Type::Double,
        ("string", []) => Type::String,
        ("bytes", []) => Type::Bytes,
        ("dyn", []) => Type::Dyn,
        ("timestamp", []) => Type::Timestamp,
        ("duration", []) => Type::Duration,
        ("list", [element]) => Type::list(read(element)),
        ("map", [key, value]) => Type::map(read(key), read(value)),
        ("optional", [value]) => Type::optional(read(value)),
        ("type", [value]) => Type::of(read(value)),
        ("ip", []) => Type::opaque("net.IP"),
        ("cidr", []) => Type::opaque("net.CIDR"),
        ("quantity", []) => Type::object("kubernetes.Quantity"),
        ("url", []) => Type::object("kubernetes.URL"),
        ("semver", []) => Type::object("kubernetes.Semver"),
        ("format", []) => Type::object("kubernetes.NamedFormat"),
        ("authorizer", []) => Type::object(authorizer::AUTHORIZER),
        ("pathcheck", []) => Type::object(authorizer::PATH),
        ("groupcheck", []) => Type::object(authorizer::GROUP),
        ("resourcecheck", []) => Type::object(authorizer::RESOURCE),
        ("decision", []) => Type::object(authorizer::DECISION),
        ("A", []) => Type::Param(0),
        ("B", []) => Type::Param(1),
        _ => unreachable!("signatures name types that there are: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_read_and_every_overload_has_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for function in FUNCTIONS.values() {
            assert!(!function.overloads.is_empty(), "{}", function.name);
            for overload in &function.overloads {
                assert!(
                    names.insert((function.name, overload.id.clone())),
                    "{} {}",
                    function.name,
                    overload.id
                );
            }
        }
    }
}

//! Reads the table of built-in definitions.
//!
//! One line a definition, then one indented line a field:
//!
//! ```text
//! core.v1.Pod k=/v1/Pod
//! <tab>spec @.PodSpec
//! core.v1.PodSpec
//! <tab>containers! [@.Container] l=name p=merge:name
//! ```
//!
//! Types are letters (`s` text, `y` bytes, `t` time, `u` micro time, `i` and `l` whole numbers of 32 and
//! 64 bits, `f` float, `b` boolean, `o` int or string, `q` quantity, `*` anything, `r` embedded object,
//! `x` field set), `@name` (a definition), `[type]` (a list) or `{type}` (a map). `!` marks a required
//! field, `l=` a list's keys (`l=` alone a set), `a=` whether apply takes it as one value, `p=` the
//! strategic merge strategy, `d=` a key's default, `k=` kinds. Names of `io.k8s.api.` leave that out,
//! those of `io.k8s.apimachinery.pkg.apis.` begin with `~`, `.Name` is in the package of the definition.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{
    Builder, Definitions, Field, FieldExtra, ListKind, Patch, Raw, Scalar, Struct, StructId, Type, TypeId,
};
use crate::gvk::GroupVersionKind;

const TABLE: &str = include_str!("builtin.txt");

/// The built-in definitions.
pub(super) fn builtin() -> Definitions {
    let heads: Vec<&'static str> = TABLE.lines().filter(|line| is_head(line)).collect();
    let mut index = HashMap::with_capacity(heads.len());
    for (at, head) in heads.iter().enumerate() {
        let short = head.split(' ').next().expect("split gives at least one part");
        index.insert(short, at as u32);
    }
    let mut reader = Reader {
        builder: Builder::with_structs(heads.len() as u32),
        index,
        types: HashMap::new(),
        package: "",
    };
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#')).peekable();
    let mut at = 0;
    while let Some(head) = lines.next() {
        let mut fields = Vec::new();
        let mut words = head.split(' ');
        let short = words.next().expect("split gives at least one part");
        reader.package = short.rsplit_once('.').map_or("", |(package, _)| package);
        while let Some(line) = lines.next_if(|line| !is_head(line)) {
            fields.push(reader.field(line.trim_start()));
        }
        let mut definition = Struct { name: full_name(short), fields, ..Struct::default() };
        for word in words {
            match word.split_once('=') {
                Some(("k", kinds)) => definition.kinds = kinds.split(',').map(kind).collect(),
                Some(("a", atomic)) => definition.atomic = atomic == "1",
                _ => malformed(head),
            }
        }
        reader.builder.define(at, definition);
        at += 1;
    }
    reader.builder.definitions
}

struct Reader {
    builder: Builder,
    index: HashMap<&'static str, u32>,
    /// Types by their text, package included where it matters: finding an equal one by looking
    /// through all would make reading quadratic.
    types: HashMap<(&'static str, &'static str, &'static str), TypeId>,
    package: &'static str,
}

impl Reader {
    fn field(&mut self, line: &'static str) -> Field {
        let (name, rest) = line.split_once(' ').unwrap_or_else(|| malformed(line));
        let (text, attributes) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut extra = FieldExtra::default();
        for attribute in attributes.split(' ').filter(|attribute| !attribute.is_empty()) {
            match attribute.split_once('=') {
                Some(("p", strategies)) => extra.patch = patch(strategies),
                Some(("d", default)) => extra.default = serde_json::from_str(default).ok(),
                _ => {}
            }
        }
        let has_extra = extra.patch != Patch::default() || extra.default.is_some();
        Field {
            name: Cow::Borrowed(name.trim_end_matches('!')),
            ty: self.typed(text, attributes),
            required: name.ends_with('!'),
            nullable: false,
            extra: has_extra.then(|| Box::new(extra)),
        }
    }

    fn typed(&mut self, text: &'static str, attributes: &'static str) -> TypeId {
        let package = if text.contains("@.") { self.package } else { "" };
        let key = (text, attributes, package);
        if let Some(known) = self.types.get(&key) {
            return *known;
        }
        let id = self.make(text, attributes);
        self.types.insert(key, id);
        id
    }

    fn make(&mut self, text: &'static str, attributes: &'static str) -> TypeId {
        let attribute = |name: &str| {
            attributes.split(' ').find_map(|attribute| attribute.strip_prefix(name)?.strip_prefix('='))
        };
        let atomic = attribute("a").map(|value| value == "1");
        let ty = match text.as_bytes().first() {
            Some(b'[') => {
                let items = self.typed(&text[1..text.len() - 1], "");
                let kind = match attribute("l") {
                    None => ListKind::Atomic,
                    Some("") => ListKind::Set,
                    Some(keys) => ListKind::Map(keys.split(',').map(Cow::Borrowed).collect()),
                };
                Type::List { items, kind }
            }
            Some(b'{') => {
                let values = self.typed(&text[1..text.len() - 1], "");
                Type::Map { values, atomic: atomic.unwrap_or(false) }
            }
            Some(b'@') => {
                let name = &text[1..];
                let id = match name.strip_prefix('.') {
                    Some(local) => self.index.get(format!("{}.{local}", self.package).as_str()),
                    None => self.index.get(name),
                };
                let id = *id.unwrap_or_else(|| malformed(text));
                match atomic {
                    None => return self.builder.struct_type(id),
                    Some(atomic) => Type::Struct { id: StructId(id), atomic },
                }
            }
            _ => letter(text),
        };
        self.builder.add(ty)
    }
}

fn letter(text: &str) -> Type {
    Type::Scalar(match text {
        "*" => return Type::Any,
        "r" => return Type::Raw(Raw::Extension),
        "x" => return Type::Raw(Raw::Fields),
        "s" => Scalar::String,
        "y" => Scalar::Bytes,
        "t" => Scalar::Time,
        "u" => Scalar::MicroTime,
        "i" => Scalar::Int32,
        "l" => Scalar::Int64,
        "f" => Scalar::Number,
        "b" => Scalar::Boolean,
        "o" => Scalar::IntOrString,
        "q" => Scalar::Quantity,
        other => malformed(other),
    })
}

fn patch(strategies: &'static str) -> Patch {
    let (strategies, key) = strategies.split_once(':').unwrap_or((strategies, ""));
    let has = |name: &str| strategies.split(',').any(|strategy| strategy == name);
    Patch {
        merge: has("merge"),
        retain_keys: has("retainKeys"),
        replace: has("replace"),
        key: (!key.is_empty()).then_some(Cow::Borrowed(key)),
    }
}

fn kind(text: &'static str) -> GroupVersionKind {
    let mut parts = text.split('/');
    let mut next = || parts.next().unwrap_or_else(|| malformed(text));
    GroupVersionKind::new(next(), next(), next())
}

fn full_name(short: &'static str) -> Cow<'static, str> {
    match short.strip_prefix('~') {
        Some(rest) => format!("io.k8s.apimachinery.pkg.apis.{rest}").into(),
        None if short.starts_with("io.") => short.into(),
        None => format!("io.k8s.api.{short}").into(),
    }
}

fn is_head(line: &str) -> bool {
    !line.starts_with(['\t', '#'])
}

/// The table is part of the program and its tests read all of it: a malformed line is a broken build.
fn malformed(line: &str) -> ! {
    panic!("the table of built-in definitions is malformed at {line:?}")
}

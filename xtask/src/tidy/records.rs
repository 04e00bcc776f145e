//! Types that are written to disk and are something else too.
//!
//! What is on disk is read by every later version of the program. So it has types whose only purpose that
//! is, in modules `state`, and what the rest works with can change without it. Who derives a conversion to
//! bytes anywhere else in a crate that keeps records says why, in [`FOREIGN`].

use std::path::Path;

use syn::visit::{self, Visit};

use super::source;

/// The crates that keep records.
const KEEPERS: &[&str] = &["engine", "image", "net", "node"];

/// Types that are read from or sent to somebody else, or are a text wherever they stand: the file, the type,
/// why.
const FOREIGN: &[(&str, &str, &str)] = &[
    ("crates/image/src/image.rs", "ImageId", "an id has one text"),
    ("crates/image/src/registry/repository.rs", "TagList", "what a registry answers"),
    ("crates/image/src/registry/search.rs", "Answer", "what a registry answers"),
    ("crates/image/src/registry/search.rs", "Found", "what a registry answers"),
    (
        "crates/engine/src/container/logs/line.rs",
        "Entry",
        "a line of Docker's `json-file`, whose form is Docker's",
    ),
    ("crates/node/src/images.rs", "DockerConfig", "what is in a Secret with credentials"),
    ("crates/node/src/images.rs", "DockerEntry", "what is in a Secret with credentials"),
];

/// Complains about types that are written to disk and are something else too.
pub(super) fn check(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    source::check_each(root, tracked.iter().filter(|path| is_read(path)), check_file)
}

fn is_read(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    source::is_program(path)
        && matches!(parts[..], [_, krate, ..] if KEEPERS.contains(&krate))
        && !parts.iter().any(|part| matches!(*part, "state" | "state.rs"))
}

fn check_file(path: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let file = source::program(path, text)?;
    let mut types = Types::default();
    types.visit_file(&file);
    let foreign = |name: &str| FOREIGN.iter().any(|(file, known, _)| *file == path && *known == name);
    let complain = |(line, name): &(usize, String)| {
        (!foreign(name)).then(|| {
            format!(
                "{path}:{line}: `{name}` can be written to disk: give what is there a type of its own in a module `state`"
            )
        })
    };
    Ok(types.found.iter().filter_map(complain).collect())
}

/// The types that are turned into bytes or read from them, with their lines; those of tests left out.
#[derive(Default)]
struct Types {
    found: Vec<(usize, String)>,
}

/// What turns a type into bytes or back.
fn is_conversion(path: &syn::Path) -> bool {
    path.segments.last().is_some_and(|last| last.ident == "Serialize" || last.ident == "Deserialize")
}

impl Types {
    fn look(&mut self, name: &syn::Ident, attributes: &[syn::Attribute]) {
        let derives = |attribute: &syn::Attribute| {
            let list = syn::punctuated::Punctuated::<syn::Path, syn::Token![,]>::parse_terminated;
            attribute.path().is_ident("derive")
                && attribute.parse_args_with(list).is_ok_and(|traits| traits.iter().any(is_conversion))
        };
        if attributes.iter().any(derives) {
            self.found.push((name.span().start().line, name.to_string()));
        }
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.look(&item.ident, &item.attrs);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.look(&item.ident, &item.attrs);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.as_ref().is_some_and(|(_, path, _)| is_conversion(path))
            && let syn::Type::Path(of) = &*item.self_ty
            && let Some(name) = of.path.segments.last()
        {
            self.found.push((name.ident.span().start().line, name.ident.to_string()));
        }
        visit::visit_item_impl(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let complaints = if is_read(path) { check_file(path, text).expect("it parses") } else { Vec::new() };
        let said: Vec<&str> =
            complaints.iter().map(|complaint| complaint.split(" can be").next().expect("a part")).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn what_is_on_disk_is_in_modules_of_its_own() {
        let path = "crates/engine/src/container/spec.rs";
        let derived = "/// A limit.\n#[derive(Clone, Serialize)]\npub struct Limit(u64);";
        check(path, derived, &["crates/engine/src/container/spec.rs:3: `Limit`"]);
        check("crates/engine/src/state/spec.rs", derived, &[]);
        check("crates/net/src/state.rs", derived, &[]);
        // Others speak with somebody.
        check("crates/docker/src/wire.rs", derived, &[]);
        check(path, "#[derive(Clone, Debug)]\npub struct Limit(u64);", &[]);
        check(
            path,
            "#[derive(serde::Deserialize)]\nenum Kind { A }",
            &["crates/engine/src/container/spec.rs:2: `Kind`"],
        );
        check(
            path,
            "impl<'de> serde::Deserialize<'de> for Kind { }",
            &["crates/engine/src/container/spec.rs:1: `Kind`"],
        );
        let within = "fn a() {\n    #[derive(Deserialize)]\n    struct Inner {\n        a: u8,\n    }\n}";
        check(path, within, &["crates/engine/src/container/spec.rs:3: `Inner`"]);
        check(path, "#[cfg(test)]\nmod tests {\n    #[derive(Deserialize)]\n    struct A;\n}", &[]);
    }

    #[test]
    fn what_is_of_somebody_else_is_listed() {
        let text = "#[derive(Serialize)]\nstruct ImageId(u8);\n#[derive(Serialize)]\nstruct Other(u8);";
        check("crates/image/src/image.rs", text, &["crates/image/src/image.rs:4: `Other`"]);
    }
}

//! Turns the field numbers in Kubernetes' Go types into the table that `apiserver::protobuf` reads.
//!
//! Only facts are taken: numbers, names, whether a zero value is written. The table's form is
//! described where it is read, in `crates/apiserver/src/protobuf.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

const HEADER: &str = "# Protobuf field numbers of the built-in Kubernetes types. Made by `cargo xtask codegen protobuf`; the form is told in protobuf.rs.\n";

/// One field with a number.
struct Field {
    number: u32,
    /// Its name in JSON; empty for a type whose fields are the struct's own.
    name: String,
    /// The Go type's name with its package.
    ty: String,
    /// Whether a zero is a value, not an absence.
    keeps_zero: bool,
}

pub(super) const FILE: &str = "crates/apiserver/src/protobuf/fields.txt";

/// The types of values that are one thing or another, by the ends of their names, and as the table marks fields of them:
/// in JSON nothing says which they are.
const EITHER: [(&str, &str); 4] = [
    ("JSONSchemaPropsOrBool", "|bool"),
    ("JSONSchemaPropsOrArray", "|list"),
    ("JSONSchemaPropsOrStringArray", "|texts"),
    ("JSONSchemaDependencies", "|texts"),
];

/// Reads the `types.go` files below `api` (k8s.io/api), `meta` (k8s.io/apimachinery), `aggregator`
/// (k8s.io/kube-aggregator) and `extensions` (k8s.io/apiextensions-apiserver).
pub(super) fn make(api: &Path, meta: &Path, aggregator: &Path, extensions: &Path) -> anyhow::Result<String> {
    let root = crate::workspace_root()?;
    let known = known_types(&root.join("crates/model/src/schema/builtin.txt"))?;
    let mut structs: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    let folders = [
        (api, ""),
        (&*meta.join("pkg/apis"), "~"),
        (&*aggregator.join("pkg/apis"), "io.k8s.kube-aggregator.pkg.apis."),
        (&*extensions.join("pkg/apis"), "io.k8s.apiextensions-apiserver.pkg.apis."),
    ];
    for (folder, prefix) in folders {
        for file in go_files(folder)? {
            let relative = file.parent().and_then(|p| p.strip_prefix(folder).ok()).context("inside")?;
            let package = format!("{prefix}{}", relative.to_string_lossy().replace('/', "."));
            let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            read_structs(&text, &package, &mut structs);
        }
    }
    let mut wanted: BTreeSet<String> = structs.keys().filter(|n| known.contains(*n)).cloned().collect();
    // Types that are known only as a part of others.
    let mut queue: Vec<String> = wanted.iter().cloned().collect();
    while let Some(name) = queue.pop() {
        for field in structs.get(&name).into_iter().flatten().filter(|f| f.name.is_empty()) {
            if wanted.insert(field.ty.clone()) {
                queue.push(field.ty.clone());
            }
        }
    }
    let mut table = String::from(HEADER);
    for name in &wanted {
        let Some(fields) = structs.get(name).filter(|f| !f.is_empty()) else { continue };
        table.push_str(name);
        for field in fields {
            let zero = if field.keeps_zero { "*" } else { "" };
            let either = EITHER.iter().find(|(end, _)| field.ty.ends_with(end)).map_or("", |(_, mark)| mark);
            if field.name.is_empty() {
                write!(table, " {}>{}", field.number, field.ty)?;
            } else {
                write!(table, " {}={}{zero}{either}", field.number, field.name)?;
            }
        }
        table.push('\n');
    }
    Ok(table)
}

fn known_types(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let heads = text.lines().filter(|l| !l.starts_with('\t') && !l.starts_with('#'));
    Ok(heads.filter_map(|l| l.split(' ').next()).map(str::to_owned).collect())
}

fn go_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            found.extend(go_files(&path)?);
        } else if name.ends_with(".go") && !name.contains("generated") && !name.ends_with("_test.go") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_structs(text: &str, package: &str, structs: &mut BTreeMap<String, Vec<Field>>) {
    let mut imports: HashMap<String, String> = HashMap::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if let Some((alias, path)) = import(line) {
            imports.insert(alias, path);
        } else if let Some(name) = line.strip_prefix("type ").and_then(|l| l.strip_suffix(" struct {")) {
            open = Some(format!("{package}.{name}"));
        } else if line == "}" {
            open = None;
        } else if let Some(name) = &open
            && let Some(field) = field(line, package, &imports)
        {
            structs.entry(name.clone()).or_default().push(field);
        }
    }
}

/// `metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"` names a package of types.
fn import(line: &str) -> Option<(String, String)> {
    let (alias, path) = line.trim().split_once(" \"k8s.io/")?;
    let path = path.strip_suffix('"')?;
    let package = match path.strip_prefix("apimachinery/pkg/apis/") {
        Some(meta) => format!("~{meta}"),
        None => path.strip_prefix("api/")?.to_owned(),
    };
    Some((alias.to_owned(), package.replace('/', ".")))
}

/// `Name *Type `json:"name,omitempty" protobuf:"bytes,1,opt,name=name"``.
fn field(line: &str, package: &str, imports: &HashMap<String, String>) -> Option<Field> {
    let (declaration, tags) = line.trim().split_once('`').filter(|(before, _)| !before.starts_with("//"))?;
    let tag = |name: &str| {
        let rest = tags.split_once(&format!("{name}:\""))?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let number = tag("protobuf")?.split(',').nth(1)?.parse().ok()?;
    let json = tag("json")?;
    let mut json = json.split(',');
    let name = json.next()?.to_owned();
    let omits_empty = json.any(|option| option == "omitempty" || option == "omitzero");
    let ty = declaration.split_whitespace().last()?;
    let is_pointer = ty.starts_with('*');
    let ty = ty.trim_start_matches(['*', '[', ']']);
    let ty = match ty.split_once('.') {
        Some((alias, ty)) => format!("{}.{ty}", imports.get(alias).map_or(alias, String::as_str)),
        None => format!("{package}.{ty}"),
    };
    Some(Field { number, name, ty, keeps_zero: is_pointer || !omits_empty })
}

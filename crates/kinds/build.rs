//! Finds the kinds: each file `src/GROUP/KIND.rs`, or `src/GROUP/KIND/KIND.rs` where a kind takes more
//! than one file. A kind is added by adding its file, and by nothing else.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src");
    let words = root.join("../model/src/default.rs");
    println!("cargo::rerun-if-changed={}", words.display());
    println!("cargo::rustc-env=KINDS_VERSION={:016x}", hash(&root.join("src"), hash(&words, BASIS)?)?);
    fs::write(out.join("kinds.rs"), modules(&root.join("src"))?)
}

/// Where FNV-1a begins. `base::hash` has it too: to use that here, the whole crate would have to be built once
/// more, for build scripts, before anything of this one could be.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// What the sources below a path are, in a number: another where one of them has changed.
fn hash(path: &Path, mut state: u64) -> io::Result<u64> {
    if path.is_dir() {
        return entries(path)?.iter().try_fold(state, |state, entry| hash(entry, state));
    }
    for byte in fs::read(path)? {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    Ok(state)
}

/// The modules of all kinds, and a function that makes their entries.
pub(crate) fn modules(src: &Path) -> io::Result<String> {
    let (mut modules, mut list) = (String::new(), String::new());
    for group in entries(src)?.into_iter().filter(|path| path.is_dir()) {
        let name = stem(&group);
        // What several kinds share is a module of the crate, and the tests are another.
        if src.join(format!("{name}.rs")).exists() {
            continue;
        }
        let _ = writeln!(modules, "/// The kinds of the group `{name}`.\nmod {name} {{");
        for entry in entries(&group)? {
            let kind = stem(&entry);
            let file = if entry.is_dir() { entry.join(format!("{kind}.rs")) } else { entry };
            let _ = writeln!(modules, "    #[path = {file:?}]\n    pub(crate) mod {kind};");
            let _ = writeln!(list, "        features::Make::make({name}::{kind}::resource, features),");
        }
        modules.push_str("}\n");
    }
    Ok(format!(
        "{modules}fn entries(features: &Features) -> Vec<apiserver::Resource> {{\n    \
         let made = [\n{list}    ];\n    made.into_iter().flatten().collect()\n}}\n"
    ))
}

/// What is in a directory, in the order of the names.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    Ok(entries)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

//! Links the program for a fixed place in memory.
//!
//! One that can be loaded anywhere writes its own addresses into its data when it starts, which makes
//! those pages private to each process; a shim, one beside every container, would have most of its
//! memory from that alone. Stack, heap and mappings are placed at random all the same.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, wanted: &str| {
        std::env::var(name).is_ok_and(|value| value.split(',').any(|part| part == wanted))
    };
    // Only where it is linked statically anyway, with a compiler driver that knows the words.
    if is("CARGO_CFG_TARGET_ENV", "gnu") && is("CARGO_CFG_TARGET_FEATURE", "crt-static") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
        println!("cargo::rustc-link-arg-bins=-static");
    }
}

//! Turns BuildKit's build definitions into Rust, without any program besides the compiler.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/llb.proto");
    let definitions = protox::compile(["llb.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_client(false)
        .bytes(".")
        // Names of operations are digests of their bytes: what is written down twice has to be the same.
        .btree_map(".")
        .compile_fds(definitions)?;
    Ok(())
}

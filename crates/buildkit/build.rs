//! Turns the services of BuildKit and its clients into Rust, without any program besides the compiler.

/// The definitions in `proto`, but for those of `llb`.
const FILES: &[&str] = &[
    "control.proto",
    "gateway.proto",
    "types.proto",
    "policy.proto",
    "caps.proto",
    "fsutil.proto",
    "filesync.proto",
    "secrets.proto",
    "ssh.proto",
    "upload.proto",
    "errdefs.proto",
    "content.proto",
    "health.proto",
    "trace.proto",
    "status.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../llb/proto");
    let definitions = protox::compile(FILES, ["proto", "../llb/proto"])?;
    tonic_prost_build::configure()
        // Connections come from elsewhere.
        .build_transport(false)
        .bytes(".")
        .btree_map(".")
        .extern_path(".pb", "::llb::pb")
        .include_file("wire.rs")
        .compile_fds(definitions)?;
    Ok(())
}

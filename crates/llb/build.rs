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
        // What a build came of is told in JSON.
        .type_attribute(".", "#[derive(serde::Serialize)] #[serde(rename_all = \"camelCase\")]")
        .field_attribute("pb.Definition.def", "#[serde(skip)]")
        .field_attribute("pb.SourceInfo.data", "#[serde(skip)]")
        .field_attribute("pb.FileActionMkFile.data", "#[serde(serialize_with = \"numbers\")]")
        .compile_fds(definitions)?;
    Ok(())
}

//! What buildx has exported: images with provenance, archives, several platforms, the same from the same.

use std::path::{Path, PathBuf};

use docker_tests::{Daemon, IMAGE, registry, run};
use serde_json::Value;

/// A directory of this test's with these files.
fn context(daemon: &Daemon, name: &str, files: &[(&str, &str)]) -> String {
    let directory = daemon.scratch(name);
    for (name, text) in files {
        std::fs::write(directory.join(name), text).expect("write a file");
    }
    directory.display().to_string()
}

/// An OCI layout, unpacked.
struct Layout(PathBuf);

impl Layout {
    fn of(daemon: &Daemon, archive: &Path) -> Self {
        let directory =
            daemon.scratch(&format!("{}-unpacked", archive.file_name().expect("a name").display()));
        let mut archive = tar::Archive::new(std::fs::File::open(archive).expect("the archive"));
        archive.unpack(&directory).expect("unpack it");
        Self(directory)
    }

    fn file(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join(name)).expect(name)).expect("JSON")
    }

    /// The blob that a descriptor points at.
    fn blob(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().expect("a digest");
        self.file(&format!("blobs/{}", digest.replace(':', "/")))
    }

    /// What the first entry of the layout leads to.
    fn top(&self) -> Value {
        self.blob(&self.file("index.json")["manifests"][0])
    }
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    value[key].as_array().unwrap_or_else(|| panic!("{key} in {value}")).iter().collect()
}

#[test]
fn an_image_with_provenance_is_used_and_given_on_as_what_it_is() {
    let daemon = Daemon::start();
    let _registry = registry(&daemon);
    let dockerfile = format!("FROM {IMAGE}\nRUN echo one > /one\nCMD [\"cat\", \"/one\"]\n");
    let path = context(&daemon, "context", &[("Dockerfile", &dockerfile)]);
    let told = daemon.newest_ok(&["build", "--tag", "app:1", &path]);
    assert!(told.contains("exporting attestation manifest sha256:"), "{told}");
    assert!(told.contains("exporting manifest list sha256:"), "{told}");
    assert_eq!(daemon.ok(&["run", "--rm", "app:1"]), "one");
    let id = daemon.inspect("app:1", "{{.Id}}");
    assert_eq!(daemon.inspect("app:1", "{{.Os}} {{.Config.Cmd}}"), "linux [cat /one]");
    assert!(daemon.ok(&["history", "app:1"]).contains("CMD [\"cat\" \"/one\"]"));
    daemon.ok(&["tag", "app:1", "localhost:5000/app:2"]);
    daemon.ok(&["push", "localhost:5000/app:2"]);

    let archive = daemon.scratch("saved").join("app.tar");
    daemon.ok(&["save", "--output", &archive.display().to_string(), "app:1"]);
    let layout = Layout::of(&daemon, &archive);
    let index = layout.top();
    let manifests = list(&index, "manifests");
    assert_eq!(manifests.len(), 2, "{index}");
    assert_eq!(manifests[1]["platform"]["os"], "unknown", "{index}");
    assert_eq!(manifests[1]["annotations"]["vnd.docker.reference.digest"], manifests[0]["digest"]);
    let attestation = layout.blob(manifests[1]);
    let statement = layout.blob(&attestation["layers"][0]);
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let digest = manifests[0]["digest"].as_str().expect("a digest").replace("sha256:", "");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest.as_str());
    assert_eq!(statement["subject"][0]["name"], "pkg:docker/app@1?platform=linux%2Famd64");
    let predicate = &statement["predicate"];
    let materials = list(&predicate["buildDefinition"], "resolvedDependencies");
    assert_eq!(materials[0]["uri"], "pkg:docker/busybox@test?platform=linux%2Famd64", "{predicate}");
    assert_eq!(predicate["buildDefinition"]["externalParameters"]["request"]["frontend"], "dockerfile.v0");
    assert_eq!(predicate["runDetails"]["metadata"]["buildkit_completeness"]["resolvedDependencies"], false);

    daemon.ok(&["rmi", "app:1", "localhost:5000/app:2"]);
    daemon.fails(&["inspect", &id], "No such object");
    daemon.ok(&["load", "--input", &archive.display().to_string()]);
    assert_eq!(
        (daemon.inspect("app:1", "{{.Id}}"), daemon.ok(&["run", "--rm", "app:1"])),
        (id.clone(), "one".into())
    );
    daemon.ok(&["rmi", "app:1"]);
    daemon.ok(&["pull", "localhost:5000/app:2"]);
    assert_eq!(daemon.inspect("localhost:5000/app:2", "{{.Id}}"), id);

    // With nothing said of it, it is a manifest alone.
    let plain = daemon.newest_ok(&["build", "--provenance=false", "--tag", "app:3", &path]);
    assert!(plain.contains(&format!("writing image {id}")), "{plain}");
    // All goes with the names.
    daemon.ok(&["rmi", "app:3", "localhost:5000/app:2"]);
    let left = std::fs::read_dir(daemon.root().join("images/blobs/sha256")).expect("blobs").count();
    daemon.newest_ok(&["build", "--tag", "app:1", &path]);
    daemon.ok(&["rmi", "app:1"]);
    let now = std::fs::read_dir(daemon.root().join("images/blobs/sha256")).expect("blobs").count();
    assert_eq!(now, left, "an image that is removed leaves nothing");
}

#[test]
fn a_build_for_several_platforms_is_an_index_with_each() {
    let daemon = Daemon::start();
    let _registry = registry(&daemon);
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM {IMAGE} AS build\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n\
         FROM scratch\nCOPY --from=build /arch /arch\nCMD [\"/arch\"]\n"
    );
    let path = context(&daemon, "context", &[("Dockerfile", &dockerfile)]);
    let both = "--platform=linux/amd64,linux/arm64";
    let place = daemon.scratch("out");
    let archive = place.join("both.tar");
    let output = format!(
        "type=oci,dest={},compression=zstd,force-compression=true,annotation-index.a=b,annotation-manifest[linux/arm64].c=d",
        archive.display()
    );
    daemon.newest_ok(&["build", both, "--output", &output, "--tag", "both:1", &path]);
    let layout = Layout::of(&daemon, &archive);
    let entry = &layout.file("index.json")["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/library/both:1");
    let index = layout.top();
    assert_eq!(index["annotations"]["a"], "b");
    let platforms: Vec<&str> = list(&index, "manifests")
        .iter()
        .map(|entry| entry["platform"]["architecture"].as_str().expect("an architecture"))
        .collect();
    assert_eq!(platforms, ["amd64", "arm64", "unknown", "unknown"]);
    let arm = layout.blob(&index["manifests"][1]);
    assert_eq!(arm["annotations"]["c"], "d");
    assert_eq!(layout.blob(&index["manifests"][0])["annotations"], Value::Null);
    assert_eq!(arm["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(layout.blob(&arm["config"])["architecture"], "arm64");

    // Files of each, next to each other, with where they come from.
    let directory = place.join("files");
    let output = format!("type=local,dest={}", directory.display());
    daemon.newest_ok(&["build", both, "--provenance=mode=max", "--output", &output, &path]);
    for (name, arch) in [("linux_amd64", "amd64\n"), ("linux_arm64", "arm64\n")] {
        assert_eq!(std::fs::read_to_string(directory.join(name).join("arch")).expect(name), arch);
        let said = std::fs::read(directory.join(name).join("provenance.json")).expect("provenance");
        let said: Value = serde_json::from_slice(&said).expect("JSON");
        assert_eq!(said["subject"][0]["name"], "arch", "{said}");
        let steps =
            &said["predicate"]["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"];
        assert!(steps.to_string().contains("echo $TARGETARCH > /arch"), "{steps}");
    }
    let archive = place.join("files.tar");
    daemon.newest_ok(&["build", both, "--output", &format!("type=tar,dest={}", archive.display()), &path]);
    let mut read = tar::Archive::new(std::fs::File::open(&archive).expect("the archive"));
    let entries = read.entries().expect("entries").map(|entry| entry.expect("an entry"));
    let names: Vec<String> =
        entries.map(|entry| entry.path().expect("a name").display().to_string()).collect();
    assert!(names.iter().any(|name| name.trim_start_matches("./") == "linux_arm64/arch"), "{names:?}");

    // Into the store, where what runs here is chosen, and to a registry, which has both.
    daemon.newest_ok(&["build", both, "--push", "--tag", "localhost:5000/both:1", &path]);
    assert_eq!(daemon.inspect("localhost:5000/both:1", "{{.Architecture}}"), "amd64");
    daemon.ok(&["rmi", "localhost:5000/both:1"]);
    daemon.ok(&["pull", "--platform", "linux/arm64", "localhost:5000/both:1"]);
    assert_eq!(daemon.inspect("localhost:5000/both:1", "{{.Architecture}}"), "arm64");
    let emulated = "FROM --platform=linux/arm64 localhost:5000/both:1\nRUN [\"/arch\"]\n";
    let emulated = context(&daemon, "emulated", &[("Dockerfile", emulated)]);
    let ran = run(daemon.newest(&["build", &emulated]), "");
    assert_ne!(ran.code, 0, "a file of text is no program: {ran:?}");
}

#[test]
fn the_same_in_gives_the_same_out_whenever_and_wherever() {
    let dockerfile = format!(
        "FROM {IMAGE}\nARG SOURCE_DATE_EPOCH\nRUN echo one > /one && mkdir /d && date > /dev/null\nCOPY data /data\n"
    );
    let first_daemon = Daemon::start();
    let base = first_daemon.scratch("base").join("base.tar").display().to_string();
    first_daemon.ok(&["save", "--output", &base, IMAGE]);
    let saved = std::fs::read(&base).expect("the image that is built on");
    let build = |daemon: Daemon| {
        let path = context(&daemon, "context", &[("Dockerfile", &dockerfile), ("data", "the same")]);
        let place = daemon.scratch("out");
        let output = format!("type=oci,dest={},rewrite-timestamp=true", place.join("image.tar").display());
        daemon.newest_ok(&[
            "build",
            "--build-arg",
            "SOURCE_DATE_EPOCH=1700000000",
            "--provenance=false",
            "--tag",
            "same:1",
            "--output",
            &output,
            &path,
        ]);
        let layout = Layout::of(&daemon, &place.join("image.tar"));
        let manifest = layout.top();
        let config = layout.blob(&manifest["config"]);
        assert_eq!(config["created"], "2023-11-14T22:13:20Z", "{config}");
        std::fs::read(place.join("image.tar")).expect("the archive")
    };
    let first = build(first_daemon);
    // Another root, and another second.
    let second = Daemon::start_empty();
    let base = second.scratch("base").join("base.tar");
    std::fs::write(&base, saved).expect("write the image that is built on");
    second.ok(&["load", "--input", &base.display().to_string()]);
    let second = build(second);
    assert!(first == second, "the archives differ");
}

#[test]
fn a_docker_archive_is_loaded_and_a_scanner_says_what_is_in_an_image() {
    let daemon = Daemon::start();
    let dockerfile = format!("FROM {IMAGE}\nRUN echo one > /one\nCMD [\"cat\", \"/one\"]\n");
    let path = context(&daemon, "context", &[("Dockerfile", &dockerfile)]);
    let place = daemon.scratch("out");
    let archive = place.join("docker.tar");
    let output = format!("type=docker,dest={}", archive.display());
    daemon.newest_ok(&["build", "--provenance=false", "--tag", "loaded:1", "--output", &output, &path]);
    daemon.ok(&["load", "--input", &archive.display().to_string()]);
    assert_eq!(daemon.ok(&["run", "--rm", "loaded:1"]), "one");

    // The same, as a directory of the client's.
    let directory = place.join("layout");
    let output = format!("type=oci,tar=false,dest={}", directory.display());
    daemon.newest_ok(&["build", "--provenance=false", "--tag", "loaded:1", "--output", &output, &path]);
    let layout = Layout(directory);
    let manifest = layout.top();
    assert_eq!(layout.blob(&manifest["config"])["config"]["Cmd"][0], "cat");
    let layer = list(&manifest, "layers").last().expect("a layer")["digest"].as_str().expect("a digest");
    let layer = std::fs::read(layout.0.join("blobs").join(layer.replace(':', "/"))).expect("the layer");
    assert_eq!(layer.len() as u64, list(&manifest, "layers").last().expect("a layer")["size"]);

    let script = "#!/bin/sh\nset -e\ntest -e $BUILDKIT_SCAN_SOURCE/one\n\
        printf '{\"predicateType\":\"https://spdx.dev/Document\",\"predicate\":{\"seen\":\"%s\",\"x\":\"%s\",\"more\":\"%s\"}}' \
        \"$(cat $BUILDKIT_SCAN_SOURCE/one)\" \"$BUILDKIT_SCAN_X\" \"$(cd ${BUILDKIT_SCAN_SOURCE_EXTRAS:-/none} && cat */*)\" > $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json\n";
    let scanner = format!("FROM {IMAGE}\nCOPY --chmod=755 scan /scan\nENTRYPOINT [\"/scan\"]\n");
    let scanner = context(&daemon, "scanner", &[("Dockerfile", &scanner), ("scan", script)]);
    daemon.newest_ok(&["build", "--tag", "scanner:1", &scanner]);
    let archive = place.join("scanned.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let wanted = "--attest=type=sbom,generator=scanner:1,X=y";
    let told = daemon.newest_ok(&["build", wanted, "--provenance=false", "--output", &output, &path]);
    assert!(told.contains("generating sbom using docker.io/library/scanner:1"), "{told}");
    let layout = Layout::of(&daemon, &archive);
    let index = layout.top();
    let attestation = layout.blob(&index["manifests"][1]);
    let statement = layout.blob(&attestation["layers"][0]);
    assert_eq!(statement["predicateType"], "https://spdx.dev/Document", "{statement}");
    assert_eq!(statement["predicate"]["seen"], "one");
    assert_eq!(statement["predicate"]["x"], "y");
    assert_eq!(statement["predicate"]["more"], "");

    // Another stage, whose arguments say that it is to be looked into.
    let stages = format!(
        "FROM {IMAGE} AS part\nRUN echo part > /one\nFROM scratch AS of\nARG BUILDKIT_SBOM_SCAN_STAGE=of,none\n\
         COPY --from=part /one /of\nFROM {IMAGE}\nCOPY --from=of /of /one\n"
    );
    let path = context(&daemon, "stages", &[("Dockerfile", &stages)]);
    daemon.newest_ok(&["build", wanted, "--provenance=false", "--output", &output, &path]);
    let layout = Layout::of(&daemon, &archive);
    let attestation = layout.blob(&layout.top()["manifests"][1]);
    assert_eq!(layout.blob(&attestation["layers"][0])["predicate"]["more"], "part");
}

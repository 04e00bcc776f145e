//! What mounts are read from which text.

use super::*;

#[track_caller]
fn check(host: &str, expected: Result<&[&str], &str>) {
    let host: HostConfig = serde_json::from_str(host).expect("a host configuration");
    let nobody = |name: &str| Err(Fault::not_found(format!("No such container: {name}")));
    let read = mounts(&Config::default(), &host, &nobody);
    match (read, expected) {
        (Ok(mounts), Ok(texts)) => assert_eq!(mounts.iter().map(describe).collect::<Vec<_>>(), texts),
        (Err(fault), Err(message)) => assert_eq!(fault.message, message),
        (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
    }
}

fn describe(mount: &Mount) -> String {
    let mode = if mount.read_only { "ro" } else { "rw" };
    let source = match &mount.source {
        MountSource::Bind { path, create, writable_below, .. } => {
            let below = if *writable_below { " writable-below" } else { "" };
            format!("bind {} create={create}{below}", path.display())
        }
        MountSource::Volume { name, subpath: Some(part), .. } => format!("volume {name:?} part {part}"),
        MountSource::Volume { name, no_copy, .. } => format!("volume {name:?} nocopy={no_copy}"),
        MountSource::Image { reference, subpath } => format!("image {reference} {subpath:?}"),
        MountSource::Tmpfs { size, mode, options } => format!("tmpfs {size:?} {mode:?} {options:?}"),
    };
    format!("{} {mode} {source}", mount.target)
}

#[test]
fn the_short_form_is_read() {
    check(r#"{"Binds":["/a:/b"]}"#, Ok(&["/b rw bind /a create=true"]));
    check(r#"{"Binds":["/a:/b:ro,rslave"]}"#, Ok(&["/b ro bind /a create=true"]));
    check(r#"{"Binds":["data:/b:z"]}"#, Ok(&[r#"/b rw volume Some("data") nocopy=false"#]));
    check(r#"{"Binds":["/b"]}"#, Ok(&["/b rw volume None nocopy=false"]));
    check(r#"{"Binds":["data:/b:nocopy,ro"]}"#, Ok(&[r#"/b ro volume Some("data") nocopy=true"#]));
}

#[test]
fn the_long_form_is_read() {
    check(
        r#"{"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/b","ReadOnly":true}]}"#,
        Ok(&["/b ro bind /tmp create=false"]),
    );
    check(r#"{"Mounts":[{"Type":"volume","Target":"/b"}]}"#, Ok(&["/b rw volume None nocopy=false"]));
    check(
        r#"{"Mounts":[{"Type":"tmpfs","Target":"/b","TmpfsOptions":{"SizeBytes":5,"Mode":448}}]}"#,
        Ok(&["/b rw tmpfs Some(5) Some(448) []"]),
    );
}

#[test]
fn what_is_below_a_read_only_bind_is_read_only_unless_it_is_said() {
    let long = |options: &str| {
        format!(
            r#"{{"Mounts":[{{"Type":"bind","Source":"/tmp","Target":"/b","ReadOnly":true,"BindOptions":{{{options}}}}}]}}"#
        )
    };
    check(&long(r#""ReadOnlyForceRecursive":true"#), Ok(&["/b ro bind /tmp create=false"]));
    check(&long(r#""ReadOnlyNonRecursive":true"#), Ok(&["/b ro bind /tmp create=false writable-below"]));
    check(
        &long(r#""ReadOnlyNonRecursive":true,"ReadOnlyForceRecursive":true"#),
        Err(
            "invalid mount config for type \"bind\": mount options conflict: ReadOnlyNonRecursive and ReadOnlyForceRecursive",
        ),
    );
}

#[test]
fn memory_has_options() {
    check(
        r#"{"Tmpfs":{"/t":"size=64m,mode=1777,noexec,uid=5"}}"#,
        Ok(&[r#"/t rw tmpfs Some(67108864) Some(1023) ["noexec", "uid=5"]"#]),
    );
    check(r#"{"Tmpfs":{"/t":"ro"}}"#, Ok(&["/t ro tmpfs None None []"]));
    check(r#"{"Tmpfs":{"/t":"color=red"}}"#, Err("invalid tmpfs option [\"color=red\"]"));
}

#[test]
fn a_place_is_taken_once() {
    check(r#"{"Binds":["/a:/b","/c:/b/"]}"#, Err("Duplicate mount point: /b/"));
    check(r#"{"Binds":["/a:/b"],"Tmpfs":{"/b":""}}"#, Err("Duplicate mount point: /b"));
}

#[test]
fn nonsense_is_refused() {
    check(r#"{"Binds":["/a:/b:ro:x"]}"#, Err("invalid volume specification: '/a:/b:ro:x'"));
    check(
        r#"{"Binds":["/a:b"]}"#,
        Err(
            "invalid volume specification: '/a:b': invalid mount config: invalid mount path: 'b' mount path must be absolute",
        ),
    );
    check(
        r#"{"Binds":["/a:/"]}"#,
        Err(
            "invalid volume specification: '/a:/': invalid mount config: invalid specification: destination can't be '/'",
        ),
    );
    check(r#"{"Binds":["/a:/b:shiny"]}"#, Err("invalid mode: shiny"));
    check(
        r#"{"Mounts":[{"Type":"bind","Target":"/b"}]}"#,
        Err("invalid mount config for type \"bind\": field Source must not be empty"),
    );
    check(
        r#"{"Mounts":[{"Type":"odd","Target":"/b"}]}"#,
        Err("invalid mount config for type \"odd\": mount type unknown"),
    );
    check(r#"{"VolumesFrom":["gone:ro"]}"#, Err("No such container: gone"));
}

#[test]
fn images_and_parts_are_read() {
    let long = |kind: &str, source: &str, part: &str| {
        let name = if kind == "image" { "ImageOptions" } else { "VolumeOptions" };
        format!(
            r#"{{"Mounts":[{{"Type":"{kind}","Source":"{source}","Target":"/b","{name}":{{"Subpath":"{part}"}}}}]}}"#
        )
    };
    check(&long("image", "alpine", ""), Ok(&["/b rw image alpine None"]));
    check(&long("image", "alpine:3", "a/./../b/"), Ok(&[r#"/b rw image alpine:3 Some("b")"#]));
    check(&long("volume", "data", "a/../b"), Ok(&[r#"/b rw volume Some("data") part b"#]));
    let outside = |kind: &str| {
        format!("invalid mount config for type \"{kind}\": subpath must be a relative path within the volume")
    };
    for part in ["..", "/a", "a/../../b"] {
        check(&long("image", "alpine", part), Err(&outside("image")));
        check(&long("volume", "data", part), Err(&outside("volume")));
    }
    check(
        &long("volume", "", "a"),
        Err("invalid mount config for type \"volume\": must not set Subpath when using anonymous volumes"),
    );
    check(
        &long("image", "", ""),
        Err("invalid mount config for type \"image\": field Source must not be empty"),
    );
    check(
        r#"{"Mounts":[{"Type":"image","Source":"a","Target":"/b","VolumeOptions":{}}]}"#,
        Err("VolumeOptions must not be specified on mount type \"image\""),
    );
}

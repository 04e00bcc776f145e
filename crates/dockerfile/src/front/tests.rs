use super::*;
use crate::testing::{Desk, show};

#[test]
fn a_future_of_it_can_be_sent() {
    fn check<T: Send>(_: &T) {}
    let desk = Desk::new("FROM scratch");
    check(&build(FrontRequest::default(), &desk));
}

#[test]
fn what_is_asked_for_is_told() {
    let desk = Desk::new("FROM alpine\nCOPY a b");
    desk.build().expect("built");
    assert_eq!(
        *desk.asked.lock().expect("lock"),
        [
            "[internal] load build definition from Dockerfile",
            "[internal] load metadata for docker.io/library/alpine:latest",
            "[internal] load .dockerignore",
        ]
    );
}

#[test]
fn there_is_an_image_for_each_platform() {
    let desk = Desk::new("FROM --platform=$BUILDPLATFORM alpine AS b\nARG TARGETARCH\nRUN make $TARGETARCH\nFROM scratch\nCOPY --from=b /o /")
        .with("platform", "linux/amd64,linux/arm64");
    let Built::Images { images, is_multi_platform, metadata } = desk.build().expect("built") else {
        panic!("no images")
    };
    assert!(is_multi_platform);
    assert_eq!(
        images.iter().map(|image| image.id.as_str()).collect::<Vec<_>>(),
        ["linux/amd64", "linux/arm64"]
    );
    let names = |image: &BuiltImage| show(&image.definition).join("\n");
    assert!(
        names(&images[1]).contains("`[linux/amd64->arm64 b 2/2] RUN make arm64`"),
        "{}",
        names(&images[1])
    );
    assert!(names(&images[1]).contains("`[linux/arm64 stage-1 1/1] COPY --from=b /o /`"));
    let names: Vec<&str> = metadata.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["containerimage.config/linux/amd64", "containerimage.config/linux/arm64", "refs.platforms"]
    );
    let listed = String::from_utf8_lossy(&metadata["refs.platforms"]);
    assert_eq!(
        listed,
        r#"{"Platforms":[{"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}},{"ID":"linux/arm64","Platform":{"architecture":"arm64","os":"linux"}}]}"#
    );
    let config = ImageConfig::parse(&images[1].config).expect("configuration");
    assert_eq!(config.architecture, "arm64");
}

#[test]
fn errors_point_to_lines() {
    let error = Desk::new("FROM alpine\nRUNN x").build().expect_err("wrong");
    assert_eq!(
        error.to_string(),
        "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)"
    );
    let FrontError::Dockerfile { file, lines, .. } = error else { panic!("{error:?}") };
    assert_eq!((file.filename.as_str(), lines), ("Dockerfile", vec![Lines::at(2)]));
    assert!(!file.definition.def.is_empty());
    let Built::Images { images, .. } = Desk::new("FROM alpine\nRUN a\\\n b").build().expect("built") else {
        panic!("no images")
    };
    let source = images[0].definition.source.as_ref().expect("a source");
    let located: Vec<i32> = source
        .locations
        .values()
        .flat_map(|known| &known.locations)
        .flat_map(|location| &location.ranges)
        .filter_map(|range| Some(range.start?.line))
        .collect();
    assert_eq!(located.iter().sum::<i32>(), 1 + 2 + 3);
}

#[test]
fn dockerfiles_are_found_where_the_request_says() {
    let mut desk = Desk::new("").with("filename", "d/Dockerfile");
    desk.file("dockerfile", "d/dockerfile", "FROM scratch\nCOPY a b /");
    desk.file("dockerfile", "d/Dockerfile.dockerignore", "x\n!x/y");
    assert_eq!(
        desk.definition()[0],
        "0 `[internal] load build context` local://context local.excludepatterns=[\"x\",\"!x/y\"] local.followpaths=[\"a\",\"b\"] local.sharedkeyhint=context"
    );
    let none = Desk::new("").with("filename", "nowhere");
    assert_eq!(none.definition(), ["failed to read dockerfile: open nowhere: no such file or directory"]);
    assert_eq!(Desk::new("").definition(), [": the Dockerfile cannot be empty"]);
}

#[test]
fn contexts_may_be_elsewhere() {
    let mut desk = Desk::default().with("context", "https://h/r.git#main:sub").with("contextsubdir", "in");
    desk.file("in", "Dockerfile", "");
    desk.file("r.git#main:sub", "Dockerfile", "FROM scratch\nCOPY . /");
    assert_eq!(
        desk.definition(),
        [
            "0 `[internal] load git source https://h/r.git#main:sub` git://h/r.git#main:sub git.fullurl=https://h/r.git",
            "1 <0> `copy /in /` -1,0->0 copy /in /",
            "2 <1> `[1/1] COPY . /` -1,0->0 copy / / local",
        ]
    );
    assert!(!desk.asked.lock().expect("lock")[0].contains("copy"), "the Dockerfile is beside what is meant");
    let mut desk = Desk::new("FROM scratch\nCOPY --from=alpine a /\nCOPY b /");
    let Built::Images { images, .. } = Desk::new("FROM alpine\nRUN given").build().expect("built") else {
        panic!("no images")
    };
    desk.inputs.insert("context".to_owned(), images[0].definition.clone());
    assert!(desk.definition().iter().any(|line| line.contains("RUN given")));
    let mut desk = Desk::default().with("context", "https://h/d");
    desk.file("d", "context", "FROM scratch\nCOPY context /");
    assert_eq!(
        desk.definition()[0],
        "0 `[internal] load remote build context` https://h/d http.filename=context"
    );
}

#[test]
fn contexts_have_names() {
    let text = "FROM alpine AS a\nRUN x\nFROM scratch\nCOPY --from=a /1 /\nCOPY --from=other /2 /\nCOPY --from=dir /3 /4 /";
    let desk = Desk::new(text)
        .with("context:a", "docker-image://alpine")
        .with("context:other", "https://h/r.git")
        .with("context:dir", "local:dir")
        .with("sharedkey:localdir:dir", "k");
    let pinned = format!("@{}", oci::Digest::sha256_of(b"docker.io/library/alpine:latest"));
    let got: Vec<String> = desk.definition().iter().map(|line| line.replace(&pinned, "")).collect();
    assert_eq!(
        got,
        [
            "0 `[context a] alpine` docker-image://docker.io/library/alpine:latest",
            "1 <0> `[stage-1 1/3] COPY --from=a /1 /` -1,0->0 copy /1 / local",
            "2 `[internal] load git source https://h/r.git` git://h/r.git git.fullurl=https://h/r.git",
            "3 <1,2> `[stage-1 2/3] COPY --from=other /2 /` 0,1->0 copy /2 / local",
            "4 `[context dir] load from client` local://dir local.followpaths=[\"3\",\"4\"] local.sharedkeyhint=context:dir-k",
            "5 <3,4> `[stage-1 3/3] COPY --from=dir /3 /4 /` 0,1->-1 copy /3 / local; 2,1->0 copy /4 / local",
        ]
    );
    let mut desk = Desk::new("FROM base\nCOPY a /").with("context:base", "input:b");
    let Built::Images { images, .. } = Desk::new("FROM alpine\nRUN given").build().expect("built") else {
        panic!("no images")
    };
    desk.inputs.insert("b".to_owned(), images[0].definition.clone());
    let shown = desk.definition();
    assert!(shown.iter().any(|line| line.contains("RUN given")), "{shown:?}");
    let wrong = Desk::new("FROM base").with("context:base", "what:x");
    assert_eq!(wrong.definition(), ["1-1: unsupported context source what for base"]);
}

#[test]
fn other_front_ends_are_asked_for() {
    let forwarded = |text: &str| match Desk::new(text).build().expect("built") {
        Built::Forward { source, cmdline, lines, .. } => Some((source, cmdline, lines)),
        _ => None,
    };
    assert_eq!(forwarded("# syntax=docker/dockerfile:1.7-labs\nFROM scratch"), None);
    assert_eq!(forwarded("# syntax = docker.io/docker/dockerfile\nFROM scratch"), None);
    assert_eq!(forwarded("# syntax=dockerfile.v0\nFROM scratch"), None);
    assert_eq!(
        forwarded("# syntax=other/front:1 x\nwhatever"),
        Some(("other/front:1".to_owned(), "other/front:1 x".to_owned(), vec![Lines::at(1)]))
    );
    let inside = Desk::new("# syntax=other/front\nFROM scratch").with("cmdline", "other/front");
    assert!(matches!(inside.build(), Ok(Built::Images { .. })));
}

#[test]
fn targets_are_listed() {
    let desk = Desk::new("# b the base\nFROM alpine AS b\n\nFROM --platform=$X b")
        .with("requestid", "frontend.targets");
    let answer = desk.answer();
    assert_eq!(answer["result.txt"], "TARGET    DESCRIPTION\nb         the base\n(default) \n");
    assert_eq!(answer["version"], "1.0.0");
    let json: serde_json::Value = serde_json::from_str(&answer["result.json"]).expect("JSON");
    assert_eq!(
        json["targets"].to_string(),
        r#"[{"name":"b","description":"the base","base":"alpine","location":{"ranges":[{"start":{"line":2},"end":{"line":2}}]}},{"default":true,"base":"b","platform":"$X","location":{"ranges":[{"start":{"line":4},"end":{"line":4}}]}}]"#
    );
}

#[test]
fn what_a_target_takes_is_outlined() {
    let desk = Desk::new("ARG V=1\n# W of both\nARG W=$V\nARG unused\nFROM alpine:${W:+latest} AS a\n# X more\nARG X\nRUN --mount=type=secret,id=s,required --mount=type=ssh x")
        .with("requestid", "frontend.outline")
        .with("build-arg:X", "y");
    let answer = desk.answer();
    assert_eq!(
        answer["result.txt"],
        "TARGET: a\n\nBUILD ARG   VALUE   DESCRIPTION\nV           1       \nW           1       of both\nX           y       more\n\nSECRET   REQUIRED\ns        true\n\nSSH       REQUIRED\ndefault   \n\n"
    );
    let json: serde_json::Value = serde_json::from_str(&answer["result.json"]).expect("JSON");
    assert_eq!(json["args"][2]["value"], "y");
    assert_eq!(json["secrets"][0]["required"], true);
}

#[test]
fn dockerfiles_are_checked() {
    let desk = Desk::new("FROM scratch AS Base\nCOPY $x /\nRUNX").with("requestid", "frontend.lint");
    let answer = desk.answer();
    assert_eq!(answer["result.statuscode"], "1");
    assert_eq!(
        answer["result.txt"],
        "\nWARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n\
        Stage name 'Base' should be lowercase\nDockerfile:1\n--------------------\n   1 | >>> FROM scratch AS Base\n   2 |     COPY $x /\n   3 |     RUNX\n--------------------\n"
    );
    let json: serde_json::Value = serde_json::from_str(&answer["result.json"]).expect("JSON");
    assert_eq!(json["warnings"][0]["ruleName"], "StageNameCasing");
    assert_eq!(json["warnings"][0]["location"]["ranges"][0]["start"]["line"], 1);
    assert_eq!(
        json["buildError"]["message"],
        "dockerfile parse error on line 3: unknown instruction: RUNX (did you mean RUN?)"
    );
    assert_eq!(json["sources"][0]["filename"], "Dockerfile");
    // Stages that nothing needs are looked at too.
    let desk = Desk::new("FROM alpine AS unused\nCMD x\nFROM scratch").with("requestid", "frontend.lint");
    assert!(desk.answer()["result.txt"].contains("JSONArgsRecommended"));
    let well = Desk::new("FROM scratch").with("requestid", "frontend.lint").answer();
    assert_eq!((well["result.statuscode"].as_str(), well["result.txt"].as_str()), ("0", ""));
    assert!(well["result.json"].starts_with("{\n  \"warnings\": null,"));
}

#[test]
fn what_is_not_known_is_refused() {
    let desk = Desk::new("FROM scratch").with("requestid", "frontend.what");
    assert!(matches!(desk.build(), Err(FrontError::UnsupportedRequest(name)) if name == "frontend.what"));
    let desk = Desk::new("FROM scratch").with("frontend.caps", "moby.buildkit.frontend.inputs,what");
    assert!(matches!(desk.build(), Err(FrontError::UnsupportedCapability(name)) if name == "what"));
    let desk = Desk::new("FROM scratch").with("frontend.caps", "what+forward");
    assert!(matches!(desk.build(), Err(FrontError::UnsupportedCapability(name)) if name == "what"));
    let desk = Desk::new("# syntax=other/front\n").with("frontend.caps", "what+forward");
    assert!(matches!(desk.build(), Ok(Built::Forward { .. })));
    let answer = Desk::new("").with("requestid", "frontend.subrequests.describe");
    let mut answer = answer;
    answer.file("dockerfile", "Dockerfile", "FROM scratch");
    assert!(
        answer.answer()["result.txt"]
            .starts_with("NAME                 VERSION DESCRIPTION\noutline              1.0.0   List all")
    );
}

mod anything {
    use proptest::prelude::*;

    use super::*;

    /// Text of what Dockerfiles are made of, and of what they are not.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("FROM alpine AS a\n".to_owned()),
            Just("FROM --platform=$X a\n".to_owned()),
            Just("RUN --mount=type=cache,target=/x,uid=1 ".to_owned()),
            Just("COPY --from=a --chmod=u+x --parents ".to_owned()),
            Just("ADD https://h/a.git?x=y#z:".to_owned()),
            Just("HEALTHCHECK --interval=".to_owned()),
            Just("ENV ARG LABEL EXPOSE 1:2-3/".to_owned()),
            Just("ONBUILD <<A <<-'B' \n".to_owned()),
            Just("\n# check=skip=\n# escape=`\n".to_owned()),
            Just("${a:-${b//c/d}}${e%%*?\\}".to_owned()),
            Just("[\"".to_owned()),
            Just("\\\n".to_owned()),
            ".{0,8}",
            "[A-Z]{2,6} \\PC{0,12}\n",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_never_panics(text in text()) {
            let _ = Desk::new(&text).build();
            let _ = Desk::new(&format!("FROM alpine AS a\n{text}")).with("requestid", "frontend.lint").build();
        }

        #[test]
        fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512), option in ".{0,40}") {
            let mut desk = Desk::default();
            desk.files.insert(("dockerfile".to_owned(), "Dockerfile".to_owned()), bytes);
            for name in ["platform", "ulimit", "add-hosts", "context", "context:a", "build-arg:BUILDKIT_DOCKERFILE_CHECK"] {
                desk.options.insert(name.to_owned(), option.clone());
            }
            let _ = desk.build();
        }
    }
}

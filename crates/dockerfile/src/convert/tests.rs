use crate::front::Built;
use crate::testing::Desk;

/// The operations that a Dockerfile comes to; or the complaint.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_with(&Desk::new(text), text, expected);
}

#[track_caller]
fn check_with(desk: &Desk, text: &str, expected: &[&str]) {
    let pinned = format!(
        "docker.io/library/alpine:latest@{}",
        oci::Digest::sha256_of(b"docker.io/library/alpine:latest")
    );
    let got: Vec<String> = desk.definition().iter().map(|line| line.replace(&pinned, "ALPINE")).collect();
    assert_eq!(got, expected, "for `{text}`");
}

/// What the history says, `-` before what makes no layer.
#[track_caller]
fn history(text: &str, expected: &[&str]) {
    let config = Desk::new(text).config();
    let got: Vec<String> = config
        .history
        .iter()
        .map(|step| format!("{}{}", if step.empty_layer { "-" } else { "" }, step.created_by))
        .collect();
    assert_eq!(got, expected, "for `{text}`");
    assert!(config.history.iter().all(|step| step.comment == "buildkit.dockerfile.v0"));
}

#[test]
fn commands_run_on_what_came_before() {
    check(
        "FROM alpine\nENV A=1\nWORKDIR /w\nUSER me\nRUN echo $A\nRUN [\"x\"]",
        &[
            "0 `[1/4] FROM ALPINE` docker-image://ALPINE",
            "1 <0> `[2/4] WORKDIR /w` 0,-1->0 mkdir /w 755",
            "2 <1> `[3/4] RUN echo 1` exec [\"/bin/sh\", \"-c\", \"echo $A\"] env=PATH=/bin,A=1 cwd=/w user=me",
            "3 <2> `[4/4] RUN [\"x\"]` exec [\"x\"] env=PATH=/bin,A=1 cwd=/w user=me",
        ],
    );
    history(
        "FROM alpine\nENV A=1\nWORKDIR /w\nUSER me\nRUN echo $A\nCMD [\"x\", \"y z\"]",
        &["-ENV A=1", "WORKDIR /w", "-USER me", "RUN /bin/sh -c echo $A # buildkit", "-CMD [\"x\" \"y z\"]"],
    );
}

#[test]
fn files_are_copied_from_the_context_and_from_stages() {
    let text = "FROM alpine AS a\nRUN x\nFROM scratch AS unused\nCOPY gone /\nFROM scratch\nCOPY --from=a --chown=me:0 /x /y/\nADD --chmod=640 b c ./d/";
    check(
        text,
        &[
            "0 `[a 1/2] FROM ALPINE` docker-image://ALPINE",
            "1 <0> `[a 2/2] RUN x` exec [\"/bin/sh\", \"-c\", \"x\"] env=PATH=/bin cwd=/",
            "2 <1> `[stage-2 1/2] COPY --from=a --chown=me:0 /x /y/` -1,0->0 copy /x /y/ owner=me@-1:0 local",
            "3 `[internal] load build context` local://context local.followpaths=[\"b\",\"c\"] local.sharedkeyhint=context",
            "4 <2,3> `[stage-2 2/2] ADD --chmod=640 b c ./d/` 0,1->-1 copy /b /d/ mode=640 unpack local; 2,1->0 copy /c /d/ mode=640 unpack local",
        ],
    );
    history(text, &["COPY --chown=me:0 /x /y/ # buildkit", "ADD --chmod=640 b c ./d/ # buildkit"]);
}

#[test]
fn a_copy_can_be_linked() {
    check(
        "FROM alpine\nCOPY --link --exclude=*.o a /b",
        &[
            "0 `[1/2] FROM ALPINE` docker-image://ALPINE",
            "1 `[internal] load build context` local://context local.followpaths=[\"a\"] local.sharedkeyhint=context",
            "2 <1> `[2/2] COPY --link --exclude=*.o a /b` -1,0->0 copy /a /b local exclude=[\"*.o\"]",
            "3 <0,2> `[2/2] LINK COPY --link --exclude=*.o a /b` merge",
        ],
    );
    check(
        "FROM scratch\nCOPY --link --parents a/./b/*.c d/e /f/",
        &[
            "0 `[internal] load build context` local://context local.followpaths=[\"a/b/*.c\",\"d/e\"] local.sharedkeyhint=context",
            "1 <0> `[1/1] COPY --link --parents a/./b/*.c d/e /f/` -1,0->-1 copy /a /f/ local include=[\"b/*.c\"]; 1,0->0 copy / /f/ local include=[\"d/e\"] required=[\"/d/e\"]",
        ],
    );
}

#[test]
fn files_come_from_addresses_and_here_documents() {
    check(
        "FROM scratch\nADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://h/a/b.txt?x /c\nADD --keep-git-dir https://h/r.git#v1:d /e\nCOPY <<A <<-\"B\" /f/\n$PATH\nA\n\t$x\nB",
        &[
            "0 `[1/3] ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://h/a/b.txt?x /c` https://h/a/b.txt?x http.checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 http.filename=b.txt",
            "1 <0> `[1/3] ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://h/a/b.txt?x /c` -1,0->0 copy /b.txt /c",
            "2 `[2/3] ADD --keep-git-dir https://h/r.git#v1:d /e` git://h/r.git#v1:d git.fullurl=https://h/r.git git.keepgitdir=true",
            "3 <1,2> `[2/3] ADD --keep-git-dir https://h/r.git#v1:d /e` 0,1->0 copy / /e",
            "4 `[internal] preparing inline document` -1,-1->0 mkfile /A 644 b\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\\n\"",
            "5 `[internal] preparing inline document` -1,-1->0 mkfile /B 644 b\"$x\\n\"",
            "6 <3,4,5> `[3/3] COPY <<A <<-B /f/` 0,1->-1 copy /A /f/; 3,2->0 copy /B /f/",
        ],
    );
    check("FROM scratch\nCOPY https://h/a /", &["2-2: source can't be a URL for COPY"]);
    check("FROM scratch\nCOPY git@h:a /", &["2-2: source can't be a git ref for COPY"]);
    check("FROM scratch\nADD --checksum=x a /", &["2-2: checksum requires HTTP(S) or Git sources"]);
    check(
        "FROM scratch\nCOPY --chmod=99 a /",
        &["2-2: invalid chmod parameter: '99'. it should be octal string and between 0 and 07777"],
    );
}

#[test]
fn modes_can_be_written_in_letters() {
    let line = |mode: &str| Desk::new(&format!("FROM scratch\nCOPY --chmod={mode} a /")).definition().pop();
    assert!(line("u=rwX,go-w").expect("made").contains(" mode=u=rwX,go-w "));
    assert!(line("4755").expect("made").contains(" mode=4755 "));
    assert!(line("u+q").expect("refused").contains("invalid chmod parameter"));
}

#[test]
fn here_documents_are_scripts() {
    check(
        "FROM alpine\nRUN <<EOF\na\nb $x\nEOF\nRUN <<-'P'\n\t#!/bin/p\n\tc\nP\nRUN cat <<A <<B\n1\nA\n2\nB",
        &[
            "0 `[1/4] FROM ALPINE` docker-image://ALPINE",
            "1 <0> `[2/4] RUN <<EOF (a...)` exec [\"/bin/sh\", \"-c\", \"a\\nb $x\\n\"] env=PATH=/bin cwd=/",
            "2 `[internal] preparing inline document` -1,-1->0 mkfile /P 755 b\"#!/bin/p\\nc\\n\"",
            "3 <1,2> `[3/4] RUN <<-'P' (#!/bin/p...)` exec [\"/bin/sh\", \"-c\", \"/dev/pipes/P\"] env=PATH=/bin cwd=/ bind:/dev/pipes/<1/:ro",
            "4 <3> `[4/4] RUN cat <<A <<B` exec [\"/bin/sh\", \"-c\", \"cat <<A <<B\\n1\\nA\\n2\\nB\"] env=PATH=/bin cwd=/",
        ],
    );
}

#[test]
fn commands_have_mounts() {
    check(
        "FROM alpine\nARG T=/t\nRUN --mount=type=cache,target=$T,sharing=locked --mount=src=a,dst=b,rw --mount=type=tmpfs,dst=/m,size=1k x",
        &[
            "0 `[stage-0 1/2] FROM ALPINE` docker-image://ALPINE",
            "1 `[internal] load build context` local://context local.followpaths=[\"a\"] local.sharedkeyhint=context",
            "2 <0,1> `[stage-0 2/2] RUN --mount=type=cache,target=/t,sharing=locked --mount=src=a,dst=b,rw --mount=type=tmpfs,dst=/m,size=1k x` exec [\"/bin/sh\", \"-c\", \"x\"] env=PATH=/bin,T=/t cwd=/ bind:/b<1/a tmpfs:/m<-1:1024 cache:/t<-1://t:Locked",
        ],
    );
    check(
        "FROM alpine\nRUN --mount=type=secret,id=a/s,required --mount=type=secret,id=e,env=E --mount=type=ssh --mount=type=ssh,id=k,target=/k,mode=0660 echo $E",
        &[
            "0 `[stage-0 1/2] FROM ALPINE` docker-image://ALPINE",
            "1 <0> `[stage-0 2/2] RUN --mount=type=secret,id=a/s,required --mount=type=secret,id=e,env=E --mount=type=ssh --mount=type=ssh,id=k,target=/k,mode=0660 echo ****` exec [\"/bin/sh\", \"-c\", \"echo $E\"] env=PATH=/bin,SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0 cwd=/ secret:/run/secrets/s<-1:a/s:0:0:400 ssh:/run/buildkit/ssh_agent.0<-1:?:600 ssh:/k<-1:k?:660 secret:$E:e",
        ],
    );
    check(
        "FROM alpine\nRUN --mount=type=cache,target=/c,uid=7,id=i x",
        &[
            "0 `[stage-0 1/2] FROM ALPINE` docker-image://ALPINE",
            "1 `[internal] setting cache mount permissions` -1,-1->0 mkdir /cache 755 owner=7:0",
            "2 <0,1> `[stage-0 2/2] RUN --mount=type=cache,target=/c,uid=7,id=i x` exec [\"/bin/sh\", \"-c\", \"x\"] env=PATH=/bin cwd=/ cache:/c<1/cache:/i:Shared",
        ],
    );
    check("FROM alpine\nRUN --mount=target=/ x", &["2-2: invalid mount target \"/\""]);
    check("FROM alpine\nRUN --mount=type=ssh,src=x y", &["2-2: ssh does not support source"]);
}

#[test]
fn commands_run_as_the_request_says() {
    let text = "FROM alpine\nRUN --network=none --security=insecure --device=v/c=d,required a\nRUN b";
    let desk = Desk::new(text)
        .with("add-hosts", "h=1.2.3.4")
        .with("ulimit", "nofile=1:2")
        .with("shm-size", "7")
        .with("cgroup-parent", "/p")
        .with("hostname", "name")
        .with("force-network-mode", "host")
        .with("build-arg:HTTP_PROXY", "http://p")
        .with("no-cache", "");
    let common =
        "env=PATH=/bin cwd=/ hostname=name cgroup=/p proxy=http://p host=h:1.2.3.4 ulimit=nofile:1:2";
    check_with(
        &desk,
        text,
        &[
            "0 `[1/3] FROM ALPINE` docker-image://ALPINE",
            &format!(
                "1 <0> uncached `[2/3] RUN --network=none --security=insecure --device=v/c=d,required a` exec [\"/bin/sh\", \"-c\", \"a\"] {common} network=None insecure tmpfs:/dev/shm<-1:7 device:v/c=d:false"
            ),
            &format!(
                "2 <1> uncached `[3/3] RUN b` exec [\"/bin/sh\", \"-c\", \"b\"] {common} network=Host tmpfs:/dev/shm<-1:7"
            ),
        ],
    );
}

#[test]
fn arguments_have_scopes() {
    let text = "ARG V=1\nARG W=$V.2\nFROM alpine AS a\nARG V\nARG X=${W:-no}\nRUN a\nFROM a\nRUN b\n";
    let history_of = |desk: &Desk| -> Vec<String> {
        desk.config().history.into_iter().map(|step| step.created_by).collect()
    };
    assert_eq!(
        history_of(&Desk::new(text)),
        [
            "ARG V=1",
            "ARG X=no",
            "RUN |2 V=1 X=no /bin/sh -c a # buildkit",
            "RUN |2 V=1 X=no /bin/sh -c b # buildkit"
        ]
    );
    let given = Desk::new(text).with("build-arg:V", "9").with("build-arg:X", "8").with("build-arg:U", "7");
    assert_eq!(history_of(&given)[..2], ["ARG V=9", "ARG X=8"]);
    history(
        "FROM alpine\nARG TARGETARCH\nARG BUILDPLATFORM TARGETSTAGE NONE\nENV TARGETARCH=x\nRUN y",
        &[
            "-ARG TARGETARCH=amd64",
            "-ARG BUILDPLATFORM=linux/amd64 TARGETSTAGE=default NONE",
            "-ENV TARGETARCH=x",
            "RUN |4 TARGETARCH=x BUILDPLATFORM=linux/amd64 TARGETSTAGE=default NONE= /bin/sh -c y # buildkit",
        ],
    );
    check("ARG A=${\nFROM alpine", &["1-1: failed to process \"${\": syntax error: missing '}'"]);
    check("FROM $X", &["1-1: base name ($X) should not be blank"]);
}

#[test]
fn configurations_are_what_instructions_say() {
    let text = "FROM scratch\nLABEL a=1 \"b c\"=2\nEXPOSE 80 90-91/udp\nVOLUME /v\nSTOPSIGNAL SIGQUIT\nENTRYPOINT [\"e\"]\n\
        CMD run\nSHELL [\"/s\", \"-x\"]\nHEALTHCHECK --interval=30s CMD ok\nONBUILD RUN later\nMAINTAINER me\nUSER u";
    let desk = Desk::new(text).with("label:given", "3");
    let json = String::from_utf8(desk.config().to_bytes()).expect("text");
    let (config, history) = json.split_once("\"history\":").expect("history");
    assert_eq!(
        config,
        r#"{"architecture":"amd64","author":"me","config":{"User":"u","ExposedPorts":{"80/tcp":{},"90/udp":{},"91/udp":{}},"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Entrypoint":["e"],"Cmd":["/bin/sh","-c","run"],"ArgsEscaped":true,"Healthcheck":{"Test":["CMD-SHELL","ok"],"Interval":30000000000},"Volumes":{"/v":{}},"WorkingDir":"/","OnBuild":["RUN later"],"Labels":{"a":"1","b c":"2","given":"3"},"StopSignal":"SIGQUIT","Shell":["/s","-x"]},"#
    );
    assert!(history.ends_with(r#""os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#), "{history}");
    super::tests::history(
        text,
        &[
            "-LABEL a=1 b c=2",
            "-EXPOSE [80/tcp 90/udp 91/udp]",
            "-VOLUME [/v]",
            "-STOPSIGNAL SIGQUIT",
            "-ENTRYPOINT [\"e\"]",
            "-CMD [\"/bin/sh\" \"-c\" \"run\"]",
            "-SHELL [/s -x]",
            "-HEALTHCHECK {Test:[CMD-SHELL ok] Interval:30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            "-MAINTAINER me",
            "-USER u",
        ],
    );
    // An entrypoint drops the command of the image.
    assert_eq!(Desk::new("FROM alpine\nENTRYPOINT [\"e\"]").config().config.cmd, None);
    assert!(Desk::new("FROM alpine").config().config.cmd.is_some());
}

#[test]
fn triggers_run_in_the_next_build() {
    let text = "FROM alpine AS tools\nRUN t\nFROM alpine AS a\nONBUILD COPY --from=tools /x /x\nONBUILD RUN z\nFROM a\nRUN y";
    check(
        text,
        &[
            "0 `[tools 1/2] FROM ALPINE` docker-image://ALPINE",
            "1 <0> `[tools 2/2] RUN t` exec [\"/bin/sh\", \"-c\", \"t\"] env=PATH=/bin cwd=/",
            "2 <0,1> `[stage-2 1/3] ONBUILD COPY --from=tools /x /x` 0,1->0 copy /x /x local",
            "3 <2> `[stage-2 2/3] ONBUILD RUN z` exec [\"/bin/sh\", \"-c\", \"z\"] env=PATH=/bin cwd=/",
            "4 <3> `[stage-2 3/3] RUN y` exec [\"/bin/sh\", \"-c\", \"y\"] env=PATH=/bin cwd=/",
        ],
    );
    let mut desk = Desk::new("FROM alpine");
    let image = desk.images.values_mut().next().expect("alpine");
    image.config.on_build = vec!["RUN from-image".to_owned()];
    assert_eq!(desk.config().history[0].created_by, "RUN /bin/sh -c from-image # buildkit");
    assert!(desk.config().config.on_build.is_empty());
}

#[test]
fn stages_are_known_by_name_and_number() {
    check("FROM alpine AS a\nCOPY --from=1 x y", &["2-2: invalid stage index 1"]);
    check("FROM alpine\nCOPY --from=0 x y", &["2-2: circular dependency detected on stage: stage-0"]);
    check(
        "FROM alpine AS a\nCOPY --from=b x y\nFROM alpine AS b\nCOPY --from=a x y",
        &["2-2,4-4: circular dependency detected on stage: a"],
    );
    check(
        "FROM alpine AS a\nCOPY --from=b x y\nFROM scratch AS b\nFROM a",
        &["2-2: cannot copy from stage \"b\", it needs to be defined before current stage \"a\""],
    );
    check(
        "FROM alpine\nCOPY --from=$x a b",
        &[
            "2-2: variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        ],
    );
    let desk = Desk::new("FROM alpine AS base").with("target", "bas");
    check_with(&desk, "", &[": target stage \"bas\" could not be found (did you mean base?)"]);
    check("FROM alpne", &["1-1: alpne: not found (did you mean alpine?)"]);
    check(
        "FROM Alpine",
        &[
            "1-1: failed to parse stage name \"Alpine\": invalid reference format: repository name (Alpine) must be lowercase",
        ],
    );
}

#[test]
fn what_is_outside_the_dockerfile_can_be_copied_from() {
    check(
        "FROM scratch\nCOPY --from=alpine /a /b",
        &[
            "0 `FROM ALPINE` docker-image://ALPINE",
            "1 <0> `[stage-0 1/1] COPY --from=alpine /a /b` -1,0->0 copy /a /b local",
        ],
    );
}

#[test]
fn arguments_say_what_else_is_scanned() {
    let stages = |global: &str, of_stage: &str| {
        format!(
            "ARG BUILDKIT_SBOM_SCAN_CONTEXT={global}\n\
             FROM scratch AS file\nARG BUILDKIT_SBOM_SCAN_STAGE={of_stage}\nCOPY a /a\n\
             FROM scratch\nARG BUILDKIT_SBOM_SCAN_STAGE\nCOPY --from=file /a /b\n\
             FROM scratch AS unused\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN b\n\
             FROM scratch AS last\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY --from=1 /b /c\n"
        )
    };
    let scanned = |desk: Desk| match desk.build().expect("built") {
        Built::Images { images, .. } => {
            let names =
                images[0].scanned.iter().map(|(name, definition)| (name.clone(), definition.def.len()));
            names.collect::<Vec<_>>()
        }
        other => panic!("no image: {other:?}"),
    };
    let of = |names: &[(&str, usize)]| -> Vec<(String, usize)> {
        names.iter().map(|(name, operations)| ((*name).to_owned(), *operations)).collect()
    };
    // With the end that each definition has.
    assert_eq!(scanned(Desk::new(&stages("true", "true"))), of(&[("context", 2), ("file", 3)]));
    assert_eq!(scanned(Desk::new(&stages("last", "other,file"))), of(&[("context", 2), ("file", 3)]));
    assert_eq!(scanned(Desk::new(&stages("file", "last"))), of(&[]));
    let desk = Desk::new(&stages("true", "false")).with("build-arg:BUILDKIT_SBOM_SCAN_STAGE", "true");
    assert_eq!(scanned(desk), of(&[("context", 2), ("file", 3), ("stage-1", 4)]));
    let desk = Desk::new("FROM scratch AS file\nCOPY a /a\nFROM file");
    assert_eq!(scanned(desk.with("build-arg:BUILDKIT_SBOM_SCAN_STAGE", "true")), of(&[]));
}

#[test]
fn times_can_be_fixed() {
    let desk = Desk::new("FROM scratch\nWORKDIR /a").with("build-arg:SOURCE_DATE_EPOCH", "86400");
    assert_eq!(desk.config().history[0].created.as_deref(), Some("1970-01-02T00:00:00Z"));
    let wrong = Desk::new("FROM scratch").with("build-arg:SOURCE_DATE_EPOCH", "soon");
    assert_eq!(wrong.definition(), [": invalid SOURCE_DATE_EPOCH: soon"]);
}

#[test]
fn what_grows_from_line_to_line_comes_to_an_end() {
    let doubled = |keyword: &str| {
        let lines = (0..40).map(|n| format!("{keyword} A{}=$A{n}$A{n}\n", n + 1)).collect::<String>();
        Desk::new(&format!("FROM alpine\n{keyword} A0=0123456789abcdef\n{lines}")).definition().concat()
    };
    for keyword in ["ARG", "ENV"] {
        let error = doubled(keyword);
        assert!(error.contains("build arguments are longer than 2097152 bytes together"), "{error:.300}");
    }
    let stages = "FROM a\n".repeat(300);
    let text = format!(
        "FROM alpine AS a\nENV A={}\nENV B=$A$A$A$A$A$A$A$A$A$A$A$A$A$A$A$A\nFROM a AS b\n{stages}",
        "x".repeat(60_000)
    );
    let desk = Desk::new(&format!("{text}{}", "RUN x\n".repeat(200)));
    let error = desk.definition().concat();
    assert!(error.contains("the stages come to more than 16777216 bytes together"), "{error:.300}");
}

#[test]
fn triggers_come_to_an_end() {
    let stages = (0..200).map(|n| format!("FROM b AS s{n}\n")).collect::<String>();
    let copies = (0..200).map(|n| format!("COPY --from=s{n} a b\n")).collect::<String>();
    let text = format!("FROM scratch AS b\n{}{stages}FROM scratch\n{copies}", "ONBUILD USER x\n".repeat(100));
    let error = Desk::new(&text).definition().concat();
    assert!(error.contains("there are more than 10000 triggers"), "{error:.300}");
}

#[test]
fn one_line_does_not_become_very_many_bytes() {
    let text = format!("FROM alpine\nENV A={}\nCOPY {} /\n", "x".repeat(60_000), "$A ".repeat(20_000));
    let error = Desk::new(&text).definition().concat();
    assert!(error.contains("the stages come to more than 16777216 bytes together"), "{error:.300}");
    let desk = Desk::new(&text).with("platform", "linux/amd64,linux/arm64");
    let error = desk.definition().concat();
    assert!(error.contains("the stages come to more than 8388608 bytes together"), "{error:.300}");
}

#[test]
fn very_many_variables_take_no_time_by_the_square() {
    // Each against each, these would be thousands of millions.
    let declared = |from: usize| (from..from + 1_000).map(|n| format!(" A{n}")).collect::<String>();
    let lines = (0..80).map(|n| format!("ARG{}\n", declared(1_000 * n))).collect::<String>();
    let used = (0..80)
        .map(|n| format!("LABEL x{n}=\"{}\"\n", declared(1_000 * n).replace(' ', "$")))
        .collect::<String>();
    let got = Desk::new(&format!("FROM scratch\n{lines}{used}")).definition();
    assert!(got.is_empty(), "{:.300}", got.concat());
}

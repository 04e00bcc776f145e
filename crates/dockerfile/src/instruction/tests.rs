use super::*;
use crate::lint::Linter;

/// What the instructions after FROM say; or the complaint.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let got = match parse(&format!("FROM x\n{text}"), &mut Linter::default()) {
        Ok(document) => {
            document.stages[0].instructions.iter().map(|read| format!("{:?}", read.what)).collect()
        }
        Err(error) => vec![error.problem],
    };
    assert_eq!(got, expected, "for `{text}`");
}

/// The complaint about an instruction on the second line.
#[track_caller]
fn refused(text: &str, expected: &str) {
    check(text, &[&format!("dockerfile parse error on line 2: {expected}")]);
}

#[test]
fn instructions_are_read() {
    check("USER  a b ", &[r#"User("a b")"#]);
    check("WORKDIR /a b", &[r#"Workdir("/a b")"#]);
    check("VOLUME [\" /a \", \"/b\"]", &[r#"Volume(["/a", "/b"])"#]);
    check("EXPOSE 90 80/UDP", &[r#"Expose(["80/UDP", "90"])"#]);
    check("SHELL [\"a\", \"b\"]", &[r#"Shell(["a", "b"])"#]);
    check("ONBUILD  RUN x\nONBUILD RUN <<E\ny\nE", &[r#"OnBuild("RUN x")"#, r#"OnBuild("RUN <<E\ny\nE")"#]);
    check(
        "HEALTHCHECK --interval=1m --start-interval=5s --retries=3 CMD a b",
        &[
            r#"Healthcheck(Healthcheck { test: ["CMD-SHELL", "a b"], interval: 60000000000, timeout: 0, start_period: 0, start_interval: 5000000000, retries: 3 })"#,
        ],
    );
    check(
        "HEALTHCHECK NONE",
        &[
            r#"Healthcheck(Healthcheck { test: ["NONE"], interval: 0, timeout: 0, start_period: 0, start_interval: 0, retries: 0 })"#,
        ],
    );
    check(
        "# A the first\nARG A=1 B",
        &[
            r#"Arg([Arg { name: "A", value: Some("1"), description: "the first" }, Arg { name: "B", value: None, description: "" }])"#,
        ],
    );
}

#[test]
fn stages_have_names_and_platforms() {
    let text = "ARG V=1\n# b the base\nFROM --platform=$P a:$V AS B\nFROM b";
    let document = parse(text, &mut Linter::default()).expect("fine");
    let stages: Vec<_> =
        document.stages.iter().map(|s| [&*s.name, &*s.base, &*s.platform, &*s.description]).collect();
    assert_eq!(stages, [["b", "a:$V", "$P", "the base"], ["", "b", "", ""]]);
    assert_eq!(document.args.len(), 1);
}

#[test]
fn what_is_no_instruction_is_refused() {
    refused("RNU x", "unknown instruction: RNU (did you mean RUN?)");
    refused("frmo x", "unknown instruction: frmo (did you mean from?)");
    refused("SOMETHING x", "unknown instruction: SOMETHING");
    refused("FROM a b", "FROM requires either one or three arguments");
    refused(
        "FROM a AS 1b",
        "invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
    );
    refused("USER", "USER requires exactly one argument");
    refused("ENV", "ENV requires at least one argument");
    refused("ENV =x", "ENV names can not be blank");
    refused("ARG =x", "ARG names can not be blank");
    refused("SHELL /bin/sh", "SHELL requires the arguments to be in JSON form");
    refused("VOLUME [\"\"]", "VOLUME specified can not be an empty string");
    refused("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    refused("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger");
    refused("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD");
    refused("HEALTHCHECK x", "Unknown type \"X\" in HEALTHCHECK (try CMD)");
    refused("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)");
    refused("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms");
    refused(
        "COPY a",
        "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    );
    refused("COPY a <<b\nb", "COPY cannot accept a heredoc as a destination");
    let problem = |text| parse(text, &mut Linter::default()).expect_err(text).problem;
    assert_eq!(problem(""), "the Dockerfile cannot be empty");
    assert_eq!(problem("RUN x"), "no build stage in current context");
    assert_eq!(problem("ARG x"), "dockerfile contains no stages to build");
}

#[test]
fn flags_are_those_that_an_instruction_knows() {
    refused("COPY --form=x a b", "unknown flag: --form (did you mean from?)");
    refused("COPY --from=x --from=y a b", "duplicate flag specified: --from");
    refused("COPY --from a b", "missing a value on flag: --from");
    refused("COPY --link= a b", "missing a value on flag: --link");
    refused("COPY --link=x a b", "expecting boolean value for flag --link, not: x");
    refused("USER --x y", "unknown flag: --x");
    refused("RUN --network=x y", "invalid network mode \"x\"");
    refused("RUN --network= y", "invalid network mode \"\"");
    refused("RUN --security=x y", "security \"x\" is not valid");
    refused(
        "RUN --mount=type=bind,from=$x y",
        "'from' doesn't support variable expansion, define alias stage instead",
    );
    refused("RUN --device=a,b y", "invalid field 'b' must be a key=value pair");
    check(
        "ADD --keep-git-dir --unpack=FALSE --checksum=c --exclude=d --exclude=e --link a b",
        &[
            r#"Add(Copying { sources: ["a"], files: [], target: "b", from: "", chown: "", chmod: "", exclude: ["d", "e"], link: true, parents: false, keep_git_dir: Some(true), unpack: Some(false), checksum: "c" })"#,
        ],
    );
}

/// A mount, or the complaint.
#[track_caller]
fn mount(text: &str, expected: Result<Mount, &str>) {
    let got = Mount::read(text, &mut |word| Ok(word.replace("$X", "x")));
    assert_eq!(got.as_ref().map_err(String::as_str), expected.as_ref().map_err(|problem| *problem), "{text}");
}

#[test]
fn mounts_have_fields() {
    let bind = Mount {
        kind: MountKind::Bind,
        from: String::new(),
        source: String::new(),
        target: String::new(),
        is_readonly: true,
        size: 0,
        id: String::new(),
        sharing: None,
        is_required: false,
        env: None,
        mode: None,
        uid: None,
        gid: None,
    };
    let bind = || bind.clone();
    mount(
        "src=$X,dst=/a,rw",
        Ok(Mount { source: "x".into(), target: "/a".into(), is_readonly: false, ..bind() }),
    );
    let cache = Mount { kind: MountKind::Cache, is_readonly: false, ..bind() };
    mount(
        "type=cache,target=/c,id=i,sharing=locked,mode=0700,uid=1,gid=2",
        Ok(Mount {
            target: "/c".into(),
            id: "i".into(),
            sharing: Some(Sharing::Locked),
            mode: Some(0o700),
            uid: Some(1),
            gid: Some(2),
            ..cache
        }),
    );
    mount(
        "type=tmpfs,target=/t,size=1m",
        Ok(Mount {
            kind: MountKind::Tmpfs,
            target: "/t".into(),
            size: 1 << 20,
            is_readonly: false,
            ..bind()
        }),
    );
    mount(
        "type=secret,id=s,env=S,required",
        Ok(Mount {
            kind: MountKind::Secret,
            id: "s".into(),
            env: Some("S".into()),
            is_required: true,
            ..bind()
        }),
    );
    mount("type=sercet", Err("unsupported mount type \"sercet\" (did you mean secret?)"));
    mount("tagret=x", Err("unexpected key 'tagret' in 'tagret=x' (did you mean target?)"));
    mount("x", Err("invalid field 'x' must be a key=value pair"));
    mount("required", Err("unexpected key 'required' for mount type 'bind'"));
    mount("size=1m", Err("unexpected key 'size' for mount type 'bind'"));
    mount("type=cache,sharing=x", Err("unsupported sharing value \"x\""));
    mount("sharing=locked", Err("invalid cache sharing set for bind mount"));
    mount("mode=1", Err("mode not allowed for \"bind\" type mounts"));
    mount("type=secret", Err("invalid secret mount. one of source, target required"));
    mount("type=secret,id=a,src=b", Err("both source and id can't be set"));
    mount("type=cache,uid=x", Err("invalid value x for uid"));
    mount("ro=maybe", Err("invalid value for ro: maybe"));
    mount("a\"b", Err("failed to parse csv mounts: parse error on line 1: bare \" in non-quoted-field"));
}

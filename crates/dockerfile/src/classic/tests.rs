use super::*;
use crate::words::{expand, expand_words};

/// The instructions of a Dockerfile, in Rust's words; or the complaint.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let got = match Dockerfile::parse(&format!("FROM x\n{text}")) {
        Ok(dockerfile) => dockerfile.steps[1..].iter().map(|step| format!("{:?}", step.command)).collect(),
        Err(error) => vec![error.to_string()],
    };
    assert_eq!(got, expected, "for `{text}`");
}

#[track_caller]
fn check_expand(word: &str, expected: Result<&str, &str>) {
    let variables = |name: &str| match name {
        "set" => Some("value".to_owned()),
        "empty" => Some(String::new()),
        "path" => Some("a/b/c.tar.gz".to_owned()),
        _ => None,
    };
    let got = expand(word, '\\', &variables);
    assert_eq!(got.as_deref().map_err(String::as_str), expected, "for `{word}`");
}

#[test]
fn commands_have_a_shell_form_and_an_exec_form() {
    check("RUN echo hi", &[r#"Run { form: Shell("echo hi"), network: Default, documents: [] }"#]);
    check(r#"CMD ["a", "b c"]"#, &[r#"Cmd(Exec(["a", "b c"]))"#]);
    check("CMD [not json]", &[r#"Cmd(Shell("[not json]"))"#]);
    check(r#"entrypoint ["x"]"#, &[r#"Entrypoint(Exec(["x"]))"#]);
    check(
        "SHELL /bin/sh",
        &["dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form"],
    );
}

#[test]
fn lines_continue_over_comments_and_blank_lines() {
    check(
        "RUN a \\\n  # comment\n\n  && b",
        &[r#"Run { form: Shell("a   && b"), network: Default, documents: [] }"#],
    );
    check("# comment\n   \nUSER me", &[r#"User("me")"#]);
    let text = "# escape=`\nFROM x\nRUN a `\n b\\";
    let dockerfile = Dockerfile::parse(text).expect("another escape");
    assert_eq!(dockerfile.steps[1].text, "RUN a  b\\");
    assert_eq!(dockerfile.escape, '`');
}

#[test]
fn here_documents_belong_to_their_instruction() {
    check(
        "RUN <<EOF\nset -e\necho hi\nEOF\nUSER me",
        &[
            r#"Run { form: Shell("<<EOF"), network: Default, documents: [HereDocument { name: "EOF", content: "set -e\necho hi\n", expand: true }] }"#,
            r#"User("me")"#,
        ],
    );
    check(
        "COPY <<-\"a.txt\" <<b /d/\n\thello\na.txt\nx\nb",
        &[
            r#"Copy(Copying { sources: [Document(HereDocument { name: "a.txt", content: "hello\n", expand: false }), Document(HereDocument { name: "b", content: "x\n", expand: true })], target: "/d/", from: None, owner: None, mode: None, exclude: [] })"#,
        ],
    );
    check("RUN <<EOF\nno end", &["dockerfile parse error on line 2: unterminated heredoc `EOF`"]);
    check(
        "RUN echo '<<EOF' && x <<< y",
        &[r#"Run { form: Shell("echo '<<EOF' && x <<< y"), network: Default, documents: [] }"#],
    );
}

#[test]
fn pairs_come_in_two_forms() {
    check(r#"ENV A=1 B="x y" C=a\ b"#, &[r#"Env([("A", "1"), ("B", "\"x y\""), ("C", "a\\ b")])"#]);
    check("ENV A one two", &[r#"Env([("A", "one two")])"#]);
    check(
        "LABEL a=b c",
        &[
            r#"dockerfile parse error on line 2: Syntax error - can't find = in "c". Must be of the form: name=value"#,
        ],
    );
    check("ENV A", &["dockerfile parse error on line 2: ENV must have two arguments"]);
    check("ARG A B=2", &[r#"Arg([("A", None), ("B", Some("2"))])"#]);
}

#[test]
fn options_come_before_arguments_and_must_be_known() {
    check(
        "COPY --from=build --chown=1:2 --chmod=755 a b /c",
        &[
            r#"Copy(Copying { sources: [Path("a"), Path("b")], target: "/c", from: Some("build"), owner: Some("1:2"), mode: Some("755"), exclude: [] })"#,
        ],
    );
    check("COPY --what=x a b", &["dockerfile parse error on line 2: unknown flag: what"]);
    check(
        "RUN --mount=type=cache,target=/x y",
        &["dockerfile parse error on line 2: RUN --mount is not supported: it needs BuildKit"],
    );
    check("RUN --network=none x", &[r#"Run { form: Shell("x"), network: None, documents: [] }"#]);
    check("RUN --network=host x", &[r#"Run { form: Shell("x"), network: Host, documents: [] }"#]);
    for other in ["container:web", "bridge", "internal"] {
        let problem = format!("dockerfile parse error on line 2: invalid network mode: \"{other}\"");
        check(&format!("RUN --network={other} x"), &[&problem]);
    }
    check(
        "HEALTHCHECK --interval=1m30s --retries=2 CMD curl x",
        &[
            r#"Healthcheck(HealthOptions { command: Some(Shell("curl x")), interval: 90000000000, timeout: 0, start_period: 0, start_interval: 0, retries: 2 })"#,
        ],
    );
}

#[test]
fn a_dockerfile_has_as_many_steps_as_images_take() {
    let text = |count: usize| format!("FROM x\n{}", "RUN y\n".repeat(count - 1));
    assert_eq!(Dockerfile::parse(&text(10_000)).expect("it is long").steps.len(), 10_000);
    let error = Dockerfile::parse(&text(10_001)).expect_err("too long").to_string();
    assert_eq!(error, "dockerfile parse error on line 10001: there are more than 10000 instructions");
}

#[test]
fn broken_dockerfiles_are_named_with_their_line() {
    assert_eq!(Dockerfile::parse("\n# only\n"), Err(ParseError::Empty));
    let error = |text: &str| Dockerfile::parse(text).expect_err(text).to_string();
    assert_eq!(
        error("\nRUN x\nFROM y"),
        "dockerfile parse error on line 2: no build stage in current context"
    );
    assert_eq!(error("# only"), "file with no instructions");
    assert_eq!(
        error("FROM a b"),
        "dockerfile parse error on line 1: FROM requires either one or three arguments"
    );
    check("FOO bar", &["dockerfile parse error on line 2: unknown instruction: FOO"]);
    check(
        "\nCOPY a",
        &[
            "dockerfile parse error on line 3: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ],
    );
    check(
        "ONBUILD ONBUILD RUN x",
        &["dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
    );
    check("RUN", &["dockerfile parse error on line 2: RUN requires at least one argument"]);
}

#[test]
fn variables_expand_with_defaults_and_patterns() {
    check_expand("$set-${set}", Ok("value-value"));
    check_expand("${unset:-a}${empty:-b}${empty-c}${set:+d}${unset:+e}", Ok("abd"));
    check_expand("${unset-${set}}", Ok("value"));
    check_expand("${path#*/}|${path##*/}|${path%.*}|${path%%.*}", Ok("b/c.tar.gz|c.tar.gz|a/b/c.tar|a/b/c"));
    check_expand("${path/b/X}|${path//[a]/Y}|${path//a/Z}", Ok("a/X/c.tar.gz|a/b/c.tar.gz|Z/b/c.tZr.gz"));
    check_expand("${unset:?is needed}", Err("unset: is needed"));
    check_expand("${unset?}", Err("unset: is not allowed to be unset"));
    check_expand("${empty:?}", Err("empty: is not allowed to be empty"));
    check_expand("${set:#v}", Err("unsupported modifier (:#) in substitution"));
    check_expand("${set", Err("syntax error: missing '}'"));
    check_expand("${}", Err("syntax error: bad substitution"));
    let nested = |levels: usize| format!("{}{}", "${unset:-".repeat(levels), "}".repeat(levels));
    check_expand(&nested(64), Ok(""));
    check_expand(&nested(100_000), Err("substitutions are nested more than 64 deep"));
    let quoted = format!("{}{}", "\"${unset:-".repeat(100_000), "}\"".repeat(100_000));
    check_expand(&quoted, Err("substitutions are nested more than 64 deep"));
}

#[test]
fn variables_that_double_each_other_come_to_an_end() {
    let mut value = "0123456789abcdef".to_owned();
    let end = (0..40).find_map(|_| {
        let known = value.clone();
        let variables = move |_: &str| Some(known.clone());
        match expand("$A$A", '\\', &variables) {
            Ok(next) => value = next,
            Err(error) => return Some(error),
        }
        None
    });
    assert_eq!(end.as_deref(), Some("a word becomes longer than 1048576 bytes"));
}

#[test]
fn quotes_and_escapes_protect() {
    check_expand(r#"'$set' "$set" \$set"#, Ok("$set value $set"));
    check_expand(r#""a\"b\\c\d""#, Ok(r#"a"b\c\d"#));
    check_expand("5$ $", Ok("5$ $"));
    // As in a shell, but never set.
    check_expand("a$$b|$$set|$$$set|$1x|$12|${?}|$-", Ok("ab|set|value|x|||"));
    check_expand("'open", Err("unexpected end of statement while looking for matching single-quote"));
    let variables = |name: &str| (name == "ports").then(|| "80 443".to_owned());
    assert_eq!(expand_words("$ports", '\\', &variables), Ok(vec!["80".to_owned(), "443".to_owned()]));
}

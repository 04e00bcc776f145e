use super::*;

/// Keyword, flags and words of each instruction, and its lines; or the complaint.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let got = match parse(text) {
        Ok(syntax) => syntax.nodes.iter().map(show).collect(),
        Err(error) => vec![format!("{}: {}", error.lines.first, error.problem)],
    };
    assert_eq!(got, expected, "for `{text}`");
}

fn show(node: &Node) -> String {
    let Node { keyword, flags, arguments, heredocs, lines, .. } = node;
    let json = if arguments.is_json { " json" } else { "" };
    let heredocs: Vec<String> =
        heredocs.iter().map(|doc| format!(" {}={:?}", doc.name, doc.content)).collect();
    let flags = if flags.is_empty() { String::new() } else { format!(" {flags:?}") };
    format!(
        "{}-{} {keyword}{flags} {:?}{json}{}",
        lines.first,
        lines.last,
        arguments.words,
        heredocs.concat()
    )
}

#[test]
fn lines_continue_over_comments_and_empty_lines() {
    check("FROM a \\\n  # no\n\n  AS b \\ \nx\n", &[r#"1-5 FROM ["a", "AS", "b", "x"]"#]);
    check("RUN a\\\\\nUSER b", &[r#"1-1 RUN ["a\\\\"]"#, r#"2-2 USER ["b"]"#]);
    check("# escape=`\nRUN a `\n b\\\n", &[r#"2-3 RUN ["a  b\\"]"#]);
    check("RUN a \\", &[r#"1-1 RUN ["a"]"#]);
    let syntax = parse("RUN a \\\n\n b\n").expect("fine");
    assert_eq!(syntax.empty_continuations, [Lines::at(3)]);
    check("\u{feff}FROM a\r\nRUN b\r\n", &[r#"1-1 FROM ["a"]"#, r#"2-2 RUN ["b"]"#]);
}

#[test]
fn directives_stand_at_the_top() {
    let syntax = "# Syntax = docker/dockerfile:1 extra\n# check=skip=all;error=true\nFROM a";
    let found = |name| directive(syntax, name).map(|found| (found.value, found.line));
    assert_eq!(found("syntax"), Some(("docker/dockerfile:1 extra".to_owned(), 1)));
    assert_eq!(found("check"), Some(("skip=all;error=true".to_owned(), 2)));
    assert_eq!(found("escape"), None);
    assert_eq!(directive("# other\n# check=skip=all\nFROM a", "check"), None);
    check("# escape=x\nFROM a", &["1: invalid escape token 'x' does not match ` or \\"]);
    check("# escape=`\n# escape=`\nFROM a", &["2: only one escape parser directive can be used"]);
    let of = |text| syntax_of(text).map(|found| found.value);
    assert_eq!(of("#!/x\n// syntax=a\n").as_deref(), Some("a"));
    assert_eq!(of("{\"syntax\": \"b\"}").as_deref(), Some("b"));
    assert_eq!(of("FROM a\n# syntax=c\n"), None);
}

#[test]
fn flags_stand_before_the_arguments() {
    check(
        "COPY --from=\"a b\" --x='y' --link -- --z /\n",
        &[r#"1-1 COPY ["--from=a b", "--x=y", "--link"] ["--z", "/"]"#],
    );
    check("RUN --mount=a\\ b c --d", &[r#"1-1 RUN ["--mount=a b"] ["c --d"]"#]);
    check("RUN --a=é\u{a0}b", &[r#"1-1 RUN ["--a=é"] ["b"]"#]);
}

#[test]
fn arguments_are_read_as_each_instruction_wants_them() {
    check("COPY [\"a b\", \"/\"]", &[r#"1-1 COPY ["a b", "/"] json"#]);
    check("CMD []", &["1-1 CMD [] json"]);
    check("CMD [ 'a' ]", &[r#"1-1 CMD ["[ 'a' ]"]"#]);
    check("RUN [\"a\", 1]", &["1: when using JSON array syntax, arrays must be comprised of strings only"]);
    check(
        "HEALTHCHECK --interval=1s CMD [\"a\"]",
        &[r#"1-1 HEALTHCHECK ["--interval=1s"] ["CMD", "a"] json"#],
    );
    check(
        "ENV A=1 B=\"x y\" C=a\\ b",
        &[r#"1-1 ENV ["A", "1", "=", "B", "\"x y\"", "=", "C", "a\\ b", "="]"#],
    );
    check("ENV A  b c", &[r#"1-1 ENV ["A", "b c", ""]"#]);
    check("LABEL a=b c", &["1: Syntax error - can't find = in \"c\". Must be of the form: name=value"]);
    check("ONBUILD RUN [\"a\"]", &[r#"1-1 ONBUILD ["RUN", "a"] json"#]);
    check("FOO bar", &["1-1 FOO []"]);
    check("# a\n\n", &["2: file with no instructions"]);
}

#[test]
fn heredocs_follow_their_instruction() {
    check("RUN <<EOF\na\n#b\nEOF\nUSER c", &[r#"1-4 RUN ["<<EOF"] EOF="a\n#b\n""#, r#"5-5 USER ["c"]"#]);
    check(
        "COPY <<-\"a\" <<b /d/\n\thi\n\ta\nx\nb",
        &[r#"1-5 COPY ["<<-\"a\"", "<<b", "/d/"] a="\thi\n" b="x\n""#],
    );
    check("RUN <<EOF\nno end", &["1: unterminated heredoc"]);
    check("RUN echo '<<EOF' <<<x", &[r#"1-1 RUN ["echo '<<EOF' <<<x"]"#]);
    check("ONBUILD RUN <<E\na\nE\n", &[r#"1-3 ONBUILD ["RUN", "<<E"] E="a\n""#]);
    let read = |word| heredoc(word).expect(word);
    assert_eq!(read("<<'EOF'").map(|doc| (doc.name, doc.expands)), Some(("EOF".to_owned(), false)));
    assert_eq!(read("3<<-E_\\x").map(|doc| (doc.name, doc.chomps)), Some(("E_x".to_owned(), true)));
    assert_eq!(read("<<"), None);
    assert_eq!(chomp("\t\ta\n\tb\tc\n"), "a\nb\tc\n");
}

#[test]
fn comments_belong_to_the_next_instruction() {
    let syntax = parse("# syntax=x\n# a b\n#\n# c d\nARG c\nARG e").expect("fine");
    assert_eq!(syntax.nodes[0].comments, ["c d"]);
    assert!(syntax.nodes[1].comments.is_empty());
}

#[test]
fn there_is_a_bound_on_everything() {
    let long = format!("RUN {}", "x".repeat(64 << 10));
    check(&long, &["1: dockerfile line greater than max allowed size of 65535"]);
    let nested = format!("{}RUN x", "ONBUILD \\\n".repeat(200_000));
    assert_eq!(parse(&nested).expect("one line").nodes[0].arguments.words, ["ONBUILD"]);
    check(&"RUN x\n".repeat(10_001), &["10001: there are more than 10000 instructions"]);
}

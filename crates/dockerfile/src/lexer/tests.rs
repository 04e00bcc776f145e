use super::*;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "PWD" => "/home",
        "SHELL" => "bash",
        "NULL" => "",
        "KOREAN" => "한국어",
        "path" => "a/b/c.tar.gz",
        "star" => "a*b*c",
        "space" => "abc  def",
        _ => return None,
    };
    Some(value.to_owned())
}

#[track_caller]
fn check(word: &str, expected: Result<&str, &str>) {
    let got = Lexer::new('\\').expand(word, &variables).map(|expansion| expansion.text);
    let problem = expected.map_err(|problem| format!("failed to process {}: {problem}", quote(word)));
    assert_eq!(got, problem.map(str::to_owned), "for `{word}`");
}

#[test]
fn quotes_and_escapes_go_away() {
    check("he'll'o", Ok("hello"));
    check(r"he\'llo", Ok("he'llo"));
    check(r"abc\tdef", Ok("abctdef"));
    check(r#""abc\tdef""#, Ok(r"abc\tdef"));
    check(r#""abc\\tdef""#, Ok(r"abc\tdef"));
    check(r"'abc\tdef'", Ok(r"abc\tdef"));
    check(r"hello\", Ok("hello"));
    check(r"hello\\", Ok(r"hello\"));
    check("안녕'하세요", Err("unexpected end of statement while looking for matching single-quote"));
    check(r#""hello\""#, Err("unexpected end of statement while looking for matching double-quote"));
}

#[test]
fn variables_are_put_in() {
    check("he$PWD.$KOREAN", Ok("he/home.한국어"));
    check(r"he\$PWD '$PWD' \${}", Ok("he$PWD $PWD ${}"));
    check("he$1x$.", Ok("hex$."));
    check("${XXX:-${YYY:-yyy}}|${NULL-a}|${NULL:-a}|${PWD+x}|${NULL:+x}", Ok("yyy||a|x|"));
    check("${XXX?}", Err("XXX: is not allowed to be unset"));
    check("${NULL:?}", Err("NULL: is not allowed to be empty"));
    check("${XXX:?is needed}", Err("XXX: is needed"));
    check("${PWD:=000}", Err("unsupported modifier (:=) in substitution"));
    check("${PWD:#0}", Err("unsupported modifier (:#) in substitution"));
    check("${.}", Err("unsupported modifier (.) in substitution"));
    check("${}", Err("syntax error: bad substitution"));
    check("${PWD:-a", Err("syntax error: missing '}'"));
    check("${", Err("syntax error: missing '}'"));
}

#[test]
fn patterns_cut_and_replace() {
    check("${path#*/}|${path##*/}|${path%.*}|${path%%.*}", Ok("b/c.tar.gz|c.tar.gz|a/b/c.tar|a/b/c"));
    check(r"${path/\//-}|${path//\//-}|${path//?/x}", Ok("a-b/c.tar.gz|a-b-c.tar.gz|xxxxxxxxxxxx"));
    check(r"${star#a\*}|${star//\*/}", Ok("b*c|abc"));
    check("${path/a}", Err("syntax error: missing '/' in ${}"));
    check(r"${path#\a}", Err(r"invalid pattern (\a) in substitution: invalid escape '\a'"));
}

#[test]
fn what_was_looked_up_is_told() {
    let got = Lexer::new('\\').expand("$PWD ${A} ${B:-$C} ${NULL}", &variables).expect("fine");
    assert_eq!(Vec::from_iter(got.found), ["NULL", "PWD"]);
    assert_eq!(Vec::from_iter(got.missing), ["A", "B", "C"]);
}

#[test]
fn words_are_cut_outside_quotes() {
    for (word, expected) in [
        ("hello${space}bye", vec!["helloabc", "defbye"]),
        ("hello\"${space}\" bye", vec!["helloabc  def", "bye"]),
        (r"hello\ there", vec!["hello there"]),
        ("  a '' b ", vec!["a", "b"]),
        ("a << EOF b<<-X", vec!["a", "<< EOF", "b<<-X"]),
    ] {
        let got = Lexer::new('\\').expand(word, &variables).expect(word);
        assert_eq!(got.words, expected, "for `{word}`");
    }
}

#[test]
fn what_stays_can_be_chosen() {
    let lexer = Lexer { keeps_quotes: true, keeps_unset: true, ..Lexer::new('\\') };
    let got = lexer.expand(r#"'a' "$PWD" $X ${X:-b} ${X/c/d} ${X#e}"#, &variables).expect("fine");
    assert_eq!(got.text, r#"'a' "/home" $X ${X:-b} ${X/c/d} ${X#e}"#);
    let lexer = Lexer { ignores_quotes: true, ..Lexer::new('\\') };
    assert_eq!(lexer.expand("it's $PWD \\$PWD\n", &variables).expect("fine").text, "it's /home $PWD\n");
    let lexer = Lexer { keeps_escapes: true, ..Lexer::new('\\') };
    assert_eq!(lexer.expand(r#"\a "\"" "\x""#, &variables).expect("fine").text, r#"\a \" \\x"#);
}

#[test]
fn words_have_an_end() {
    let deep = format!("{}{}", "${A:-".repeat(100_000), "}".repeat(100_000));
    check(&deep, Err("substitutions are nested more than 64 deep"));
    let long = |_: &str| Some("x".repeat(1 << 19));
    let error = Lexer::new('\\').expand("$A$A$A", &long).expect_err("too long");
    assert_eq!(error, r#"failed to process "$A$A$A": a word becomes longer than 1048576 bytes"#);
}

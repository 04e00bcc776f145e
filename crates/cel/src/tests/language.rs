//! The language itself.

use serde_json::json;

use super::{check, text, with_data};

#[test]
fn literals_are_what_they_say() {
    check(&[
        ("1", "1"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "?invalid int literal"),
        ("0xFF", "255"),
        ("-0x1", "-1"),
        ("12u", "12u"),
        ("0xau", "10u"),
        ("1.5", "1.5"),
        (".5e1", "5"),
        ("1e400", "?invalid double literal"),
        ("'a\\n\\x41\\u00e4\\101'", "\"a\\nAäA\""),
        ("r'\\n'", "\"\\\\n\""),
        ("\"\"\"a\"b\n\"\"\"", "\"a\\\"b\\n\""),
        ("b'\\xff' == b'\\377'", "true"),
        ("'\\ud800'", "?unable to unescape string"),
        ("null", "null"),
        ("[1, 2,]", "[1, 2]"),
        ("{'a': 1, 'b': 2}", "{\"a\": 1, \"b\": 2}"),
        ("// nothing\n 1 // more", "1"),
    ]);
}

#[test]
fn operators_bind_as_they_do() {
    check(&[
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("-2 * -3", "6"),
        ("7 % 3 == 1 && !false", "true"),
        ("1 - -1", "2"),
        ("--1", "1"),
        ("!!true", "true"),
        ("true ? 1 : 2", "1"),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("1 < 2 == true", "true"),
        ("2 in [1, 2]", "true"),
        ("'a' in {'a': 1}", "true"),
        ("1 == 1.0", "?found no matching overload for '_==_' applied to '(int, double)'"),
        ("dyn(1) == 1.0 && dyn(1u) == 1", "true"),
        ("1 < 1.5 && 2u > 1 && 1.0 >= 1u", "true"),
        ("9223372036854775807 < 9223372036854775808.0", "false"),
        ("dyn(9223372036854775807) == dyn(9223372036854775808.0)", "true"),
        (
            "9223372036854775807 < 9223372036854777856.0 && 18446744073709551615u < 18446744073709555712.0",
            "true",
        ),
        ("-1.0 < 0u && 0u > -0.5 && dyn(double('NaN')) != dyn(1)", "true"),
        ("'b' > 'a' && b'b' > b'a' && true > false", "true"),
        ("{1: 'a'}[1u]", "?found no matching overload for '_[_]' applied to '(map(int, string), uint)'"),
        ("{1: 'a'}[dyn(1u)]", "\"a\""),
        ("{1: 'a'}[dyn(1.0)]", "\"a\""),
        ("[1, 2][0] + [3][0]", "4"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2]", "[1, 2]"),
        ("b'a' + b'b'", "b\"ab\""),
    ]);
}

#[test]
fn failures_are_told_and_absorbed() {
    check(&[
        ("1 / 0", "!division by zero"),
        ("1 % 0", "!modulus by zero"),
        ("1.0 / 0.0", "+Inf"),
        ("9223372036854775807 + 1", "!integer overflow"),
        ("-9223372036854775808 / -1", "!integer overflow"),
        ("-(-9223372036854775808)", "!integer overflow"),
        ("0u - 1u", "!unsigned integer overflow"),
        ("[1][1]", "!index out of bounds: 1"),
        ("[1][-1]", "!index out of bounds: -1"),
        ("{'a': 1}['b']", "!no such key: b"),
        ("{'a': 1}.b", "!no such key: b"),
        ("dyn(1) + 'a'", "!no such overload"),
        ("false && 1 / 0 == 1", "false"),
        ("1 / 0 == 1 && false", "false"),
        ("1 / 0 == 1 || true", "true"),
        ("1 / 0 == 1 || false", "!division by zero"),
        ("[1, 0].all(x, 1 / x == 1)", "!division by zero"),
        ("[0, 2].all(x, 1 / x == 1)", "false"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 1].exists_one(x, 1 / x == 1)", "!division by zero"),
        ("true ? 1 : 1 / 0", "1"),
        ("dyn(1) ? 1 : 2", "!no such overload"),
        ("{1: 1, dyn(1u): 2}", "?expected type 'int' but found 'dyn'"),
        ("{'a': 1, 'a': 2}", "!Failed with repeated key: a"),
        ("dyn([1]) == 1", "false"),
        ("dyn(0.0) / dyn(0.0) == dyn(0.0) / dyn(0.0)", "false"),
    ]);
}

#[test]
fn macros_go_through_lists_and_maps() {
    check(&[
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[].all(x, x > 0)", "true"),
        ("[1, 2].exists(x, x == 2)", "true"),
        ("[1, 2, 2].exists_one(x, x == 2) || [1].existsOne(x, x == 1)", "true"),
        ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),
        ("[1, 2, 3].filter(x, x > 1)", "[2, 3]"),
        ("{'a': 1, 'b': 2}.filter(k, k != 'a')", "[\"b\"]"),
        ("[[1], [2, 3]].map(x, x.map(y, y + 1))", "[[2], [3, 4]]"),
        ("[1, 2].map(x, [3, 4].map(y, x * y))", "[[3, 4], [6, 8]]"),
        ("[5, 6].all(i, v, v == i + 5)", "true"),
        ("{'a': 'b'}.exists(k, v, k != v)", "true"),
        ("[5, 5].exists_one(i, v, i == 1)", "true"),
        ("[5, 6].transformList(i, v, i * v)", "[0, 6]"),
        ("[5, 6].transformList(i, v, i > 0, i * v)", "[6]"),
        ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\": 2}"),
        ("[5, 6].transformMap(i, v, i > 0, v)", "{1: 6}"),
        ("{'a': 'x'}.transformMapEntry(k, v, {v: k})", "{\"x\": \"a\"}"),
        ("{'a': 'x', 'b': 'x'}.transformMapEntry(k, v, {v: k})", "!insert failed: key x already exists"),
        ("has({'a': 1}.a) && !has({'a': 1}.b)", "true"),
        ("has(1)", "?invalid argument to has() macro"),
        ("[1].all(x.y, true)", "?argument must be a simple name"),
        ("[1].all(__result__, true)", "?iteration variable overwrites accumulator variable"),
        ("[1].all(x, x, true)", "?duplicate variable name: x"),
        (
            "1.all(x, true)",
            "?expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("[1].map(x, x).map(x, x + 1)", "[2]"),
        ("[3, 1, 2].sortBy(x, -x)", "[3, 2, 1]"),
    ]);
}

#[test]
fn optional_values_are_asked_for() {
    check(&[
        ("optional.of(1)", "some(1)"),
        ("optional.none()", "none"),
        ("optional.ofNonZeroValue('')", "none"),
        ("optional.ofNonZeroValue('a').value()", "\"a\""),
        ("optional.none().hasValue()", "false"),
        ("optional.none().orValue(3)", "3"),
        ("optional.of(1).or(optional.of(1 / 0))", "some(1)"),
        ("{'a': {'b': 1}}.?a.b", "some(1)"),
        ("{'a': {'b': 1}}.?a.c", "none"),
        ("{'a': {'b': 1}}.?x.b.orValue(7)", "7"),
        ("[1, 2][?1]", "some(2)"),
        ("[1, 2][?5]", "none"),
        ("{'a': 1}[?'a'].optMap(x, x + 1)", "some(2)"),
        ("{'a': 1}[?'b'].optMap(x, x + 1)", "none"),
        ("optional.of([1]).optFlatMap(x, x[?0])", "some(1)"),
        ("[?optional.none(), ?optional.of(1), 2]", "[1, 2]"),
        ("{?'a': optional.none(), 'b': 2}", "{\"b\": 2}"),
        ("optional.none().value()", "!optional.none() dereference"),
        ("[1, 2].first().value() + [1, 2].last().value()", "3"),
        ("optional.unwrap([optional.of(1), optional.none()])", "[1]"),
        ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
        ("has(optional.of({'a': 1}).a)", "true"),
    ]);
}

#[test]
fn conversions_keep_what_is_meant() {
    check(&[
        ("int('12') + int(3.9) + int(2u)", "17"),
        ("int(1e19)", "#integer overflow"),
        ("int('x')", "#type conversion error from 'string' to 'int'"),
        ("uint(-1)", "#unsigned integer overflow"),
        ("string(1.5) + string(true) + string(b'a') + string(2u)", "\"1.5truea2\""),
        ("string(1e6) + ' ' + string(123456.0) + ' ' + string(1e-7)", "\"1e+06 123456 1e-07\""),
        ("double('1.5') == 1.5", "true"),
        ("bool('true') && !bool('False')", "true"),
        ("bool('yes')", "#type conversion error from 'string' to 'bool'"),
        ("bytes('ä')", "b\"ä\""),
        ("type(1) == int && type([]) == list && type(type) == type(int)", "true"),
        ("type(1u)", "uint"),
        ("timestamp('2023-01-02T03:04:05Z').getHours()", "3"),
        ("timestamp('2023-01-02T03:04:05Z').getHours('+02:00')", "5"),
        ("timestamp('2023-07-02T03:04:05Z').getHours('Europe/Rome')", "5"),
        ("timestamp('2023-01-02T03:04:05Z').getHours('Nowhere')", "!unknown time zone Nowhere"),
        ("timestamp('2023-01-01T00:00:00Z').getDayOfWeek()", "0"),
        ("timestamp('2023-02-01T00:00:00Z').getDayOfYear()", "31"),
        ("timestamp('2023-01-02T03:04:05Z') + duration('1h') == timestamp('2023-01-02T04:04:05Z')", "true"),
        ("timestamp('2023-01-02T03:04:05Z') - timestamp('2023-01-02T03:04:00Z')", "5s"),
        ("timestamp('9999-12-30T21:00:00Z') + duration('24h')", "!timestamp overflow"),
        ("timestamp('0001-01-01T00:00:00Z') + duration('-1ns')", "!timestamp overflow"),
        ("timestamp('yesterday')", "?invalid timestamp argument"),
        ("duration('1h30m') > duration('89m')", "true"),
        ("string(duration('1.5s'))", "\"1.5s\""),
        ("duration('1x')", "?invalid duration argument"),
        ("duration('90m').getHours()", "1"),
        ("int(timestamp(100))", "100"),
        ("size('äö') == 2 && size(b'ä') == 2 && [1, 2].size() == 2", "true"),
    ]);
}

#[test]
fn what_is_no_expression_is_refused() {
    check(&[
        (
            "",
            "?Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
        (
            "1 +",
            "?Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
        ("1 2", "?Syntax error: mismatched input '2' expecting <EOF>"),
        (
            "a @ b",
            "?Syntax error: token recognition error at: '@'; Syntax error: mismatched input 'b' expecting <EOF>",
        ),
        ("x", "?undeclared reference to 'x' (in container '')"),
        ("f(1)", "?undeclared reference to 'f' (in container '')"),
        ("'a'.f()", "?undeclared reference to 'f' (in container '')"),
        ("if", "?reserved identifier: if"),
        ("1.foo", "?type 'int' does not support field selection"),
        ("[1, 'a']", "?expected type 'int' but found 'string'"),
        ("1 + 'a'", "?found no matching overload for '_+_' applied to '(int, string)'"),
        ("'a'.startsWith(1)", "?found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("1 && true", "?expected type 'bool' but found 'int'"),
        ("'a'.matches('(')", "?invalid matches argument"),
        ("Foo{a: 1}", "?undeclared reference to 'Foo' (in container '')"),
    ]);
    let issues = crate::Environment::new().compile("'a' +\n  'ä' + foo").expect_err("foo is not declared");
    assert_eq!(
        issues.to_string(),
        "ERROR: <input>:2:9: undeclared reference to 'foo' (in container '')\n |   'ä' + foo\n | ...\u{ff0e}....^"
    );
}

#[test]
fn data_is_read_as_it_is_asked_for() {
    let data =
        json!({"spec": {"replicas": 3, "ports": [{"port": 80}, {"port": 443}], "big": 1e3}, "a-b": null});
    for (expression, expected) in [
        ("object.spec.replicas > 2", "true"),
        ("object.spec.ports.map(p, p.port)", "[80, 443]"),
        ("object.spec.ports.all(p, has(p.port))", "true"),
        ("has(object.spec.other)", "false"),
        ("object['a-b'] == null", "true"),
        ("object.`a-b` == null", "true"),
        ("object.spec.big == 1000", "true"),
        ("object.?spec.?replicas.orValue(0)", "3"),
        ("object.spec.ports.filter(p, p.port > 100)[0].port", "443"),
        ("object.spec.ports == [{'port': 80}, {'port': 443}]", "true"),
        ("object.spec.ports.exists(i, p, i == 1 && p.port == 443)", "true"),
    ] {
        assert_eq!(with_data(expression, &data).0.as_deref(), Ok(expected), "{expression}");
    }
    assert_eq!(
        with_data("object.x.y", &data).0.map_err(|error| error.to_string()),
        Err("no such key: x".to_owned())
    );
    assert_eq!(text("'%'"), "\"%\"");
}

//! Expressions that are made to hurt: each is refused or ends within its budget.

use serde_json::json;

use super::{text, with_data};
use crate::{Budget, Environment, EvalError, Type, Value};

#[test]
fn depth_and_size_are_bounded() {
    let deep =
        |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    for source in [
        deep("(", ")", 50_000),
        deep("[", "]", 49_000),
        deep("-(", ")", 30_000),
        deep("{1: ", "}", 15_000),
        deep("f(", ")", 20_000),
        format!("1{}", " + 1".repeat(20_000)),
        format!("x{}", ".a".repeat(40_000)),
        format!("x{}", "[0]".repeat(30_000)),
        "true ? ".repeat(10_000),
        "!".repeat(99_999),
        "[".repeat(99_999),
        format!("optional.of(1){}", ".optMap(x, x)".repeat(60)),
        "a".repeat(100_001),
        format!("[1]{}", ".map(x, x)".repeat(2_000)),
    ] {
        assert!(
            Environment::new().with_variable("x", Type::Dyn).compile(&source).is_err(),
            "{}",
            &source[..20]
        );
    }
    // What is long without being deep is fine.
    let wide = format!("[{}].size() == 5000", vec!["1"; 5_000].join(", "));
    assert_eq!(text(&wide), "true");
    let conditions = vec!["true"; 5_000].join(" && ");
    assert_eq!(text(&conditions), "true");
}

#[test]
fn an_expression_ends_within_its_cost() {
    let cancelled = "!operation cancelled: actual cost limit exceeded";
    for source in [
        "lists.range(1000000000).size() > 0".to_owned(),
        "lists.range(1000).all(a, lists.range(1000).all(b, lists.range(1000).all(c, true)))".to_owned(),
        "lists.range(100000).map(x, x).sort().size() > 0".to_owned(),
        format!("lists.range(100000).all(x, '{}'.matches('^b') || true)", "a".repeat(1_000)),
        "lists.range(2000).map(x, lists.range(2000)).flatten().size() > 0".to_owned(),
        "lists.range(90000).map(x, '%s%s%s'.format([lists.range(50), lists.range(50), lists.range(50)])).size() > 0"
            .to_owned(),
    ] {
        assert_eq!(text(&source), cancelled, "{}", &source[..source.len().min(80)]);
    }
}

#[test]
fn what_is_shared_is_not_gone_through_for_ever() {
    // Each level holds the one before twice: 2^11 leaves for 11 levels, compared level by level.
    let levels =
        |count: usize, of: &str| format!("optional.of([1]){}", format!(".optMap(x, {of})").repeat(count));
    let pair = format!("{}.value() == {}.value()", levels(10, "[x, x]"), levels(10, "[x, x]"));
    assert_eq!(text(&pair), "true");
    let mut budget = Budget::new(1_000_000);
    let mut value = Value::list(vec![Value::Int(1)]);
    for _ in 0..60 {
        value = Value::list(vec![value.clone(), value]);
    }
    let environment = Environment::new().with_variable("x", Type::Dyn);
    for source in [
        "x == x",
        "x in [x]",
        "sets.contains(x, x)",
        "'%s'.format([x]) == ''",
        "x.flatten(70).size() > 0",
        "x.indexOf(0) > 0",
    ] {
        let program = environment.compile(source).expect(source).program().expect(source);
        let variables = [value.clone()];
        let result = program.evaluate(&variables, &mut budget);
        assert_eq!(result.expect_err(source).to_string(), "operation cancelled: actual cost limit exceeded");
        budget = Budget::going_on(1_000_000, 5_000_000);
    }
    assert!(value.to_json(&mut budget).is_err());
}

#[test]
fn patterns_made_meanwhile_are_few() {
    let data = json!((0..5_000).map(|number| format!("a{number}")).collect::<Vec<_>>());
    let (result, _) = with_data("object.all(x, 'a'.matches(x + '?') || true)", &data);
    assert!(result.is_err(), "{result:?}");
    // The same pattern again and again is compiled once.
    let data = json!({"pattern": "^a[0-9]+$", "items": vec!["a12"; 5_000]});
    let (result, _) = with_data("object.items.all(x, x.matches(object.pattern))", &data);
    assert_eq!(result.as_deref(), Ok("true"));
}

#[test]
fn types_cannot_grow_for_ever() {
    // Keys and values of the same type: each level is twice as heavy.
    let nested = (0..12).fold("[]".to_owned(), |inner, _| format!("{{{inner}: {inner}}}"));
    let issues = Environment::new().compile(&nested).expect_err("its type is too heavy");
    assert!(issues.to_string().contains("too large"), "{}", issues.messages().next().unwrap_or_default());
    let doubled = format!("optional.of(1){}", ".optMap(x, {x: x})".repeat(11));
    let _ = Environment::new().compile(&doubled);
}

#[test]
fn deep_data_is_gone_through() {
    let mut data = json!(1);
    for _ in 0..100 {
        data = json!({"a": data, "b": [data]});
        if data.to_string().len() > 200_000 {
            break;
        }
    }
    let (result, _) = with_data("object == object", &data);
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn expressions_can_share_what_work_there_is() {
    let program = Environment::new()
        .with_variable("x", Type::list(Type::Int))
        .compile("x.map(y, y + 1).size() > 0")
        .expect("it is right")
        .program()
        .expect("it can be made ready");
    let values = [Value::list((0..1_000).map(Value::Int).collect())];
    let mut left = 100_000;
    let mut done = 0;
    loop {
        let mut budget = Budget::going_on(1_000_000, left);
        assert_eq!(budget.work_left(), left);
        let result = program.evaluate(&values, &mut budget);
        assert!(budget.work_left() < left);
        left = budget.work_left();
        match result {
            Ok(_) => done += 1,
            Err(error) => {
                assert_eq!((error, left), (EvalError::Cancelled, 0));
                break;
            }
        }
    }
    assert!((1..10).contains(&done), "{done}");
}

#[test]
fn programs_know_how_deep_they_are() {
    let environment = Environment::new().with_variable("x", Type::Dyn).with_variable("y", Type::Bool);
    for (source, depth) in [
        ("1", 1),
        ("1 + 2 * 3 == 7", 4),
        ("[[[3]]]", 1),
        ("x", 1),
        ("x.a.b['c']", 1),
        ("x[x[x[0]]]", 3),
        ("y ? x : x.a", 2),
        ("(y ? x : [x, x.a]).b", 3),
        ("y && y && (y || !y)", 4),
        ("x.all(a, a.exists(b, b == a))", 4),
        ("x.map(a, a > 0, a + 1)", 3),
        ("{x: [x]}", 3),
        (&format!("x{}", " + 1".repeat(240)), 241),
    ] {
        let program = environment.compile(source).expect(source).program().expect(source);
        assert_eq!(program.depth(), depth, "{}", &source[..source.len().min(40)]);
    }
}

/// What an expression about `x` comes to again and again, each time about what it came to before.
fn again(source: &'static str, mut value: Value<'static>, times: usize) -> Result<Value<'static>, EvalError> {
    let program = Environment::new().with_variable("x", Type::Dyn).compile(source).expect(source);
    let program: &'static _ = Box::leak(Box::new(program.program().expect(source)));
    for _ in 0..times {
        value = program.evaluate(&[value], &mut Budget::new(1_000_000))?;
    }
    Ok(value)
}

#[test]
fn values_are_no_deeper_than_whoever_goes_through_them_bears() {
    for source in ["[x]", "{'a': x}", "optional.of(x)", "[1, 2].map(y, x)", "{'a': 1}.transformMap(k, v, x)"]
    {
        let deep = again(source, Value::Int(1), 390).expect(source);
        // Through all of it, and at the end dropped.
        let pair = [deep.clone(), deep];
        let compared = Environment::new().with_variable("x", Type::Dyn).with_variable("y", Type::Dyn);
        let compared = compared.compile("x == y && dyn('%s'.format([[x]])) != y").expect(source);
        let _ = compared.program().expect(source).evaluate(&pair, &mut Budget::new(1_000_000));
        let _ = pair[0].to_json(&mut Budget::new(1_000_000));
        let error = again(source, Value::Int(1), 10_000).expect_err(source);
        assert_eq!(error.to_string(), "the value is nested too deeply", "{source}");
    }
}

#[test]
fn lists_that_are_joined_for_ever_stay_flat() {
    for source in ["x + [1]", "[1] + x", "[1, 2] + x + [3]"] {
        let joined = again(source, Value::list(vec![Value::Int(7)]), 3_000).expect(source);
        assert!(joined.size() > 3_000, "{source}");
        let indices = again("[x[0], x[x.size() - 1], dyn(x.exists(y, y == 7))]", joined, 1).expect(source);
        assert!(super::shown(&indices).ends_with("true]"), "{source}");
    }
    // One that holds itself twice is as long as can be paid for.
    assert_eq!(
        again("x + x", Value::list(vec![Value::Int(1)]), 60).expect_err("too long"),
        EvalError::Cancelled
    );
}

#[test]
fn what_goes_through_a_text_is_paid_for() {
    let environment = Environment::new().with_variable("object", Type::Dyn);
    for once in [
        "object in ['a', 'b']",
        "object.size() > 0",
        "object == ''",
        "{'a': 1}[?object].hasValue()",
        "{'a': 1}[object] == 1",
        "object in {'a': 1}",
        "{object: 1}.size() == 1",
        "int(object) == 1",
        "double(object) == 1.0",
        "uint(object) == 1u",
        "duration(object) == duration('1s')",
        "timestamp(object) == timestamp('2020-01-01T00:00:00Z')",
    ] {
        let source = format!("lists.range(2000).all(i, dyn({once}) || true)");
        let program = environment.compile(&source).expect(once).program().expect(once);
        for (length, paid) in [(8, true), (1 << 16, false)] {
            let text = Value::shared_text(&"x".repeat(length));
            let result = program.evaluate(&[text], &mut Budget::going_on(1_000_000, 1_500_000));
            assert_eq!(result.is_ok(), paid, "{once}: {result:?}");
        }
    }
    let source = "timestamp('2020-01-01T00:00:00Z').getHours('Europe/Rome') >= 0";
    let program = environment.compile(source).expect(source).program().expect(source);
    let mut budget = Budget::new(1_000_000);
    let before = budget.work_left();
    program.evaluate(&[Value::Null], &mut budget).expect(source);
    assert!(before - budget.work_left() > 1_000, "a zone is read");
}

#[test]
fn errors_show_no_more_than_the_beginning_of_a_text() {
    let data = json!("é".repeat(1 << 19));
    for source in [
        "{'a': 1}[object] == 1",
        "[1, 2].transformMapEntry(i, v, {object: 1}) == {}",
        "{dyn(object): 1, dyn(object + ''): 2}.size() == 1",
        "timestamp('2020-01-01T00:00:00Z').getHours(object) == 1",
    ] {
        let EvalError::Failed(why) = with_data(source, &data).0.expect_err(source) else {
            panic!("{source}")
        };
        assert!(why.len() < 400 && (why.contains("é...") || !why.contains('é')), "{source}: {why}");
    }
}

#[test]
fn constant_patterns_share_what_they_may_take() {
    let pattern = |n: usize| format!("object.matches('^{n}.{{1,900}}$')");
    let of = |count: usize| {
        let source = (0..count).map(pattern).collect::<Vec<_>>().join(" || ");
        let environment = Environment::new().with_variable("object", Type::String);
        environment.compile(&source).expect("what is looked at is their syntax").program()
    };
    of(3).expect("a few are fine");
    let error = of(1_000).expect_err("all of them are too much");
    assert!(error.to_string().contains("expression too large"), "{error}");
    // Expressions that share their room are refused as one would be.
    let environment = Environment::new().with_variable("object", Type::String);
    let mut room = crate::PatternRoom::default();
    let refused = (0..1_000).find(|n| {
        let checked = environment.compile(&pattern(*n)).expect("an expression");
        checked.program_within(&mut room).is_err()
    });
    assert!(refused.is_some_and(|n| n > 3), "{refused:?}");
}

#[test]
fn a_match_is_paid_for_by_how_many_states_there_are() {
    let work = |pattern: &str| {
        let environment = Environment::new().with_variable("object", Type::String);
        let source = format!("object.matches('{pattern}')");
        let program = environment.compile(&source).expect(&source).program().expect(&source);
        let mut budget = Budget::new(1_000_000);
        let before = budget.work_left();
        let text = Value::shared_text(&"a".repeat(1_000));
        program.evaluate(&[text], &mut budget).expect(pattern);
        before - budget.work_left()
    };
    assert!(work("^a+$") < 10_000);
    assert!(work("(a?.?){400}$") > 100_000);
}

#[test]
fn an_expression_keeps_of_many_variables_those_that_it_speaks_of() {
    let environment = (0..5_000).fold(Environment::new(), |environment, n| {
        environment.with_variable(&format!("variables.v{n}"), Type::Int)
    });
    let checked =
        environment.compile("variables.v7 + variables.v4711 + variables.v7").expect("they are there");
    assert_eq!(checked.variables().collect::<Vec<_>>(), [7, 4_711]);
    assert!(checked.uses("variables.v7") && !checked.uses("variables.v8"));
}

#[test]
fn matches_without_end_are_paid_for_each_time() {
    let environment = Environment::new().with_variable("x", Type::String);
    let program = environment.compile("x.findAll('a*b|a').size()").expect("right").program().expect("ready");
    let find = |length: usize| {
        let text = "a".repeat(length);
        let found = program.evaluate(&[Value::borrowed(&text)], &mut Budget::new(1_000_000));
        found.map(|value| matches!(value, Value::Int(found) if found == length as i64))
    };
    assert_eq!(find(500), Ok(true));
    assert_eq!(find(500_000), Err(EvalError::Cancelled));
}

#[test]
fn errors_show_a_part_of_long_texts() {
    let long = "\u{1}".repeat(1 << 20);
    let environment = Environment::new().with_variable("x", Type::String);
    for source in
        ["ip(x)", "cidr(x + '/')", "semver('1.1.' + x)", "url('http://a:' + x)", "semver(x + '.1.1')"]
    {
        let program = environment.compile(source).expect(source).program().expect(source);
        let error = program.evaluate(&[Value::borrowed(&long)], &mut Budget::new(10_000_000));
        let error = error.expect_err(source).to_string();
        assert!(error.len() < 16_384, "{source}: {}", error.len());
    }
}

#[test]
fn schemas_that_refer_to_each_other_are_looked_at_so_often_and_no_more() {
    let schemas: Vec<serde_json::Value> = (1..=31)
        .map(|next| {
            let reference = json!({"$ref": next.to_string()});
            json!({"type": "object", "properties": {"a": {"type": "string"}, "x": reference, "y": reference}})
        })
        .collect();
    let resolve = |name: &str| schemas.get(name.parse::<usize>().ok()?);
    let declared = crate::schema::declare_with(&schemas[0], false, &resolve).expect("it has fields");
    let environment = Environment::new().with_declared("x", &declared.named("X"));
    assert!(environment.compile("x.a == '' && x.x.x.a == ''").is_ok());
}

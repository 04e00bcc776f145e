//! Expressions that are made to hurt: each is refused or ends within its budget.

use serde_json::json;

use super::{text, with_data};
use crate::{Budget, Environment, Type, Value};

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
    for source in
        ["x == x", "x in [x]", "sets.contains(x, x)", "'%s'.format([x]) == ''", "x.flatten(70).size() > 0"]
    {
        let program = environment.compile(source).expect(source).program().expect(source);
        let result = program.evaluate(&[value.clone()], &mut budget);
        assert_eq!(result.expect_err(source).to_string(), "operation cancelled: actual cost limit exceeded");
        budget = Budget::new(1_000_000);
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

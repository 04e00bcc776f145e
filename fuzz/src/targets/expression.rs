//! Expressions of rules and policies: read, checked, estimated and evaluated.

use std::sync::{Arc, LazyLock};

use cel::{
    Authorizer, AuthorizerValue, Budget, Decision, Declared, Environment, EvalError, PER_CALL_LIMIT,
    Question, Type, Value,
};
use serde_json::{Value as Json, json};

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "expression",
    shape: Shape::Plain,
    examples,
    words: &[
        "object",
        "self",
        "oldSelf",
        ".all(",
        ".exists(",
        ".exists_one(",
        ".map(",
        ".filter(",
        ".transformMap(",
        "(x, ",
        "x",
        "has(",
        ".?",
        "[?",
        "?:",
        " ? ",
        " : ",
        " == ",
        " != ",
        " in ",
        " + ",
        " - ",
        " * ",
        " / ",
        " % ",
        " < ",
        ">=",
        "&&",
        "||",
        "!",
        "-",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "'",
        "\"",
        "'''",
        "r'",
        "b'",
        "\\u00e9",
        "\\xff",
        "`a-b`",
        "1",
        "9223372036854775807",
        "18446744073709551615u",
        "1e308",
        "0x7f",
        "null",
        "true",
        "dyn(",
        "int(",
        "uint(",
        "double(",
        "string(",
        "bytes(",
        "type(",
        "duration(",
        "timestamp(",
        ".size()",
        ".matches('",
        ".find(",
        ".findAll(",
        ".split('",
        ".join(",
        ".replace(",
        ".substring(",
        ".indexOf(",
        ".lastIndexOf(",
        ".format([",
        "%s",
        "%e",
        "%.3f",
        ".charAt(",
        ".sort()",
        ".sortBy(",
        ".distinct()",
        ".flatten()",
        ".slice(",
        ".reverse()",
        ".sum()",
        ".min()",
        ".isSorted()",
        "lists.range(",
        "sets.contains(",
        "optional.of(",
        ".orValue(",
        ".optMap(",
        ".value()",
        "quantity('",
        ".add(",
        "url('",
        ".getHost()",
        "ip('",
        "cidr('",
        ".containsIP(",
        "semver('",
        "format.named('",
        ".validate(",
        "authorizer",
        ".group('",
        ".resource('",
        ".check('",
        ".allowed()",
        ".getHours('Europe/Rome')",
        "Object{",
        "JSONPatch{",
        "jsonpatch.escapeKey(",
    ],
    read,
    turns: 10_000,
};

/// So much may an evaluation do; what is read here is short.
const WORK: u64 = 300_000;

struct Everything;

impl Authorizer for Everything {
    fn authorize(&self, question: &Question) -> Decision {
        Decision { allowed: question.name.len().is_multiple_of(2), ..Decision::default() }
    }
}

struct Fixed {
    environment: Environment,
    declared: Arc<Declared>,
    data: Json,
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let schema = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "ratio": {"type": "number"}, "name": {"type": "string", "maxLength": 20},
        "at": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
        "data": {"type": "string", "format": "byte"}, "port": {"x-kubernetes-int-or-string": true},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "my-field": {"type": "boolean"}, "namespace": {"type": "string", "nullable": true},
    }});
    let data = json!({
        "replicas": 3, "ratio": 0.5, "name": "aé", "at": "2023-01-02T03:04:05Z", "wait": "1h", "data": "YQ==",
        "port": "80", "tags": ["b", "a"], "labels": {"a": "1"}, "my-field": true, "namespace": null,
        "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}],
    });
    let declared = cel::schema::declare(&schema, false).expect("it is a schema").named("selfType");
    let environment = Environment::new()
        .with_mutation()
        .with_variable("object", Type::Dyn)
        .with_declared("self", &declared)
        .with_optional("oldSelf", &declared)
        .with_variable("authorizer", Type::object("kubernetes.authorization.Authorizer"));
    Fixed { environment, declared, data }
});

fn read(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let fixed = &*FIXED;
    let checked = match fixed.environment.compile(text) {
        Ok(checked) => checked,
        Err(issues) => {
            assert!(!issues.to_string().is_empty(), "refused without a reason");
            return false;
        }
    };
    let estimate = checked.estimate();
    assert!(estimate.min <= estimate.max, "{estimate:?}");
    let Ok(program) = checked.program() else { return false };
    let value = |declared| Value::from_json(&fixed.data, declared).expect("data of its schema");
    let values = [
        value(None),
        value(Some(&*fixed.declared)),
        Value::Optional(None),
        AuthorizerValue::authorizer(Arc::new(Everything)),
    ];
    let mut budget = Budget::going_on(PER_CALL_LIMIT, WORK);
    let result = program.evaluate(&values, &mut budget);
    match &result {
        Ok(value) => {
            assert!(budget.cost() <= PER_CALL_LIMIT, "it went on beyond its limit");
            if *checked.output() == Type::Bool {
                assert!(value.as_bool().is_some(), "`{text}` is no truth: {value:?}");
            }
            let _ = value.to_json(&mut Budget::going_on(0, WORK));
        }
        Err(EvalError::Cancelled) => {}
        Err(EvalError::Failed(why)) => assert!(!why.is_empty() && why.len() < 8_000 + text.len(), "{why}"),
    }
    // The same again is the same, and costs as much.
    let mut again = Budget::going_on(PER_CALL_LIMIT, WORK);
    let second = program.evaluate(&values, &mut again);
    assert_eq!((second.as_ref().err(), again.cost()), (result.as_ref().err(), budget.cost()), "`{text}`");
    true
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        "self.replicas <= 5 && self.name.startsWith('a') && has(self.labels.a)",
        "self.ports.all(p, p.port > 0 && p.name.matches('^[a-z]{1,3}$'))",
        "self.ports.exists(p, p.name == 'b') ? self.tags.map(t, t + '!') : []",
        "self.tags + ['c'] == ['a', 'b', 'c'] && self.my__dash__field && self.ports + [] == self.ports",
        "object.labels.transformMap(k, v, k + v).size() == 1 && object.?missing.orValue(1) == 1",
        "oldSelf.?replicas.optMap(r, r < self.replicas).orValue(true)",
        "'%s %d %.2f %x'.format([object.tags, 3, self.ratio, b'a']) != ''",
        "[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sortBy(x, x)[0] == 'a' && lists.range(3).sum() == 3",
        "'a,b,c'.split(',').join('-').replace('b', 'é').lastIndexOf('é', 3) == 2",
        "self.at.getHours('Europe/Rome') == 4 && self.at + self.wait > timestamp('2020-01-01T00:00:00Z')",
        "quantity('1Gi').add(quantity('200Mi')).isGreaterThan(quantity('1G')) && int('12') % 5 == 2",
        "url('https://a.b:80/c?d=e').getHost() == 'a.b:80' && cidr('10.0.0.0/8').containsIP(ip('10.1.2.3'))",
        "semver('1.2.3').isLessThan(semver('2.0.0')) && !format.dns1123Label().validate('a').hasValue()",
        "authorizer.group('').resource('pods').namespace('n').name('a').check('get').allowed()",
        "Object{spec: Object.spec{replicas: 3, ?paused: optional.none()}}",
        "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: {'x': 1}}]",
        "dyn(1) == dyn(1.0) && 1u < 2 && type([]) == list && {'a': [1, 2][?5].hasValue()}['a'] == false",
        "'a1b22'.findAll('[0-9]+') == ['1', '22'] && sets.intersects([1, 2], [2]) && [[1], [2]].flatten() == [1, 2]",
    ])
}

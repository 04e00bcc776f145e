//! Data with a schema: types, sizes, and how JSON is read.

use serde_json::{Value as Json, json};

use crate::schema::declare;
use crate::{Budget, Environment, PER_CALL_LIMIT, Type, Value};

fn schema() -> Json {
    json!({
        "type": "object",
        "required": ["replicas", "name"],
        "properties": {
            "replicas": {"type": "integer"},
            "ratio": {"type": "number"},
            "name": {"type": "string", "maxLength": 10},
            "long": {"type": "string"},
            "kindOf": {"type": "string", "enum": ["a", "bbb"]},
            "at": {"type": "string", "format": "date-time"},
            "day": {"type": "string", "format": "date"},
            "wait": {"type": "string", "format": "duration"},
            "data": {"type": "string", "format": "byte"},
            "port": {"x-kubernetes-int-or-string": true},
            "tags": {"type": "array", "maxItems": 5, "x-kubernetes-list-type": "set",
                     "items": {"type": "string", "maxLength": 5}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                      "items": {"type": "object", "properties": {"name": {"type": "string"},
                                                                  "port": {"type": "integer"}}}},
            "labels": {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "string"}},
            "my-field": {"type": "boolean"},
            "namespace": {"type": "string"},
            "maybe": {"type": "string", "nullable": true},
            "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true},
        },
    })
}

fn environment() -> Environment {
    let declared = declare(&schema(), false).expect("a schema that is seen").named("selfType");
    Environment::new().with_declared("self", &declared).with_declared("oldSelf", &declared)
}

fn data() -> Json {
    json!({
        "replicas": 3, "ratio": 1, "name": "abc", "at": "2023-01-02T03:04:05Z", "day": "2023-01-02", "wait": "1h",
        "data": "YQ==", "port": "80", "tags": ["a", "b"], "labels": {"a": "1"}, "my-field": true, "namespace": "n",
        "maybe": null, "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}],
        "embedded": {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}},
    })
}

#[test]
fn data_has_the_types_of_its_schema() {
    let (data, schema) = (data(), schema());
    let declared = declare(&schema, false).expect("a schema that is seen").named("selfType");
    let environment = environment();
    for (expression, expected) in [
        ("self.replicas + 1", "4"),
        ("self.ratio / 2.0", "0.5"),
        ("self.at.getFullYear() + self.day.getFullYear()", "4046"),
        ("self.wait == duration('60m')", "true"),
        ("self.data == b'a'", "true"),
        ("self.port == '80' && type(self.port) == string", "true"),
        ("self.my__dash__field && self.__namespace__ == 'n'", "true"),
        ("dyn(self.maybe) == null", "true"),
        ("has(self.maybe) && !has(self.long)", "true"),
        ("self.labels['a'] == '1' && self.labels.a == '1' && 'a' in self.labels", "true"),
        ("self.tags == ['b', 'a']", "true"),
        ("self.tags + ['b', 'c'] == ['c', 'b', 'a']", "true"),
        ("self.ports.filter(p, p.name == 'b')[0].port", "2"),
        ("self.ports == self.ports && self == self", "true"),
        ("self.embedded.kind + self.embedded.metadata.name", "\"Podx\""),
        ("self.?long.orValue('none')", "\"none\""),
    ] {
        let program =
            environment.compile(expression).unwrap_or_else(|e| panic!("{e}")).program().expect(expression);
        let mut budget = Budget::new(PER_CALL_LIMIT);
        let value = Value::from_json(&data, Some(&declared)).expect("data of the schema");
        let found = program.evaluate(&[value.clone(), value], &mut budget).map(|value| super::shown(&value));
        assert_eq!(found.map_err(|error| error.to_string()), Ok(expected.to_owned()), "{expression}");
    }
    for (expression, expected) in [
        ("self.other", "undefined field 'other'"),
        ("self.replicas == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.name + 1", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("self.anything.x", "undefined field 'x'"),
        ("self.ports[0].other", "undefined field 'other'"),
        ("self.tags.all(t, t > 1)", "found no matching overload for '_>_' applied to '(string, int)'"),
    ] {
        let issues = environment.compile(expression).expect_err(expression);
        assert_eq!(issues.messages().collect::<Vec<_>>(), [expected], "{expression}");
    }
}

#[test]
fn only_what_is_used_is_reported_as_used() {
    let checked = environment().compile("self.replicas >= oldSelf.replicas").expect("typed");
    assert!(checked.uses("oldSelf"));
    assert!(!environment().compile("self.replicas > 0").expect("typed").uses("oldSelf"));
    assert_eq!(checked.output(), &crate::Type::Bool);
}

#[test]
fn it_is_known_which_fields_of_a_variable_are_selected() {
    let environment = Environment::new().with_variable("claims", Type::map(Type::String, Type::Dyn));
    for (source, selects) in [
        ("claims.email", true),
        ("claims.email.name", true),
        ("has(claims.email)", true),
        ("claims.?email.orValue('')", true),
        ("[1].all(x, x == 1 && claims.email == 'a')", true),
        ("{'a': claims.email}", true),
        (".claims.email", true),
        (".claims.?email.orValue('')", true),
        ("claims['email']", false),
        ("claims.emails", false),
        ("claims.user.email", false),
        ("'claims.email'", false),
    ] {
        let checked = environment.compile(source).expect(source);
        assert_eq!(checked.selects("claims", "email"), selects, "{source}");
        assert!(!checked.selects("user", "email"));
    }
}

/// The numbers are those of Kubernetes' estimate for the same schemas.
#[test]
fn costs_are_estimated_by_the_sizes_that_a_schema_allows() {
    for (expression, expected) in [
        ("true", 0),
        ("self.replicas > 1", 3),
        ("has(self.name)", 1),
        ("self.name == 'abc'", 3),
        ("self.name == self.long", 2 + 2 + 4),
        ("self.name.startsWith('abc')", 3),
        ("self.name.contains('abc')", 2 + 4),
        ("self.name.matches('abcd')", 2 + 5),
        ("self.tags.all(t, t == 'a')", 2 + 1 + 5 * (2 + 1 + 1 + 1)),
        ("self.tags.exists(t, t == 'a')", 2 + 1 + 5 * (3 + 1 + 1 + 1)),
        ("self.tags.map(t, t)", 2 + 10 + 1 + 5 * (1 + 11 + 1)),
        ("self.labels.all(k, k == 'a')", 2 + 1 + 3 * (2 + 1 + 1)),
        ("self.name + self.name == ''", 4 + 8),
        ("self.tags[0] == 'a'", 2 + 1 + 1),
        ("self.tags.isSorted()", 2 + 5 * (1 + 2)),
        ("sets.contains(self.tags, ['a'])", 2 + 10 + 5 + 1),
        ("self.name.split(',').size() > 0", 2 + 8 + 1 + 1),
        ("[1, 2].size() > 0", 10 + 1 + 1),
        ("self.replicas > 1 ? self.name.size() > 0 : false", 3 + 4),
        ("self.kindOf == 'a'", 3),
    ] {
        let checked = environment().compile(expression).unwrap_or_else(|issues| panic!("{issues}"));
        assert_eq!(checked.estimate().max, expected, "{expression}");
    }
    // Without a bound, a text may be as long as a request.
    let checked = environment().compile("self.long.contains(self.long)").expect("typed");
    assert!(checked.estimate().max > 90_000_000_000, "{:?}", checked.estimate());
}

#[test]
fn fields_are_equal_as_they_are_declared_whatever_they_are_called() {
    let moment = json!({"type": "string", "format": "date-time"});
    let names = ["plain", "my-field", "a__b", "namespace", "a.b/c", "1st"];
    let properties: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), moment.clone())).collect();
    let schema = json!({"type": "object", "properties": properties});
    let declared = declare(&schema, false).expect("a schema that is seen").named("selfType");
    let environment = Environment::new().with_declared("self", &declared).with_declared("oldSelf", &declared);
    let program =
        environment.compile("self == oldSelf").expect("it is right").program().expect("it is right");
    for (name, expected) in names.iter().zip([true, true, true, true, true, false]) {
        // The same moment, written in two ways. What no expression can name is the text that it is.
        let (one, two) = (json!({*name: "2023-01-02T03:04:05Z"}), json!({*name: "2023-01-02T03:04:05.000Z"}));
        let values = [&one, &two].map(|data| Value::from_json(data, Some(&declared)).expect("data"));
        let result = program.evaluate(&values, &mut Budget::new(PER_CALL_LIMIT)).expect("a value");
        assert_eq!(result.as_bool(), Some(expected), "{name}");
    }
}

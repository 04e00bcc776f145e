//! What expressions cost, by the numbers that Kubernetes has.

use serde_json::json;

use super::with_data;

/// Numbers of Kubernetes' interpreter, with constants worked out beforehand and presence for nothing.
#[test]
fn evaluation_costs_what_it_costs_in_kubernetes() {
    let text = "a".repeat(500);
    for (expression, data, expected) in [
        ("'Hello World!'", json!(null), 0),
        ("object", json!(1), 1),
        ("object['key']", json!({"key": 1}), 2),
        ("object[0]", json!([1]), 2),
        ("object.a.b", json!({"a": {"b": 1}}), 3),
        ("object['ke' + 'y']", json!({"key": 1}), 3),
        ("object[3 - 3]", json!([1]), 3),
        ("has(object.a)", json!({"a": 1}), 1),
        ("has(object.a.b)", json!({"a": {"b": 1}}), 2),
        ("[1, 2, 3]", json!(null), 0),
        ("[object]", json!(null), 11),
        ("{'a': object}", json!(null), 31),
        ("object.all(x, true)", json!([]), 2),
        ("[1, 2, 3].all(x, true)", json!(null), 10),
        ("'123'.matches('[0-9]')", json!(null), 2),
        ("object.matches('[0-9]')", json!(text), 103),
        ("false || false", json!(null), 0),
        ("1 < 2", json!(null), 1),
        ("1 == 2", json!(null), 1),
        ("2 in [1, 2, 3]", json!(null), 0),
        ("object in [1, 2, 3]", json!(2), 1),
        ("1 in object", json!([1, 2, 3]), 2),
        ("1 in dyn(object)", json!([1, 2, 3]), 3),
        ("true ? 1 : 2", json!(null), 0),
        ("false ? false : 1 > 3", json!(null), 1),
        ("size('123')", json!(null), 1),
        ("'12345678901234567890' == '123456789012345678901234567890'", json!(null), 2),
        ("string(object)", json!(text), 2),
        ("object.startsWith('abc')", json!(text), 51),
        ("object.size()", json!("a"), 2),
        ("(object > 2 ? [1] : [2]).all(y, true)", json!(3), 6),
        ("object.all(k, object[k].v > 3)", json!({"a": {"v": 5}}), 9),
        ("'abcdefg'.contains('ab' + 'cd')", json!(null), 2),
        ("(1 > 2 ? 5 : 3) > 1", json!(null), 2),
        ("(1 > 2 || 2 > 1) == true", json!(null), 3),
        ("[1, 2, 3, 4, 5].filter(x, x % 2 == 0)", json!(null), 1 + 5 * 3 + 2 * 13),
        ("[1, 2, 3, 4, 5].map(x, x)", json!(null), 66),
        ("[1, 2, 3, 4, 5].map(x, x).map(x, x) + [1]", json!(null), 133),
        ("[1, 2].existsOne(x, x == 1)", json!(null), 2 * 2 + 2 + 2),
        ("object.exists(x, x == 3)", json!([1, 2, 3]), 1 + 3 * 6 + 1),
        ("object.lowerAscii()", json!(text), 51),
        ("object.split('')", json!("abcdefghij"), 3),
        ("object.join(',')", json!(["a", "b"]), 2),
        ("sets.contains(object, object)", json!([1, 2, 3]), 2 + 1 + 9),
        ("object.isSorted()", json!(["aaaaaaaaaa", "b"]), 2),
        ("[2, 1].sort() == object", json!([1, 2]), 11 + 8 + 1 + 1),
        ("lists.range(5)", json!(null), 16),
        ("quantity('100M') == quantity('100M')", json!(null), 3),
        ("ip('10.0.0.1') == ip('10.0.0.1')", json!(null), 3),
        ("cidr('10.0.0.0/8').containsIP('10.0.0.1')", json!(null), 1 + 1 + 1),
        ("format.dns1123Label().validate('abc')", json!(null), 1 + 8),
    ] {
        let (result, cost) = with_data(expression, &data);
        assert!(result.is_ok(), "{expression}: {result:?}");
        assert_eq!(cost, expected, "{expression}");
    }
}

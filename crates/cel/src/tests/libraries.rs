//! The libraries of Kubernetes' environment.

use std::sync::{Arc, Mutex};

use super::check;
use crate::{Authorizer, AuthorizerValue, Budget, Decision, Environment, PER_CALL_LIMIT, Question, Type};

#[test]
fn text_is_taken_apart_and_put_together() {
    check(&[
        ("'héllo'.charAt(1)", "\"é\""),
        ("'héllo'.charAt(5)", "\"\""),
        ("'héllo'.charAt(6)", "!index out of range: 6"),
        ("'hello mellow'.indexOf('ello')", "1"),
        ("'hello mellow'.indexOf('ello', 2)", "7"),
        ("'hello mellow'.indexOf('')", "0"),
        ("'hello mellow'.indexOf('x')", "-1"),
        ("'hello mellow'.indexOf('ello', 20)", "-1"),
        ("'hello mellow'.indexOf('ello', -1)", "!index out of range: -1"),
        ("'hello mellow'.lastIndexOf('ello')", "7"),
        ("'hello mellow'.lastIndexOf('ello', 6)", "1"),
        ("'hello mellow'.lastIndexOf('')", "12"),
        ("'xyé'.lastIndexOf('é', 1)", "-1"),
        ("'xyé'.lastIndexOf('é', 2)", "2"),
        ("'éxéyé'.lastIndexOf('éy', 2)", "2"),
        ("'aaéaa'.lastIndexOf('aa', 2)", "0"),
        ("'TacoCÆt'.lowerAscii() + 'tacocæt'.upperAscii()", "\"tacocÆtTACOCæT\""),
        ("'hello hello'.replace('he', 'we', 1)", "\"wello hello\""),
        ("'ab'.replace('', '_')", "\"_a_b_\""),
        ("'hello'.replace('he', 'we', 0)", "\"hello\""),
        ("'a,b,c'.split(',')", "[\"a\", \"b\", \"c\"]"),
        ("'a,b,c'.split(',', 2)", "[\"a\", \"b,c\"]"),
        ("'a,b'.split(',', 0)", "[]"),
        ("'abc'.split('')", "[\"a\", \"b\", \"c\"]"),
        ("'abc'.split('', 2)", "[\"a\", \"bc\"]"),
        ("'tacocat'.substring(4) + 'tacocat'.substring(0, 4)", "\"cattaco\""),
        ("'tacocat'.substring(5, 4)", "!invalid substring range. start: 5, end: 4"),
        ("'tacocat'.substring(40)", "!index out of range: 40"),
        ("' \\ttrim\\n'.trim()", "\"trim\""),
        ("['a', 'b'].join() + ['a', 'b'].join('-')", "\"aba-b\""),
        ("strings.quote('a\"\\n')", "\"\\\"a\\\\\\\"\\\\n\\\"\""),
        ("'%s is %d, %.1f, %x, %b, %%'.format(['a', 2, 3.14159, 255, 5])", "\"a is 2, 3.1, ff, 101, %\""),
        ("'%s'.format([[1, 'a', {'k': true}]])", "\"[1, \\\"a\\\", {\\\"k\\\":true}]\""),
        ("'%s %s'.format([duration('1s'), timestamp(0)])", "\"1s 1970-01-01T00:00:00Z\""),
        (
            "'%d'.format(['a'])",
            "?error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%d'.format([])", "?index 0 out of range"),
        ("'%d'.format([1, 2])", "?too many arguments supplied to string.format (expected 1, got 2)"),
        ("'%f'.format([12345.678])", "\"12,345.678000\""),
        ("'abc'.find('[b-z]') + 'abc'.find('x')", "\"b\""),
        ("'a1b2c3'.findAll('[0-9]')", "[\"1\", \"2\", \"3\"]"),
        ("'a1b2c3'.findAll('[0-9]', 2)", "[\"1\", \"2\"]"),
        ("'abc'.matches('^a.c$') && !'abc'.matches('^b')", "true"),
        ("'a'.find('(')", "#error parsing regexp: missing closing ): `(`"),
        ("jsonpatch.escapeKey('k8s.io/my~label')", "\"k8s.io~1my~0label\""),
    ]);
}

#[test]
fn lists_are_sorted_and_searched() {
    check(&[
        ("[1, 2, 3, 4].slice(1, 3)", "[2, 3]"),
        ("[1].slice(0, 2)", "!cannot slice(0, 2), list is length 1"),
        ("[[1, 2], [3]].flatten()", "[1, 2, 3]"),
        (
            "[dyn(1), [2, [3]]].flatten(2)",
            "?expected type 'dyn' but found 'list(dyn)'; expected type 'int' but found 'list(int)'",
        ),
        ("[1, 2, 2, 1].distinct()", "[1, 2]"),
        ("[3, 1, 2].sort()", "[1, 2, 3]"),
        ("['b', 'a'].sort()", "[\"a\", \"b\"]"),
        ("lists.range(3)", "[0, 1, 2]"),
        ("[1, 2, 3].reverse()", "[3, 2, 1]"),
        ("[1, 2, 3].isSorted() && !['b', 'a'].isSorted()", "true"),
        ("[1, 2, 3].sum() + [1].max() + [2, 1].min()", "8"),
        ("[].max()", "!max called on empty list"),
        ("[1, 2, 3, 2].indexOf(2) + [1, 2, 3, 2].lastIndexOf(2)", "4"),
        ("sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])", "true"),
        ("[duration('1s'), duration('2s')].sum()", "3s"),
    ]);
}

#[test]
fn addresses_amounts_and_versions_are_understood() {
    check(&[
        ("ip('192.168.0.1').family() + ip('::1').family()", "10"),
        ("ip('10.0.0.1') == ip('10.0.0.1')", "true"),
        ("string(ip('2001:DB8::ABCD'))", "\"2001:db8::abcd\""),
        ("isIP('1.2.3') || isIP('::ffff:1.2.3.4') || isIP('01.2.3.4')", "false"),
        ("ip.isCanonical('2001:DB8::ABCD')", "false"),
        ("ip('127.0.0.1').isLoopback() && ip('169.254.0.1').isLinkLocalUnicast()", "true"),
        ("ip('224.0.0.1').isLinkLocalMulticast() && !ip('224.0.0.1').isGlobalUnicast()", "true"),
        ("ip('0.0.0.0').isUnspecified() && ip('10.0.0.1').isGlobalUnicast()", "true"),
        ("cidr('192.168.0.0/24').containsIP('192.168.0.7')", "true"),
        ("cidr('192.168.0.0/24').containsIP(ip('192.168.1.7'))", "false"),
        ("cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24')", "true"),
        ("cidr('192.168.0.0/24').containsCIDR(cidr('192.168.0.0/16'))", "false"),
        ("string(cidr('192.168.1.7/24').masked())", "\"192.168.1.0/24\""),
        ("cidr('192.168.1.7/24').prefixLength() == 24 && cidr('10.0.0.1/8').ip() == ip('10.0.0.1')", "true"),
        ("isCIDR('10.0.0.0/33') || isCIDR('10.0.0.0')", "false"),
        ("cidr('0.0.0.0/0').containsIP('1.2.3.4')", "true"),
        (
            "type(ip('10.0.0.1')) == net.IP && type(cidr('10.0.0.0/8')) == net.CIDR && net.IP != net.CIDR",
            "true",
        ),
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        ("quantity('50k').add(20) == quantity('50020')", "true"),
        ("quantity('50k').sub(quantity('20k')).compareTo(quantity('30k'))", "0"),
        ("quantity('1.5').isInteger()", "false"),
        ("quantity('1.5').asInteger()", "!cannot convert value to integer"),
        ("quantity('50k').asInteger() + sign(quantity('-1'))", "49999"),
        ("quantity('500m').asApproximateFloat()", "0.5"),
        ("isQuantity('1Zi')", "false"),
        (
            "quantity('x')",
            "!quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", "true"),
        ("semver('1.0.0-rc.1').compareTo(semver('1.0.0'))", "-1"),
        ("semver('v01.2', true).major() + semver('1.2.3').patch()", "4"),
        ("isSemver('1.2') || isSemver('01.2.3')", "false"),
        ("semver('1.0.0+a') == semver('1.0.0+b')", "true"),
        ("url('https://example.com:80/a%20b?x=1&x=2').getHost()", "\"example.com:80\""),
        ("url('https://[::1]:80/').getHostname() + url('https://[::1]:80/').getPort()", "\"::180\""),
        ("url('https://example.com/a%20b').getEscapedPath()", "\"/a%20b\""),
        ("url('https://example.com/?x=1&x=2&y=%26').getQuery()", "{\"x\": [\"1\", \"2\"], \"y\": [\"&\"]}"),
        ("url('/path').getScheme() + url('/path').getHost()", "\"\""),
        ("isURL('https://a:b') || isURL('../x') || isURL('')", "false"),
        ("isURL('https://a:80/b?c#d') && isURL('/absolute')", "true"),
        ("format.dns1123Label().validate('abc')", "none"),
        ("format.dns1123Label().validate('A').hasValue()", "true"),
        ("format.named('uuid').value().validate('x').value()", "[\"does not match the UUID format\"]"),
        ("format.named('nothing').hasValue()", "false"),
        ("format.date().validate('2023-02-30').hasValue()", "true"),
        ("format.qualifiedName().validate('example.com/a') == optional.none()", "true"),
    ]);
}

#[test]
fn mutations_are_made() {
    check(&[
        ("Object{spec: Object.spec{replicas: 1 + 1}}", "{\"spec\":{\"replicas\":2}}"),
        ("Object{metadata: Object.metadata{?labels: optional.none()}}", "{\"metadata\":{}}"),
        ("JSONPatch{op: 'add', path: '/a', value: [1]}", "{\"op\":\"add\",\"path\":\"/a\",\"value\":[1]}"),
        ("JSONPatch{op: 1}", "?expected type of field 'op' is 'string' but provided type is 'int'"),
        ("JSONPatch{other: 1}", "?undefined field 'other'"),
        ("[JSONPatch{op: 'remove', path: '/a'}].size()", "1"),
    ]);
}

#[test]
fn whoever_may_is_asked() {
    struct Asked(Mutex<Vec<Question>>);
    impl Authorizer for Asked {
        fn authorize(&self, question: &Question) -> Decision {
            self.0.lock().expect("nobody panics with it").push(question.clone());
            Decision { allowed: question.verb == "get", reason: "because".to_owned(), error: None }
        }
    }
    let asked = Arc::new(Asked(Mutex::new(Vec::new())));
    let environment =
        Environment::new().with_variable("authorizer", Type::object("kubernetes.authorization.Authorizer"));
    let ask = |expression: &str| {
        let program = environment.compile(expression).expect(expression).program().expect(expression);
        let mut budget = Budget::new(PER_CALL_LIMIT);
        let value = AuthorizerValue::authorizer(asked.clone());
        let result = program.evaluate(&[value], &mut budget).map(|value| super::shown(&value));
        (result.map_err(|error| error.to_string()), budget.cost())
    };
    let (result, cost) =
        ask("authorizer.group('apps').resource('deployments').subresource('scale').namespace('n').name('x')\
         .labelSelector('a=b').check('get').allowed()");
    assert_eq!(result, Ok("true".to_owned()));
    assert!(cost > 350_000, "{cost}");
    let question = asked.0.lock().expect("nobody panics with it").pop().expect("was asked");
    assert_eq!(
        (
            question.group.as_str(),
            question.resource.as_str(),
            question.subresource.as_str(),
            question.name.as_str()
        ),
        ("apps", "deployments", "scale", "x")
    );
    assert_eq!(question.label_selector, "a=b");
    assert_eq!(ask("authorizer.path('/healthz').check('post').allowed()").0, Ok("false".to_owned()));
    assert_eq!(ask("authorizer.path('/healthz').check('get').reason()").0, Ok("\"because\"".to_owned()));
    let account =
        ask("authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').errored()").0;
    assert_eq!(account, Ok("false".to_owned()));
    let question = asked.0.lock().expect("nobody panics with it").pop().expect("was asked");
    assert_eq!(question.service_account, Some(("ns".to_owned(), "sa".to_owned())));
    // Two questions are affordable, three are not.
    let three = "[1, 2, 3].all(x, authorizer.path('/a').check('get').allowed())";
    assert_eq!(ask(three).0, Err("operation cancelled: actual cost limit exceeded".to_owned()));
}

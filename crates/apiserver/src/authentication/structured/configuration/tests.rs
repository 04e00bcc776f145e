use super::*;

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
const ISSUER: &str = "issuer: {url: 'https://a.example', audiences: [x]}";
const USER: &str = "claimMappings: {username: {claim: sub, prefix: 'a:'}}";

/// What is wrong with a configuration, a line each.
#[track_caller]
fn check(body: &str, expected: &[&str]) {
    let found = match Document::parse(&format!("{HEAD}{body}")) {
        Ok(document) => {
            let own = ["https://kubernetes.default.svc".to_owned()];
            document.check(&own).iter().map(ToString::to_string).collect()
        }
        Err(error) => vec![error],
    };
    assert_eq!(found, expected, "{body}");
}

#[test]
fn what_is_right_is_taken() {
    check("", &[]);
    check("jwt: []", &[]);
    check(&format!("jwt: [{{{ISSUER}, {USER}}}]"), &[]);
    check(
        &format!(
            "jwt:\n- issuer: {{url: 'https://a.example/x', discoveryURL: 'https://b.example/y', audiences: [x, y], audienceMatchPolicy: MatchAny}}\n  \
             claimMappings: {{username: {{claim: email, prefix: ''}}, groups: {{claim: g, prefix: 'b:'}}, uid: {{claim: u}}}}\n  \
             claimValidationRules: [{{claim: hd, requiredValue: example.com}}]\n- {{{ISSUER}, {USER}}}"
        ),
        &[],
    );
    check("anonymous: {enabled: true, conditions: [{path: /livez}]}", &[]);
    check("anonymous: {enabled: false}", &[]);
}

#[test]
fn what_is_wrong_is_told_in_kubernetes_words() {
    check(
        "jwt: [{}]",
        &[
            "jwt[0].issuer.url: Required value",
            "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
            "jwt[0].claimMappings.username: Required value: claim or expression is required",
        ],
    );
    let issuer = |issuer: &str| format!("jwt: [{{issuer: {{{issuer}}}, {USER}}}]");
    check(
        &issuer("url: 'http://u:p@a.example?q=1#f', audiences: [x]"),
        &[
            "jwt[0].issuer.url: Invalid value: \"http://u:p@a.example?q=1#f\": URL scheme must be https",
            "jwt[0].issuer.url: Invalid value: \"http://u:p@a.example?q=1#f\": URL must not contain a username or password",
            "jwt[0].issuer.url: Invalid value: \"http://u:p@a.example?q=1#f\": URL must not contain a query",
            "jwt[0].issuer.url: Invalid value: \"http://u:p@a.example?q=1#f\": URL must not contain a fragment",
        ],
    );
    check(
        &issuer("url: 'https://kubernetes.default.svc', audiences: [x]"),
        &[
            "jwt[0].issuer.url: Invalid value: \"https://kubernetes.default.svc\": URL must not overlap with disallowed issuers: [https://kubernetes.default.svc]",
        ],
    );
    check(
        &issuer("url: 'https://a.example', discoveryURL: 'https://a.example/', audiences: [x]"),
        &[
            "jwt[0].issuer.discoveryURL: Invalid value: \"https://a.example/\": discoveryURL must be different from URL",
        ],
    );
    check(
        &issuer("url: 'https://a.example', audiences: [x, x, '']"),
        &[
            "jwt[0].issuer.audiences[1]: Duplicate value: \"x\"",
            "jwt[0].issuer.audiences[2]: Required value",
            "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
        ],
    );
    check(
        &issuer("url: 'https://a.example', audiences: [x], audienceMatchPolicy: MatchAll"),
        &[
            "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"MatchAll\": audienceMatchPolicy must be empty or MatchAny for single audience",
        ],
    );
    check(
        &issuer("url: 'https://a.example', audiences: [x], certificateAuthority: no"),
        &[
            "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA certificates",
        ],
    );
    check(
        &issuer("url: 'https://a.example', audiences: [x], egressSelectorType: other"),
        &[
            "jwt[0].issuer.egressSelectorType: Invalid value: \"other\": egress selector must be either controlplane or cluster",
        ],
    );
    check(
        &format!("jwt: [{{{ISSUER}, {USER}}}, {{{ISSUER}, {USER}}}]"),
        &["jwt[1].issuer.url: Duplicate value: \"https://a.example\""],
    );
    check(
        "anonymous: {enabled: false, conditions: [{path: /livez}]}",
        &[
            "anonymous.conditions: Invalid value: [\"/livez\"]: enabled should be set to true when conditions are defined",
        ],
    );
    let many: Vec<String> = (0..65).map(|n| format!("{{issuer: {{url: 'https://{n}'}}}}")).collect();
    check(&format!("jwt: [{}]", many.join(", ")), &["jwt: Too many: 65: must have at most 64 items"]);
}

#[test]
fn claims_and_rules_are_looked_at() {
    let rest = |rest: &str| format!("jwt: [{{{ISSUER}, {rest}}}]");
    let mappings = |mappings: &str| rest(&format!("claimMappings: {{{mappings}}}"));
    check(
        &mappings("username: {claim: sub}, groups: {claim: g}"),
        &[
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
            "jwt[0].claimMappings.groups.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        ],
    );
    check(
        &mappings("username: {claim: sub, expression: claims.sub}, uid: {claim: u, expression: claims.u}"),
        &[
            "jwt[0].claimMappings.username: Invalid value: \"\": claim and expression can't both be set",
            "jwt[0].claimMappings.uid: Invalid value: \"\": claim and expression can't both be set",
        ],
    );
    check(
        &mappings(
            "username: {expression: claims.sub, prefix: x}, uid: {expression: claims.u}, \
             extra: [{key: Acme.com/a, valueExpression: claims.a}, {key: x.k8s.io/b}, {key: c, valueExpression: claims.c}]",
        ),
        &[
            "jwt[0].claimMappings.username.prefix: Invalid value: \"x\": may not be specified when expression is set",
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"Acme.com\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"Acme.com/a\": must be lowercase",
            "jwt[0].claimMappings.extra[1].key: Invalid value: \"x.k8s.io/b\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
            "jwt[0].claimMappings.extra[1].valueExpression: Required value",
            "jwt[0].claimMappings.extra[2].key: Invalid value: \"c\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ],
    );
    check(
        &rest(&format!(
            "{USER}, claimValidationRules: [{{}}, {{claim: a, message: m}}, {{claim: a}}, {{claim: b, expression: c}}, {{expression: c, requiredValue: d}}], \
             userValidationRules: [{{}}, {{expression: user.a}}]"
        )),
        &[
            "jwt[0].claimValidationRules[0]: Required value: claim or expression is required",
            "jwt[0].claimValidationRules[1].message: Invalid value: \"m\": may not be specified when claim is set",
            "jwt[0].claimValidationRules[2].claim: Duplicate value: \"a\"",
            "jwt[0].claimValidationRules[3]: Invalid value: \"b\": claim and expression can't both be set",
            "jwt[0].claimValidationRules[4].requiredValue: Invalid value: \"d\": may not be specified when expression is set",
            "jwt[0].claimValidationRules[4].expression: Invalid value: \"c\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'c' (in container '')\n | c\n | ^",
            "jwt[0].userValidationRules[0].expression: Required value",
            "jwt[0].userValidationRules[1].expression: Invalid value: \"user.a\": compilation failed: ERROR: <input>:1:5: undefined field 'a'\n | user.a\n | ....^",
        ],
    );
    check(
        &rest(&format!(
            "{USER}, claimValidationRules: [{{expression: claims.a}}, {{expression: claims.a}}], \
             userValidationRules: [{{expression: user.username}}, {{expression: user.username}}]"
        )),
        &[
            "jwt[0].claimValidationRules[0].expression: Invalid value: \"claims.a\": must evaluate to bool",
            "jwt[0].claimValidationRules[1].expression: Duplicate value: \"claims.a\"",
            "jwt[0].userValidationRules[0].expression: Invalid value: \"user.username\": must evaluate to bool",
            "jwt[0].userValidationRules[1].expression: Duplicate value: \"user.username\"",
        ],
    );
    let unverified = "jwt[0].claimMappings.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
    let email = "claimMappings: {username: {expression: claims.email}";
    check(&rest(&format!("{email}}}")), &[unverified]);
    for good in [
        "}, claimValidationRules: [{expression: 'claims.?email_verified.orValue(true) == true'}]",
        ", extra: [{key: acme.com/verified, valueExpression: 'string(claims.email_verified)'}]}",
    ] {
        check(&rest(&format!("{email}{good}")), &[]);
    }
    check(&mappings("username: {expression: 'claims.email_verified ? claims.email : claims.sub'}"), &[]);
}

#[test]
fn another_document_is_none() {
    for text in [
        "",
        "apiVersion: v1\nkind: AuthenticationConfiguration",
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration",
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwts: []",
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: 7",
    ] {
        assert!(Document::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_options_of_before_say_the_same() {
    let options = OidcOptions {
        issuer_url: "https://a.example".to_owned(),
        client_id: "x".to_owned(),
        username_claim: "sub".to_owned(),
        groups_claim: "g".to_owned(),
        signing_algorithms: vec!["RS256".to_owned()],
        required_claims: vec![("hd".to_owned(), "example.com".to_owned())],
        ..OidcOptions::default()
    };
    let of = |options: &OidcOptions| Document::of_options(options).expect("options");
    let document = of(&options);
    assert_eq!(document.check(&[]), []);
    let jwt = &document.jwt[0];
    assert_eq!(jwt.claim_mappings.username.prefix.as_deref(), Some("https://a.example#"));
    assert_eq!(jwt.claim_mappings.groups.prefix.as_deref(), Some(""));
    assert_eq!(jwt.algorithms.as_deref(), Some(&[Algorithm::Rs256][..]));
    let prefix = |claim: &str, prefix: &str| {
        let options = OidcOptions {
            username_claim: claim.to_owned(),
            username_prefix: prefix.to_owned(),
            ..options.clone()
        };
        of(&options).jwt[0].claim_mappings.username.prefix.clone()
    };
    assert_eq!(prefix("email", "").as_deref(), Some(""));
    assert_eq!(prefix("sub", "-").as_deref(), Some(""));
    assert_eq!(prefix("sub", "o:").as_deref(), Some("o:"));
    let other = OidcOptions { signing_algorithms: vec!["HS256".to_owned()], ..options };
    assert!(Document::of_options(&other).expect_err("no").contains("unsupported signing alg: \"HS256\""));
}

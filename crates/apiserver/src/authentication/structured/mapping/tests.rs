use super::*;

fn mapping(text: &str) -> Mapping {
    let jwt: Jwt = serde_saphyr::from_str(text).expect("a good form");
    Mapping::of(&jwt).expect("nothing is wrong with it")
}

#[test]
fn expressions_say_who_it_is() {
    let mapping = mapping(
        "claimMappings: {username: {expression: \"claims.org + ':' + claims.sub\"}, \
         groups: {expression: \"claims.roles.filter(r, r != 'admin')\"}, uid: {expression: claims.ids.main}, \
         extra: [{key: acme.com/org, valueExpression: claims.org}, {key: acme.com/none, valueExpression: \"''\"}, \
         {key: acme.com/null, valueExpression: 'null'}, {key: acme.com/all, valueExpression: claims.roles}]}",
    );
    let claims =
        json!({"org": "acme", "sub": "jane", "roles": ["a", "", "admin", "b"], "ids": {"main": "7"}});
    assert_eq!(mapping.applied(&claims).username(), Some(Ok("acme:jane".to_owned())));
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(mapping.applied(&claims).groups(), Some(Ok(texts(&["a", "b"]))));
    assert_eq!(mapping.applied(&claims).uid(), Some(Ok("7".to_owned())));
    let extra = mapping.applied(&claims).extra().expect("all are text");
    assert_eq!(
        extra,
        [
            ("acme.com/org".to_owned(), texts(&["acme"])),
            ("acme.com/all".to_owned(), texts(&["a", "admin", "b"])),
        ]
    );
    // What a token does not say, or says as something else, makes nobody.
    let claims = json!({"org": "acme", "sub": 7, "roles": ["a", 1], "ids": {}});
    for (said, why) in [
        (mapping.applied(&claims).username().map(|name| name.map(|_| ())), "no such overload"),
        (
            mapping.applied(&claims).groups().map(|groups| groups.map(|_| ())),
            "error evaluating group claim expression: expression must return a string or a list of strings",
        ),
        (
            mapping.applied(&claims).uid().map(|uid| uid.map(|_| ())),
            "error evaluating uid claim expression: expression 'claims.ids.main' resulted in error: no such key: main",
        ),
        (
            Some(mapping.applied(&claims).extra().map(|_| ())),
            "expression must return a string or a list of strings",
        ),
    ] {
        let error = said.expect("an expression says it").expect_err(why);
        assert!(error.ends_with(why), "{error}");
    }
}

#[test]
fn rules_say_who_is_taken() {
    let mapping = mapping(
        "{claimValidationRules: [{expression: 'claims.exp - claims.iat <= 3600', message: too long}, \
         {claim: hd, requiredValue: x}], \
         userValidationRules: [{expression: \"!user.username.startsWith('system:')\", message: reserved}, \
         {expression: \"user.groups.all(g, !g.startsWith('system:')) && user.uid == '' && user.extra == {}\"}]}",
    );
    assert_eq!(mapping.applied(&json!({"exp": 4600, "iat": 1000})).check_claims(), Ok(()));
    assert_eq!(
        mapping.applied(&json!({"exp": 4601, "iat": 1000})).check_claims().expect_err("it lasts too long"),
        "error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 3600' failed: too long"
    );
    assert!(
        mapping
            .applied(&json!({"exp": 4600}))
            .check_claims()
            .expect_err("no time")
            .ends_with("no such key: iat")
    );
    let check = |user: &str, group: &str| {
        mapping.applied(&Json::Null).check_user(&Identity::new(user, [group]), &[group.to_owned()])
    };
    // The group of all who are known is not one that the token says.
    assert_eq!(check("jane", "dev"), Ok(()));
    for (user, group) in [("system:admin", "dev"), ("jane", "system:masters")] {
        let why = check(user, group).expect_err("it is reserved");
        assert!(
            why.starts_with("error evaluating user info validation rule: validation expression"),
            "{why}"
        );
    }
}

#[test]
fn what_one_token_takes_is_bounded_for_all_expressions_together() {
    let rules: Vec<String> = (0..40)
        .map(|number| format!("{{expression: \"claims.a.map(x, x + x).size() > {number}\"}}"))
        .collect();
    let mapping = mapping(&format!("{{claimValidationRules: [{}]}}", rules.join(", ")));
    let one = json!({"a": vec!["x"; 100]});
    assert_eq!(mapping.applied(&one).check_claims(), Ok(()));
    let much = json!({"a": vec!["x".repeat(16_000); 100]});
    let why = mapping.applied(&much).check_claims().expect_err("it is too much");
    assert!(why.ends_with("actual cost limit exceeded"), "{why}");
    // Another token has as much as the first had.
    assert_eq!(mapping.applied(&one).check_claims(), Ok(()));
}

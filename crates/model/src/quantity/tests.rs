use super::*;

#[test]
fn quantities_print_in_canonical_form() {
    let check = |text: &str, expected: &str| {
        let quantity: Quantity = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(quantity.to_string(), expected, "{text}");
    };
    check("0", "0");
    check("0Mi", "0");
    check("1000m", "1");
    check("0.5", "500m");
    check("1.5Gi", "1536Mi");
    check("1024Mi", "1Gi");
    check("1024", "1024");
    check("512Ki", "512Ki");
    check("0.5Ki", "512");
    check("1.1Ki", "1126400m");
    check("1.1Gi", "1181116006400m");
    check("-1.1Ki", "-1126400m");
    check("0.3Mi", "314572800m");
    check("1.00000000001Gi", "1073741824010737419n");
    check("0.0001Ki", "102400u");
    check("1.5Mi", "1536Ki");
    check("100u", "100u");
    check("1e3", "1e3");
    check("1E3", "1e3");
    check("1E", "1E");
    check("12e2", "1200");
    check("100000", "100k");
    check("-5m", "-5m");
    check("+3", "3");
    check(".5", "500m");
    check("5.", "5");
    check("0.1n", "1n");
    check("0.000000000001Ki", "2n");
    check("99999999999999999999", "99999999999999999999");
    check("100E", "100E");
    check("1000Ei", "9223372036854775807");
    check("-1000Ei", "-9223372036854775807");
    check("1e21", "1e21");
    check("1e-3", "1e-3");
    check("1e1000", "1e27");
}

#[test]
fn lists_of_resources_hold_no_less_than_a_thousandth() {
    let check = |text: &str, expected: &str| {
        let quantity: Quantity = text.parse().expect("valid");
        assert_eq!(quantity.round_up_to_millis().to_string(), expected, "{text}");
    };
    check("100u", "1m");
    check("0.0005", "1m");
    check("1n", "1m");
    check("1500u", "2m");
    check("-100u", "-1m");
    check("250m", "250m");
    check("1.1Gi", "1181116006400m");
    check("1.00000000001Gi", "1073741824011m");
    check("0", "0");
}

#[test]
fn what_is_no_quantity_is_refused() {
    let check = |text: &str, expected: QuantityError| {
        assert_eq!(text.parse::<Quantity>().err(), Some(expected), "{text}")
    };
    check("", QuantityError::Format);
    check("x", QuantityError::Format);
    check("1 Gi", QuantityError::Format);
    check("1GiB", QuantityError::Format);
    check("1.2.3", QuantityError::Number);
    check("1mm", QuantityError::Suffix);
    check("1Mii", QuantityError::Suffix);
    check("1e", QuantityError::Suffix);
    check("--1", QuantityError::Format);
}

#[test]
fn amounts_round_up() {
    let parse = |text: &str| text.parse::<Quantity>().expect("valid");
    assert_eq!(parse("1500m").value(), 2);
    assert_eq!(parse("-1500m").value(), -2);
    assert_eq!(parse("100u").millis(), 1);
    assert_eq!(parse("128Mi").value(), 128 << 20);
    assert_eq!(parse("9E").millis(), i64::MAX);
}

#[test]
fn amounts_compare_and_add_whatever_the_writing() {
    let parse = |text: &str| text.parse::<Quantity>().expect("valid");
    assert_eq!(parse("1Gi"), parse("1024Mi"));
    assert!(parse("1G") < parse("1Gi"));
    let mut sum = Quantity::ZERO;
    sum += parse("64Mi");
    sum += parse("960Mi");
    assert_eq!(sum.to_string(), "1Gi");
    sum -= parse("1Gi");
    assert!(sum.is_zero());
}

#[test]
fn json_numbers_are_quantities_too() {
    assert_eq!(Quantity::from_json(&serde_json::json!(2)), Some(Quantity::new(2, Format::Decimal)));
    assert_eq!(Quantity::from_json(&serde_json::json!(0.25)), Some(Quantity::from_millis(250)));
    assert_eq!(Quantity::from_json(&serde_json::json!(true)), None);
}

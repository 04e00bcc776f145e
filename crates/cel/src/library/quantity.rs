//! Amounts of resources.

use std::sync::Arc;

use model::Quantity;
use model::quantity::Format;

use super::{Context, Declaration, Other};
use crate::value::{Evaluated, Value, failed, no_overload};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("quantity", to_quantity, &[("string_to_quantity", "(string) -> quantity")]),
    ("isQuantity", is_quantity, &[("is_quantity_string", "(string) -> bool")]),
    ("sign", |arguments, _| of(arguments, sign), &[("quantity_sign", "(quantity) -> int")]),
    (
        "isGreaterThan",
        compare,
        &[
            ("quantity_is_greater_than", "quantity.(quantity) -> bool"),
            ("semver_is_greater_than", "semver.(semver) -> bool"),
        ],
    ),
    (
        "isLessThan",
        compare_less,
        &[
            ("quantity_is_less_than", "quantity.(quantity) -> bool"),
            ("semver_is_less_than", "semver.(semver) -> bool"),
        ],
    ),
    (
        "compareTo",
        compare_to,
        &[
            ("quantity_compare_to", "quantity.(quantity) -> int"),
            ("semver_compare_to", "semver.(semver) -> int"),
        ],
    ),
    (
        "asApproximateFloat",
        |arguments, _| of(arguments, |quantity| Ok(Value::Double(quantity.as_f64()))),
        &[("quantity_get_float", "quantity.() -> double")],
    ),
    ("asInteger", |arguments, _| of(arguments, as_integer), &[("quantity_get_int", "quantity.() -> int")]),
    (
        "isInteger",
        |arguments, _| of(arguments, |quantity| Ok(Value::Bool(is_integer(quantity)))),
        &[("quantity_is_integer", "quantity.() -> bool")],
    ),
    (
        "add",
        |arguments, _| change(arguments, |one, two| *one += two),
        &[
            ("quantity_add", "quantity.(quantity) -> quantity"),
            ("quantity_add_int", "quantity.(int) -> quantity"),
        ],
    ),
    (
        "sub",
        |arguments, _| change(arguments, |one, two| *one -= two),
        &[
            ("quantity_sub", "quantity.(quantity) -> quantity"),
            ("quantity_sub_int", "quantity.(int) -> quantity"),
        ],
    ),
];

/// The value of an amount.
pub(crate) fn value<'a>(quantity: Quantity) -> Value<'a> {
    Value::Other(Other::Quantity(Arc::new(quantity)))
}

fn to_quantity<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    match text.parse::<Quantity>() {
        Ok(quantity) => Ok(value(quantity)),
        Err(error) => failed(error.to_string()),
    }
}

fn is_quantity<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else { return no_overload() };
    Ok(Value::Bool(text.parse::<Quantity>().is_ok()))
}

fn of<'a>(arguments: &[Value<'a>], get: impl FnOnce(Quantity) -> Evaluated<'a>) -> Evaluated<'a> {
    match arguments {
        [Value::Other(Other::Quantity(quantity))] => get(**quantity),
        _ => no_overload(),
    }
}

fn sign<'a>(quantity: Quantity) -> Evaluated<'a> {
    Ok(Value::Int(if quantity.is_zero() {
        0
    } else if quantity.is_negative() {
        -1
    } else {
        1
    }))
}

fn is_integer(quantity: Quantity) -> bool {
    let whole = quantity.is_whole();
    // What is no number of 64 bits is none here either.
    whole && Quantity::new(quantity.value(), Format::Decimal) == quantity
}

fn as_integer<'a>(quantity: Quantity) -> Evaluated<'a> {
    if is_integer(quantity) {
        return Ok(Value::Int(quantity.value()));
    }
    failed("cannot convert value to integer")
}

fn ordering(arguments: &[Value<'_>]) -> Option<std::cmp::Ordering> {
    match arguments {
        [Value::Other(Other::Quantity(one)), Value::Other(Other::Quantity(two))] => Some(one.cmp(two)),
        [Value::Other(Other::Semver(one)), Value::Other(Other::Semver(two))] => Some(one.compare(two)),
        _ => None,
    }
}

fn compare<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    ordering(arguments).map_or_else(no_overload, |ordering| Ok(Value::Bool(ordering.is_gt())))
}

fn compare_less<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    ordering(arguments).map_or_else(no_overload, |ordering| Ok(Value::Bool(ordering.is_lt())))
}

fn compare_to<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    ordering(arguments).map_or_else(no_overload, |ordering| Ok(Value::Int(ordering as i64)))
}

fn change<'a>(arguments: &[Value<'a>], change: impl FnOnce(&mut Quantity, Quantity)) -> Evaluated<'a> {
    let (mut one, two) = match arguments {
        [Value::Other(Other::Quantity(one)), Value::Other(Other::Quantity(two))] => (**one, **two),
        [Value::Other(Other::Quantity(one)), Value::Int(two)] => {
            (**one, Quantity::new(*two, Format::Exponent))
        }
        _ => return no_overload(),
    };
    change(&mut one, two);
    Ok(value(one))
}

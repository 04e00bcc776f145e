//! Amounts of resources: `500m` of a processor, `128Mi` of memory.
//!
//! Grammar and canonical form are those of Kubernetes' `resource.Quantity`: a decimal number with a
//! decimal suffix (`n u m k M G T P E`), a binary one (`Ki Mi Gi Ti Pi Ei`) or an exponent (`e3`). A
//! quantity holds whole billionths; what is finer is rounded up, away from zero. What has a binary suffix
//! is cut to 2⁶³-1, as Kubernetes cuts it, and all else to 10²⁷, which there has no bound.
//!
//! Nothing is lost by writing it: what is no whole number of bytes is written with a decimal suffix
//! (`1.1Gi` is `1181116006400m`).

use std::cmp::Ordering;
use std::fmt;
use std::ops::{AddAssign, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// An amount of a resource. Compares by amount, whatever the way of writing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The way in which a quantity was written, and so is written again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Powers of a thousand: `1500m`, `2k`.
    #[default]
    Decimal,
    /// Powers of 1024: `64Mi`.
    Binary,
    /// Exponents: `1e3`.
    Exponent,
}

/// Why a text is not a quantity; the wording is Kubernetes'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not look like a number at all.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is fine but what follows is no suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// What stands before the suffix is no number.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

const NANOS: i128 = 1_000_000_000;
/// What is written with a binary suffix is cut to this.
const MAX: i128 = i64::MAX as i128 * NANOS;
/// What is written otherwise is cut to this, which leaves room to add up many.
const MOST: i128 = 1_000_000_000_000_000_000_000_000_000_000_000_000;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::Decimal };

    /// So many whole units.
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANOS, format }
    }

    /// So many thousandths, as processors are counted.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * (NANOS / 1000), format: Format::Decimal }
    }

    /// So many bytes, written with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self::new(bytes, Format::Binary)
    }

    /// Reads a quantity from JSON: a text or a number. [`None`] if it is neither or malformed.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }

    /// Whole units, rounded up: bytes of memory, numbers of pods.
    pub fn value(self) -> i64 {
        clamp(div_away(self.nanos, NANOS))
    }

    /// Thousandths, rounded up: processor time.
    pub fn millis(self) -> i64 {
        clamp(div_away(self.nanos, NANOS / 1000))
    }

    /// The amount as a floating-point number, for ratios and scores.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The same, or the next whole thousandth away from zero: lists of resources hold nothing finer.
    #[must_use]
    pub fn round_up_to_millis(self) -> Self {
        let milli = NANOS / 1000;
        Self { nanos: div_away(self.nanos, milli) * milli, ..self }
    }

    /// How it is written.
    pub fn format(self) -> Format {
        self.format
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if number.is_empty() {
            return Err(QuantityError::Format);
        }
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(if suffix.is_empty() { QuantityError::Number } else { QuantityError::Format });
        }
        let (unit, format) = parse_suffix(suffix)?;
        let magnitude = scale(whole, fraction, unit);
        let (nanos, format) = match format {
            // Less than one byte has no binary suffix.
            Format::Binary if magnitude < NANOS => (magnitude, Format::Decimal),
            Format::Binary => (magnitude.min(MAX), format),
            Format::Decimal | Format::Exponent => (magnitude, format),
        };
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Binary && self.nanos.abs() >= 1024 * NANOS && self.is_whole() {
            let mut number = self.nanos / NANOS;
            let mut step = 0;
            while number % 1024 == 0 && step + 1 < BINARY.len() {
                number /= 1024;
                step += 1;
            }
            return write!(f, "{number}{}", BINARY[step]);
        }
        let (mut number, mut step) = (self.nanos, 0);
        while number % 1000 == 0 && (step + 1 < DECIMAL.len() || self.format == Format::Exponent) {
            number /= 1000;
            step += 1;
        }
        match (self.format, DECIMAL.get(step)) {
            (Format::Decimal | Format::Binary, Some((suffix, _))) => write!(f, "{number}{suffix}"),
            (_, Some((_, 0))) => write!(f, "{number}"),
            _ => write!(f, "{number}e{}", 3 * step as i64 - 9),
        }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.nanos = (self.nanos + other.nanos).clamp(-MOST, MOST);
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.nanos = (self.nanos - other.nanos).clamp(-MOST, MOST);
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).ok_or_else(|| serde::de::Error::custom(QuantityError::Format))
    }
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Unit {
    Ten(i32),
    Two(u32),
}

fn parse_suffix(suffix: &str) -> Result<(Unit, Format), QuantityError> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Unit::Ten(*exponent), Format::Decimal));
    }
    if let Some(step) = BINARY.iter().position(|name| *name == suffix) {
        return Ok((Unit::Two(10 * step as u32), Format::Binary));
    }
    let letters = suffix.find(|c: char| !"eEinumkKMGTP".contains(c)).unwrap_or(suffix.len());
    let (letters, exponent) = suffix.split_at(letters);
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(QuantityError::Format);
    }
    if (letters == "e" || letters == "E") && !unsigned.is_empty() {
        let exponent = exponent.parse().map_err(|_| QuantityError::Suffix)?;
        return Ok((Unit::Ten(exponent), Format::Exponent));
    }
    Err(QuantityError::Suffix)
}

/// `whole.fraction` times the unit in billionths, rounded up, [`MOST`] if it is that or more.
fn scale(whole: &str, fraction: &str, unit: Unit) -> i128 {
    let mut mantissa: i128 = 0;
    let mut exponent: i64 = 9 - fraction.len() as i64;
    let mut lost = false;
    for digit in whole.bytes().chain(fraction.bytes()) {
        // 10^26 leaves room for 2^60 only after dividing: larger numbers are cut to the maximum anyway,
        // and finer ones are rounded at the end.
        if mantissa < 1_000_000_000_000_000_000_000_000_000 {
            mantissa = mantissa * 10 + i128::from(digit - b'0');
        } else {
            exponent += 1;
            lost |= digit != b'0';
        }
    }
    if mantissa == 0 {
        return 0;
    }
    if let Unit::Ten(power) = unit {
        exponent += i64::from(power);
    }
    let bits = match unit {
        Unit::Two(bits) => bits,
        Unit::Ten(_) => 0,
    };
    // Binary suffixes first while the number is exact, as far as it fits.
    let mut left = bits;
    while left > 0 && mantissa < i128::MAX >> 11 {
        mantissa <<= 10;
        left -= 10;
    }
    while exponent < 0 && mantissa != 0 {
        lost |= mantissa % 10 != 0;
        mantissa /= 10;
        exponent += 1;
        while left > 0 && mantissa < i128::MAX >> 11 {
            mantissa <<= 10;
            left -= 10;
        }
    }
    if left > 0 || mantissa >= MOST {
        return MOST;
    }
    for _ in 0..exponent.max(0) {
        mantissa = mantissa.saturating_mul(10);
        if mantissa >= MOST {
            return MOST;
        }
    }
    mantissa + i128::from(lost)
}

fn div_away(number: i128, by: i128) -> i128 {
    let quotient = number / by;
    match number % by {
        0 => quotient,
        rest if rest > 0 => quotient + 1,
        _ => quotient - 1,
    }
}

fn clamp(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests;

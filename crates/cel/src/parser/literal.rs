//! Literals: from the text of a word to its value.

use crate::ast::Literal;
use crate::lexer::Word;

/// The value of a literal, or what is wrong with it. `negative` says that a minus stands before it.
pub(super) fn value(word: Word, text: &str, negative: bool) -> Result<Literal, String> {
    match word {
        Word::Int => int(text, negative).map(Literal::Int).ok_or_else(|| "invalid int literal".to_owned()),
        Word::Uint => uint(text).map(Literal::Uint).ok_or_else(|| "invalid uint literal".to_owned()),
        Word::Float => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Literal::Double(if negative { -number } else { number })),
            _ => Err("invalid double literal".to_owned()),
        },
        Word::String => unescape(text, false).map(|text| {
            // Without bytes in it, it is what the source had or characters by their numbers.
            Literal::String(String::from_utf8_lossy(&text).into())
        }),
        Word::Bytes => unescape(&text[1..], true).map(|bytes| Literal::Bytes(bytes.into())),
        Word::Symbol(_) | Word::Ident | Word::Escaped | Word::End => Err("no literal".to_owned()),
    }
}

fn int(text: &str, negative: bool) -> Option<i64> {
    let magnitude = match text.strip_prefix("0x") {
        Some(digits) => i128::from(u64::from_str_radix(digits, 16).ok()?),
        None => i128::from(text.parse::<u64>().ok()?),
    };
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn uint(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['u', 'U']);
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// What stands between the quotes, with escapes resolved. In bytes, `\x` and octal escapes are bytes; in text they
/// are characters.
fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, String> {
    let invalid = || "unable to unescape string".to_owned();
    let (raw, text) = match text.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let quotes =
        if text.len() >= 6 && (text.starts_with("\"\"\"") || text.starts_with("'''")) { 3 } else { 1 };
    let inner = text.get(quotes..text.len().saturating_sub(quotes)).ok_or_else(invalid)?;
    if raw || !inner.contains(['\\', '\r']) {
        return Ok(inner.as_bytes().to_vec());
    }
    // Line ends are those of Unix, however the source was written.
    let inner = inner.replace("\r\n", "\n").replace('\r', "\n");
    let mut result = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            result.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.next().ok_or_else(invalid)?;
        let simple = match escape {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '\'' | '"' | '`' | '?' => Some(escape as u8),
            _ => None,
        };
        if let Some(byte) = simple {
            result.push(byte);
            continue;
        }
        let (digits, radix, byte) = match escape {
            'x' | 'X' => (2, 16, true),
            'u' if !bytes => (4, 16, false),
            'U' if !bytes => (8, 16, false),
            '0'..='3' => (2, 8, true),
            _ => return Err(invalid()),
        };
        let mut number = if radix == 8 { escape.to_digit(8).ok_or_else(invalid)? } else { 0 };
        for _ in 0..digits {
            let digit = rest.next().and_then(|digit| digit.to_digit(radix)).ok_or_else(invalid)?;
            number =
                number.checked_mul(radix).and_then(|number| number.checked_add(digit)).ok_or_else(invalid)?;
        }
        if bytes && byte {
            result.push(u8::try_from(number).map_err(|_| invalid())?);
        } else {
            let character = char::from_u32(number).ok_or_else(invalid)?;
            result.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(result)
}

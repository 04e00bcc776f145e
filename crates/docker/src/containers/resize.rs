//! `POST /containers/{name}/resize`: the size of a container's terminal.

use engine::TerminalSize;
use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// Sets the size of the terminal.
pub(crate) async fn resize(call: Call) -> Answer {
    let size = size(&call)?;
    call.engine().container_resize(&call.container()?, size).await?;
    answer::bare(StatusCode::OK)
}

/// The size in the query of `call`.
pub(crate) fn size(call: &Call) -> Result<TerminalSize, Fault> {
    let side = |name, what| side(call.query.text(name), what);
    Ok(terminal_size(side("h", "height")?, side("w", "width")?))
}

/// What the kernel keeps of a size: larger ones wrap around, as they do elsewhere.
pub(crate) fn terminal_size(rows: u32, columns: u32) -> TerminalSize {
    TerminalSize { rows: rows as u16, columns: columns as u16 }
}

fn side(text: &str, what: &str) -> Result<u32, Fault> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    let parsed = if is_number { text.parse().ok() } else { None };
    parsed.ok_or_else(|| Fault::invalid(format!("invalid resize {what} \"{text}\": {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u32, &str>) {
        let expected = expected.map_err(|why| format!("invalid resize height \"{text}\": {why}"));
        assert_eq!(side(text, "height").map_err(|fault| fault.message), expected);
    }

    #[test]
    fn a_side_is_a_number_that_fits_32_bits() {
        check("40", Ok(40));
        check("70000", Ok(70_000));
        check("", Err("invalid syntax"));
        check("foo", Err("invalid syntax"));
        check("-10", Err("value out of range"));
        check("+10", Ok(10));
        check("-", Err("invalid syntax"));
        check("4294967296", Err("value out of range"));
    }
}

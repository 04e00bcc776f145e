//! Truths as Go reads them, which is how Docker's and Kubernetes' clients write them: `true`, `F`, `1`.

/// Reads a truth as `strconv.ParseBool` does; none where a text is neither.
///
/// ```
/// assert_eq!(base::truth::parse("T"), Some(true));
/// assert_eq!(base::truth::parse("0"), Some(false));
/// assert_eq!(base::truth::parse("yes"), None);
/// ```
pub fn parse(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

//! Platforms in queries: a document since there are several images of one name (`{"os":…,"architecture":…}`).

use engine::image::Platform;

use crate::call::Call;
use crate::fault::Fault;
use crate::version::ApiVersion;

/// The one platform that the query asks for, as `os/arch[/variant]`; the parameter came with 1.`since`.
pub(super) fn one(call: &Call, since: u16) -> Result<Option<String>, Fault> {
    if call.version < ApiVersion(1, since) {
        return Ok(None);
    }
    match call.query.all("platform").as_slice() {
        [] => Ok(None),
        [one] if one.is_empty() => Ok(None),
        [one] => decode(one).map(Some),
        _ => Err(Fault::invalid("multiple platform parameters not supported")),
    }
}

fn decode(text: &str) -> Result<String, Fault> {
    let invalid = |why: &str| Fault::invalid(format!("failed to parse platform: {why}"));
    let platform: Platform = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err(invalid("both OS and Architecture must be provided"));
    }
    Ok(platform.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_a_document() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let read = decode(text).map_err(|fault| fault.message);
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{text}");
        };
        check(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, Ok("linux/arm/v7"));
        check(
            r#"{"os":"linux"}"#,
            Err("failed to parse platform: both OS and Architecture must be provided"),
        );
        assert!(decode("linux/amd64").is_err());
    }
}

//! Lines of progress: what pull, push, load, import and build stream.

use serde::Serialize;

/// One line; absent members are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Progress {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub(crate) progress_detail: Option<Detail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub(crate) error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aux: Option<serde_json::Value>,
}

/// How far a transfer has come, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Detail {
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) current: u64,
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) total: u64,
}

/// Why a stream ended early.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ErrorDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<i32>,
    pub(crate) message: String,
}

impl Progress {
    /// A line of plain output.
    pub(crate) fn stream(text: impl Into<String>) -> Self {
        Self { stream: Some(text.into()), ..Self::default() }
    }

    /// A line that says what is being done.
    pub(crate) fn status(text: impl Into<String>) -> Self {
        Self { status: Some(text.into()), ..Self::default() }
    }

    /// What is being done to the thing `id`.
    pub(crate) fn of(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self {
            status: Some(status.into()),
            id: Some(id.into()).filter(|id| !id.is_empty()),
            progress_detail: Some(Detail::default()),
            ..Self::default()
        }
    }

    /// How far the work on the thing `id` has come, with the bar that older clients print as it is.
    pub(crate) fn transfer(
        id: impl Into<String>,
        status: impl Into<String>,
        current: u64,
        total: u64,
    ) -> Self {
        Self {
            progress_detail: Some(Detail { current, total }),
            progress: Some(bar(current, total)),
            ..Self::of(id, status)
        }
    }

    /// The last line of a stream that failed.
    pub(crate) fn error(message: impl Into<String>, code: Option<i32>) -> Self {
        let message = message.into();
        Self {
            error_detail: Some(ErrorDetail { code, message: message.clone() }),
            error: Some(message),
            ..Self::default()
        }
    }

    /// A machine-readable result.
    pub(crate) fn aux(value: serde_json::Value) -> Self {
        Self { aux: Some(value), ..Self::default() }
    }

    /// The line as it travels: JSON, then carriage return and line feed.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("progress has string keys only");
        line.extend_from_slice(b"\r\n");
        line
    }
}

/// `[=====>      ]  1.2MB/3.4MB`, in the width that a terminal of 110 columns gets.
fn bar(current: u64, total: u64) -> String {
    const WIDTH: u64 = 50;
    if total == 0 || current > total {
        return format!("{:>8}", crate::size::decimal(current));
    }
    let done = (current * WIDTH / total).min(WIDTH);
    let (head, rest) = if done < WIDTH { (">", WIDTH - done - 1) } else { ("", 0) };
    let arrow = "=".repeat(done as usize);
    let blank = " ".repeat(rest as usize);
    format!("[{arrow}{head}{blank}] {:>8}/{}", crate::size::decimal(current), crate::size::decimal(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(progress: &Progress, expected: &str) {
        assert_eq!(String::from_utf8(progress.line()).expect("text"), format!("{expected}\r\n"));
    }

    #[test]
    fn lines_have_only_what_they_say() {
        check(&Progress::stream("Step 1"), r#"{"stream":"Step 1"}"#);
        check(&Progress::of("abc", "Waiting"), r#"{"status":"Waiting","progressDetail":{},"id":"abc"}"#);
        check(&Progress::error("no", Some(1)), r#"{"errorDetail":{"code":1,"message":"no"},"error":"no"}"#);
    }

    #[test]
    fn a_transfer_carries_its_bar() {
        let half = Progress::transfer("abc", "Downloading", 500, 1000).progress.expect("a bar");
        assert_eq!(half, format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(24)));
    }
}

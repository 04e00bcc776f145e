//! How a command ended, as the error channel tells it.

use model::Status;
use model::status::{Cause, Details};

use crate::error::Error;

/// The `Status` of a command that ended by itself or could not be run, as JSON.
pub(super) fn status(outcome: &Result<i32, Error>) -> Vec<u8> {
    serde_json::to_vec(&status_of(outcome)).expect("a status always has a text")
}

/// What failed, in words; nothing where nothing did.
pub(super) fn text(outcome: &Result<i32, Error>) -> Vec<u8> {
    match outcome {
        Ok(0) => Vec::new(),
        _ => status_of(outcome).message.into_bytes(),
    }
}

fn status_of(outcome: &Result<i32, Error>) -> Status {
    match outcome {
        Ok(0) => Status::success(None),
        Ok(code) => Status {
            status: "Failure".to_owned(),
            reason: "NonZeroExitCode".to_owned(),
            message: format!("command terminated with non-zero exit code: exit code {code}"),
            details: Some(Details {
                causes: vec![Cause {
                    reason: "ExitCode".to_owned(),
                    message: code.to_string(),
                    field: String::new(),
                }],
                ..Details::default()
            }),
            ..Status::default()
        },
        Err(error) => error.status().clone(),
    }
}

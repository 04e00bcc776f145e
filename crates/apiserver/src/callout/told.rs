//! How much of what somebody says who was asked is told on: he may say megabytes, and whoever is told did not ask him.

use model::Status;

/// So long a text may be that says what is wrong with an answer, or names something.
const NAMED: usize = 1 << 10;
/// So long a text may be that is for people.
const SAID: usize = 8 << 10;
/// So many causes are told.
const CAUSES: usize = 32;

/// The beginning of a text, where it is long.
pub fn cut(text: String) -> String {
    beginning(text, NAMED)
}

/// A status of somebody else's, as far as it is told on.
pub fn told(mut status: Status) -> Status {
    status.metadata = serde_json::Map::new();
    status.message = beginning(status.message, SAID);
    status.reason = cut(status.reason);
    status.status = cut(status.status);
    if let Some(details) = &mut status.details {
        details.causes.truncate(CAUSES);
        let named = [&mut details.name, &mut details.group, &mut details.kind, &mut details.uid].into_iter();
        let of_causes = details
            .causes
            .iter_mut()
            .flat_map(|cause| [&mut cause.reason, &mut cause.message, &mut cause.field]);
        for text in named.chain(of_causes) {
            *text = cut(std::mem::take(text));
        }
    }
    status
}

fn beginning(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use model::status::{Cause, Details};

    use super::*;

    #[test]
    fn of_what_is_long_the_beginning_is_told() {
        assert_eq!(cut("short".to_owned()), "short");
        let long = cut("é".repeat(1 << 20));
        assert!(long.starts_with('é') && long.ends_with('…') && long.len() <= NAMED + '…'.len_utf8());
        let text = || "x".repeat(1 << 20);
        let cause = Cause { reason: text(), message: text(), field: text() };
        let mut status = Status::failure(403, &text(), text());
        status.metadata.insert(text(), text().into());
        status.details = Some(Details { name: text(), causes: vec![cause; 1000], ..Details::default() });
        let told = serde_json::to_string(&told(status)).expect("a text");
        assert!(told.len() < 128 << 10, "{} bytes", told.len());
    }
}

//! Events.

use engine::event::{Event, EventKind};

use crate::wire::event::{self as document, Actor};

/// Writes an event.
pub(crate) fn event(event: &Event) -> document::Event {
    let nanoseconds = event.at.as_nanosecond();
    let container = event.kind == EventKind::Container;
    let old_form = container || event.kind == EventKind::Image;
    document::Event {
        status: if old_form { event.action.to_string() } else { String::new() },
        id: if old_form { event.id.clone() } else { String::new() },
        from: match container {
            true => event.attributes.get("image").cloned().unwrap_or_default(),
            false => String::new(),
        },
        kind: event.kind.as_str().to_owned(),
        action: event.action.to_string(),
        actor: Actor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.at.as_second(),
        time_nano: i64::try_from(nanoseconds).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_event_of_a_container_repeats_itself_for_old_clients() {
        let happened = Event {
            at: base::Timestamp::new(5, 7).expect("a moment"),
            kind: EventKind::Container,
            action: "start".into(),
            id: "abc".to_owned(),
            attributes: BTreeMap::from([("image".to_owned(), "bb".to_owned())]),
        };
        let text = serde_json::to_string(&event(&happened)).expect("JSON");
        let expected = concat!(
            r#"{"status":"start","id":"abc","from":"bb","Type":"container","Action":"start","#,
            r#""Actor":{"ID":"abc","Attributes":{"image":"bb"}},"scope":"local","time":5,"timeNano":5000000007}"#
        );
        assert_eq!(text, expected);
    }
}

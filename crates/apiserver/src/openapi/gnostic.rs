//! The document of version 2 in protocol buffers, the only form in which kubectl asks for it.
//!
//! The messages are those of gnostic's `openapi.v2` package. Only what [`super::v2`] writes has a place
//! here; what JSON Schema knows and that package does not is left out. Whatever begins with `x-`, and
//! defaults, are carried as YAML text, of which JSON is a part.
//! Source: gnostic, `openapiv2/OpenAPIv2.proto`.

use serde_json::{Map, Value};

use crate::protobuf::write::Message;

/// Writes a document of version 2.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.text(1, text(document, "swagger"));
    message.message(2, |info| {
        info.text(1, text(&document["info"], "title"));
        info.text(2, text(&document["info"], "version"));
    });
    message.message(8, |paths| {
        for (path, item) in fields(&document["paths"]) {
            named(paths, 2, path, |value| path_item(value, item));
        }
    });
    message.message(9, |definitions| {
        for (name, value) in fields(&document["definitions"]) {
            named(definitions, 1, name, |message| schema(message, value));
        }
    });
    message.into_bytes()
}

fn path_item(message: &mut Message, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(request) = item.get(method) {
            message.message(number, |message| operation(message, request));
        }
    }
    parameters(message, 9, item);
    extensions(message, 10, item);
}

fn operation(message: &mut Message, request: &Value) {
    message.text(5, text(request, "operationId"));
    texts(message, 6, request, "produces");
    texts(message, 7, request, "consumes");
    parameters(message, 8, request);
    message.message(9, |responses| {
        for (code, answer) in fields(&request["responses"]) {
            named(responses, 1, code, |value| value.message(1, |response| self::response(response, answer)));
        }
    });
    extensions(message, 13, request);
}

fn response(message: &mut Message, answer: &Value) {
    message.text(1, text(answer, "description"));
    if let Some(value) = answer.get("schema") {
        message.message(2, |item| item.message(1, |message| schema(message, value)));
    }
}

fn parameters(message: &mut Message, number: u32, owner: &Value) {
    for value in items(owner, "parameters") {
        // An item is a parameter or a reference to one, a parameter a body's or another.
        message.message(number, |item| item.message(1, |message| parameter(message, value)));
    }
}

fn parameter(message: &mut Message, value: &Value) {
    let required = value["required"] == true;
    match text(value, "in") {
        "body" => message.message(1, |body| {
            body.text(2, text(value, "name"));
            body.text(3, "body");
            body.flag(4, required);
            body.message(5, |message| schema(message, &value["schema"]));
        }),
        place => message.message(2, |other| {
            // In a path, the field that says whether the value may be empty is missing.
            let (number, ty, unique) = if place == "path" { (4, 5, 19) } else { (3, 6, 20) };
            other.message(number, |message| {
                message.flag(1, required);
                message.text(2, place);
                message.text(4, text(value, "name"));
                message.text(ty, text(value, "type"));
                message.flag(unique, value["uniqueItems"] == true);
            });
        }),
    }
}

fn schema(message: &mut Message, value: &Value) {
    message.text(1, text(value, "$ref"));
    message.text(2, text(value, "format"));
    message.text(4, text(value, "description"));
    if let Some(default) = value.get("default") {
        message.message(5, |message| any(message, default));
    }
    texts(message, 19, value, "required");
    if let Some(values) = value.get("additionalProperties") {
        message.message(21, |item| item.message(1, |message| schema(message, values)));
    }
    let ty = text(value, "type");
    if !ty.is_empty() {
        message.message(22, |message| message.text(1, ty));
    }
    if let Some(element) = value.get("items") {
        message.message(23, |item| item.message(1, |message| schema(message, element)));
    }
    if let Some(properties) = value.get("properties").and_then(Value::as_object) {
        message.message(25, |message| {
            for (name, value) in properties {
                named(message, 1, name, |message| schema(message, value));
            }
        });
    }
    extensions(message, 31, value);
}

fn extensions(message: &mut Message, number: u32, owner: &Value) {
    for (name, value) in fields(owner).filter(|(name, _)| name.starts_with("x-")) {
        named(message, number, name, |message| any(message, value));
    }
}

fn any(message: &mut Message, value: &Value) {
    message.text(2, &value.to_string());
}

/// One entry of what is a map in JSON.
fn named(message: &mut Message, number: u32, name: &str, fill: impl FnOnce(&mut Message)) {
    message.message(number, |entry| {
        entry.text(1, name);
        entry.message(2, fill);
    });
}

fn text<'a>(owner: &'a Value, name: &str) -> &'a str {
    owner.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn texts(message: &mut Message, number: u32, owner: &Value, name: &str) {
    for text in items(owner, name).filter_map(Value::as_str) {
        message.text(number, text);
    }
}

fn items<'a>(owner: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    owner.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn fields(owner: &Value) -> impl Iterator<Item = (&String, &Value)> {
    owner.as_object().into_iter().flat_map(Map::iter)
}

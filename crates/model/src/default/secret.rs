//! Defaults of Secret: its type, and `stringData` folded into `data`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Fields, inside, unset};

pub(super) fn object(fields: &mut Fields) {
    unset(fields, "type", "Opaque");
    let Some(Value::Object(plain)) = fields.shift_remove("stringData") else { return };
    let data = inside(fields, "data");
    for (key, value) in plain {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

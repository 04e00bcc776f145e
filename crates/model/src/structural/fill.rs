//! What a schema fills in where a document leaves it out.

use serde_json::{Map, Value};

use super::Structural;

impl Structural {
    /// Fills in the defaults of fields that are absent, or null though they may not be. Twice changes nothing
    /// more than once.
    pub fn fill_in(&self, fields: &mut Map<String, Value>) {
        for (name, schema) in &self.properties {
            let Some(default) = &schema.default else { continue };
            let missing = match fields.get(name.as_ref()) {
                None => true,
                Some(value) => value.is_null() && !schema.nullable,
            };
            if missing {
                fields.insert(name.to_string(), (**default).clone());
            }
        }
        for (name, value) in fields.iter_mut() {
            match (self.property(name), self.additional()) {
                (Some(schema), _) => schema.default_inside(value),
                (None, Some(schema)) => schema.default_null(value),
                (None, None) => {}
            }
        }
    }

    fn default_inside(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => self.fill_in(fields),
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.default_null(item));
                }
            }
            _ => {}
        }
    }

    /// As an item of a list or a map: null stands for the default where it is none of the values.
    fn default_null(&self, value: &mut Value) {
        if value.is_null() && !self.nullable {
            *value = self.default.as_deref().cloned().unwrap_or(Value::Null);
        }
        self.default_inside(value);
    }
}

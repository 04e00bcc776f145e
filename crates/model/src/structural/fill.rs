//! What a schema fills in where a document leaves it out.

use serde_json::{Map, Value};

use super::Structural;

/// So much is filled into one document at most: a short list of what is empty could become any size.
const MOST: usize = 16 << 20;
/// What a field takes besides its value.
const FIELD: usize = 32;

/// The defaults of a document are more than anybody may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its defaults take more than {MOST} bytes")]
pub struct TooMuch;

/// How much may still be filled in.
struct Room(usize);

impl Room {
    /// A copy of a default, where there is room for it.
    fn copy(&mut self, default: &Value, name: &str) -> Result<Value, TooMuch> {
        let size = crate::size::of(default, self.0) + name.len() + FIELD;
        self.0 = self.0.checked_sub(size).ok_or(TooMuch)?;
        Ok(default.clone())
    }
}

impl Structural {
    /// Fills in the defaults of fields that are absent, or null though they may not be. Twice changes nothing
    /// more than once. What fails has been filled in in part.
    pub fn fill_in(&self, fields: &mut Map<String, Value>) -> Result<(), TooMuch> {
        self.fill_within(fields, &mut Room(MOST))
    }

    fn fill_within(&self, fields: &mut Map<String, Value>, room: &mut Room) -> Result<(), TooMuch> {
        for (name, schema) in &self.properties {
            let Some(default) = &schema.default else { continue };
            let missing = match fields.get(name.as_ref()) {
                None => true,
                Some(value) => value.is_null() && !schema.nullable,
            };
            if missing {
                fields.insert(name.to_string(), room.copy(default, name)?);
            }
        }
        for (name, value) in fields.iter_mut() {
            match (self.property(name), self.additional()) {
                (Some(schema), _) => schema.default_inside(value, room)?,
                (None, Some(schema)) => schema.default_null(value, room)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn default_inside(&self, value: &mut Value, room: &mut Room) -> Result<(), TooMuch> {
        match (value, &self.items) {
            (Value::Object(fields), _) => self.fill_within(fields, room),
            (Value::Array(items), Some(schema)) => {
                items.iter_mut().try_for_each(|item| schema.default_null(item, room))
            }
            _ => Ok(()),
        }
    }

    /// As an item of a list or a map: null stands for the default where it is none of the values.
    fn default_null(&self, value: &mut Value, room: &mut Room) -> Result<(), TooMuch> {
        if value.is_null()
            && !self.nullable
            && let Some(default) = &self.default
        {
            *value = room.copy(default, "")?;
        }
        self.default_inside(value, room)
    }
}

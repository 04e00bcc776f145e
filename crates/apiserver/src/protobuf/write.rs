//! Writes the wire form of protocol buffers: numbered fields, one after another.

/// A message that is being written. Fields that hold their type's zero are left out, as is usual.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// The message's bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// One that goes on after these bytes.
    pub(crate) fn begun(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// A text, unless it is empty.
    pub(crate) fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    /// A truth value, unless it is false.
    pub(crate) fn flag(&mut self, number: u32, value: bool) {
        if value {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    /// A message within, even if it is empty: that it is there may be all that it says.
    pub(crate) fn message(&mut self, number: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(number, &inner.0);
    }

    /// Bytes, even if there are none.
    pub(crate) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.prefix(number, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// What comes before so many bytes.
    pub(crate) fn prefix(&mut self, number: u32, length: usize) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(length as u64);
    }

    /// A number, even if it is 0.
    pub(crate) fn number(&mut self, number: u32, value: u64) {
        self.varint(u64::from(number) << 3);
        self.varint(value);
    }

    /// A number that need not be whole.
    pub(crate) fn double(&mut self, number: u32, value: f64) {
        self.varint(u64::from(number) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 & 0x7f | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

//! Writing and reading netlink messages.

/// Length of the header of every message.
pub(crate) const HEADER: usize = 16;

const NESTED: u16 = 1 << 15;
const KIND_MASK: u16 = 0x3fff;

/// A request being written.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

/// Reads attributes one after another; stops at the first that makes no sense.
#[derive(Clone)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl Message {
    /// A message of the type `kind` that begins with the family's own fixed `header`.
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(header);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    /// Appends an attribute with any value.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).expect("callers split values longer than 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends a number in the machine's byte order.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Appends a number in network byte order, as netfilter wants them.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends a text with its terminating zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Appends an attribute made of those that `write` appends.
    pub(crate) fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        write(self);
        let length = u16::try_from(self.bytes.len() - start).expect("callers split nests longer than 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Appends fixed bytes, as the header inside a veth's peer attribute.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the finished message to `buffer`, adding `flags` to its own.
    pub(crate) fn finish(&self, buffer: &mut Vec<u8>, flags: u16, sequence: u32) {
        let start = buffer.len();
        buffer.extend_from_slice(&self.bytes);
        let length = u32::try_from(self.bytes.len()).expect("a message is far shorter than 4 GiB");
        let own = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        buffer[start + 6..start + 8].copy_from_slice(&(own | flags).to_ne_bytes());
        buffer[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

impl<'a> Attributes<'a> {
    /// Reads the attributes in `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads the attributes after a fixed header of `length` bytes.
    pub(crate) fn after(bytes: &'a [u8], length: usize) -> Self {
        Self { rest: bytes.get(length..).unwrap_or_default() }
    }

    /// The first attribute of the type `kind`.
    pub(crate) fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find_map(|(found, value)| (found == kind).then_some(value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes([*self.rest.first()?, *self.rest.get(1)?]));
        let kind = u16::from_ne_bytes([*self.rest.get(2)?, *self.rest.get(3)?]) & KIND_MASK;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A number in the machine's byte order.
pub(crate) fn attribute_u32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// A text up to its terminating zero.
pub(crate) fn attribute_text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut message = Message::new(16, 1, &[7; 4]);
        message.text(3, "eth0").nest(18, |inner| {
            inner.u32(1, 5).bytes(2, &[9]);
        });
        let mut bytes = Vec::new();
        message.finish(&mut bytes, 4, 77);
        assert_eq!(bytes.len(), message.len());
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(bytes[6], 5, "flags are joined");
        let attributes = Attributes::after(&bytes, HEADER + 4);
        assert_eq!(attributes.find(3).map(attribute_text).as_deref(), Some("eth0"));
        let inner: Vec<_> = Attributes::new(attributes.find(18).unwrap()).collect();
        assert_eq!(inner, [(1, &5u32.to_ne_bytes()[..]), (2, &[9][..])]);
    }

    #[test]
    fn a_cut_attribute_ends_the_reading() {
        assert_eq!(Attributes::new(&[8, 0, 1, 0, 5]).count(), 0);
        assert_eq!(Attributes::new(&[0, 0, 1, 0]).count(), 0);
    }
}

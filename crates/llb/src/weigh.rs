//! What reading an operation would take, known before it is read: a message of two bytes becomes hundreds in
//! memory, so that what is sent bounds nothing.

/// Bytes of an operation that says what is to be done…
const PLAIN: usize = 1 << 20;
/// …and of one that brings what files are filled with.
const FILES: usize = 4 << 20;
/// Mounts of a command, actions on files, and whatever else there is several of in an operation.
const PARTS: usize = 10_000;
/// The field of an operation's inputs, which are bounded for the definition as a whole.
const INPUTS: u64 = 1;
/// The fields of what is done, one of which an operation has.
const DONE: std::ops::RangeInclusive<u64> = 2..=8;
/// The field of an operation on files.
const FILE: u64 = 4;
/// The field of an operation that merges its inputs.
const MERGE: u64 = 6;

/// What is wrong with the size of the operation that is `bytes`, which has at most `inputs` inputs.
pub(crate) fn weigh(bytes: &[u8], inputs: usize) -> Result<(), &'static str> {
    if bytes.len() > FILES {
        return Err("it is too large");
    }
    let (mut parts, mut edges, mut on_files) = (0_usize, 0_usize, true);
    // What is broken is found when it is read.
    for (field, inner) in Fields(bytes) {
        match field {
            INPUTS => edges += 1,
            // As many as there are inputs.
            MERGE => edges = edges.max(Fields(inner).count()),
            _ => parts += 1 + Fields(inner).count(),
        }
        on_files &= !DONE.contains(&field) || field == FILE;
        if edges > inputs {
            return Err("it has too many inputs");
        }
        if parts > PARTS {
            return Err("it has too many parts");
        }
    }
    if bytes.len() > PLAIN && !on_files {
        return Err("it is too large");
    }
    Ok(())
}

/// The fields of a message, with what those hold that hold bytes; ends where it is broken.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let key = number(&mut self.0)?;
        let mut inner: &[u8] = &[];
        match key & 7 {
            0 => drop(number(&mut self.0)?),
            1 => drop(self.0.split_off(..8)?),
            2 => {
                let length = usize::try_from(number(&mut self.0)?).ok()?;
                inner = self.0.split_off(..length)?;
            }
            5 => drop(self.0.split_off(..4)?),
            // Groups, which no operation has.
            3 | 4 => {}
            _ => return None,
        }
        Some((key >> 3, inner))
    }
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

//! `$(NAME)` in commands, arguments and environment values, as far as there is room for it.

/// What must fit that is made from a text: bytes that are left.
///
/// A few names that stand for each other double with each line of a manifest, so that whoever expands
/// them says beforehand how much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    left: usize,
}

/// More was asked for than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not fit")]
pub struct TooLarge;

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: bytes }
    }

    /// Takes so many bytes of it, or none where it has fewer.
    pub fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.left = self.left.checked_sub(bytes).ok_or(TooLarge)?;
        Ok(())
    }

    /// Gives back what was taken.
    pub fn give_back(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(bytes);
    }
}

/// Replaces each `$(NAME)` by what `value` gives for it; `$$` stands for `$`, and a name that is
/// not known stays as it is written. What comes out is taken of `room`.
pub fn expand<'a>(
    text: &str,
    room: &mut Room,
    value: impl Fn(&str) -> Option<&'a str>,
) -> Result<String, TooLarge> {
    let mut expanded = String::new();
    let mut push = |piece: &str| {
        room.take(piece.len())?;
        expanded.push_str(piece);
        Ok(())
    };
    // Looked for once: in a text of many `$(` and no end each would be looked for to the last byte.
    let last_end = text.rfind(')');
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        push(&rest[..dollar])?;
        rest = &rest[dollar + 1..];
        let place = text.len() - rest.len();
        let name = rest.strip_prefix('(').filter(|_| last_end.is_some_and(|end| end > place));
        if let Some(after) = rest.strip_prefix('$') {
            push("$")?;
            rest = after;
        } else if let Some((name, after)) = name.and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(found) => push(found)?,
                None => {
                    push("$(")?;
                    push(name)?;
                    push(")")?;
                }
            }
            rest = after;
        } else {
            push("$")?;
        }
    }
    push(rest)?;
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("one"),
            "EMPTY" => Some(""),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(expand(text, &mut Room::new(100), value).as_deref(), Ok(expected));
    }

    #[test]
    fn known_names_are_replaced_and_unknown_ones_stay() {
        check("$(A)-$(EMPTY)-$(NONE)", "one--$(NONE)");
        check("before $(A) after", "before one after");
        check("$()", "$()");
    }

    #[test]
    fn two_dollars_stand_for_one_and_a_lone_one_for_itself() {
        check("$$(A)", "$(A)");
        check("$A costs 5$", "$A costs 5$");
        check("$(A", "$(A");
        check("$(A) $(A $$", "one $(A $");
    }

    #[test]
    fn no_more_is_made_than_there_is_room_for() {
        let mut room = Room::new(7);
        assert_eq!(expand("$(A)$(A)", &mut room, value).as_deref(), Ok("oneone"));
        assert_eq!(expand("ab", &mut room, value), Err(TooLarge));
        assert_eq!(expand("$(A)", &mut Room::new(2), value), Err(TooLarge));
        assert_eq!(expand("$(NONE)", &mut Room::new(6), value), Err(TooLarge));
        let large = "x".repeat(1 << 20);
        let twice = |_: &str| Some(large.as_str());
        assert_eq!(expand(&"$(A)".repeat(1 << 18), &mut Room::new(2 << 20), twice), Err(TooLarge));
    }

    #[test]
    fn a_text_of_beginnings_without_an_end_is_read_once() {
        // Looked for from each of them, the end would be looked for over a hundred thousand million bytes.
        let text = "$(".repeat(1 << 19);
        assert_eq!(expand(&text, &mut Room::new(1 << 20), value).map(|text| text.len()), Ok(1 << 20));
    }
}

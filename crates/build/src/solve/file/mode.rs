//! Permissions as `chmod` takes them: `755`, `u=rwX,go-w`.

/// How permissions are changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    clauses: Vec<Clause>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Clause {
    /// Whose bits: those of 0o7777 that it may change.
    who: u32,
    operation: char,
    permissions: Vec<char>,
}

impl Change {
    /// Reads it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid mode: {text}");
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let end = part.find(['+', '-', '=']).ok_or_else(invalid)?;
            let mut who = 0;
            for letter in part[..end].chars() {
                who |= match letter {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return Err(invalid()),
                };
            }
            let who = if who == 0 { 0o7777 } else { who };
            let mut rest = &part[end..];
            while let Some(operation) = rest.chars().next() {
                let after = &rest[1..];
                let end = after.find(['+', '-', '=']).unwrap_or(after.len());
                let permissions: Vec<char> = after[..end].chars().collect();
                if permissions
                    .iter()
                    .any(|letter| !matches!(letter, 'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o'))
                {
                    return Err(invalid());
                }
                clauses.push(Clause { who, operation, permissions });
                rest = &after[end..];
            }
        }
        Ok(Self { clauses })
    }

    /// The permissions of a file or directory that had `mode`.
    pub(super) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let mut mode = mode & 0o7777;
        for clause in &self.clauses {
            let mut bits = 0;
            for letter in &clause.permissions {
                bits |= match letter {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_directory || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => spread(mode >> 6),
                    'g' => spread(mode >> 3),
                    'o' => spread(mode),
                    _ => 0,
                };
            }
            let bits = bits & clause.who;
            mode = match clause.operation {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => (mode & !(clause.who & if is_directory { 0o1777 } else { 0o7777 })) | bits,
            };
        }
        mode
    }
}

/// The same for all three.
fn spread(bits: u32) -> u32 {
    (bits & 7) * 0o111
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, mode: u32, is_directory: bool, expected: u32) {
        let change = Change::parse(text).expect(text);
        let found = change.apply(mode, is_directory);
        assert_eq!(found, expected, "{text} on {mode:o}: {found:o}");
    }

    #[test]
    fn permissions_change_as_chmod_changes_them() {
        check("u+x", 0o644, false, 0o744);
        check("+x", 0o644, false, 0o755);
        check("go-w", 0o666, false, 0o644);
        check("u=rwX,go=rX", 0o640, false, 0o644);
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("a=r", 0o755, false, 0o444);
        check("g=u", 0o640, false, 0o660);
        check("u+s,o+t", 0o755, false, 0o5755);
        check("u+x-w", 0o644, false, 0o544);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "x", "u+q", "z+x", "u+x,"] {
            assert!(Change::parse(text).is_err(), "{text}");
        }
    }
}

//! `--chown`: users and groups by number, or by the names that the image gives them.

/// Checks the numbers in `user[:group]`.
pub(crate) fn check(text: &str) -> Result<(), String> {
    text.splitn(2, ':').try_for_each(|part| numeric(part).map(drop))
}

/// The ids of a user, and of the group that it is in first, in the text of `/etc/passwd`.
pub(crate) fn user_ids(users: &str, user: &str) -> Result<(u32, u32), String> {
    let fields = entry(users, user)
        .ok_or_else(|| format!("unable to find user {user}: no matching entries in passwd file"))?;
    Ok((number(&fields, 2)?, number(&fields, 3)?))
}

/// The id of a group in the text of `/etc/group`.
pub(crate) fn group_id(groups: &str, group: &str) -> Result<u32, String> {
    let fields = entry(groups, group)
        .ok_or_else(|| format!("unable to find group {group}: no matching entries in group file"))?;
    number(&fields, 2)
}

fn entry(file: &str, name: &str) -> Option<Vec<String>> {
    let mut entries = file.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    entries.find(|fields| fields.first().is_some_and(|first| first == name))
}

fn number(fields: &[String], at: usize) -> Result<u32, String> {
    let field = fields.get(at).map(String::as_str).unwrap_or_default();
    numeric(field)?.ok_or_else(|| format!("malformed entry for {}", fields[0]))
}

/// A user or group by number; `None` if it is a name.
///
/// Not beyond 2147483647: to the kernel 4294967295 means "as it is", and the file would stay root's.
fn numeric(text: &str) -> Result<Option<u32>, String> {
    match text.parse::<i64>() {
        Ok(number) => match u32::try_from(number) {
            Ok(number) if number <= i32::MAX as u32 => Ok(Some(number)),
            _ => Err("uids and gids must be in range 0-2147483647".to_owned()),
        },
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_a_user_can_have() {
        assert_eq!(numeric("2147483647"), Ok(Some(i32::MAX as u32)));
        assert_eq!(numeric("web"), Ok(None));
        for text in ["4294967295", "2147483648", "-1"] {
            assert!(numeric(text).is_err(), "{text}");
        }
    }
}

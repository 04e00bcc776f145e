//! `--chown`: users and groups by number, or by the names that the image gives them.

use std::path::Path;

use crate::files::{Owner, Target};

/// Reads `user[:group]`. Names are looked up in the image that is being built.
pub(crate) fn resolve_owner(target: &Target, text: &str) -> Result<Owner, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let read = |path: &str| {
        target.read(Path::new(path)).map_err(|error| format!("read {path} of the image: {error}"))
    };
    let (uid, primary) = match user.parse() {
        Ok(uid) => (uid, uid),
        Err(_) => {
            let users = read("/etc/passwd")?;
            let fields = entry(&users, user)
                .ok_or_else(|| format!("unable to find user {user}: no matching entries in passwd file"))?;
            (number(&fields, 2)?, number(&fields, 3)?)
        }
    };
    let gid = match group {
        None | Some("") => primary,
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => {
                let groups = read("/etc/group")?;
                let fields = entry(&groups, group).ok_or_else(|| {
                    format!("unable to find group {group}: no matching entries in group file")
                })?;
                number(&fields, 2)?
            }
        },
    };
    Ok(Owner { uid, gid, mode: None })
}

fn entry(file: &str, name: &str) -> Option<Vec<String>> {
    let mut entries = file.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    entries.find(|fields| fields.first().is_some_and(|first| first == name))
}

fn number(fields: &[String], at: usize) -> Result<u32, String> {
    fields
        .get(at)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| format!("malformed entry for {}", fields[0]))
}

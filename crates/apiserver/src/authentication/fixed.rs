//! Tokens that a file says whose they are.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::identity::Identity;

/// Whose fixed tokens are. Holds no token, only what it can be told by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FixedTokens(HashMap<[u8; 32], Identity>);

/// What is wrong with a list of tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct FixedTokensError {
    /// Which line, from 1.
    pub line: usize,
    what: &'static str,
}

impl FixedTokens {
    /// Reads a list in Kubernetes' form: `token,user,uid`, and perhaps groups, in quotes where there are
    /// several.
    pub fn parse(text: &str) -> Result<Self, FixedTokensError> {
        let mut tokens = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| FixedTokensError { line: index + 1, what };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields = fields(line).ok_or_else(|| wrong("a quote is not closed"))?;
            let [token, user, uid, groups @ ..] = fields.as_slice() else {
                return Err(wrong("it has fewer than the three fields token, user and uid"));
            };
            if token.is_empty() || user.is_empty() {
                return Err(wrong("token or user is empty"));
            }
            let groups = groups.first().map_or("", String::as_str).split(',').map(str::trim);
            let mut identity = Identity::new(user, groups.filter(|group| !group.is_empty()));
            identity.uid.clone_from(uid);
            if tokens.insert(Sha256::digest(token).into(), identity).is_some() {
                return Err(wrong("the token is another's already"));
            }
        }
        Ok(Self(tokens))
    }

    /// Whose a token is.
    pub(crate) fn find(&self, token: &str) -> Option<&Identity> {
        if self.0.is_empty() {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.0.get(&digest)
    }
}

/// The fields of a line (RFC 4180); none where a quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    fields.push(field.trim().to_owned());
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_whose_tokens_are() {
        let text = "# tokens\n\nsecret,jane,7,\"a,b\"\nother, bob ,,c\nthird,eve,9\n";
        let tokens = FixedTokens::parse(text).expect("a list");
        let find = |token: &str| {
            tokens.find(token).map(|who| (who.user.as_str(), who.uid.as_str(), who.groups.clone()))
        };
        let groups = |all: &[&str]| all.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>();
        assert_eq!(find("secret"), Some(("jane", "7", groups(&["a", "b", "system:authenticated"]))));
        assert_eq!(find("other"), Some(("bob", "", groups(&["c", "system:authenticated"]))));
        assert_eq!(find("third"), Some(("eve", "9", groups(&["system:authenticated"]))));
        assert_eq!(find("secre"), None);
        assert_eq!(find(""), None);
        assert!(!format!("{tokens:?}").contains("secret"));
    }

    #[test]
    fn a_list_that_is_no_list_is_refused() {
        for (text, line) in [("a,b", 1), ("a,b,c\n,b,c", 2), ("a,b,c\na,d,e", 2), ("a,b,c,\"d", 1)] {
            assert_eq!(FixedTokens::parse(text).expect_err(text).line, line, "{text}");
        }
    }
}

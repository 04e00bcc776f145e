//! "Did you mean …?": the known word that is nearest to one that is not.

/// Words that differ by so many letters or more are not suggested.
const FURTHEST: usize = 3;
/// Longer words are not compared: no known word is.
const LONGEST: usize = 256;

/// The option nearest to `word`; none where the word itself is one of them.
pub(crate) fn nearest<'a>(
    word: &str,
    options: impl IntoIterator<Item = &'a str>,
    has_cases: bool,
) -> Option<String> {
    let folded = if has_cases { word.to_owned() } else { word.to_lowercase() };
    if folded.len() > LONGEST {
        return None;
    }
    let mut best = None;
    // Of those that are equally near, one with the same first letter.
    let mut distance = (FURTHEST, false);
    for option in options {
        let option = if has_cases { option.to_owned() } else { option.to_lowercase() };
        if option == folded {
            return None;
        }
        let new = (steps(&folded, &option), folded.chars().next() != option.chars().next());
        if new < distance {
            distance = new;
            best = Some(option);
        }
    }
    let best = best.filter(|best| !best.is_empty())?;
    Some(match has_cases {
        true => best,
        false if word == word.to_lowercase() => best.to_lowercase(),
        false if word == word.to_uppercase() => best.to_uppercase(),
        false => best,
    })
}

/// A complaint about `word`, with the suggestion if there is one.
pub(crate) fn hint<'a>(
    problem: String,
    word: &str,
    options: impl IntoIterator<Item = &'a str>,
    has_cases: bool,
) -> String {
    match nearest(word, options, has_cases) {
        Some(best) => format!("{problem} (did you mean {best}?)"),
        None => problem,
    }
}

/// How many letters must be put in, taken out or replaced to make one word of the other (Levenshtein).
fn steps(first: &str, second: &str) -> usize {
    let second: Vec<char> = second.chars().collect();
    if second.len().abs_diff(first.chars().count()) >= FURTHEST {
        return FURTHEST;
    }
    let mut row: Vec<usize> = (0..=second.len()).collect();
    for (above, a) in first.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, b) in second.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[second.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        for (word, has_cases, expected) in [
            ("RUNN", false, Some("RUN")),
            ("rnu", false, Some("run")),
            ("CPOY", false, Some("COPY")),
            ("RNU", false, Some("RUN")),
            ("Runn", false, Some("run")),
            ("run", false, None),
            ("quite-another", false, None),
            ("RUNN", true, Some("RUN")),
            ("copi", true, None),
        ] {
            assert_eq!(nearest(word, ["ENV", "RUN", "COPY"], has_cases).as_deref(), expected, "{word}");
        }
        assert_eq!(hint("no".into(), "ab", ["abc"], true), "no (did you mean abc?)");
    }
}

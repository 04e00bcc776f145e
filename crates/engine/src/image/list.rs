//! Listing images.

use std::collections::HashSet;

use base::Timestamp;

use super::{Image, ImageFilter, convert};
use crate::engine::Engine;
use crate::error::Result;
use crate::filter;

impl Engine {
    /// The images that `filter` lets through, newest first.
    pub fn image_list(&self, filter: &ImageFilter) -> Result<Vec<Image>> {
        let time_of = |reference: &Option<String>| -> Result<Option<Timestamp>> {
            match reference {
                Some(reference) => Ok(self.image_inspect(reference)?.created),
                None => Ok(None),
            }
        };
        let (before, since) = (time_of(&filter.before)?, time_of(&filter.since)?);
        let all = self.inner.images.image_list();
        let parents: HashSet<String> =
            all.iter().filter_map(|image| image.parent.as_ref().map(ToString::to_string)).collect();
        let admitted = |image: &Image| {
            let is_step =
                image.tags.is_empty() && image.digests.is_empty() && parents.contains(image.id.as_str());
            (filter.all || !is_step)
                && (filter.references.is_empty()
                    || filter.references.iter().any(|wanted| is_named(image, wanted)))
                && filter::labels_match(&filter.labels, &image.config.labels)
                && filter.dangling.is_none_or(|dangling| image.tags.is_empty() == dangling)
                && before.is_none_or(|before| image.created.is_some_and(|created| created < before))
                && since.is_none_or(|since| image.created.is_some_and(|created| created > since))
                && filter.until.is_none_or(|until| image.created.is_some_and(|created| created < until))
        };
        Ok(all.iter().map(convert::image).filter(admitted).collect())
    }
}

/// Whether one of the image's names is `wanted`, which may have no tag, and `*` and `?` in it.
fn is_named(image: &Image, wanted: &str) -> bool {
    image.tags.iter().chain(&image.digests).any(|name| {
        let bare = name.split_once('@').map_or(name.as_str(), |(bare, _)| bare);
        let repository = match bare.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => bare,
        };
        matches(wanted.as_bytes(), name.as_bytes()) || matches(wanted.as_bytes(), repository.as_bytes())
    })
}

/// Whether `text` is of the form `pattern`: `*` stands for anything but slashes, `?` for
/// one byte that is none.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // The last star, and up to where it reaches. What an earlier one could do this one can too,
    // unless a slash lies between.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() || at < pattern.len() {
        match (pattern.get(at), text.get(read)) {
            (Some(b'*'), _) => {
                star = Some((at + 1, read));
                at += 1;
            }
            (Some(wanted), Some(byte)) if wanted == byte || (*wanted == b'?' && *byte != b'/') => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((after, reach)) if text.get(reach).is_some_and(|byte| *byte != b'/') => {
                    star = Some((after, reach + 1));
                    (at, read) = (after, reach + 1);
                }
                _ => return false,
            },
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} for {text}");
    }

    #[test]
    fn patterns_stand_for_parts_of_names() {
        check("nginx", "nginx", true);
        check("ngin?", "nginx", true);
        check("n*:1*", "nginx:1.27", true);
        check("n*", "nginx/extra", false);
        check("*/extra", "nginx/extra", true);
        check("*i*x", "nginx", true);
        check("ng?*x", "ng/x", false);
        check("n*", "n", true);
        check("n*x", "n", false);
    }

    #[test]
    fn stars_cost_what_they_are_long() {
        check(&format!("{}b", "*a".repeat(60)), &"a".repeat(128), false);
    }
}

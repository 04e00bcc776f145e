//! Addresses that files are fetched from.

/// Whether a source of ADD is an address.
pub(crate) fn is_address(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// The name at the end of an address.
pub(crate) fn last_part(address: &str) -> Option<&str> {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    path.splitn(4, '/').nth(3).and_then(|path| path.rsplit('/').next()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_by_the_last_part_of_its_address() {
        for (address, expected) in [
            ("http://h/a/b.tar?x=/y", Some("b.tar")),
            ("http://h/a/", None),
            ("http://h", None),
            ("https://h/?x", None),
        ] {
            assert_eq!(last_part(address), expected, "{address}");
        }
    }
}

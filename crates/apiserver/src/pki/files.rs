//! Reading and writing the directory's files.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::PkiError;

/// Makes the directory, for its owner only.
pub(super) fn make_directory(path: &Path) -> Result<(), PkiError> {
    let fail = |source| PkiError::File { doing: "make the directory", path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(fail)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(fail)
}

/// The file's text; none where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { doing: "read", path: path.to_owned(), source }),
    }
}

/// Replaces the file, readable by its owner only.
pub(super) fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    base::fs::write_atomic(path, text.as_bytes(), 0o600).map_err(|source| PkiError::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}

//! Printing an error together with everything that caused it.

use std::error::Error;
use std::fmt;

/// Prints `error` and all its sources, joined by `: `, outermost first.
///
/// Errors in this project never repeat their source's text, so the chain reads as one sentence.
///
/// ```
/// let source = std::io::Error::other("disk full");
/// assert_eq!(base::error::chain(&source).to_string(), "disk full");
/// ```
pub fn chain(error: &dyn Error) -> Chain<'_> {
    Chain(error)
}

/// What [`chain`] returns: displays the whole chain.
#[derive(Debug)]
pub struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

//! Doors for the fuzzer to what reads archives of others. Nobody else has any use for them.

use std::io;
use std::path::Path;

use crate::layer::{LayerError, fuzz_unpack};

/// Unpacks a layer's archive, plain or compressed, into the empty directory `root`, with contents that later
/// entries replace in the directory `spill`.
pub fn layer(archive: &[u8], root: &Path, spill: &Path) -> Result<(), LayerError> {
    let inflated = crate::inflated(archive).map_err(LayerError::Read)?;
    fuzz_unpack(io::BufReader::new(inflated), root, spill)
}

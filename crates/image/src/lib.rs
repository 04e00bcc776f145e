//! Images on disk: content by digest, layers, snapshots, pull, load, save, import, garbage collection.
#![forbid(unsafe_code)]

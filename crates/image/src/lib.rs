//! Images on disk: content by digest, layers, snapshots, pull, load, save, import, garbage collection.
//!
//! [`Store`] owns one directory. What always holds:
//!
//! - A digest is verified while its bytes are written; what does not match is never stored.
//! - Documents (configurations, manifests, indexes) are kept byte for byte and found by their digests;
//!   a name leads to a document. What came in compressed is kept as it came, unless the store is told not
//!   to ([`Blobs`]): so what was pulled or loaded goes out again under the same digest.
//! - A layer is unpacked once, into a directory named by its diff id, which layers on other layers share, and
//!   never changed afterwards. Its archive is not kept: headers and order are, so that the archive can be put
//!   together again, bit for bit, from the unpacked files (see `docs/decisions`).
//! - Whatever was interrupted leaves nothing behind: unfinished work lives under `ingest/`, which
//!   is emptied when the store opens.
//! - What was acknowledged is on disk: the file system was flushed before an image was recorded.
//! - What cannot be understood is left alone and told ([`Store::troubles`]).
//! - Nothing that an image, a container's snapshot or running work needs is collected.
//!
//! Methods block on the disk, except where they are `async`; call the former from a blocking thread.
#![forbid(unsafe_code)]

mod content;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod layer;
mod load;
mod packing;
mod progress;
pub mod registry;
mod remove;
mod results;
mod scratch;
mod snapshot;
mod state;
mod store;
mod transfer;

pub use content::{Blobs, ParseBlobsError};
pub use error::Kind;
pub use image::{Documents, FindError, HistoryEntry, Image, ImageHold, ImageId, MadeAs, NewImage};
pub use layer::entries::{CopyError, Entries, Entry};
pub use layer::header::Attributes;
pub use layer::inflate::inflated;
pub use layer::{Layer, LayerError};
pub use load::{ImportError, ImportOptions, LoadError, Loaded, SaveError};
pub use packing::{Compression, MediaTypes, PackError, Packed, Packing, ParseCompressionError};
pub use progress::{Action, Event, Progress};
pub use remove::{Conflict, DiskUsage, Pruned, Removal, RemoveError, RemoveOptions};
pub use results::{NewResult, StepResult};
pub use scratch::{Scratch, is_archive, unpack_files};
pub use snapshot::{Change, ChangeKind, Snapshot, SnapshotError};
pub use store::{OpenError, Store, StoreOptions, WriteError};
pub use transfer::{Described, Destination, PullError, PullOptions, Pulled, PushError, Remote};

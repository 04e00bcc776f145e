//! What std lacks: error chains, typed ids, atomic files, records on disk, deep trees, overlay mounts,
//! sparse files, space that is kept free, back-off, patience with peers, caught panics, an injected clock.
//!
//! The lowest row of the house: every crate may use it, and it knows none of them. No tokio, no
//! foreign format, no policy. Clock and randomness are traits, so that planners and state machines can be
//! tested without waiting and without luck.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod beneath;
pub mod cancel;
pub mod clock;
pub mod duration;
pub mod error;
pub mod fs;
pub mod hash;
pub mod id;
pub mod mounts;
pub mod overlay;
pub mod pace;
pub mod panics;
pub mod place;
pub mod random;
pub mod record;
pub mod space;
pub mod sparse;
pub mod tree;
pub mod truth;
pub mod wish;

pub use clock::{Clock, SystemClock, Timestamp};
pub use random::{Random, SystemRandom};
pub use record::{RecordError, Trouble};

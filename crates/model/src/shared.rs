//! Objects passed between a server and a client in one process, instead of sent as text.
//!
//! A request to list or to watch that carries [`Share`] may be answered by [`Objects`], an extension of an
//! answer without a body. What follows a collection then holds the very buffers that the server and its store
//! hold. Whatever carries requests and answers inside a process passes extensions on; a connection does not,
//! and the answer is text.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_core::Stream;

use crate::Encoded;

/// An extension of a request: whoever asks takes [`Objects`]. They come as a whole, whatever the limit.
#[derive(Clone, Copy, Debug)]
pub struct Share;

/// An extension of the answer: what is told, a few things at a time.
#[derive(Clone)]
pub struct Objects(Arc<Mutex<Option<Telling>>>);

/// What a list or a watch tells, a few things at a time.
pub type Telling = Pin<Box<dyn Stream<Item = Vec<Told>> + Send>>;

/// What a list or a watch tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// An object.
    Object {
        /// What has happened to it, such as `ADDED`; empty in a list.
        event: &'static str,
        /// The object, in the store's own buffer.
        object: Encoded,
    },
    /// Anything else as text: first of all a list without its items, a line of a watch.
    Text(Bytes),
}

impl Objects {
    /// What `stream` gives.
    pub fn new(stream: impl Stream<Item = Vec<Told>> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::pin(stream)))))
    }

    /// What is told, once.
    pub fn take(&self) -> Option<Telling> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

//! The text of many objects, made piece by piece while the client reads.
//!
//! What a client has asked for is held as references to the objects as they were; their texts are copied,
//! cut to metadata, or made into rows only as fast as the client takes them.

use std::sync::Arc;

use base::Timestamp;
use bytes::{Bytes, BytesMut};
use model::Object;

use crate::body::{Body, CHUNK, Chunks, Length};
use crate::cache::Stored;
use crate::negotiate::View;
use crate::protobuf::encode;
use crate::resource::Resource;
use crate::state::State;
use crate::style::{Frame, Style};
use crate::table::{TableForm, row};

/// So many objects whose texts have to be made are quicker made at once than elsewhere.
const FEW: usize = 16;
/// About how long the text of an object is, for what is decided before it is made.
const USUAL: usize = 1024;

/// How one object is written.
#[derive(Clone)]
pub(crate) struct Form {
    pub(crate) resource: Arc<Resource>,
    pub(crate) view: View,
    pub(crate) style: Style,
    pub(crate) now: Timestamp,
}

/// The objects of a list that are still to be written.
struct Items {
    form: Form,
    objects: std::vec::IntoIter<Arc<Stored>>,
    /// What comes before the next object.
    before: Vec<u8>,
    between: &'static [u8],
    /// What comes after the last one, until it has been written.
    after: Option<Vec<u8>>,
}

impl Form {
    /// Whether the text is there already, to be copied.
    pub(crate) fn is_ready(&self) -> bool {
        self.view == View::Full && self.style == Style::Short
    }

    /// Writes the object's text: as an item of a list, or a row of a table.
    pub(crate) fn write(&self, stored: &Stored, out: &mut BytesMut) {
        if self.is_ready() {
            stored.write_to(out);
            return;
        }
        let text = match self.view {
            View::Table(form) => self.row(&stored.object(), form),
            _ => self.view.object_bytes(&self.resource, stored, self.now),
        };
        match self.style {
            Style::Short => out.extend_from_slice(&text),
            style => out.extend_from_slice(&style.item(&text)),
        }
    }

    fn row(&self, object: &Object, form: TableForm) -> Bytes {
        row(&self.resource.columns, object, form, self.now).to_string().into()
    }
}

/// The body of a list: the objects in their frame.
pub(crate) fn list(
    state: &Arc<State>,
    own: bool,
    form: Form,
    objects: Vec<Arc<Stored>>,
    frame: Frame,
) -> Body {
    let Frame { head, between, tail } = frame;
    let ready = form.is_ready();
    let length = if ready {
        let texts: usize = objects.iter().map(|stored| stored.len()).sum();
        head.len() + texts + objects.len().saturating_sub(1) * between.len() + tail.len()
    } else {
        head.len() + objects.len() * USUAL
    };
    let small = if ready { length <= 4 * CHUNK } else { objects.len() <= FEW };
    let mut items = Items { form, objects: objects.into_iter(), before: head, between, after: Some(tail) };
    if small {
        let mut chunks = Chunks::default();
        for piece in items.by_ref() {
            chunks.push(&piece);
        }
        return chunks.into_body();
    }
    if ready {
        let stream = futures::stream::unfold(items, |mut items| async move {
            // Copying is quick, but who reads a long list in this process would never pause.
            tokio::task::coop::consume_budget().await;
            items.next().map(|piece| (piece, items))
        });
        return Body::measured(stream, Length::Exactly(length));
    }
    let stream = futures::stream::unfold((state.clone(), items), move |(state, mut items)| async move {
        let (piece, items) = state
            .workers
            .step(own, move || {
                let piece = items.next();
                (piece, items)
            })
            .await;
        piece.map(|piece| (piece, (state, items)))
    });
    Body::measured(stream, Length::About(length))
}

/// The body of a list of Protocol Buffers.
///
/// How long it is has to be said first. What is long is made twice, so that it is never held as a whole: once to
/// be measured, and then while the client reads.
pub(crate) fn messages(
    state: &Arc<State>,
    own: bool,
    form: Form,
    objects: Vec<Arc<Stored>>,
    metadata: Vec<u8>,
) -> Body {
    let about = objects.len() * USUAL;
    let is_small = objects.len() <= FEW;
    let size = metadata.len();
    let mut messages = Messages { form, objects, next: 0, size, metadata: Some(metadata), ended: false };
    if is_small {
        let mut body = Vec::new();
        while messages.next < messages.objects.len() {
            body.extend_from_slice(&messages.item());
        }
        let metadata = messages.metadata.take().unwrap_or_default();
        let mut whole = messages.head(metadata.len() + body.len());
        for part in [&metadata[..], &body, encode::TAIL] {
            whole.extend_from_slice(part);
        }
        return Body::full(whole);
    }
    let stream =
        futures::stream::unfold((state.clone(), messages), move |(state, mut messages)| async move {
            loop {
                let step = move || {
                    let piece = messages.step();
                    (piece, messages)
                };
                let piece;
                (piece, messages) = state.workers.step(own, step).await;
                match piece {
                    Step::Measured => {}
                    Step::Piece(piece) => return Some((piece, (state, messages))),
                    Step::Over => return None,
                }
            }
        });
    Body::measured(stream, Length::About(about))
}

/// The objects of a list of Protocol Buffers: to be measured, and then to be written.
struct Messages {
    form: Form,
    objects: Vec<Arc<Stored>>,
    /// The object that is to be measured, or written, next.
    next: usize,
    /// How long is what has been measured.
    size: usize,
    /// The list's own part, until it has been written: until all has been measured.
    metadata: Option<Vec<u8>>,
    ended: bool,
}

/// A part of the work on them.
enum Step {
    Measured,
    Piece(Bytes),
    Over,
}

impl Messages {
    /// The next object as an item.
    fn item(&mut self) -> Vec<u8> {
        let object = self.objects[self.next].object();
        self.next += 1;
        encode::list_item(&self.form.view.message(&self.form.resource, &object))
    }

    fn head(&self, length: usize) -> Vec<u8> {
        let (kind, api_version) = self.form.view.list_kind(&self.form.resource);
        encode::head(&api_version, &kind, length)
    }

    /// Measures some, or writes about [`CHUNK`] bytes.
    fn step(&mut self) -> Step {
        let all = self.objects.len();
        if self.metadata.is_some() {
            let until = self.size + CHUNK;
            while self.next < all && self.size < until {
                self.size += self.item().len();
            }
            if self.next < all {
                return Step::Measured;
            }
            self.next = 0;
            let mut head = self.head(self.size);
            head.extend_from_slice(&self.metadata.take().unwrap_or_default());
            return Step::Piece(head.into());
        }
        let mut piece = Vec::new();
        while self.next < all && piece.len() < CHUNK {
            piece.extend_from_slice(&self.item());
        }
        if self.next == all && !std::mem::replace(&mut self.ended, true) {
            piece.extend_from_slice(encode::TAIL);
        }
        if piece.is_empty() { Step::Over } else { Step::Piece(piece.into()) }
    }
}

impl Iterator for Items {
    type Item = Bytes;

    /// The next piece, of about [`CHUNK`] bytes.
    fn next(&mut self) -> Option<Bytes> {
        let mut piece = BytesMut::from(&std::mem::take(&mut self.before)[..]);
        while piece.len() < CHUNK {
            let Some(stored) = self.objects.next() else {
                piece.extend_from_slice(&self.after.take().unwrap_or_default());
                break;
            };
            self.form.write(&stored, &mut piece);
            if self.objects.len() > 0 {
                piece.extend_from_slice(self.between);
            }
        }
        (!piece.is_empty()).then(|| piece.freeze())
    }
}

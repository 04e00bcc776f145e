//! Pages on their way through: their links are changed in place, and nothing else is.
//!
//! A page is not taken apart into a tree: start tags are found, and in them the attributes that hold
//! links. Text, comments, and what scripts and styles hold is passed on as it is. What is held back is at
//! most a tag; one that is longer than [`LONGEST`] is passed on as it is.
//!
//! Whoever sends the page costs others no more than he sends: each byte is looked at once, however many pieces
//! they come in, and a piece is taken in steps that unpack little more than [`STEP`], between which other tasks
//! go on.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder};
use futures::{Stream, StreamExt, stream};

use super::links::Links;
use crate::body::BrokenOff;

/// The longest tag whose links are changed.
const LONGEST: usize = 64 << 10;
/// A step ends when it has unpacked so many bytes.
const STEP: usize = 16 << 10;
/// So many packed bytes are unpacked at once: they become at most about a thousand times as many.
const BITE: usize = 64;
/// How a comment begins.
const COMMENT: &[u8] = b"<!--";
/// What holds text in which nothing is a tag but its own end.
const RAW: [&str; 8] = ["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"];
/// Attributes that hold links, by tag.
const LINKS: [(&str, &[&str]); 24] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// A page that is passed on.
pub(super) struct Page {
    decoder: Box<dyn Coder>,
    encoder: Box<dyn Coder>,
    rewriter: Rewriter,
    /// Whether anything of it has come.
    begun: bool,
}

/// One way of a coding: makes bytes of the bytes that are written to it.
trait Coder: Write + Send {
    /// What it has made since it was last asked.
    fn made(&mut self) -> &mut Vec<u8>;

    /// Nothing more comes.
    fn finish(&mut self) -> io::Result<()>;
}

/// No coding.
impl Coder for Vec<u8> {
    fn made(&mut self) -> &mut Vec<u8> {
        self
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! coders {
    ($($coder:ident)*) => {$(
        impl Coder for $coder<Vec<u8>> {
            fn made(&mut self) -> &mut Vec<u8> {
                self.get_mut()
            }

            fn finish(&mut self) -> io::Result<()> {
                self.try_finish()
            }
        }
    )*};
}

coders!(GzDecoder GzEncoder DeflateDecoder DeflateEncoder);

impl Page {
    /// A page in this coding; none where it is not known.
    pub(super) fn new(coding: &str, links: Links) -> Option<Self> {
        let (out, fast) = (Vec::new, Compression::fast());
        let (decoder, encoder): (Box<dyn Coder>, Box<dyn Coder>) = match coding {
            "" => (Box::new(out()), Box::new(out())),
            "gzip" => (Box::new(GzDecoder::new(out())), Box::new(GzEncoder::new(out(), fast))),
            "deflate" => (Box::new(DeflateDecoder::new(out())), Box::new(DeflateEncoder::new(out(), fast))),
            _ => return None,
        };
        let rewriter = Rewriter { links, state: State::Text, held: Vec::new() };
        Some(Self { decoder, encoder, rewriter, begun: false })
    }

    /// The page with its links changed.
    pub(super) fn rewrite(
        self,
        pieces: impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static {
        stream::unfold(Some((self, Box::pin(pieces), Bytes::new())), |state| async move {
            let (mut page, mut pieces, mut piece) = state?;
            loop {
                let (done, more) = if !piece.is_empty() {
                    tokio::task::yield_now().await;
                    (page.step(&mut piece), true)
                } else {
                    match pieces.next().await {
                        None => (page.end(), false),
                        Some(Err(error)) => (Err(error), false),
                        Some(Ok(next)) => {
                            piece = next;
                            continue;
                        }
                    }
                };
                match done {
                    Err(error) => return Some((Err(error), None)),
                    Ok(done) if !more => return (!done.is_empty()).then(|| (Ok(done.into()), None)),
                    Ok(done) if done.is_empty() => {}
                    Ok(done) => return Some((Ok(done.into()), Some((page, pieces, piece)))),
                }
            }
        })
    }

    /// Takes as much from the beginning of a piece as a step may; gives what can be passed on.
    fn step(&mut self, piece: &mut Bytes) -> Result<Vec<u8>, BrokenOff> {
        self.begun = true;
        for _ in 0..STEP / BITE {
            let bite = piece.split_to(piece.len().min(BITE));
            self.decoder.write_all(&bite).map_err(|_| BrokenOff)?;
            if piece.is_empty() || self.decoder.made().len() >= STEP {
                break;
            }
        }
        self.pass_on()?;
        if piece.is_empty() {
            self.encoder.flush().map_err(|_| BrokenOff)?;
        }
        Ok(std::mem::take(self.encoder.made()))
    }

    fn end(&mut self) -> Result<Vec<u8>, BrokenOff> {
        // An answer without a body says in which coding one would be.
        if !self.begun {
            return Ok(Vec::new());
        }
        self.decoder.finish().map_err(|_| BrokenOff)?;
        self.pass_on()?;
        let last = self.rewriter.end();
        self.encoder.write_all(&last).and_then(|()| self.encoder.finish()).map_err(|_| BrokenOff)?;
        Ok(std::mem::take(self.encoder.made()))
    }

    /// Changes the links of what is unpacked, and packs that.
    fn pass_on(&mut self) -> Result<(), BrokenOff> {
        let plain = std::mem::take(self.decoder.made());
        self.encoder.write_all(&self.rewriter.push(&plain)).map_err(|_| BrokenOff)
    }
}

/// What the next byte is part of.
enum State {
    Text,
    /// What may become a tag or a comment: its beginning is held.
    Open,
    /// A start tag, which is held.
    Tag(Tag),
    /// So many bytes of the comment's end were there.
    Comment(usize),
    /// Until the end tag of this name, of which so many bytes were there.
    Raw(Vec<u8>, usize),
}

/// How far the end of a start tag was looked for: one in a quoted value is none.
#[derive(Default)]
struct Tag {
    /// So many bytes were looked at, which is what the tag holds: the work for one is bounded by [`LONGEST`].
    looked: usize,
    quote: Option<u8>,
    after_equals: bool,
}

struct Rewriter {
    links: Links,
    state: State,
    /// What is not known to be whole yet.
    held: Vec<u8>,
}

impl Rewriter {
    /// What of the page is whole with this piece.
    fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut done = Vec::with_capacity(piece.len());
        let mut rest = piece;
        while !rest.is_empty() {
            let taken = self.step(rest, &mut done);
            rest = &rest[taken..];
        }
        done
    }

    fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Takes so many bytes from the beginning; none only where the state has become another.
    fn step(&mut self, rest: &[u8], done: &mut Vec<u8>) -> usize {
        match &mut self.state {
            State::Text => {
                let length = rest.iter().position(|byte| *byte == b'<').unwrap_or(rest.len());
                done.extend_from_slice(&rest[..length]);
                if length == rest.len() {
                    return length;
                }
                self.held.push(b'<');
                self.state = State::Open;
                length + 1
            }
            State::Open => self.open(rest[0], done),
            State::Tag(tag) => {
                let (taken, ends) = tag.look(rest);
                let is_too_long = tag.looked > LONGEST;
                self.held.extend_from_slice(&rest[..taken]);
                if is_too_long {
                    done.append(&mut self.held);
                    self.state = State::Text;
                } else if ends {
                    let tag = std::mem::take(&mut self.held);
                    let name = self.tag(&tag, done);
                    let is_raw = RAW.contains(&name.as_str());
                    self.state = if is_raw { State::Raw(format!("</{name}").into(), 0) } else { State::Text };
                }
                taken
            }
            State::Comment(there) => {
                let (taken, ends) = until(b"-->", there, rest);
                done.extend_from_slice(&rest[..taken]);
                if ends {
                    self.state = State::Text;
                }
                taken
            }
            State::Raw(end, there) => {
                let (taken, ends) = until(end, there, rest);
                done.extend_from_slice(&rest[..taken]);
                if ends {
                    self.state = State::Text;
                }
                taken
            }
        }
    }

    /// Takes the byte that says what was opened, or that it is nothing yet.
    fn open(&mut self, byte: u8, done: &mut Vec<u8>) -> usize {
        if self.held.len() == 1 && byte.is_ascii_alphabetic() {
            self.state = State::Tag(Tag { looked: 1, ..Tag::default() });
            return 0;
        }
        if COMMENT[self.held.len()] != byte {
            done.append(&mut self.held);
            self.state = State::Text;
            return 0;
        }
        self.held.push(byte);
        if self.held.len() == COMMENT.len() {
            done.append(&mut self.held);
            // `<!-->` is a whole one.
            self.state = State::Comment(2);
        }
        1
    }

    /// Passes on a start tag with its links changed; gives its name.
    fn tag(&self, tag: &[u8], done: &mut Vec<u8>) -> String {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
        let length = tag[1..].iter().position(is_end).unwrap_or(tag.len() - 1);
        let name = String::from_utf8_lossy(&tag[1..=length]).to_ascii_lowercase();
        let Some((_, wanted)) = LINKS.iter().find(|(of, _)| *of == name) else {
            done.extend_from_slice(tag);
            return name;
        };
        let (mut at, mut copied) = (1 + length, 0);
        while let Some(attribute) = attribute(tag, &mut at) {
            let known = String::from_utf8_lossy(attribute.name).to_ascii_lowercase();
            let Ok(value) = std::str::from_utf8(&tag[attribute.value.clone()]) else { continue };
            if !wanted.contains(&known.as_str()) {
                continue;
            }
            let link = value.replace("&amp;", "&");
            let changed = self.links.rewrite(link.trim());
            if changed == link.trim() {
                continue;
            }
            let escaped = changed.replace('&', "&amp;").replace('"', "&#34;").replace('\'', "&#39;");
            done.extend_from_slice(&tag[copied..attribute.value.start]);
            if attribute.is_quoted {
                done.extend_from_slice(escaped.as_bytes());
            } else {
                done.extend_from_slice(format!("\"{escaped}\"").as_bytes());
            }
            copied = attribute.value.end;
        }
        done.extend_from_slice(&tag[copied..]);
        name
    }
}

impl Tag {
    /// Looks at what comes next: so many bytes of it are the tag's, and whether it ends with them.
    fn look(&mut self, rest: &[u8]) -> (usize, bool) {
        for (at, byte) in rest.iter().enumerate() {
            self.looked += 1;
            match (self.quote, byte) {
                (Some(open), byte) if *byte == open => self.quote = None,
                (Some(_), _) => {}
                (None, b'>') => return (at + 1, true),
                (None, b'"' | b'\'') if self.after_equals => self.quote = Some(*byte),
                _ => {}
            }
            self.after_equals = *byte == b'=' || (self.after_equals && byte.is_ascii_whitespace());
            if self.looked > LONGEST {
                return (at + 1, false);
            }
        }
        (rest.len(), false)
    }
}

/// Looks for `end`, letters of either case, of which so many bytes were there: so many bytes come up to and with
/// it, and whether it is there.
fn until(end: &[u8], there: &mut usize, rest: &[u8]) -> (usize, bool) {
    for (at, byte) in rest.iter().enumerate() {
        if byte.eq_ignore_ascii_case(&end[*there]) {
            *there += 1;
            if *there == end.len() {
                return (at + 1, true);
            }
        } else if *byte != end[0] {
            *there = 0;
        } else if end[*there - 1] != end[0] {
            // It may begin here. Where nothing but the first byte was there, as much still is, a byte later.
            *there = 1;
        }
    }
    (rest.len(), false)
}

struct Attribute<'a> {
    name: &'a [u8],
    value: std::ops::Range<usize>,
    is_quoted: bool,
}

/// The next attribute of a tag that has a value.
fn attribute<'a>(tag: &'a [u8], at: &mut usize) -> Option<Attribute<'a>> {
    let skip = |at: &mut usize, of: fn(u8) -> bool| {
        while tag.get(*at).is_some_and(|byte| of(*byte)) {
            *at += 1;
        }
    };
    loop {
        skip(at, |byte| byte.is_ascii_whitespace() || byte == b'/');
        if tag.get(*at).is_none_or(|byte| *byte == b'>') {
            return None;
        }
        let start = *at;
        // An equals sign at the beginning is a part of the name.
        *at += 1;
        skip(at, |byte| !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'>' | b'/'));
        let name = &tag[start..*at];
        skip(at, |byte| byte.is_ascii_whitespace());
        if tag.get(*at) != Some(&b'=') {
            continue;
        }
        *at += 1;
        skip(at, |byte| byte.is_ascii_whitespace());
        return match tag.get(*at).copied() {
            Some(quote @ (b'"' | b'\'')) => {
                let start = *at + 1;
                let length = tag[start..].iter().position(|byte| *byte == quote)?;
                *at = start + length + 1;
                Some(Attribute { name, value: start..start + length, is_quoted: true })
            }
            _ => {
                let start = *at;
                skip(at, |byte| !byte.is_ascii_whitespace() && byte != b'>');
                Some(Attribute { name, value: start..*at, is_quoted: false })
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(coding: &str) -> Page {
        Page::new(coding, Links::new("/p".into(), "here".into())).expect("a known coding")
    }

    /// What can be passed on of the page with this piece.
    fn push(page: &mut Page, piece: &[u8]) -> Vec<u8> {
        let (mut piece, mut done) = (Bytes::copy_from_slice(piece), Vec::new());
        while !piece.is_empty() {
            done.extend(page.step(&mut piece).expect("sound"));
        }
        done
    }

    /// All of a page that comes in these pieces.
    fn whole<'a>(mut page: Page, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut done: Vec<u8> = pieces.flat_map(|piece| push(&mut page, piece)).collect();
        done.extend(page.end().expect("sound"));
        done
    }

    /// The page by pieces of so many bytes.
    fn rewritten(text: &str, size: usize) -> String {
        String::from_utf8(whole(page(""), text.as_bytes().chunks(size))).expect("text")
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("in memory");
        encoder.finish().expect("in memory")
    }

    #[test]
    fn links_of_tags_are_changed_and_nothing_else_however_the_page_arrives() {
        for (text, expected) in [
            (r#"<a href="/x">/x</a>"#, r#"<a href="/p/x">/x</a>"#),
            ("<A HREF='/x?a=1&amp;b=2'>", "<A HREF='/p/x?a=1&amp;b=2'>"),
            ("<img alt=/x src=/x>", "<img alt=/x src=\"/p/x\">"),
            ("<a title=\"a > b\" href = \"/x\" >", "<a title=\"a > b\" href = \"/p/x\" >"),
            ("<!-- <a href=\"/x\"> --><a href=\"/y\">", "<!-- <a href=\"/x\"> --><a href=\"/p/y\">"),
            (
                "<script src=\"/s\">'<a href=\"/x\">'</SCRIPT><a href=\"/y\">",
                "<script src=\"/p/s\">'<a href=\"/x\">'</SCRIPT><a href=\"/p/y\">",
            ),
            (
                "<a href=\"http://other/x\"><a href=\"x\"><p href=\"/x\">",
                "<a href=\"http://other/x\"><a href=\"x\"><p href=\"/x\">",
            ),
            ("<!--><a href=\"/y\">", "<!--><a href=\"/p/y\">"),
            ("<!-- - -- <-----><a href=\"/y\">-->", "<!-- - -- <-----><a href=\"/p/y\">-->"),
            ("<!-<!<a href=\"/y\">", "<!-<!<a href=\"/p/y\">"),
            ("<title><<//title></<</title><a href=\"/y\">", "<title><<//title></<</title><a href=\"/p/y\">"),
            ("1 < 2 <b>", "1 < 2 <b>"),
            ("<a href=\"/x\"", "<a href=\"/x\""),
            ("<!DOCTYPE html><form action='/'>", "<!DOCTYPE html><form action='/p/'>"),
            ("<a href=\"/a'b\">", "<a href=\"/p/a&#39;b\">"),
            ("<video poster=/a src=/b controls>", "<video poster=\"/p/a\" src=\"/p/b\" controls>"),
        ] {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(rewritten(text, size), expected, "by {size}");
            }
        }
    }

    #[test]
    fn a_tag_is_looked_at_once_however_it_arrives_and_no_more_of_it_is_held_than_the_longest_has() {
        let mut page = page("");
        let begin = b"<a href=\"";
        assert!(push(&mut page, begin).is_empty());
        for length in begin.len()..LONGEST {
            let State::Tag(tag) = &page.rewriter.state else { panic!("{length} bytes are no tag") };
            assert_eq!((tag.looked, page.rewriter.held.len()), (length, length));
            assert!(push(&mut page, b"x").is_empty());
        }
        assert_eq!(push(&mut page, b"x").len(), LONGEST + 1);
        assert!(matches!(page.rewriter.state, State::Text) && page.rewriter.held.is_empty());

        // So long is the longest, by the byte and at once.
        for (length, expected) in [(LONGEST, "/p/"), (LONGEST + 1, "/xx")] {
            let text = format!("<a href=\"/{}\">", "x".repeat(length - 12));
            assert_eq!(text.len(), length);
            for size in [1, length] {
                assert_eq!(rewritten(&text, size).get(9..12), Some(expected), "{length} by {size}");
            }
        }
    }

    #[test]
    fn nothing_is_held_of_what_is_no_tag() {
        for begin in ["", "<!--", "<script>", "< "] {
            let mut page = page("");
            assert_eq!(push(&mut page, begin.as_bytes()), begin.as_bytes());
            for _ in 0..100 {
                assert_eq!(push(&mut page, b"-"), b"-", "after {begin:?}");
            }
        }
    }

    #[test]
    fn compressed_pages_are_taken_apart_and_put_together_again() {
        let text = format!("<a href=\"/x\">{}", "word ".repeat(10_000));
        let expected = text.replacen("/x", "/p/x", 1);
        let done = whole(page("gzip"), packed(text.as_bytes()).chunks(100));
        let mut decoder = GzDecoder::new(Vec::new());
        decoder.write_all(&done).expect("gzip");
        assert_eq!(String::from_utf8(decoder.finish().expect("gzip")).expect("text"), expected);

        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("in memory");
        let packed = encoder.finish().expect("in memory");
        let done = whole(page("deflate"), packed.chunks(100));
        let mut decoder = DeflateDecoder::new(Vec::new());
        decoder.write_all(&done).expect("deflate");
        assert_eq!(String::from_utf8(decoder.finish().expect("deflate")).expect("text"), expected);

        assert!(Page::new("br", Links::new(String::new(), String::new())).is_none());
    }

    #[test]
    fn a_page_that_breaks_off_is_an_error_and_one_that_never_came_is_empty() {
        let packed = packed(b"text");
        let mut cut = page("gzip");
        push(&mut cut, &packed[..packed.len() - 1]);
        assert!(cut.end().is_err());
        assert!(page("gzip").end().expect("nothing").is_empty());
    }

    #[tokio::test]
    async fn however_much_is_packed_in_a_piece_others_go_on_after_each_small_step() {
        const PLAIN: usize = 32 << 20;
        // A byte becomes 1032 at most (RFC 1951: 258 in two bits); what was left of those before is in the window
        // and the decoder's own buffer.
        const MOST: usize = STEP + 1032 * BITE + (64 << 10);
        let bomb = packed(&vec![b'x'; PLAIN]);
        assert!(bomb.len() < PLAIN / 1000);
        // What is passed on without being packed again is as much as was unpacked.
        let bare = Page { encoder: Box::new(Vec::new()), ..page("gzip") };
        let mut pages = Box::pin(bare.rewrite(stream::iter([Ok(Bytes::from(bomb))])));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let (mut total, mut steps, mut turns) = (0, 0, 0);
        loop {
            match pages.as_mut().poll_next(&mut context) {
                std::task::Poll::Pending => turns += 1,
                std::task::Poll::Ready(Some(done)) => {
                    let length = done.expect("sound").len();
                    assert!(length <= MOST, "{length} in one step");
                    (total, steps) = (total + length, steps + 1);
                }
                std::task::Poll::Ready(None) => break,
            }
        }
        assert_eq!(total, PLAIN);
        // The last may be what was left at the end, which is no step of a piece.
        assert!(turns + 1 >= steps, "{turns} turns of others in {steps} steps");
    }
}

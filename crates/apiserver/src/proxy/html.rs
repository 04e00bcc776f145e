//! Pages on their way through: their links are changed in place, and nothing else is.
//!
//! A page is not taken apart into a tree: start tags are found, and in them the attributes that hold
//! links. Text, comments, and what scripts and styles hold is passed on as it is. What is held back is at
//! most a tag; one that is longer than [`LONGEST`] is passed on as it is.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder};
use futures::{Stream, StreamExt, stream};

use super::links::Links;
use crate::body::BrokenOff;

/// The longest tag whose links are changed.
const LONGEST: usize = 64 << 10;
/// So many compressed bytes are taken apart at once: they become at most about a thousand times as many.
const STEP: usize = 256;
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
    coding: Coding,
    rewriter: Rewriter,
}

enum Coding {
    Plain,
    Gzip(GzDecoder<Vec<u8>>, GzEncoder<Vec<u8>>),
    Deflate(DeflateDecoder<Vec<u8>>, DeflateEncoder<Vec<u8>>),
}

impl Page {
    /// A page in this coding; none where it is not known.
    pub(super) fn new(coding: &str, links: Links) -> Option<Self> {
        let coding = match coding {
            "" => Coding::Plain,
            "gzip" => {
                Coding::Gzip(GzDecoder::new(Vec::new()), GzEncoder::new(Vec::new(), Compression::fast()))
            }
            "deflate" => Coding::Deflate(
                DeflateDecoder::new(Vec::new()),
                DeflateEncoder::new(Vec::new(), Compression::fast()),
            ),
            _ => return None,
        };
        Some(Self { coding, rewriter: Rewriter { links, state: State::Text, held: Vec::new() } })
    }

    /// The page with its links changed.
    pub(super) fn rewrite(
        self,
        pieces: impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static {
        stream::unfold(Some((self, Box::pin(pieces))), |state| async move {
            let (mut page, mut pieces) = state?;
            loop {
                let (done, more) = match pieces.next().await {
                    None => (page.end(), false),
                    Some(Err(error)) => (Err(error), false),
                    Some(Ok(piece)) => (page.push(&piece), true),
                };
                match done {
                    Err(error) => return Some((Err(error), None)),
                    Ok(done) if !more => return (!done.is_empty()).then(|| (Ok(done.into()), None)),
                    Ok(done) if done.is_empty() => {}
                    Ok(done) => return Some((Ok(done.into()), Some((page, pieces)))),
                }
            }
        })
    }

    fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, BrokenOff> {
        let rewriter = &mut self.rewriter;
        match &mut self.coding {
            Coding::Plain => Ok(rewriter.push(piece)),
            Coding::Gzip(decoder, encoder) => {
                for step in piece.chunks(STEP) {
                    decoder.write_all(step).map_err(|_| BrokenOff)?;
                    let plain = std::mem::take(decoder.get_mut());
                    encoder.write_all(&rewriter.push(&plain)).map_err(|_| BrokenOff)?;
                }
                encoder.flush().map_err(|_| BrokenOff)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Coding::Deflate(decoder, encoder) => {
                for step in piece.chunks(STEP) {
                    decoder.write_all(step).map_err(|_| BrokenOff)?;
                    let plain = std::mem::take(decoder.get_mut());
                    encoder.write_all(&rewriter.push(&plain)).map_err(|_| BrokenOff)?;
                }
                encoder.flush().map_err(|_| BrokenOff)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    fn end(&mut self) -> Result<Vec<u8>, BrokenOff> {
        let rewriter = &mut self.rewriter;
        match &mut self.coding {
            Coding::Plain => Ok(rewriter.end()),
            Coding::Gzip(decoder, encoder) => {
                decoder.try_finish().map_err(|_| BrokenOff)?;
                let plain = std::mem::take(decoder.get_mut());
                let mut last = rewriter.push(&plain);
                last.extend(rewriter.end());
                encoder.write_all(&last).and_then(|()| encoder.try_finish()).map_err(|_| BrokenOff)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Coding::Deflate(decoder, encoder) => {
                decoder.try_finish().map_err(|_| BrokenOff)?;
                let plain = std::mem::take(decoder.get_mut());
                let mut last = rewriter.push(&plain);
                last.extend(rewriter.end());
                encoder.write_all(&last).and_then(|()| encoder.try_finish()).map_err(|_| BrokenOff)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }
}

/// What the next byte is part of.
enum State {
    Text,
    Comment,
    /// Until the end tag of this name.
    Raw(String),
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
        self.held.extend_from_slice(piece);
        let held = std::mem::take(&mut self.held);
        let mut done = Vec::with_capacity(held.len());
        let mut rest = &held[..];
        while let Some(taken) = self.step(rest, &mut done) {
            rest = &rest[taken..];
        }
        self.held = rest.to_vec();
        done
    }

    fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Takes one thing from the beginning; nothing where more has to come first.
    fn step(&mut self, rest: &[u8], done: &mut Vec<u8>) -> Option<usize> {
        if rest.is_empty() {
            return None;
        }
        match &self.state {
            State::Comment => self.until(rest, b"-->", done),
            State::Raw(name) => {
                let end = format!("</{name}").into_bytes();
                self.until(rest, &end, done)
            }
            State::Text => self.text(rest, done),
        }
    }

    /// Passes on all up to and with `end`, letters of either case.
    fn until(&mut self, rest: &[u8], end: &[u8], done: &mut Vec<u8>) -> Option<usize> {
        let found = rest.windows(end.len()).position(|window| window.eq_ignore_ascii_case(end));
        let taken = match found {
            Some(at) => {
                self.state = State::Text;
                at + end.len()
            }
            // A part of it may be there already.
            None => rest.len().saturating_sub(end.len() - 1),
        };
        done.extend_from_slice(&rest[..taken]);
        (taken > 0).then_some(taken)
    }

    fn text(&mut self, rest: &[u8], done: &mut Vec<u8>) -> Option<usize> {
        let Some(start) = rest.iter().position(|byte| *byte == b'<') else {
            done.extend_from_slice(rest);
            return Some(rest.len());
        };
        if start > 0 {
            done.extend_from_slice(&rest[..start]);
            return Some(start);
        }
        if b"<!--".starts_with(&rest[..rest.len().min(4)]) {
            if rest.len() < 4 {
                return None;
            }
            self.state = State::Comment;
            done.extend_from_slice(&rest[..4]);
            return Some(4);
        }
        match rest.get(1) {
            None => return None,
            Some(letter) if letter.is_ascii_alphabetic() => {}
            Some(_) => {
                done.push(b'<');
                return Some(1);
            }
        }
        let Some(end) = end_of_tag(rest) else {
            if rest.len() <= LONGEST {
                return None;
            }
            done.extend_from_slice(rest);
            return Some(rest.len());
        };
        let name = self.tag(&rest[..end], done);
        if RAW.contains(&name.as_str()) {
            self.state = State::Raw(name);
        }
        Some(end)
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

/// Where a start tag ends, behind its `>`: one in a quoted value is none.
fn end_of_tag(rest: &[u8]) -> Option<usize> {
    let (mut quote, mut after_equals) = (None, false);
    for (at, byte) in rest.iter().enumerate().skip(1) {
        match (quote, byte) {
            (Some(open), byte) if *byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') if after_equals => quote = Some(*byte),
            _ => {}
        }
        after_equals = *byte == b'=' || (after_equals && byte.is_ascii_whitespace());
    }
    None
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

    /// The page by pieces of so many bytes.
    fn rewritten(text: &str, size: usize) -> String {
        let mut page = page("");
        let mut done = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            done.extend(page.push(piece).expect("plain text"));
        }
        done.extend(page.end().expect("plain text"));
        String::from_utf8(done).expect("text")
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
    fn what_is_longer_than_any_tag_is_not_held() {
        let mut page = page("");
        let mut most = 0;
        let begin = page.push(b"<a href=\"").expect("plain text");
        assert!(begin.is_empty());
        for _ in 0..100 {
            page.push(&[b'x'; 4096]).expect("plain text");
            most = most.max(page.rewriter.held.len());
        }
        assert!(most <= LONGEST + 4096, "{most}");
    }

    #[test]
    fn compressed_pages_are_taken_apart_and_put_together_again() {
        let text = format!("<a href=\"/x\">{}", "word ".repeat(10_000));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("in memory");
        let packed = encoder.finish().expect("in memory");
        let mut page = page("gzip");
        let mut done = Vec::new();
        for piece in packed.chunks(100) {
            done.extend(page.push(piece).expect("gzip"));
        }
        done.extend(page.end().expect("gzip"));
        let mut decoder = GzDecoder::new(Vec::new());
        decoder.write_all(&done).expect("gzip");
        let plain = decoder.finish().expect("gzip");
        assert_eq!(String::from_utf8(plain).expect("text"), text.replacen("/x", "/p/x", 1));
        assert!(Page::new("br", Links::new(String::new(), String::new())).is_none());
    }
}

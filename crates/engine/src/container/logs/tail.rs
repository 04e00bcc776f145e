//! Finding the last lines of a log, backwards from its end.

use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::LogQuery;
use super::files::Files;
use super::line;
use super::read::{BLOCK, LONGEST_LINE, Place, split};
use crate::error::{Context, Result};

/// Where the last `lines` lines before `end` begin that `query` admits; none where there are not
/// more than that.
pub(super) fn find(files: &Files, end: &Place, lines: usize, query: &LogQuery) -> Result<Option<Place>> {
    let tried = || format!("read `{}`", files.path().display());
    let mut left = lines;
    let mut place = Place { part: end.part.try_clone().context(tried)?, offset: end.offset };
    loop {
        if let Some(offset) = look_back(&place, &mut left, query).context(tried)? {
            return Ok(Some(Place { offset, ..place }));
        }
        let Some(part) = files.older(&place.part)? else { return Ok(None) };
        let offset = part.metadata().context(tried)?.len();
        place = Place { part, offset };
    }
}

/// Where the first of the `left` lines before a place in a file begins. None if the file has fewer,
/// and `left` is so much less.
fn look_back(end: &Place, left: &mut usize, query: &LogQuery) -> io::Result<Option<u64>> {
    let mut position = end.offset;
    // The end of a line whose beginning lies before `position`.
    let mut rest: Vec<u8> = Vec::new();
    // Whatever has no line end yet is no line.
    let mut torn = true;
    while position > 0 {
        let size = position.min(BLOCK as u64);
        position -= size;
        let mut block = vec![0; size as usize];
        read_all(&end.part.file, &mut block, position)?;
        if torn {
            let Some(last) = block.iter().rposition(|&byte| byte == b'\n') else { continue };
            block.truncate(last + 1);
            torn = false;
            if *left == 0 {
                return Ok(Some(position + block.len() as u64));
            }
        }
        block.append(&mut rest);
        let whole = match block.iter().position(|&byte| byte == b'\n') {
            _ if position == 0 => 0,
            Some(first) => first + 1,
            None => block.len(),
        };
        let block = Bytes::from(block);
        rest = block[..whole].to_vec();
        if rest.len() > LONGEST_LINE + BLOCK {
            // No line; its end is all that is needed to tell where it ends.
            rest = b"\n".to_vec();
        }
        let mut at = position + whole as u64;
        let lines = split(block.slice(whole..)).map(|line| {
            let begin = at;
            at += line.len() as u64;
            (begin, line)
        });
        for (begin, line) in lines.collect::<Vec<_>>().into_iter().rev() {
            let Some(line) = line::parse(&line) else { continue };
            if query.since.is_some_and(|since| line.at < since) {
                return Ok(Some(begin));
            }
            if query.admits(&line) {
                *left -= 1;
                if *left == 0 {
                    return Ok(Some(begin));
                }
            }
        }
    }
    Ok((*left == 0).then_some(position))
}

/// Reads a block; what is not there any more, since the file was emptied, is empty lines.
fn read_all(file: &std::fs::File, mut block: &mut [u8], mut position: u64) -> io::Result<()> {
    while !block.is_empty() {
        match file.read_at(block, position) {
            Ok(0) => {
                block.fill(b'\n');
                return Ok(());
            }
            Ok(count) => {
                block = &mut block[count..];
                position += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

//! Patterns that texts match, as Go's `regexp` reads them.
//!
//! Both engines take a time that is linear in the text and have nearly the same syntax. What is written the
//! same and means something else is rewritten: classes like `\d` are of ASCII alone in Go.

mod dialect;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::hir::Hir;
use regex_syntax::hir::translate::Translator;

/// A pattern of a schema is no longer than this.
const LONGEST: usize = 4 << 10;
/// How deep groups may be within each other.
const DEEPEST: u32 = 200;
/// How many characters classes may have together of which the other case is meant too.
const FOLDED: u32 = 1 << 18;
/// How much memory one pattern may take when it is compiled.
const SIZE: usize = 2 << 20;
/// How much all patterns of a definition may take together.
const ALL: usize = 16 << 20;
/// How much is kept of patterns that are compiled, of all definitions.
const KEPT: usize = 32 << 20;

/// A pattern that was compiled.
#[derive(Debug)]
pub struct Regex {
    engine: meta::Regex,
    size: usize,
    /// How long a part is at most that matches, in bytes, if that is bounded.
    longest: Option<usize>,
}

impl Regex {
    /// Compiles a pattern, whose error is as Go says it.
    pub fn new(text: &str) -> Result<Self, String> {
        compile(text).map_err(|why| format!("error parsing regexp: {why}"))
    }

    /// How many bytes it takes. How many states it can be in goes by that, and so does the time that a match takes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether a text has a part that matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.engine.is_match(text)
    }

    /// Where the first part is that matches, in bytes.
    pub fn find(&self, text: &str) -> Option<Range<usize>> {
        self.engine.find(text).map(|found| found.range())
    }

    /// Where all parts are that match and do not overlap, in order. Of each it is told before how many bytes may be gone
    /// through for it; with the first refusal it ends.
    ///
    /// What may match without end is looked for up to the end of the text each time: `a*b|a` in a text of `a` alone.
    pub fn find_all<E>(
        &self,
        text: &str,
        mut ask: impl FnMut(usize) -> Result<(), E>,
        mut each: impl FnMut(Range<usize>) -> bool,
    ) -> Result<(), E> {
        let mut begins = 0;
        if self.longest.is_some() {
            ask(text.len())?;
        }
        let mut parts = self.engine.find_iter(text);
        loop {
            // Behind a part that matches only so much may have been gone through as another could be long.
            ask(self.longest.unwrap_or(usize::MAX).min(text.len() - begins))?;
            match parts.next() {
                Some(found) if each(found.range()) => begins = found.end(),
                _ => return Ok(()),
            }
        }
    }
}

/// A pattern; it is compiled when it is asked for, and kept as long as there is room.
pub struct Pattern {
    text: Box<str>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into() }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a text has a part that matches. None does where the pattern is none.
    pub fn is_match(&self, text: &str) -> bool {
        compiled_of_schema(&self.text).is_ok_and(|regex| regex.is_match(text))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

/// Why a text is no pattern, as Go says it.
pub fn pattern_error(text: &str) -> Option<String> {
    compiled_of_schema(text).err().map(|why| format!("error parsing regexp: {why}"))
}

/// Why the syntax of a text is not that of a pattern. It is not compiled, which can take long.
pub fn syntax_error(text: &str) -> Option<String> {
    parse(text).err().map(|why| format!("error parsing regexp: {why}"))
}

/// How much the patterns of a definition or a policy may still take.
#[derive(Debug)]
pub struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(ALL)
    }
}

impl Room {
    /// As [`pattern_error`]; patterns for which there is no room beside the others are none either.
    pub(super) fn error(&mut self, text: &str) -> Option<String> {
        self.take(text, compiled_of_schema).err()
    }

    /// The pattern, if there is room for it beside the others. Those that are asked for often are compiled once.
    pub fn compiled(&mut self, text: &str) -> Result<Arc<Regex>, String> {
        self.take(text, compiled)
    }

    fn take(
        &mut self,
        text: &str,
        compiled: fn(&str) -> Result<Arc<Regex>, String>,
    ) -> Result<Arc<Regex>, String> {
        // Once there is no room, nothing is compiled any more.
        let outcome = if self.0 == 0 { Err(too_large(text)) } else { compiled(text) };
        // To find that one is too large takes as long as to compile one that just is not.
        let taken = match &outcome {
            Ok(regex) => regex.size(),
            Err(why) if *why == too_large(text) => SIZE,
            Err(_) => 0,
        };
        let left = self.0.checked_sub(taken);
        self.0 = left.unwrap_or_default();
        let outcome = outcome.and_then(|regex| left.map(|_| regex).ok_or_else(|| too_large(text)));
        outcome.map_err(|why| format!("error parsing regexp: {why}"))
    }
}

fn too_large(text: &str) -> String {
    format!("expression too large: `{text}`")
}

/// The patterns that were asked for last, compiled.
#[derive(Default)]
struct Kept {
    by_text: HashMap<Box<str>, (Arc<Regex>, u64)>,
    /// How often one was asked for.
    asked: u64,
    size: usize,
}

impl Kept {
    fn get(&mut self, text: &str) -> Option<Arc<Regex>> {
        self.asked += 1;
        let (regex, asked) = self.by_text.get_mut(text)?;
        *asked = self.asked;
        Some(regex.clone())
    }

    fn keep(&mut self, text: &str, regex: &Arc<Regex>) {
        if self.by_text.insert(text.into(), (regex.clone(), self.asked)).is_none() {
            self.size += size(text, regex);
        }
        if self.size <= KEPT {
            return;
        }
        // Half of them go, so that this is seldom.
        let mut asked: Vec<u64> = self.by_text.values().map(|(_, asked)| *asked).collect();
        asked.sort_unstable();
        let since = asked[asked.len() / 2];
        self.by_text.retain(|_, (_, asked)| *asked > since);
        self.size = self.by_text.iter().map(|(text, (regex, _))| size(text, regex)).sum();
    }
}

fn size(text: &str, regex: &Regex) -> usize {
    /// What is kept takes so much besides.
    const EACH: usize = 256;
    /// Each thread that matches by it remembers which states it is in, about as much again; so many do.
    const THREADS: usize = 4;
    text.len() + regex.size() * (1 + THREADS) + EACH
}

static COMPILED: Mutex<Option<Kept>> = Mutex::new(None);

fn compiled(text: &str) -> Result<Arc<Regex>, String> {
    if let Some(known) = COMPILED.lock().get_or_insert_default().get(text) {
        return Ok(known);
    }
    let regex = Arc::new(compile(text)?);
    COMPILED.lock().get_or_insert_default().keep(text, &regex);
    Ok(regex)
}

/// As [`compiled`]; those of schemas are short.
fn compiled_of_schema(text: &str) -> Result<Arc<Regex>, String> {
    if text.len() > LONGEST {
        return Err(format!("expression too large: it has more than {LONGEST} bytes"));
    }
    compiled(text)
}

fn parse(text: &str) -> Result<Hir, String> {
    let rewritten = dialect::rewrite(text)?;
    let parsed = ParserBuilder::new().nest_limit(DEEPEST).build().parse(&rewritten);
    let tree = parsed.map_err(|error| said(text, &error.to_string()))?;
    if let Some(span) = dialect::repeated_too_often(&tree) {
        return Err(format!("invalid repeat count: `{}`", &rewritten[span.start.offset..span.end.offset]));
    }
    // Whoever translates goes through each character of a class for its other case.
    if dialect::folded(&tree) > FOLDED {
        return Err(too_large(text));
    }
    Translator::new().translate(&rewritten, &tree).map_err(|error| said(text, &error.to_string()))
}

fn compile(text: &str) -> Result<Regex, String> {
    // Machines that know more in advance take long to make, and more memory than what they save is worth.
    let config = meta::Regex::config().nfa_size_limit(Some(SIZE)).onepass(false).dfa(false).hybrid(false);
    // Nobody asks where groups match, and that would be remembered for every state.
    let config = config.which_captures(WhichCaptures::Implicit);
    let parsed = parse(text)?;
    let built = meta::Regex::builder().configure(config).build_from_hir(&parsed);
    let engine = built.map_err(|_| too_large(text))?;
    let (size, longest) = (engine.memory_usage(), parsed.properties().maximum_len());
    if size > SIZE { Err(too_large(text)) } else { Ok(Regex { engine, size, longest }) }
}

/// What the other engine says of a pattern, in Go's words where there are some.
fn said(text: &str, error: &str) -> String {
    let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
    for (theirs, ours) in [
        ("unclosed group", "missing closing )"),
        ("unopened group", "unexpected )"),
        ("unclosed character class", "missing closing ]"),
        ("invalid character class range", "invalid character class range"),
        ("repetition operator missing expression", "missing argument to repetition operator"),
        ("invalid repetition count range", "invalid repeat count"),
        ("unrecognized escape sequence", "invalid escape sequence"),
        ("incomplete escape sequence", "trailing backslash at end of expression"),
        ("Unicode property not found", "invalid character class range"),
        ("duplicate capture group name", "duplicate capture group name"),
    ] {
        if why.contains(theirs) {
            return format!("{ours}: `{text}`");
        }
    }
    format!("{why}: `{text}`")
}

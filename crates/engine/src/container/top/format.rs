//! Which columns `ps` would show for its arguments.
//!
//! Three dialects live in `ps`: letters behind a dash, letters without one, and words behind two. What only says which
//! processes of the machine are meant says nothing here: those of the container are.

use super::columns::{self, Spec};
use crate::error::{Error, Kind, Result};

/// How many columns there may be, and by how many the processes may be ordered.
const MOST: usize = 64;

/// One column: what is in it, under which title.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) spec: &'static Spec,
    pub(super) title: String,
}

/// What is shown, and in which order.
#[derive(Debug, Default)]
pub(super) struct Format {
    pub(super) columns: Vec<Column>,
    /// By these, the first first; `true` where the largest comes first.
    pub(super) order: Vec<(&'static Spec, bool)>,
}

/// What was asked for so far.
#[derive(Default)]
struct Asked {
    /// Of named columns.
    own: Vec<Column>,
    order: Vec<(&'static Spec, bool)>,
    full: bool,
    extra: bool,
    long: bool,
    jobs: bool,
    /// With the resident size in place of an address.
    resident: bool,
    /// The letter of a format without a dash.
    bsd: Option<char>,
    is_bsd: bool,
}

/// The format for `arguments`; that of `-ef` where there are none.
pub(super) fn chosen(arguments: &str) -> Result<Format> {
    let arguments = if arguments.trim().is_empty() { "-ef" } else { arguments };
    refuse_renamed(arguments)?;
    let mut asked = Asked::default();
    let mut words = arguments.split_whitespace();
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or_else(|| failed("list of process IDs must follow -p"));
        if let Some(long) = word.strip_prefix("--") {
            asked.long_word(long, &mut next)?;
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| *letters != "aux") {
            asked.letters(letters, &mut next)?;
        } else {
            asked.bsd_letters(word.trim_start_matches('-'), &mut next)?;
        }
    }
    let format = asked.format()?;
    if format.columns.iter().all(|column| column.title != "PID") {
        return Err(Error::new(Kind::Internal, "Couldn't find PID field in ps output"));
    }
    Ok(format)
}

/// Whoever reads the table looks for the numbers by their title.
fn refuse_renamed(arguments: &str) -> Result<()> {
    for (at, _) in arguments.match_indices('=') {
        let name = arguments[..at].rsplit(|c: char| c.is_whitespace()).next().unwrap_or_default();
        let title = arguments[at + 1..].split_whitespace().next().unwrap_or_default();
        if title.starts_with("PID") && name != "pid" {
            return Err(Error::invalid(format!("specifying \"{name}={title}\" is not allowed")));
        }
    }
    Ok(())
}

impl Asked {
    fn long_word<'a>(&mut self, word: &'a str, next: &mut dyn FnMut() -> Result<&'a str>) -> Result<()> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let mut value = || value.map_or_else(&mut *next, Ok);
        match name {
            "format" => self.list(value()?),
            "sort" => self.sort(value()?),
            "cols" | "columns" | "width" | "rows" | "lines" => value().map(drop),
            "forest" | "headers" | "cumulative" => Ok(()),
            _ => Err(failed("unknown gnu long option")),
        }
    }

    fn letters<'a>(&mut self, letters: &'a str, next: &mut dyn FnMut() -> Result<&'a str>) -> Result<()> {
        for (at, letter) in letters.char_indices() {
            match letter {
                'A' | 'e' | 'a' | 'd' | 'w' | 'H' | 'c' => {}
                'f' => self.full = true,
                'F' => self.extra = true,
                'l' => self.long = true,
                'j' => self.jobs = true,
                'y' => self.resident = true,
                'o' | 'O' => {
                    let rest = &letters[at + 1..];
                    let list = if rest.is_empty() { next()? } else { rest };
                    if letter == 'O' {
                        self.around(list, &["pid"], &["s", "tname", "time", "command"])?;
                    } else {
                        self.list(list)?;
                    }
                    return Ok(());
                }
                'L' | 'T' | 'm' => return Err(failed("threads are not shown: leave the option out")),
                'p' | 'q' | 'u' | 'U' | 'g' | 'G' | 's' | 't' | 'C' | 'N' => return Err(selection(letter)),
                _ => return Err(failed("unsupported SysV option")),
            }
        }
        Ok(())
    }

    fn bsd_letters<'a>(&mut self, letters: &'a str, next: &mut dyn FnMut() -> Result<&'a str>) -> Result<()> {
        self.is_bsd = true;
        for (at, letter) in letters.char_indices() {
            match letter {
                'a' | 'x' | 'e' | 'w' | 'f' | 'c' | 'n' | 'S' | 'r' | 'g' => {}
                'u' | 'l' | 'j' | 'v' | 's' => self.bsd = Some(letter),
                'o' | 'O' | 'k' => {
                    let rest = &letters[at + 1..];
                    let list = if rest.is_empty() { next()? } else { rest };
                    return match letter {
                        'o' => self.list(list),
                        'k' => self.sort(list),
                        _ => self.around(list, &["pid"], &["stat", "tname", "bsdtime", "command"]),
                    };
                }
                'm' | 'H' | 'L' => return Err(failed("threads are not shown: leave the option out")),
                'p' | 'q' | 't' | 'U' | '0'..='9' => return Err(selection(letter)),
                _ => return Err(failed("unsupported option (BSD syntax)")),
            }
        }
        Ok(())
    }

    /// Reads `pid,user=WHO`: what follows an equals sign is a title, commas and all.
    fn list(&mut self, list: &str) -> Result<()> {
        let (names, title) = list.split_once('=').map_or((list, None), |(names, title)| (names, Some(title)));
        let mut names = names.split(',').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let spec = spec(name)?;
            if self.own.len() == MOST {
                return Err(failed(&format!("more than {MOST} columns")));
            }
            let title = title.filter(|_| names.peek().is_none()).unwrap_or_else(|| spec.title_of(name));
            self.own.push(Column { spec, title: title.to_owned() });
        }
        Ok(())
    }

    fn around(&mut self, list: &str, before: &[&str], after: &[&str]) -> Result<()> {
        self.list(&before.join(","))?;
        self.list(list)?;
        self.list(&after.join(","))
    }

    fn sort(&mut self, list: &str) -> Result<()> {
        for name in list.split(',').filter(|name| !name.is_empty()) {
            if self.order.len() == MOST {
                return Err(failed(&format!("an order by more than {MOST} columns")));
            }
            let is_down = name.starts_with('-');
            self.order.push((spec(name.trim_start_matches(['-', '+']))?, is_down));
        }
        Ok(())
    }

    fn format(self) -> Result<Format> {
        let Self { own, order, full, extra, long, jobs, resident, bsd, is_bsd } = self;
        if !own.is_empty() {
            return Ok(Format { columns: own, order });
        }
        let names = match bsd {
            Some('u') => "user pid %cpu %mem vsz rss tname stat start_time bsdtime command",
            Some('l') => "f uid pid ppid priority ni vsz rss wchan stat tname bsdtime command",
            Some('j') => "ppid pid pgid sid tname tpgid stat uid bsdtime command",
            Some('v') => "pid tname stat bsdtime maj_flt trs drs rss %mem command",
            Some(_) => "uid pid pending blocked ignored caught stat tname bsdtime command",
            None if extra => "owner pid ppid c sz rss psr stime tname time cmd",
            None if long && resident => "s uid pid ppid c opri ni rss sz wchan tname time ucmd",
            None if long && full => "f s owner pid ppid c opri ni addr sz wchan stime tname time cmd",
            None if long => "f s uid pid ppid c opri ni addr sz wchan tname time ucmd",
            None if jobs && full => "owner pid ppid pgid sid c stime tname time cmd",
            None if jobs => "pid pgid sid tname time ucmd",
            None if full => "owner pid ppid c stime tname time cmd",
            None if is_bsd => "pid tname stat bsdtime command",
            None => "pid tname time ucmd",
        };
        let mut asked = Self::default();
        asked.list(&names.replace(' ', ","))?;
        Ok(Format { columns: asked.own, order })
    }
}

fn spec(name: &str) -> Result<&'static Spec> {
    columns::find(name).ok_or_else(|| failed(&format!("unknown user-defined format specifier \"{name}\"")))
}

fn selection(letter: char) -> Error {
    failed(&format!("{letter}: the processes shown are those of the container"))
}

fn failed(why: &str) -> Error {
    Error::new(Kind::Internal, format!("ps: error: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let format = chosen(arguments).expect("known arguments");
        let titles: Vec<&str> = format.columns.iter().map(|column| column.title.as_str()).collect();
        assert_eq!(titles.join(" "), expected, "{arguments}");
    }

    #[test]
    fn the_columns_are_those_that_ps_would_show() {
        for full in ["", "-ef", "-fA"] {
            check(full, "UID PID PPID C STIME TTY TIME CMD");
        }
        for user in ["aux", "-aux", "auxww", "u"] {
            check(user, "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        }
        check("-e", "PID TTY TIME CMD");
        check("x", "PID TTY STAT TIME COMMAND");
        check("-o pid,comm", "PID COMMAND");
        check("-eo pid,cmd", "PID CMD");
        check("-opid,args", "PID COMMAND");
        check("-o pid -o user=WHO,X", "PID WHO,X");
        check("axo user,pid,etime", "USER PID ELAPSED");
        check("--format pid,nlwp --sort=-rss", "PID NLWP");
        check("-el", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD");
        check("-eF", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD");
        check("-j", "PID PGID SID TTY TIME CMD");
        check("axl", "F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND");
        check("axj", "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND");
        check("-O nice", "PID NI S TTY TIME COMMAND");
    }

    #[test]
    fn what_ps_would_refuse_is_refused_in_its_words() {
        let check = |arguments: &str, expected: &str| {
            assert_eq!(chosen(arguments).expect_err(arguments).message(), expected);
        };
        check("-o pid,nonsense", "ps: error: unknown user-defined format specifier \"nonsense\"");
        check("-o comm", "Couldn't find PID field in ps output");
        check("-o pid=", "Couldn't find PID field in ps output");
        check("-o user=PID,pid", "specifying \"user=PID,pid\" is not allowed");
        check("; rm", "ps: error: unsupported option (BSD syntax)");
        check("--nothing", "ps: error: unknown gnu long option");
        check("-Z", "ps: error: unsupported SysV option");
        let many = |count: usize| vec!["pid"; count].join(",");
        assert_eq!(chosen(&format!("-o {}", many(64))).expect("so many").columns.len(), 64);
        check(&format!("-o {}", many(65)), "ps: error: more than 64 columns");
        check(&format!("-o {} -o user", many(64)), "ps: error: more than 64 columns");
        check(&format!("-e --sort {}", many(65)), "ps: error: an order by more than 64 columns");
    }
}

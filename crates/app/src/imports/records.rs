//! A file in records, one at a time.
//!
//! The first character says what it is: `[` a JSON array of objects, `{` an object a line, anything else a CSV file
//! (RFC 4180) whose first line names the fields.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use super::{At, Unreadable};

/// The largest record: far above any account, and little enough to hold.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// What one record is made of.
pub(super) struct Record<'r> {
    pub(super) at: At,
    pub(super) text: Text<'r>,
}

pub(super) enum Text<'r> {
    /// An object.
    Json(&'r [u8]),
    /// A line of CSV, which may be several, with the line of names.
    Csv { names: &'r [String], row: &'r [u8] },
    /// Over [`MAX_BYTES`].
    TooLong,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Unknown,
    Array,
    Lines,
    Csv,
}

pub(super) struct Records<R> {
    input: Counted<BufReader<R>>,
    shape: Shape,
    /// The line that comes next.
    line: u64,
    /// Entries of an array so far.
    entries: u64,
    names: Vec<String>,
    record: Vec<u8>,
    over: bool,
}

/// Counts what is taken.
struct Counted<R> {
    inner: R,
    taken: u64,
}

impl<R: Read> Counted<BufReader<R>> {
    fn peek(&mut self) -> Result<Option<u8>, Unreadable> {
        loop {
            match self.inner.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Unreadable(format!("the file cannot be read: {error}"))),
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.inner.consume(bytes);
        self.taken += bytes as u64;
    }

    /// Adds a line with its end to `into`, as much of it as fits. `None`: there is none. False: it did not fit.
    fn line(&mut self, into: &mut Vec<u8>) -> Result<Option<bool>, Unreadable> {
        let mut fits = true;
        if self.peek()?.is_none() {
            return Ok(None);
        }
        while self.peek()?.is_some() {
            let bytes = self.inner.buffer();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(bytes.len(), |at| at + 1);
            let room = MAX_BYTES.saturating_sub(into.len());
            fits &= length <= room;
            into.extend_from_slice(&bytes[..length.min(room)]);
            self.skip(length);
            if end.is_some() {
                break;
            }
        }
        Ok(Some(fits))
    }
}

impl<R: Read> Records<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input: Counted {
                inner: BufReader::with_capacity(MAX_BYTES, input),
                taken: 0,
            },
            shape: Shape::Unknown,
            line: 1,
            entries: 0,
            names: Vec::new(),
            record: Vec::new(),
            over: false,
        }
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.input.taken
    }

    /// The next one; `None` at the end. After an error there is nothing more.
    pub(super) fn next(&mut self) -> Option<Result<Record<'_>, Unreadable>> {
        if self.over {
            return None;
        }
        if self.shape == Shape::Unknown
            && let Err(error) = self.begin()
        {
            self.over = true;
            return Some(Err(error));
        }
        let found = match self.shape {
            Shape::Array => self.next_entry(),
            Shape::Lines | Shape::Unknown => self.next_line(),
            Shape::Csv => self.next_row(),
        };
        match found {
            Ok(None) => {
                self.over = true;
                None
            }
            Ok(Some((at, whole))) => Some(Ok(self.found(at, whole))),
            Err(error) => {
                self.over = true;
                Some(Err(error))
            }
        }
    }

    fn found(&self, at: At, whole: bool) -> Record<'_> {
        let text = match self.shape {
            _ if !whole => Text::TooLong,
            Shape::Csv => Text::Csv {
                names: &self.names,
                row: &self.record,
            },
            Shape::Array | Shape::Lines | Shape::Unknown => Text::Json(&self.record),
        };
        Record { at, text }
    }

    /// Passes over a byte order mark, looks what it is, and takes what comes before the records.
    fn begin(&mut self) -> Result<(), Unreadable> {
        self.input.peek()?;
        if self.input.inner.buffer().starts_with(b"\xEF\xBB\xBF") {
            self.input.skip(3);
        }
        self.skip_blank()?;
        self.shape = match self.input.peek()? {
            Some(b'[') => {
                self.input.skip(1);
                Shape::Array
            }
            Some(b'{') | None => Shape::Lines,
            Some(_) => {
                let names = self.next_row()?;
                let names = names.filter(|(_, whole)| *whole);
                let row = names.and_then(|_| csv(&self.record));
                let row = row.ok_or_else(|| {
                    Unreadable("the first line does not name the fields of a CSV file".to_owned())
                })?;
                self.names = row.into_iter().map(|name| name.trim().to_owned()).collect();
                // What is no such line may be somebody's record, and is not to be repeated as the name of a field.
                if !self.names.iter().any(|name| name == "email") {
                    return Err(Unreadable(
                        "the first line of a CSV file names the fields, `email` among them; this one does not".to_owned(),
                    ));
                }
                Shape::Csv
            }
        };
        Ok(())
    }

    fn skip_blank(&mut self) -> Result<(), Unreadable> {
        while let Some(byte) = self.input.peek()?.filter(u8::is_ascii_whitespace) {
            self.line += u64::from(byte == b'\n');
            self.input.skip(1);
        }
        Ok(())
    }

    /// A line that is not blank.
    fn next_line(&mut self) -> Result<Option<(At, bool)>, Unreadable> {
        loop {
            self.record.clear();
            let at = self.here();
            let Some(whole) = self.input.line(&mut self.record)? else {
                return Ok(None);
            };
            self.line += 1;
            if !self.record.trim_ascii().is_empty() {
                return Ok(Some((at, whole)));
            }
        }
    }

    /// A line, and those after it while a quote is open.
    fn next_row(&mut self) -> Result<Option<(At, bool)>, Unreadable> {
        let Some((at, mut whole)) = self.next_line()? else {
            return Ok(None);
        };
        let mut open = opens(&self.record);
        while whole && open {
            let seen = self.record.len();
            match self.input.line(&mut self.record)? {
                Some(fits) => whole = fits,
                None => break,
            }
            self.line += 1;
            open ^= opens(&self.record[seen..]);
        }
        Ok(Some((at, whole)))
    }

    /// An object of an array.
    fn next_entry(&mut self) -> Result<Option<(At, bool)>, Unreadable> {
        self.skip_blank()?;
        if self.entries > 0 && self.input.peek()? == Some(b',') {
            self.input.skip(1);
            self.skip_blank()?;
        }
        self.entries += 1;
        let at = self.here();
        match self.input.peek()? {
            Some(b'{') => self.object().map(|whole| Some((at, whole))),
            Some(b']') => Ok(None),
            Some(_) => Err(Unreadable(format!(
                "{at} is no object: an import is an array of objects, or one object a line"
            ))),
            None => Err(cut_off()),
        }
    }

    /// From its brace to the one that closes it. Says whether it fits.
    fn object(&mut self) -> Result<bool, Unreadable> {
        self.record.clear();
        let (mut depth, mut quoted, mut escaped, mut whole) = (0_u32, false, false, true);
        loop {
            if self.input.peek()?.is_none() {
                return Err(cut_off());
            }
            let mut used = 0;
            let mut closed = false;
            for byte in self.input.inner.buffer() {
                used += 1;
                self.line += u64::from(*byte == b'\n');
                match *byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    b'{' if !quoted => depth += 1,
                    b'}' if !quoted => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    closed = true;
                    break;
                }
            }
            let room = MAX_BYTES - self.record.len();
            whole &= used <= room;
            self.record
                .extend_from_slice(&self.input.inner.buffer()[..used.min(room)]);
            self.input.skip(used);
            if closed {
                return Ok(whole);
            }
        }
    }

    fn here(&self) -> At {
        At {
            line: self.line,
            entry: (self.shape == Shape::Array).then_some(self.entries),
        }
    }
}

/// Whether a quote is open at the end that was not at the beginning, or the other way round.
fn opens(text: &[u8]) -> bool {
    text.iter().fold(false, |open, byte| open ^ (*byte == b'"'))
}

fn cut_off() -> Unreadable {
    Unreadable("the file ends in the middle of its array: export it again".to_owned())
}

/// The fields of a row; `None` when it is no text, or its quotes do not fit.
pub(super) fn csv(row: &[u8]) -> Option<Vec<String>> {
    let row = std::str::from_utf8(row).ok()?;
    let row = row.strip_suffix('\n').unwrap_or(row);
    let mut rest = row.strip_suffix('\r').unwrap_or(row);
    let mut fields = Vec::new();
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            unquoted(quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(fields),
        }
    }
}

/// What is before the closing quote, where two stand for one, and what comes after it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Some((field, after)),
        }
    }
}

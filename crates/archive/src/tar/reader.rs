//! Reads an archive entry by entry, from front to back.
//!
//! Invariant: memory is bounded by [`Options`] whatever the headers announce: buffers grow with
//! the bytes that came, never with a number that was read. After an error there is no next entry.

use std::io::Read;

use super::body::{self, Body, Cursor, Piece};
use super::entry::{Entry, Kind};
use super::error::{EXCERPT_BYTES_MAX, Fault, TarError};
use super::header::{Block, Header};
use super::options::{Globals, Options};
use super::pax::Records;
use super::resolve::{self, Extensions, Map, Resolved};
use super::source::Source;
use super::sparse::{Builder, Leading};

/// Reads an archive entry by entry: [`Reader::next_entry`], then as much of [`Reader::body`] as is
/// wanted.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    options: Options,
    globals: Records,
    cursor: Cursor,
    place: Place,
    state: State,
}

/// How an archive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By two blocks of zeros, as it should.
    Marked,
    /// By one block of zeros.
    HalfMarked,
    /// Behind an entry, without a mark. Every reader takes that for an end, and so do we; but
    /// without a digest to tell, it may have been cut there.
    Unmarked,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Reading,
    Ended(End),
    Failed,
}

/// Where we are, for messages.
#[derive(Debug, Default)]
struct Place {
    index: u64,
    path: Option<Vec<u8>>,
}

impl Place {
    fn error(&self, fault: Fault) -> TarError {
        TarError { index: self.index, path: self.path.clone(), fault }
    }

    fn name(&mut self, path: &[u8]) {
        let kept = self.path.get_or_insert_default();
        kept.clear();
        // One more than is shown tells that it was longer.
        kept.extend_from_slice(&path[..path.len().min(EXCERPT_BYTES_MAX + 1)]);
    }
}

impl<R: Read> Reader<R> {
    /// A reader of the archive that `source` gives; it has a buffer of its own.
    pub fn new(source: R, options: Options) -> Self {
        Self {
            source: Source::new(source),
            options,
            globals: Records::default(),
            cursor: Cursor::default(),
            place: Place::default(),
            state: State::Reading,
        }
    }

    /// The next entry, whatever of the last one's body was read; `None` behind the last one, when
    /// all that the source has was read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        match self.state {
            State::Reading => {}
            State::Ended(_) => return Ok(None),
            State::Failed => return Err(self.place.error(Fault::Failed)),
        }
        self.advance().map_err(|fault| {
            self.state = State::Failed;
            self.place.error(fault)
        })
    }

    /// The body of the entry that came last.
    pub fn body(&mut self) -> Body<'_, R> {
        Body::new(self)
    }

    /// How the archive ended; `None` before it has.
    pub fn end(&self) -> Option<End> {
        match self.state {
            State::Ended(end) => Some(end),
            State::Reading | State::Failed => None,
        }
    }

    /// The source, read as far as whole buffers go.
    pub fn into_inner(self) -> R {
        self.source.into_inner()
    }

    /// The next piece of the body, at most `max` bytes of it.
    pub(super) fn piece(&mut self, max: u64) -> Result<Option<Piece<'_>>, TarError> {
        if let State::Failed = self.state {
            return Err(self.place.error(Fault::Failed));
        }
        self.cursor.piece(&mut self.source, max).map_err(|fault| {
            self.state = State::Failed;
            self.place.error(fault)
        })
    }

    fn advance(&mut self) -> Result<Option<Entry>, Fault> {
        self.cursor.skip(&mut self.source)?;
        self.place.index += 1;
        self.place.path = None;
        let mut extensions = Extensions::default();
        loop {
            let block = match self.source.block()? {
                Some(block) if !is_zero(&block) => block,
                _ if !extensions.is_empty() => return Err(Fault::Dangling),
                None => return self.ended(End::Unmarked).map(|()| None),
                Some(_) => return self.marked().map(|()| None),
            };
            let header = Header::parse(&block)?;
            match header.flag() {
                b'x' | b'g' | b'L' | b'K' => self.extend(&header, &mut extensions)?,
                _ => return self.entry(&block, &header, extensions).map(Some),
            }
        }
    }

    /// Takes in a header that speaks of the entries after it.
    fn extend(&mut self, header: &Header<'_>, extensions: &mut Extensions) -> Result<(), Fault> {
        let flag = header.flag();
        let size = header.size()?;
        let path_max = self.options.path_bytes_max as u64;
        match flag {
            b'L' => {
                let text = self.text(size, "path", path_max)?;
                once(&mut extensions.long_path, text, "a long path")
            }
            b'K' => {
                let text = self.text(size, "link target", path_max)?;
                once(&mut extensions.long_link, text, "a long link target")
            }
            b'x' => {
                let records = self.records(size)?;
                once(&mut extensions.records, records, "an extended header")
            }
            // Go forgets what came before it, others do not.
            _ if !extensions.is_empty() => Err(Fault::Dangling),
            _ => {
                let later = self.records(size)?;
                self.globalize(later)
            }
        }
    }

    fn globalize(&mut self, later: Records) -> Result<(), Fault> {
        match (self.options.globals, later.first()) {
            (Globals::Refuse, Some(keyword)) => Err(Fault::Global { keyword }),
            _ => self.globals.merge_global(later),
        }
    }

    fn records(&mut self, size: u64) -> Result<Records, Fault> {
        let bytes = self.extension(size, "extended header", self.options.extension_bytes_max)?;
        Records::parse(&bytes, self.options.extents_max)
    }

    /// A name as C writes it: its end is a nul, and behind that there is nothing else.
    fn text(&mut self, size: u64, field: &'static str, max: u64) -> Result<Vec<u8>, Fault> {
        let mut text = self.extension(size, field, max + 1)?;
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        if text[end..].iter().any(|byte| *byte != 0) {
            return Err(Fault::Nul { field });
        }
        text.truncate(end);
        Ok(text)
    }

    /// The body of a header that extends others.
    fn extension(&mut self, size: u64, field: &'static str, max: u64) -> Result<Vec<u8>, Fault> {
        if size > max {
            return Err(Fault::TooLong { field, max });
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let missing = size - bytes.len() as u64;
            bytes.extend_from_slice(self.source.some(missing)?);
        }
        self.source.skip(body::padding(size))?;
        Ok(bytes)
    }

    fn entry(
        &mut self,
        block: &Block,
        header: &Header<'_>,
        extensions: Extensions,
    ) -> Result<Entry, Fault> {
        self.place.name(&extensions.path_hint(header));
        let Resolved { mut entry, size, map } =
            resolve::resolve(header, extensions, &self.globals, &self.options)?;
        let Kind::File(content) = &mut entry.kind else { return Ok(entry) };
        let mut data = size;
        match map {
            Map::Done => {}
            Map::Header => {
                let mut builder = Builder::new(self.options.extents_max);
                let mut more = builder.header(block)?;
                while more {
                    more = builder.block(&self.source.block()?.ok_or(Fault::Truncated)?)?;
                }
                content.map = Some(builder.finish(content.size, data)?);
            }
            Map::Leading => {
                let mut leading = Leading::new(self.options.extents_max);
                let mut more = true;
                while more {
                    more = leading.block(&self.source.block()?.ok_or(Fault::Truncated)?)?;
                }
                data = data.checked_sub(leading.taken).ok_or(Fault::SparseMap)?;
                content.map = Some(leading.finish(content.size, data)?);
            }
        }
        self.cursor = Cursor::new(content, data, body::padding(size));
        Ok(entry)
    }

    /// Behind a block of zeros.
    fn marked(&mut self) -> Result<(), Fault> {
        match self.source.block()? {
            None => self.ended(End::HalfMarked),
            Some(block) if is_zero(&block) => self.ended(End::Marked),
            Some(_) => Err(Fault::LoneZeroBlock),
        }
    }

    /// Reads on to the very end: only zeros may be there. Another archive behind this one would be
    /// seen by some readers, and by some only with an option.
    fn ended(&mut self, end: End) -> Result<(), Fault> {
        loop {
            match self.source.up_to(u64::MAX)? {
                [] => break,
                bytes if bytes.iter().all(|byte| *byte == 0) => {}
                _ => return Err(Fault::BehindEnd),
            }
        }
        self.state = State::Ended(end);
        Ok(())
    }
}

fn once<T>(place: &mut Option<T>, value: T, what: &str) -> Result<(), Fault> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::Twice { keyword: what.to_owned() }),
    }
}

fn is_zero(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

//! Writes gzip with many threads: blocks of fixed size, each compressed with the end of the block
//! before it as a dictionary, put together to one stream as pigz does it.
//!
//! Invariant: the bytes depend on the input and the level only. Memory is bounded by a few blocks
//! for each thread.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

const BLOCK: usize = 128 << 10;
/// As far back as deflate can point.
const DICTIONARY: usize = 32 << 10;
/// Blocks under way for each thread: one in work, one waiting.
const AHEAD: usize = 2;

/// Writes gzip; [`GzipWriter::finish`] must be called.
#[derive(Debug)]
pub struct GzipWriter<W> {
    sink: W,
    level: u32,
    /// The end of the last block, then what came since.
    buffer: Vec<u8>,
    dictionary: usize,
    crc: Crc,
    begun: bool,
    workers: Workers,
    /// Buffers that blocks have left.
    spare: Vec<Vec<u8>>,
}

/// A block to compress.
struct Job {
    buffer: Vec<u8>,
    /// How much of the buffer is the end of the block before.
    dictionary: usize,
    last: bool,
}

/// A compressed block.
struct Done {
    bytes: Vec<u8>,
    crc: Crc,
    /// To be used again.
    buffer: Vec<u8>,
}

/// Compresses blocks here, or on threads; gives them back in their order.
#[derive(Debug)]
enum Workers {
    Here {
        level: u32,
    },
    Threads {
        jobs: Option<SyncSender<(Job, SyncSender<Done>)>>,
        pending: VecDeque<Receiver<Done>>,
        threads: Vec<JoinHandle<()>>,
    },
}

impl<W: Write> GzipWriter<W> {
    /// Writes to `sink` at a level from 0 to 9, with so many threads; one means the caller's own.
    pub fn new(sink: W, level: u32, threads: NonZeroUsize) -> io::Result<Self> {
        let level = level.min(9);
        let workers = Workers::new(level, threads.get())?;
        Ok(Self {
            sink,
            level,
            buffer: Vec::with_capacity(DICTIONARY + BLOCK),
            dictionary: 0,
            crc: Crc::new(),
            begun: false,
            workers,
            spare: Vec::new(),
        })
    }

    /// Ends the stream, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.submit(true)?;
        while let Some(done) = self.workers.next() {
            self.put(done)?;
        }
        let mut trailer = self.crc.sum().to_le_bytes().to_vec();
        trailer.extend_from_slice(&self.crc.amount().to_le_bytes());
        self.sink.write_all(&trailer)?;
        Ok(self.sink)
    }

    /// Gives the block away, and begins the next one with its end.
    fn submit(&mut self, last: bool) -> io::Result<()> {
        let mut next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(DICTIONARY + BLOCK));
        next.clear();
        let kept = if last { self.buffer.len() } else { self.buffer.len() - DICTIONARY };
        next.extend_from_slice(&self.buffer[kept..]);
        let dictionary = std::mem::replace(&mut self.dictionary, next.len());
        let buffer = std::mem::replace(&mut self.buffer, next);
        let done = self.workers.submit(Job { buffer, dictionary, last });
        done.map_or(Ok(()), |done| self.put(done))
    }

    fn put(&mut self, done: Done) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.sink.write_all(&header(self.level))?;
        }
        self.crc.combine(&done.crc);
        self.sink.write_all(&done.bytes)?;
        self.spare.push(done.buffer);
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.dictionary + BLOCK - self.buffer.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.buffer.extend_from_slice(taken);
        if taken.len() == room {
            self.submit(false)?;
        }
        Ok(taken.len())
    }

    /// Does not end a block: where blocks end must not depend on who flushes.
    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// No name, no time, an unknown system; level 1 and 9 are told, as by all writers.
fn header(level: u32) -> [u8; 10] {
    let effort = match level {
        9 => 2,
        1 => 4,
        _ => 0,
    };
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 255]
}

impl Workers {
    fn new(level: u32, threads: usize) -> io::Result<Self> {
        if threads == 1 {
            return Ok(Self::Here { level });
        }
        let (jobs, queue) = sync_channel(threads);
        let queue = Arc::new(Mutex::new(queue));
        let spawn = |_| {
            let queue = Arc::clone(&queue);
            let builder = std::thread::Builder::new().name("gzip".to_owned());
            builder.spawn(move || work(&queue, level))
        };
        let threads = (0..threads).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self::Threads { jobs: Some(jobs), pending: VecDeque::new(), threads })
    }

    /// Takes a job; gives the oldest block back if enough are under way.
    fn submit(&mut self, job: Job) -> Option<Done> {
        match self {
            Self::Here { level } => Some(compress(job, *level)),
            Self::Threads { jobs, pending, threads, .. } => {
                let (reply, done) = sync_channel(1);
                let jobs = jobs.as_ref().expect("not finished yet");
                jobs.send((job, reply)).expect("threads wait for jobs");
                pending.push_back(done);
                let full = pending.len() > AHEAD * threads.len();
                if full { self.next() } else { None }
            }
        }
    }

    /// The oldest block under way.
    fn next(&mut self) -> Option<Done> {
        match self {
            Self::Here { .. } => None,
            Self::Threads { pending, .. } => {
                let done = pending.pop_front()?;
                Some(done.recv().expect("threads answer every job"))
            }
        }
    }
}

impl Drop for Workers {
    /// Threads end with the queue; none outlives its writer.
    fn drop(&mut self) {
        if let Self::Threads { jobs, pending, threads, .. } = self {
            *jobs = None;
            pending.clear();
            for thread in threads.drain(..) {
                // One that panicked has said so already.
                let _ = thread.join();
            }
        }
    }
}

fn work(queue: &Mutex<Receiver<(Job, SyncSender<Done>)>>, level: u32) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((job, reply)) = job else { return };
        // Nobody waits any more if the writer failed.
        let _ = reply.send(compress(job, level));
    }
}

/// Compresses a block for itself.
///
/// Each block has a state of its own: one that was reset still has old bytes in its window, which
/// zlib-rs looks at where a dictionary ends, and then the bytes depend on which thread had what.
fn compress(job: Job, level: u32) -> Done {
    let (dictionary, data) = job.buffer.split_at(job.dictionary);
    let mut state = Compress::new(Compression::new(level), false);
    if !dictionary.is_empty() {
        state.set_dictionary(dictionary).expect("deflate takes a dictionary at its start");
    }
    let bytes = deflate(&mut state, data, job.last);
    let mut crc = Crc::new();
    crc.update(data);
    Done { bytes, crc, buffer: job.buffer }
}

fn deflate(state: &mut Compress, data: &[u8], last: bool) -> Vec<u8> {
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    // What cannot be compressed grows by five bytes for each 16 KiB.
    let mut bytes = Vec::with_capacity(data.len() + data.len() / 1024 + 64);
    loop {
        let done = state.total_in() as usize;
        let status = state.compress_vec(&data[done..], &mut bytes, flush);
        let status = status.expect("deflate takes all input");
        let all = state.total_in() as usize == data.len();
        let finished = if last { status == Status::StreamEnd } else { all };
        if finished && bytes.len() < bytes.capacity() {
            return bytes;
        }
        bytes.reserve(BLOCK);
    }
}

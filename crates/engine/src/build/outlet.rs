//! Where a build's outputs go: one after the other, each with a beginning and an end.
//!
//! Invariant: what was begun and not ended is not whole, and whoever takes it can tell.

use std::io::{self, Write};

use super::options::OutputKind;

/// Takes what a build gives away beside the image.
pub trait Outlet: Send {
    /// An output begins; `platform` says which, where there is one for each (`linux_amd64`).
    fn begin(&mut self, kind: OutputKind, platform: Option<&str>) -> io::Result<()>;

    /// More of it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// It is whole.
    fn end(&mut self) -> io::Result<()>;
}

/// Nobody takes anything.
impl Outlet for () {
    fn begin(&mut self, _: OutputKind, _: Option<&str>) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An outlet as something to write to, in large pieces.
pub(super) struct Pipe<'a>(pub(super) &'a mut dyn Outlet);

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Being connected to a container: the terminal, the keys, the signals, the streams.

mod keys;
mod signals;
mod stream;
mod terminal;

pub(crate) use keys::DetachKeys;
pub(crate) use signals::{SIGWINCH, Signals, ends_program, is_for_container, name};
pub(crate) use stream::{Ended, Streams, run};
pub(crate) use terminal::{
    Hidden, Raw, size, stderr_columns, stderr_is_terminal, stderr_size, stdin_is_terminal,
    stdout_columns, stdout_is_terminal,
};

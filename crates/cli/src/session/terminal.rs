//! The user's terminal: raw while a session lasts, as it was before on every way out.
//!
//! [`Raw`] restores when it is dropped; a panic restores first, for a panic ends the program. Absent
//! on purpose: what is read and written.

use std::io;
use std::sync::Mutex;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What to put back should the program panic.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input's terminal in raw mode, until dropped.
pub(crate) struct Raw(());

impl Raw {
    /// Lets every key through to the container.
    pub(crate) fn enter() -> io::Result<Raw> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        if let Ok(mut place) = BEFORE.lock() {
            *place = Some(before);
        }
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            hook(info);
        }));
        Ok(Raw(()))
    }
}

/// Standard input's terminal that shows nothing of what is typed, until dropped.
pub(crate) struct Hidden(Raw);

impl Hidden {
    /// For a password.
    pub(crate) fn enter() -> io::Result<Hidden> {
        let hidden = Raw::enter()?;
        let mut modes = tcgetattr(rustix::stdio::stdin())?;
        if let Ok(place) = BEFORE.lock()
            && let Some(before) = place.as_ref()
        {
            modes = before.clone();
        }
        modes.local_modes.remove(rustix::termios::LocalModes::ECHO);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &modes)?;
        Ok(Hidden(hidden))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    // A lock that is held by the thread that panics is left alone.
    if let Ok(mut place) = BEFORE.try_lock()
        && let Some(before) = place.take()
    {
        // The terminal may be gone; then there is nothing to restore.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &before);
    }
}

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdout())
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stderr())
}

/// Rows and columns of the terminal behind standard output; zeros if there is none.
pub(crate) fn size() -> [u32; 2] {
    match tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) => [u32::from(size.ws_row), u32::from(size.ws_col)],
        Err(_) => [0, 0],
    }
}

/// Columns of the terminal behind standard output; 0 if there is none.
pub(crate) fn stdout_columns() -> usize {
    size()[1] as usize
}

/// Rows and columns of the terminal behind standard error; those of old where nobody says.
pub(crate) fn stderr_size() -> [usize; 2] {
    match tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            [usize::from(size.ws_row), usize::from(size.ws_col)]
        }
        _ => [24, 80],
    }
}

/// Columns of the terminal behind standard error; 0 if there is none.
pub(crate) fn stderr_columns() -> usize {
    tcgetwinsize(rustix::stdio::stderr()).map_or(0, |size| usize::from(size.ws_col))
}

//! What happens in a build, told to whoever shows it.
//!
//! Invariant: a step's events come in their order; those of different stages come as they happen.

/// Something that happened. Steps are numbered over the whole file, stages from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The build begins.
    Begin {
        /// The stages that it needs, in the file's order.
        stages: &'a [usize],
    },
    /// A step begins.
    Step {
        /// Whose.
        stage: usize,
        /// Its number, from 1 on; 0 for what a base had put off.
        step: usize,
        /// Of how many.
        total: usize,
        /// The instruction.
        text: &'a str,
    },
    /// A command is run.
    Running {
        /// Whose.
        stage: usize,
    },
    /// A command said something.
    Output {
        /// Whose.
        stage: usize,
        /// Where.
        stream: OutputStream,
        /// What.
        bytes: &'a [u8],
    },
    /// Something that the user should know.
    Warning {
        /// Whose.
        stage: usize,
        /// What.
        text: &'a str,
    },
    /// A step has ended well.
    Done {
        /// Whose.
        stage: usize,
        /// It had been done before.
        cached: bool,
        /// A command was run for it.
        ran: bool,
        /// What it came to, as a name of 12 digits.
        id: &'a str,
    },
    /// A stage has ended, well or not.
    End {
        /// Which.
        stage: usize,
    },
}

/// Where a command says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// On standard output.
    Output,
    /// On standard error.
    Error,
}

/// Hears of everything, from whichever thread it happens on.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// Nobody looks.
impl Observer for () {
    fn event(&self, _: &Event<'_>) {}
}

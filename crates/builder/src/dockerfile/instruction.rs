//! Instructions as values: forms and flags told apart, variables still in place.
//!
//! Invariant: what exists was checked as far as that goes without expanding it.

use super::heredoc::Heredoc;
use super::mount::Mount;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it is.
    pub kind: Kind,
    /// Its line, continuations joined.
    pub text: String,
    /// First and last line, from 1 on.
    pub lines: (usize, usize),
}

/// What an instruction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Begins a stage.
    From(From),
    /// Runs a command.
    Run(Run),
    /// Copies files; `ADD` has more sources.
    Copy(Copy),
    /// What a container runs.
    Cmd(Command),
    /// What stands before it.
    Entrypoint(Command),
    /// Variables of steps and containers.
    Env(Vec<Pair>),
    /// Notes.
    Label(Vec<Pair>),
    /// Variables of the build.
    Arg(Vec<Arg>),
    /// Ports.
    Expose(Vec<String>),
    /// Directories with volumes of their own.
    Volume(Vec<String>),
    /// Who runs it.
    User(String),
    /// Where.
    Workdir(String),
    /// How it is asked to end.
    StopSignal(String),
    /// What runs commands that are one text.
    Shell(Vec<String>),
    /// What the next build begins with.
    OnBuild(String),
    /// How to learn whether it is well.
    HealthCheck(HealthCheck),
    /// Who made it.
    Maintainer(String),
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// `NAME value`: quotes in it are part of it no more than elsewhere, but Docker warns.
    pub legacy: bool,
}

/// A variable of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// What it is where nobody says otherwise.
    pub default: Option<String>,
}

/// `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// An image, a stage, a context, or `scratch`.
    pub base: String,
    /// The stage's name, in lower case.
    pub name: Option<String>,
    /// The stage's name as it was written.
    pub written: Option<String>,
    /// For which platform.
    pub platform: Option<String>,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// Program and arguments, or one text.
    pub words: Vec<String>,
    /// Whether it is one text for the shell.
    pub shell: bool,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What.
    pub command: Command,
    /// Texts that follow.
    pub heredocs: Vec<Heredoc>,
    /// What is mounted meanwhile.
    pub mounts: Vec<Mount>,
    /// Which network.
    pub network: Network,
    /// With which rights.
    pub security: Security,
}

/// The network of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The build's.
    #[default]
    Default,
    /// None.
    None,
    /// The host's.
    Host,
}

/// The rights of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// A container's.
    #[default]
    Sandbox,
    /// The host's; only where the build was allowed to.
    Insecure,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// It is an `ADD`.
    pub add: bool,
    /// What.
    pub sources: Vec<CopySource>,
    /// To where.
    pub to: String,
    /// A stage, an image or a context in place of the build's.
    pub from: Option<String>,
    /// Whose the copies are.
    pub chown: Option<String>,
    /// Their mode.
    pub chmod: Option<String>,
    /// They are a layer that depends on nothing below.
    pub link: bool,
    /// The directories above each source come with it.
    pub parents: bool,
    /// What is left out.
    pub exclude: Vec<String>,
    /// What a download must come to.
    pub checksum: Option<String>,
    /// The repository's own directory comes with it.
    pub keep_git_dir: bool,
    /// Whether archives are unpacked; where nobody says, local ones are and downloads are not.
    pub unpack: Option<bool>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path or an address.
    Path(String),
    /// A file that stands in the Dockerfile.
    Inline(Heredoc),
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// None, even if the base has one.
    None,
    /// A command.
    Check {
        /// What is run.
        command: Command,
        /// In nanoseconds; zero for the default.
        interval: i64,
        /// The same.
        timeout: i64,
        /// The same.
        start_period: i64,
        /// The same.
        start_interval: i64,
        /// Failures in a row.
        retries: i64,
    },
}

impl Kind {
    /// The instruction's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::From(_) => "FROM",
            Self::Run(_) => "RUN",
            Self::Copy(copy) if copy.add => "ADD",
            Self::Copy(_) => "COPY",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Arg(_) => "ARG",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::User(_) => "USER",
            Self::Workdir(_) => "WORKDIR",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Shell(_) => "SHELL",
            Self::OnBuild(_) => "ONBUILD",
            Self::HealthCheck(_) => "HEALTHCHECK",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }
}

//! What `checkpoint` and `restore` have in common on the command line.

use std::path::PathBuf;

use super::Context;
use super::arguments::{Arg, Arguments, UsageError};
use super::help::Topic;
use crate::container::CriuOptions;
use crate::criu::CgroupMode;

/// The options of both.
pub(super) const OPTIONS: Topic = Topic {
    title: "CRIU OPTIONS",
    entries: &[
        ("--image-path DIR", "directory of the images; checkpoint if absent"),
        ("--work-path DIR", "directory of CRIU's log; that of the images if absent"),
        ("--tcp-established", "with established TCP connections"),
        ("--ext-unix-sk", "with unix sockets whose other end is outside"),
        ("--shell-job", "with a session and a terminal from outside"),
        ("--file-locks", "with file locks"),
        ("--lazy-pages", "leave pages to be fetched later"),
        ("--auto-dedup", "take out of older images what is in newer ones"),
        ("--manage-cgroups-mode soft|full|strict|ignore", "what to do about cgroups"),
        ("--empty-ns network", "leave the network's content alone"),
    ],
};

/// Before anything is read.
pub(super) fn defaults(context: &Context<'_>) -> CriuOptions {
    CriuOptions {
        images: PathBuf::from("checkpoint"),
        work: None,
        program: context.global.criu.clone(),
        tcp_established: false,
        ext_unix_sk: false,
        shell_job: false,
        file_locks: false,
        lazy_pages: false,
        auto_dedup: false,
        empty_network: false,
        cgroups: CgroupMode::Soft,
    }
}

/// Reads the value of `option`; says whether it is one of these.
pub(super) fn read(
    option: &str,
    options: &mut CriuOptions,
    arguments: &mut Arguments,
) -> Result<bool, UsageError> {
    match option {
        "image-path" => options.images = arguments.path()?,
        "work-path" => options.work = Some(arguments.path()?),
        "tcp-established" => options.tcp_established = arguments.switch()?,
        "ext-unix-sk" => options.ext_unix_sk = arguments.switch()?,
        "shell-job" => options.shell_job = arguments.switch()?,
        "file-locks" => options.file_locks = arguments.switch()?,
        "lazy-pages" => options.lazy_pages = arguments.switch()?,
        "auto-dedup" => options.auto_dedup = arguments.switch()?,
        "manage-cgroups-mode" => options.cgroups = mode(arguments)?,
        "empty-ns" => {
            arguments.chosen("network", |word| (word == "network").then_some(()))?;
            options.empty_network = true;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn mode(arguments: &mut Arguments) -> Result<CgroupMode, UsageError> {
    arguments.chosen("soft, full, strict or ignore", |word| match word {
        "soft" => Some(CgroupMode::Soft),
        "full" => Some(CgroupMode::Full),
        "strict" => Some(CgroupMode::Strict),
        "ignore" => Some(CgroupMode::Ignore),
        _ => None,
    })
}

/// The name of a long option, kept while its value is read.
pub(super) fn long(argument: &Arg<'_>) -> Option<String> {
    match argument {
        Arg::Long(name) => Some((*name).to_owned()),
        _ => None,
    }
}

#[cfg(test)]
pub(super) const EVERY: &str = "--image-path /i --work-path /w --tcp-established --ext-unix-sk \
    --shell-job --file-locks --lazy-pages --auto-dedup --manage-cgroups-mode strict \
    --empty-ns network";

#[cfg(test)]
pub(super) fn assert_every(options: &CriuOptions) {
    assert_eq!(options.images, PathBuf::from("/i"));
    assert_eq!(options.work, Some("/w".into()));
    assert_eq!(options.program, Some("/criu".into()));
    assert!(options.tcp_established && options.ext_unix_sk && options.shell_job);
    assert!(options.file_locks && options.lazy_pages && options.auto_dedup);
    assert!(options.empty_network);
    assert_eq!(options.cgroups, CgroupMode::Strict);
}

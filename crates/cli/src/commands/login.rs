//! `login` and `logout`.
//!
//! Invariant: a password is asked for without showing it, and kept only once the registry has taken it.

use std::io::{self, Read, Write};

use dhow_wire::AuthConfig;

use super::exec::document;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::config::HUB;
use crate::failure::Failure;
use crate::session::{self, Hidden};
use crate::tree::{Command, Words};

pub(super) const LOGIN: Command = Command {
    names: &["login"],
    usage: "[OPTIONS] [SERVER]",
    about: "Authenticate to a registry",
    flags: &[&[
        Flag::text("password", "Password or personal access token").short('p'),
        Flag::switch("password-stdin", "Take the password from standard input"),
        Flag::text("username", "Username").short('u'),
    ]],
    words: Words::AtMost(1),
    stops: false,
    run: login,
};

pub(super) const LOGOUT: Command = Command {
    names: &["logout"],
    usage: "[SERVER]",
    about: "Log out from a registry",
    flags: &[],
    words: Words::AtMost(1),
    stops: false,
    run: logout,
};

/// The name that credentials are kept under.
fn server(matches: &Matches) -> String {
    let given = matches.words.first().map(String::as_str).unwrap_or_default();
    let bare = given.split_once("://").map_or(given, |(_, rest)| rest);
    match bare.split('/').next().unwrap_or_default() {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

fn login(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let mut password = matches.text("password").to_owned();
    if !password.is_empty() {
        cli.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if matches.on("password-stdin") {
            return Err(Failure::invalid("--password and --password-stdin are mutually exclusive"));
        }
    }
    let mut user = matches.text("username").to_owned();
    if matches.on("password-stdin") {
        if user.is_empty() {
            return Err(Failure::invalid("Must provide --username with --password-stdin"));
        }
        let read = io::stdin().read_to_string(&mut password);
        read.map_err(Failure::io("read", "the password"))?;
        let line = password.strip_suffix('\n').unwrap_or(&password);
        password = line.strip_suffix('\r').unwrap_or(line).to_owned();
    }
    let server = server(matches);
    if user.is_empty() && password.is_empty() && known(cli, &server)? {
        return Ok(0);
    }
    if user.is_empty() || password.is_empty() {
        if !session::stdin_is_terminal() {
            return Err(Failure::invalid(
                "Error: Cannot perform an interactive login from a non TTY device",
            ));
        }
        if user.is_empty() {
            user = ask(cli, "Username: ")?;
        }
        let hidden = Hidden::enter().map_err(Failure::io("set", "the terminal"))?;
        password = ask(cli, "Password: ")?;
        drop(hidden);
        cli.say("")?;
        if password.is_empty() {
            return Err(Failure::invalid("password is required"));
        }
    }
    let request = AuthConfig {
        username: user.clone(),
        password: password.clone(),
        server_address: server.clone(),
        ..AuthConfig::default()
    };
    let answer = cli.client()?.post_json("/auth", &document(&request)?)?;
    let token = answer.text("IdentityToken");
    let config = cli.config()?;
    match config.helper(&server) {
        Some(helper) if token.is_empty() => {
            crate::credentials::store(&helper, &server, &user, &password)?;
        }
        Some(helper) => crate::credentials::store(&helper, &server, "<token>", token)?,
        None => {
            config.keep_login(&server, &user, &password, token)?;
            cli.warn(&format!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
                 Configure a credential helper to remove this warning. See\n\
                 https://docs.docker.com/go/credential-store/\n",
                config.path().display()
            ));
        }
    }
    cli.say(answer.text("Status"))?;
    Ok(0)
}

/// Tries what is kept already.
fn known(cli: &Cli, server: &str) -> Result<bool, Failure> {
    let Some(mut login) = cli.config()?.login(server)? else { return Ok(false) };
    if login.text("username").is_empty() && login.text("identitytoken").is_empty() {
        return Ok(false);
    }
    let user = match login.text("username") {
        "" => "<token>".to_owned(),
        user => user.to_owned(),
    };
    cli.say(&format!("Authenticating with existing credentials... [Username: {user}]"))?;
    login.set("serveraddress", server.into());
    match cli.client()?.post_json("/auth", &login) {
        Ok(answer) => {
            cli.say(&format!("\n{}", answer.text("Status")))?;
            Ok(true)
        }
        Err(error @ Failure::Unreachable { .. }) => Err(error),
        Err(error) => {
            cli.warn(&format!("Login did not succeed, error: {error}"));
            Ok(false)
        }
    }
}

fn ask(cli: &Cli, prompt: &str) -> Result<String, Failure> {
    cli.print(prompt)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(Failure::io("read", "the answer"))?;
    let _ = io::stdout().flush();
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn logout(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let server = server(matches);
    let config = cli.config()?;
    cli.say(&format!("Removing login credentials for {server}"))?;
    if config.login(&server)?.is_none() {
        return Ok(0);
    }
    if let Some(helper) = config.helper(&server) {
        crate::credentials::erase(&helper, &server)?;
    }
    config.forget_login(&server)?;
    Ok(0)
}

//! `RUN --mount`: what is mounted while a command runs.
//!
//! Invariant: an option that a type does not have is refused; variables are still in place.

use super::error::ParseFault;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Of which kind.
    pub kind: MountKind,
    /// Where; absent where the kind knows a place of its own.
    pub target: Option<String>,
    /// A stage, image or context.
    pub from: Option<String>,
    /// What of that.
    pub source: Option<String>,
    /// The name that caches, secrets and agents go by.
    pub id: Option<String>,
    /// Whether nothing can be written; absent means the kind's own way.
    pub readonly: Option<bool>,
    /// How a cache is shared.
    pub sharing: Sharing,
    /// Bytes of a tmpfs.
    pub size: Option<u64>,
    /// A secret or an agent that must be there.
    pub required: bool,
    /// The variable that a secret is given in.
    pub env: Option<String>,
    /// Mode of what is mounted.
    pub mode: Option<u32>,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
}

/// What a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that later builds find again.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret's file.
    Secret,
    /// The way to an agent.
    Ssh,
}

/// How a cache is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// By all at once.
    #[default]
    Shared,
    /// Each at the same time has its own.
    Private,
    /// One after the other.
    Locked,
}

const FLAG: &str = "--mount";

impl Mount {
    /// Reads the flag's value: `type=cache,target=/x`.
    pub fn parse(text: &str) -> Result<Self, ParseFault> {
        let mut mount = Self {
            kind: MountKind::Bind,
            target: None,
            from: None,
            source: None,
            id: None,
            readonly: None,
            sharing: Sharing::Shared,
            size: None,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        };
        let fields = fields(text);
        for field in &fields {
            if let Some(kind) = field.strip_prefix("type=") {
                mount.kind = match kind.to_ascii_lowercase().as_str() {
                    "bind" => MountKind::Bind,
                    "cache" => MountKind::Cache,
                    "tmpfs" => MountKind::Tmpfs,
                    "secret" => MountKind::Secret,
                    "ssh" => MountKind::Ssh,
                    _ => return Err(bad(field, "unsupported mount type")),
                };
            }
        }
        for field in &fields {
            mount.field(field)?;
        }
        let needs_target =
            matches!(mount.kind, MountKind::Bind | MountKind::Cache | MountKind::Tmpfs);
        if needs_target && mount.target.as_deref().is_none_or(str::is_empty) {
            return Err(bad(text, "a target is wanted"));
        }
        Ok(mount)
    }

    fn field(&mut self, field: &str) -> Result<(), ParseFault> {
        use MountKind::{Bind, Cache, Secret, Ssh, Tmpfs};
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (field, None),
        };
        let name = name.to_ascii_lowercase();
        let text = || value.map(str::to_owned).ok_or_else(|| bad(field, "a value is wanted"));
        let switch = || match value.map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(bad(field, "must be true or false")),
        };
        let number = || text()?.parse().map_err(|_| bad(field, "a number is wanted"));
        match (name.as_str(), self.kind) {
            ("type", _) => {}
            ("target" | "dst" | "destination", _) => self.target = Some(text()?),
            ("source" | "src", Bind | Cache) => self.source = Some(text()?),
            ("from", Bind | Cache) => self.from = Some(text()?),
            ("id", Cache | Secret | Ssh) => self.id = Some(text()?),
            ("id", Bind) => self.id = Some(text()?),
            ("readonly" | "ro", Bind | Cache) => self.readonly = Some(switch()?),
            ("readwrite" | "rw", Bind | Cache) => self.readonly = Some(!switch()?),
            ("sharing", Cache) => {
                self.sharing = match text()?.as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => return Err(bad(field, "must be shared, private or locked")),
                }
            }
            ("size", Tmpfs) => {
                self.size = Some(size(&text()?).ok_or_else(|| bad(field, "a size is wanted"))?);
            }
            ("required", Secret | Ssh) => self.required = switch()?,
            ("env", Secret) => self.env = Some(text()?),
            ("mode", Cache | Secret | Ssh) => {
                let mode = u32::from_str_radix(&text()?, 8);
                self.mode = Some(mode.map_err(|_| bad(field, "an octal mode is wanted"))?);
            }
            ("uid", Cache | Secret | Ssh) => self.uid = Some(number()?),
            ("gid", Cache | Secret | Ssh) => self.gid = Some(number()?),
            // A secret's source is Docker's older word for its id.
            ("source" | "src", Secret) => self.id = Some(text()?),
            _ => return Err(bad(field, "unexpected key for this type of mount")),
        }
        Ok(())
    }
}

fn bad(value: &str, expected: &'static str) -> ParseFault {
    ParseFault::BadValue { flag: FLAG.to_owned(), value: value.to_owned(), expected }
}

/// Fields of a line of CSV.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().expect("one at least").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("one at least").push(c),
        }
    }
    fields.retain(|field| !field.is_empty());
    fields
}

/// `64m`, `1GiB`, bytes.
fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let number: u64 = lower[..digits].parse().ok()?;
    let shift = match lower[digits..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_options() {
        let mount = |text| Mount::parse(text).expect(text);
        let bind = mount("target=/x,from=build,source=/out,rw");
        assert_eq!((bind.kind, bind.readonly), (MountKind::Bind, Some(false)));
        let cache = mount("type=cache,id=a,dst=/c,sharing=locked,mode=0755,uid=1,gid=2,ro");
        assert_eq!((cache.sharing, cache.mode, cache.uid), (Sharing::Locked, Some(0o755), Some(1)));
        assert_eq!(mount("type=tmpfs,target=/t,size=64m").size, Some(64 << 20));
        let secret = mount("type=secret,id=key,env=KEY,required");
        assert!(secret.required && secret.target.is_none());
        assert_eq!(mount("type=ssh").kind, MountKind::Ssh);
        for bad in [
            "type=bind",
            "type=nfs,target=/x",
            "type=tmpfs,target=/x,from=y",
            "type=cache,target=/x,sharing=no",
            "type=bind,target=/x,size=1",
            "type=cache,target=/x,mode=9",
        ] {
            Mount::parse(bad).expect_err(bad);
        }
    }
}

//! Platforms: operating system, architecture and variant, in containerd's syntax and spelling.
//!
//! Invariant: [`Platform::parse`] gives normalised names (`x86_64` becomes `amd64`), but keeps a
//! variant that the user spelled out; comparing is for [`PlatformMatcher`](crate::PlatformMatcher).
//! Absent on purpose: the machine; the caller says which platform stands for what is left out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::excerpt;
use crate::json;

const KNOWN_OS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const KNOWN_ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// What an image is made for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// In Go's words (`amd64`).
    #[serde(default, deserialize_with = "json::nullable")]
    pub architecture: String,
    /// In Go's words (`linux`).
    #[serde(default, deserialize_with = "json::nullable")]
    pub os: String,
    /// Only Windows has a use for it.
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "json::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// What of the system must be there.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "json::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Generation of the architecture (`v7`).
    #[serde(default, deserialize_with = "json::text", skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformError {
    /// A part outside the grammar.
    Component {
        /// The part.
        component: String,
    },
    /// More than system, architecture and variant.
    TooManyParts,
    /// A single word that is neither a system nor an architecture.
    Unknown {
        /// The word.
        word: String,
    },
}

impl Platform {
    /// The platform that this program was built for.
    pub fn of_build() -> Self {
        // Rust's words where they are not Go's; `canonical_architecture` knows the others.
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "loongarch64" => "loong64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            other => other,
        };
        let (architecture, variant) = canonical_architecture(architecture, "");
        Self::new(&canonical_os(std::env::consts::OS), &architecture, &variant)
    }

    /// A platform without version and features; empty texts mean absent.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: some_text(variant),
            ..Self::default()
        }
    }

    /// Reads `os`, `arch`, `os/arch` or `os/arch/variant`, where the system may carry version and
    /// features: `windows(10.0.17763+win32k)`. What is left out is as in `host`.
    pub fn parse(text: &str, host: &Self) -> Result<Self, PlatformError> {
        let mut parts = text.splitn(4, '/');
        let mut platform = parse_os(parts.next().unwrap_or_default())?;
        let rest: Vec<&str> = parts.collect();
        for part in &rest {
            if part.is_empty() || !part.bytes().all(|b| is_word(b) || b == b'.') {
                return Err(PlatformError::Component { component: excerpt(part) });
            }
        }
        match rest[..] {
            [] => platform.complete(text, host),
            [architecture] => {
                platform.set_architecture(architecture);
                Ok(platform)
            }
            [architecture, variant] => {
                platform.set_variant(architecture, variant);
                Ok(platform)
            }
            _ => Err(PlatformError::TooManyParts),
        }
    }

    /// A single word: a system we know, or else an architecture.
    fn complete(mut self, text: &str, host: &Self) -> Result<Self, PlatformError> {
        if KNOWN_OS.contains(&self.os.as_str()) {
            self.architecture.clone_from(&host.architecture);
            self.variant.clone_from(&host.variant);
            return Ok(self);
        }
        self.set_architecture(text);
        if !KNOWN_ARCHITECTURES.contains(&self.architecture.as_str()) {
            return Err(PlatformError::Unknown { word: excerpt(text) });
        }
        self.os.clone_from(&host.os);
        Ok(self)
    }

    /// Most ARM images say `arm` and mean `v7`, so that is how it is written.
    fn set_architecture(&mut self, architecture: &str) {
        let (architecture, variant) = canonical_architecture(architecture, "");
        let silent = architecture == "arm" && variant == "v7";
        self.variant = if silent { None } else { some_text(&variant) };
        self.architecture = architecture;
    }

    fn set_variant(&mut self, architecture: &str, variant: &str) {
        let (architecture, variant) = canonical_architecture(architecture, variant);
        let spoken = if architecture == "arm64" && variant.is_empty() { "v8" } else { &variant };
        self.variant = some_text(spoken);
        self.architecture = architecture;
    }

    /// With one spelling for what means the same; for comparing only, since it drops `v8` and
    /// adds `v7`.
    pub fn normalised(&self) -> Self {
        let variant = self.variant.as_deref().unwrap_or_default();
        let (architecture, variant) = canonical_architecture(&self.architecture, variant);
        let mut os_features = self.os_features.clone();
        os_features.sort();
        os_features.dedup();
        Self {
            architecture,
            os: canonical_os(&self.os),
            os_version: self.os_version.clone(),
            os_features,
            variant: some_text(&variant),
        }
    }
}

/// `os`, `os(version)`, `os(+feature+feature)` or `os(version+feature)`.
fn parse_os(text: &str) -> Result<Platform, PlatformError> {
    let wrong = || PlatformError::Component { component: excerpt(text) };
    let (os, options) = match text.split_once('(') {
        Some((os, options)) => (os, options.strip_suffix(')').ok_or_else(wrong)?),
        None => (text, ""),
    };
    if os.is_empty() || !os.bytes().all(is_word) {
        return Err(wrong());
    }
    let mut options = options.split('+');
    let version = unescape(options.next().unwrap_or_default()).ok_or_else(wrong)?;
    let features = options.map(|feature| unescape(feature).filter(|feature| !feature.is_empty()));
    Ok(Platform {
        os: canonical_os(os),
        os_version: some_text(&version),
        os_features: features.collect::<Option<_>>().ok_or_else(wrong)?,
        ..Platform::default()
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// An image that names no system is one from before there were others.
fn canonical_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "" => "linux".to_owned(),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

/// One spelling per architecture and generation; the common generation of amd64 and arm64 has no
/// variant, that of arm is spelled out.
fn canonical_architecture(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", other) => ("arm64", other),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// Characters that the syntax uses itself are written as `%2B`.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                u8::from_str_radix(digits, 16).ok()?
            }
            plain if is_word(plain) || plain == b'.' => plain,
            _ => return None,
        };
        out.push(byte);
    }
    String::from_utf8(out).ok()
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        match character {
            '.' | '_' | '-' | 'a'..='z' | 'A'..='Z' | '0'..='9' => write!(f, "{character}")?,
            other => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    write!(f, "%{byte:02X}")?;
                }
            }
        }
    }
    Ok(())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() {
            return f.write_str("unknown");
        }
        f.write_str(&self.os)?;
        let mut features: Vec<_> =
            self.os_features.iter().filter(|name| !name.is_empty()).collect();
        features.sort();
        if self.os_version.is_some() || !features.is_empty() {
            f.write_str("(")?;
            write_escaped(f, self.os_version.as_deref().unwrap_or_default())?;
            for feature in features {
                f.write_str("+")?;
                write_escaped(f, feature)?;
            }
            f.write_str(")")?;
        }
        let variant = self.variant.as_deref().unwrap_or_default();
        for part in [&self.architecture, variant].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "/{part}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component { component } => {
                write!(f, "{component:?} is no part of a platform (os[/arch[/variant]])")
            }
            Self::TooManyParts => f.write_str("a platform has at most three parts"),
            Self::Unknown { word } => {
                write!(f, "{word:?}: unknown operating system or architecture")
            }
        }
    }
}

impl std::error::Error for PlatformError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Platform, PlatformError> {
        Platform::parse(text, &Platform::new("linux", "amd64", ""))
    }

    #[test]
    fn spellings() {
        let check = |text: &str, expected: &str| {
            let platform = parse(text).expect(text);
            assert_eq!(platform.to_string(), expected, "{text}");
            assert_eq!(parse(expected), Ok(platform), "{text}");
        };
        check("linux", "linux/amd64");
        check("arm64", "linux/arm64");
        check("Aarch64", "linux/arm64");
        check("armhf", "linux/arm");
        check("armel", "linux/arm/v6");
        check("x86_64", "linux/amd64");
        check("i386", "linux/386");
        check("Linux/x86-64", "linux/amd64");
        check("linux/arm", "linux/arm");
        check("linux/arm/7", "linux/arm/v7");
        check("linux/arm/v6", "linux/arm/v6");
        check("linux/arm64/v8", "linux/arm64/v8");
        check("linux/amd64/v3", "linux/amd64/v3");
        check("macOS", "darwin/amd64");
        check("plan10/vax", "plan10/vax");
        check("windows(10.0.17763)", "windows(10.0.17763)/amd64");
        check("windows(10.0.17763+win32k)/arm64", "windows(10.0.17763+win32k)/arm64");
        let sorted = parse("linux(+b+a)").expect("features").to_string();
        assert_eq!(sorted, "linux(+a+b)/amd64");
        check("windows(1%2Bb)/amd64", "windows(1%2Bb)/amd64");
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "/linux/arm",
            "linux/arm/",
            "linux /arm",
            "linux/&arm",
            "linux/arm/v7/x",
            "*",
            "linux/*",
            "vax",
            "windows(1",
            "windows(1)x/amd64",
            "linux(+)",
            "linux(%2)",
            "linux(%ff)",
            "linux(a/b)/amd64",
            "(1)",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse("vax").expect_err("unknown").to_string(),
            r#""vax": unknown operating system or architecture"#
        );
    }

    #[test]
    fn the_build_has_a_platform_of_known_words() {
        let build = Platform::of_build();
        assert!(KNOWN_OS.contains(&build.os.as_str()), "{build}");
        assert!(KNOWN_ARCHITECTURES.contains(&build.architecture.as_str()), "{build}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_comes_back(text in "[a-z]{1,6}(\\([0-9a-z.%+é]{0,9}\\))?(/[a-z0-9]{1,5}){0,3}") {
            if let Ok(platform) = parse(&text) {
                let printed = platform.to_string();
                let again = parse(&printed).expect(&printed);
                prop_assert_eq!(again.normalised(), platform.normalised());
                prop_assert_eq!(platform.normalised().normalised(), platform.normalised());
            }
        }
    }
}

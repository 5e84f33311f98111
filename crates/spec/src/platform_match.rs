//! Which of an image's platforms a machine can run, and which it runs best.
//!
//! Invariant: the order is containerd's — the platform itself, then its elder generations, then
//! what the machine runs besides (386 on amd64, 32-bit ARM on arm64).
//! Absent on purpose: emulators; who has one asks for that platform by name.

use crate::platform::Platform;

/// Generations beyond this are no architecture but an attempt to make long lists.
const GENERATION_MAX: u32 = 99;
/// Windows Server 2022, from which on newer hosts run older containers.
const WINDOWS_STABLE_BUILD: u16 = 20348;

/// Platforms in the order in which they are liked.
#[derive(Debug, Clone)]
pub struct PlatformMatcher {
    // Normalised; never empty.
    wanted: Vec<Platform>,
}

impl PlatformMatcher {
    /// All that a machine of this platform runs.
    pub fn compatible(platform: &Platform) -> Self {
        let platform = platform.normalised();
        let mut wanted = vec![platform.clone()];
        let like = |architecture: &str, variant: String| Platform {
            architecture: architecture.to_owned(),
            variant: Some(variant).filter(|variant| !variant.is_empty()),
            ..platform.clone()
        };
        let variant = platform.variant.as_deref().unwrap_or_default();
        match platform.architecture.as_str() {
            "amd64" => {
                let elder = (1..generation(variant).unwrap_or(1)).rev();
                wanted.extend(elder.map(|older| like("amd64", format!("v{older}"))));
                wanted.push(like("386", String::new()));
            }
            "arm" => wanted.extend(elder_arm(variant).map(|variant| like("arm", variant))),
            "arm64" => {
                wanted.extend(elder_arm64(variant).into_iter().map(|older| like("arm64", older)));
                let variant = as_arm(variant);
                wanted.push(like("arm", variant.to_owned()));
                wanted.extend(elder_arm(variant).map(|older| like("arm", older)));
            }
            _ => {}
        }
        let wanted = wanted.iter().map(Platform::normalised).collect();
        Self { wanted }
    }

    /// This platform and no other, for who asks for one by name.
    pub fn exact(platform: &Platform) -> Self {
        Self { wanted: vec![platform.normalised()] }
    }

    /// Whether an image for this platform will do.
    pub fn matches(&self, platform: &Platform) -> bool {
        self.rank(platform).is_some()
    }

    /// How far down the list a platform is; zero is best.
    pub fn rank(&self, platform: &Platform) -> Option<usize> {
        let platform = platform.normalised();
        self.wanted.iter().position(|wanted| covers(wanted, &platform))
    }
}

/// Whether a machine of platform `wanted` satisfies all that `offered` asks for.
fn covers(wanted: &Platform, offered: &Platform) -> bool {
    let same = wanted.os == offered.os
        && wanted.architecture == offered.architecture
        && wanted.variant == offered.variant;
    let features = offered.os_features.iter().all(|feature| wanted.os_features.contains(feature));
    same && features && (wanted.os != "windows" || runs_version(wanted, offered))
}

/// `v3` → 3.
fn generation(variant: &str) -> Option<u32> {
    let number = variant.strip_prefix('v').unwrap_or(variant).parse().ok()?;
    (number <= GENERATION_MAX).then_some(number)
}

/// 32-bit ARM runs everything down to v5.
fn elder_arm(variant: &str) -> impl Iterator<Item = String> {
    (5..generation(variant).unwrap_or(5)).rev().map(|older| format!("v{older}"))
}

/// What a 64-bit generation is called when it runs 32-bit programs; minor generations have no name
/// there.
fn as_arm(variant: &str) -> &str {
    if variant.is_empty() || variant.starts_with("v8.") || variant.starts_with("v9.") {
        return "v8";
    }
    variant
}

/// Minor generations below; v9.n contains v8.(n + 5).
fn elder_arm64(variant: &str) -> Vec<String> {
    let variant = if variant.is_empty() { "v8" } else { variant };
    let (major, minor) = variant.split_once('.').unwrap_or((variant, "0"));
    let (Some(major), Some(minor)) = (generation(major), generation(minor)) else {
        return Vec::new();
    };
    let below = |major: u32, minors: u32| {
        (0..minors).rev().map(move |n| match n {
            0 => format!("v{major}"),
            n => format!("v{major}.{n}"),
        })
    };
    match major {
        8 => below(8, minor).collect(),
        9 => below(9, minor).chain(below(8, minor + 6)).collect(),
        _ => Vec::new(),
    }
}

/// Windows containers hang on the host's build, until it became stable.
fn runs_version(host: &Platform, container: &Platform) -> bool {
    let (Some(host), Some(container)) = (&host.os_version, &container.os_version) else {
        return true;
    };
    let Some(host) = windows_version(host) else { return true };
    let Some(container) = windows_version(container) else { return false };
    let ((host_major, host_build), (major, build)) = (host, container);
    host_major == major
        && if host_build < WINDOWS_STABLE_BUILD {
            host_build == build
        } else {
            (WINDOWS_STABLE_BUILD..=host_build).contains(&build)
        }
}

/// `10.0.17763.1` → major and minor version, build.
fn windows_version(text: &str) -> Option<((u8, u8), u16)> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some(((major, minor), parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        Platform::parse(text, &Platform::new("linux", "amd64", "")).expect(text)
    }

    /// A machine runs `good` from best to worst, and `bad` not at all.
    fn check(machine: &str, good: &[&str], bad: &[&str]) {
        let matcher = PlatformMatcher::compatible(&parse(machine));
        let ranks: Vec<_> = good.iter().map(|text| matcher.rank(&parse(text))).collect();
        assert!(ranks.iter().all(Option::is_some), "{machine}: {ranks:?}");
        assert!(ranks.is_sorted(), "{machine}: {ranks:?}");
        for text in bad {
            assert_eq!(matcher.rank(&parse(text)), None, "{machine}: {text}");
        }
    }

    #[test]
    fn what_machines_run() {
        check(
            "linux/amd64",
            &["linux/amd64", "linux/x86_64", "linux/amd64/v1", "linux/386"],
            &["linux/amd64/v2", "linux/arm/v7", "linux/arm64", "windows/amd64"],
        );
        check(
            "linux/amd64/v3",
            &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"],
            &["linux/amd64/v4"],
        );
        check("linux/386", &["linux/386"], &["linux/amd64"]);
        check(
            "linux/arm/v8",
            &["linux/arm/v8", "linux/arm/v7", "linux/arm", "linux/arm/v6", "linux/arm/v5"],
            &["linux/arm/v4", "linux/arm64"],
        );
        check(
            "linux/arm",
            &["linux/arm", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
            &["linux/arm/v8", "linux/arm/v4"],
        );
        check("linux/arm/v4", &["linux/arm/v4"], &["linux/arm/v5", "linux/arm"]);
        check(
            "linux/arm64",
            &["linux/arm64", "linux/arm64/v8", "linux/arm/v8", "linux/arm", "linux/arm/v5"],
            &["linux/arm64/v8.1", "linux/arm64/v9", "linux/arm/v9"],
        );
        check(
            "linux/arm64/v8.2",
            &["linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64", "linux/arm/v8"],
            &["linux/arm64/v8.3", "linux/arm64/v9"],
        );
        check(
            "linux/arm64/v9.1",
            &[
                "linux/arm64/v9.1",
                "linux/arm64/v9.0",
                "linux/arm64/v8.6",
                "linux/arm64/v8.5",
                "linux/arm64/v8",
                "linux/arm/v8",
                "linux/arm/v7",
            ],
            &["linux/arm64/v9.2", "linux/arm64/v8.7"],
        );
        check("linux/s390x", &["linux/s390x"], &["linux/amd64", "linux/s390"]);
        check(
            "linux/amd64/v4000000000",
            &["linux/amd64/v4000000000", "linux/386"],
            &["linux/amd64"],
        );
    }

    #[test]
    fn only_what_was_asked_for() {
        let matcher = PlatformMatcher::exact(&parse("linux/arm64"));
        assert!(matcher.matches(&parse("linux/arm64/v8")));
        assert!(!matcher.matches(&parse("linux/arm/v8")));
        assert!(PlatformMatcher::exact(&parse("linux/arm")).matches(&parse("linux/arm/v7")));
        assert!(!PlatformMatcher::exact(&parse("linux/amd64")).matches(&parse("linux/386")));
    }

    #[test]
    fn features_and_versions() {
        check("linux(+a+b)", &["linux(+a)", "linux(+b+a)", "linux"], &["linux(+c)", "linux(+a+c)"]);
        let host = "windows(10.0.17763.1)/amd64";
        check(host, &[host, "windows(10.0.17763.9)", "windows"], &["windows(10.0.20348)"]);
        check(
            "windows(10.0.22621)",
            &["windows(10.0.22621)", "windows(10.0.20348)"],
            &["windows(10.0.17763)", "windows(10.0.26100)", "windows(11.0.20348)", "windows(x)"],
        );
        check("windows", &["windows(10.0.17763)"], &["linux"]);
    }

    #[test]
    fn an_image_without_system_is_for_linux() {
        let matcher = PlatformMatcher::exact(&parse("linux/amd64"));
        assert!(matcher.matches(&Platform::new("", "amd64", "")));
        assert!(!matcher.matches(&Platform::new("unknown", "unknown", "")));
    }
}

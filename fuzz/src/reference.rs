//! References: what one is does not depend on how it was spelt.

use dhow_spec::{Digest, Platform, Query, Reference};

/// Reads a reference, a query, a digest and a platform; each, once printed, is read as the same.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        assert_eq!(Reference::parse(&reference.familiar()).as_ref(), Ok(&reference));
        let domain = reference.repository().domain();
        assert!(!domain.is_empty() && !domain.contains(['/', '@']), "{domain}");
        let clean = |part: &str| !matches!(part, "" | "." | "..");
        assert!(reference.repository().path().split('/').all(clean), "{reference}");
    }
    let _ = Query::parse(text);
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
    }
    let host = Platform::of_build();
    if let Ok(platform) = Platform::parse(text, &host) {
        // Features are printed in order, whatever order they came in.
        let again = Platform::parse(&platform.to_string(), &host);
        assert_eq!(again.map(|again| again.normalised()), Ok(platform.normalised()));
    }
}

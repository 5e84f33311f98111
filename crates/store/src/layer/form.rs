//! How a layer that was unpacked apart says on disk what it removes.
//!
//! Overlay's own words, so that the kernel reads them without help: a character device 0:0 hides a name,
//! an attribute on a directory hides all that lies below it. Attributes of overlay's own that a layer
//! brings are escaped the way Linux 6.7 does it, so that no layer can speak to the kernel.
//! Absent on purpose: aufs's names (`.wh.x`); those are the archive's, not the disk's.

use std::ffi::CString;

/// Which names a layer's marks have on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Overlay's, as root.
    Overlay,
    /// Overlay's, for those who may set attributes of their own only.
    OverlayUser,
    /// Ours, for drivers that merge a layer into a whole tree; overlay's names mean nothing there.
    Apart,
    /// Ours, for those who may set attributes of their own only.
    ApartUser,
    /// A whole tree: nothing in it is a mark.
    Plain,
}

/// What a mark says of the directory that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It hides what the layers below have in it.
    Opaque,
    /// The layer did not speak of it but of something in it: owner, mode and times are the lower one's.
    Implied,
}

/// What a layer may do with an attribute of this name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// Keep it as it is.
    Plain(&'a [u8]),
    /// Keep it under another name.
    Escaped(Vec<u8>),
    /// Nothing: it is ours.
    Reserved,
}

impl Form {
    /// Where the marks' names begin.
    pub(crate) const fn prefix(self) -> Option<&'static str> {
        match self {
            Self::Overlay => Some("trusted.overlay."),
            Self::OverlayUser => Some("user.overlay."),
            Self::Apart => Some("trusted.dhow."),
            Self::ApartUser => Some("user.dhow."),
            Self::Plain => None,
        }
    }

    /// The attribute of this mark.
    pub(crate) const fn mark(self, mark: Mark) -> &'static std::ffi::CStr {
        match (self, mark) {
            (Self::Overlay, Mark::Opaque) => c"trusted.overlay.opaque",
            (Self::Overlay, Mark::Implied) => c"trusted.overlay.dhow.implied",
            (Self::OverlayUser, Mark::Opaque) => c"user.overlay.opaque",
            (Self::OverlayUser, Mark::Implied) => c"user.overlay.dhow.implied",
            (Self::ApartUser, Mark::Opaque) => c"user.dhow.opaque",
            (Self::ApartUser, Mark::Implied) => c"user.dhow.implied",
            (Self::Apart | Self::Plain, Mark::Opaque) => c"trusted.dhow.opaque",
            (Self::Apart | Self::Plain, Mark::Implied) => c"trusted.dhow.implied",
        }
    }

    /// The name by which a layer's attribute is kept.
    pub(crate) fn stored(self, name: &[u8]) -> Stored<'_> {
        match (self, self.own(name)) {
            (_, None) => Stored::Plain(name),
            (Self::Overlay | Self::OverlayUser, Some((prefix, rest))) => {
                Stored::Escaped([prefix, b"overlay.", rest].concat())
            }
            (_, Some(_)) => Stored::Reserved,
        }
    }

    /// The name of an attribute as the layer has it; `None` for those that are marks.
    pub(crate) fn shown(self, name: &[u8]) -> Option<Vec<u8>> {
        match self.own(name) {
            None => Some(name.to_vec()),
            Some((prefix, rest)) => {
                Some([prefix, rest.strip_prefix(b"overlay.".as_slice())?].concat())
            }
        }
    }

    /// An attribute of overlay's, such as `redirect`.
    pub(crate) fn word(self, word: &str) -> Option<CString> {
        match self {
            Self::Overlay | Self::OverlayUser => {
                CString::new(format!("{}{word}", self.prefix()?)).ok()
            }
            Self::Apart | Self::ApartUser | Self::Plain => None,
        }
    }

    /// Splits a name that begins as the marks do.
    fn own(self, name: &[u8]) -> Option<(&'static [u8], &[u8])> {
        let prefix = self.prefix()?.as_bytes();
        name.strip_prefix(prefix).map(|rest| (prefix, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_attributes_of_a_layer_are_escaped_and_back() {
        let check = |form: Form, name: &[u8], stored: &[u8]| {
            assert_eq!(form.stored(name), Stored::Escaped(stored.to_vec()));
            assert_eq!(form.shown(stored).as_deref(), Some(name));
            assert_eq!(form.shown(name), None, "a mark is not shown");
        };
        check(Form::Overlay, b"trusted.overlay.opaque", b"trusted.overlay.overlay.opaque");
        check(Form::OverlayUser, b"user.overlay.redirect", b"user.overlay.overlay.redirect");
    }

    #[test]
    fn other_attributes_stay() {
        for form in [Form::Overlay, Form::OverlayUser, Form::Apart, Form::Plain] {
            assert_eq!(form.stored(b"user.x"), Stored::Plain(b"user.x"));
            assert_eq!(form.shown(b"user.x"), Some(b"user.x".to_vec()));
        }
        assert_eq!(
            Form::Apart.stored(b"trusted.overlay.opaque"),
            Stored::Plain(b"trusted.overlay.opaque")
        );
        assert_eq!(Form::Apart.stored(b"trusted.dhow.opaque"), Stored::Reserved);
        assert_eq!(
            Form::Plain.stored(b"trusted.dhow.opaque"),
            Stored::Plain(b"trusted.dhow.opaque")
        );
    }
}

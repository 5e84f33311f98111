//! What identifies a step: a digest over everything that its result depends on.
//!
//! Invariant: fields are told with their lengths, so that no two steps run together; the form has a number, and
//! another form is another key. What is and is not in a key is told in `docs/build.md`.

use dhow_archive::hash::Hasher;
use dhow_spec::{Algorithm, Digest};

use crate::worker::Layer;

/// Changes whenever the meaning of a key does.
const FORM: &str = "dhow-build-3";

/// A key in the making.
pub(super) struct Key(Hasher);

impl Key {
    pub(super) fn new(kind: &str) -> Self {
        Self(Hasher::new(Algorithm::Sha256)).text(FORM).text(kind)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn texts<T: AsRef<str>>(self, texts: &[T]) -> Self {
        let key = self.bytes(&(texts.len() as u64).to_le_bytes());
        texts.iter().fold(key, |key, text| key.text(text.as_ref()))
    }

    /// A root, by what its layers hold.
    pub(super) fn layers(self, layers: &[Layer]) -> Self {
        let ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        self.texts(&ids)
    }

    pub(super) fn with(mut self, add: impl FnOnce(&mut Hasher)) -> Self {
        add(&mut self.0);
        self
    }

    pub(super) fn finish(self) -> Digest {
        self.0.finish().digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let key = |words: &[&str]| Key::new("x").texts(words).finish();
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
        assert_ne!(Key::new("x").finish(), Key::new("y").finish());
        assert_eq!(key(&["a"]), key(&["a"]));
    }
}

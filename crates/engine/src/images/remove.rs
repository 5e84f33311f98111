//! Names and images that go.
//!
//! Docker's rules: a name that is one of several is only taken away; the last one takes the image with it,
//! unless a container uses it; an id takes all names of one repository. Force overrules what is not running.
//! Invariant: nothing is taken away before all of it may be. Bytes are garbage collection's, which runs right
//! after, so that a user sees the room that he made.

use dhow_spec::{Digest, IdPrefix, Reference};
use dhow_store::{CollectOptions, Image};

use super::error::{ImageConflict, ImagesError};
use super::options::ImageEngine;
use super::wanted::ImageFilters;

/// A container that was made of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's id.
    pub container: String,
    /// The image's id.
    pub image: Digest,
    /// Whether it runs.
    pub running: bool,
}

/// One thing that a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name does not lead to the image any more.
    Untagged {
        /// The name, as people write it.
        name: String,
        /// The image.
        image: Digest,
    },
    /// The image is gone.
    Deleted {
        /// Its id.
        image: Digest,
    },
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Piece by piece.
    pub removed: Vec<Removed>,
    /// Bytes that there are again.
    pub freed_bytes: u64,
}

/// Ingests of pulls that nobody goes on with stay so long.
const INGEST_AGE_MS_MAX: i64 = 24 * 3600 * 1000;

impl ImageEngine {
    /// Removes a name, or an image by its id. `users` are all containers.
    pub async fn remove(
        &self,
        query: &str,
        force: bool,
        users: Vec<ImageUser>,
    ) -> Result<Vec<Removed>, ImagesError> {
        let (engine, query) = (self.clone(), query.to_owned());
        let removed = self
            .wait(move || {
                let image = engine.store.images().find(&query)?;
                match plan(&image, &query, force, &users)? {
                    Plan::Names { names, keep } => engine.take_names(&image, &names, keep),
                    Plan::Image => engine.take_image(&image),
                }
            })
            .await?;
        if removed.iter().any(|removed| matches!(removed, Removed::Deleted { .. })) {
            self.collect().await?;
        }
        Ok(removed)
    }

    /// Removes images that no container uses: those without a name, or all that fit.
    pub async fn prune(
        &self,
        filters: &ImageFilters,
        users: Vec<ImageUser>,
    ) -> Result<Pruned, ImagesError> {
        let rows = self.list(filters).await?;
        let unused = rows
            .into_iter()
            .map(|row| row.target.digest)
            .filter(|id| !users.iter().any(|user| user.image == *id));
        let unused: Vec<Digest> = unused.collect();
        let engine = self.clone();
        let removed = self
            .wait(move || {
                let mut removed = Vec::new();
                for id in unused {
                    if let Some(image) = engine.store.images().by_digest(&id)? {
                        removed.extend(engine.take_image(&image)?);
                    }
                }
                Ok(removed)
            })
            .await?;
        Ok(Pruned { removed, freed_bytes: self.collect().await? })
    }

    /// Removes what nothing keeps any more; gives the bytes of it.
    pub async fn collect(&self) -> Result<u64, ImagesError> {
        let engine = self.clone();
        self.wait(move || {
            let before = engine.store.usage()?.snapshot_bytes;
            let options = CollectOptions { ingest_age_ms_max: INGEST_AGE_MS_MAX };
            let collected = engine.store.collect(options, &[engine.snapshots.driver()])?;
            let after = engine.store.usage()?.snapshot_bytes;
            Ok(collected.blob_bytes + collected.ingest_bytes + before.saturating_sub(after))
        })
        .await
    }

    fn take_names(
        &self,
        image: &Image,
        names: &[Reference],
        keep: bool,
    ) -> Result<Vec<Removed>, ImagesError> {
        let mut removed = Vec::new();
        for name in names {
            self.store.images().remove_name(name, keep)?;
            removed.push(Removed::Untagged { name: name.familiar(), image: image.target.digest });
        }
        Ok(removed)
    }

    fn take_image(&self, image: &Image) -> Result<Vec<Removed>, ImagesError> {
        self.store.images().remove(image)?;
        let id = image.target.digest;
        let names = image.names.iter();
        let mut removed: Vec<_> =
            names.map(|name| Removed::Untagged { name: name.familiar(), image: id }).collect();
        removed.push(Removed::Deleted { image: id });
        Ok(removed)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Take these names away; `keep` the image without one if they were its last.
    Names { names: Vec<Reference>, keep: bool },
    /// Take the image away.
    Image,
}

fn plan(image: &Image, query: &str, force: bool, users: &[ImageUser]) -> Result<Plan, ImagesError> {
    let id = image.target.digest;
    let users: Vec<_> = users.iter().filter(|user| user.image == id).collect();
    let named = named(image, query);
    let Some(name) = named else {
        let mut repositories: Vec<_> = image.names.iter().map(Reference::repository).collect();
        repositories.sort_by_key(ToString::to_string);
        repositories.dedup();
        let conflict = if let Some(user) = users.iter().find(|user| user.running) {
            Some((ImageConflict::Running { container: user.container.clone() }, true))
        } else if repositories.len() > 1 {
            Some((ImageConflict::Repositories, false))
        } else {
            let stopped = |user: &&&ImageUser| !user.running;
            users
                .iter()
                .find(stopped)
                .map(|user| (ImageConflict::Stopped { container: user.container.clone() }, false))
        };
        return match conflict {
            Some((conflict, hard)) if hard || !force => {
                Err(ImagesError::InUse { image: id, conflict })
            }
            _ => Ok(Plan::Image),
        };
    };
    if image.names.len() > 1 {
        return Ok(Plan::Names { names: vec![name], keep: true });
    }
    match users.first() {
        None => Ok(Plan::Image),
        Some(_) if force => Ok(Plan::Names { names: vec![name], keep: true }),
        Some(user) => Err(ImagesError::NameInUse {
            name: name.familiar(),
            container: user.container.clone(),
            image: id,
        }),
    }
}

/// The image's name that was meant, if it was a name and no id.
fn named(image: &Image, query: &str) -> Option<Reference> {
    let by_id = Digest::parse(query).is_ok()
        || IdPrefix::parse(query).is_some_and(|prefix| prefix.fits(&image.target.digest));
    let reference = Reference::parse(query).ok()?;
    let exactly = image.names.iter().find(|name| **name == reference);
    if let Some(name) = exactly {
        return Some(name.clone());
    }
    if by_id {
        return None;
    }
    let same = |name: &&Reference| {
        name.repository() == reference.repository()
            && (reference.tag().is_none() || reference.tag() == name.tag())
    };
    image.names.iter().find(same).cloned()
}

#[cfg(test)]
mod tests {
    use dhow_spec::image::{Descriptor, MediaType};

    use super::*;

    fn image(names: &[&str]) -> Image {
        let target = Descriptor::new(
            MediaType::parse("application/vnd.oci.image.index.v1+json").expect("a type"),
            digest(),
            2,
        );
        let names = names.iter().map(|name| Reference::parse(name).expect("a name")).collect();
        Image { target, names, created_ms: 0, updated_ms: 0 }
    }

    fn digest() -> Digest {
        Digest::parse(&format!("sha256:{}", "ab".repeat(32))).expect("a digest")
    }

    fn user(running: bool) -> ImageUser {
        ImageUser { container: "c".repeat(64), image: digest(), running }
    }

    fn check(names: &[&str], query: &str, force: bool, users: &[ImageUser], expected: &str) {
        let text = match plan(&image(names), query, force, users) {
            Ok(Plan::Image) => "image".to_owned(),
            Ok(Plan::Names { names, keep }) => format!("{} {keep}", names[0].familiar()),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected, "{names:?} {query} {force} {users:?}");
    }

    #[test]
    fn names_are_taken_one_by_one() {
        check(&["a:1", "b:1"], "a:1", false, &[], "a:1 true");
        check(&["a:1", "b:1"], "a:1", false, &[user(true)], "a:1 true");
        check(&["a:1"], "a:1", false, &[], "image");
        check(&["a:1"], "a:1", true, &[user(true)], "a:1 true");
        check(
            &["a:1"],
            "a:1",
            false,
            &[user(false)],
            "conflict: unable to remove repository reference \"a:1\" (must force) - container cccccccccccc is using its referenced image abababababab",
        );
    }

    #[test]
    fn an_id_takes_what_may_go() {
        check(&["a:1", "a:2"], "abab", false, &[], "image");
        check(
            &["a:1", "b:1"],
            "abab",
            false,
            &[],
            "conflict: unable to delete abababababab (must be forced) - image is referenced in multiple repositories",
        );
        check(&["a:1", "b:1"], "abab", true, &[], "image");
        check(
            &["a:1"],
            "abab",
            true,
            &[user(true)],
            "conflict: unable to delete abababababab (cannot be forced) - image is being used by running container cccccccccccc",
        );
        check(&[], "abab", true, &[user(false)], "image");
        check(
            &[],
            "abab",
            false,
            &[user(false)],
            "conflict: unable to delete abababababab (must be forced) - image is being used by stopped container cccccccccccc",
        );
    }

    #[test]
    fn a_name_may_look_like_an_id() {
        check(&["abab"], "abab", false, &[], "image");
        check(&["abab", "x"], "abab", false, &[], "abab:latest true");
    }
}

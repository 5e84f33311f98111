//! A container's mount points: what `Binds`, `Mounts`, `VolumesFrom` and the image's volumes come to.
//!
//! Invariant: made once, when the container is created, and kept with it; one per destination.
//! Absent on purpose: making volumes; the sources of volumes are filled in by whoever makes them.

use std::collections::BTreeMap;

use dhow_spec::runtime::Propagation;
use serde::{Deserialize, Serialize};

use super::error::PlanError;
use crate::request::{
    Bind, BindMode, BindSource, CreateRequest, DriverRequest, MountRequest, MountSource, Relabel,
    clean_path,
};

/// What a mount point shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// An image.
    Image,
}

/// One place in a container where something else is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What is seen.
    pub kind: MountKind,
    /// The volume's name; empty for everything else.
    #[serde(default)]
    pub name: String,
    /// The path on the host, or the image; empty for a volume that is not made yet, and for memory.
    #[serde(default)]
    pub source: String,
    /// Where, absolute and clean.
    pub destination: String,
    /// The options as written.
    #[serde(default)]
    pub mode: String,
    /// Whether it can be written to.
    pub writable: bool,
    /// How later mounts below it spread.
    #[serde(default)]
    pub propagation: Option<Propagation>,
    /// Whether the volume was made for this container alone, and goes with it.
    #[serde(default)]
    pub anonymous: bool,
    /// Whether an empty volume gets what the image has there.
    #[serde(default)]
    pub copy_up: bool,
    /// Whether an absent source becomes a directory.
    #[serde(default)]
    pub create: bool,
    /// Whether mounts below the source stay behind.
    #[serde(default)]
    pub non_recursive: bool,
    /// Whether only the topmost mount is read-only.
    #[serde(default)]
    pub read_only_non_recursive: bool,
    /// Whether it is an error if not all mounts can be read-only.
    #[serde(default)]
    pub read_only_force: bool,
    /// What below the volume or image is seen.
    #[serde(default)]
    pub subpath: String,
    /// SELinux labels.
    #[serde(default)]
    pub relabel: Option<Relabel>,
    /// Labels for a new volume.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The driver of a new volume, and its options.
    #[serde(default)]
    pub driver: DriverRequest,
    /// Options of memory, as in fstab.
    #[serde(default)]
    pub tmpfs: Vec<String>,
}

impl MountPoint {
    fn new(kind: MountKind, destination: String) -> Self {
        Self {
            kind,
            name: String::new(),
            source: String::new(),
            destination,
            mode: String::new(),
            writable: true,
            propagation: None,
            anonymous: false,
            copy_up: kind == MountKind::Volume,
            create: false,
            non_recursive: false,
            read_only_non_recursive: false,
            read_only_force: false,
            subpath: String::new(),
            relabel: None,
            labels: BTreeMap::new(),
            driver: DriverRequest::default(),
            tmpfs: Vec::new(),
        }
    }
}

/// The mount points of a request (merged with its image).
///
/// `others` has the mount points of the containers of `VolumesFrom`, by the words that name them there;
/// `name` makes up names of anonymous volumes.
pub fn mount_points(
    request: &CreateRequest,
    others: &BTreeMap<String, Vec<MountPoint>>,
    mut name: impl FnMut() -> String,
) -> Result<Vec<MountPoint>, PlanError> {
    let mut points: BTreeMap<String, MountPoint> = BTreeMap::new();
    let mut put = |point: MountPoint| points.insert(point.destination.clone(), point);
    // What the request says itself stands over what comes from other containers.
    for from in &request.host.volumes_from {
        for point in others.get(&from.container).into_iter().flatten() {
            put(shared(point, from.read_only));
        }
    }
    for bind in &request.host.binds {
        put(of_bind(bind, &mut name));
    }
    for mount in &request.host.mounts {
        put(of_mount(mount, &mut name));
    }
    let memory: Vec<String> = request.host.tmpfs.keys().map(|path| clean_path(path)).collect();
    for volume in &request.config.volumes {
        // A text with a source or a mode would have been a bind; the image says places only.
        let destination = clean_path(&format!("/{volume}"));
        if destination != "/"
            && !points.contains_key(&destination)
            && !memory.contains(&destination)
        {
            let point = anonymous(destination, &mut name);
            points.insert(point.destination.clone(), point);
        }
    }
    Ok(points.into_values().collect())
}

fn shared(point: &MountPoint, read_only: bool) -> MountPoint {
    let mut point = point.clone();
    point.writable &= !read_only;
    // It goes with the container that it was made for.
    point.anonymous = false;
    point.copy_up = false;
    point
}

fn anonymous(destination: String, name: &mut impl FnMut() -> String) -> MountPoint {
    MountPoint { name: name(), anonymous: true, ..MountPoint::new(MountKind::Volume, destination) }
}

fn of_bind(bind: &Bind, name: &mut impl FnMut() -> String) -> MountPoint {
    let BindMode { text, read_only, propagation, no_copy, relabel } = &bind.mode;
    let destination = bind.destination.clone();
    let point = match &bind.source {
        BindSource::Host(path) => MountPoint {
            source: path.clone(),
            propagation: Some(propagation.unwrap_or(Propagation::RecursivePrivate)),
            // Docker makes missing sources of these, never of those in `Mounts`.
            create: true,
            ..MountPoint::new(MountKind::Bind, destination)
        },
        BindSource::Volume(volume) => MountPoint {
            name: volume.clone(),
            copy_up: !no_copy,
            propagation: *propagation,
            ..MountPoint::new(MountKind::Volume, destination)
        },
        BindSource::Anonymous => anonymous(destination, name),
    };
    MountPoint { mode: text.clone(), writable: !read_only, relabel: *relabel, ..point }
}

fn of_mount(mount: &MountRequest, name: &mut impl FnMut() -> String) -> MountPoint {
    let destination = mount.destination();
    let point = match &mount.source {
        MountSource::Bind(bind) => MountPoint {
            source: clean_path(&bind.path),
            propagation: Some(bind.propagation.unwrap_or(Propagation::RecursivePrivate)),
            create: bind.create,
            non_recursive: bind.non_recursive,
            read_only_non_recursive: bind.read_only_non_recursive,
            read_only_force: bind.read_only_force,
            ..MountPoint::new(MountKind::Bind, destination)
        },
        MountSource::Volume(volume) => MountPoint {
            // Not even a volume of no name goes with the container, if it came from `Mounts`... but for
            // `--rm` and `rm -v`, which look at this.
            anonymous: volume.name.is_none(),
            name: volume.name.clone().unwrap_or_else(name),
            copy_up: !volume.no_copy,
            labels: volume.labels.clone(),
            driver: volume.driver.clone().unwrap_or_default(),
            subpath: volume.subpath.clone(),
            ..MountPoint::new(MountKind::Volume, destination)
        },
        MountSource::Tmpfs(tmpfs) => {
            let size = (tmpfs.size_bytes > 0).then(|| format!("size={}", tmpfs.size_bytes));
            let mode = (tmpfs.mode != 0).then(|| format!("mode={:o}", tmpfs.mode));
            let more = tmpfs.options.iter().map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            let options = size.into_iter().chain(mode).chain(more).collect();
            MountPoint { tmpfs: options, ..MountPoint::new(MountKind::Tmpfs, destination) }
        }
        MountSource::Image(image) => MountPoint {
            source: image.image.clone(),
            subpath: image.subpath.clone(),
            ..MountPoint::new(MountKind::Image, destination)
        },
    };
    // An image is never written to.
    let writable = !mount.read_only && point.kind != MountKind::Image;
    MountPoint { writable, ..point }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line for each mount point.
    fn lines(points: &[MountPoint]) -> Vec<String> {
        let line = |point: &MountPoint| {
            let MountPoint { kind, name, source, destination, .. } = point;
            let marks = [
                (!point.writable, "ro"),
                (point.anonymous, "anonymous"),
                (point.copy_up, "copy-up"),
                (point.create, "create"),
            ];
            let marks: Vec<&str> =
                marks.iter().filter(|(on, _)| *on).map(|(_, mark)| *mark).collect();
            format!("{kind:?} {name}{source} {destination} {}", marks.join(","))
        };
        points.iter().map(line).collect()
    }

    #[test]
    fn one_for_each_destination() {
        let mut request = CreateRequest::default();
        request.host.binds = ["/src:/a:ro", "data:/b", "/only"]
            .iter()
            .map(|text| text.parse().expect("a bind"))
            .collect();
        request.host.volumes_from = vec!["other:ro".parse().expect("a word")];
        request.host.tmpfs = BTreeMap::from([("/t".to_owned(), String::new())]);
        request.config.volumes =
            ["/b", "/t", "/image/"].iter().copied().map(str::to_owned).collect();
        let mut theirs = MountPoint::new(MountKind::Volume, "/theirs".to_owned());
        (theirs.name, theirs.anonymous) = ("theirs".to_owned(), true);
        let over = MountPoint::new(MountKind::Bind, "/a".to_owned());
        let others = BTreeMap::from([("other".to_owned(), vec![theirs, over])]);
        let mut count = 0;
        let name = || {
            count += 1;
            format!("new{count}")
        };
        let points = mount_points(&request, &others, name).expect("mount points");
        assert_eq!(
            lines(&points),
            [
                "Bind /src /a ro,create",
                "Volume data /b copy-up",
                "Volume new2 /image anonymous,copy-up",
                "Volume new1 /only anonymous,copy-up",
                "Volume theirs /theirs ro",
            ]
        );
    }
}

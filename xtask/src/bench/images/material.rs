//! The images that are moved: one large layer, and twenty smaller ones, made of Debian's files.
//!
//! Packed once into OCI layouts below the cache folder, by GNU tar and gzip as builders do, and carried from there
//! to the registry by skopeo. Made of what the machine's Debian archive has now, so sizes differ a little from
//! month to month; the report tells them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::apt::cache;
use crate::images::debian;
use crate::task::{At, TaskError, read};

/// Of the large layer, unpacked.
const LARGE_BYTES: u64 = 528_000_000;
/// Of each of the many, unpacked; ten to fourteen megabytes packed.
const SMALL_BYTES: u64 = 24_000_000;
const SMALL_LAYERS: usize = 20;
/// One after the other until there is enough.
const SUITES: [&str; 4] = ["bookworm", "bullseye", "sid", "trixie"];

/// An image in a layout.
#[derive(Debug, Clone)]
pub(crate) struct Material {
    /// What it is called in reports and repositories.
    pub(crate) name: &'static str,
    layout: PathBuf,
}

/// A file of one of the roots.
struct Piece {
    /// From the folder of all roots.
    path: String,
    bytes: u64,
}

impl Material {
    /// Both images; made if they are not there.
    pub(crate) fn all() -> Result<Vec<Material>, TaskError> {
        let dir = cache("images")?;
        let pieces = pieces(&dir)?;
        let made = [("large", vec![take(&pieces, 0, LARGE_BYTES)]), ("many", small(&pieces))];
        let material = made.map(|(name, layers)| {
            let layout = dir.join(format!("bench-{name}"));
            if !layout.exists() {
                eprintln!("making the image {name}, once: {}", layout.display());
                let part = layout.with_extension("part");
                let _ = fs::remove_dir_all(&part);
                pack(&dir, &part, &layers)?;
                fs::rename(&part, &layout).at("rename", &part)?;
            }
            Ok(Material { name, layout })
        });
        material.into_iter().collect()
    }

    /// What skopeo calls it.
    pub(crate) fn source(&self) -> String {
        format!("oci:{}:1", self.layout.display())
    }

    /// The packed layers.
    pub(crate) fn blobs(&self) -> Result<Vec<PathBuf>, TaskError> {
        let text = fs::read_to_string(self.layout.join("layers")).at("read", &self.layout)?;
        let blob = |digest: &str| self.layout.join("blobs/sha256").join(digest);
        Ok(text.lines().map(blob).collect())
    }
}

fn pieces(dir: &Path) -> Result<Vec<Piece>, TaskError> {
    let mut pieces = Vec::new();
    for suite in SUITES {
        debian(suite)?;
        let mut find = Command::new("find");
        find.args([suite, "-type", "f", "-size", "-40M", "-printf", "%s %p\\n"]).current_dir(dir);
        for line in read(&mut find)?.lines() {
            let Some((bytes, path)) = line.split_once(' ') else { continue };
            pieces.push(Piece { path: path.to_owned(), bytes: bytes.parse().unwrap_or(0) });
        }
    }
    pieces.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pieces)
}

/// Files from `first` on until they are so many bytes.
fn take(pieces: &[Piece], first: usize, bytes: u64) -> Vec<&Piece> {
    let mut taken = Vec::new();
    let mut sum = 0;
    for piece in pieces.iter().skip(first) {
        if sum >= bytes {
            break;
        }
        sum += piece.bytes;
        taken.push(piece);
    }
    taken
}

fn small(pieces: &[Piece]) -> Vec<Vec<&Piece>> {
    let mut first = 0;
    let layers = (0..SMALL_LAYERS).map(|_| {
        let layer = take(pieces, first, SMALL_BYTES);
        first += layer.len();
        layer
    });
    layers.collect()
}

/// Writes a layout with one image of these layers.
fn pack(dir: &Path, layout: &Path, layers: &[Vec<&Piece>]) -> Result<(), TaskError> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).at("create", &blobs)?;
    let (mut diff_ids, mut descriptors, mut names) = (Vec::new(), Vec::new(), String::new());
    for layer in layers {
        let (list, tar) = (layout.join("list"), layout.join("layer.tar"));
        let text: String = layer.iter().map(|piece| format!("{}\n", piece.path)).collect();
        fs::write(&list, text).at("write", &list)?;
        let mut command = Command::new("tar");
        command
            .args(["--numeric-owner", "--hard-dereference", "-cf"])
            .arg(&tar)
            .arg("-T")
            .arg(&list);
        read(command.current_dir(dir))?;
        diff_ids.push(Value::from(format!("sha256:{}", digest(&tar)?)));
        read(Command::new("gzip").args(["-n", "-6"]).arg(&tar))?;
        let (hex, size) = keep(&blobs, &tar.with_extension("tar.gz"))?;
        names.push_str(&format!("{hex}\n"));
        descriptors.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": format!("sha256:{hex}"), "size": size,
        }));
        fs::remove_file(&list).at("remove", &list)?;
    }
    let document = |name: &str, value: Value| {
        let path = layout.join(name);
        fs::write(&path, value.to_string()).at("write", &path)?;
        keep(&blobs, &path)
    };
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let (config, config_size) = document("config", config)?;
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": manifest_type,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{config}"), "size": config_size },
        "layers": descriptors });
    let (manifest, size) = document("manifest", manifest)?;
    let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": manifest_type,
        "digest": format!("sha256:{manifest}"), "size": size,
        "annotations": { "org.opencontainers.image.ref.name": "1" } }] });
    let write =
        |name: &str, text: &str| fs::write(layout.join(name), text).at("write", layout.join(name));
    write("index.json", &index.to_string())?;
    write("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    write("layers", &names)
}

/// Moves a file to its name by content.
fn keep(blobs: &Path, file: &Path) -> Result<(String, u64), TaskError> {
    let hex = digest(file)?;
    let size = fs::metadata(file).at("look at", file)?.len();
    fs::rename(file, blobs.join(&hex)).at("rename", file)?;
    Ok((hex, size))
}

fn digest(file: &Path) -> Result<String, TaskError> {
    let text = read(Command::new("sha256sum").arg(file))?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

//! A stock Debian kernel with its modules, unpacked from packages, never installed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{Apt, cache};
use crate::task::{At, TaskError, find_program, run};

/// The flavour for virtual machines: everything that containers use, few drivers besides.
const META: &str = "linux-image-cloud-amd64";

/// One kernel on disk.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` says it.
    pub(crate) version: String,
    /// What the machine boots.
    pub(crate) image: PathBuf,
    /// The folder that belongs at `/usr/lib/modules/<version>`.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// The newest kernel of `suite`, as it was when it was first asked for.
    pub(crate) fn of(suite: &str) -> Result<Kernel, TaskError> {
        let dir = cache(&format!("kernel-{suite}"))?;
        let stamp = dir.join("version");
        if !stamp.exists() {
            let version = unpack(suite, &dir.join("files"))?;
            fs::write(&stamp, version).at("write", &stamp)?;
        }
        let version = fs::read_to_string(&stamp).at("read", &stamp)?;
        let modules = dir.join("files/lib/modules").join(&version);
        let image = dir.join("files/boot").join(format!("vmlinuz-{version}"));
        let image = if image.exists() { image } else { modules.join("vmlinuz") };
        Ok(Kernel { version, image, modules })
    }

    /// The contents of the modules that `wanted` need, ready to insert in this order.
    pub(crate) fn closure(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>, TaskError> {
        let path = self.modules.join("modules.dep");
        let dependencies = fs::read_to_string(&path).at("read", &path)?;
        let mut loaded = Vec::new();
        for file in insertion_order(&dependencies, wanted) {
            let path = self.modules.join(&file);
            let name = module_name(&file);
            loaded.push((name, uncompressed(&path)?));
        }
        Ok(loaded)
    }
}

fn unpack(suite: &str, into: &Path) -> Result<String, TaskError> {
    let depmod = find_program("depmod")
        .ok_or(TaskError::Absent { what: "depmod", remedy: "apt-get install kmod" })?;
    let apt = Apt::of(suite)?;
    let image = apt.dependency(META, "linux-image-")?;
    let version = image.trim_start_matches("linux-image-").to_owned();
    let mut packages = vec![image];
    for part in ["binary", "modules", "base"] {
        packages.push(format!("linux-{part}-{version}"));
    }
    packages.retain(|package| apt.has(package));
    let _ = fs::remove_dir_all(into);
    apt.unpack(&packages, into)?;
    if !into.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", into.join("lib")).at("link", into.join("lib"))?;
    }
    run(Command::new(depmod).arg("-b").arg(into).arg(&version))?;
    Ok(version)
}

/// Every wanted module after those that it depends on, each once. The file lists a module's
/// dependencies completely, the nearest first.
fn insertion_order(dependencies: &str, wanted: &[&str]) -> Vec<String> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let table: HashMap<String, (&str, &str)> =
        lines.map(|(file, needs)| (module_name(file), (file, needs))).collect();
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let Some((file, needs)) = table.get(*name) else { continue };
        for file in needs.split_whitespace().rev().chain([*file]) {
            if !order.iter().any(|known| known == file) {
                order.push(file.to_owned());
            }
        }
    }
    order
}

fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

fn uncompressed(path: &Path) -> Result<Vec<u8>, TaskError> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).at("read", path),
    };
    let output = Command::new(program).arg("-dc").arg(path).output().at("start", program)?;
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first() {
        let dependencies = "kernel/virtio.ko.xz:\n\
            kernel/virtio_ring.ko.xz: kernel/virtio.ko.xz\n\
            kernel/virtio-blk.ko.xz: kernel/virtio_ring.ko.xz kernel/virtio.ko.xz\n";
        let order = insertion_order(dependencies, &["virtio_ring", "virtio_blk", "built_in"]);
        let expected =
            ["kernel/virtio.ko.xz", "kernel/virtio_ring.ko.xz", "kernel/virtio-blk.ko.xz"];
        assert_eq!(order, expected);
    }
}

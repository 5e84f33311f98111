//! Everything that a start needs, made ready: network, files, specification, the message to the monitor.
//!
//! Invariant: what is made here is made anew by every start, and given back by every end.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use dhow_monitor::{Launch, LogConfig, LogDriver, RootMount, Runtime, Upper, VERSION};
use dhow_spec::runtime::{
    Capabilities, Linux, Mount, Namespace, NamespaceKind, Process, Root, Spec,
};
use dhow_store::{Mounts, View as SnapshotView};
use tokio::task::spawn_blocking;

use super::Task;
use super::start::restart_policy;
use crate::containers::document::{Document, Places, snapshot_key};
use crate::containers::request::{HostConfig, NetworkMode};
use crate::containers::state::EndpointDetails;
use crate::engine::{Shared, describe};
use crate::error::Error;

/// What became ready.
struct Prepared {
    launch: Launch,
    endpoints: Vec<EndpointDetails>,
    sandbox: Option<std::path::PathBuf>,
}

/// What the work of a thread needs of the container.
struct Facts {
    shared: Arc<Shared>,
    id: Arc<str>,
    name: String,
    document: Arc<Document>,
    places: Places,
    restarts: u32,
    size: Option<(u16, u16)>,
}

impl Task {
    pub(super) async fn prepare(
        &mut self,
        restarts: u32,
        size: Option<(u16, u16)>,
    ) -> Result<Launch, Error> {
        let facts = Facts {
            shared: self.shared.clone(),
            id: self.id.clone(),
            name: self.name.clone(),
            document: self.document.clone(),
            places: self.places.clone(),
            restarts,
            size,
        };
        let prepared = spawn_blocking(move || facts.prepare()).await??;
        self.standing.endpoints = prepared.endpoints;
        self.standing.sandbox = prepared.sandbox;
        Ok(prepared.launch)
    }
}

impl Facts {
    fn prepare(&self) -> Result<Prepared, Error> {
        let (request, places) = (&self.document.request, &self.places);
        check_plain(&request.host)?;
        for directory in [&places.run, &places.run.join("rootfs")] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| Error::io("make", directory, error))?;
        }
        let key = snapshot_key(&self.id);
        let root = root_mount(self.shared.snapshots.mounts(&key, &SnapshotView::WRITE)?);
        let (mut endpoints, mut sandbox) = (Vec::new(), None);
        if request.host.network.is_private() {
            let made = self.shared.make_sandbox(&self.id, &self.name, request)?;
            endpoints = made.endpoints.iter().map(|one| describe(one, &self.id)).collect();
            sandbox = Some(made.path);
        }
        let spec = self.spec(sandbox.as_deref());
        let config = places.run.join("config.json");
        std::fs::write(&config, spec.to_json())
            .map_err(|error| Error::io("write", &config, error))?;
        Ok(Prepared { launch: self.launch(root), endpoints, sandbox })
    }

    fn launch(&self, root: RootMount) -> Launch {
        let (request, places) = (&self.document.request, &self.places);
        Launch {
            version: VERSION,
            id: self.id.to_string(),
            bundle: places.run.clone(),
            state_root: self.shared.state_root(),
            socket: places.socket(),
            journal: places.journal(),
            root,
            runtime: Runtime::Builtin,
            terminal: request.config.tty,
            terminal_size: self.size.or(request.host.console_size),
            open_stdin: request.config.open_stdin,
            stdin_once: request.config.stdin_once,
            log: LogConfig {
                driver: LogDriver::JsonFile,
                path: places.data.join(format!("{}-json.log", self.id)),
                max_size: Some(10 << 20),
                max_file: 5,
                compress: false,
                attributes: Default::default(),
            },
            restart: restart_policy(request.host.restart),
            health: None,
            stop_signal: request.config.stop_signal_number(),
            stop_timeout_s: request.config.stop_timeout,
            cgroup_systemd: false,
            restart_count: self.restarts,
        }
    }

    fn spec(&self, sandbox: Option<&Path>) -> Spec {
        let config = &self.document.request.config;
        let namespace = |kind| Namespace { kind, path: None };
        let mut namespaces: Vec<_> = [
            NamespaceKind::Pid,
            NamespaceKind::Mount,
            NamespaceKind::Ipc,
            NamespaceKind::Uts,
            NamespaceKind::Cgroup,
        ]
        .map(namespace)
        .into();
        if let Some(path) = sandbox {
            let path = Some(path.display().to_string());
            namespaces.push(Namespace { kind: NamespaceKind::Network, path });
        }
        let caps: Vec<String> =
            ["CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"].map(str::to_owned).into();
        let mount = |kind: &str, destination: &str, options: &[&str]| Mount {
            destination: destination.to_owned(),
            kind: Some(kind.to_owned()),
            source: Some(kind.to_owned()),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Mount::default()
        };
        let mut env = vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            format!("HOSTNAME={}", &self.id[..12]),
        ];
        env.extend(config.env.iter().cloned());
        Spec {
            oci_version: dhow_spec::runtime::VERSION.to_owned(),
            process: Some(Process {
                terminal: config.tty,
                args: config.args(),
                env,
                cwd: match config.working_dir.as_str() {
                    "" => "/".to_owned(),
                    directory => directory.to_owned(),
                },
                capabilities: Some(Capabilities {
                    bounding: caps.clone(),
                    effective: caps.clone(),
                    permitted: caps,
                    ..Capabilities::default()
                }),
                ..Process::default()
            }),
            root: Some(Root { path: "rootfs".to_owned(), readonly: false }),
            hostname: Some(self.id[..12].to_owned()),
            domainname: None,
            mounts: vec![
                mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
                mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
                mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
            ],
            hooks: None,
            annotations: Default::default(),
            linux: Some(Linux {
                namespaces,
                cgroups_path: Some(format!("/dhow/{}", self.id)),
                ..Linux::default()
            }),
        }
    }
}

/// Options are refused by name until they are planned.
fn check_plain(host: &HostConfig) -> Result<(), Error> {
    let plain = HostConfig {
        network: host.network.clone(),
        restart: host.restart,
        auto_remove: host.auto_remove,
        console_size: host.console_size,
        container_id_file: host.container_id_file.clone(),
        ports: host.ports.clone(),
        ..HostConfig::default()
    };
    if *host != plain || matches!(host.network, NetworkMode::Container(_)) {
        return Err(Error::Unsupported { what: "one of the host options".to_owned() });
    }
    Ok(())
}

fn root_mount(mounts: Mounts) -> RootMount {
    match mounts {
        Mounts::Bind { source, readonly, .. } => RootMount::Bind { source, readonly, owners: None },
        Mounts::Overlay { lowers, upper, user_xattrs, .. } => RootMount::Overlay {
            lowers,
            upper: upper.map(|upper| Upper { upper: upper.upper, work: upper.work }),
            user_xattrs,
            owners: None,
        },
    }
}

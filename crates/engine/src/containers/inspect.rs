//! Everything about one container.

use std::path::PathBuf;

use super::document::Places;
use super::list::size_of;
use super::table::View;
use super::views::{ContainerDetails, MountDetails};
use crate::engine::Shared;
use crate::error::Error;

/// What is known of it now.
pub(crate) fn inspect(shared: &Shared, view: &View, size: bool) -> Result<ContainerDetails, Error> {
    let (document, standing) = (&view.document, &view.standing);
    let places = Places::of(&shared.data_root, &shared.exec_root, &view.id);
    let mut args = document.request.config.args();
    let path = if args.is_empty() { String::new() } else { args.remove(0) };
    let runtime = match document.request.host.runtime.as_str() {
        "" => crate::engine::RUNTIME.to_owned(),
        other => other.to_owned(),
    };
    let mut request = document.request.clone();
    if !request.host.links.is_empty() {
        request.host.links = shared.told_links(view);
    }
    Ok(ContainerDetails {
        id: view.id.to_string(),
        name: view.name.clone(),
        created_ns: view.created_ms.saturating_mul(1_000_000),
        request,
        path,
        args,
        state: standing.details(),
        image_id: document.image,
        restart_count: standing.restart_count,
        driver: document.driver.clone(),
        platform: "linux".to_owned(),
        runtime,
        resolv_conf_path: places.data.join("resolv.conf"),
        hostname_path: places.data.join("hostname"),
        hosts_path: places.data.join("hosts"),
        log_path: log_path(&places, view),
        mounts: document.points.iter().map(MountDetails::of).collect(),
        sandbox_path: standing.sandbox.clone().unwrap_or_default(),
        endpoints: shared.endpoints_of(view),
        execs: view
            .execs
            .values()
            .filter(|exec| exec.running)
            .map(|exec| exec.id.clone())
            .collect(),
        size: if size { size_of(shared, view)? } else { None },
    })
}

fn log_path(places: &Places, view: &View) -> PathBuf {
    match view.document.request.host.log.driver.as_str() {
        "" | "json-file" => places.data.join(format!("{}-json.log", view.id)),
        _ => PathBuf::new(),
    }
}

//! What older versions of the API have otherwise: one table, newest first.
//!
//! Messages are of the newest version. An answer goes through every row of its kind whose version is newer than
//! the client's; a request is read as the newest version after the rows that concern it have been applied.
//! Invariant: one row, one change, one test. Absent on purpose: what no client has been seen to look at.

use serde_json::{Map, Value, json};

use crate::http::api_version::ApiVersion;

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// A request to create a container.
    CreateContainer,
    /// A row of containers' list.
    ContainerRow,
    /// A container's inspection.
    ContainerInspect,
    /// A row of images' list.
    ImageRow,
    /// An image's inspection.
    ImageInspect,
    /// The server's information.
    Info,
    /// An event.
    Event,
    /// What is taken on disk.
    DiskUsage,
    /// A network, in a list or inspected.
    Network,
    /// A volume, in a list or inspected.
    Volume,
    /// The list of volumes.
    Volumes,
}

/// A change that a version of the API made.
struct Change {
    /// Clients of older versions than this want it undone.
    since: ApiVersion,
    message: Message,
    undo: fn(&mut Map<String, Value>),
}

const fn change(minor: u32, message: Message, undo: fn(&mut Map<String, Value>)) -> Change {
    Change { since: ApiVersion::new(1, minor), message, undo }
}

const CHANGES: &[Change] = &[
    change(53, Message::DiskUsage, disk_usage_without_summaries),
    change(52, Message::ContainerInspect, network_of_the_default_bridge),
    change(52, Message::ContainerInspect, with_graph_driver),
    change(52, Message::ContainerInspect, config_with_instructions),
    change(52, Message::ContainerInspect, container_with_nulls),
    change(52, Message::ContainerRow, without_health),
    change(52, Message::ContainerRow, places_with_nulls),
    change(52, Message::Info, info_with_nulls),
    change(52, Message::Network, network_with_nulls),
    change(52, Message::Volume, volume_with_nulls),
    change(52, Message::Volumes, volumes_with_nulls),
    change(52, Message::Event, event_with_old_fields),
    change(52, Message::ImageInspect, image_with_empty_fields),
    change(49, Message::Info, commits_with_expectations),
    change(48, Message::ImageRow, without_descriptor),
    change(48, Message::ImageInspect, without_descriptor),
    change(48, Message::ContainerRow, without_manifest_descriptor),
    change(48, Message::ContainerInspect, without_manifest_descriptor),
    change(48, Message::ContainerRow, endpoints_without_priority),
    change(48, Message::ContainerInspect, endpoints_without_priority),
    change(47, Message::Network, without_ipv4_switch),
    change(46, Message::ContainerRow, without_annotations),
    change(45, Message::ContainerInspect, short_id_as_alias),
    change(45, Message::ImageInspect, image_of_a_container),
    change(44, Message::ContainerRow, endpoints_without_names),
    change(44, Message::ContainerInspect, endpoints_without_names),
    change(44, Message::ImageRow, with_virtual_size),
    change(44, Message::ImageInspect, with_virtual_size),
    change(44, Message::ImageInspect, made_at_some_time),
    change(44, Message::CreateContainer, without_start_interval),
    change(42, Message::CreateContainer, without_console_size),
    change(42, Message::CreateContainer, one_pids_limit),
    change(41, Message::CreateContainer, host_cgroup_namespace),
];

/// Turns a message of the newest version into one of `version`, or a request of `version` into one of the newest.
pub(crate) fn adapt(version: ApiVersion, message: Message, value: &mut Value) {
    let Value::Object(object) = value else { return };
    for change in CHANGES {
        if change.message == message && version < change.since {
            (change.undo)(object);
        }
    }
}

/// 1.53 tells what each kind takes in a summary of its own; before, there were only lists.
fn disk_usage_without_summaries(usage: &mut Map<String, Value>) {
    let mut take = |name: &str| match usage.remove(name) {
        Some(Value::Object(mut kind)) => {
            let size = kind.remove("TotalSize").unwrap_or(json!(0));
            (kind.remove("Items").unwrap_or(json!([])), size)
        }
        _ => (Value::Null, json!(0)),
    };
    let (images, layers) = take("ImageUsage");
    let (containers, _) = take("ContainerUsage");
    let (volumes, _) = take("VolumeUsage");
    let (cache, _) = take("BuildCacheUsage");
    usage.insert("LayersSize".to_owned(), layers);
    usage.insert("Images".to_owned(), images);
    usage.insert("Containers".to_owned(), containers);
    usage.insert("Volumes".to_owned(), volumes);
    usage.insert("BuildCache".to_owned(), cache);
}

/// Before 1.52 the address in the default network stood beside the networks, too.
fn network_of_the_default_bridge(container: &mut Map<String, Value>) {
    let Some(Value::Object(settings)) = container.get_mut("NetworkSettings") else { return };
    let bridge = settings.get("Networks").and_then(|networks| networks.get("bridge")).cloned();
    let mut copy = |name: &str, empty: Value| {
        let found = bridge.as_ref().and_then(|bridge| bridge.get(name)).cloned();
        settings.insert(name.to_owned(), found.unwrap_or(empty));
    };
    for name in
        ["EndpointID", "Gateway", "GlobalIPv6Address", "IPAddress", "IPv6Gateway", "MacAddress"]
    {
        copy(name, json!(""));
    }
    copy("GlobalIPv6PrefixLen", json!(0));
    copy("IPPrefixLen", json!(0));
    settings.insert("Bridge".to_owned(), json!(""));
    settings.insert("HairpinMode".to_owned(), json!(false));
    settings.insert("LinkLocalIPv6Address".to_owned(), json!(""));
    settings.insert("LinkLocalIPv6PrefixLen".to_owned(), json!(0));
    settings.insert("SecondaryIPAddresses".to_owned(), Value::Null);
    settings.insert("SecondaryIPv6Addresses".to_owned(), Value::Null);
}

/// Before 1.52 every container said so where its driver kept its layers.
fn with_graph_driver(container: &mut Map<String, Value>) {
    let driver = container.get("Driver").cloned().unwrap_or_default();
    container.insert("GraphDriver".to_owned(), json!({"Name": driver, "Data": null}));
}

/// Before 1.52 this list was there even if empty.
fn config_with_instructions(container: &mut Map<String, Value>) {
    if let Some(Value::Object(config)) = container.get_mut("Config") {
        config.entry("OnBuild").or_insert(Value::Null);
    }
}

/// Before 1.45 an image told of the container that it was made of, which nobody remembers.
fn image_of_a_container(image: &mut Map<String, Value>) {
    image.insert("Container".to_owned(), json!(""));
    let config = dhow_wire::ContainerConfig::default();
    let config = serde_json::to_value(config).unwrap_or_default();
    image.insert("ContainerConfig".to_owned(), config);
}

/// Before 1.44 every image was made at some time: at the beginning, if it did not say.
fn made_at_some_time(image: &mut Map<String, Value>) {
    let created = image.entry("Created").or_insert(Value::Null);
    if created.as_str().is_none_or(str::is_empty) {
        *created = json!("0001-01-01T00:00:00Z");
    }
}

/// From 1.52 on a list or map that is empty is told as the reference has it. Before, these were `null`, as an
/// engine in Go has them, and clients compare.
fn null_if_empty(object: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        let Some(value) = object.get_mut(*name) else { continue };
        let empty = value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty);
        if empty {
            *value = Value::Null;
        }
    }
}

fn container_with_nulls(container: &mut Map<String, Value>) {
    const HOST: &[&str] = &[
        "Binds",
        "BlkioDeviceReadBps",
        "BlkioDeviceReadIOps",
        "BlkioDeviceWriteBps",
        "BlkioDeviceWriteIOps",
        "CapAdd",
        "CapDrop",
        "DeviceCgroupRules",
        "DeviceRequests",
        "ExtraHosts",
        "GroupAdd",
        "Links",
        "SecurityOpt",
        "VolumesFrom",
    ];
    if let Some(Value::Object(host)) = container.get_mut("HostConfig") {
        null_if_empty(host, HOST);
    }
    if let Some(Value::Object(config)) = container.get_mut("Config") {
        null_if_empty(config, &["Volumes"]);
    }
    places_with_nulls(container);
}

fn places_with_nulls(container: &mut Map<String, Value>) {
    let settings = container.get_mut("NetworkSettings");
    let Some(Value::Object(networks)) = settings.and_then(|all| all.get_mut("Networks")) else {
        return;
    };
    for endpoint in networks.values_mut().filter_map(Value::as_object_mut) {
        null_if_empty(endpoint, &["Aliases", "DNSNames", "Links"]);
    }
}

fn info_with_nulls(info: &mut Map<String, Value>) {
    null_if_empty(info, &["GenericResources", "Warnings"]);
    if let Some(Value::Object(plugins)) = info.get_mut("Plugins") {
        null_if_empty(plugins, &["Authorization"]);
    }
    if let Some(Value::Object(registries)) = info.get_mut("RegistryConfig") {
        null_if_empty(registries, &["Mirrors"]);
    }
}

fn network_with_nulls(network: &mut Map<String, Value>) {
    if let Some(Value::Object(ipam)) = network.get_mut("IPAM") {
        null_if_empty(ipam, &["Options"]);
    }
}

fn volume_with_nulls(volume: &mut Map<String, Value>) {
    null_if_empty(volume, &["Labels", "Options"]);
}

fn volumes_with_nulls(list: &mut Map<String, Value>) {
    null_if_empty(list, &["Warnings"]);
    let volumes = list.get_mut("Volumes").and_then(Value::as_array_mut).into_iter().flatten();
    volumes.filter_map(Value::as_object_mut).for_each(volume_with_nulls);
}

/// 1.48 knows which network leads out.
fn endpoints_without_priority(container: &mut Map<String, Value>) {
    without_of_endpoints(container, "GwPriority");
}

/// 1.44 tells the names that an endpoint has.
fn endpoints_without_names(container: &mut Map<String, Value>) {
    without_of_endpoints(container, "DNSNames");
}

fn without_of_endpoints(container: &mut Map<String, Value>, field: &str) {
    let networks =
        container.get_mut("NetworkSettings").and_then(|settings| settings.get_mut("Networks"));
    let Some(Value::Object(networks)) = networks else { return };
    for endpoint in networks.values_mut().filter_map(Value::as_object_mut) {
        endpoint.remove(field);
    }
}

/// Before 1.47 every network had IPv4.
fn without_ipv4_switch(network: &mut Map<String, Value>) {
    network.remove("EnableIPv4");
}

/// 1.52 tells in lists, too, whether a container is well.
fn without_health(row: &mut Map<String, Value>) {
    row.remove("Health");
}

/// Before 1.52 events had these fields beside the actor.
fn event_with_old_fields(event: &mut Map<String, Value>) {
    let kind = event.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let actor = event.get("Actor").cloned().unwrap_or_default();
    if kind == "container" || kind == "image" {
        let action = event.get("Action").cloned().unwrap_or_default();
        event.insert("status".to_owned(), action);
        event.insert("id".to_owned(), actor["ID"].clone());
    }
    if kind == "container"
        && let Some(image) = actor["Attributes"].get("image")
    {
        event.insert("from".to_owned(), image.clone());
    }
}

/// Before 1.52 these were there even if empty.
fn image_with_empty_fields(image: &mut Map<String, Value>) {
    for name in ["Parent", "Comment", "DockerVersion", "Author"] {
        image.entry(name).or_insert(json!(""));
    }
    if let Some(Value::Object(config)) = image.get_mut("Config") {
        for name in ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "Volumes"] {
            config.entry(name).or_insert(Value::Null);
        }
        for name in ["User", "WorkingDir"] {
            config.entry(name).or_insert(json!(""));
        }
    }
}

/// Before 1.49 a commit came with the one that was expected.
fn commits_with_expectations(info: &mut Map<String, Value>) {
    for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
        if let Some(Value::Object(commit)) = info.get_mut(name) {
            let id = commit.get("ID").cloned().unwrap_or_default();
            commit.insert("Expected".to_owned(), id);
        }
    }
    info.insert("BridgeNfIptables".to_owned(), json!(false));
    info.insert("BridgeNfIp6tables".to_owned(), json!(false));
}

/// 1.48 tells what an image's names point to.
fn without_descriptor(image: &mut Map<String, Value>) {
    image.remove("Descriptor");
    image.remove("Manifests");
}

/// 1.48 tells which of an image's manifests a container is of.
fn without_manifest_descriptor(container: &mut Map<String, Value>) {
    container.remove("ImageManifestDescriptor");
}

/// 1.46 tells of annotations in lists.
fn without_annotations(row: &mut Map<String, Value>) {
    if let Some(Value::Object(host)) = row.get_mut("HostConfig") {
        host.remove("Annotations");
    }
}

/// Before 1.45 a container's short id was among its aliases.
fn short_id_as_alias(container: &mut Map<String, Value>) {
    let id: String = container["Id"].as_str().unwrap_or_default().chars().take(12).collect();
    let networks = container.get_mut("NetworkSettings").and_then(|all| all.get_mut("Networks"));
    let Some(Value::Object(networks)) = networks else { return };
    for (name, endpoint) in networks {
        if ["bridge", "host", "none"].contains(&name.as_str()) {
            continue;
        }
        match endpoint.get_mut("Aliases") {
            Some(Value::Array(aliases)) => aliases.push(json!(id)),
            _ => endpoint["Aliases"] = json!([id]),
        }
    }
}

/// Before 1.44 an image's size was there twice.
fn with_virtual_size(image: &mut Map<String, Value>) {
    let size = image.get("Size").cloned().unwrap_or(json!(0));
    image.insert("VirtualSize".to_owned(), size);
}

/// Health checks have a time of their own for the beginning since 1.44.
fn without_start_interval(request: &mut Map<String, Value>) {
    if let Some(Value::Object(health)) = request.get_mut("Healthcheck") {
        health.remove("StartInterval");
    }
}

/// A terminal has its first size since 1.42.
fn without_console_size(request: &mut Map<String, Value>) {
    if let Some(Value::Object(host)) = request.get_mut("HostConfig") {
        host.remove("ConsoleSize");
    }
}

/// Before 1.42 clients sent zero for no limit of processes.
fn one_pids_limit(request: &mut Map<String, Value>) {
    if let Some(Value::Object(host)) = request.get_mut("HostConfig")
        && host.get("PidsLimit").and_then(Value::as_i64).is_some_and(|limit| limit <= 0)
    {
        host.insert("PidsLimit".to_owned(), Value::Null);
    }
}

/// Clients from before 1.41 know of no cgroup namespaces: their containers see the host's.
fn host_cgroup_namespace(request: &mut Map<String, Value>) {
    if let Some(Value::Object(host)) = request.get_mut("HostConfig") {
        host.insert("CgroupnsMode".to_owned(), json!("host"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(minor: u32, message: Message, mut value: Value, expected: Value) {
        let newest = value.clone();
        adapt(crate::http::api_version::NEWEST, message, &mut value);
        assert_eq!(value, newest, "the newest version is left alone");
        adapt(ApiVersion::new(1, minor), message, &mut value);
        for (name, expected) in expected.as_object().expect("an object") {
            assert_eq!(value.get(name).unwrap_or(&Value::Null), expected, "{name} in 1.{minor}");
        }
    }

    #[test]
    fn rows_are_newest_first() {
        assert!(CHANGES.windows(2).all(|pair| pair[0].since >= pair[1].since));
    }

    #[test]
    fn disk_usage() {
        let usage =
            json!({"ImageUsage": {"TotalSize": 7, "TotalCount": 1, "Items": [{"Id": "x"}]}});
        let old =
            json!({"LayersSize": 7, "Images": [{"Id": "x"}], "ImageUsage": null, "Volumes": null});
        check(52, Message::DiskUsage, usage, old);
    }

    #[test]
    fn addresses_beside_networks() {
        let container = json!({"NetworkSettings": {"Networks": {"bridge": {
            "IPAddress": "172.17.0.2", "IPPrefixLen": 16, "Gateway": "172.17.0.1"
        }}}});
        let mut old = container.clone();
        adapt(ApiVersion::new(1, 51), Message::ContainerInspect, &mut old);
        assert_eq!(old["NetworkSettings"]["IPAddress"], "172.17.0.2");
        assert_eq!(old["NetworkSettings"]["IPPrefixLen"], 16);
        assert_eq!(old["NetworkSettings"]["MacAddress"], "");
        assert_eq!(old["NetworkSettings"]["SecondaryIPAddresses"], Value::Null);
        check(52, Message::ContainerInspect, container.clone(), container);
    }

    #[test]
    fn drivers_of_containers() {
        let container = json!({"Driver": "overlay2"});
        let old = json!({"GraphDriver": {"Name": "overlay2", "Data": null}});
        check(51, Message::ContainerInspect, container, old);
    }

    #[test]
    fn fields_of_endpoints_and_networks() {
        let row =
            json!({"NetworkSettings": {"Networks": {"n": {"GwPriority": 1, "DNSNames": null}}}});
        let of = |minor, message| {
            let mut old = row.clone();
            adapt(ApiVersion::new(1, minor), message, &mut old);
            old["NetworkSettings"]["Networks"].clone()
        };
        for message in [Message::ContainerRow, Message::ContainerInspect] {
            assert_eq!(of(47, message), json!({"n": {"DNSNames": null}}));
        }
        assert_eq!(of(43, Message::ContainerRow), json!({"n": {}}));
        check(46, Message::Network, json!({"EnableIPv4": true}), json!({"EnableIPv4": null}));
    }

    #[test]
    fn health_in_lists() {
        check(
            51,
            Message::ContainerRow,
            json!({"Health": {"Status": "x"}}),
            json!({"Health": null}),
        );
    }

    #[test]
    fn events() {
        let event = json!({"Type": "container", "Action": "start",
            "Actor": {"ID": "ab", "Attributes": {"image": "debian"}}});
        check(51, Message::Event, event, json!({"status": "start", "id": "ab", "from": "debian"}));
        let event =
            json!({"Type": "volume", "Action": "create", "Actor": {"ID": "v", "Attributes": {}}});
        check(51, Message::Event, event, json!({"status": null, "id": null}));
    }

    #[test]
    fn empty_fields_of_images() {
        let image = json!({"Config": {"Cmd": ["sh"]}});
        let old = json!({"Parent": "", "Author": "", "Config": {"Cmd": ["sh"], "Entrypoint": null,
            "Env": null, "Labels": null, "OnBuild": null, "Volumes": null, "User": "", "WorkingDir": ""}});
        check(51, Message::ImageInspect, image, old);
    }

    #[test]
    fn empty_lists() {
        let container = json!({"HostConfig": {"Links": [], "Binds": ["/a:/b"], "Dns": []},
            "NetworkSettings": {"Networks": {"n": {"Aliases": [], "DNSNames": ["x"]}}}});
        let mut old = container.clone();
        adapt(ApiVersion::new(1, 51), Message::ContainerInspect, &mut old);
        let host = json!({"Links": null, "Binds": ["/a:/b"], "Dns": []});
        assert_eq!(old["HostConfig"], host);
        let place = json!({"Aliases": null, "DNSNames": ["x"]});
        assert_eq!(old["NetworkSettings"]["Networks"]["n"], place);
        check(52, Message::ContainerInspect, container.clone(), container);
        let info = json!({"Warnings": [], "Plugins": {"Authorization": []}});
        let old = json!({"Warnings": null, "Plugins": {"Authorization": null}});
        check(51, Message::Info, info, old);
        check(
            51,
            Message::Network,
            json!({"IPAM": {"Options": {}}}),
            json!({"IPAM": {"Options": null}}),
        );
        check(51, Message::Volume, json!({"Labels": {}}), json!({"Labels": null}));
        let volumes = json!({"Volumes": [{"Labels": {}}], "Warnings": []});
        let old = json!({"Volumes": [{"Labels": null}], "Warnings": null});
        check(51, Message::Volumes, volumes, old);
    }

    #[test]
    fn instructions_of_containers() {
        let mut old = json!({"Config": {"Cmd": null}});
        adapt(ApiVersion::new(1, 51), Message::ContainerInspect, &mut old);
        assert_eq!(old["Config"], json!({"Cmd": null, "OnBuild": null}));
    }

    #[test]
    fn where_images_came_from() {
        let mut old = json!({"Id": "x"});
        adapt(ApiVersion::new(1, 44), Message::ImageInspect, &mut old);
        assert_eq!(old["Container"], "");
        assert_eq!(old["ContainerConfig"]["Cmd"], Value::Null);
        check(45, Message::ImageInspect, json!({"Id": "x"}), json!({"Container": null}));
    }

    #[test]
    fn times_of_images() {
        let begin = json!({"Created": "0001-01-01T00:00:00Z"});
        check(43, Message::ImageInspect, json!({"Created": ""}), begin);
        let now = json!({"Created": "2026-01-01T00:00:00Z"});
        check(43, Message::ImageInspect, now.clone(), now);
    }

    #[test]
    fn commits() {
        let info = json!({"RuncCommit": {"ID": "x"}});
        check(48, Message::Info, info, json!({"RuncCommit": {"ID": "x", "Expected": "x"}}));
    }

    #[test]
    fn descriptors() {
        let image = json!({"Descriptor": {}, "Manifests": []});
        let old = json!({"Descriptor": null, "Manifests": null});
        check(47, Message::ImageRow, image.clone(), old.clone());
        check(47, Message::ImageInspect, image, old);
        for message in [Message::ContainerRow, Message::ContainerInspect] {
            let container = json!({"ImageManifestDescriptor": {}});
            check(47, message, container, json!({"ImageManifestDescriptor": null}));
        }
    }

    #[test]
    fn annotations_in_lists() {
        let row = json!({"HostConfig": {"NetworkMode": "host", "Annotations": {"a": "b"}}});
        check(45, Message::ContainerRow, row, json!({"HostConfig": {"NetworkMode": "host"}}));
    }

    #[test]
    fn short_ids_as_aliases() {
        let mut container = json!({"Id": "0123456789abcdef", "NetworkSettings": {"Networks": {
            "bridge": {"Aliases": null}, "own": {"Aliases": null}
        }}});
        adapt(ApiVersion::new(1, 44), Message::ContainerInspect, &mut container);
        let networks = &container["NetworkSettings"]["Networks"];
        assert_eq!(networks["own"]["Aliases"], json!(["0123456789ab"]));
        assert_eq!(networks["bridge"]["Aliases"], Value::Null);
    }

    #[test]
    fn virtual_sizes() {
        check(43, Message::ImageRow, json!({"Size": 5}), json!({"VirtualSize": 5}));
        check(43, Message::ImageInspect, json!({"Size": 5}), json!({"VirtualSize": 5}));
    }

    #[test]
    fn requests_of_old_clients() {
        let request = json!({"Healthcheck": {"Retries": 1, "StartInterval": 5},
            "HostConfig": {"ConsoleSize": [1, 2], "PidsLimit": 0}});
        let read = json!({"Healthcheck": {"Retries": 1},
            "HostConfig": {"PidsLimit": null, "CgroupnsMode": "host"}});
        check(40, Message::CreateContainer, request, read);
    }
}

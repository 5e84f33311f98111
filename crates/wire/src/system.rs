//! The server itself: version, information, what it takes.
//!
//! Invariant: none of its own. Absent on purpose: `_ping`, whose answer is headers.

use std::collections::BTreeMap;

use dhow_spec::Platform;
use dhow_spec::image::Descriptor;

use crate::container::ContainerSummary;
use crate::go::object;
use crate::image::ImageSummary;
use crate::volume::Volume;

object! {
    /// `GET /version`.
    Version {
        platform: PlatformName = "Platform",
        version: String = "Version",
        api_version: String = "ApiVersion",
        min_api_version: String => "MinAPIVersion",
        os: String = "Os",
        arch: String = "Arch",
        components: Vec<Component> => "Components",
        git_commit: String => "GitCommit",
        go_version: String => "GoVersion",
        kernel_version: String => "KernelVersion",
        experimental: bool => "Experimental",
        build_time: String => "BuildTime",
    }

    /// The product's name.
    PlatformName {
        name: String = "Name",
    }

    /// One program of it.
    Component {
        name: String = "Name",
        version: String = "Version",
        details: BTreeMap<String, String> => "Details",
    }

    /// `GET /info`.
    Info {
        id: String = "ID",
        containers: i64 = "Containers",
        containers_running: i64 = "ContainersRunning",
        containers_paused: i64 = "ContainersPaused",
        containers_stopped: i64 = "ContainersStopped",
        images: i64 = "Images",
        driver: String = "Driver",
        driver_status: Option<Vec<[String; 2]>> = "DriverStatus",
        plugins: Plugins = "Plugins",
        memory_limit: bool = "MemoryLimit",
        swap_limit: bool = "SwapLimit",
        cpu_cfs_period: bool = "CpuCfsPeriod",
        cpu_cfs_quota: bool = "CpuCfsQuota",
        cpu_shares: bool = "CPUShares",
        cpu_set: bool = "CPUSet",
        pids_limit: bool = "PidsLimit",
        ipv4_forwarding: bool = "IPv4Forwarding",
        debug: bool = "Debug",
        n_fd: i64 = "NFd",
        oom_kill_disable: bool = "OomKillDisable",
        n_goroutines: i64 = "NGoroutines",
        system_time: String = "SystemTime",
        logging_driver: String = "LoggingDriver",
        cgroup_driver: String = "CgroupDriver",
        cgroup_version: String => "CgroupVersion",
        n_events_listener: i64 = "NEventsListener",
        kernel_version: String = "KernelVersion",
        operating_system: String = "OperatingSystem",
        os_version: String = "OSVersion",
        os_type: String = "OSType",
        architecture: String = "Architecture",
        index_server_address: String = "IndexServerAddress",
        registry_config: Option<RegistryConfig> = "RegistryConfig",
        n_cpu: i64 = "NCPU",
        mem_total: i64 = "MemTotal",
        generic_resources: Option<Vec<serde_json::Value>> = "GenericResources",
        docker_root_dir: String = "DockerRootDir",
        http_proxy: String = "HttpProxy",
        https_proxy: String = "HttpsProxy",
        no_proxy: String = "NoProxy",
        name: String = "Name",
        labels: Option<Vec<String>> = "Labels",
        experimental_build: bool = "ExperimentalBuild",
        server_version: String = "ServerVersion",
        runtimes: BTreeMap<String, Runtime> = "Runtimes",
        default_runtime: String = "DefaultRuntime",
        swarm: SwarmInfo = "Swarm",
        live_restore_enabled: bool = "LiveRestoreEnabled",
        isolation: String = "Isolation",
        init_binary: String = "InitBinary",
        containerd_commit: Commit = "ContainerdCommit",
        runc_commit: Commit = "RuncCommit",
        init_commit: Commit = "InitCommit",
        security_options: Option<Vec<String>> = "SecurityOptions",
        product_license: String => "ProductLicense",
        firewall_backend: Option<Firewall> => "FirewallBackend",
        cdi_spec_dirs: Option<Vec<String>> = "CDISpecDirs",
        warnings: Option<Vec<String>> = "Warnings",
    }

    /// Which plug-ins there are, by kind.
    Plugins {
        volume: Option<Vec<String>> = "Volume",
        network: Option<Vec<String>> = "Network",
        authorization: Option<Vec<String>> = "Authorization",
        log: Option<Vec<String>> = "Log",
    }

    /// How registries are reached.
    RegistryConfig {
        insecure_cidrs: Option<Vec<String>> = "InsecureRegistryCIDRs",
        indexes: BTreeMap<String, IndexInfo> = "IndexConfigs",
        mirrors: Option<Vec<String>> = "Mirrors",
    }

    /// One registry.
    IndexInfo {
        name: String = "Name",
        mirrors: Vec<String> = "Mirrors",
        secure: bool = "Secure",
        official: bool = "Official",
    }

    /// One OCI runtime.
    Runtime {
        path: String => "path",
        args: Vec<String> => "runtimeArgs",
        kind: String => "runtimeType",
        options: BTreeMap<String, serde_json::Value> => "options",
        status: BTreeMap<String, String> => "status",
    }

    /// The swarm that there never is.
    SwarmInfo {
        node_id: String = "NodeID",
        node_addr: String = "NodeAddr",
        local_node_state: String = "LocalNodeState",
        control_available: bool = "ControlAvailable",
        error: String = "Error",
        remote_managers: Option<Vec<serde_json::Value>> = "RemoteManagers",
    }

    /// A program by its commit.
    Commit {
        id: String = "ID",
    }

    /// What filters packets.
    Firewall {
        driver: String = "Driver",
        info: Vec<[String; 2]> => "Info",
    }

    /// `GET /system/df`.
    DiskUsage {
        images: Option<ImagesUsage> => "ImageUsage",
        containers: Option<ContainersUsage> => "ContainerUsage",
        volumes: Option<VolumesUsage> => "VolumeUsage",
        build_cache: Option<BuildCacheUsage> => "BuildCacheUsage",
    }

    /// What a registry has under a name.
    DistributionInspect {
        descriptor: Option<Descriptor> = "Descriptor",
        platforms: Option<Vec<Platform>> = "Platforms",
    }

    /// What builds remember takes.
    BuildCacheUsage {
        active_count: i64 => "ActiveCount",
        items: Vec<BuildCache> => "Items",
        reclaimable: i64 => "Reclaimable",
        total_count: i64 => "TotalCount",
        total_size: i64 => "TotalSize",
    }

    /// Something that builds remember.
    BuildCache {
        id: String = "ID",
        parents: Vec<String> => "Parents",
        kind: String = "Type",
        description: String = "Description",
        in_use: bool = "InUse",
        shared: bool = "Shared",
        size: i64 = "Size",
        created_at: String = "CreatedAt",
        last_used_at: Option<String> = "LastUsedAt",
        usage_count: i64 = "UsageCount",
    }

    /// `POST /build/prune`.
    BuildCachePruned {
        caches_deleted: Option<Vec<String>> = "CachesDeleted",
        space_reclaimed: i64 = "SpaceReclaimed",
    }

    /// What images take.
    ImagesUsage {
        active_count: i64 => "ActiveCount",
        items: Vec<ImageSummary> => "Items",
        reclaimable: i64 => "Reclaimable",
        total_count: i64 => "TotalCount",
        total_size: i64 => "TotalSize",
    }

    /// What containers take.
    ContainersUsage {
        active_count: i64 => "ActiveCount",
        items: Vec<ContainerSummary> => "Items",
        reclaimable: i64 => "Reclaimable",
        total_count: i64 => "TotalCount",
        total_size: i64 => "TotalSize",
    }

    /// What volumes take.
    VolumesUsage {
        active_count: i64 => "ActiveCount",
        items: Vec<Volume> => "Items",
        reclaimable: i64 => "Reclaimable",
        total_count: i64 => "TotalCount",
        total_size: i64 => "TotalSize",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_the_reference() {
        let json = r#"{
            "Platform": {"Name": "x"},
            "Components": [{"Name": "Engine", "Version": "27.0.1"}],
            "Version": "27.0.1", "ApiVersion": "1.47", "MinAPIVersion": "1.24",
            "GitCommit": "48a66213fe", "GoVersion": "go1.22.7", "Os": "linux", "Arch": "amd64",
            "KernelVersion": "6.8.0-31-generic", "Experimental": true,
            "BuildTime": "2020-06-22T15:49:27.000000000+00:00"
        }"#;
        let version: Version = serde_json::from_str(json).unwrap();
        let again = serde_json::to_value(&version).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }

    #[test]
    fn information_has_all_fields_even_if_empty() {
        let json = serde_json::to_value(Info::default()).unwrap();
        for name in ["ID", "DriverStatus", "Warnings", "Swarm", "RuncCommit", "OSType", "NCPU"] {
            assert!(json.get(name).is_some(), "{name}");
        }
        assert!(json.get("ProductLicense").is_none());
    }
}

//! What a client asks for when it creates a container: typed, checked, and kept.
//!
//! Invariant: what [`CreateRequest::check`] let through asks for nothing that no machine could do; a
//! text that inspecting must give back is given back to the byte. The engine stores the request as JSON
//! with [`REQUEST_VERSION`]; unknown fields are skipped and absent ones have their default, so that both
//! an older and a newer program can read it.
//! Absent on purpose: Docker's JSON (the server's), looks at the machine (planning's).

mod config;
mod endpoint;
mod error;
mod host;
mod mode;
mod mount;
mod policy;
mod port;
mod resources;
mod security;
mod signal;
mod text;

use std::collections::BTreeMap;

use dhow_spec::Platform;
use dhow_spec::image::RunConfig;
use serde::{Deserialize, Serialize};

pub use config::ContainerConfig;
pub use endpoint::{EndpointConfig, MacAddress};
pub use error::{Conflict, Field, HealthFault, LimitFault, MountFault, RequestError, RestartFault};
pub use host::{HostConfig, parse_time_offset};
pub use mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UsernsMode, UtsMode};
pub(crate) use mount::check_volume_name;
pub use mount::{
    Bind, BindMode, BindRequest, BindSource, DriverRequest, ImageRequest, MountRequest,
    MountSource, Relabel, TmpfsRequest, VolumeRequest, VolumesFrom,
};
pub use policy::{LogConfig, RestartPolicy};
pub use port::{Port, PortBinding, Protocol};
pub use resources::{
    DeviceDriverRequest, DeviceRate, DeviceRequest, DeviceWeight, Resources, Ulimit,
};
pub use security::{Capability, DeviceRuleText, ExtraHost, SecurityMeaning, SecurityOption};
pub use signal::parse_signal;
pub(crate) use text::clean_path;

/// Version of the form in which a request is stored.
pub const REQUEST_VERSION: u32 = 1;

/// Everything that a client says about a container to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateRequest {
    /// What it is made for; the host's platform where absent.
    pub platform: Option<Platform>,
    /// What it runs.
    pub config: ContainerConfig,
    /// How it lives here.
    pub host: HostConfig,
    /// Its places in networks, by their names.
    pub endpoints: BTreeMap<String, EndpointConfig>,
}

/// What a client wants changed of a container that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateRequest {
    /// Limits; zero, empty and absent leave things as they are.
    pub resources: Resources,
    /// Whether it is started again; absent leaves things as they are.
    pub restart: Option<RestartPolicy>,
}

impl CreateRequest {
    /// Whether it asks for nothing that contradicts itself or no machine could do.
    pub fn check(&self) -> Result<(), RequestError> {
        self.config.check()?;
        self.host.check(&self.config)?;
        endpoint::check(&self.endpoints, &self.host.network)
    }

    /// Fills what the client left open from the image; done once, when the container is created.
    pub fn merge(&mut self, image: Option<&RunConfig>) -> Result<(), RequestError> {
        self.config.merge(image.unwrap_or(&RunConfig::default()))
    }
}

impl UpdateRequest {
    /// Whether it asks for nothing that no machine could do.
    pub fn check(&self) -> Result<(), RequestError> {
        self.resources.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_request_is_the_one_that_was_asked_for() {
        let mut request = CreateRequest {
            platform: Some(Platform { os: "linux".to_owned(), ..Platform::default() }),
            ..CreateRequest::default()
        };
        request.config.image = "debian".to_owned();
        request.config.cmd = Some(vec!["sh".to_owned()]);
        request.config.exposed_ports = ["80/tcp".parse().expect("a port")].into();
        request.host.binds = vec!["data:/data:ro".parse().expect("a bind")];
        request.host.network = "container:x".parse().expect("a mode");
        request.host.ports = BTreeMap::from([(
            "80/tcp".parse().expect("a port"),
            vec![PortBinding::parse("::1", "8080").expect("a binding")],
        )]);
        request.host.restart = RestartPolicy::OnFailure { max: 3 };
        request.host.mounts = vec![MountRequest {
            target: "/t".to_owned(),
            read_only: true,
            consistency: String::new(),
            source: MountSource::Tmpfs(TmpfsRequest { size_bytes: 9, ..Default::default() }),
        }];
        request.host.time_offsets = parse_time_offset("-5").expect("offsets").into_iter().collect();
        let mac = Some("02:42:ac:11:00:02".parse().expect("an address"));
        request
            .endpoints
            .insert("bridge".to_owned(), EndpointConfig { mac, ..EndpointConfig::default() });
        let stored = serde_json::to_string(&request).expect("JSON");
        assert_eq!(serde_json::from_str::<CreateRequest>(&stored).expect("a request"), request);
    }

    #[test]
    fn fields_of_other_versions_are_no_obstacle() {
        let stored = r#"{"config":{"image":"x","later":1},"later":{}}"#;
        let request: CreateRequest = serde_json::from_str(stored).expect("a request");
        assert_eq!(request.config.image, "x");
        assert_eq!(request.check(), Ok(()));
    }
}

//! Which events a listener wants.

use super::{Event, EventKind, EventsRequest};
use crate::error::Error;

const KNOWN: &[&str] = &[
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "plugin",
    "scope",
    "type",
    "volume",
    "node",
    "service",
    "secret",
    "config",
];

impl EventsRequest {
    /// Refuses filters that nobody knows.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.filters.check(KNOWN)
    }

    pub(super) fn wants(&self, event: &Event) -> bool {
        let filters = &self.filters;
        let word = |name| event.attributes.get(name).map_or("", String::as_str);
        let of_container = event.kind == EventKind::Container;
        filters.fits("type", |value| value == event.kind.as_str())
            && filters.fits("event", |value| fits_action(&event.action, value))
            && filters.fits("scope", |value| value == "local")
            && filters.fits("container", |value| {
                of_container && (event.id.starts_with(value) || word("name") == trim(value))
            })
            && filters.fits("image", |value| {
                let image =
                    if event.kind == EventKind::Image { word("name") } else { word("image") };
                fits_image(&event.id, image, value)
            })
            && filters.fits("volume", |value| fits_kind(event, EventKind::Volume, value))
            && filters.fits("network", |value| fits_kind(event, EventKind::Network, value))
            && filters.fits("daemon", |value| fits_kind(event, EventKind::Daemon, value))
            && ["plugin", "node", "service", "secret", "config"]
                .iter()
                .all(|name| !filters.has(name))
            && filters.fits_labels(&event.attributes)
    }
}

fn trim(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// `exec_create` fits `exec_create: ls`, and `health_status` what it turned to.
fn fits_action(action: &str, wanted: &str) -> bool {
    action == wanted || action.split(':').next() == Some(wanted)
}

fn fits_kind(event: &Event, kind: EventKind, wanted: &str) -> bool {
    let name = event.attributes.get("name").map(String::as_str);
    event.kind == kind && (event.id.starts_with(wanted) || name == Some(wanted))
}

/// With or without its tag.
fn fits_image(id: &str, image: &str, wanted: &str) -> bool {
    let untagged = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    };
    id == wanted || image == wanted || untagged == wanted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::filters::Filters;

    fn check(pairs: &[(&str, &str)], expected: bool) {
        let mut filters = Filters::default();
        for (name, value) in pairs {
            filters.add(name, value);
        }
        let attributes = [("name", "web"), ("image", "nginx:1"), ("tier", "front")];
        let event = Event {
            kind: EventKind::Container,
            action: "exec_create: ls".to_owned(),
            id: "abc123".to_owned(),
            attributes: BTreeMap::from(attributes.map(|(a, b)| (a.to_owned(), b.to_owned()))),
            time_ns: 0,
        };
        let request = EventsRequest { since_ns: None, until_ns: None, filters };
        request.check().expect("known names");
        assert_eq!(request.wants(&event), expected, "{pairs:?}");
    }

    #[test]
    fn what_is_wanted() {
        check(&[], true);
        check(&[("type", "container"), ("event", "exec_create")], true);
        check(&[("type", "image")], false);
        check(&[("event", "start"), ("event", "exec_create: ls")], true);
        check(&[("container", "web")], true);
        check(&[("container", "abc")], true);
        check(&[("container", "other")], false);
        check(&[("image", "nginx")], true);
        check(&[("image", "nginx:2")], false);
        check(&[("label", "tier=front")], true);
        check(&[("label", "tier=back")], false);
        check(&[("plugin", "x")], false);
    }
}

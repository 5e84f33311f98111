//! Lists of networks, narrowed.
//!
//! Absent on purpose: who is in a network, which whoever asks must say.

use std::collections::BTreeSet;

use super::Network;
use crate::error::Error;
use crate::filters::Filters;

impl Network {
    /// Whether every engine has it.
    pub fn is_builtin(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }
}

/// The networks that fit. `used` are the ids of those that a container is in.
///
/// Filters: `dangling`, `driver`, `id`, `label`, `name` (parts of them), `scope`, `type`.
pub(crate) fn select(
    mut networks: Vec<Network>,
    filters: &Filters,
    used: &BTreeSet<String>,
) -> Result<Vec<Network>, Error> {
    filters.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.flag("dangling")?;
    for kind in filters.values("type") {
        if !matches!(kind, "builtin" | "custom") {
            let (name, value) = ("type".to_owned(), kind.to_owned());
            return Err(Error::InvalidFilterValue { name, value });
        }
    }
    networks.retain(|network| {
        let is_dangling = !network.is_builtin() && !used.contains(&network.id);
        dangling.is_none_or(|wanted| is_dangling == wanted)
            && filters.fits("driver", |driver| driver == network.driver)
            && filters.fits("id", |part| network.id.contains(part))
            && filters.fits("name", |part| network.name.contains(part))
            && filters.fits("scope", |scope| scope == "local")
            && filters.fits("type", |kind| (kind == "builtin") == network.is_builtin())
            && filters.fits_labels(&network.labels)
    });
    Ok(networks)
}

/// The networks that may go because nobody is in them.
///
/// Filters: `label`, `label!`, `until` as milliseconds since 1970.
pub(crate) fn prunable(
    mut networks: Vec<Network>,
    filters: &Filters,
    until_ms: Option<i64>,
    used: &BTreeSet<String>,
) -> Result<Vec<Network>, Error> {
    filters.check(&["label", "label!", "until"])?;
    networks.retain(|network| {
        !network.is_builtin()
            && !network.config_only
            && !used.contains(&network.id)
            && until_ms.is_none_or(|until| network.created_ms < until)
            && filters.fits_labels(&network.labels)
            && !has_any(filters, network)
    });
    Ok(networks)
}

/// Whether one of the labels that are not wanted is there.
fn has_any(filters: &Filters, network: &Network) -> bool {
    filters.values("label!").any(|unwanted| match unwanted.split_once('=') {
        Some((key, value)) => network.labels.get(key).is_some_and(|found| found == value),
        None => network.labels.contains_key(unwanted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, label: Option<&str>) -> Network {
        let labels = label.iter().map(|label| ((*label).to_owned(), String::new())).collect();
        let driver = "bridge".to_owned();
        Network {
            id: format!("{name}1"),
            name: name.to_owned(),
            driver,
            labels,
            ..Network::default()
        }
    }

    fn names(filters: &[(&str, &str)], used: &[&str]) -> Vec<String> {
        let mut given = Filters::default();
        filters.iter().for_each(|(name, value)| given.add(name, value));
        let networks =
            vec![network("bridge", None), network("front", Some("a")), network("back", None)];
        let used = used.iter().map(|id| (*id).to_owned()).collect();
        let found = select(networks, &given, &used).expect("filters");
        found.into_iter().map(|network| network.name).collect()
    }

    #[test]
    fn lists_are_narrowed() {
        assert_eq!(names(&[], &[]), ["bridge", "front", "back"]);
        assert_eq!(names(&[("type", "custom")], &[]), ["front", "back"]);
        assert_eq!(names(&[("name", "ro"), ("name", "bri")], &[]), ["bridge", "front"]);
        assert_eq!(names(&[("label", "a")], &[]), ["front"]);
        assert_eq!(names(&[("dangling", "true")], &["front1"]), ["back"]);
        assert_eq!(names(&[("dangling", "false")], &["front1"]), ["bridge", "front"]);
        assert_eq!(names(&[("scope", "swarm")], &[]), [""; 0]);
        let mut bad = Filters::default();
        bad.add("type", "some");
        assert!(select(Vec::new(), &bad, &BTreeSet::new()).is_err());
    }
}

//! What messages say of the container that they are from: its names, the tag, labels and variables.
//!
//! Invariant: a tag and patterns that were taken at creation can be used at every start.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::Destination;
use crate::containers::table::View;
use crate::plan::PlanError;

/// A container, as messages tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct About {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) command: String,
    /// When it was made, in seconds since 1970.
    pub(super) created_s: i64,
    pub(super) host: String,
    pub(super) tag: String,
    /// Labels and variables, named as the driver names them.
    pub(super) attributes: BTreeMap<String, String>,
}

impl About {
    pub(super) fn of(view: &View, destination: &Destination) -> Self {
        let request = &view.document.request;
        let (config, options) = (&request.config, &request.host.log.options);
        let command = config.entrypoint.iter().chain(&config.cmd).flatten();
        let attributes = attributes(options, &config.labels, &config.env).into_iter();
        let mut about = Self {
            id: view.id.to_string(),
            name: view.name.clone(),
            image: config.image.clone(),
            image_id: view.document.image.to_string(),
            command: command.cloned().collect::<Vec<_>>().join(" "),
            created_s: view.created_ms.div_euclid(1000),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            tag: String::new(),
            attributes: attributes.map(|(name, text)| (destination.key(&name), text)).collect(),
        };
        let template = options.get("tag").map(String::as_str).filter(|tag| !tag.is_empty());
        about.tag = about.tag(template.unwrap_or("{{.ID}}")).unwrap_or_default();
        about
    }

    /// The short form of the id.
    pub(super) fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Docker's template for tags, with the fields that a container has; nothing if it asks for anything else.
    pub(crate) fn tag(&self, template: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once("{{") {
            let (word, behind) = behind.split_once("}}")?;
            out.push_str(before);
            out.push_str(self.field(word.trim())?);
            rest = behind;
        }
        out.push_str(rest);
        Some(out)
    }

    fn field(&self, word: &str) -> Option<&str> {
        let digest = self.image_id.split_once(':').map_or(&*self.image_id, |(_, hex)| hex);
        Some(match word {
            ".ID" => self.short_id(),
            ".FullID" | ".ContainerID" => &self.id,
            ".Name" | ".ContainerName" => &self.name,
            ".ImageID" => digest.get(..12).unwrap_or(digest),
            ".ImageFullID" | ".ContainerImageID" => &self.image_id,
            ".ImageName" | ".ContainerImageName" => &self.image,
            ".Command" => &self.command,
            ".Hostname" => &self.host,
            ".DaemonName" => "docker",
            _ => return None,
        })
    }

    /// A container of which only its names are known, for the tag of a local log.
    pub(crate) fn named(id: &str, name: &str, image: &str, image_id: &str) -> Self {
        let text = str::to_owned;
        Self {
            id: text(id),
            name: text(name),
            image: text(image),
            image_id: text(image_id),
            ..Self::default()
        }
    }
}

/// The labels and variables that the options ask for.
pub(crate) fn attributes(
    options: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
    env: &[String],
) -> BTreeMap<String, String> {
    let option = |name: &str| options.get(name).map_or("", String::as_str);
    let variables = env.iter().filter_map(|entry| entry.split_once('='));
    let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut found = BTreeMap::new();
    chosen(option("labels"), option("labels-regex"), labels, &mut found);
    chosen(option("env"), option("env-regex"), variables, &mut found);
    found
}

fn chosen<'a>(
    list: &str,
    pattern: &str,
    all: impl Iterator<Item = (&'a str, &'a str)>,
    found: &mut BTreeMap<String, String>,
) {
    let pattern =
        Some(pattern).filter(|text| !text.is_empty()).and_then(|text| Regex::new(text).ok());
    for (name, value) in all {
        let wanted = list.split(',').any(|wanted| wanted == name)
            || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name));
        if wanted {
            found.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Refuses patterns and tags that could not be used.
pub(crate) fn check_attributes(
    driver: &str,
    options: &BTreeMap<String, String>,
) -> Result<(), PlanError> {
    let wrong = |option: &str, value: &str| PlanError::LogOption {
        driver: driver.to_owned(),
        option: option.to_owned(),
        value: Some(value.to_owned()),
    };
    for name in ["labels-regex", "env-regex"] {
        if let Some(text) = options.get(name) {
            Regex::new(text).map_err(|_| wrong(name, text))?;
        }
    }
    match options.get("tag") {
        Some(tag) if About::default().tag(tag).is_none() => Err(wrong("tag", tag)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn tags_are_templates() {
        let about = About::named(&"ab".repeat(32), "web", "nginx", "sha256:0123456789abcdef");
        let tag = |template| about.tag(template);
        assert_eq!(
            tag("{{.ImageName}}/{{ .Name }}/{{.ID}}").as_deref(),
            Some("nginx/web/abababababab")
        );
        assert_eq!(tag("{{.ImageID}}").as_deref(), Some("0123456789ab"));
        assert_eq!(
            (tag("plain").as_deref(), tag("{{.Bird}}"), tag("{{.ID")),
            (Some("plain"), None, None)
        );
        let refused = check_attributes("gelf", &map(&[("tag", "{{.Bird}}")])).expect_err("a bird");
        assert_eq!(
            refused.to_string(),
            "invalid value \"{{.Bird}}\" of log opt 'tag' for gelf log driver"
        );
        check_attributes("gelf", &map(&[("env-regex", "(")])).expect_err("no pattern");
    }

    #[test]
    fn labels_and_variables_are_chosen_by_name_and_by_pattern() {
        let options = map(&[("labels", "a,b"), ("labels-regex", "^x\\."), ("env", "HOME")]);
        let labels = map(&[("a", "1"), ("c", "2"), ("x.y", "3")]);
        let env = ["HOME=/root".to_owned(), "PATH=/bin".to_owned()];
        let found = attributes(&options, &labels, &env);
        assert_eq!(found, map(&[("HOME", "/root"), ("a", "1"), ("x.y", "3")]));
    }
}

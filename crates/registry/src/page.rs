//! Pages for people: repositories, tags, and what an image is made of.
//!
//! Everything can be read without a script; the one there is copies commands. `/` has the repositories,
//! `/-/NAME` a repository's tags, `/-/NAME?tag=T` or `?digest=D` what is behind one.
//!
//! Invariant: whatever somebody pushed is text here, never markup, and nothing is loaded from elsewhere.
//! Absent on purpose: changing anything.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use dhow_spec::image::{CONFIG_BYTES_MAX, Document, Index, MANIFEST_BYTES_MAX, Manifest};
use dhow_spec::{RepositoryPath, Tag};
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::access::Action;
use crate::app::{App, blocking};
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::error::{ApiError, Code};
use crate::http::query::escape;
use crate::http::reply::Reply;
use crate::routes::{Target, digest_of, find_manifest};

/// Entries of one page.
const PAGE: usize = 200;
const POLICY: &str =
    "default-src 'none'; style-src 'self'; script-src 'self'; frame-ancestors 'none'";
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Colours of layers, told apart side by side.
const COLOURS: usize = 6;

/// Text that is no markup.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

/// Answers a browser; `path` is all of it. `None` for what is no page.
pub(crate) async fn dispatch(
    app: &Arc<App>,
    call: &Call,
    path: &str,
) -> Result<Option<Reply>, ApiError> {
    if !app.config.web || ![Method::GET, Method::HEAD].contains(&call.method) {
        return Ok(None);
    }
    let file = |kind: &str, text: &'static str| {
        Reply::new(StatusCode::OK).with(CONTENT_TYPE, kind).with_body(Body::whole(text))
    };
    Ok(Some(match path {
        "/" => repositories(app, call).await?,
        "/page.css" => file("text/css; charset=utf-8", STYLE),
        "/page.js" => file("text/javascript; charset=utf-8", SCRIPT),
        _ => match path.strip_prefix("/-/").and_then(RepositoryPath::parse) {
            Some(name) => repository(app, call, &name).await?,
            None => return Ok(None),
        },
    }))
}

fn page(title: &str, body: &str) -> Reply {
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><link rel=\"stylesheet\" href=\"/page.css\">\
         <script src=\"/page.js\" defer></script>\
         <header><a href=\"/\">registry</a></header><main>{body}</main></html>\n",
        title = Plain(title),
    );
    Reply::new(StatusCode::OK)
        .with(CONTENT_TYPE, "text/html; charset=utf-8")
        .with(CONTENT_SECURITY_POLICY, POLICY)
        .with_body(Body::whole(text))
}

async fn repositories(app: &Arc<App>, call: &Call) -> Result<Reply, ApiError> {
    app.access.page(call)?;
    let mut after = call.query.get("last").unwrap_or_default().to_owned();
    let (mut rows, mut shown, mut more) = (String::new(), 0, false);
    'pages: loop {
        let some = {
            let (app, after) = (app.clone(), after.clone());
            blocking(move || Ok(app.repositories.list(&after, PAGE)?)).await?
        };
        if some.is_empty() {
            break;
        }
        for found in some {
            let name = RepositoryPath::parse(&found.name);
            if name.is_some_and(|name| app.access.may_list(call, &name)) {
                if shown == PAGE {
                    more = true;
                    break 'pages;
                }
                shown += 1;
                let (name, size) = (Plain(&found.name), Size(found.bytes));
                let _ = write!(
                    rows,
                    "<tr><td><a href=\"/-/{name}\">{name}</a><td>{}<td>{size}",
                    found.tags
                );
            }
            after = found.name;
        }
    }
    let next = match more {
        true => format!("<p><a href=\"/?last={}\">more</a>", escape(&after)),
        false => String::new(),
    };
    let body = match shown {
        0 => "<h1>Repositories</h1><p>Nothing is here yet.".to_owned(),
        _ => {
            format!("<h1>Repositories</h1><table><tr><th>name<th>tags<th>size{rows}</table>{next}")
        }
    };
    Ok(page("registry", &body))
}

async fn repository(app: &Arc<App>, call: &Call, name: &RepositoryPath) -> Result<Reply, ApiError> {
    app.access.page(call)?;
    app.access.allow(call, name, Action::Pull)?;
    if let Some(digest) = call.query.get("digest") {
        let digest = digest_of(digest)?;
        return document(app, call, name, Target::Digest(digest)).await;
    }
    if let Some(tag) = call.query.get("tag") {
        let tag = Tag::parse(tag).ok_or_else(|| ApiError::new(Code::ManifestInvalid, "no tag"))?;
        return document(app, call, name, Target::Tag(tag)).await;
    }
    let after = call.query.get("last").unwrap_or_default().to_owned();
    let tags = {
        let (app, name) = (app.clone(), name.clone());
        blocking(move || Ok(app.repositories.tags(&name, &after, PAGE + 1)?)).await?
    };
    let mut body = format!("<h1>{}</h1><table><tr><th>tag<th>digest", Plain(name.as_str()));
    for tag in tags.iter().take(PAGE) {
        let (text, digest) = (Plain(tag.name.as_str()), tag.digest);
        let _ = write!(
            body,
            "<tr><td><a href=\"/-/{name}?tag={text}\">{text}</a>\
             <td><a href=\"/-/{name}?digest={digest}\"><code>{digest}</code></a>"
        );
    }
    body.push_str("</table>");
    if let Some(last) = tags.get(PAGE - 1).filter(|_| tags.len() > PAGE) {
        let _ =
            write!(body, "<p><a href=\"/-/{name}?last={}\">more</a>", Plain(last.name.as_str()));
    }
    Ok(page(name.as_str(), &body))
}

async fn document(
    app: &Arc<App>,
    call: &Call,
    name: &RepositoryPath,
    target: Target,
) -> Result<Reply, ApiError> {
    let found = find_manifest(app, name, &target).await?;
    let Some(found) = found else {
        return Err(ApiError::new(Code::ManifestUnknown, "the repository has no such manifest"));
    };
    let (document, config) = {
        let (app, name, digest) = (app.clone(), name.clone(), found.digest);
        blocking(move || {
            let bytes = app.store.content().read(&digest, MANIFEST_BYTES_MAX as u64)?;
            let document = Document::parse(&bytes, None);
            let document = document.map_err(|error| ApiError::new(Code::ManifestInvalid, error))?;
            let config = match &document {
                Document::Manifest(manifest) => config(&app, &name, manifest)?,
                Document::Index(_) => Value::Null,
            };
            Ok((document, config))
        })
        .await?
    };
    let (sign, title) = match &target {
        Target::Tag(tag) => (":", tag.to_string()),
        Target::Digest(digest) => ("@", digest.to_string()),
    };
    let host = call.header(&HOST).unwrap_or("REGISTRY");
    let mut body = format!(
        "<h1><a href=\"/-/{name}\">{name}</a>{sign}{}</h1><p><code>{}</code>\
         <p class=\"command\"><code>docker pull {host}/{name}{sign}{title}</code>\
         <p class=\"command\"><code>dhow pull {host}/{name}{sign}{title}</code>",
        Plain(&title),
        found.digest,
        host = Plain(host),
    );
    match &document {
        Document::Index(index) => write_index(&mut body, name, index),
        Document::Manifest(manifest) => write_image(&mut body, manifest, &config),
    }
    Ok(page(&format!("{name}{sign}{title}"), &body))
}

/// An image's configuration; nothing if it is none, or not here.
fn config(app: &App, name: &RepositoryPath, manifest: &Manifest) -> Result<Value, ApiError> {
    let digest = &manifest.config.digest;
    if !manifest.is_image() || app.repositories.blob(name, digest)?.is_none() {
        return Ok(Value::Null);
    }
    let bytes = app.store.content().read(digest, CONFIG_BYTES_MAX as u64)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn write_index(body: &mut String, name: &RepositoryPath, index: &Index) {
    body.push_str("<h2>Platforms</h2><table><tr><th>platform<th>manifest<th>size");
    for entry in index.manifests.iter().take(PAGE) {
        let platform = entry.platform.as_ref().map_or("-".to_owned(), ToString::to_string);
        let (platform, digest, size) = (Plain(&platform), entry.digest, Size(entry.size));
        let _ = write!(
            body,
            "<tr><td>{platform}<td><a href=\"/-/{name}?digest={digest}\"><code>{digest}</code></a><td>{size}"
        );
    }
    body.push_str("</table>");
}

fn write_image(body: &mut String, manifest: &Manifest, config: &Value) {
    let text = |key: &str| config[key].as_str().unwrap_or("-").to_owned();
    body.push_str("<h2>Configuration</h2><table>");
    let platform = format!("{}/{}", text("os"), text("architecture"));
    let run = &config["config"];
    let list = |key: &str| match &run[key] {
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Value::String(word) => word.clone(),
        _ => "-".to_owned(),
    };
    let kind = manifest.artifact_type.as_ref().unwrap_or(&manifest.config.media_type);
    for (key, value) in [
        ("type", kind.as_str().into_owned()),
        ("platform", platform),
        ("created", text("created")),
        ("entrypoint", list("Entrypoint")),
        ("command", list("Cmd")),
        ("environment", list("Env")),
        ("working directory", list("WorkingDir")),
        ("user", list("User")),
    ] {
        let _ = write!(body, "<tr><th>{key}<td><code>{}</code>", Plain(&value));
    }
    body.push_str("</table>");
    write_layers(body, manifest);
    write_history(body, manifest, &config["history"]);
}

/// Layers side by side, as wide as they are large. A drawing takes no style of its own: its policy forbids it.
fn write_layers(body: &mut String, manifest: &Manifest) {
    let total: u64 = manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    let _ = write!(body, "<h2>Layers: {}</h2>", Size(total));
    body.push_str("<svg viewBox=\"0 0 1000 40\" preserveAspectRatio=\"none\" role=\"img\">");
    let mut left = 0.0;
    for (index, layer) in manifest.layers.iter().enumerate() {
        let width = layer.size as f64 * 1000.0 / total.max(1) as f64;
        let _ = write!(
            body,
            "<rect x=\"{left:.2}\" width=\"{width:.2}\" height=\"40\" class=\"c{}\"><title>{}: {}</title></rect>",
            index % COLOURS,
            layer.digest,
            Size(layer.size)
        );
        left += width;
    }
    body.push_str("</svg>");
}

/// The steps that made the image, each with its layer if it made one.
fn write_history(body: &mut String, manifest: &Manifest, history: &Value) {
    body.push_str("<table><tr><th>size<th>layer<th>made by");
    let mut layers = manifest.layers.iter().enumerate();
    let nothing = Vec::new();
    for step in history.as_array().unwrap_or(&nothing) {
        let by = Plain(step["created_by"].as_str().unwrap_or_default());
        let layer = match step["empty_layer"].as_bool() {
            Some(true) => None,
            _ => layers.next(),
        };
        write_step(body, layer, &by);
    }
    for layer in layers {
        write_step(body, Some(layer), &Plain(""));
    }
    body.push_str("</table>");
}

fn write_step(
    body: &mut String,
    layer: Option<(usize, &dhow_spec::image::Descriptor)>,
    by: &Plain<'_>,
) {
    let _ = match layer {
        Some((index, layer)) => write!(
            body,
            "<tr><td class=\"size c{}\">{}<td><code title=\"{digest}\">{short}</code><td><code>{by}</code>",
            index % COLOURS,
            Size(layer.size),
            digest = layer.digest,
            short = &layer.digest.hex()[..12],
        ),
        None => write!(body, "<tr><td><td><td><code>{by}</code>"),
    };
}

/// Bytes, as people read them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0 as f64, "B");
        for next in ["kB", "MB", "GB", "TB"] {
            if value < 1000.0 {
                break;
            }
            (value, unit) = (value / 1000.0, next);
        }
        if unit == "B" { write!(f, "{value} B") } else { write!(f, "{value:.1} {unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_text() {
        let text = Plain("<script>'\"&").to_string();
        assert_eq!(text, "&lt;script&gt;&#39;&quot;&amp;");
    }

    #[test]
    fn sizes() {
        let sizes = [0, 999, 1000, 1_234_567, 5_000_000_000].map(|bytes| Size(bytes).to_string());
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "1.2 MB", "5.0 GB"]);
    }
}

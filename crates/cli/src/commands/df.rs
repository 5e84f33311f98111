//! `system df`: what is taken on disk.

use super::ps::age;
use crate::args::{Flag, Matches};
use crate::cli::Cli;
use crate::client::query;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::format::{Heads, Row, ellipsis, render, short_id};
use crate::json::{Json, object};
use crate::tree::{Command, Words};
use crate::units::human_size;

pub(super) const DF: Command = Command {
    names: &["system df"],
    usage: "[OPTIONS]",
    about: "Show docker disk usage",
    flags: &[&[
        Flag::text("format", super::FORMAT_HELP),
        Flag::switch("verbose", "Show every single object").short('v'),
    ]],
    words: Words::None,
    stops: false,
    run: df,
};

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

const HEADS: Heads = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// Each kind: its title, its summary since API 1.53, and its list before.
const KINDS: [(&str, &str, &str); 4] = [
    ("Images", "ImageUsage", "Images"),
    ("Containers", "ContainerUsage", "Containers"),
    ("Local Volumes", "VolumeUsage", "Volumes"),
    ("Build Cache", "BuildCacheUsage", "BuildCache"),
];

fn df(cli: &Cli, matches: &Matches) -> Result<u8, Failure> {
    let verbose = matches.on("verbose");
    let format = matches.text("format");
    let pairs = verbose.then(|| ("verbose", "1".to_owned()));
    let answer = cli.client()?.get(format!("/system/df{}", query(pairs)))?;
    if verbose && matches!(format, "" | "table") {
        cli.print(&details(&answer)?)?;
        return Ok(0);
    }
    if verbose {
        let lists = KINDS.iter().map(|(title, ..)| {
            (title.replace("Local ", "").replace(' ', ""), list(&answer, title))
        });
        let text = object(lists);
        let template = match format {
            "json" => "{{json .}}",
            format => format,
        };
        let text = crate::format::Format::parse(template)?.fill(&text)?;
        cli.say(&text)?;
        return Ok(0);
    }
    let format = if matches!(format, "" | "table") { TABLE } else { format };
    let rows = KINDS.iter().map(|kind| {
        let sum = summary(&answer, kind);
        let (size, reclaimable) = (sum.size, human_size(sum.reclaimable, 4));
        let share = match size > 0.0 {
            true => format!("{reclaimable} ({}%)", (sum.reclaimable * 100.0 / size) as i64),
            false => reclaimable,
        };
        Row::default()
            .with("Type", kind.0)
            .with("TotalCount", sum.total.to_string())
            .with("Active", sum.active.to_string())
            .with("Size", human_size(size, 4))
            // Of the build cache no share is told.
            .with(
                "Reclaimable",
                if kind.0 == "Build Cache" { human_size(sum.reclaimable, 4) } else { share },
            )
    });
    cli.print(&render(format, HEADS, rows.collect())?)?;
    Ok(0)
}

#[derive(Default)]
struct Sum {
    total: i64,
    active: i64,
    size: f64,
    reclaimable: f64,
}

fn summary(answer: &Json, (title, new, old): &(&str, &str, &str)) -> Sum {
    let usage = answer.get(new);
    if !usage.is_null() {
        return Sum {
            total: usage.int("TotalCount"),
            active: usage.int("ActiveCount"),
            size: usage.number("TotalSize"),
            reclaimable: usage.number("Reclaimable"),
        };
    }
    let items = answer.get(old).items();
    let mut sum = Sum { total: items.len() as i64, ..Sum::default() };
    for item in items {
        let (used, size) = match *title {
            "Images" => (item.int("Containers") > 0, item.number("Size")),
            "Containers" => (item.text("State") == "running", item.number("SizeRw")),
            "Local Volumes" => {
                let usage = item.get("UsageData");
                (usage.int("RefCount") > 0, usage.number("Size").max(0.0))
            }
            _ => (item.on("InUse"), item.number("Size")),
        };
        sum.active += i64::from(used);
        sum.size += size;
        sum.reclaimable += if used { 0.0 } else { size };
    }
    if *title == "Images" {
        sum.size = answer.number("LayersSize");
        sum.reclaimable = sum.reclaimable.min(sum.size);
    }
    sum
}

fn list(answer: &Json, title: &str) -> Json {
    let kind = KINDS.iter().find(|kind| kind.0 == title);
    let Some((_, new, old)) = kind else { return Json::List(Vec::new()) };
    let found = answer.get(new).get("Items");
    let found = if found.is_null() { answer.get(old) } else { found };
    if found.is_null() { Json::List(Vec::new()) } else { found.clone() }
}

/// Four tables, one under the other.
fn details(answer: &Json) -> Result<String, Failure> {
    let size = |item: &Json, key: &str| match item.int(key) {
        -1 => "N/A".to_owned(),
        _ => human_size(item.number(key), 4),
    };
    let images = list(answer, "Images");
    let rows = images.items().iter().map(|image| {
        let name = image.texts("RepoTags").first().copied().unwrap_or("<none>:<none>").to_owned();
        let (repository, tag) = name.rsplit_once(':').unwrap_or((&name, "<none>"));
        let unique = (image.number("Size") - image.number("SharedSize").max(0.0)).max(0.0);
        Row::default()
            .with("Repository", repository)
            .with("Tag", tag)
            .with("ID", short_id(image.text("Id")))
            .with("Created", age(Moment { seconds: image.int("Created"), nanoseconds: 0 }))
            .with("Size", size(image, "Size"))
            .with("Shared", size(image, "SharedSize"))
            .with("Unique", human_size(unique, 4))
            .with("Containers", image.int("Containers").to_string())
    });
    let heads: Heads = &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("Created", "CREATED"),
        ("Size", "SIZE"),
        ("Shared", "SHARED SIZE"),
        ("Unique", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ];
    let table = |heads: Heads, rows: Vec<Row>| {
        let columns: Vec<_> = heads.iter().map(|(name, _)| format!("{{{{.{name}}}}}")).collect();
        render(&format!("table {}", columns.join("\t")), heads, rows)
    };
    let mut out = format!("Images space usage:\n\n{}", table(heads, rows.collect())?);
    let containers = list(answer, "Containers");
    let rows = containers.items().iter().map(|container| {
        let names = container.texts("Names");
        let local = container.get("Mounts").items().iter();
        let local = local.filter(|mount| mount.text("Driver") == "local").count();
        Row::default()
            .with("ID", short_id(container.text("Id")))
            .with("Image", container.text("Image"))
            .with("Command", crate::format::quoted(&ellipsis(container.text("Command"), 20)))
            .with("Volumes", local.to_string())
            .with("Size", human_size(container.number("SizeRw"), 3))
            .with("Created", age(Moment { seconds: container.int("Created"), nanoseconds: 0 }))
            .with("Status", container.text("Status"))
            .with("Names", names.join(",").trim_start_matches('/'))
    });
    let heads: Heads = &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("Volumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("Created", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ];
    out += &format!("\nContainers space usage:\n\n{}", table(heads, rows.collect())?);
    let volumes = list(answer, "Local Volumes");
    let rows = volumes.items().iter().map(|volume| {
        let usage = volume.get("UsageData");
        Row::default()
            .with("Name", volume.text("Name"))
            .with("Links", usage.int("RefCount").to_string())
            .with("Size", size(usage, "Size"))
    });
    let heads: Heads = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
    out += &format!("\nLocal Volumes space usage:\n\n{}", table(heads, rows.collect())?);
    let cache = summary(answer, &KINDS[3]);
    let items = list(answer, "Build Cache");
    let rows = items.items().iter().map(|item| {
        Row::default()
            .with("ID", short_id(item.text("ID")))
            .with("Type", item.text("Type"))
            .with("Size", size(item, "Size"))
            .with("Usage", item.int("UsageCount").to_string())
            .with("Shared", if item.on("Shared") { "true" } else { "false" })
    });
    let heads: Heads = &[
        ("ID", "CACHE ID"),
        ("Type", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("Usage", "USAGE"),
        ("Shared", "SHARED"),
    ];
    let title = human_size(cache.size, 4);
    out += &format!("\nBuild cache usage: {title}\n\n{}", table(heads, rows.collect())?);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_sum_up() {
        let new = Json::parse(
            br#"{"VolumeUsage":{"TotalCount":2,"ActiveCount":1,"TotalSize":30,"Reclaimable":10}}"#,
        )
        .unwrap();
        let old = Json::parse(
            br#"{"Volumes":[{"UsageData":{"RefCount":1,"Size":20}},{"UsageData":{"RefCount":0,"Size":10}}]}"#,
        )
        .unwrap();
        for answer in [new, old] {
            let sum = summary(&answer, &KINDS[2]);
            assert_eq!((sum.total, sum.active), (2, 1));
            assert_eq!((sum.size, sum.reclaimable), (30.0, 10.0));
        }
    }
}

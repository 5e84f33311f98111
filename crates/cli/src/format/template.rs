//! `--format`: Go templates over what the engine sent, with the functions that Docker adds.
//!
//! Values reach the templates as maps. Two things that Go finds out by types are helped along: the
//! method `.Label "name"` becomes a function, and `json` prints objects in the order in which the
//! engine sent their keys, and without those that were added for templates. Absent on purpose: anything that knows a container or an image.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gotmpl::{MissingKey, Template, TemplateError, Value};

use crate::json::Json;

/// The key under which a row keeps its labels as an object, for `.Label`.
pub(crate) const LABELS: &str = "\0labels";

/// A template could not be read, or not be filled in.
#[derive(Debug)]
pub(crate) struct FormatError(String);

impl FormatError {
    /// What is wrong, without saying where it was met.
    pub(crate) fn reason(&self) -> &str {
        &self.0
    }

    /// With the place in `source` that Go would name.
    fn of(error: TemplateError, source: &str) -> FormatError {
        let TemplateError::MissingKey { key } = &error else { return FormatError::from(error) };
        let field = format!(".{key}");
        let Some(place) = source.find(&field) else { return FormatError::from(error) };
        let line = source[..place].matches('\n').count() + 1;
        let before = source[..place].rsplit('\n').next().unwrap_or_default();
        let chain = |letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '.');
        let begin = before.rfind(chain).map_or(0, |index| index + 1);
        let chain = format!("{}{field}", &before[begin..]);
        FormatError(format!(
            "template: :{line}:{begin}: executing \"\" at <{chain}>: map has no entry for key {key:?}"
        ))
    }
}

impl std::fmt::Display for FormatError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "template parsing error: {}", self.0)
    }
}

impl From<TemplateError> for FormatError {
    fn from(error: TemplateError) -> FormatError {
        let text = error.to_string();
        if let Some(rest) = text.strip_prefix("execution error: ") {
            return FormatError(format!("template: {rest}"));
        }
        // Go counts the lines of a template that cannot be read, not its columns.
        let numbers = text.strip_prefix("template: ").map(|rest| rest.splitn(3, ':').collect());
        let numbers: Vec<&str> = numbers.unwrap_or_default();
        match numbers[..] {
            [line, column, rest] if column.parse::<u32>().is_ok() => {
                FormatError(format!("template: :{line}:{rest}"))
            }
            _ => FormatError(text),
        }
    }
}

/// Objects as the engine wrote them, by the address of the map that stands for them.
type Originals = Arc<Mutex<HashMap<usize, Json>>>;

/// A template that is ready to be filled in.
pub(crate) struct Format {
    template: Template,
    source: String,
    originals: Originals,
}

/// What a template is filled in with.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Filling {
    /// An object of the engine's.
    Object,
    /// A row of a list, whose JSON Go writes with HTML escaped.
    Row,
    /// The names of columns; functions leave them alone.
    Header,
}

impl Format {
    /// Reads a template; a key that an object lacks is then an error, as in Docker.
    pub(crate) fn parse(source: &str) -> Result<Format, FormatError> {
        Format::with(source, Filling::Object)
    }

    /// The same for the rows of a list.
    pub(crate) fn row(source: &str) -> Result<Format, FormatError> {
        Format::with(source, Filling::Row)
    }

    /// The same for the head of a table: the functions leave the columns' names alone.
    pub(crate) fn header(source: &str) -> Result<Format, FormatError> {
        Format::with(source, Filling::Header)
    }

    fn with(source: &str, filling: Filling) -> Result<Format, FormatError> {
        let originals = Originals::default();
        let mut template = Template::new("").missing_key(MissingKey::Error);
        let header = filling == Filling::Header;
        template = if header {
            ["json", "split", "join", "title", "lower", "upper", "truncate"]
                .into_iter()
                .fold(template, |template, name| template.func(name, first))
        } else {
            let seen = originals.clone();
            template
                .func("json", move |words| {
                    let json = json(words.first(), &seen);
                    let escaped = filling == Filling::Row && !json.fields().is_empty();
                    let out = json.compact();
                    Ok(text(if escaped { escape_html(&out) } else { out }))
                })
                .func("split", split)
                .func("join", join)
                .func("title", |words| Ok(text(title(&string(words, 0)))))
                .func("lower", |words| Ok(text(string(words, 0).to_lowercase())))
                .func("upper", |words| Ok(text(string(words, 0).to_uppercase())))
                .func("truncate", truncate)
        };
        let label = if header { label_header } else { label };
        let template = template.func("pad", pad).func("_label", label);
        let template = template.parse(&with_labels(source))?;
        Ok(Format { template, source: source.to_owned(), originals })
    }

    /// The text for one value.
    pub(crate) fn fill(&self, value: &Json) -> Result<String, FormatError> {
        self.fill_with(value, value)
    }

    /// The text for `value`, of which `json` shows what `original` has.
    pub(crate) fn fill_with(&self, value: &Json, original: &Json) -> Result<String, FormatError> {
        let mut originals = self.originals.lock().unwrap_or_else(PoisonError::into_inner);
        originals.clear();
        let value = convert(value, original, &mut originals);
        drop(originals);
        let filled = self.template.execute_to_string(&value);
        filled.map_err(|error| FormatError::of(error, &self.source))
    }
}

/// `.Label "x"` is a method in Go; here it is a function of the row.
fn with_labels(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(place) = rest.find(".Label ") {
        let before = rest[..place].chars().next_back();
        let method = before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_');
        out.push_str(&rest[..place]);
        out.push_str(if method { "_label $ " } else { ".Label " });
        rest = &rest[place + ".Label ".len()..];
    }
    out.push_str(rest);
    out
}

/// As Go's encoder does unless told not to.
fn escape_html(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn convert(json: &Json, original: &Json, originals: &mut HashMap<usize, Json>) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(on) => Value::Bool(*on),
        Json::Int(number) => Value::Int(*number),
        Json::Uint(number) => Value::Uint(*number),
        Json::Float(number) => Value::Float(*number),
        Json::Text(content) => text(content.clone()),
        Json::List(items) => {
            let convert = |(index, item)| {
                convert(item, original.items().get(index).unwrap_or(item), originals)
            };
            let items: Arc<[Value]> = items.iter().enumerate().map(convert).collect();
            if original.is_null() {
                originals.insert(address_of_list(&items), Json::Null);
            }
            Value::List(items)
        }
        Json::Object(fields) => {
            let member = |(key, value): &(String, Json)| {
                let original = original.find(key).unwrap_or(value);
                (Arc::from(key.as_str()), convert(value, original, originals))
            };
            let map: Arc<BTreeMap<Arc<str>, Value>> = Arc::new(fields.iter().map(member).collect());
            originals.insert(Arc::as_ptr(&map) as usize, original.clone());
            Value::Map(map)
        }
    }
}

/// The way back, by the originals where a value is one of them.
fn json(value: Option<&Value>, originals: &Originals) -> Json {
    match value {
        None | Some(Value::Nil | Value::Function(_)) => Json::Null,
        Some(Value::Bool(on)) => Json::Bool(*on),
        Some(Value::Int(number)) => Json::Int(*number),
        Some(Value::Uint(number)) => Json::Uint(*number),
        Some(Value::Float(number)) => Json::Float(*number),
        Some(Value::String(content)) => Json::Text(content.to_string()),
        Some(Value::List(items)) if is_null(address_of_list(items), originals) => Json::Null,
        Some(Value::Map(map)) if is_null(Arc::as_ptr(map) as usize, originals) => Json::Null,
        Some(Value::List(items)) => {
            Json::List(items.iter().map(|item| json(Some(item), originals)).collect())
        }
        Some(Value::Map(map)) => {
            let address = Arc::as_ptr(map) as usize;
            let found = originals.lock().unwrap_or_else(PoisonError::into_inner);
            let fields: Vec<(String, Json)> = match found.get(&address) {
                Some(original) => original.fields().to_vec(),
                None => {
                    drop(found);
                    let member = |(key, value): (&Arc<str>, &Value)| {
                        (key.to_string(), json(Some(value), originals))
                    };
                    map.iter().map(member).collect()
                }
            };
            Json::Object(fields.into_iter().filter(|(key, _)| !key.starts_with('\0')).collect())
        }
    }
}

/// Where an empty list is told from the `null` that it stands for.
fn address_of_list(items: &Arc<[Value]>) -> usize {
    Arc::as_ptr(items).cast::<Value>() as usize
}

fn is_null(address: usize, originals: &Originals) -> bool {
    let found = originals.lock().unwrap_or_else(PoisonError::into_inner);
    found.get(&address).is_some_and(Json::is_null)
}

fn text(content: String) -> Value {
    Value::String(content.into())
}

fn string(words: &[Value], index: usize) -> String {
    words.get(index).map(ToString::to_string).unwrap_or_default()
}

fn int(words: &[Value], index: usize) -> usize {
    let number = words.get(index).and_then(Value::as_int).unwrap_or(0);
    usize::try_from(number).unwrap_or(0)
}

fn first(words: &[Value]) -> gotmpl::Result<Value> {
    Ok(words.first().cloned().unwrap_or(Value::Nil))
}

fn split(words: &[Value]) -> gotmpl::Result<Value> {
    let (whole, separator) = (string(words, 0), string(words, 1));
    let parts: Vec<Value> = match separator.as_str() {
        "" => whole.chars().map(|letter| text(letter.to_string())).collect(),
        separator => whole.split(separator).map(|part| text(part.to_owned())).collect(),
    };
    Ok(Value::List(parts.into()))
}

fn join(words: &[Value]) -> gotmpl::Result<Value> {
    let parts: Vec<String> = match words.first() {
        Some(Value::List(items)) => items.iter().map(ToString::to_string).collect(),
        Some(Value::Nil) | None => Vec::new(),
        Some(_) => {
            let why = "error calling join: the value is no list of texts";
            return Err(TemplateError::Exec(why.to_owned()));
        }
    };
    Ok(text(parts.join(&string(words, 1))))
}

fn title(content: &str) -> String {
    let mut after_letter = false;
    let upper = |letter: char| {
        let begins = !after_letter;
        after_letter = letter.is_alphanumeric() || letter == '_' || letter == '\'';
        if begins { letter.to_uppercase().collect::<String>() } else { letter.to_string() }
    };
    content.chars().map(upper).collect()
}

fn pad(words: &[Value]) -> gotmpl::Result<Value> {
    let content = string(words, 0);
    if content.is_empty() {
        return Ok(text(content));
    }
    let blanks = |count| " ".repeat(count);
    Ok(text(format!("{}{content}{}", blanks(int(words, 1)), blanks(int(words, 2)))))
}

fn truncate(words: &[Value]) -> gotmpl::Result<Value> {
    let mut content = string(words, 0);
    let mut length = int(words, 1).min(content.len());
    while !content.is_char_boundary(length) {
        length -= 1;
    }
    content.truncate(length);
    Ok(text(content))
}

fn label(words: &[Value]) -> gotmpl::Result<Value> {
    let labels = words.first().and_then(|row| row.field(LABELS));
    let value = labels.and_then(|labels| labels.field(&string(words, 1)));
    Ok(value.cloned().unwrap_or_else(|| text(String::new())))
}

fn label_header(words: &[Value]) -> gotmpl::Result<Value> {
    let name = string(words, 1);
    let last = name.rsplit('.').next().unwrap_or_default();
    Ok(text(last.replace(['-', '_'], " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, value: &str, expected: &str) {
        let value = Json::parse(value.as_bytes()).unwrap();
        let format = Format::parse(source).unwrap();
        assert_eq!(format.fill(&value).unwrap(), expected, "{source}");
    }

    #[test]
    fn docker_s_functions() {
        check("{{json .}}", r#"{"B":1,"A":{"z":"<","y":2}}"#, r#"{"B":1,"A":{"z":"<","y":2}}"#);
        check("{{json .A.z}}", r#"{"A":{"z":[1,"x"]}}"#, r#"[1,"x"]"#);
        check("{{upper .A}} {{lower .A}} {{title .B}}", r#"{"A":"xY","B":"a bc"}"#, "XY xy A Bc");
        check(
            "{{join .A \"-\"}} {{index (split .B \",\") 1}}",
            r#"{"A":["x","y"],"B":"1,2"}"#,
            "x-y 2",
        );
        check(
            "[{{pad .A 1 2}}][{{truncate .A 2}}][{{truncate .A 9}}]",
            r#"{"A":"abc"}"#,
            "[ abc  ][ab][abc]",
        );
        check("{{range $k, $v := .M}}{{$k}}={{$v}};{{end}}", r#"{"M":{"b":1,"a":2}}"#, "a=2;b=1;");
        check("{{println .A}}", r#"{"A":"x"}"#, "x\n");
    }

    #[test]
    fn labels_are_a_method() {
        let row = format!("{{\"Labels\":\"a.b=1\",\"{}\":{{\"a.b\":\"1\"}}}}", "\\u0000labels");
        check("{{.Label \"a.b\"}}|{{.Label \"no\"}}|{{.Labels}}", &row, "1||a.b=1");
        check("{{json .}}", &row, r#"{"Labels":"a.b=1"}"#);
        let header = Format::header("{{.Label \"com.x-y\"}}").unwrap();
        assert_eq!(header.fill(&Json::Object(Vec::new())).unwrap(), "x y");
    }

    #[test]
    fn what_was_added_is_not_shown() {
        let original = Json::parse(br#"{"Id":"x","State":{"Pid":1}}"#).unwrap();
        let mut shown = original.clone();
        shown.set("ID", "x".into());
        let format = Format::parse("{{.ID}} {{json .}} {{json .State}}").unwrap();
        let text = format.fill_with(&shown, &original).unwrap();
        assert_eq!(text, r#"x {"Id":"x","State":{"Pid":1}} {"Pid":1}"#);
    }

    #[test]
    fn a_list_stands_for_null() {
        let original = Json::parse(br#"{"A":null,"B":null,"C":[]}"#).unwrap();
        let shown = Json::parse(br#"{"A":[],"B":{},"C":[]}"#).unwrap();
        let format = Format::parse("{{.A}} {{.B}} {{json .A}} {{json .B}} {{json .C}}").unwrap();
        assert_eq!(format.fill_with(&shown, &original).unwrap(), "[] map[] null null []");
    }

    #[test]
    fn rows_escape_html_as_go_does() {
        let row = Json::parse(br#"{"Tag":"<none>"}"#).unwrap();
        let format = Format::row("{{json .}} {{json .Tag}}").unwrap();
        assert_eq!(format.fill(&row).unwrap(), r#"{"Tag":"\u003cnone\u003e"} "<none>""#);
    }

    #[test]
    fn unknown_fields_are_errors() {
        let format = Format::parse("{{.Nope}}").unwrap();
        let error = format.fill(&Json::Object(Vec::new())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""
        );
        let error = Format::parse("{{.X").err().unwrap();
        assert_eq!(error.reason(), "template: :1: unclosed action");
    }
}

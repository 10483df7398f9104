//! The page of the API, made from the OpenAPI document: no script, nothing from elsewhere.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use utoipa::openapi::OpenApi;

use crate::html::{escape, marked, page};
use crate::problem::Code;
use crate::routes::{Authority, ROUTES};

/// The whole page.
pub(super) fn render(api: &OpenApi) -> String {
    let api = serde_json::to_value(api).unwrap_or_default();
    let mut main = String::new();
    for paragraph in text(&api["info"]["description"]).split("\n\n") {
        let _ = writeln!(main, "<p>{}</p>", marked(paragraph));
    }
    let _ = writeln!(
        main,
        "<p>Version {}. As a document: <a href=\"/api/openapi.json\">openapi.json</a>; the events: \
         <a href=\"/api/asyncapi.json\">asyncapi.json</a></p>",
        escape(text(&api["info"]["version"]))
    );
    contents(&mut main, &api);
    for tag in tags(&api) {
        let _ = writeln!(main, "<h2>{}</h2>", escape(&capital(tag)));
        for (method, path, operation) in operations(&api).filter(|(_, _, o)| tag_of(o) == tag) {
            section(&mut main, &api, method, path, operation);
        }
    }
    schemas(&mut main, &api);
    problems(&mut main);
    page("Quivive: API", &main)
}

/// The operations in the order of the list of routes.
fn operations(api: &Value) -> impl Iterator<Item = (&'static str, &'static str, &Value)> {
    ROUTES.iter().filter_map(|route| {
        let operation = &api["paths"][&route.path][route.method.as_str().to_lowercase()];
        operation
            .is_object()
            .then_some((route.method.as_str(), route.path.as_str(), operation))
    })
}

fn tags(api: &Value) -> Vec<&str> {
    let mut tags = Vec::new();
    for (_, _, operation) in operations(api) {
        let tag = tag_of(operation);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

fn tag_of(operation: &Value) -> &str {
    text(&operation["tags"][0])
}

fn contents(main: &mut String, api: &Value) {
    main.push_str("<nav aria-label=\"Routes\">\n<ul>\n");
    for (method, path, operation) in operations(api) {
        let _ = writeln!(
            main,
            "<li><a href=\"#{}\"><code>{method} {}</code></a> {}</li>",
            escape(text(&operation["operationId"])),
            escape(path),
            marked(text(&operation["summary"]))
        );
    }
    main.push_str("<li><a href=\"#shapes\">Shapes</a></li>\n<li><a href=\"#problems\">Problems</a></li>\n</ul>\n</nav>\n");
}

fn section(main: &mut String, api: &Value, method: &str, path: &str, operation: &Value) {
    let id = escape(text(&operation["operationId"]));
    let _ = writeln!(main, "<section aria-labelledby=\"{id}\">");
    let _ = writeln!(
        main,
        "<h3 id=\"{id}\"><code>{method} {}</code></h3>",
        escape(path)
    );
    for part in [&operation["summary"], &operation["description"]] {
        if !text(part).is_empty() {
            let _ = writeln!(main, "<p>{}</p>", marked(text(part)));
        }
    }
    let _ = writeln!(main, "<p>{}</p>", who(method, path));
    parameters(main, operation);
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if body.is_object() {
        main.push_str("<p>The body:</p>\n");
        fields(main, resolve(api, body));
    }
    responses(main, operation);
    main.push_str("</section>\n");
}

fn who(method: &str, path: &str) -> Cow<'static, str> {
    let route = ROUTES
        .iter()
        .find(|route| route.method == method && route.path == path);
    let Some(authority) = route.map(|route| route.authority) else {
        return "".into();
    };
    match authority {
        Authority::Open => "For everybody.".into(),
        Authority::Probe => "For everybody, under any host name.".into(),
        Authority::Bearer => "Needs an access token: <code>Authorization: Bearer …</code>".into(),
        Authority::Admin | Authority::May(_) | Authority::AdminOr(_) | Authority::Service(_) => {
            let needed = authority.needs().unwrap_or_default();
            format!("Needs {needed}: <code>Authorization: Bearer …</code>").into()
        }
        Authority::Loopback => "For this machine only.".into(),
    }
}

fn parameters(main: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"].as_array() else {
        return;
    };
    main.push_str(
        "<table>\n<thead><tr><th>Parameter</th><th>In</th><th>What</th></tr></thead>\n<tbody>\n",
    );
    for parameter in parameters {
        let _ = writeln!(
            main,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            marked(text(&parameter["description"]))
        );
    }
    main.push_str("</tbody>\n</table>\n");
}

fn responses(main: &mut String, operation: &Value) {
    main.push_str(
        "<table>\n<thead><tr><th>Answer</th><th>When</th><th>Shape</th></tr></thead>\n<tbody>\n",
    );
    for (status, response) in members(&operation["responses"]) {
        let content = members(&response["content"]).next();
        let shape = content
            .map(|(_, content)| shape(&content["schema"]))
            .unwrap_or_default();
        let _ = writeln!(
            main,
            "<tr><td>{}</td><td>{}</td><td>{shape}</td></tr>",
            escape(status),
            marked(text(&response["description"]))
        );
    }
    main.push_str("</tbody>\n</table>\n");
}

fn schemas(main: &mut String, api: &Value) {
    main.push_str("<h2 id=\"shapes\">Shapes</h2>\n");
    for (name, schema) in members(&api["components"]["schemas"]) {
        let _ = writeln!(
            main,
            "<section>\n<h3 id=\"shape-{0}\">{0}</h3>",
            escape(name)
        );
        if !text(&schema["description"]).is_empty() {
            let _ = writeln!(main, "<p>{}</p>", marked(text(&schema["description"])));
        }
        fields(main, schema);
        main.push_str("</section>\n");
    }
}

/// The properties of an object, those of what it is made of among them.
fn fields(main: &mut String, schema: &Value) {
    if let Some(parts) = schema["allOf"].as_array() {
        for part in parts {
            match part["$ref"].as_str() {
                Some(_) => {
                    let _ = writeln!(main, "<p>All of {}, and:</p>", shape(part));
                }
                None => fields(main, part),
            }
        }
        return;
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect();
    main.push_str(
        "<table>\n<thead><tr><th>Field</th><th>Type</th><th>What</th></tr></thead>\n<tbody>\n",
    );
    for (name, property) in members(&schema["properties"]) {
        let optional = if required.contains(&name.as_str()) {
            ""
        } else {
            ", optional"
        };
        let _ = writeln!(
            main,
            "<tr><td><code>{}</code></td><td>{}{optional}</td><td>{}</td></tr>",
            escape(name),
            shape(property),
            marked(text(&property["description"]))
        );
    }
    main.push_str("</tbody>\n</table>\n");
}

fn problems(main: &mut String) {
    main.push_str("<h2 id=\"problems\">Problems</h2>\n<table>\n");
    main.push_str(
        "<thead><tr><th>Code</th><th>Status</th><th>Meaning</th></tr></thead>\n<tbody>\n",
    );
    for meaning in Code::ALL.iter().map(|code| code.meaning()) {
        let _ = writeln!(
            main,
            "<tr><td><a href=\"/problems/{0}\"><code>{0}</code></a></td><td>{1}</td><td>{2}. {3}</td></tr>",
            meaning.code,
            meaning.status.as_u16(),
            escape(meaning.title),
            marked(meaning.about)
        );
    }
    main.push_str("</tbody>\n</table>\n");
}

/// A schema in a word or two, as HTML.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
    {
        return format!("<a href=\"#shape-{0}\">{0}</a>", escape(name));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(shape).collect::<Vec<_>>().join(" or ");
    }
    let word = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        other => text(other).to_owned(),
    };
    let of = match word.as_str() {
        "array" if schema["items"].is_object() => format!(" of {}", shape(&schema["items"])),
        _ => String::new(),
    };
    let mut shown = escape(&word) + &of;
    if let Some(format) = schema["format"].as_str() {
        let _ = write!(shown, " ({})", escape(format));
    }
    if let Some(length) = schema["maxLength"].as_u64() {
        let _ = write!(shown, ", at most {length}");
    }
    shown
}

/// Follows a reference into the components; optional bodies are one of a shape and null.
fn resolve<'a>(api: &'a Value, schema: &'a Value) -> &'a Value {
    let named = schema["oneOf"]
        .as_array()
        .and_then(|choices| choices.iter().find(|choice| choice["$ref"].is_string()));
    let schema = named.unwrap_or(schema);
    match schema["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
    {
        Some(name) => &api["components"]["schemas"][name],
        None => schema,
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

//! The receivers that `docs/webhooks.md` shows, as they stand there: each takes what is sent, and nothing else.

use quivive_testkit::Message;
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::support::{python_with, verifies};

const PAGE: &str = include_str!("../../../../../docs/webhooks.md");

/// What the page's examples are called with: a message, then the same with a header or a byte changed.
const IN_PYTHON: &str = r#"
import json, sys
given = json.load(sys.stdin)
headers, body = given["headers"], given["body"]
assert receive(given["secret"], headers, body)["type"] == given["type"]
assert verify(given["public_key"], headers, body)
later = str(int(headers["webhook-timestamp"]) + 1)
for changed, text in [({"webhook-id": "other"}, body), ({"webhook-timestamp": later}, body), ({}, body + " ")]:
    for known, key in [(receive, "secret"), (verify, "public_key")]:
        try: known(given[key], {**headers, **changed}, text)
        except Exception: pass
        else: raise SystemExit(f"{known.__name__} lets {changed} {text} through")
print("verified")
"#;

const IN_NODE: &str = r#"
import { readFileSync } from "node:fs";
const given = JSON.parse(readFileSync(0, "utf8"));
const [headers, body] = [given.headers, Buffer.from(given.body)];
if (receive(given.secret, headers, body).type !== given.type) throw new Error("another type");
const later = String(Number(headers["webhook-timestamp"]) + 1);
const longer = Buffer.from(given.body + " ");
for (const [changed, bytes] of [[{ "webhook-id": "other" }, body], [{ "webhook-timestamp": later }, body], [{}, longer]]) {
  let taken = true;
  try { receive(given.secret, { ...headers, ...changed }, bytes); } catch { taken = false; }
  if (taken) throw new Error(`${JSON.stringify(changed)} is let through`);
}
console.log("verified");
"#;

/// A way to run the examples of one language.
pub(super) struct Receiver {
    program: String,
    arguments: Vec<String>,
}

/// Those that can be run here; of the others it is said that they are not.
pub(super) async fn receivers() -> Vec<Receiver> {
    let mut receivers = Vec::new();
    if let Some(program) = python_with("standardwebhooks, nacl", "receivers in Python").await {
        let text = examples("python", 2) + IN_PYTHON;
        let arguments = vec!["-c".to_owned(), text];
        receivers.push(Receiver { program, arguments });
    }
    let node = Command::new("node").arg("--version").output().await;
    if node.is_ok_and(|output| output.status.success()) {
        let text = examples("js", 1) + IN_NODE;
        let module = ["--input-type=module".to_owned(), "--eval".to_owned(), text];
        receivers.push(Receiver {
            program: "node".to_owned(),
            arguments: module.into(),
        });
    } else {
        println!("skipped: receivers in JavaScript (install node)");
    }
    receivers
}

/// The code of the page in a language, of so many blocks.
fn examples(language: &str, count: usize) -> String {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    let fitting = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    let fitting: Vec<_> = fitting.collect();
    assert_eq!(fitting.len(), count, "examples in {language}");
    fitting.join("\n")
}

impl Receiver {
    /// Goes on only when it takes a message, and refuses it with anything changed.
    pub(super) async fn verify(&self, message: &Message, keys: &Value) {
        let headers = message.headers.iter();
        let headers: Map<String, Value> = headers
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        let given = json!({
            "headers": headers,
            "body": String::from_utf8(message.body.clone()).unwrap(),
            "type": message.json()["type"],
            "secret": keys["secret"],
            "public_key": keys["public_key"],
        });
        let mut program = Command::new(&self.program);
        verifies(program.args(&self.arguments), &given).await;
    }
}

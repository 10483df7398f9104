//! The README's tour, run as it is written: every command in its `console` blocks, each answer compared with what is shown.

use std::process::Command;

use quivive_testkit::postgres::servers;
use quivive_testkit::{Options, Server};

use crate::support::BINARY;

const README: &str = include_str!("../../../../README.md");

/// One command of the tour and the lines it is said to print.
struct Step {
    command: String,
    shown: Vec<String>,
}

fn steps() -> Vec<Step> {
    let (_, tour) = README
        .split_once("## Five minutes")
        .expect("the README has its tour");
    let tour = tour.split("\n## ").next().unwrap_or_default();
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in tour.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step {
                    command: command.to_owned(),
                    shown: Vec::new(),
                });
            } else if let Some(command) = line.strip_prefix("> ") {
                let step = steps
                    .last_mut()
                    .expect("a continued command has a beginning");
                step.command = format!("{}\n{command}", step.command);
            } else if let Some(step) = steps.last_mut() {
                step.shown.push(line.to_owned());
            }
        }
    }
    steps
}

/// Whether a printed line is what the README shows: `…` stands for anything.
fn fits(shown: &str, printed: &str) -> bool {
    let mut rest = printed;
    for (i, part) in shown.split('…').enumerate() {
        match rest.find(part) {
            Some(at) if i > 0 || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    shown.ends_with('…') || rest.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_works_as_written() {
    let server = Server::start(BINARY, Options::default()).await;
    let steps = steps();
    assert!(steps.len() >= 8, "the tour has its steps");
    // One shell for all, so that variables live on; each step ends with a line of its own.
    let mut script = String::from("set -eu\n");
    for step in &steps {
        script.push_str(&step.command);
        script.push_str("\necho; echo '--- next'\n");
    }
    let port = server.address.port().to_string();
    let script = script.replace("localhost:8080", &format!("localhost:{port}"));
    let folder = std::path::Path::new(BINARY).parent().unwrap();
    let path = format!("{}:{}", folder.display(), "/usr/local/bin:/usr/bin:/bin");
    let data = server.data.clone();
    let output = tokio::task::spawn_blocking(move || {
        Command::new("bash")
            .args(["-c", &script])
            .env("PATH", path)
            .env("QUIVIVE__SERVER__DATA_DIR", &data)
            .envs(servers::url_for(&data).map(|url| (servers::SETTING, url)))
            .output()
    });
    let output = output.await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout)
        .replace(&format!("localhost:{port}"), "localhost:8080");
    let said = String::from_utf8_lossy(&output.stderr);
    let answers: Vec<&str> = printed.split("--- next\n").collect();
    for (step, answer) in steps.iter().zip(&answers) {
        let lines: Vec<&str> = answer
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        for (i, shown) in step
            .shown
            .iter()
            .filter(|line| !line.trim().is_empty())
            .enumerate()
        {
            let printed = lines.get(i).copied().unwrap_or("nothing");
            assert!(
                fits(shown.trim_end(), printed),
                "{}\nshown:   {shown}\nprinted: {printed}\n{said}",
                step.command
            );
        }
    }
    assert!(output.status.success(), "{said}\n{printed}");
}

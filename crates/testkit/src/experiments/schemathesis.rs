//! Schemathesis, which others made, against the server's own description: it sends what the `OpenAPI` document allows and what
//! it does not, and compares the answers with it.

use tokio::process::Command;

use crate::Server;

/// Routes that would end the session that everything is asked with, or whose answer does not end.
const LEFT_OUT: &str = "events/stream|/api/v1/sessions|/api/v1/me$|rotations$|/me/password|/metrics|email-change-reversals|\
    admin/users/.*/(sessions|password-reset-requests)|api-keys/";

/// What is no fault: whoever asks for a letter is told the same of anything that was typed; and no schema says that a time is
/// to come, that a host resolves or that a token is good, so that `positive_data_acceptance` would find those refused.
const SETTINGS: &str = r#"
[[operations]]
include-name = "POST /api/v1/password-reset-requests"
checks.negative_data_rejection.enabled = false

[[operations]]
include-name = "POST /api/v1/email-verification-requests"
checks.negative_data_rejection.enabled = false

[checks]
positive_data_acceptance.enabled = false
"#;

const PROGRAM: &str = "schemathesis";

/// Requests for each operation, besides those that try each bound. Panics with what Schemathesis found; says so when it is
/// not installed.
pub async fn run(server: &Server, each: usize) -> String {
    let version = Command::new(PROGRAM).arg("--version").output().await;
    if !version.is_ok_and(|output| output.status.success()) {
        return "skipped: schemathesis is not installed (pip install schemathesis)".to_owned();
    }
    let admin = server.administrator().await;
    let settings = server.data.with_extension("schemathesis.toml");
    std::fs::write(&settings, SETTINGS).expect("the temporary directory is writable");
    let output = Command::new(PROGRAM)
        .arg("--config-file")
        .arg(&settings)
        .arg("run")
        .arg(format!("http://{}/api/openapi.json", server.address))
        .args(["-H", &format!("Authorization: Bearer {admin}")])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--exclude-path-regex",
            LEFT_OUT,
        ])
        .args(["--max-examples", &each.to_string(), "--seed", "7"])
        .args(["--continue-on-failure", "--no-shrink", "--warnings", "off"])
        .current_dir(std::env::temp_dir())
        .output()
        .await;
    let _ = std::fs::remove_file(&settings);
    let output = output.expect("it was there a moment ago");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let cases = said
        .lines()
        .skip_while(|line| *line != "Test cases:")
        .nth(1);
    format!("Schemathesis: {}", cases.unwrap_or_default().trim())
}

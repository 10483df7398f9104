//! What a veto is answered with, and where it may not be told.

use quivive_app::testing::Scene;
use quivive_app::workflows::accounts::register_user;
use quivive_app::workflows::passwords::request_password_reset;
use quivive_app::workflows::sessions::log_in;
use quivive_delivery::Code;
use quivive_delivery::subscriber::InCommit;

use super::*;

fn nothing_goes(scene: &Scene) -> Scene {
    let no = || Err(Code::new("not_today"));
    let gate = InCommit::default()
        .on("sign-in", move |_: &log_in::Succeeded, _| no())
        .and_then(|all| all.on("register", move |_: &register_user::Succeeded, _| no()))
        .and_then(|all| {
            all.on("reset", move |_: &request_password_reset::Succeeded, _| {
                no()
            })
        });
    scene.reacting(gate.unwrap())
}

#[tokio::test]
async fn a_vetoed_sign_in_is_forbidden_and_only_told_after_the_right_password() {
    let server = Server::new(nothing_goes(&given(account().verified())));
    let right = server.send(sign_in("ada@example.org", PASSWORD)).await;
    assert_eq!(right.problem(), (403, "vetoed".to_owned()));
    let wrong = server.send(sign_in("ada@example.org", NEW_PASSWORD)).await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_veto_does_not_tell_who_has_an_account() {
    let server = Server::new(nothing_goes(&given(account().verified())));
    for path in ["/api/v1/users", "/api/v1/password-reset-requests"] {
        let mut answers = Vec::new();
        for email in ["ada@example.org", "nobody@example.org"] {
            let mut body = json!({"email": email});
            if path.ends_with("users") {
                body["password"] = NEW_PASSWORD.into();
            }
            let answer = server.send(post(path, &body)).await;
            answers.push((answer.status, answer.body));
        }
        assert_eq!(answers[0].0, 202);
        assert_eq!(answers[0], answers[1], "{path}");
    }
    let (accounts, tokens) = server
        .scene
        .world
        .see(|state| (state.accounts.len(), state.one_time.len()));
    assert_eq!((accounts, tokens), (1, 0), "nothing came of it");
}

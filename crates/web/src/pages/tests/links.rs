//! Links from letters: used once, by the button alone, with one answer for every token that does not work.

use quivive_app::testing::{NEW_PASSWORD, PASSWORD, account, account_of, given};
use quivive_app::workflows::accounts::change_email::ChangeEmail;
use quivive_app::workflows::accounts::verify_email;
use quivive_delivery::Code;
use quivive_delivery::subscriber::InCommit;
use quivive_domain::one_time::Purpose;
use quivive_domain::{AccountState, Address};

use super::site::Site;

fn encoded(text: &str) -> String {
    text.replace(' ', "+")
}

#[tokio::test]
async fn the_button_confirms_an_address_once() {
    let site = Site::new(given(account().with_verification_token()));
    let token = site.token(Purpose::VerifyEmail);
    let page = site.get(&format!("/verify?token={token}")).await;
    assert!(
        page.body
            .contains(&format!("name=\"token\" value=\"{token}\"")),
        "{}",
        page.body
    );
    assert_eq!(site.scene.account().verified_at, None);

    let done = site
        .post("/verify", &format!("token={token}&button="))
        .await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, "/verify/done")
    );
    assert!(site.scene.account().verified_at.is_some());

    let again = site.post("/verify", &format!("token={token}")).await;
    assert_eq!(again.status, 400);
    assert!(
        again.body.contains("This link does not work"),
        "{}",
        again.body
    );
}

#[tokio::test]
async fn the_buttons_change_an_address_and_take_it_back() {
    let site = Site::new(given(account().verified()));
    let change = ChangeEmail {
        by: site.scene.proven(),
        new_email: Address::parse("ada@new.example").unwrap(),
    };
    assert!(site.scene.when(change).await.answer.is_ok());
    for (purpose, path, address) in [
        (Purpose::ChangeEmail, "/email-change", "ada@new.example"),
        (Purpose::RevertEmail, "/email-revert", "ada@example.org"),
    ] {
        let token = site.token(purpose);
        let page = site.get(&format!("{path}?token={token}")).await;
        assert!(page.body.contains(&format!("action=\"{path}\"")));
        assert_ne!(site.scene.account().email.typed(), address);
        let done = site.post(path, &format!("token={token}")).await;
        let location = format!("{path}/done");
        assert_eq!((done.status, done.header("location")), (303, &*location));
        assert_eq!(site.scene.account().email.typed(), address);
        let again = site.post(path, &format!("token={token}")).await;
        assert_eq!(again.status, 400);
    }
}

#[tokio::test]
async fn a_veto_is_said_in_words_and_leaves_the_link_as_it_was() {
    let gate = InCommit::default().on("gate", |_: &verify_email::Succeeded, _| {
        Err(Code::new("not_today"))
    });
    let scene = given(account().with_verification_token()).reacting(gate.unwrap());
    let site = Site::new(scene);
    let token = site.token(Purpose::VerifyEmail);
    for _ in 0..2 {
        let page = site.post("/verify", &format!("token={token}")).await;
        assert_eq!(page.status, 403);
        assert!(
            page.body.contains("This is not permitted here"),
            "{}",
            page.body
        );
    }
    assert_eq!(site.scene.account().verified_at, None);
}

#[tokio::test]
async fn a_new_password_is_saved_once() {
    let site = Site::new(given(
        account().verified().with_sessions(2).with_reset_token(),
    ));
    let token = site.token(Purpose::ResetPassword);
    let hidden = format!("name=\"token\" value=\"{token}\"");
    assert!(
        site.get(&format!("/reset?token={token}"))
            .await
            .body
            .contains(&hidden)
    );

    let long = "x".repeat(5_000);
    for (password, why) in [
        ("short", "too easy to guess"),
        ("", "too easy to guess"),
        (PASSWORD, "You had this password before"),
        (long.as_str(), "too easy to guess"),
    ] {
        let form = format!("token={token}&new_password={}", encoded(password));
        let again = site.post("/reset", &form).await;
        assert_eq!(again.status, 422, "{password}");
        assert!(again.body.contains(why), "{}", again.body);
        assert!(again.body.contains(&hidden), "the token stays in the form");
        assert!(
            password.is_empty() || !again.body.contains(&format!("\"{password}\"")),
            "the password does not come back"
        );
        assert!(
            again.body.contains("<title>Error: "),
            "errors are heard first"
        );
    }
    let form = format!("token={token}&new_password={}", encoded(NEW_PASSWORD));
    let done = site.post("/reset", &form).await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, "/reset/done"),
        "{}",
        done.body
    );
    assert_eq!(site.scene.open_sessions(), 0);

    let again = site.post("/reset", &form).await;
    assert_eq!(again.status, 400);
    assert!(again.body.contains("href=\"/forgot\""), "{}", again.body);
}

/// T19, T20: one answer, whatever is wrong.
#[tokio::test]
async fn every_token_that_does_not_work_gets_the_same_answer() {
    let scene = given(account().with_verification_token().with_reset_token());
    let locked = scene.and(
        account_of("bob@example.org")
            .state(AccountState::Inactive)
            .with_reset_token(),
    );
    let site = Site::new(locked);
    let inactive = site.token(Purpose::ResetPassword);
    let scene = site.scene.clone().and(
        account_of("cy@example.org")
            .with_verification_token()
            .with_reset_token(),
    );
    let site = Site::new(scene);
    let (verify, reset) = (
        site.token(Purpose::VerifyEmail),
        site.token(Purpose::ResetPassword),
    );
    let flipped = |token: &str| -> String {
        token
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() {
                    c.to_ascii_uppercase()
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    for (path, good, other) in [("/verify", &verify, &reset), ("/reset", &reset, &verify)] {
        let bad = [
            String::new(),
            "token=".to_owned(),
            "token=+".to_owned(),
            "token=null".to_owned(),
            "token=0".to_owned(),
            format!("token={}", &good[1..]),
            format!("token={good}A"),
            format!("token={}", flipped(good)),
            format!("token={other}"),
            format!("token={}", &"<script>".repeat(8)),
            "token=%FF%00".to_owned(),
        ];
        let answer = |form: String| {
            let site = &site;
            async move {
                site.post(
                    path,
                    &format!("{form}&new_password={}", encoded(NEW_PASSWORD)),
                )
                .await
            }
        };
        let first = answer(bad[0].clone()).await;
        assert_eq!(first.status, 400);
        for form in bad {
            assert_eq!(answer(form.clone()).await, first, "{path} {form}");
        }
        if path == "/reset" {
            assert_eq!(
                answer(format!("token={inactive}")).await,
                first,
                "an inactive account"
            );
        }
        site.scene.world.pass(std::time::Duration::from_hours(25));
        assert_eq!(
            answer(format!("token={good}")).await,
            first,
            "{path} expired"
        );
        // A link that was cut short is told at once; one that looks right shows its form.
        assert_eq!(site.get(path).await, first);
        assert_eq!(
            site.get(&format!("{path}?token={}", &good[1..])).await,
            first
        );
        assert_eq!(
            site.get(&format!("{path}?token={good}&token={good}")).await,
            first
        );
        assert_eq!(site.get(&format!("{path}?token={good}")).await.status, 200);
    }
}

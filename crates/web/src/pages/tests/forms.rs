//! Forms that begin something, and what every form refuses.

use axum::http::header::RETRY_AFTER;
use quivive_app::ports::EVEN_ANSWER;
use quivive_app::testing::{NEW_PASSWORD, account, account_of, given, nobody};
use quivive_domain::one_time::Purpose;
use quivive_domain::{AccountState, Role};

use super::site::{SETUP_TOKEN, Site, URL};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const OURS: (&str, &str) = ("sec-fetch-site", "same-origin");

fn administrator() -> String {
    format!(
        "token={SETUP_TOKEN}&email=root%40example.org&password={}",
        NEW_PASSWORD.replace(' ', "+")
    )
}

#[tokio::test(start_paused = true)]
async fn asking_for_a_link_answers_the_same_whoever_asks() {
    let scene = given(account().verified())
        .and(account_of("bob@example.org").state(AccountState::Inactive));
    let site = Site::new(scene);
    let mut answers = Vec::new();
    for email in [
        "ada@example.org",
        "ada@example.org",
        "ada@example.org",
        "ada@example.org",
        "bob@example.org",
        "cy@example.org",
    ] {
        let began = tokio::time::Instant::now();
        let answer = site
            .post("/forgot", &format!("email={}", email.replace('@', "%40")))
            .await;
        answers.push((
            answer,
            began.elapsed().as_millis() / EVEN_ANSWER.as_millis(),
        ));
    }
    let (first, took) = &answers[0];
    assert_eq!(
        (first.status, first.header("location"), *took),
        (303, "/email-sent", 1)
    );
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
    // Three letters an hour for one address; the others had none.
    let links = site.scene.world.see(|state| {
        state
            .one_time
            .values()
            .filter(|(t, _)| t.purpose == Purpose::ResetPassword)
            .count()
    });
    assert_eq!(links, 3);
}

#[tokio::test]
async fn what_is_no_address_is_told_and_comes_back_as_text() {
    let site = Site::new(nobody());
    for (typed, shown) in [
        ("", ""),
        ("ada", "ada"),
        ("%3Cscript%3E%22%27", "&#60;script&#62;&#34;&#39;"),
        ("%FF", "\u{fffd}"),
    ] {
        let answer = site.post("/forgot", &format!("email={typed}")).await;
        assert_eq!(answer.status, 422, "{typed}");
        assert!(
            answer.body.contains(&format!("value=\"{shown}\"")),
            "{}",
            answer.body
        );
        assert!(
            answer.body.contains("not an e-mail address"),
            "{}",
            answer.body
        );
    }
    assert_eq!(site.scene.world.kinds(), [""; 0]);
}

#[tokio::test]
async fn the_link_of_the_first_minute_makes_one_administrator() {
    let site = Site::new(nobody());
    let page = site.get(&format!("/setup?token={SETUP_TOKEN}")).await;
    assert!(
        page.body
            .contains(&format!("name=\"token\" value=\"{SETUP_TOKEN}\""))
    );
    for (email, password, why) in [
        ("root", NEW_PASSWORD, "not an e-mail address"),
        ("root%40example.org", "short", "too easy to guess"),
        (
            "root%40example.org",
            &"x".repeat(5_000),
            "too easy to guess",
        ),
    ] {
        let form = format!(
            "token={SETUP_TOKEN}&email={email}&password={}",
            password.replace(' ', "+")
        );
        let again = site.post("/setup", &form).await;
        assert_eq!(again.status, 422, "{why}");
        assert!(
            again.body.contains(why) && again.body.contains(SETUP_TOKEN),
            "{}",
            again.body
        );
        assert!(
            !again.body.contains(&format!("\"{password}\"")),
            "the password does not come back"
        );
    }
    assert!(!site.setup_is_done());

    let done = site.post("/setup", &administrator()).await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, "/setup/done"),
        "{}",
        done.body
    );
    assert!(site.setup_is_done());
    let admins = || {
        site.scene.world.see(|state| {
            state
                .accounts
                .values()
                .filter(|a| a.roles.contains(&Role::Admin))
                .count()
        })
    };
    assert_eq!(admins(), 1);

    let again = site.post("/setup", &administrator()).await;
    assert_eq!(again.status, 410);
    assert!(
        again.body.contains("There is an administrator already"),
        "{}",
        again.body
    );
    assert_eq!(
        site.get(&format!("/setup?token={SETUP_TOKEN}"))
            .await
            .status,
        410
    );
    assert_eq!(admins(), 1);
}

#[tokio::test]
async fn nobody_sets_up_without_the_link() {
    let site = Site::new(nobody());
    for path in [
        "/setup",
        "/setup?token=",
        "/setup?token=the-token-of-the-lin",
        "/setup?token=x&token=x",
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            answer.body.contains("quivive admin create") && !answer.body.contains("<form"),
            "{path}"
        );
    }
    let form = administrator().replace(SETUP_TOKEN, "another");
    assert_eq!(site.post("/setup", &form).await.status, 400);
    // The link is good, but somebody was made an administrator by command.
    let site = Site::new(given(account().verified().role(Role::Admin)));
    let late = site.post("/setup", &administrator()).await;
    assert_eq!(late.status, 410, "{}", late.body);
}

/// T39: nothing but a form of ours reaches a workflow.
#[tokio::test]
async fn a_form_from_elsewhere_is_refused_before_it_is_read() {
    let site = Site::new(given(
        account().with_verification_token().with_reset_token(),
    ));
    let verify = format!("token={}", site.token(Purpose::VerifyEmail));
    let reset = format!(
        "token={}&new_password=violet+anvil+canyon+spoon",
        site.token(Purpose::ResetPassword)
    );
    let forms = [
        ("/verify", verify),
        ("/reset", reset),
        ("/forgot", "email=ada%40example.org".to_owned()),
        ("/setup", administrator()),
    ];
    for (path, form) in &forms {
        for (headers, status) in [
            (&[FORM][..], 403),
            (&[FORM, ("origin", "https://evil.example")], 403),
            (&[FORM, ("origin", "null")], 403),
            (
                &[FORM, ("sec-fetch-site", "cross-site"), ("origin", URL)],
                403,
            ),
            (
                &[FORM, ("sec-fetch-site", "same-site"), ("origin", URL)],
                403,
            ),
            (&[FORM, ("sec-fetch-site", "none")], 403),
            (&[OURS], 415),
            (&[OURS, ("content-type", "text/plain")], 415),
            (
                &[OURS, ("content-type", "multipart/form-data; boundary=x")],
                415,
            ),
            (&[OURS, ("content-type", "application/json")], 415),
        ] {
            let answer = site.send("POST", path, headers, form).await;
            assert_eq!(answer.status, status, "{path} {headers:?}");
            assert!(
                answer.body.contains("This form could not be read"),
                "{path} {headers:?}"
            );
            assert_eq!(answer.header("access-control-allow-origin"), "");
        }
        for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = site.send(method, path, &[FORM, OURS], form).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.header("allow").contains("POST"), "{method} {path}");
        }
        let override_it = format!("{path}?_method=POST&{form}");
        assert!(site.get(&override_it).await.status < 500, "{path}");
    }
    assert_eq!(site.scene.world.kinds(), [""; 0]);

    // Without `Sec-Fetch-Site`, our own origin will do.
    for (path, form) in &forms {
        let answer = site
            .send("POST", path, &[FORM, ("origin", URL)], form)
            .await;
        assert_eq!(answer.status, 303, "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_form_that_is_not_whole_is_a_clear_page() {
    let site = Site::new(nobody());
    let large = format!("token=x&new_password={}", "x".repeat(70_000));
    for (path, form, status) in [
        ("/reset", "token=x", 422),
        ("/reset", "token=x&new_password=a&new_password=b", 422),
        ("/reset", large.as_str(), 413),
        ("/forgot", "", 422),
        ("/forgot", "mail=x", 422),
        ("/setup", "token=the-token-of-the-link", 422),
        ("/setup", "%%%&&&===", 422),
    ] {
        let answer = site.post(path, form).await;
        assert_eq!(answer.status, status, "{path} {form:.50}");
        assert!(
            answer.body.contains("This form could not be read"),
            "{path}: {}",
            answer.body
        );
    }
    assert_eq!(site.scene.world.kinds(), [""; 0]);
}

#[tokio::test]
async fn a_full_queue_is_a_page_that_says_to_wait() {
    let site = Site::new(given(account().with_reset_token()));
    site.scene.world.hashing_places(0);
    let form = format!(
        "token={}&new_password=violet+anvil+canyon+spoon",
        site.token(Purpose::ResetPassword)
    );
    let answer = site.post("/reset", &form).await;
    assert_eq!((answer.status, answer.header(RETRY_AFTER)), (503, "1"));
    assert!(
        answer.body.contains("The server is busy"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_fault_says_the_number_of_the_request_and_nothing_else() {
    let site = Site::new(given(account().with_verification_token()));
    let fault = quivive_delivery::Fault::Internal("hunter2".to_owned());
    site.scene
        .world
        .fail("user.email_verification.succeeded", 1, fault);
    let answer = site
        .post(
            "/verify",
            &format!("token={}", site.token(Purpose::VerifyEmail)),
        )
        .await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains(&answer.id), "{}", answer.body);
    assert!(!answer.body.contains("hunter2"));
}

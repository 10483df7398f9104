//! What every page promises, and what each form does, over an in-memory world. The edge and the database are tested
//! elsewhere.

mod forms;
mod links;
mod mailbox;
mod site;

use axum::http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG};
use quivive_app::testing::{account, given};
use quivive_domain::one_time::Purpose;
use site::{KEY, SETUP_TOKEN, Site};

/// Every address that a GET may have, with tokens where links have them.
fn addresses(site: &Site) -> Vec<String> {
    let verify = site.token(Purpose::VerifyEmail);
    let reset = site.token(Purpose::ResetPassword);
    vec![
        "/".to_owned(),
        format!("/verify?token={verify}"),
        "/verify/done".to_owned(),
        format!("/reset?token={reset}"),
        "/reset/done".to_owned(),
        "/forgot".to_owned(),
        "/email-sent".to_owned(),
        format!("/setup?token={SETUP_TOKEN}"),
        "/setup/done".to_owned(),
        format!("/dev/mail?key={KEY}"),
    ]
}

fn somebody() -> Site {
    Site::new(given(
        account().with_verification_token().with_reset_token(),
    ))
}

#[tokio::test]
async fn a_get_shows_a_page_and_changes_nothing() {
    let site = somebody();
    for path in addresses(&site) {
        for language in ["en", "pt-BR, pt;q=0.9", "de, *;q=0.1", "nonsense;;;,"] {
            let page = site.get_with(&path, &[("accept-language", language)]).await;
            assert_eq!(page.status, 200, "{path}");
            assert_eq!(
                page.header(CONTENT_TYPE),
                "text/html; charset=utf-8",
                "{path}"
            );
            let want = if language.starts_with("pt") {
                "pt-BR"
            } else {
                "en"
            };
            assert_eq!(page.header(CONTENT_LANGUAGE), want, "{path}");
            assert!(
                page.body.contains(&format!("<html lang=\"{want}\">")),
                "{path}"
            );
        }
        // Scanners ask twice, and with HEAD.
        assert_eq!(
            site.send("HEAD", &path, &[], "").await.status,
            200,
            "{path}"
        );
    }
    assert_eq!(site.scene.world.kinds(), [""; 0], "a GET is no workflow");
    let untouched = |token: &quivive_domain::one_time::OneTimeToken| {
        token.used_at.is_none() && token.ended_at.is_none()
    };
    assert!(
        site.scene
            .world
            .see(|state| state.one_time.values().all(|(token, _)| untouched(token)))
    );
    assert!(!site.setup_is_done());
}

/// T29, and the policy that the templates are written for.
#[tokio::test]
async fn every_answer_binds_the_browser() {
    let site = somebody();
    let mut answers = Vec::new();
    for path in addresses(&site) {
        answers.push(site.get(&path).await);
    }
    answers.push(site.get("/verify?token=x").await);
    answers.push(site.get("/reset").await);
    answers.push(site.get("/setup?token=x").await);
    answers.push(site.get("/dev/mail?key=x").await);
    answers.push(site.get("/.well-known/change-password").await);
    answers.push(site.send("PUT", "/reset", &[], "").await);
    answers.push(site.send("POST", "/reset", &[], "").await);
    answers.push(site.post("/reset", "token=x&new_password=y").await);
    answers.push(site.post("/forgot", "email=ada%40example.org").await);
    for answer in answers {
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "same-origin");
        assert_eq!(answer.header(CACHE_CONTROL), "no-store");
        assert!(
            !answer.header("location").contains("token"),
            "{}",
            answer.header("location")
        );
        assert_eq!(answer.header("set-cookie"), "");
        for forbidden in [
            "<script",
            "<style",
            " style=",
            " onclick",
            "href=\"javascript:",
            "{{",
            "{%",
        ] {
            assert!(
                !answer.body.contains(forbidden),
                "{forbidden}: {}",
                answer.body
            );
        }
    }
}

#[tokio::test]
async fn the_stylesheet_is_kept_for_as_long_as_it_stays_the_same() {
    let site = somebody();
    let home = site.get("/").await;
    let named = home
        .body
        .split('"')
        .find(|part| part.starts_with("/assets/style.css?v="))
        .unwrap();
    let style = site.get(named).await;
    assert_eq!(
        (style.status, style.header(CONTENT_TYPE)),
        (200, "text/css; charset=utf-8")
    );
    assert_eq!(
        style.header(CACHE_CONTROL),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(style.header("x-content-type-options"), "nosniff");
    assert!(style.body.contains("color-scheme"));

    for other in ["/assets/style.css", "/assets/style.css?v=1"] {
        assert_eq!(
            site.get(other).await.header(CACHE_CONTROL),
            "public, no-cache",
            "{other}"
        );
    }
    let tag = style.header(ETAG);
    for held in [tag, &format!("W/{tag}"), &format!("\"0\", {tag}")] {
        let known = site
            .get_with("/assets/style.css", &[("if-none-match", held)])
            .await;
        assert_eq!((known.status, known.body.as_str()), (304, ""), "{held}");
    }
    assert_eq!(
        site.get_with("/assets/style.css", &[("if-none-match", "\"0\"")])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn password_managers_find_the_page_that_changes_a_password() {
    let answer = somebody().get("/.well-known/change-password").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/forgot"));
}

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
        format!("/email-change?token={verify}"),
        "/email-change/done".to_owned(),
        format!("/email-revert?token={verify}"),
        "/email-revert/done".to_owned(),
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
async fn a_file_is_kept_for_as_long_as_it_stays_the_same() {
    let site = somebody();
    let home = site.get("/").await;
    for (path, kind, holds) in [
        (
            "/assets/style.css",
            "text/css; charset=utf-8",
            "color-scheme",
        ),
        ("/assets/icon.svg", "image/svg+xml", "<svg"),
    ] {
        let is_it = |part: &&str| part.starts_with(&format!("{path}?v="));
        let named = home.body.split('"').find(is_it).unwrap();
        let file = site.get(named).await;
        assert_eq!((file.status, file.header(CONTENT_TYPE)), (200, kind));
        let keep = file.header(CACHE_CONTROL);
        assert_eq!(keep, "public, max-age=31536000, immutable");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        assert!(file.body.contains(holds));

        for other in [path.to_owned(), format!("{path}?v=1")] {
            let answer = site.get(&other).await;
            assert_eq!(answer.header(CACHE_CONTROL), "public, no-cache", "{other}");
        }
        let tag = file.header(ETAG);
        let (weak, list) = (format!("W/{tag}"), format!("\"0\", {tag}"));
        for (held, status) in [(tag, 304), (&weak, 304), (&list, 304), ("\"0\"", 200)] {
            let answer = site.get_with(path, &[("if-none-match", held)]).await;
            assert_eq!(answer.status, status, "{held}");
            assert_eq!(answer.body.is_empty(), status == 304, "{held}");
        }
    }
}

#[tokio::test]
async fn password_managers_find_the_page_that_changes_a_password() {
    let answer = somebody().get("/.well-known/change-password").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/forgot"));
}

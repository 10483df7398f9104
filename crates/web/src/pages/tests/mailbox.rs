//! The mailbox of the development mode: for who has the key, on this machine, and for nobody else.

use quivive_app::testing::nobody;
use secrecy::SecretString;

use super::site::{KEY, Site};

#[tokio::test]
async fn the_key_opens_it_as_json_and_as_a_page() {
    let site = Site::new(nobody());
    let path = format!("/dev/mail?key={KEY}");
    let json = site
        .get_with(&path, &[("accept", "application/json")])
        .await;
    assert_eq!(
        (json.status, json.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(json.header("cache-control"), "no-store");
    let letters: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    let want = serde_json::json!({
        "id": "2",
        "to": "ada@example.org",
        "subject": "Confirm <your> address",
        "template": "verify_email",
        "text": "Hello,\n\nhttps://id.example.org/verify?token=abc&x=2\n\njavascript:no",
        "html": "<p>Hello</p>",
        "sent_at": "2026-11-21T03:09:27Z",
    });
    assert_eq!((&letters[0], letters[1]["id"].as_str()), (&want, Some("1")));

    for accept in ["text/html,application/xhtml+xml,*/*;q=0.8", "*/*", ""] {
        let page = site.get_with(&path, &[("accept", accept)]).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, "text/html; charset=utf-8")
        );
        assert!(
            page.body.contains("Confirm &#60;your&#62; address"),
            "{}",
            page.body
        );
        let link = "<a href=\"https://id.example.org/verify?token=abc&#38;x=2\">";
        assert!(page.body.contains(link), "{}", page.body);
        assert_eq!(page.body.matches("<a href=\"https").count(), 2);
    }
}

#[tokio::test]
async fn to_everybody_else_there_is_no_such_page() {
    let site = Site::new(nobody());
    let path = format!("/dev/mail?key={KEY}");
    for wrong in [
        "/dev/mail",
        "/dev/mail?key",
        "/dev/mail?key=",
        "/dev/mail?key=the-key-of-the-mailbo",
        "/dev/mail?key=the-key-of-the-mailboX",
        "/dev/mail?key=the-key-of-the-mailboxx",
        "/dev/mail?key=the-key-of-the-mailbox&key=x",
        "/dev/mail?KEY=the-key-of-the-mailbox",
    ] {
        let answer = site.get(wrong).await;
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (404, "no-store"),
            "{wrong}"
        );
        assert!(answer.body.contains("There is no such page"), "{wrong}");
    }
    for elsewhere in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("forwarded", "for=127.0.0.1"),
        ("peer", "192.0.2.1"),
    ] {
        assert_eq!(
            site.get_with(&path, &[elsewhere]).await.status,
            404,
            "{elsewhere:?}"
        );
    }
    let shut: [fn(&mut crate::Web); 4] = [
        |web| web.options.development = false,
        |web| web.mailbox = None,
        |web| web.options.mailbox_key = None,
        |web| web.options.mailbox_key = Some(SecretString::from("")),
    ];
    for change in shut {
        let site = Site::with(nobody(), change);
        for path in [path.as_str(), "/dev/mail?key="] {
            assert_eq!(site.get(path).await.status, 404);
        }
    }
}

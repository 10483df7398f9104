//! What a new password may be: T06 of the security cases.

use serde_json::{Value, json};

use crate::support::{post, server};

fn registration(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

/// T06: twelve to 128 characters, whatever their bytes and whatever is among them.
#[tokio::test(flavor = "multi_thread")]
async fn t06_lengths_are_counted_in_characters_and_nothing_is_composed() {
    let server = server().await;
    let mixed = |chars: usize| -> String {
        let words = "\u{1f980} otter \u{1f3bb} canyon, p\u{e9}nombre \u{5c71}\u{5ddd} plinth; ";
        words.chars().cycle().take(chars).collect()
    };
    let told = async |password: &str| {
        let body = registration("len@example.com", password);
        let reply = post(&server, "/users", body).await;
        match reply.status {
            202 => "taken".to_owned(),
            _ => reply.expect(422).json()["errors"][0]["code"]
                .as_str()
                .unwrap()
                .to_owned(),
        }
    };
    for (chars, code) in [
        (7, "too_short"),
        (8, "too_short"),
        (11, "too_short"),
        (12, "taken"),
        (14, "taken"),
        (15, "taken"),
        (64, "taken"),
        (128, "taken"),
        (129, "too_long"),
    ] {
        assert_eq!(told(&mixed(chars)).await, code, "{chars}");
    }
    // Neither digits nor signs nor capitals are asked for; blanks are characters.
    for plain in ["violet anvil canyon spoon", "violetanvilcanyonspoon"] {
        assert_eq!(told(plain).await, "taken", "{plain}");
    }
    for (weak, code) in [("password1234", "common"), ("len len len len", "guessable")] {
        assert_eq!(told(weak).await, code, "{weak}");
    }
    // The whole of a long one counts, to its last character.
    let long = mixed(128);
    let body = registration("long@example.com", &long);
    post(&server, "/users", body).await.expect(202);
    let token = server.token("long@example.com", "verify_email").await;
    let verified = post(&server, "/email-verifications", json!({"token": token})).await;
    verified.expect(200);
    let cut: String = long.chars().take(127).collect();
    let refused = post(&server, "/sessions", registration("long@example.com", &cut)).await;
    refused.expect(401);
    server.login("long@example.com", &long).await;
}

/// T06.
#[tokio::test(flavor = "multi_thread")]
async fn t06_passwords_are_long_and_unguessable_and_nothing_else_is_asked() {
    let server = server().await;
    let weak = [
        "short 1!",
        "password1234",
        "aaaaaaaaaaaaaaaa",
        "person.name.example",
        &"ab ".repeat(60),
    ];
    for weak in weak {
        let reply = post(
            &server,
            "/users",
            registration("person.name@example.com", weak),
        )
        .await
        .expect(422);
        assert_eq!(reply.code(), "weak_password", "{weak}");
        assert!(
            !String::from_utf8_lossy(&reply.body).contains(weak),
            "the answer repeats it"
        );
    }
    let composed = "caf\u{e9} au lait tr\u{e8}s chaud \u{1f980}";
    let decomposed = "cafe\u{301} au lait tre\u{300}s chaud \u{1f980}";
    post(&server, "/users", registration("nfc@example.com", composed))
        .await
        .expect(202);
    let token = server.token("nfc@example.com", "verify_email").await;
    post(&server, "/email-verifications", json!({"token": token}))
        .await
        .expect(200);
    for form in [composed, decomposed] {
        server.login("nfc@example.com", form).await;
    }
    // Seventy-two bytes are not the end of a password.
    let long =
        "an uncommonly long sentence about otters, rivers and the weather of last Tuesday evening";
    post(&server, "/users", registration("len@example.com", long))
        .await
        .expect(202);
    let token = server.token("len@example.com", "verify_email").await;
    post(&server, "/email-verifications", json!({"token": token}))
        .await
        .expect(200);
    post(
        &server,
        "/sessions",
        registration("len@example.com", &long[..72]),
    )
    .await
    .expect(401);
    server.login("len@example.com", long).await;
}

//! T04, T05 and T07, as far as a body alone can tell.

use super::*;
use axum::body::Body as Stream;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use quivive_domain::Password;
use secrecy::SecretString;

use crate::problem::FieldError;

struct Shape {
    email: String,
    _password: Password,
    name: Option<String>,
    device_token: Option<SecretString>,
}

impl Body for Shape {
    const FIELDS: &'static [Field] = &[
        EMAIL,
        PASSWORD,
        Field {
            name: "display_name",
            text: Text::Line { max_chars: 5 },
            required: false,
            about: "",
        },
        DEVICE_TOKEN,
    ];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            email: fields.text("email"),
            _password: fields.password("password")?,
            name: fields.optional("display_name"),
            device_token: fields.optional_secret("device_token"),
        })
    }
}

fn request(content_type: Option<&str>, body: impl Into<Stream>) -> Request {
    let mut request = Request::new(body.into());
    if let Some(value) = content_type {
        request
            .headers_mut()
            .insert(CONTENT_TYPE, value.parse().unwrap());
    }
    request
}

async fn extract(request: Request) -> Result<Shape, Problem> {
    <Json<Shape> as FromRequest<()>>::from_request(request, &())
        .await
        .map(|Json(shape)| shape)
}

async fn given(body: impl Into<Stream>) -> Result<Shape, Problem> {
    extract(request(Some("application/json"), body)).await
}

/// Expects a refusal, and says its status, code, and the pointers with their codes.
async fn refused(body: impl Into<Stream>) -> (u16, &'static str, Vec<String>) {
    let problem = given(body).await.err().expect("it should be refused");
    let errors = problem
        .errors
        .iter()
        .map(|e| format!("{} {}", e.pointer, e.code))
        .collect();
    (problem.status.as_u16(), problem.code.meaning().code, errors)
}

const GOOD: &str = r#"{"email": "Ada@example.org", "password": "correct horse"}"#;

#[tokio::test]
async fn a_good_body_passes() {
    let shape = given(GOOD).await.ok().unwrap();
    assert_eq!(shape.email, "Ada@example.org");
    assert!(shape.name.is_none() && shape.device_token.is_none());
    let all = r#"{"device_token":"d","display_name":"Ångst","password":"pw","email":"a\u0040b"}"#;
    let shape = given(all).await.ok().unwrap();
    assert_eq!(
        (shape.email.as_str(), shape.name.as_deref()),
        ("a@b", Some("Ångst"))
    );
}

#[tokio::test]
async fn every_field_takes_a_string_and_nothing_else() {
    for field in ["email", "password", "display_name", "device_token"] {
        for wrong in [
            "[]",
            r#"["a@b"]"#,
            "{}",
            r#"{"$ne":null}"#,
            "0",
            "-1.5",
            "true",
            "null",
        ] {
            let rest = if field == "email" {
                r#""password":"x""#
            } else {
                r#""email":"a""#
            };
            let more = if matches!(field, "email" | "password") {
                ""
            } else {
                r#","password":"x""#
            };
            let body = format!(r#"{{"{field}":{wrong},{rest}{more}}}"#);
            let want = vec![format!("/{field} wrong_type")];
            assert_eq!(
                refused(body.clone()).await,
                (422, "invalid_fields", want),
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn what_does_not_belong_is_named() {
    for (body, want) in [
        (
            "{}",
            vec!["/email missing_field", "/password missing_field"],
        ),
        (
            r#"{"email":"a","email":"b","password":"x"}"#,
            vec!["/email duplicate_field"],
        ),
        (
            r#"{"email":"a","\u0065mail":"b","password":"x"}"#,
            vec!["/email duplicate_field"],
        ),
        (
            r#"{"email":"a","password":"x","is_admin":true}"#,
            vec!["/is_admin unknown_field"],
        ),
        (
            r#"{"email":"a","password":"x","a/b~c":{"role":"admin"}}"#,
            vec!["/a~1b~0c unknown_field"],
        ),
        (
            r#"{"email":"a","password":"x","Email":"b"}"#,
            vec!["/Email unknown_field"],
        ),
        (
            r#"{"email":"a","password":"x","display_name":"sixsix"}"#,
            vec!["/display_name too_long"],
        ),
        (
            r#"{"email":"a","password":"x","display_name":"a\nb"}"#,
            vec!["/display_name control_character"],
        ),
        (r#"["email"]"#, vec![" wrong_type"]),
        (r#""text""#, vec![" wrong_type"]),
    ] {
        let (status, code, errors) = refused(body).await;
        assert_eq!(
            (status, code, errors),
            (
                422,
                "invalid_fields",
                want.iter().map(|w| (*w).to_owned()).collect()
            ),
            "{body}"
        );
    }
    // T05: what only the server may say.
    for name in [
        "role",
        "roles",
        "email_verified",
        "tenant_id",
        "id",
        "token_version",
        "locked_until",
    ] {
        let body = format!(r#"{{"email":"a","password":"x","{name}":"admin"}}"#);
        assert_eq!(refused(body).await.2, [format!("/{name} unknown_field")]);
    }
}

#[tokio::test]
async fn lengths_end_where_they_are_said_to() {
    for (field, limit) in [("email", 320), ("password", 4_096), ("device_token", 512)] {
        let body = |length: usize| {
            let mut fields = serde_json::json!({"email": "a", "password": "x"});
            fields[field] = "x".repeat(length).into();
            fields.to_string()
        };
        assert!(given(body(limit)).await.is_ok(), "{field}");
        let want = (422, "invalid_fields", vec![format!("/{field} too_long")]);
        assert_eq!(refused(body(limit + 1)).await, want);
    }
}

#[tokio::test]
async fn what_is_not_json_is_a_400() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let nested = format!(r#"{{"email":{deep},"password":"x"}}"#);
    let objects = format!(
        r#"{{"a":{}1{}}}"#,
        r#"{"a":"#.repeat(5_000),
        "}".repeat(5_000)
    );
    for body in [
        "",
        " ",
        "{",
        "email=a&password=b",
        r#"{"email":"a","password":"x"} {}"#,
        r#"{'email':"a"}"#,
        r#"{"email":"a",}"#,
        "{\"email\":\"a\nb\"}",
        r#"{"email":"\ud800"}"#,
        r#"{"email":1e999}"#,
        "\u{feff}{}",
        &deep,
        &nested,
        &objects,
    ] {
        let (status, code, _) = refused(body.to_owned()).await;
        assert_eq!((status, code), (400, "malformed_json"), "{body:.60}");
    }
    assert_eq!(
        refused(&b"{\"email\":\"\xff\"}"[..]).await.1,
        "malformed_json"
    );
}

#[tokio::test]
async fn the_type_must_be_json_and_nothing_may_be_compressed() {
    for good in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json ;x=y",
    ] {
        assert!(extract(request(Some(good), GOOD)).await.is_ok(), "{good}");
    }
    for bad in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonp"),
        Some(""),
    ] {
        let problem = extract(request(bad, GOOD)).await.err().unwrap();
        assert_eq!(
            problem.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{bad:?}"
        );
    }
    let mut gzip = request(Some("application/json"), GOOD);
    gzip.headers_mut()
        .insert(CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(extract(gzip).await.err().unwrap().status, 415);
}

#[tokio::test]
async fn a_large_body_is_refused_and_drained() {
    let fill = |bytes: usize| format!(r#"{{"email":"a","password":"x"}}{}"#, " ".repeat(bytes));
    assert!(given(fill(60_000)).await.is_ok());
    for bytes in [64 * 1024, 1024 * 1024, 10 * 1024 * 1024] {
        assert_eq!(refused(fill(bytes)).await.1, "payload_too_large");
    }
    // Announced, never sent.
    let mut announced = request(Some("application/json"), "");
    announced
        .headers_mut()
        .insert(CONTENT_LENGTH, "10485760".parse().unwrap());
    assert_eq!(extract(announced).await.err().unwrap().status, 413);
    // 10⁵ keys.
    let keys: Vec<_> = (0..100_000).map(|i| format!(r#""k{i}":1"#)).collect();
    assert_eq!(refused(format!("{{{}}}", keys.join(","))).await.0, 413);
    // As many as fit: not all of them are named.
    let keys: Vec<_> = (0..5_000).map(|i| format!(r#""k{i}":1"#)).collect();
    let (status, _, errors) = refused(format!("{{{}}}", keys.join(","))).await;
    assert!(status == 422 && errors.len() <= 18, "{}", errors.len());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let never = Stream::from_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    assert_eq!(refused(never).await.0, 408);
}

#[tokio::test]
async fn an_optional_body_may_be_missing_but_not_wrong() {
    let optional = |request| <Json<Shape> as OptionalFromRequest<()>>::from_request(request, &());
    assert!(optional(request(None, "")).await.ok().unwrap().is_none());
    assert!(
        optional(request(Some("application/json"), GOOD))
            .await
            .ok()
            .unwrap()
            .is_some()
    );
    assert_eq!(
        optional(request(None, GOOD)).await.err().unwrap().status,
        415
    );
    assert_eq!(
        optional(request(Some("application/json"), "{}"))
            .await
            .err()
            .unwrap()
            .status,
        422
    );
}

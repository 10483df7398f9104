//! The operator's customer relations, told over HTTP: one address, two messages.
//!
//! Posts JSON, `{"action": "add", "contact": {user_id, email, display_name, locale}}` or `{"action": "remove", "contact":
//! {user_id}}`, with an `idempotency-key` that is the same for every try. Any 2xx is well, and 404 or 410 to a removal, for
//! then there is nobody. 408, 425, 429 and 5xx are tried again, not before their `Retry-After`; all else is a no.

use std::sync::Arc;

use quivive_app::ports::{Answer, CallError, Contact, Crm, CrmError, Headers, Outlet, Post};
use quivive_delivery::{BoxFuture, Clock};
use quivive_domain::UserId;
use quivive_domain::webhook::{Target, retry_after};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// Where the customer relations are.
#[derive(Debug, Clone)]
pub struct CrmConfig {
    pub target: Target,
    /// Sent as a bearer token.
    pub token: Option<SecretString>,
}

pub struct HttpCrm {
    config: CrmConfig,
    outlet: Arc<dyn Outlet>,
    clock: Arc<dyn Clock>,
}

impl HttpCrm {
    /// The outlet must reach where the operator says, which strangers do not choose.
    pub fn new(config: CrmConfig, outlet: Arc<dyn Outlet>, clock: Arc<dyn Clock>) -> Self {
        Self {
            config,
            outlet,
            clock,
        }
    }

    async fn tell(&self, message: &Value, idempotency_key: &str) -> Result<u16, CrmError> {
        let mut headers: Headers = vec![
            ("content-type", "application/json".into()),
            ("idempotency-key", idempotency_key.to_owned().into()),
        ];
        if let Some(token) = &self.config.token {
            let bearer = format!("Bearer {}", token.expose_secret());
            headers.push(("authorization", bearer.into()));
        }
        let answer = self
            .outlet
            .post(Post {
                target: Arc::new(self.config.target.clone()),
                headers,
                body: message.to_string().into(),
            })
            .await;
        match answer {
            Ok(Answer { status, .. }) if (200..300).contains(&status) => Ok(status),
            Ok(Answer {
                status: status @ (408 | 425 | 429 | 500..),
                retry_after: header,
            }) => Err(CrmError::Transient {
                retry_after: header.and_then(|text| retry_after(&text, self.clock.now())),
                why: format!("it answered {status}"),
            }),
            Ok(Answer { status, .. }) if matches!(status, 404 | 410) => Ok(status),
            Ok(Answer { status, .. }) => Err(CrmError::Permanent(format!("it answered {status}"))),
            Err(refused @ CallError::Refused(_)) => Err(CrmError::Permanent(refused.to_string())),
            Err(error) => Err(CrmError::Transient {
                retry_after: None,
                why: error.to_string(),
            }),
        }
    }
}

impl Crm for HttpCrm {
    fn add<'a>(
        &'a self,
        contact: &'a Contact,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<(), CrmError>> {
        let message = json!({"action": "add", "contact": {
            "user_id": contact.user_id.0,
            "email": contact.email.typed(),
            "display_name": contact.display_name,
            "locale": contact.locale,
        }});
        Box::pin(async move {
            match self.tell(&message, idempotency_key).await? {
                gone @ (404 | 410) => Err(CrmError::Permanent(format!("it answered {gone}"))),
                _ => Ok(()),
            }
        })
    }

    fn remove<'a>(
        &'a self,
        user_id: UserId,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<(), CrmError>> {
        let message = json!({"action": "remove", "contact": {"user_id": user_id.0}});
        Box::pin(async move { self.tell(&message, idempotency_key).await.map(drop) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use quivive_domain::Address;

    use super::*;
    use crate::clock::SystemClock;

    /// Answers as told, and keeps what it got.
    struct Desk {
        answer: Result<Answer, CallError>,
        got: Mutex<Vec<Post>>,
    }

    impl Outlet for Desk {
        fn admits<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<(), CallError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn post(&self, post: Post) -> BoxFuture<'_, Result<Answer, CallError>> {
            self.got.lock().expect("no panic").push(post);
            Box::pin(std::future::ready(self.answer.clone()))
        }
    }

    fn over(answer: Result<Answer, CallError>) -> (Arc<Desk>, HttpCrm) {
        let got = Mutex::default();
        let desk = Arc::new(Desk { answer, got });
        let config = CrmConfig {
            target: Target::parse("https://crm.example.org/contacts").expect("a URL"),
            token: Some("sesame".into()),
        };
        let crm = HttpCrm::new(config, Arc::clone(&desk) as _, Arc::new(SystemClock));
        (desk, crm)
    }

    fn status(status: u16) -> Answer {
        Answer {
            status,
            retry_after: (status == 429).then(|| "7".to_owned()),
        }
    }

    #[tokio::test]
    async fn a_contact_is_told_with_its_key_and_token() {
        let (desk, crm) = over(Ok(status(201)));
        let contact = Contact {
            user_id: UserId(uuid::Uuid::from_u128(7)),
            email: Address::parse("ada@example.org").expect("an address"),
            display_name: Some("Ada".to_owned()),
            locale: "en".to_owned(),
        };
        crm.add(&contact, "key-1").await.expect("told");
        crm.remove(contact.user_id, "key-2").await.expect("told");
        let got = desk.got.lock().expect("no panic");
        let body = |post: &Post| serde_json::from_slice::<Value>(&post.body).expect("JSON");
        assert_eq!(
            body(&got[0]),
            json!({"action": "add", "contact": {
                "user_id": contact.user_id.0, "email": "ada@example.org", "display_name": "Ada", "locale": "en",
            }})
        );
        assert_eq!(
            body(&got[1]),
            json!({"action": "remove", "contact": {"user_id": contact.user_id.0}})
        );
        let has = |post: &Post, name, value: &str| {
            let headers = &post.headers;
            headers.contains(&(name, value.into()))
        };
        assert!(has(&got[0], "idempotency-key", "key-1"));
        assert!(has(&got[1], "idempotency-key", "key-2"));
        assert!(has(&got[0], "authorization", "Bearer sesame"));
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_a_no_is_a_no() {
        let user = UserId(uuid::Uuid::from_u128(7));
        for (answer, transient) in [
            (Ok(status(429)), true),
            (Ok(status(503)), true),
            (Err(CallError::Unresolved), true),
            (Ok(status(301)), false),
            (Ok(status(422)), false),
        ] {
            let (_, crm) = over(answer.clone());
            let error = crm.remove(user, "key").await.expect_err("it failed");
            let said = matches!(error, CrmError::Transient { .. });
            assert_eq!(said, transient, "{answer:?}");
            if let CrmError::Transient { retry_after, .. } = error {
                let wait = (answer == Ok(status(429))).then_some(std::time::Duration::from_secs(7));
                assert_eq!(retry_after, wait);
            }
        }
        let (_, crm) = over(Ok(status(404)));
        crm.remove(user, "key").await.expect("there is nobody");
    }
}

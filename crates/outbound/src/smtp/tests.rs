use std::sync::{Mutex, PoisonError};

use quivive_app::ports::Mailer as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::clock::SystemClock;

/// A reply that never comes.
const SILENCE: &str = "";

/// A mail server that says yes to everything but what it was told to say instead.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Server {
    /// `replies`: the start of a command, or `.` for the end of a letter, or `HELLO` for the greeting, and the answer.
    async fn start(replies: &'static [(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, replies, Arc::clone(&log)));
            }
        });
        Self {
            port,
            heard,
            _serving: serving,
        }
    }

    /// Everything it heard, a line each.
    fn heard(&self) -> Vec<String> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn count(&self, start: &str) -> usize {
        self.heard()
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }
}

async fn serve(stream: TcpStream, replies: &[(&str, &str)], log: Arc<Mutex<Vec<String>>>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let reply = |line: &str, usual: &str| {
        let told = replies.iter().find(|(start, _)| line.starts_with(start));
        told.map_or(usual, |(_, reply)| *reply).to_owned()
    };
    let mut answer = reply("HELLO", "220 fake ready");
    let mut in_letter = false;
    loop {
        if answer != SILENCE
            && write
                .write_all(format!("{answer}\r\n").as_bytes())
                .await
                .is_err()
        {
            return;
        }
        loop {
            let Ok(Some(line)) = lines.next_line().await else {
                return;
            };
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line.clone());
            if in_letter && line != "." {
                continue;
            }
            let usual = match line.get(..4).unwrap_or(&line) {
                "EHLO" => "250-fake\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
                "AUTH" => "235 welcome",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            answer = reply(&line, usual);
            in_letter = answer.starts_with("354");
            break;
        }
    }
}

fn config(port: u16) -> SmtpConfig {
    SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port,
        tls: SmtpTls::None,
        trusted_pem: None,
        user: Some("quivive".to_owned()),
        password: Some(SecretString::from("hunter42")),
        from: "no-reply@id.example.com".to_owned(),
        from_name: "Quivíve".to_owned(),
        hello: "id.example.com".to_owned(),
        timeout: Duration::from_secs(10),
    }
}

fn mailer(config: &SmtpConfig) -> SmtpMailer {
    SmtpMailer::new(config, Arc::new(SystemClock)).expect("a configuration that serves")
}

fn letter(to: &str) -> Letter {
    Letter {
        to: to.to_owned(),
        template: "welcome",
        subject: "Olá, Ann".to_owned(),
        text: "Good day.\n.\nThat was a dot.".to_owned(),
        html: "<p>Good day, é.</p>".to_owned(),
    }
}

#[tokio::test]
async fn a_letter_arrives_whole() {
    let server = Server::start(&[]).await;
    let mailer = mailer(&config(server.port));
    let id = mailer
        .send(letter("Ann.Lee@example.com"), "delivery 1")
        .await
        .expect("sent");
    let heard = server.heard();
    assert_eq!(heard[0], "EHLO id.example.com");
    assert!(heard[1].starts_with("AUTH PLAIN "));
    assert_eq!(heard[2], "MAIL FROM:<no-reply@id.example.com>");
    assert_eq!(heard[3], "RCPT TO:<Ann.Lee@example.com>");
    assert_eq!(heard[4], "DATA");
    let message = heard[5..].join("\n");
    for part in [
        &format!("Message-ID: {id}"),
        "Auto-Submitted: auto-generated",
        "To: Ann.Lee@example.com",
        "<no-reply@id.example.com>",
        "MIME-Version: 1.0",
        "multipart/alternative",
        "text/plain; charset=utf-8",
        "text/html; charset=utf-8",
        "Date: ",
        "Good day.\n..\nThat was a dot.",
    ] {
        assert!(message.contains(part), "{part} is not in\n{message}");
    }
    assert!(message.is_ascii(), "{message}");
    assert!(
        id.starts_with('<') && id.ends_with("@id.example.com>"),
        "{id}"
    );
}

#[tokio::test]
async fn a_letter_has_one_id_however_often_it_is_tried() {
    let server = Server::start(&[]).await;
    let mailer = mailer(&config(server.port));
    let first = mailer
        .send(letter("ann@example.com"), "delivery 1")
        .await
        .expect("sent");
    let again = mailer
        .send(letter("ann@example.com"), "delivery 1")
        .await
        .expect("sent");
    let other = mailer
        .send(letter("ann@example.com"), "delivery 2")
        .await
        .expect("sent");
    assert_eq!(first, again);
    assert_ne!(first, other);
    // All on one connection, which is asked before it is used again.
    assert_eq!(
        (
            server.count("EHLO"),
            server.count("NOOP"),
            server.count("DATA")
        ),
        (1, 2, 3)
    );
}

#[tokio::test]
async fn refusals_of_the_letter_are_permanent_and_name_nobody() {
    for (replies, permanent) in [
        (
            &[("RCPT", "550 5.1.1 <ann.lee@example.com>: no such user")] as &'static [_],
            true,
        ),
        (
            &[(
                "RCPT",
                "553-ann.lee@example.com\r\n553 ann.lee is unknown at EXAMPLE.com",
            )],
            true,
        ),
        (&[("MAIL", "550 5.7.1 you may not")], true),
        (&[("DATA", "554 no")], true),
        (&[(".", "552 too large")], true),
        (
            &[("RCPT", "450 4.2.1 <ann.lee@example.com> is busy")],
            false,
        ),
        (&[("RCPT", "421 closing")], false),
        (&[(".", "451 4.3.0 try again")], false),
        (&[("MAIL", "530 5.7.0 Authentication required")], false),
        (&[("AUTH", "535 5.7.8 ann.lee@example.com")], false),
        (&[("HELLO", "554 not you")], false),
        (&[("EHLO", "500 what")], false),
        (&[("RCPT", "nonsense")], false),
    ] {
        let server = Server::start(replies).await;
        let sent = mailer(&config(server.port))
            .send(letter("Ann.Lee@example.com"), "1")
            .await;
        let error = sent.expect_err("it was refused");
        assert_eq!(
            matches!(error, MailError::Permanent(_)),
            permanent,
            "{replies:?}: {error}"
        );
        let text = error.to_string().to_lowercase();
        assert!(!text.contains("ann") && !text.contains("example"), "{text}");
        assert!(!text.is_empty());
    }
}

#[tokio::test]
async fn what_is_no_address_is_not_sent() {
    let server = Server::start(&[]).await;
    let mailer = mailer(&config(server.port));
    for to in [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@example.com\r\nRCPT TO:<eve@example.com>",
        "ann@example.com\nBcc: eve@example.com",
        "ann\0@example.com",
        "ann@example.com,eve@example.com",
        "<ann@example.com>",
        "Ann <ann@example.com>",
        "ann@exa mple.com",
    ] {
        let error = mailer
            .send(letter(to), "1")
            .await
            .expect_err("it is no address");
        assert!(
            matches!(error, MailError::Permanent(_)) && !error.to_string().contains("ann"),
            "{to:?}: {error}"
        );
    }
    for subject in ["Hello\r\nBcc: eve@example.com", "Hello\nthere", "\0"] {
        let letter = Letter {
            subject: subject.to_owned(),
            ..letter("ann@example.com")
        };
        let error = mailer
            .send(letter, "1")
            .await
            .expect_err("it would be a header");
        assert!(matches!(error, MailError::Permanent(_)), "{error}");
    }
    assert_eq!(server.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn domains_beyond_ascii_travel_in_ascii() {
    let server = Server::start(&[]).await;
    let mailer = mailer(&config(server.port));
    mailer
        .send(letter("ann@bücher.example"), "1")
        .await
        .expect("sent");
    assert_eq!(server.count("RCPT TO:<ann@xn--bcher-kva.example>"), 1);
    // This server does not take local parts beyond ASCII.
    let error = mailer
        .send(letter("änn@example.com"), "1")
        .await
        .expect_err("it cannot be sent");
    assert!(matches!(error, MailError::Permanent(_)), "{error}");
}

#[tokio::test]
async fn silence_ends_with_the_time_and_the_connection() {
    let server = Server::start(&[(".", SILENCE)]).await;
    let mut config = config(server.port);
    config.timeout = Duration::from_millis(100);
    let mailer = mailer(&config);
    for tries in 1..=2 {
        let error = mailer
            .send(letter("ann@example.com"), "1")
            .await
            .expect_err("no answer");
        assert!(matches!(error, MailError::Transient(_)), "{error}");
        assert_eq!((server.count("EHLO"), server.count("NOOP")), (tries, 0));
    }
}

#[tokio::test]
async fn a_cancelled_letter_takes_its_connection_along() {
    let server = Server::start(&[("RCPT TO:<slow@", SILENCE)]).await;
    let mailer = mailer(&config(server.port));
    let heard_it = async {
        while server.count("RCPT") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = mailer.send(letter("slow@example.com"), "1") => panic!("it waits"),
        () = heard_it => {}
    }
    mailer
        .send(letter("ann@example.com"), "2")
        .await
        .expect("sent");
    assert_eq!((server.count("EHLO"), server.count("NOOP")), (2, 0));
}

#[tokio::test]
async fn without_starttls_nothing_is_said() {
    let server = Server::start(&[]).await;
    let mut config = config(server.port);
    config.tls = SmtpTls::StartTls;
    let mailer = mailer(&config);
    let error = mailer
        .send(letter("ann@example.com"), "1")
        .await
        .expect_err("not protected");
    assert!(matches!(error, MailError::Transient(_)), "{error}");
    assert!(mailer.check().await.is_err());
    assert!(
        server
            .heard()
            .iter()
            .all(|line| line.starts_with("EHLO") || line.starts_with("QUIT"))
    );
}

#[tokio::test]
async fn the_check_signs_in_and_sends_nothing() {
    let server = Server::start(&[]).await;
    mailer(&config(server.port))
        .check()
        .await
        .expect("it serves");
    assert_eq!(
        (
            server.count("AUTH"),
            server.count("QUIT"),
            server.count("MAIL")
        ),
        (1, 1, 0)
    );
    let refusing = Server::start(&[("AUTH", "535 no")]).await;
    let error = mailer(&config(refusing.port))
        .check()
        .await
        .expect_err("it does not");
    assert!(error.to_string().contains("535"), "{error}");
    drop(server);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    assert!(matches!(
        mailer(&config(port)).check().await,
        Err(MailError::Transient(_))
    ));
}

#[test]
fn configurations_that_do_not_serve_are_refused() {
    let refused = |change: fn(&mut SmtpConfig)| {
        let mut config = config(25);
        change(&mut config);
        SmtpMailer::new(&config, Arc::new(SystemClock)).expect_err("it does not serve")
    };
    assert!(matches!(
        refused(|c| c.host = "mail.example.com".to_owned()),
        SmtpConfigError::Unprotected(_)
    ));
    assert!(matches!(
        refused(|c| c.host = "10.0.0.1".to_owned()),
        SmtpConfigError::Unprotected(_)
    ));
    assert!(matches!(
        refused(|c| c.from = "nobody".to_owned()),
        SmtpConfigError::From(_)
    ));
    assert!(matches!(
        refused(|c| c.from = "a@b.example\r\nBcc: c@d.example".to_owned()),
        SmtpConfigError::From(_)
    ));
    assert!(matches!(
        refused(|c| c.from_name = "A\r\nB".to_owned()),
        SmtpConfigError::FromName
    ));
    assert!(matches!(
        refused(|c| c.hello = "a b".to_owned()),
        SmtpConfigError::Hello(_)
    ));
    assert!(matches!(
        refused(|c| c.hello = String::new()),
        SmtpConfigError::Hello(_)
    ));
    assert!(matches!(
        refused(|c| c.password = None),
        SmtpConfigError::HalfSignIn
    ));
    assert!(matches!(
        refused(|c| {
            c.tls = SmtpTls::Implicit;
            c.trusted_pem =
                Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec());
        }),
        SmtpConfigError::Tls(_)
    ));
    let mut config = config(25);
    config.tls = SmtpTls::Implicit;
    config.host = "mail.example.com".to_owned();
    let shown = format!("{config:?} {:?}", mailer(&config));
    assert!(!shown.contains("hunter42"), "{shown}");
}

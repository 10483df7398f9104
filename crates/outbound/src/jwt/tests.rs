use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use quivive_app::ports::KeyRing as _;
use quivive_domain::{Role, SessionId, UserId};
use uuid::Uuid;

use super::*;
use crate::scratch::{Scratch, ids, now};

const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "https://api.example.com";
const LIFETIME: Duration = Duration::from_mins(15);

struct Case {
    _scratch: Scratch,
    keys: Arc<KeyStore>,
    tokens: JwtTokens,
}

fn case() -> Case {
    let scratch = Scratch::new();
    let keys = KeyStore::open(&scratch.path().join("keys"), ids().as_ref(), now()).expect("keys");
    let keys = Arc::new(keys);
    let tokens = JwtTokens::new(Arc::clone(&keys), ids(), ISSUER, AUDIENCE, LIFETIME);
    Case {
        _scratch: scratch,
        keys,
        tokens,
    }
}

fn claims() -> AccessClaims {
    let now = now().as_second();
    AccessClaims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: UserId(Uuid::from_u128(1)),
        iat: now,
        exp: now + 900,
        jti: Uuid::from_u128(2),
        sid: SessionId(Uuid::from_u128(3)),
        client_id: "quivive".to_owned(),
        roles: vec![Role::User],
        gv: 1,
        uv: 1,
        amr: vec!["pwd".to_owned()],
        auth_time: now,
    }
}

impl Case {
    fn kid(&self) -> String {
        self.keys.signing_keys()[0].kid.clone()
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": self.kid()})
    }

    /// A token that our key did sign, with any header and claims.
    fn signed(&self, header: &str, payload: &str) -> String {
        let pair = Ed25519KeyPair::from_pkcs8(&self.keys.signing_keys()[0].pkcs8).expect("a key");
        let message = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
        let signature = b64(pair.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    fn with_header(&self, change: &Value) -> String {
        self.signed(&merged(self.header(), change), &json!(claims()).to_string())
    }

    fn with_claims(&self, change: &Value) -> String {
        self.signed(&self.header().to_string(), &merged(json!(claims()), change))
    }

    fn accepts(&self, token: &str) -> bool {
        self.tokens.verify(token, now()).is_some()
    }
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `null` takes a member away.
fn merged(mut object: Value, change: &Value) -> String {
    let members = object.as_object_mut().expect("an object");
    for (name, value) in change.as_object().expect("an object") {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    object.to_string()
}

#[test]
fn ours_verify() {
    let case = case();
    let token = case.tokens.sign(&claims()).expect("signed");
    assert_eq!(case.tokens.verify(&token, now()), Some(claims()));
    let header = OurHeader::parse(token.split('.').next().expect("a header")).expect("ours");
    assert_eq!(
        (header.typ.as_str(), header.kid.as_str()),
        ("at+jwt", case.kid().as_str())
    );
    assert!(token.len() < 1_000, "{}", token.len());
    // What the tests below make differs in what they change alone.
    assert!(case.accepts(&case.with_header(&json!({}))));
    assert!(case.accepts(&case.with_claims(&json!({}))));
    for typ in ["AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert!(
            case.accepts(&case.with_header(&json!({ "typ": typ }))),
            "{typ}"
        );
    }
}

/// T22 of the security cases, all signed by our own key, so that only the header speaks against them.
#[test]
fn headers_that_say_something_else_are_refused() {
    let case = case();
    let jwk = case.tokens.jwks(now())["keys"][0].clone();
    for change in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "nOnE"}),
        json!({"alg": ""}),
        json!({"alg": "HS256"}),
        json!({"alg": "ES256"}),
        json!({"alg": "RS256"}),
        json!({"alg": "eddsa"}),
        json!({"alg": "Ed25519"}),
        json!({"alg": ["EdDSA"]}),
        json!({"alg": null}),
        json!({"kid": null}),
        json!({"kid": ""}),
        json!({"kid": "unknown"}),
        json!({"kid": "' OR 1=1 --"}),
        json!({"kid": "../../../../dev/null"}),
        json!({"kid": 1}),
        json!({"kid": [case.kid()]}),
        json!({"kid": case.keys.current()}),
        json!({"jku": "https://evil.example/jwks.json"}),
        json!({"x5u": "https://evil.example/x.pem"}),
        json!({"jwk": jwk}),
        json!({"x5c": ["AAAA"]}),
        json!({"crit": []}),
        json!({"crit": ["exp"]}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": false}),
        json!({"zip": "DEF"}),
        json!({"enc": "A128GCM"}),
        json!({"cty": "JWT"}),
        json!({"typ": null}),
        json!({"typ": ""}),
        json!({"typ": "JWT"}),
        json!({"typ": "at"}),
        json!({"typ": "id+jwt"}),
        json!({"typ": "at+jwt "}),
        json!({"typ": "application/application/at+jwt"}),
        json!({"typ": ["at+jwt"]}),
    ] {
        assert!(!case.accepts(&case.with_header(&change)), "{change}");
    }
    let twice = format!(
        r#"{{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#,
        case.kid()
    );
    assert!(!case.accepts(&case.signed(&twice, &json!(claims()).to_string())));
}

/// T22: signatures that are not by our key over these bytes.
#[test]
fn forged_signatures_are_refused() {
    let case = case();
    let token = case.tokens.sign(&claims()).expect("signed");
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let public = case.keys.signing_keys()[0].public;
    let hs256 = |secret: &[u8]| {
        let header = merged(case.header(), &json!({"alg": "HS256"}));
        let message = format!(
            "{}.{}",
            b64(header.as_bytes()),
            b64(json!(claims()).to_string().as_bytes())
        );
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, secret),
            message.as_bytes(),
        );
        format!("{message}.{}", b64(tag.as_ref()))
    };
    let stranger = crate::jwt::tests::case();
    let foreign = stranger.signed(&case.header().to_string(), &json!(claims()).to_string());
    let [header, payload] = [0, 1].map(|n| token.split('.').nth(n).expect("a part"));
    let none = b64(merged(case.header(), &json!({"alg": "none"})).as_bytes());
    let admin = b64(merged(json!(claims()), &json!({"roles": ["admin"]})).as_bytes());
    for forged in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{message}."),
        message.to_owned(),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{header}.{admin}.{signature}"),
        format!("{message}.{}", b64(&[0; 64])),
        format!("{message}.{}", b64(&[])),
        format!("{message}.{}", &signature[..signature.len() - 1]),
        format!("{token}A"),
        format!("{token}="),
        format!("{token}.{signature}"),
        format!("{token}.{signature}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("Bearer {token}"),
        hs256(&public),
        hs256(b64(&public).as_bytes()),
        hs256(b""),
        foreign,
        json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]})
            .to_string(),
    ] {
        assert!(!case.accepts(&forged), "{forged}");
    }
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert!(!case.accepts(&changed), "character {at}");
    }
}

/// T23.
#[test]
fn claims_out_of_their_place_or_time_are_refused() {
    let case = case();
    let now = now().as_second();
    for change in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": ISSUER.to_uppercase()}),
        json!({"iss": [ISSUER]}),
        json!({"iss": null}),
        json!({"aud": "https://other.example"}),
        json!({"aud": ""}),
        json!({"aud": [AUDIENCE]}),
        json!({"aud": [AUDIENCE, "https://other.example"]}),
        json!({"aud": null}),
        json!({"exp": now}),
        json!({"exp": now - 1}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": i64::MIN}),
        json!({"exp": 1e300}),
        json!({"exp": (now + 900).to_string()}),
        json!({"exp": null}),
        json!({"iat": now + 61}),
        json!({"iat": i64::MAX}),
        json!({"iat": now + 10, "exp": now + 5}),
        json!({"iat": null}),
        json!({"nbf": now + 1}),
        json!({"nbf": i64::MAX}),
        json!({"nbf": "soon"}),
        json!({"sub": null}),
        json!({"sub": "admin"}),
        json!({"sub": ""}),
        json!({"jti": null}),
        json!({"jti": ""}),
        json!({"sid": null}),
        json!({"roles": null}),
        json!({"roles": ["root"]}),
        json!({"gv": null}),
        json!({"gv": -1}),
        json!({"uv": null}),
        json!({"uv": 4_294_967_296_i64}),
        json!({"amr": null}),
        json!({"auth_time": null}),
    ] {
        assert!(!case.accepts(&case.with_claims(&change)), "{change}");
    }
    for change in [
        json!({"exp": now + 1}),
        json!({"iat": now + 60}),
        json!({"nbf": now}),
        json!({"of_a_later_version": true}),
    ] {
        assert!(case.accepts(&case.with_claims(&change)), "{change}");
    }
    for payload in ["", "null", "[]", "1", "{}", "\u{feff}{}"] {
        assert!(
            !case.accepts(&case.signed(&case.header().to_string(), payload)),
            "{payload}"
        );
    }
}

#[test]
fn a_token_expires_by_the_given_clock() {
    let case = case();
    let token = case.tokens.sign(&claims()).expect("signed");
    let at = |seconds| Time::from_second(claims().exp + seconds).expect("a time");
    assert!(case.tokens.verify(&token, at(-1)).is_some());
    assert!(case.tokens.verify(&token, at(0)).is_none());
    assert!(case.tokens.verify(&token, at(1_000_000)).is_none());
}

#[test]
fn long_tokens_are_refused_unread() {
    let case = case();
    let long = case.with_claims(&json!({"filler": "x".repeat(MAX_TOKEN_BYTES)}));
    assert!(!case.accepts(&long));
    assert!(!case.accepts(&".".repeat(MAX_TOKEN_BYTES)));
    assert!(!case.accepts(&"[".repeat(MAX_TOKEN_BYTES)));
    assert!(case.accepts(&case.with_claims(&json!({"filler": "x".repeat(1_000)}))));
}

#[test]
fn the_key_set_is_public_and_enough_to_verify() {
    let case = case();
    let set = case.tokens.jwks(now());
    let key = &set["keys"][0];
    assert_eq!(
        *key,
        json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": case.kid(), "x": b64(&case.keys.signing_keys()[0].public),
        })
    );
    let token = case.tokens.sign(&claims()).expect("signed");
    let theirs = DecodingKey::from_ed_components(key["x"].as_str().expect("text")).expect("a key");
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.validate_exp = false;
    assert!(decode::<AccessClaims>(&token, &theirs, &validation).is_ok());
}

fn kids(set: &Value) -> Vec<String> {
    let keys = set["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().expect("text").to_owned())
        .collect()
}

#[tokio::test]
async fn a_retired_key_serves_until_nothing_that_it_signed_can_matter() {
    let case = case();
    let old = case.tokens.sign(&claims()).expect("signed");
    let rotated = case.tokens.rotate(OldKeys::ServeOn, now()).await;
    let rotated = rotated.expect("rotated");
    assert_ne!(rotated.new, rotated.retired);
    let new = case.tokens.sign(&claims()).expect("signed");
    let kid = |token: &str| jsonwebtoken::decode_header(token).expect("a header").kid;
    assert_eq!(kid(&old), Some(rotated.retired.clone()));
    assert_eq!(kid(&new), Some(rotated.new.clone()));
    let both = [rotated.new.clone(), rotated.retired.clone()];
    assert_eq!(kids(&case.tokens.jwks(now())), both);

    // Who has the retired key may write what they like: no token of it outlives its time.
    let forged = AccessClaims {
        exp: now().as_second() + 1_000_000,
        ..claims()
    };
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(rotated.retired);
    let keys = case.keys.signing_keys();
    let stolen = EncodingKey::from_ed_der(&keys[1].pkcs8);
    let forged = encode(&header, &forged, &stolen).expect("signed");
    let last = now() + LIFETIME - Duration::from_secs(1);
    for token in [&old, &new, &forged] {
        let claims = case.tokens.verify(token, last).expect("good");
        assert_eq!(claims.exp, (now() + LIFETIME).as_second());
    }
    assert!(case.tokens.verify(&forged, now() + LIFETIME).is_none());
    assert_eq!(kids(&case.tokens.jwks(now() + LIFETIME)), [rotated.new]);
}

#[tokio::test]
async fn a_revoked_key_is_good_for_nothing_at_once_and_each_change_has_a_number() {
    let case = case();
    let mut tokens = Vec::new();
    for old in [OldKeys::ServeOn, OldKeys::Revoked] {
        tokens.push(case.tokens.sign(&claims()).expect("signed"));
        let before = case.tokens.generation();
        case.tokens.rotate(old, now()).await.expect("rotated");
        assert!(case.tokens.generation() > before);
    }
    assert!(tokens.iter().all(|token| !case.accepts(token)));
    assert_eq!(kids(&case.tokens.jwks(now())), [case.kid()]);
    assert!(case.accepts(&case.tokens.sign(&claims()).expect("signed")));
}

#[tokio::test]
async fn of_two_rotations_at_once_both_are_made_and_the_last_one_signs() {
    let case = case();
    let rotate = || case.tokens.rotate(OldKeys::ServeOn, now());
    let (one, two) = tokio::join!(rotate(), rotate());
    let (one, two) = (one.expect("rotated"), two.expect("rotated"));
    assert!(one.new == two.retired || two.new == one.retired);
    assert_eq!(kids(&case.tokens.jwks(now())).len(), 3);
    let signed = case.tokens.sign(&claims()).expect("signed");
    let kid = jsonwebtoken::decode_header(&signed).expect("a header").kid;
    assert_eq!(kid, Some(case.kid()));
}

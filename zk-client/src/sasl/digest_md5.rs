//! DIGEST-MD5 (RFC 2831) as ZooKeeper uses it: authentication alone, realm and host as every server has them.
//!
//! MD5 protects little today, so the conversation belongs inside TLS; it is what servers without Kerberos offer.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use md5::{Digest, Md5};

use super::{Conversation, Error, Mechanism, Server, Step};

/// The service and the host that ZooKeeper's servers give themselves, whatever their names are.
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";
/// A connection has one conversation: the nonce is used once.
const NONCE_COUNT: &str = "00000001";

/// The mechanism DIGEST-MD5, with a user and a password as the server's JAAS file has them.
///
/// ```no_run
/// use zk_client::{Client, sasl::DigestMd5};
///
/// # async fn connect() -> zk_client::Result<()> {
/// let client = Client::builder("zk1,zk2").sasl(DigestMd5::new("alice", "secret")).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DigestMd5 {
    user: String,
    password: String,
}

impl DigestMd5 {
    /// The mechanism for this user.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    /// The answer to a challenge, and the proof that the server owes for it.
    fn answer(&self, challenge: &[u8], cnonce: &str) -> Result<(String, String), Error> {
        let challenge = std::str::from_utf8(challenge)?;
        let directives =
            parse(challenge).ok_or("the server's DIGEST-MD5 challenge is malformed")?;
        let get = |name: &str| directives.get(name).map(String::as_str);
        let nonce = get("nonce").ok_or("the server's DIGEST-MD5 challenge has no nonce")?;
        let offers_auth = |qop: &str| qop.split(',').any(|offered| offered.trim() == "auth");
        if !get("qop").is_none_or(offers_auth) {
            return Err(
                "the server wants a DIGEST-MD5 layer, which ZooKeeper does not have".into(),
            );
        }
        let realm = get("realm").unwrap_or_default();
        let mut secret = Md5::digest(self.identity(realm)).to_vec();
        secret.extend_from_slice(format!(":{nonce}:{cnonce}").as_bytes());
        let secret = hex(&Md5::digest(secret));
        let proof = |method: &str| {
            let to = hex(&Md5::digest(format!("{method}:{DIGEST_URI}")));
            let text = format!("{secret}:{nonce}:{NONCE_COUNT}:{cnonce}:auth:{to}");
            hex(&Md5::digest(text))
        };
        let response = format!(
            "charset=utf-8,username={user},realm={realm},nonce={nonce},nc={NONCE_COUNT},cnonce={cnonce},\
             digest-uri={uri},maxbuf=65536,response={response},qop=auth",
            user = quoted(&self.user),
            realm = quoted(realm),
            nonce = quoted(nonce),
            cnonce = quoted(cnonce),
            uri = quoted(DIGEST_URI),
            response = proof("AUTHENTICATE"),
        );
        Ok((response, proof("")))
    }

    /// `user:realm:password`, in ISO 8859-1 if that is possible (RFC 2831, section 2.1.2.1).
    fn identity(&self, realm: &str) -> Vec<u8> {
        let part = |text: &str| -> Vec<u8> {
            let latin1: Result<_, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
            latin1.unwrap_or_else(|_| text.as_bytes().to_vec())
        };
        [part(&self.user), part(realm), part(&self.password)].join(&b':')
    }
}

impl fmt::Debug for DigestMd5 {
    /// Never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestMd5({}, ..)", self.user)
    }
}

#[async_trait]
impl Mechanism for DigestMd5 {
    fn name(&self) -> &str {
        "DIGEST-MD5"
    }

    async fn begin(&self, _: &Server) -> Result<(Box<dyn Conversation>, Vec<u8>), Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let conversation = Exchange {
            mechanism: self.clone(),
            cnonce: hex(&random),
            owed: None,
        };
        Ok((Box::new(conversation), Vec::new()))
    }
}

struct Exchange {
    mechanism: DigestMd5,
    cnonce: String,
    /// The proof that the server owes, once the challenge is answered.
    owed: Option<String>,
}

#[async_trait]
impl Conversation for Exchange {
    async fn step(&mut self, challenge: &[u8]) -> Result<Step, Error> {
        if let Some(owed) = &self.owed {
            let proof = std::str::from_utf8(challenge)?;
            let proof = parse(proof).and_then(|mut proof| proof.remove("rspauth"));
            return match proof.as_ref() == Some(owed) {
                true => Ok(Step::Done),
                false => Err("the server does not know the password".into()),
            };
        }
        if challenge.is_empty() {
            return Err("the server does not speak DIGEST-MD5 (has it a JAAS login?)".into());
        }
        let (response, owed) = self.mechanism.answer(challenge, &self.cnonce)?;
        self.owed = Some(owed);
        Ok(Step::Respond(response.into_bytes()))
    }
}

/// `name=value` and `name="value"`, separated by commas.
fn parse(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut directives = BTreeMap::new();
    loop {
        text = text.trim_start_matches([',', ' ', '\t', '\r', '\n']);
        if text.is_empty() {
            return Some(directives);
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let at = rest.find(',').unwrap_or(rest.len());
                (rest[..at].to_owned(), &rest[at..])
            }
        };
        directives.insert(name.trim().to_ascii_lowercase(), value);
        text = rest;
    }
}

/// The text up to the closing quote, and what comes behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_quoted_or_not() {
        let parsed = parse(r#"realm="a \"b\", c",nonce=xyz, qop="auth,auth-int" ,, Charset=utf-8"#);
        let expected = [
            ("charset", "utf-8"),
            ("nonce", "xyz"),
            ("qop", "auth,auth-int"),
            ("realm", r#"a "b", c"#),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parsed, Some(expected.into()));
        for malformed in ["realm", r#"realm="a"#, r#"a="\"#] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn names_beyond_latin_1_are_hashed_as_utf_8() {
        let identity = |user: &str| DigestMd5::new(user, "p").identity("r");
        assert_eq!(identity("\u{e9}"), b"\xe9:r:p");
        assert_eq!(identity("\u{20ac}"), b"\xe2\x82\xac:r:p");
    }

    fn exchange() -> Exchange {
        Exchange {
            mechanism: DigestMd5::new("bob", "secret"),
            cnonce: "c".to_owned(),
            owed: None,
        }
    }

    const CHALLENGE: &[u8] =
        br#"realm="zk-sasl-md5",nonce="n",charset=utf-8,algorithm=md5-sess,qop="auth""#;

    fn step(exchange: &mut Exchange, challenge: &[u8]) -> Result<Step, String> {
        let step = futures::executor::block_on(exchange.step(challenge));
        step.map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_that_cannot_prove_itself_is_not_believed() {
        let mut exchange = exchange();
        assert!(matches!(
            step(&mut exchange, CHALLENGE),
            Ok(Step::Respond(_))
        ));
        for wrong in [&b""[..], b"rspauth=00", b"rspauth", b"\xff"] {
            assert!(step(&mut exchange, wrong).is_err(), "{wrong:?}");
        }
        let proof = format!("rspauth={}", exchange.owed.clone().unwrap());
        assert_eq!(step(&mut exchange, proof.as_bytes()), Ok(Step::Done));
    }

    #[test]
    fn a_challenge_that_cannot_be_answered_is_an_error() {
        for wrong in [
            &b""[..],
            br#"realm="x""#,
            br#"nonce="n",qop="auth-conf""#,
            b"nonce",
        ] {
            assert!(step(&mut exchange(), wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_password_is_never_printed() {
        let printed = format!("{:?}", DigestMd5::new("bob", "secret"));
        assert_eq!(printed, "DigestMd5(bob, ..)");
    }
}

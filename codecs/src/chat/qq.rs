//! QQ bot, API v2: webhooks signed with ed25519 under a key made from the bot's secret.

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _};
use serde::Deserialize;

use super::{Attachment, Incoming, Refusal};
use crate::record::Form;
use crate::sip::auth::hex;

/// Both ends' key: the secret repeated until it has 32 bytes.
pub struct Key(SigningKey);

impl Key {
    /// # Errors
    /// When the secret is empty.
    pub fn new(secret: &str) -> Result<Key, &'static str> {
        if secret.is_empty() {
            return Err("a bot secret is not empty");
        }
        let mut seed = [0; 32];
        for (byte, secret) in seed.iter_mut().zip(secret.bytes().cycle()) {
            *byte = secret;
        }
        Ok(Key(SigningKey::from_bytes(&seed)))
    }

    /// Whether `X-Signature-Ed25519` (hex) is the platform's over `X-Signature-Timestamp` and the body.
    pub fn is_signed(&self, timestamp: &str, body: &[u8], given: &str) -> bool {
        let Some(given) = unhex(given) else { return false };
        let signed = [timestamp.as_bytes(), body].concat();
        self.0.verifying_key().verify(&signed, &Signature::from_bytes(&given)).is_ok()
    }

    /// Hex signature of `timestamp` and `body`: what we answer to a validation, and what a test platform sends.
    pub fn sign(&self, timestamp: &str, body: &[u8]) -> String {
        hex(&self.0.sign(&[timestamp.as_bytes(), body].concat()).to_bytes())
    }

    #[cfg(test)]
    fn public(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }
}

fn unhex(text: &str) -> Option<[u8; 64]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 64];
    if digits.len() != 128 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |b: u8| (b as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// What a POST asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Prove that the secret is ours: answer `Key::sign(event_ts, plain_token)`.
    Validate {
        plain_token: String,
        event_ts: String,
    },
    Message(Incoming),
    /// Of no concern to an emergency line; acknowledged.
    Other(String),
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    id: String,
    op: u8,
    #[serde(default)]
    t: String,
    #[serde(default)]
    d: serde_json::Value,
}

/// Reads a verified body.
///
/// # Errors
/// When it is not the documented JSON.
pub fn read(body: &[u8]) -> Result<Request, Refusal> {
    let payload: Payload = serde_json::from_slice(body).map_err(|_| Refusal::Malformed("not a payload"))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let d = &payload.d;
    if payload.op == 13 {
        return Ok(Request::Validate { plain_token: text(&d["plain_token"]), event_ts: text(&d["event_ts"]) });
    }
    // Answers go to the group, within 5 min, or to the user, within 60: its name says which.
    let user = match payload.t.as_str() {
        "C2C_MESSAGE_CREATE" => text(&d["author"]["user_openid"]),
        "GROUP_AT_MESSAGE_CREATE" => format!("{}/{}", text(&d["group_openid"]), text(&d["author"]["member_openid"])),
        other => return Ok(Request::Other(other.to_owned())),
    };
    let id = Some(text(&d["id"])).filter(|id| !id.is_empty()).unwrap_or(payload.id);
    if user.is_empty() || user.starts_with('/') || user.ends_with('/') || id.is_empty() {
        return Err(Refusal::Malformed("no author or id"));
    }
    let attachment = |a: &serde_json::Value| {
        let kind = match text(&a["content_type"]).split('/').next().unwrap_or_default() {
            "image" => Form::Image,
            "video" => Form::Video,
            "voice" | "audio" => Form::Voice,
            _ => Form::Data,
        };
        Attachment { kind, vendor_id: text(&a["filename"]), url: text(&a["url"]) }
    };
    let attachments = d["attachments"].as_array().map(|all| all.iter().map(attachment).collect()).unwrap_or_default();
    let message = Incoming {
        user,
        message_id: id,
        text: text(&d["content"]).trim().to_owned(),
        attachments,
        ..Incoming::default()
    };
    Ok(Request::Message(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_vectors_are_reproduced() {
        let key = Key::new("DG5g3B4j9X2KOErG").expect("a key");
        assert_eq!(
            key.sign("1725442341", b"Arq0D5A61EgUu4OxUvOp"),
            "87befc99c42c651b3aac0278e71ada338433ae26fcb24307bdc5ad38c1adc2d01bcfcadc0842edac85e85205028a1132afe09280305f13aa6909ffc2d652c706"
        );
        let key = Key::new("naOC0ocQE3shWLAfffVLB1rhYPG7").expect("a key");
        assert_eq!(key.public(), "d7c362fe78aef81ff23287b493628b5db02a3c4fe30b215e4d19609b5d76673a");
        let body = br#"{ "op": 0,"d": {}, "t": "GATEWAY_EVENT_NAME"}"#;
        let signature = "2eb9983ebb8bb209e78fd095942f58e442656656e7975d01e64f9023a84b7c964290fdd40e5500c33867ccfe9563b7e0b6bac0e1d42c13e787b304fd51f71102";
        assert!(key.is_signed("1725442341", body, signature));
        assert!(!key.is_signed("1725442342", body, signature));
        assert!(!key.is_signed("1725442341", b"{}", signature));
        assert!(!key.is_signed("1725442341", body, &signature[2..]));
        assert!(!key.is_signed("1725442341", body, &"zz".repeat(64)));
    }

    #[test]
    fn messages_validations_and_the_rest_are_told_apart() {
        let body = br#"{"id":"e1","op":0,"t":"C2C_MESSAGE_CREATE","d":{"id":"m1","author":{"user_openid":"u1"},"content":" \u6551\u547d ","attachments":[{"content_type":"image/png","filename":"a.png","url":"http://q/a"}]}}"#;
        let Ok(Request::Message(message)) = read(body) else { panic!("a message") };
        assert_eq!((message.user.as_str(), message.message_id.as_str(), message.text.as_str()), ("u1", "m1", "救命"));
        assert_eq!(message.attachments[0].kind, Form::Image);
        let body = br#"{"id":"e2","op":0,"t":"GROUP_AT_MESSAGE_CREATE","d":{"id":"m2","group_openid":"g","author":{"member_openid":"u2"},"content":"x"}}"#;
        assert!(matches!(read(body), Ok(Request::Message(m)) if m.user == "g/u2"));
        assert_eq!(
            read(br#"{"op":13,"d":{"plain_token":"p","event_ts":"1"}}"#),
            Ok(Request::Validate { plain_token: "p".into(), event_ts: "1".into() })
        );
        assert_eq!(read(br#"{"op":0,"t":"FRIEND_ADD","d":{}}"#), Ok(Request::Other("FRIEND_ADD".into())));
        assert!(read(br#"{"op":0,"t":"C2C_MESSAGE_CREATE","d":{}}"#).is_err());
        assert!(read(b"[]").is_err());
    }
}

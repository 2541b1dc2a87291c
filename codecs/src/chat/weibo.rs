//! Weibo fans service: private messages to an account, and posts that mention it.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Attachment, Incoming, Refusal, SharedLocation, same, sorted_sha1};
use crate::geo::{Datum, Point};
use crate::record::Form;

/// SHA-1 of the sorted application secret, timestamp (milliseconds) and nonce.
pub fn signature(secret: &str, timestamp: &str, nonce: &str) -> String {
    sorted_sha1(&mut [secret, timestamp, nonce])
}

pub fn is_signed(secret: &str, timestamp: &str, nonce: &str, given: &str) -> bool {
    same(signature(secret, timestamp, nonce).as_bytes(), given.as_bytes())
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    sender_id: serde_json::Value,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    data: serde_json::Value,
}

/// Reads a verified body. A message has no number: sender, second, type and a hash of its content name it.
///
/// # Errors
/// When it is not the documented JSON.
pub fn read(body: &[u8]) -> Result<Incoming, Refusal> {
    let b: Body = serde_json::from_slice(body).map_err(|_| Refusal::Malformed("not a message"))?;
    let user = match &b.sender_id {
        serde_json::Value::String(id) => id.clone(),
        serde_json::Value::Number(id) => id.to_string(),
        _ => return Err(Refusal::Malformed("no sender_id")),
    };
    let text = |key: &str| b.data[key].as_str().map_or_else(String::new, str::to_owned);
    let digest = Sha256::new().chain_update(&b.text).chain_update(b.data.to_string()).finalize();
    let message_id =
        format!("{user}-{}-{}-{}", b.created_at, b.kind, &crate::sip::auth::hex(&digest)[..16]).replace(' ', "_");
    let mut message = Incoming { user, message_id, text: b.text.clone(), ..Incoming::default() };
    let attach = |kind| Attachment { kind, vendor_id: text("tovfid"), url: String::new() };
    match b.kind.as_str() {
        "text" => {}
        "position" => {
            let (lon, lat) = (text("longitude").parse(), text("latitude").parse());
            if let (Ok(lon), Ok(lat)) = (lon, lat) {
                let point = Point { lon, lat };
                if point.is_sane() {
                    message.location = Some(SharedLocation { point, datum: Datum::Gcj02, label: String::new() });
                }
            }
        }
        "voice" => message.attachments.push(attach(Form::Voice)),
        "image" => message.attachments.push(attach(Form::Image)),
        "event" => message.event = Some(text("subtype")),
        // A post that mentions the account: a lead, never a report that anybody is sent to.
        "mention" => message.event = Some(format!("mention:{}", text("key"))),
        other => message.event = Some(other.to_owned()),
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_vector_is_reproduced() {
        let given = "90e4c22c90a58f26526c2dd5b6c56c8822edeaa1";
        assert_eq!(signature("xyz123xyz", "1397022061823", "57155157"), given);
        assert!(is_signed("xyz123xyz", "1397022061823", "57155157", given));
        assert!(!is_signed("xyz123xyy", "1397022061823", "57155157", given));
    }

    #[test]
    fn types_are_read_and_a_repeated_message_has_the_same_name() {
        let body = r#"{"type":"text","receiver_id":1902538057,"sender_id":2489518277,"created_at":"Mon Jul 16 18:09:20 +0800 2012","text":"私信内容","data":{}}"#;
        let got = read(body.as_bytes()).expect("reads");
        assert_eq!((got.user.as_str(), got.text.as_str()), ("2489518277", "私信内容"));
        assert_eq!(got.message_id, read(body.as_bytes()).expect("reads").message_id);
        assert_ne!(got.message_id, read(body.replace("内容", "内").as_bytes()).expect("reads").message_id);
        let place = read(br#"{"type":"position","sender_id":1,"data":{"longitude":"116.308586","latitude":"39.98"}}"#);
        assert_eq!(place.expect("reads").location.expect("there").point, Point { lon: 116.308_586, lat: 39.98 });
        let image = read(br#"{"type":"image","sender_id":"1","data":{"vfid":821,"tovfid":"822"}}"#).expect("reads");
        assert_eq!(image.attachments[0].vendor_id, "822");
        let event = read(br#"{"type":"event","sender_id":1,"data":{"subtype":"follow"}}"#).expect("reads");
        assert_eq!(event.event.as_deref(), Some("follow"));
        assert!(read(br#"{"type":"text"}"#).is_err());
    }
}

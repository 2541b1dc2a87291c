//! WeChat official accounts, mini-program customer service and WeCom: callbacks in plain and AES mode.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use quick_xml::Reader;
use quick_xml::events::Event as XmlEvent;

use super::{Attachment, Incoming, Refusal, SharedLocation, same, sorted_sha1};
use crate::geo::{Datum, Point};
use crate::record::Form;

/// The longest body that is read at all (messages are below 10 KiB).
pub const BODY_MAX: usize = 64 * 1024;
const DEPTH_MAX: usize = 8;
/// The padding's block, not the cipher's.
const PAD: usize = 32;

/// Encoding keys are 43 characters whose last two bits may be set, which a strict decoder refuses.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// `signature` of a URL check or of a message in plain mode.
pub fn signature(token: &str, timestamp: &str, nonce: &str) -> String {
    sorted_sha1(&mut [token, timestamp, nonce])
}

/// Whether the platform, which shares `token` with us, signed this.
pub fn is_signed(token: &str, timestamp: &str, nonce: &str, given: &str) -> bool {
    same(signature(token, timestamp, nonce).as_bytes(), given.as_bytes())
}

/// The key of AES mode, and the account it is for.
#[derive(Clone)]
pub struct Crypt {
    key: [u8; 32],
    token: String,
    /// appid, corpid, suite_id; empty: not compared.
    receive_id: String,
}

impl Crypt {
    /// # Errors
    /// When the key is not 43 characters of base64. The message never shows it.
    pub fn new(token: &str, encoding_aes_key: &str, receive_id: &str) -> Result<Crypt, &'static str> {
        let key = LENIENT
            .decode(format!("{encoding_aes_key}="))
            .ok()
            .and_then(|k| <[u8; 32]>::try_from(k).ok())
            .ok_or("an EncodingAESKey is 43 characters of base64")?;
        Ok(Crypt { key, token: token.to_owned(), receive_id: receive_id.to_owned() })
    }

    /// `msg_signature`.
    pub fn signature(&self, timestamp: &str, nonce: &str, encrypted: &str) -> String {
        sorted_sha1(&mut [&self.token, timestamp, nonce, encrypted])
    }

    /// Verifies, then decrypts.
    ///
    /// # Errors
    /// The same refusal for whatever is wrong: an oracle tells nothing.
    pub fn open(&self, timestamp: &str, nonce: &str, encrypted: &str, given: &str) -> Result<Vec<u8>, Refusal> {
        if !same(self.signature(timestamp, nonce, encrypted).as_bytes(), given.as_bytes()) {
            return Err(Refusal::Signature);
        }
        self.decrypt(encrypted).ok_or(Refusal::Signature)
    }

    fn decrypt(&self, encrypted: &str) -> Option<Vec<u8>> {
        let mut bytes = STANDARD.decode(encrypted).ok()?;
        let cipher = cbc::Decryptor::<aes::Aes256>::new(&self.key.into(), self.key[..16].into());
        let plain = cipher.decrypt_padded_mut::<NoPadding>(&mut bytes).ok()?;
        let pad = *plain.last()? as usize;
        if !(1..=PAD).contains(&pad) || plain.len() < pad + 20 {
            return None;
        }
        let (body, padding) = plain.split_at(plain.len() - pad);
        if padding.iter().any(|b| *b as usize != pad) {
            return None;
        }
        let len = u32::from_be_bytes(*body[16..].first_chunk()?) as usize;
        let (message, receive_id) = body[20..].split_at_checked(len)?;
        (self.receive_id.is_empty() || same(receive_id, self.receive_id.as_bytes())).then(|| message.to_vec())
    }

    /// Encrypts an answer; `random` is fresh for each.
    #[expect(clippy::expect_used, reason = "it was padded to whole blocks two lines above")]
    pub fn seal(&self, message: &[u8], random: [u8; 16]) -> String {
        let mut plain = random.to_vec();
        plain.extend_from_slice(&(message.len() as u32).to_be_bytes());
        plain.extend_from_slice(message);
        plain.extend_from_slice(self.receive_id.as_bytes());
        let pad = PAD - plain.len() % PAD;
        plain.resize(plain.len() + pad, pad as u8);
        let cipher = cbc::Encryptor::<aes::Aes256>::new(&self.key.into(), self.key[..16].into());
        let len = plain.len();
        STANDARD.encode(cipher.encrypt_padded_mut::<NoPadding>(&mut plain, len).expect("padded to whole blocks"))
    }
}

/// The `<Encrypt>` of an envelope, XML or JSON.
///
/// # Errors
/// When there is none, or the document is not to be trusted.
pub fn envelope(body: &[u8]) -> Result<String, Refusal> {
    let fields = Fields::read(body)?;
    let encrypted = fields.get("Encrypt");
    if encrypted.is_empty() { Err(Refusal::Malformed("no Encrypt")) } else { Ok(encrypted.to_owned()) }
}

/// An encrypted answer's document.
pub fn sealed_envelope(crypt: &Crypt, encrypted: &str, timestamp: &str, nonce: &str) -> String {
    let signature = crypt.signature(timestamp, nonce, encrypted);
    format!(
        "<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt><MsgSignature><![CDATA[{signature}]]></MsgSignature>\
         <TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
    )
}

/// Reads a message or event, XML or JSON.
///
/// # Errors
/// What the platform would never send. Unknown types are taken, with their name as the text.
pub fn read(body: &[u8]) -> Result<Incoming, Refusal> {
    let fields = Fields::read(body)?;
    let (user, kind) = (fields.get("FromUserName"), fields.get("MsgType"));
    if user.is_empty() || kind.is_empty() {
        return Err(Refusal::Malformed("no FromUserName or MsgType"));
    }
    let mut message = Incoming { user: user.to_owned(), ..Incoming::default() };
    message.message_id = match fields.get("MsgId") {
        // Events have no number.
        "" => format!(
            "{user}-{}-{}-{}",
            fields.get("CreateTime"),
            fields.get("Event"),
            fields.get("EventKey").chars().take(64).collect::<String>()
        ),
        id => id.to_owned(),
    };
    match kind {
        "text" => message.text = fields.get("Content").to_owned(),
        "image" => message.attach(Form::Image, &fields, "PicUrl"),
        "voice" => {
            message.text = fields.get("Recognition").to_owned();
            message.attach(Form::Voice, &fields, "");
        }
        "video" | "shortvideo" => message.attach(Form::Video, &fields, ""),
        "location" => message.place(&fields, "Location_X", "Location_Y", Datum::Gcj02),
        "link" => {
            let parts = [fields.get("Title"), fields.get("Description"), fields.get("Url")];
            message.text = parts.join(" ").trim().to_owned();
        }
        "miniprogrampage" => message.text = format!("{} {}", fields.get("Title"), fields.get("PagePath")),
        "event" => {
            let event = fields.get("Event");
            match event {
                "location_select" => message.place(&fields, "Location_X", "Location_Y", Datum::Gcj02),
                // Reported on entering; the platform does not say in which datum.
                "LOCATION" => message.place(&fields, "Latitude", "Longitude", Datum::Unknown),
                _ => {}
            }
            message.event = Some(event.to_owned());
        }
        other => message.text = format!("[{other}]"),
    }
    Ok(message)
}

impl Incoming {
    fn attach(&mut self, kind: Form, fields: &Fields, url: &str) {
        let (vendor_id, url) = (fields.get("MediaId").to_owned(), fields.get(url).to_owned());
        self.attachments.push(Attachment { kind, vendor_id, url });
    }

    fn place(&mut self, fields: &Fields, lat: &str, lon: &str, datum: Datum) {
        if let (Ok(lat), Ok(lon)) = (fields.get(lat).parse(), fields.get(lon).parse()) {
            let point = Point { lon, lat };
            if point.is_sane() {
                let label = format!("{} {}", fields.get("Label"), fields.get("Poiname")).trim().to_owned();
                self.location = Some(SharedLocation { point, datum, label });
            }
        }
    }
}

/// Names and texts of a document, nesting flattened: no name of the platform occurs twice with different meanings.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(body: &[u8]) -> Result<Fields, Refusal> {
        if body.len() > BODY_MAX {
            return Err(Refusal::Malformed("too long"));
        }
        let text = std::str::from_utf8(body).map_err(|_| Refusal::Malformed("not UTF-8"))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('{') { Fields::read_json(text) } else { Fields::read_xml(text) }
    }

    fn read_json(text: &str) -> Result<Fields, Refusal> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|_| Refusal::Malformed("not JSON"))?;
        let object = value.as_object().ok_or(Refusal::Malformed("no JSON object"))?;
        let text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        Ok(Fields(object.iter().map(|(k, v)| (k.clone(), text(v))).collect()))
    }

    /// No document type, hence no entity of its own; eight levels at most.
    fn read_xml(text: &str) -> Result<Fields, Refusal> {
        let mut reader = Reader::from_str(text);
        let (mut path, mut fields) = (Vec::<String>::new(), Vec::<(String, String)>::new());
        let mut value = String::new();
        loop {
            match reader.read_event().map_err(|_| Refusal::Malformed("not XML"))? {
                XmlEvent::DocType(_) => return Err(Refusal::Malformed("a document type")),
                XmlEvent::Start(tag) => {
                    if path.len() >= DEPTH_MAX {
                        return Err(Refusal::Malformed("nested too deep"));
                    }
                    path.push(String::from_utf8_lossy(tag.name().as_ref()).into_owned());
                    value.clear();
                }
                XmlEvent::Text(t) => value.push_str(&t.decode().map_err(|_| Refusal::Malformed("text"))?),
                XmlEvent::CData(t) => value.push_str(&t.decode().map_err(|_| Refusal::Malformed("CDATA"))?),
                XmlEvent::GeneralRef(r) => {
                    let name = r.decode().map_err(|_| Refusal::Malformed("entity"))?;
                    let c = match name.as_ref() {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => r.resolve_char_ref().ok().flatten().ok_or(Refusal::Malformed("an unknown entity"))?,
                    };
                    value.push(c);
                }
                XmlEvent::End(_) => {
                    let Some(name) = path.pop() else { return Err(Refusal::Malformed("not XML")) };
                    let text = std::mem::take(&mut value);
                    if !path.is_empty() {
                        fields.push((name, text.trim().to_owned()));
                    }
                }
                XmlEvent::Eof => break,
                XmlEvent::Empty(_) | XmlEvent::Comment(_) | XmlEvent::Decl(_) | XmlEvent::PI(_) => {}
            }
        }
        if !path.is_empty() {
            return Err(Refusal::Malformed("an element is not closed"));
        }
        Ok(Fields(fields))
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map_or("", |(_, v)| v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_check_of_the_pack_verifies() {
        let (token, timestamp, nonce) = ("police110token", "1795302900", "110110");
        assert_eq!(signature(token, timestamp, nonce), "f4d5dc46b1767bbaf9444638646f2ffa8fdca2ce");
        assert!(is_signed(token, timestamp, nonce, "f4d5dc46b1767bbaf9444638646f2ffa8fdca2ce"));
        assert!(!is_signed(token, timestamp, nonce, "f4d5dc46b1767bbaf9444638646f2ffa8fdca2cf"));
        assert!(!is_signed(token, timestamp, nonce, ""));
    }

    #[test]
    fn the_vendors_vectors_open_and_what_is_derived_from_them_does_not() {
        let corpus: serde_json::Value =
            serde_json::from_str(include_str!("../../corpus/wechat/vectors.json")).expect("JSON");
        let text = |v: &serde_json::Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
        let mut opened = 0;
        for v in corpus["valid"].as_array().expect("a list") {
            let crypt =
                Crypt::new(&text(v, "token"), &text(v, "encoding_aes_key"), &text(v, "receive_id")).expect("a key");
            if v["msg_signature"].is_null() {
                let random = *text(v, "random16").as_bytes().first_chunk().expect("sixteen bytes");
                assert_eq!(crypt.seal(text(v, "plaintext").as_bytes(), random), text(v, "encrypt"), "{}", v["name"]);
                continue;
            }
            let got =
                crypt.open(&text(v, "timestamp"), &text(v, "nonce"), &text(v, "encrypt"), &text(v, "msg_signature"));
            assert!(got.is_ok(), "{}", v["name"]);
            opened += 1;
        }
        assert!(opened >= 4);
        for v in corpus["invalid"].as_array().expect("a list") {
            let crypt = Crypt::new(&text(v, "token"), &text(v, "encoding_aes_key"), &text(v, "receive_id"));
            let Ok(crypt) = crypt else { continue };
            let got =
                crypt.open(&text(v, "timestamp"), &text(v, "nonce"), &text(v, "encrypt"), &text(v, "msg_signature"));
            assert_eq!(got, Err(Refusal::Signature), "{}", v["name"]);
        }
    }

    #[test]
    fn sealing_is_byte_exact_and_opens_again() {
        let key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
        let crypt = Crypt::new("police110token", key, "wx1234567890abcdef").expect("a key");
        let message = "<xml><ToUserName><![CDATA[gh_110110110110]]></ToUserName><FromUserName><![CDATA[oUser1]]></FromUserName><CreateTime>1795302900</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[有人打架]]></Content><MsgId>23456789012345678</MsgId></xml>";
        let sealed = crypt.seal(message.as_bytes(), *b"0123456789abcdef");
        assert!(sealed.starts_with("Q3stYC6hdFzMh9T8HCvyDHG8Z+SzFdEtPOIXuCM9Vol7BBjnIy1C"));
        assert_eq!(crypt.signature("1795302900", "110110", &sealed), "0ff470f7a5856c493d05038fc6eee9d520e70c1d");
        let opened =
            crypt.open("1795302900", "110110", &sealed, "0ff470f7a5856c493d05038fc6eee9d520e70c1d").expect("opens");
        let got = read(&opened).expect("reads");
        assert_eq!(
            (got.user.as_str(), got.text.as_str(), got.message_id.as_str()),
            ("oUser1", "有人打架", "23456789012345678")
        );
        let document = sealed_envelope(&crypt, &sealed, "1795302900", "110110");
        assert_eq!(envelope(document.as_bytes()), Ok(sealed));
    }

    fn xml(fields: &str) -> Result<Incoming, Refusal> {
        read(
            format!("<xml><FromUserName><![CDATA[u]]></FromUserName><CreateTime>9</CreateTime>{fields}</xml>")
                .as_bytes(),
        )
    }

    #[test]
    fn every_type_is_read() {
        let image = xml("<MsgType>image</MsgType><PicUrl>http://p/1</PicUrl><MediaId>m1</MediaId><MsgId>1</MsgId>")
            .expect("image");
        assert_eq!(
            image.attachments,
            [Attachment { kind: Form::Image, vendor_id: "m1".into(), url: "http://p/1".into() }]
        );
        let place = xml("<MsgType>location</MsgType><Location_X>23.134521</Location_X><Location_Y>113.358803</Location_Y><Label>某路1号</Label><MsgId>2</MsgId>").expect("location");
        let location = place.location.expect("there");
        assert_eq!((location.point.lat, location.point.lon, location.datum), (23.134_521, 113.358_803, Datum::Gcj02));
        assert_eq!(location.label, "某路1号");
        let event =
            xml("<MsgType>event</MsgType><Event>subscribe</Event><EventKey>qrscene_7</EventKey>").expect("event");
        assert_eq!((event.event.as_deref(), event.message_id.as_str()), (Some("subscribe"), "u-9-subscribe-qrscene_7"));
        let select = xml("<MsgType>event</MsgType><Event>location_select</Event><SendLocationInfo><Location_X>23</Location_X><Location_Y>113</Location_Y></SendLocationInfo>").expect("event");
        assert!(select.location.is_some());
        assert_eq!(xml("<MsgType>hologram</MsgType><MsgId>3</MsgId>").expect("kept").text, "[hologram]");
        assert_eq!(
            xml("<MsgType>text</MsgType><Content>a &amp; &#x4f60;</Content><MsgId>4</MsgId>").expect("text").text,
            "a & 你"
        );
        let json = read(br#"{"FromUserName":"u","MsgType":"text","Content":"hi","MsgId":18446744073709551615}"#)
            .expect("JSON");
        assert_eq!((json.text.as_str(), json.message_id.as_str()), ("hi", "18446744073709551615"));
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let bomb = br#"<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><FromUserName>&b;</FromUserName></xml>"#;
        assert_eq!(read(bomb), Err(Refusal::Malformed("a document type")));
        assert_eq!(
            xml("<MsgType>text</MsgType><Content>&bomb;</Content>"),
            Err(Refusal::Malformed("an unknown entity"))
        );
        assert_eq!(xml(&"<a>".repeat(9)), Err(Refusal::Malformed("nested too deep")));
        assert!(read(&[b'<'; BODY_MAX + 1]).is_err());
        for body in [&b""[..], b"<xml>", b"{", b"[]", b"\xff\xfe", b"<xml></xml>"] {
            assert!(read(body).is_err(), "{body:?}");
        }
    }
}

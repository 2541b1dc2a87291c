//! Header names the gateway acts on, with their compact forms (RFC 3261 7.3.3, 20).

macro_rules! names {
    ($($variant:ident = $text:literal),* $(,)?) => {
        /// A header field name; whatever is not in the table is `Other`, and its text is kept in the message.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Name { $($variant,)* Other }

        impl Name {
            /// The name as it is written on the wire (the long form).
            pub fn text(self) -> &'static str {
                match self { $(Name::$variant => $text,)* Name::Other => "" }
            }

        }

        const TABLE: &[(Name, &str)] = &[$((Name::$variant, $text)),*];
    };
}

names! {
    Via = "Via", From = "From", To = "To", CallId = "Call-ID", CSeq = "CSeq", Contact = "Contact",
    MaxForwards = "Max-Forwards", ContentLength = "Content-Length", ContentType = "Content-Type",
    RecordRoute = "Record-Route", Route = "Route", Allow = "Allow", Supported = "Supported",
    Require = "Require", ProxyRequire = "Proxy-Require", Unsupported = "Unsupported", UserAgent = "User-Agent",
    PAssertedIdentity = "P-Asserted-Identity", PPreferredIdentity = "P-Preferred-Identity",
    Authorization = "Authorization", WwwAuthenticate = "WWW-Authenticate",
    ProxyAuthorization = "Proxy-Authorization", ProxyAuthenticate = "Proxy-Authenticate",
    AuthenticationInfo = "Authentication-Info", Expires = "Expires", MinExpires = "Min-Expires",
    Accept = "Accept", ContentEncoding = "Content-Encoding", ContentDisposition = "Content-Disposition",
    Reason = "Reason", RetryAfter = "Retry-After", Subject = "Subject", Event = "Event",
    ReferTo = "Refer-To", ReferredBy = "Referred-By", AllowEvents = "Allow-Events",
    SessionExpires = "Session-Expires", MinSe = "Min-SE", Geolocation = "Geolocation",
    CallInfo = "Call-Info", AlertInfo = "Alert-Info", AnswerMode = "Answer-Mode", Priority = "Priority",
    Server = "Server", Date = "Date", Warning = "Warning", RSeq = "RSeq", RAck = "RAck",
    HistoryInfo = "History-Info", Identity = "Identity", Privacy = "Privacy", ResourcePriority = "Resource-Priority",
}

/// How many places the names are spread over, and by what: found by trying, and checked below.
const PLACES: usize = 256;

const fn place(text: &[u8]) -> usize {
    let (first, last) = (text[0] | 0x20, text[text.len() - 1] | 0x20);
    (text.len() + first as usize * 7 + last as usize * 21) % PLACES
}

/// One more than the place in `TABLE` of the only name that may stand there; 0 for none.
static BY_PLACE: [u8; PLACES] = {
    let mut by_place = [0; PLACES];
    let mut i = 0;
    while i < TABLE.len() {
        let at = place(TABLE[i].1.as_bytes());
        assert!(by_place[at] == 0, "two names in one place: other factors are needed");
        by_place[at] = i as u8 + 1;
        i += 1;
    }
    by_place
};

/// The names of at most fifteen octets as numbers, zeros behind, by the same place; 0 for none.
static SHORT_BY_PLACE: [(u128, Name); PLACES] = {
    let mut by_place = [(0, Name::Other); PLACES];
    let mut i = 0;
    while i < TABLE.len() {
        let text = TABLE[i].1.as_bytes();
        let (mut number, mut n) = (0, 0);
        while n < text.len() && text.len() < 16 {
            number |= (text[n] as u128) << (8 * n);
            n += 1;
        }
        by_place[place(text)] = (number, TABLE[i].0);
        i += 1;
    }
    by_place
};

impl Name {
    /// The name that the first `len` of sixteen octets spell, when they do it in the long form as the standards write
    /// it: one comparison instead of a call.
    #[inline]
    pub(super) fn usual(octets: [u8; 16], len: usize) -> Option<Name> {
        if !(1..16).contains(&len) {
            return None;
        }
        let text = u128::from_le_bytes(octets) & ((1 << (8 * len)) - 1);
        let (wanted, name) = SHORT_BY_PLACE[place(&octets[..len])];
        // Zero stands for "none", and octets of zero are no name either.
        (wanted == text && text != 0).then_some(name)
    }

    /// Names of the table, `Other` included.
    pub(super) const COUNT: usize = TABLE.len() + 1;

    fn long(text: &[u8]) -> Name {
        if text.is_empty() {
            return Name::Other;
        }
        let Some(found) = (BY_PLACE[place(text)] as usize).checked_sub(1) else { return Name::Other };
        let (name, exact) = TABLE[found];
        // Nearly everybody writes them as the standards do.
        if text == exact.as_bytes() || text.eq_ignore_ascii_case(exact.as_bytes()) { name } else { Name::Other }
    }

    /// Recognises a name as it stands on the wire, any case, long or compact form.
    pub fn parse(text: &[u8]) -> Name {
        let &[letter] = text else {
            return Name::long(text);
        };
        match letter.to_ascii_lowercase() {
            b'v' => Name::Via,
            b'f' => Name::From,
            b't' => Name::To,
            b'i' => Name::CallId,
            b'm' => Name::Contact,
            b'l' => Name::ContentLength,
            b'c' => Name::ContentType,
            b's' => Name::Subject,
            b'k' => Name::Supported,
            b'e' => Name::ContentEncoding,
            b'o' => Name::Event,
            b'r' => Name::ReferTo,
            b'b' => Name::ReferredBy,
            b'u' => Name::AllowEvents,
            b'x' => Name::SessionExpires,
            b'y' => Name::Identity,
            _ => Name::Other,
        }
    }
}

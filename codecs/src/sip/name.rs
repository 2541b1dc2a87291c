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

// Of one length the frequent ones first: they are compared in this order.
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

/// Longer than any name of the table.
const LENGTHS: usize = 32;

/// The table by length: where the names of each length begin in `ORDER`.
static BEGIN: [u8; LENGTHS + 1] = {
    let mut begin = [0; LENGTHS + 1];
    let mut i = 0;
    while i < TABLE.len() {
        let mut longer = TABLE[i].1.len() + 1;
        while longer <= LENGTHS {
            begin[longer] += 1;
            longer += 1;
        }
        i += 1;
    }
    begin
};

static ORDER: [u8; TABLE.len()] = {
    let mut order = [0; TABLE.len()];
    let (mut at, mut len) = (0, 0);
    while len < LENGTHS {
        let mut i = 0;
        while i < TABLE.len() {
            if TABLE[i].1.len() == len {
                order[at] = i as u8;
                at += 1;
            }
            i += 1;
        }
        len += 1;
    }
    order
};

impl Name {
    fn long(text: &[u8]) -> Name {
        let Some(&[from, to]) = BEGIN.get(text.len()..text.len() + 2).and_then(|b| b.first_chunk()) else {
            return Name::Other;
        };
        let same = || ORDER[from as usize..to as usize].iter().map(|n| TABLE[*n as usize]);
        // Nearly everybody writes them as the standards do.
        let found = same().find(|(_, name)| text == name.as_bytes());
        let found = found.or_else(|| same().find(|(_, name)| text.eq_ignore_ascii_case(name.as_bytes())));
        found.map_or(Name::Other, |(name, _)| name)
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

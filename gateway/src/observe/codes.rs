//! Every `GW-nnnn`: what it says, and what to do about it. `gateway explain` prints a row, `docs/codes.md` all of them.
//!
//! 0xxx the configuration, 1xxx the process and its limits, 2xxx calls and channels, 3xxx what is kept, 4xxx requests.

/// One row.
pub struct Code {
    /// `GW-3101`.
    pub code: &'static str,
    pub says: &'static str,
    /// What whoever reads it at night does next.
    pub then: &'static str,
}

macro_rules! codes {
    ($($code:literal: $says:literal, $then:literal;)*) => {
        pub const CODES: &[Code] = &[$(Code { code: concat!("GW-", $code), says: $says, then: $then }),*];
    };
}

// A row a line reads as the table that it is.
#[rustfmt::skip]
codes! {
    "0101": "config_version is unknown",
        "write `config_version = 1`; a later number belongs to a later gateway";
    "0102": "the configuration is no TOML, or has a key that does not exist",
        "correct the line; `gateway explain --page configuration` lists the keys";
    "0103": "a file that the configuration names cannot be read",
        "check its path, which is relative to the configuration, and its rights";
    "0120": "a secret cannot be had: its file or variable is missing or empty",
        "set the variable in the service's environment, or write the file";
    "0201": "city.unit is not 12 digits",
        "write the reception unit of GA/T 380, 12 digits";
    "0202": "node.digit is not 0 to 9",
        "give every node of the city a digit of its own";
    "0203": "node.shards cannot be",
        "leave it out: all cores but one are used";
    "0204": "listen.rtp.ports has too few ports for each shard",
        "widen the range, or have fewer shards";
    "0205": "listen.sip is a wildcard and nothing says where peers reach us",
        "set listen.sip_advertise to the address that peers send to";
    "0206": "listen.rtp.address is a wildcard and nothing says where audio is to be sent",
        "set `advertise` in listen.rtp";
    "0207": "registrar.max_expires is too short",
        "30 s at least; 120 s is what telephones and this gateway do well with";
    "0208": "a value of [limits] cannot be",
        "a share is 1 to 100 percent, calls at least 1, legs at least 2";
    "0209": "a time of [storage] is less than a day",
        "nothing is kept for less than `1d`";
    "0210": "a group is named that does not exist",
        "define [group.NAME], or correct the name";
    "0211": "a channel names a trunk that does not exist",
        "define [trunk.NAME], or correct the name";
    "0212": "a unit that is named does not exist",
        "define [unit.CODE] for it, or correct the code";
    "0213": "a default_grid is not in the grid table",
        "correct it, or add the grid to the file that tables.grids names";
    "0220": "a table lacks a column",
        "its first line names the columns; the message says which is missing";
    "0221": "a row of a table has too few or too many fields",
        "count the commas of the line that is named";
    "0222": "a name is given out twice",
        "each seat, officer and duty room registers as a user of its own";
    "0223": "a seat's kind is unknown",
        "this gateway knows `sip`";
    "0224": "the grid file is no GeoJSON that can be used",
        "the message says where; polygons in WGS-84 with `grid_id` and `unit`";
    "0225": "a grid has no grid_id, or its unit does not exist",
        "give the feature both properties, and define [unit.CODE]";
    "0226": "an officer's grid does not exist",
        "correct grid_ids, or add the grid";
    "0227": "an officer has neither a user nor a phone",
        "nobody can be called there: give the row one of the two";
    "0228": "a subscriber's place is not on this earth",
        "lon and lat are degrees, WGS-84";
    "0229": "a row of a table of words cannot be used",
        "the message says which column: a word that can be read, a level, a category that there is, percent, characters";
    "0230": "a sink's address cannot be",
        "it begins with http:// or https://";
    "0232": "a channel's kind is unknown",
        "one of cmpp, sgip, smgp, smpp, wechat, wecom, qq, weibo, http, sip";
    "0233": "a channel lacks a key that its kind needs",
        "add the key that is named";
    "0234": "a value of a channel cannot be",
        "the message says what its protocol takes";
    "0236": "a seat's number of conversations cannot be",
        "max_threads is a small number";
    "0237": "a flag of a table is neither true nor false",
        "write `true` or `false`";
    "0238": "there are more skills than can be told apart",
        "have at most 32 different names";
    "0239": "what a row of a table is called by is no name",
        "give it one without spaces and slashes: it stands in paths of the API";
    "0240": "log.level is none",
        "write `error`, `warn`, `info`, `debug` or `trace`, or `target=level` for one part";
    "0241": "two listeners want one port",
        "give each its own; RTP's range holds neither";
    "0242": "two trunks have one source, or a trunk has none",
        "a call is one trunk's: name the addresses that its calls come from, each in one trunk only";
    "0243": "a skill that no seat has",
        "whoever needs it would wait for nobody: correct the name, or give it to seats";
    "0244": "the line of a grid crosses itself",
        "what lies inside is not known: draw the area without crossings, with at most 10,000 corners a line";
    "0245": "the tone ahead of a call is too long",
        "the caller waits for its end: at most 2 s";
    "0246": "a row of result codes cannot be used",
        "each has a code of 1 to 64 characters that stands once, and a name";
    "0250": "a rule of the fan-out cannot be meant",
        "correct the line; every target of a rule is the `target` of a sink, each stage has one at least";
    "0251": "a case of the rules comes out otherwise than it says",
        "correct the rules, or the case, whichever is wrong";
    "0252": "the target of a sink cannot be",
        "give each sink that tells a target one of its own";
    "0253": "a part of the record that a sink is to give does not exist",
        "names are those of the record, with dots: `gateway schema alert` shows them";
    "0254": "an agency, a linkage or the lines of a room cannot be",
        "an agency has a number of its own and a user or a phone; a linkage names those who are there; lines are 1 to 1000";
    "0255": "officers cannot be written to by this channel",
        "orders.channel is the name of a channel whose users are telephone numbers";
    "0256": "the way of a sink cannot be",
        "give it one of http, nats, postgres and spool; the message says what is wrong with it";
    "0257": "a row of categories cannot be used",
        "each has six digits of its own, a name, and whose it is: city, county, station or the code of a unit";
    "1001": "a shard cannot wait for its sockets",
        "the operating system refuses; look into the kernel's log and restart";
    "1002": "an address cannot be listened on",
        "the message names the process that holds the port: end it, or choose another";
    "1003": "another gateway holds this data directory",
        "two gateways never share one; end the other, or give this one its own";
    "1004": "a part of the process has failed",
        "it begins anew by itself, or the process ends and is started by its supervisor; report the lines before this one";
    "1005": "there are fewer cores than shards and one more",
        "leave node.pin out, or have fewer shards";
    "1006": "a thread cannot be bound to its core",
        "without node.pin it runs wherever the kernel likes";
    "1007": "the data directory cannot be used",
        "calls are answered and nothing is kept: check that it exists, whose it is, and that it has room";
    "1008": "a signal does nothing here",
        "SIGTERM drains; the configuration is read at a start only";
    "1009": "a thread cannot step back behind those that answer calls",
        "calls may come late under load; give the process CAP_SYS_NICE or a core more";
    "1010": "the casebook does not answer",
        "calls go on and nothing is put on record: where the disk hangs, mend that; else restart the process and report the lines before this one";
    "1101": "half of a limit is used",
        "see gateway_limit_used; raise [limits], or find out who uses it";
    "1102": "a connection cannot be taken",
        "descriptors are used up, most likely: raise the limit of the service (LimitNOFILE)";
    "1103": "there are fewer descriptors than the rated load needs",
        "raise LimitNOFILE, or lower [limits]";
    "1104": "there are fewer media ports than the rated load needs",
        "widen listen.rtp.ports, or lower [limits]";
    "2100": "a call was gone before it could be answered",
        "a fault of ours; report it with the lines around";
    "2102": "no media port is free: a call was refused with 503",
        "it is an alert and is called back; widen listen.rtp.ports";
    "2103": "a trunk's share is used up: a call was refused with 503",
        "it is an alert and is called back; raise the trunk's `calls` or `new_calls`";
    "2106": "a call's SDP cannot be read: refused with 400",
        "it is an alert and is called back; show the carrier the line that is named";
    "2107": "an offer has no G.711 audio: refused with 488",
        "it is an alert and is called back; have the carrier offer PCMA or PCMU";
    "2108": "an offer names nobody who can be sent audio: refused with 488",
        "it is an alert and is called back; the address is a group's, everybody's or our own";
    "2201": "a carrier's link is closed",
        "it is dialled again by itself; the reason is the carrier's";
    "2203": "a platform refused a line",
        "the reason is the platform's; the line goes by another way of the reporter where there is one";
    "2204": "a file that came with a message could not be fetched",
        "the alert says so; the platform keeps it for some days";
    "2205": "a platform's clock and ours are apart",
        "its messages are taken; set the clock that is wrong";
    "2301": "a leg's audio comes from elsewhere than its SDP says",
        "set `nat = true` for the trunk or the registrar where it stands behind a NAT; else it is a stranger's";
    "3101": "the journal cannot be written",
        "calls go on, nothing is acknowledged: look at the disk (room, rights, errors); it is tried again by itself";
    "3102": "no new segment of the journal could be begun",
        "the old one goes on; the disk is nearly full";
    "3104": "the journal's file was removed while it was written",
        "it begins anew with all that is known; find out who removes files";
    "3105": "the journal is damaged",
        "what can be read is served; `gateway audit verify` says where; the octets are kept beside as *.damaged";
    "3106": "damaged octets could not be copied",
        "the damage itself is told by GW-3105; the disk is full, most likely";
    "3107": "the journal is being taken up",
        "calls are answered meanwhile; it takes a second for each 50,000 alerts or so";
    "3201": "audio of a call is being lost",
        "the call goes on; look at the disk";
    "3202": "a recording could not be cut into files yet",
        "its log keeps it and it is tried again; look at the disk";
    "3203": "recordings that a crash interrupted could not all be cut",
        "their log keeps them; they are tried again at the next start";
    "3204": "the recording log's file was removed",
        "it begins anew; find out who removes files";
    "3205": "a fetched file cannot be stored",
        "look at the disk; the message itself is kept";
    "3301": "events are missing in the journal, for a sink",
        "the receiver misses them for good; see GW-3105";
    "3302": "a sink's cursor cannot be stored",
        "a restart repeats events, which the receiver drops by their id";
    "3303": "an event went to the dead letters",
        "the receiver refuses it: see why, then POST /v1/sinks/NAME/replay";
    "3304": "the dead letters cannot be read",
        "look at DATA/sinks/NAME.dead.ndjson";
    "3305": "a sink's cursor stood beyond the journal",
        "it was set back to its end; the journal is younger than the cursor: was it replaced?";
    "3306": "a sink takes nothing",
        "events wait and nothing is lost; the receiver is down, or its secret or address is wrong";
    "3401": "the read model has stopped",
        "it is tried again by itself; calls and sinks go on, lists answer 503 meanwhile";
    "3402": "the journal is behind what the read model has",
        "it was emptied or replaced; the last copy of the read model is kept, numbers go on behind those given";
    "3501": "the data directory cannot be looked at",
        "check that it exists and whose it is";
    "3502": "the disk is nearly full",
        "make room; calls go on without it once it is full, and nothing is acknowledged then";
    "3503": "what is old could not be removed",
        "look at the rights below the data directory";
    "4400": "a request, or a hook's message, cannot be read",
        "the sender is at fault; the detail says what";
    "4401": "no credential that counts",
        "send `Authorization: Bearer TOKEN`; `gateway token list` says which have ended";
    "4403": "a hook's signature is missing, wrong or too old",
        "compare secret and clock of both sides";
    "4404": "there is no such thing",
        "a path, alert, seat, officer, sink or line that does not exist";
    "4405": "the path takes other methods",
        "the Allow header names them";
    "4406": "the tokens cannot be read",
        "those that were known count; look at DATA/tokens";
    "4407": "the token's role, subject or area may not do this",
        "use a token that may; `gateway token new` makes one";
    "4408": "a body never came whole",
        "send it faster, or in one piece";
    "4409": "it exists, and is in no state for this",
        "no call at the seat, an alert that is closed, several that are meant";
    "4410": "whoever must not be heard is not written to",
        "the report was silent: the taker decides otherwise by answering in its thread";
    "4413": "a body is too long",
        "the detail says how long it may be";
    "4422": "a request makes no sense",
        "the detail says which field and why";
    "4423": "an Idempotency-Key cannot be used so",
        "it is 1 to 256 characters, and belongs to one request";
    "4424": "a request under this Idempotency-Key came to nothing",
        "send it again with a new key";
    "4429": "too much at once, or a sender's day is used up",
        "wait as long as Retry-After says; see limits.stored_a_day_mb";
    "4500": "a fault of ours",
        "report it with the lines of the log around";
    "4503": "many long messages at once",
        "send it again";
}

/// The row of `GW-3101`, `3101` or `gw-3101`.
pub fn find(name: &str) -> Option<&'static Code> {
    let digits = name.trim().trim_start_matches(|c: char| !c.is_ascii_digit());
    CODES.iter().find(|row| row.code[3..] == *digits)
}

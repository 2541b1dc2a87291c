#!/usr/bin/env python3
"""kill -9 at random moments under load: what was acknowledged is delivered, what was said is recorded.

    kill_loop.py --gateway PATH --loadtest PATH [--rounds 10] [--seed 1] [--calls 20]

Each round starts `gateway run`, brings 20 and more calls up in which caller, seat and officer talk, posts transcript
lines, kills the process, starts it again and then looks: every line that got a 2xx is at the sink, every track of every
bridged call is a whole WAV with a right hash, holds the voice of its own leg and call, and lacks at most 200 ms of what
went before the kill; no number is two calls', no event comes with two bodies, the API says what the sink was told, the
journal's chain holds. Before the first round every one of these checks is shown what is wrong, and has to say so.
"""
import argparse, bisect, hashlib, http.client, http.server, json, math, pathlib, random, struct, subprocess, sys, tempfile
import threading, time
from datetime import datetime

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import text_city

SECRET = "whsec_cG9saWNlLTExMC1kZW1vLXNlY3JldC0zMi1ieXRlcyE="
MISSING_MS = 200
# The clocks of this script and of the record meet at the answer: half a media tick, and the poll of a kill.
SLACK_MS = 40
# Calls of a round of which the voices are looked at, beside the hashes of all.
LISTENED = 6
TRACKS = ["caller", "seat", "officer"]


class Sink:
    """What a downstream system got: the first body of each event, and every fault on the way."""

    def __init__(self):
        self.lock = threading.Lock()
        self.bodies, self.told, self.faults = {}, [], []

    def take(self, event_id, body):
        """The status that it answers. A fault is kept for whoever asks: this is another thread."""
        with self.lock:
            if event_id not in self.bodies:
                self.bodies[event_id] = body
                self.told.append((event_id, json.loads(body)))
                return 200
            if self.bodies[event_id] == body:
                return 200
            self.faults.append(f"{event_id} came twice with different bytes")
            return 500

    def events(self):
        with self.lock:
            return list(self.told)

    def serve(self):
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(sink.take(self.headers["webhook-id"], body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                """A sender that is killed resets its connections: that is what this is about."""

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]


# What is looked at. Each check returns what is wrong; an empty list is all well.


def wrong_events(events):
    """Every revision once and in order, under its own id, and a number is one caller's from its first to its last."""
    faults, last, whose = [], {}, {}
    for event_id, event in events:
        no, rev, data = event["subject"], event["data"]["rev"], event["data"]
        if event_id != event["id"] or event_id != f"{no}:{rev}" or data["id"]["alert_no"] != no:
            faults.append(f"{event_id} is the event {event['id']} of {no}, revision {rev}")
        if rev != last.get(no, 0) + 1:
            faults.append(f"{no}: revision {rev} came after {last.get(no, 0)}")
        last[no] = rev
        source = (data["reporter"].get("phone"), data["source"].get("message_id"))
        if whose.setdefault(no, source) != source:
            faults.append(f"{no} is the number of {whose[no]} and of {source}")
    calls = {}
    for no, source in whose.items():
        if calls.setdefault(source, no) != no:
            faults.append(f"{source} has the numbers {calls[source]} and {no}")
    return faults


def wrong_numbers(given, up):
    """Numbers of the calls that are up now, against those of all the rounds before; `given` learns the new ones."""
    faults = []
    for no, call in up.items():
        if given.setdefault(no, call["message_id"]) != call["message_id"]:
            faults.append(f"{no} was given to two calls")
    for message_id in {c["message_id"] for c in up.values()}:
        if sum(c["message_id"] == message_id for c in up.values()) > 1:
            faults.append(f"the call {message_id} has two numbers")
    return faults


def wrong_records(closed, events):
    """What the API says of an alert is what the sink was told last."""
    told = {event["subject"]: event["data"] for _, event in events}
    return [f"{no}: the API's record is not the sink's" for no, record in closed.items() if told.get(no) != record]


def missing_lines(acknowledged, events):
    said = {line["body"] for _, event in events for line in event["data"].get("text", [])}
    return [f"acknowledged and not delivered: {line}" for line in sorted(acknowledged - said)]


def wrong_track(name, data, media, gone_ms):
    """A whole WAV that is what its hash says and lacks little of the `gone_ms` from the answer to the kill."""
    if hashlib.sha256(data).hexdigest() != media["sha256"]:
        return [f"{name} is not what its hash says"], 0
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE" or len(data) < 58:
        return [f"{name} is no WAV"], 0
    size = int.from_bytes(data[54:58], "little")
    if len(data) < 58 + size or size / 8 != media["duration_ms"]:
        return [f"{name} has not the {media['duration_ms']} ms that it tells"], 0
    missing = gone_ms - media["offset_ms"] - size / 8
    return ([f"{name} lacks {missing:.0f} ms"] if missing > MISSING_MS + SLACK_MS else []), missing


def tones(role, call):
    """Of `loadtest::ear::Code`."""
    slot = lambda n: 350 + 20 * n
    return slot(role * 24 + call % 24), slot(72 + role * 24 + call // 24 % 24)


def samples_of(codes):
    out = []
    for code in codes:
        code ^= 0x55
        exponent, mantissa = code >> 4 & 7, code & 15
        value = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 0x108) << exponent - 1
        out.append(value if code & 0x80 else -value)
    return out


def loudness(samples, hertz):
    """The amplitude of one frequency, of full scale."""
    w = 2 * math.pi * hertz / 8000
    re = sum(s * math.cos(w * n) for n, s in enumerate(samples))
    im = sum(s * math.sin(w * n) for n, s in enumerate(samples))
    return 2 * math.hypot(re, im) / len(samples) / 32768


def wrong_voice(name, codes, role, call):
    """Of the last half second: its own leg's voice is in it, and hardly anything else."""
    samples = samples_of(codes[-4000:])
    levels = [loudness(samples, hertz) for hertz in tones(role, call)]
    power = sum(s * s for s in samples) / len(samples) / 32768**2
    if min(levels) < 0.06 or power - sum(level**2 / 2 for level in levels) > 0.0036:
        return [f"{name} is not the voice of leg {role} of call {call}: {levels}, power {power:.4f}"]
    return []


def wav_of(codes):
    head = b"RIFF" + struct.pack("<I", 50 + len(codes)) + b"WAVE"
    return head + bytes(54 - len(head)) + struct.pack("<I", len(codes)) + codes


def sine_codes(frequencies, count):
    """A-law by search: slow, and written without the other side's encoder."""
    table = sorted((samples_of([code])[0], code) for code in range(256))
    values = [v for v, _ in table]
    out = bytearray()
    for n in range(count):
        value = sum(0.12 * 32767 * math.sin(2 * math.pi * f * n / 8000) for f in frequencies)
        out.append(table[min(bisect.bisect(values, value), 255)][1])
    return bytes(out)


def prove():
    """Shows each check what it is there for; whichever says nothing ends this run."""

    def event(no, rev, phone="1", message_id=None):
        data = {"id": {"alert_no": no}, "rev": rev, "reporter": {"phone": phone}, "source": {"message_id": message_id or no}}
        return f"{no}:{rev}", {"id": f"{no}:{rev}", "subject": no, "data": data}

    good = [event("A", 1), event("B", 1), event("A", 2)]
    sink = Sink()
    sink.take("A:1", b"1"), sink.take("A:1", b"1")
    again = sink.take("A:1", b"2")
    codes = sine_codes(tones(1, 30), 4000)
    wav = wav_of(codes)
    media = {"sha256": hashlib.sha256(wav).hexdigest(), "offset_ms": 0, "duration_ms": 500.0}
    up = {"A": {"message_id": "a"}, "B": {"message_id": "b"}}
    well = [
        wrong_events(good), wrong_numbers({"C": "c"}, up), wrong_records({"B": good[1][1]["data"]}, good),
        missing_lines(set(), good), wrong_track("w", wav, media, 600)[0], wrong_voice("w", codes, 1, 30),
    ]
    noticed = {
        "another body": again == 500 and sink.faults,
        "a revision twice": wrong_events(good + [event("A", 2)]),
        "a revision left out": wrong_events([event("A", 1), event("A", 3)]),
        "a number of two callers": wrong_events([event("A", 1), event("A", 2, phone="2")]),
        "a call of two numbers": wrong_events([event("A", 1), event("B", 1, message_id="A")]),
        "a number given again": wrong_numbers({"A": "another"}, up),
        "two numbers for a call": wrong_numbers({}, {"A": {"message_id": "a"}, "B": {"message_id": "a"}}),
        "another record": wrong_records({"B": {"rev": 7}}, good),
        "a line lost": missing_lines({"x"}, good),
        "another hash": wrong_track("w", wav[:-1] + b"\0", media, 600)[0],
        "half a second lost": wrong_track("w", wav, media, 1000)[0],
        "another duration": wrong_track("w", wav, {**media, "duration_ms": 600}, 600)[0],
        "another call's voice": wrong_voice("w", codes, 1, 31),
        "another leg's voice": wrong_voice("w", codes, 2, 30),
        "silence": wrong_voice("w", b"\xd5" * 4000, 1, 30),
    }
    deaf = [what for what, faults in noticed.items() if not faults]
    if deaf or any(well):
        sys.exit(f"these checks cannot fail: {deaf}; these find fault with what is well: {[w for w in well if w]}")
    return len(noticed)


# The gateway, and the rounds.


def configure(directory, sink_port, base):
    environment = text_city.write(directory, base)
    text = (directory / "city.toml").read_text()
    text = text.replace(f"{base + 100}-{base + 400}", f"{base + 100}-{base + 1099}")
    text = "".join(text.partition("[channel.cmpp]")[:1])
    text += f'[sink.command]\nhttp = {{ url = "http://127.0.0.1:{sink_port}/", secret = {{ env = "SINK" }} }}\n'
    (directory / "city.toml").write_text(text)
    with open(directory / "officers.csv", "a") as table:
        table.writelines(f"{n},officer {n},,{n},demo,G-1,370400510000,true\n" for n in range(4002, 4101))
    page = json.loads((directory / "page.json").read_text())
    page["load"].update(seats=[3001, 3100], officers=[4001, 4100])
    page["rtp"] = [base + 100, base + 1099]
    (directory / "page.json").write_text(json.dumps(page))
    return {**environment, "SINK": SECRET}


class Gateway:
    def __init__(self, binary, directory, environment):
        self.directory = directory
        self.errors = open(directory / "stderr.log", "ab")
        self.process = subprocess.Popen([binary, "run", "--config", directory / "city.toml"], env=environment,
                                        stdout=subprocess.PIPE, stderr=self.errors)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the gateway does not start: {(directory / 'stderr.log').read_text()[-500:]}")
        self.http = json.loads((directory / "page.json").read_text())["http"]
        self.token = (directory / "data" / "token").read_text().strip()

    def kill(self):
        self.process.kill()
        self.process.wait()
        return time.time()

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection(*self.http.split(":"), timeout=5)
        try:
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def alerts(self, after):
        """Alerts whose newest revision is younger than the journal sequence `after`, and where they end."""
        found = {}
        while True:
            status, body = self.request("GET", f"/v1/alerts?limit=1000&after={after}")
            page = json.loads(body)
            if status != 200 or not page["alerts"]:
                return found, after
            found.update((a["id"]["alert_no"], a) for a in page["alerts"])
            after = page["next"]


def wait(what, condition, patience=20):
    """Polls from outside: a killed process tells nobody."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    sys.exit(f"not within {patience} s: {what}")


def seconds(stamp):
    return datetime.fromisoformat(stamp).timestamp()


def bridged(alerts):
    return {no: a for no, a in alerts.items() if a["state"] != "closed" and a["call"]["t"].get("bridge_ok")}


def write_lines(gateway, after, acknowledged, chance, until):
    live = sorted(bridged(gateway.alerts(after)[0]))
    while time.time() < until:
        line = f"{chance.choice(live)} {chance.random()}"
        no = line.split(" ")[0]
        body = json.dumps({"by": "caller", "body": line})
        if gateway.request("POST", f"/v1/alerts/{no}/transcript", body)[0] == 200:
            acknowledged.add(line)


def check_recordings(directory, up, closed, killed, chance):
    """Every track of every bridged call; the voices of some."""
    faults, worst = [], 0.0
    listened = set(chance.sample(sorted(up), min(LISTENED, len(up))))
    for no, before in up.items():
        gone_ms = (killed - seconds(before["call"]["t"]["answer"])) * 1000
        media = {m["track"]: m for m in closed[no].get("media", [])}
        # Of an officer who came within what may be missing there need not be a track.
        young = (killed - seconds(before["call"]["t"]["bridge_ok"])) * 1000 <= MISSING_MS + SLACK_MS
        for role, track in [(None, "mix"), *enumerate(TRACKS)]:
            if track not in media:
                faults += [] if young and track == "officer" else [f"{no}: no {track} track"]
                continue
            data = (directory / "data" / media[track]["uri"]).read_bytes()
            wrong, missing = wrong_track(f"{no} {track}", data, media[track], gone_ms)
            faults, worst = faults + wrong, max(worst, missing)
            if no in listened and role is not None and len(data) > 58 + 8000 and not wrong:
                call = int(before["reporter"]["phone"][3:])
                faults += wrong_voice(f"{no} {track}", data[58:], role, call)
    return faults, worst


def round_of(a, directory, environment, state, chance):
    gateway = Gateway(a.gateway, directory, environment)
    after = state["after"]
    load = subprocess.Popen([a.loadtest, "calls", "--page", directory / "page.json", "--legs", "3", "--rate", "10",
                             "--duration", "5s", "--hold", "60s", "--media", "full"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
    try:
        wait(f"{a.calls} calls bridged", lambda: len(bridged(gateway.alerts(after)[0])) >= a.calls, 40)
        write_lines(gateway, after, state["acknowledged"], chance, time.time() + chance.uniform(0.2, 2.5))
        up = bridged(gateway.alerts(after)[0])
        killed = gateway.kill()
    finally:
        load.kill()
        load.wait()
        gateway.kill()
    faults = wrong_numbers(state["given"], {no: a["source"] for no, a in up.items()})
    gateway, sink = Gateway(a.gateway, directory, environment), state["sink"]
    try:
        closed = lambda: {no: a for no, a in gateway.alerts(after)[0].items() if a["state"] == "closed" and a.get("media")}
        wait("every interrupted alert closed", lambda: set(up) <= set(closed()))
        wait("every acknowledged line at the sink", lambda: not missing_lines(state["acknowledged"], sink.events()))
        settled = lambda: not wrong_records({no: r for no, r in closed().items() if no in up}, sink.events())
        wait("the sink's last word on every alert is the API's", settled)
        records, state["after"] = gateway.alerts(after)
        wrong, worst = check_recordings(directory, up, records, killed, chance)
    finally:
        gateway.kill()
    faults += wrong + sink.faults + wrong_events(sink.events())
    if faults:
        sys.exit("\n".join(["✗ kill-loop", *faults[:20], f"{len(faults)} faults, data in {directory}"]))
    return len(up), worst


def main():
    repo = pathlib.Path(__file__).resolve().parents[3]
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", default=str(repo / "target/release/gateway"))
    parser.add_argument("--loadtest", default=str(repo / "target/release/loadtest"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--port", type=int, default=17000)
    a = parser.parse_args()
    proved = prove()
    print(f"each of {proved} faults is noticed", flush=True)
    chance = random.Random(a.seed)
    state = {"after": 0, "acknowledged": set(), "given": {}, "sink": Sink()}
    calls, worst = 0, 0.0
    with tempfile.TemporaryDirectory(prefix="gw-kill-") as name:
        directory = pathlib.Path(name)
        environment = configure(directory, state["sink"].serve(), a.port)
        for n in range(a.rounds):
            up, missing = round_of(a, directory, environment, state, chance)
            calls, worst = calls + up, max(worst, missing)
            print(f"round {n + 1}: {up} calls of three legs up at the kill, {len(state['acknowledged'])} lines "
                  f"acknowledged so far, at most {missing:.0f} ms missing", flush=True)
        subprocess.run([a.gateway, "audit", "verify", "--data", directory / "data"], check=True)
    numbers = {event["subject"] for _, event in state["sink"].events()}
    unknown = set(state["given"]) - numbers
    if unknown:
        sys.exit(f"never told to the sink: {sorted(unknown)}")
    print(f"kill-loop: {a.rounds} kills, {calls} bridged calls, {len(state['acknowledged'])} acknowledged lines all "
          f"delivered, {len(numbers)} numbers of as many calls, worst gap {worst:.0f} ms")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""kill -9 at random moments under load: what was acknowledged is delivered, what was said is recorded.

Each round starts `gateway run`, brings 20 and more calls up, posts transcript lines, kills the process, starts it
again and then checks: every line that got a 2xx is at the sink, every recording is a valid WAV with a right hash and
lacks at most 200 ms of what went before the kill, the journal's chain holds, numbers are given once.
"""
import argparse
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

REPO = pathlib.Path(__file__).resolve().parents[3]
SECRET = "whsec_cG9saWNlLTExMC1kZW1vLXNlY3JldC0zMi1ieXRlcyE="
MISSING_MS = 200
# The clocks of this script and of the record meet at the answer: half a media tick, and the poll of a kill.
SLACK_MS = 40


class Sink(http.server.BaseHTTPRequestHandler):
    bodies = {}
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        event_id = self.headers["webhook-id"]
        before = Sink.bodies.setdefault(event_id, body)
        self.send_response(200 if before == body else 500)
        self.send_header("content-length", "0")
        self.end_headers()
        if before != body:
            sys.exit(f"{event_id} came twice with different bytes")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A sender that is killed resets its connections: that is what this is about."""


class Round:
    """The journal sequence that the rounds so far have come to."""

    after = 0


def configure(directory, sink_port, rtp):
    example = REPO / "deploy" / "example"
    for table in ["seats.csv", "officers.csv", "subscribers.csv", "keywords.csv", "grids.geojson"]:
        shutil.copy(example / table, directory / table)
    text = (example / "city.toml").read_text()
    for port in ["127.0.0.1:5060", "127.0.0.1:8110", "127.0.0.1:9110"]:
        text = text.replace(port, "127.0.0.1:0")
    text = text.replace("20000-31999", f"{rtp}-{rtp + 1000}")
    text = text.replace("http://127.0.0.1:8080/alerts", f"http://127.0.0.1:{sink_port}/")
    text = text.replace('group   = "default"', 'group   = "default"\nattendant_user = "bench"')
    (directory / "city.toml").write_text(text)


def start(gateway, directory):
    environment = dict(os.environ, UNIT_SECRET="unit", COMMAND_SINK_SECRET=SECRET)
    process = subprocess.Popen([gateway, "run", "--config", directory / "city.toml"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return process, json.loads(process.stdout.readline())["ready"]


def request(address, token, method, path, body=None):
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def alerts(address, token, after):
    """Alerts whose newest revision is younger than the journal sequence `after`."""
    found = []
    while True:
        status, body = request(address, token, "GET", f"/v1/alerts?limit=1000&after={after}")
        page = json.loads(body)
        if status != 200 or not page["alerts"]:
            return found
        found += page["alerts"]
        after = page["next"]


def wait(what, condition, patience=15):
    end = time.time() + patience
    while time.time() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    sys.exit(f"not within {patience} s: {what}")


def wall(stamp):
    """Seconds since 1970 of 2026-11-22T09:30:00.123456+08:00."""
    import datetime

    return datetime.datetime.fromisoformat(stamp).timestamp()


def round_of(gateway, loadtest, directory, acknowledged, chance):
    process, ready = start(gateway, directory)
    token = (directory / "data" / "token").read_text().strip()
    after = Round.after
    load = subprocess.Popen(
        [loadtest, "calls", "--target", ready["sip"], "--legs", "1", "--rate", "25", "--duration", "4s", "--hold", "30s", "--media", "full"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        live = lambda: [a for a in alerts(ready["http"], token, after) if a["state"] == "arrived" and a["call"]["t"].get("attendant")]
        wait("20 calls up", lambda: len(live()) >= 20)
        kill_at = time.time() + chance.uniform(0.2, 2.5)
        while time.time() < kill_at:
            no = chance.choice(live())["id"]["alert_no"]
            line = f"{no} {chance.random()}"
            status, _ = request(ready["http"], token, "POST", f"/v1/alerts/{no}/transcript", json.dumps({"by": "caller", "body": line}))
            if status == 200:
                acknowledged.add(line)
        up = {a["id"]["alert_no"]: wall(a["call"]["t"]["attendant"]) for a in live()}
        process.kill()
        killed = time.time()
        process.wait()
    finally:
        load.kill()
        load.wait()
        process.kill()
        process.wait()
    process, ready = start(gateway, directory)
    try:
        closed = lambda: {a["id"]["alert_no"]: a for a in alerts(ready["http"], token, after) if a["state"] == "closed"}
        wait("every interrupted alert closed", lambda: set(up) <= set(closed()))
        delivered = lambda: {t["body"] for b in list(Sink.bodies.values()) for t in json.loads(b)["data"].get("text", [])}
        wait("every acknowledged line at the sink", lambda: acknowledged <= delivered())
        Round.after = json.loads(request(ready["http"], token, "GET", f"/v1/alerts?limit=1000&after={after}")[1])["next"]
        worst = check_recordings(directory, up, closed(), killed)
    finally:
        process.kill()
        process.wait()
    return len(up), worst


def check_recordings(directory, up, closed, killed):
    worst = 0.0
    for no, answered in up.items():
        if (killed - answered) * 1000 <= MISSING_MS + SLACK_MS:
            continue  # younger than what may be missing
        media = {m["track"]: m for m in closed[no].get("media", [])}
        for track in ["caller", "mix"]:
            if track not in media:
                sys.exit(f"{no}: no {track} track")
            data = (directory / "data" / media[track]["uri"]).read_bytes()
            if hashlib.sha256(data).hexdigest() != media[track]["sha256"]:
                sys.exit(f"{no}: {track} is not what its hash says")
            size = int.from_bytes(data[54:58], "little")
            if data[:4] != b"RIFF" or data[8:12] != b"WAVE" or len(data) < 58 + size:
                sys.exit(f"{no}: {track}.wav is not playable")
            missing = (killed - answered) * 1000 - size / 8
            worst = max(worst, missing)
            if missing > MISSING_MS + SLACK_MS:
                sys.exit(f"{no}: {track} lacks {missing:.0f} ms")
    return worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", default=str(REPO / "target/release/gateway"))
    parser.add_argument("--loadtest", default=str(REPO / "target/release/loadtest"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    server = Server(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="gw-kill-"))
    configure(directory, server.server_address[1], 18000)
    acknowledged, calls, worst = set(), 0, 0.0
    for n in range(arguments.rounds):
        up, missing = round_of(arguments.gateway, arguments.loadtest, directory, acknowledged, chance)
        calls += up
        worst = max(worst, missing)
        print(f"round {n + 1}: {up} calls up at the kill, {len(acknowledged)} lines acknowledged so far, at most {missing:.0f} ms missing", flush=True)
    subprocess.run([arguments.gateway, "audit", "verify", "--data", directory / "data"], check=True)
    ids = [json.loads(b)["id"] for b in Sink.bodies.values()]
    if len(ids) != len(set(ids)):
        sys.exit("an event id was given twice")
    by_alert = {}
    for body in Sink.bodies.values():
        event = json.loads(body)
        by_alert.setdefault(event["subject"], []).append(event["data"]["rev"])
    for no, revisions in by_alert.items():
        if revisions != list(range(1, len(revisions) + 1)):
            sys.exit(f"{no}: revisions came as {revisions}")
    shutil.rmtree(directory)
    print(f"kill-loop: {arguments.rounds} kills, {calls} live calls, {len(acknowledged)} acknowledged lines all delivered, {len(by_alert)} numbers given once, worst gap {worst:.0f} ms")


if __name__ == "__main__":
    main()

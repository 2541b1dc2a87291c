#!/usr/bin/env python3
"""A channel that the gateway has never heard of, in one file: messages in, lines out.

    channel.py http://127.0.0.1:8110/hook/kiosk whsec_… 127.0.0.1:8200 < lines.txt

Each line of stdin, `user<TAB>text`, becomes a report; what the gateway says to a user is printed. The other side is
an entry of the gateway's configuration:

    [channel.kiosk]
    kind   = "http"
    group  = "default"
    secret = { env = "KIOSK_SECRET" }           # whsec_…: signs both directions (Standard Webhooks)
    send   = "http://127.0.0.1:8200/"
"""
import base64, hashlib, hmac, http.server, json, sys, threading, time, urllib.error, urllib.request, uuid

hook, secret, listen = sys.argv[1:4]
key = base64.b64decode(secret.removeprefix("whsec_"))


def signature(name, stamp, body):
    mac = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


class Lines(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        name, stamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        right = hmac.compare_digest(signature(name, stamp, body), self.headers["webhook-signature"])
        self.send_response(200 if right and abs(time.time() - int(stamp)) < 300 else 401)
        self.end_headers()
        if right:
            line = json.loads(body)
            print(f"{line['to']}\t{line['type']}\t{line['text']}\n", end="", flush=True)  # one write, from two threads

    log_message = lambda *_: None


def report(user, text, name=None):
    """Returns the alert's number. Sent again with the same name it is no second report."""
    name, body = name or str(uuid.uuid4()), json.dumps({"from": user, "text": text}).encode()
    while True:
        stamp = int(time.time())
        headers = {"webhook-id": name, "webhook-timestamp": str(stamp), "webhook-signature": signature(name, stamp, body)}
        try:
            with urllib.request.urlopen(urllib.request.Request(hook, body, headers), timeout=5) as answer:
                return json.load(answer)["alert_no"]
        except (urllib.error.URLError, TimeoutError) as error:
            if getattr(error, "code", 503) < 500:
                raise
            time.sleep(1)  # Not on disk yet: it is ours until it is.


host, port = listen.rsplit(":", 1)
threading.Thread(target=http.server.ThreadingHTTPServer((host, int(port)), Lines).serve_forever, daemon=True).start()
for row in sys.stdin:
    user, text = row.rstrip("\n").split("\t", 1)
    print(f"{user}\treport\t{report(user, text)}\n", end="", flush=True)
time.sleep(float(sys.argv[4]) if len(sys.argv) > 4 else 5)

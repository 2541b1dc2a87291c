#!/usr/bin/env python3
"""Other people's software at both ends of the carriers' protocols, and of SIP MESSAGE.

    text_peers.py --gateway PATH --loadtest PATH --tools DIR

DIR has a Python environment with pycmpp and smpplib, and node_modules with smpp. The gateway logs in at a centre made of the npm
package; pycmpp, smpplib and Kannel log in at our simulators of the operators, which the gateway's tests trust.
A peer that is missing is a failure when GATEWAY_REQUIRE is `all`, else a named skip.
"""
import argparse, http.client, json, os, pathlib, queue, shutil, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import text_city

arguments = argparse.ArgumentParser()
arguments.add_argument("--gateway", required=True)
arguments.add_argument("--loadtest", required=True)
arguments.add_argument("--tools", required=True)
arguments.add_argument("--port", type=int, default=23000)
a = arguments.parse_args()
PYTHON = f"{a.tools}/venv/bin/python"
started = []


class Program:
    """A child whose stdout is lines of JSON."""

    def __init__(self, *command, **more):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)
        self.lines, self.seen = queue.Queue(), []
        started.append(self.process)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            try:
                self.lines.put(json.loads(line))
            except ValueError:
                pass

    def wait_for(self, wanted, seconds=10):
        end = time.monotonic() + seconds
        while True:
            for line in self.seen:
                if wanted(line):
                    return line
            left = end - time.monotonic()
            if left <= 0:
                return None
            try:
                self.seen.append(self.lines.get(timeout=left))
            except queue.Empty:
                pass


def check(name, held, detail=""):
    print(f"  {'✔' if held else '✗'} {name} {detail}")
    if not held:
        for process in started:
            process.kill()
        sys.exit(1)


def have(name, there):
    if not there and os.environ.get("GATEWAY_REQUIRE") == "all":
        sys.exit(f"✗ {name} is missing")
    if not there:
        print(f"  - {name} is missing: skipped")
    return there


def npm_centre(directory, environment):
    node = Program("node", HERE / "smpp_centre.js", str(a.port + 14), env={**os.environ, "NODE_PATH": f"{a.tools}/node_modules"})
    check("npm smpp listens", node.wait_for(lambda l: "listening" in l))
    gateway = Program(a.gateway, "run", "--config", f"{directory}/city.toml", env=environment)
    check("gateway runs", gateway.wait_for(lambda l: "ready" in l))
    check("npm smpp: the gateway's bind", node.wait_for(lambda l: "bind" in l)["right"])
    for part in ["part 1", "part 2", "sar 1", "sar 2"]:
        answer = node.wait_for(lambda l: l.get("answered") == part)
        check(f"npm smpp: {part} acknowledged", answer and answer["status"] == 0)
    for user in ["13900000001", "13900000002"]:
        line = node.wait_for(lambda l: l.get("submitted") == user)
        check(f"npm smpp: receipt to {user}", line and line["text"].startswith("【110】"), line and line["text"])
    check("npm smpp: delivery receipt taken", node.wait_for(lambda l: l.get("receipted") and l["status"] == 0))
    token = open(f"{directory}/data/token").read().strip()
    # The list is of the read model, which follows what is durable.
    end = time.monotonic() + 5
    bodies = []
    while len(bodies) < 2 and time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", a.port + 1)
        connection.request("GET", "/v1/alerts", headers={"Authorization": f"Bearer {token}"})
        alerts = json.load(connection.getresponse())["alerts"]
        bodies = sorted(l["body"] for alert in alerts for l in alert["text"] if l["dir"] == "in")
    check("long messages whole, once", bodies == ["有人打架，请快来", "楼下着火"], bodies)
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{a.port + 2}/metrics").read().decode()
    return gateway, metrics


def sip_message():
    uas = subprocess.Popen(["sipp", "-sf", HERE / "receive_message.xml", "-i", "127.0.0.1", "-p", str(a.port + 30), "-m", "1",
                            "-timeout", "15", "-trace_logs", "127.0.0.1"], cwd=tempfile.mkdtemp(), stdout=subprocess.DEVNULL)
    started.append(uas)
    time.sleep(0.5)
    uac = subprocess.run(["sipp", "-sf", HERE / "message.xml", "-i", "127.0.0.1", "-m", "1", "-timeout", "15",
                          f"127.0.0.1:{a.port}"], cwd=tempfile.mkdtemp(), stdout=subprocess.DEVNULL)
    check("sipp: MESSAGE gets its 200 when it is durable", uac.returncode == 0)
    check("sipp: the receipt comes back as a MESSAGE", uas.wait(20) == 0)


def centre(protocol, port):
    program = Program(a.loadtest, "centre", "--protocol", protocol, "--listen", f"127.0.0.1:{port}", "--secret", "demo")
    check(f"our {protocol} centre listens", program.wait_for(lambda l: "listening" in l))
    return program


def python_client(name, code, ours, texts):
    client = Program(PYTHON, "-c", code, stderr=subprocess.PIPE)
    for text in texts:
        got = ours.wait_for(lambda l: l.get("text") == text, 15)
        if not got:
            client.process.kill()
            print(client.process.stderr.read()[-1500:])
        check(f"{name}: {len(text)} characters arrive whole", got)
    client.process.kill()


def main():
    directory = tempfile.mkdtemp()
    environment = text_city.write(directory, a.port)
    if have("npm smpp", pathlib.Path(f"{a.tools}/node_modules/smpp").exists() and shutil.which("node")):
        gateway, _ = npm_centre(directory, environment)
        if have("sipp", shutil.which("sipp")):
            sip_message()
        gateway.process.kill()
    long = "长" * 100
    if have("pycmpp, smpplib", os.path.exists(PYTHON)):
        ours = centre("cmpp", a.port + 40)
        python_client("pycmpp", f"""
import threading, time
from pycmpp.cmpp import Cmpp
c = Cmpp('127.0.0.1', {a.port + 40}, '901234', 'demo', '12110'); c.connect(); c.auth()
threading.Thread(target=c.receive, daemon=True).start(); time.sleep(.3)
c.submit('110已收到', ['13800138000']); c.submit('{long}', ['13800138000']); time.sleep(20)
""", ours, ["110已收到", long])
        ours = centre("smpp", a.port + 41)
        python_client("smpplib", f"""
import smpplib.client, smpplib.gsm, smpplib.consts, threading, time
c = smpplib.client.Client('127.0.0.1', {a.port + 41}, allow_unknown_opt_params=True); c.connect()
c.bind_transceiver(system_id='gw110', password='demo')
for text in ['110已收到', '{long}']:
    parts, coding, flag = smpplib.gsm.make_parts(text, encoding=smpplib.consts.SMPP_ENCODING_ISO10646)
    for part in parts:
        c.send_message(source_addr='12110', destination_addr='13800138000', short_message=part, data_coding=coding, esm_class=flag)
c.listen()
""", ours, ["110已收到", long])
    if have("Kannel", shutil.which("bearerbox") or os.path.exists("/usr/sbin/bearerbox")):
        kannel(long)
    for process in started:
        process.kill()
    print("✔ every peer completed its conversation")


def kannel(long):
    ours = centre("smpp", a.port + 42)
    directory = tempfile.mkdtemp()
    boxes = {"admin": a.port + 43, "smsbox": a.port + 44, "http": a.port + 45}
    with open(f"{directory}/kannel.conf", "w") as file:
        file.write(f'''group = core
admin-port = {boxes["admin"]}
admin-password = x
smsbox-port = {boxes["smsbox"]}
box-allow-ip = 127.0.0.1
log-level = 2

group = smsc
smsc = smpp
host = 127.0.0.1
port = {a.port + 42}
smsc-username = gw110
smsc-password = demo
system-type = ""
transceiver-mode = true

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {boxes["smsbox"]}
sendsms-port = {boxes["http"]}

group = sendsms-user
username = u
password = p
concatenation = true
max-messages = 5

group = sms-service
keyword = default
text = ""
omit-empty = true
max-messages = 0
''')
    path = os.environ["PATH"] + ":/usr/sbin"
    for box in ["bearerbox", "smsbox"]:
        started.append(subprocess.Popen([box, "-v", "4", "kannel.conf"], cwd=directory, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env={**os.environ, "PATH": path}))
        time.sleep(1.5)
    query = urllib.parse.urlencode({"username": "u", "password": "p", "from": "13800138000", "to": "12110", "coding": "2",
                                    "charset": "UTF-8", "text": long})
    answer = None
    for _ in range(20):
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{boxes['http']}/cgi-bin/sendsms?{query}", timeout=5).status
            break
        except OSError:
            time.sleep(0.5)
    check("Kannel takes the message", answer in (200, 202))
    check("Kannel: 100 characters arrive whole", ours.wait_for(lambda l: l.get("text") == long, 20))


main()

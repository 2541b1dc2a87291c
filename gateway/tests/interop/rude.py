#!/usr/bin/env python3
"""The real binary where the world is rude: spoofed callers at full speed, a start on much and on damage, a failing disk.

    rude.py --gateway BINARY --loadtest BINARY [--only flood,start,disk,few,tls]

flood   strangers call from everywhere as fast as one core sends: honest calls are answered, memory comes back
start   2 GB of recording log, then a damaged journal: a call is answered within a second of the start
disk    strace lets every kind of write to journal and recording log fail: calls are answered, readiness says so
few     1,024 descriptors for everything: calls, API and readiness go on
tls     the API over TLS, and over nothing else
"""
import argparse, http.client, json, os, pathlib, random, shutil, socket, ssl, subprocess, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import text_city

arguments = argparse.ArgumentParser()
arguments.add_argument("--gateway", required=True)
arguments.add_argument("--loadtest", required=True)
arguments.add_argument("--only", default="flood,start,disk,few,tls")
arguments.add_argument("--port", type=int, default=26000)
arguments.add_argument("--seconds", type=int, default=10)
a = arguments.parse_args()

MEMORY_MB = 64
FIRST_ANSWER_MS = 1000


class Gateway:
    """`gateway run` in a directory; strangers' addresses are no trunk's."""

    def __init__(self, directory, under=(), more=""):
        self.directory = pathlib.Path(directory)
        environment = text_city.write(directory, a.port)
        text = (self.directory / "city.toml").read_text()
        text = text.replace('sources = ["127.0.0.0/8"]', 'sources = ["127.0.0.3/32"]\nattendant_user = "bench"')
        (self.directory / "city.toml").write_text(text + more)
        self.started = time.monotonic()
        self.process = subprocess.Popen([*under, a.gateway, "run", "--config", f"{directory}/city.toml"], env=environment,
                                        stdout=subprocess.PIPE, stderr=open(self.directory / "stderr.log", "ab"))

    def ready(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the gateway does not start: {(self.directory / 'stderr.log').read_text()[-500:]}")
        pid = self.process.pid
        # Under strace it is a child's.
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.pid = int(children[0]) if children else pid
        page = json.loads((self.directory / "page.json").read_text())
        page.update(pid=self.pid, strangers_call=True)
        (self.directory / "page.json").write_text(json.dumps(page))
        return self

    def load(self, *command):
        done = subprocess.run([a.loadtest, *command, "--page", str(self.directory / "page.json"), "--json"],
                              stdout=subprocess.PIPE, text=True)
        lines = done.stdout.strip().splitlines()
        if done.returncode not in (0, 99) or not lines:
            sys.exit(f"loadtest {' '.join(command)} failed: {done.stdout}")
        return json.loads(lines[-1]), done.stdout

    def readyz(self):
        connection = http.client.HTTPConnection("127.0.0.1", a.port + 2, timeout=5)
        connection.request("GET", "/readyz")
        return connection.getresponse().read().decode()

    def metric(self, name):
        connection = http.client.HTTPConnection("127.0.0.1", a.port + 2, timeout=5)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def memory(self):
        for line in open(f"/proc/{self.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024

    def kill(self):
        os.kill(self.pid, 9)
        self.process.wait()
        self.process.stdout.close()

    def first_answer_ms(self):
        """From the start to the first call that is answered."""
        caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        caller.bind(("127.0.0.3", 0))
        caller.settimeout(0.01)
        host, port = caller.getsockname()
        sdp = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n"
        n = 0
        while time.monotonic() - self.started < 20:
            n += 1
            name = f"{random.getrandbits(64):x}"
            caller.sendto((f"INVITE sip:bench@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{name};rport\r\n"
                           f"Max-Forwards: 70\r\nFrom: <sip:1380000{n:04}@{host}>;tag={name}\r\nTo: <sip:bench@127.0.0.1>\r\n"
                           f"Call-ID: {name}\r\nCSeq: 1 INVITE\r\nContact: <sip:1@{host}:{port}>\r\n"
                           f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}").encode(), ("127.0.0.1", a.port))
            try:
                while True:
                    if b"SIP/2.0 200" in caller.recv(65536)[:12]:
                        return (time.monotonic() - self.started) * 1000
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.005)
        sys.exit("no call was answered for 20 s after the start")


def holds(what, held, said):
    print(f"{'✔' if held else '✗'} {what}: {said}")
    if not held:
        sys.exit(1)


def flood(directory):
    gateway = Gateway(directory).ready()
    gateway.load("calls", "--legs", "2", "--rate", "10", "--duration", "2s", "--hold", "1s")
    before = gateway.memory()
    result, text = gateway.load("drill", "--only", "flood", "--rate", "10", "--duration", f"{a.seconds}s")
    act = result["acts"][0]
    end = time.monotonic() + 30
    while gateway.memory() - before > 16 and time.monotonic() < end:
        time.sleep(0.5)
    kept = gateway.memory() - before
    gateway.kill()
    values = {t["name"]: t["value"] for t in act["thresholds"]}
    holds("spoofed requests at the speed of one core", result["pass"] and kept <= 16,
          f"{act['did']['messages']} in {a.seconds} s, {act['answered']} of {act['placed']} honest calls answered in at most "
          f"{act['answer_ms_max']:.0f} ms, memory +{values['memory MB taken']:.0f} MB and +{kept:.0f} MB after")


def start(directory):
    gateway = Gateway(directory).ready()
    # Calls that are up when the process ends leave their audio in the log.
    load = subprocess.Popen([a.loadtest, "calls", "--page", f"{directory}/page.json", "--legs", "2", "--rate", "20", "--duration", "6s",
                             "--hold", "20s", "--media", "full"], stdout=subprocess.DEVNULL)
    time.sleep(9)
    gateway.kill()
    load.kill()
    load.wait()
    data = pathlib.Path(directory) / "data"
    log = sorted((data / "recording-log").iterdir())
    octets = b"".join(segment.read_bytes() for segment in log)
    holds("there is audio to recover", len(octets) > 1_000_000, f"{len(octets)} octets in {len(log)} segments")
    number = int(log[-1].stem)
    full = octets * (256 * 1024 * 1024 // len(octets))
    for more in range(1, 9):
        (data / "recording-log" / f"{number + more:010}.rec").write_bytes(full)
    size = sum(f.stat().st_size for f in (data / "recording-log").iterdir())
    again = Gateway(directory)
    took = again.first_answer_ms()
    again.ready()
    again.kill()
    holds("a start with much to recover", size > 2e9 and took <= FIRST_ANSWER_MS, f"{size / 1e9:.1f} GB of log, first call answered after {took:.0f} ms")
    shutil.rmtree(data / "recording-log")
    segment = sorted((data / "journal").glob("*.seg"))[0]
    octets = bytearray(segment.read_bytes())
    used = len(bytes(octets).rstrip(b"\0"))
    for place in random.Random(7).sample(range(used // 4, used // 2), 200):
        octets[place] ^= 0xff
    segment.write_bytes(octets)
    again = Gateway(directory)
    took = again.first_answer_ms()
    again.ready()
    end = time.monotonic() + 20
    while "GW-3105" not in again.readyz() and time.monotonic() < end:
        time.sleep(0.1)
    said = again.readyz()
    again.kill()
    holds("a start on a damaged journal", took <= FIRST_ANSWER_MS and "GW-3105" in said, f"{used} octets, first call answered after {took:.0f} ms, {said.split(chr(10))[1]}")


def disk(directory):
    # Each call that writes, to each file, from the start on and once in the middle.
    faults = [(file, call, error, when)
              for file, call, error in [("journal/00000000000000000001.seg", "pwrite64", "ENOSPC"),
                                        ("journal/00000000000000000001.seg", "fdatasync", "EIO"),
                                        ("recording-log/0000000001.rec", "pwrite64", "ENOSPC")]
              for when in ["3+", "9"]]
    for n, (file, call, error, when) in enumerate(faults):
        place = pathlib.Path(directory) / f"fault-{n}"
        target = place / "data" / file
        under = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", f"{place}.strace", "-P", str(target), "-e", f"trace={call}",
                 "-e", f"inject={call}:error={error}:when={when}"]
        gateway = Gateway(str(place), under).ready()
        result, text = gateway.load("calls", "--legs", "2", "--rate", "5", "--duration", "2s", "--hold", "1s", "--media", "probe")
        time.sleep(0.5)
        said, errors = gateway.readyz(), gateway.metric("gateway_store_errors_total") + gateway.metric("gateway_recording_errors_total")
        gateway.kill()
        again = Gateway(str(place)).ready()
        after, _ = again.load("calls", "--legs", "2", "--rate", "5", "--duration", "1s", "--hold", "1s", "--media", "probe")
        again.kill()
        verify = subprocess.run([a.gateway, "audit", "verify", "--data", str(place / "data")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        injected = pathlib.Path(f"{place}.strace").read_text().count("(INJECTED)")
        if injected == 0:
            sys.exit(f"✗ {call} of {file}: nothing was made to fail")
        word = said.strip().split("\n")
        # A journal that could not be written until the end lacks the calls of that time, and says so by their recordings.
        faults = [line for line in verify.stdout.splitlines() if line.startswith("✗")]
        told = all("has a recording and stands nowhere in the journal" in line for line in faults)
        if faults and not (told and when.endswith("+") and file.startswith("journal")):
            print(verify.stdout)
            sys.exit(f"✗ {call} of {file}: what is kept is not sound")
        part = "journal" if file.startswith("journal") else "record"
        said_so = errors > 0 and (not when.endswith("+") or any(line.startswith(f"degraded: {part}") for line in word))
        holds(f"{call} of {file} fails with {error} (when={when})", result["pass"] and after["pass"] and said_so,
              f"{result['answered']} + {after['answered']} calls answered, {injected} made to fail, {errors:.0f} errors counted, {'; '.join(line for line in word if line.startswith(f'degraded: {part}')) or 'well again'}")
        shutil.rmtree(place)


def few(directory):
    gateway = Gateway(directory, ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh"]).ready()
    result, _ = gateway.load("calls", "--legs", "2", "--rate", "10", "--duration", "3s", "--hold", "1s", "--media", "probe")
    said = gateway.readyz()
    used = len(os.listdir(f"/proc/{gateway.pid}/fd"))
    gateway.kill()
    holds("1,024 descriptors", result["pass"] and "GW-1103" in said, f"{result['answered']} of {result['placed']} calls answered, {used} in use, readiness answers")


def tls(directory):
    os.makedirs(directory, exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-keyout", f"{directory}/key.pem", "-out", f"{directory}/cert.pem"],
                   check=True, stderr=subprocess.DEVNULL)
    gateway = Gateway(directory, more='[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n').ready()
    trusted = http.client.HTTPSConnection("127.0.0.1", a.port + 1, timeout=5, context=ssl.create_default_context(cafile=f"{directory}/cert.pem"))
    trusted.request("GET", "/openapi.json")
    status = trusted.getresponse().status
    plain = http.client.HTTPConnection("127.0.0.1", a.port + 1, timeout=5)
    try:
        plain.request("GET", "/openapi.json")
        refused = plain.getresponse().status
    except (ConnectionError, http.client.HTTPException) as error:
        refused = type(error).__name__
    gateway.kill()
    holds("API over TLS", status == 200 and refused != 200, f"with the certificate {status}, without TLS {refused}")


for part in a.only.split(","):
    directory = tempfile.mkdtemp()
    {"flood": flood, "start": start, "disk": disk, "few": few, "tls": tls}[part](directory)
    shutil.rmtree(directory)
print("✔ the rude world was held")

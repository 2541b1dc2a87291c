#!/usr/bin/env python3
"""The real binary where the world is rude: spoofed callers at full speed, a start on much and on damage, a failing disk.

    rude.py --gateway BINARY --loadtest BINARY [--only flood,start,disk,few,tls,phones]

flood   strangers call from everywhere as fast as one core sends: honest calls are answered, memory comes back
start   2 GB of recording log, then a damaged journal: a call is answered within a second of the start
disk    strace lets every kind of write to journal and recording log fail: calls are answered, readiness says so
few     1,024 descriptors for everything: calls, API and readiness go on
tls     the API over TLS, and over nothing else
phones  10,000 telephones refresh their registrations: what that costs, and that nothing of it is written down
"""
import argparse, hashlib, http.client, json, os, pathlib, random, shutil, socket, ssl, subprocess, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import text_city

arguments = argparse.ArgumentParser()
arguments.add_argument("--gateway", required=True)
arguments.add_argument("--loadtest", required=True)
arguments.add_argument("--only", default="flood,start,disk,few,tls,phones")
arguments.add_argument("--port", type=int, default=26000)
arguments.add_argument("--seconds", type=int, default=10)
a = arguments.parse_args()

MEMORY_MB = 64
FIRST_ANSWER_MS = 1000
PHONES = 10_000
# A telephone refreshes when half of the two minutes that are granted are over.
REFRESHED_EVERY_S = 60
CORE_PERCENT = 2


class Gateway:
    """`gateway run` in a directory; strangers' addresses are no trunk's."""

    def __init__(self, directory, under=(), more="", officers=()):
        self.directory = pathlib.Path(directory)
        environment = text_city.write(directory, a.port)
        with open(self.directory / "officers.csv", "a") as table:
            table.writelines(officers)
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

    def cpu_s(self):
        fields = open(f"/proc/{self.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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


class Phones:
    """So many telephones behind one socket, each with a nonce that it counts up."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(("127.0.0.20", 0))
        self.host, self.port = self.socket.getsockname()
        self.nonce, self.count, self.cseq = {}, {}, {}

    def register(self, user):
        cseq = self.cseq[user] = self.cseq.get(user, 0) + 1
        proof = ""
        if nonce := self.nonce.get(user):
            count = self.count[user] = self.count[user] + 1
            md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
            uri = "sip:110.text"
            ha1, ha2 = md5(f"{user}:110.text:demo"), md5(f"REGISTER:{uri}")
            response = md5(f"{ha1}:{nonce}:{count:08x}:c:auth:{ha2}")
            proof = (f'Authorization: Digest username="{user}", realm="110.text", nonce="{nonce}", uri="{uri}", qop=auth, '
                     f'nc={count:08x}, cnonce="c", algorithm=MD5, response="{response}"\r\n')
        self.socket.sendto((f"REGISTER sip:110.text SIP/2.0\r\nVia: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bK{user}x{cseq};rport\r\n"
                            f"Max-Forwards: 70\r\nFrom: <sip:{user}@110.text>;tag={user}\r\nTo: <sip:{user}@110.text>\r\n"
                            f"Call-ID: p{user}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{self.host}:{self.port}>\r\n"
                            f"Expires: 120\r\n{proof}Content-Length: 0\r\n\r\n").encode(), ("127.0.0.1", a.port))

    def answers(self, patience):
        """Users and status codes, until nothing comes for so long."""
        self.socket.settimeout(patience)
        try:
            while True:
                text = self.socket.recv(65536).decode()
                user = text.split("Call-ID: p", 1)[1].split("\r\n", 1)[0]
                code = int(text.split(" ", 2)[1])
                if code == 401:
                    challenge = next(line for line in text.split("\r\n") if line.startswith("WWW-Authenticate") and "MD5" in line)
                    self.nonce[user], self.count[user] = challenge.split('nonce="', 1)[1].split('"', 1)[0], 0
                yield user, code
        except TimeoutError:
            return

    def round(self, users, rate):
        """Each registers once, so many a second; those that were granted it."""
        granted, begun = set(), time.monotonic()
        for n, user in enumerate(users):
            self.register(user)
            wait = begun + n / rate - time.monotonic()
            if n % 20 == 19 or wait > 0:
                granted.update(u for u, code in self.answers(max(wait, 0.0001)) if code == 200)
        granted.update(u for u, code in self.answers(0.5) if code == 200)
        return granted


def phones(directory):
    users = [str(900_000 + n) for n in range(PHONES)]
    rows = [f"{user},n,,{user},demo,G-1,370400510000,true\n" for user in users]
    gateway = Gateway(directory, officers=rows).ready()
    there = Phones()
    there.round(users, 2500)
    granted = there.round(users, 2500)
    for _ in range(3):
        granted |= there.round([u for u in users if u not in granted], 1000)
    time.sleep(1)
    frames, idle = gateway.metric("gateway_journal_commit_seconds_count"), gateway.cpu_s()
    time.sleep(2)
    idle = (gateway.cpu_s() - idle) / 2
    before, begun = gateway.cpu_s(), time.monotonic()
    refreshed = there.round(users, 2500)
    took = time.monotonic() - begun
    each = (gateway.cpu_s() - before - idle * took) / PHONES
    written = gateway.metric("gateway_journal_commit_seconds_count") - frames
    gateway.kill()
    percent = each * PHONES / REFRESHED_EVERY_S * 100
    holds(f"{PHONES} telephones refresh", len(granted) == PHONES and len(refreshed) == PHONES and percent <= CORE_PERCENT and written == 0,
          f"{len(granted)} registered, {len(refreshed)} refreshed at {each * 1e6:.0f} µs each: {percent:.2f} % of a core, {written:.0f} commits of the journal")


for part in a.only.split(","):
    directory = tempfile.mkdtemp()
    {"flood": flood, "start": start, "disk": disk, "few": few, "tls": tls, "phones": phones}[part](directory)
    shutil.rmtree(directory)
print("✔ the rude world was held")

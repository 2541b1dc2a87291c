#!/usr/bin/env python3
"""Peers nobody here wrote are bridged three ways: sipp calls, a baresip seat answers, a baresip officer joins.

Each sends a tone of its own; each must hear the two others' and not its own. Loopback only, about 15 seconds.
Needs root: dumpcap captures, and sipp replays RTP through a raw socket. Exits 0 only if all holds.
"""

import argparse
import json
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import wave
from array import array
from pathlib import Path

HOST = "127.0.0.1"
MODULES = Path("/usr/lib/baresip/modules")
USERS = {"seat": "1061", "officer": "2291"}
TONES = {"caller": 400, "seat": 700, "officer": 1500}
RATE = 8000
LOUD = 6000  # The amplitude every tone is sent with.
PRESENT = LOUD / 4
ABSENT = 0.1  # 20 dB below.
BLOCK = RATE // 5  # Whole periods of every tone.
TALK = 11  # Seconds from the caller's ACK to its BYE.
LIMIT = 45  # Seconds for everything but cleaning up.

CALLER = Path(__file__).resolve().with_name("three_way.xml")
BARESIP = """sip_listen {host}:{port}
net_interface {host}
rtp_ports {rtp_from}-{rtp_to}
module_path {modules}
module g711.so
module sndfile.so
module aufile.so
module_tmp account.so
audio_source aufile,{home}/tone.wav
audio_player nil
snd_path {home}
"""


def tone(hertz, seconds):
    step = 2 * math.pi * hertz / RATE
    return array("h", (round(LOUD * math.sin(step * i)) for i in range(seconds * RATE)))


def to_alaw(sample):
    magnitude = (sample if sample >= 0 else ~sample) >> 4
    segment = max(magnitude.bit_length() - 4, 0)
    code = segment << 4 | magnitude >> max(segment - 1, 0) & 15
    return (code | (sample >= 0) << 7) ^ 0x55


def from_alaw(code):
    code ^= 0x55
    segment, low = code >> 4 & 7, (code & 15) << 4
    magnitude = low + 8 if segment == 0 else (low + 0x108) << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


def write_rtp_pcap(path, samples):
    home = socket.inet_aton(HOST)
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n, at in enumerate(range(0, len(samples), 160)):
            rtp = struct.pack("!BBHII", 0x80, 8, n, at, 0x110) + bytes(map(to_alaw, samples[at:at + 160]))
            udp = struct.pack("!HHHH", 4000, 4000, 8 + len(rtp), 0) + rtp
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), n, 0, 64, 17, 0, home, home) + udp
            frame = bytes(12) + b"\x08\x00" + ip
            out.write(struct.pack("<IIII", at // RATE, at % RATE * 125, len(frame), len(frame)) + frame)


def goertzel(block, hertz):
    """The amplitude of one frequency."""
    twice = 2 * math.cos(2 * math.pi * hertz / RATE)
    a = b = 0.0
    for sample in block:
        a, b = sample + twice * a - b, a
    return 2 * math.sqrt(max(a * a + b * b - twice * a * b, 0)) / len(block)


def levels(samples, hertz):
    """The least and the greatest amplitude in three seconds; the last half second of the call is spared."""
    late = samples[-(RATE * 7 // 2):-(RATE // 2)]
    every = [goertzel(late[i:i + BLOCK], hertz) for i in range(0, len(late) - BLOCK + 1, BLOCK)]
    return (min(every), max(every)) if len(every) == 15 else (0.0, 0.0)


class Stage:
    """The processes started, what each has said, and the verdicts."""

    def __init__(self, work):
        self.work, self.started, self.passed, self.failed = work, {}, 0, 0

    def start(self, name, *command):
        with open(self.work / f"{name}.log", "wb") as log:
            files = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.started[name] = subprocess.Popen([str(c) for c in command], cwd=self.work, **files)

    def stop(self, name):
        process = self.started.pop(name)
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def said(self, name, text, seconds=0.0):
        """The first line of a log that holds the text, from there on; empty if none does in time."""
        until = time.monotonic() + seconds
        while True:
            lines = (self.work / f"{name}.log").read_text(errors="replace").splitlines()
            found = next((line[line.index(text):] for line in lines if text in line), "")
            if found or time.monotonic() >= until:
                return found
            time.sleep(0.05)

    def check(self, held, what):
        self.passed, self.failed = self.passed + bool(held), self.failed + (not held)
        print("ok  " if held else "FAIL", what, flush=True)
        return held

    def check_ears(self, name, samples):
        """Whether this party heard exactly the two others."""
        heard = {who: levels(samples, hertz) for who, hertz in TONES.items()}
        least = min(low for who, (low, _) in heard.items() if who != name)
        text = ", ".join(f"{TONES[who]} Hz {low:.1f}..{high:.1f}" for who, (low, high) in heard.items())
        self.check(least >= PRESENT and heard[name][1] <= least * ABSENT, f"the {name} hears the others only: {text}")


def start_phone(stage, name, sip, port):
    """A baresip that registers, answers, plays its tone and keeps what it hears."""
    home = stage.work / name
    home.mkdir()
    with wave.open(str(home / "tone.wav"), "wb") as wav:
        wav.setparams((1, 2, RATE, 0, "NONE", ""))
        wav.writeframes(tone(TONES[name], LIMIT).tobytes())
    ports = {"port": port, "rtp_from": port + 2, "rtp_to": port + 28}
    (home / "config").write_text(BARESIP.format(host=HOST, modules=MODULES, home=home, **ports))
    account = f"<sip:{USERS[name]}@{HOST}:{sip}>;auth_pass=demo;answermode=auto;audio_codecs=PCMA/8000/1\n"
    (home / "accounts").write_text(account)
    stage.start(name, "baresip", "-s", "-f", home)


def play(stage, gateway, offset):
    work, base, port, media = stage.work, 14000 + offset, 14060 + offset, 14062 + offset
    stage.start("gateway", gateway, "demo", "--no-script", "--data", work / "data", "--port-offset", offset)
    if not stage.check(stage.said("gateway", '{"waiting"', 10), "the gateway waits for calls"):
        return
    ready = json.loads(stage.said("gateway", '{"ready"'))["ready"]
    for n, (name, user) in enumerate(USERS.items()):
        start_phone(stage, name, ready["sip"], base + 30 * n)
        done = stage.said(name, "SIP/2.0 200 OK", 3)  # It has asked for nothing else yet.
        if not stage.check(done, f"baresip registers {user} {stage.said(name, 'reg: ')}".rstrip()):
            return
    stage.start("capture", "dumpcap", "-q", "-i", "lo", "-f", f"udp dst port {media}", "-w", work / "heard.pcap")
    if not stage.check(stage.said("capture", "File: ", 5), "dumpcap captures what the caller is sent"):
        return
    write_rtp_pcap(work / "tone.pcap", tone(TONES["caller"], TALK + 1))
    number = f"0632{time.time_ns() // 1_000_000 % 10**8:08}"
    options = ["-sf", CALLER, "-key", "number", number, "-d", TALK * 1000, "-m", 1, "-nostdin"]
    options += ["-i", HOST, "-p", port, "-mi", HOST, "-mp", media, "-trace_msg", "-message_file", "caller.trace"]
    stage.start("caller", "sipp", f"{HOST}:{ready['sip']}", *options)
    established = f"Call established: sip:{number}@"
    if not stage.check(stage.said("seat", established, 5), f"the seat answers {number}"):
        return
    time.sleep(1)
    url = f"http://{HOST}:{ready['http']}/v1/seats/{USERS['seat']}/three-way"
    bearer = {"Authorization": "Bearer " + (work / "data" / "token").read_text().strip()}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(url, b"", bearer, method="POST"), timeout=5) as answer:
        stage.check(answer.status == 200, f"the API takes three-way: {answer.read().decode()}")
    if not stage.check(stage.said("officer", established, 5), "the officer answers"):
        return
    status = stage.started["caller"].wait(TALK + 5)
    stage.check(status == 0, f"sipp's call goes as its scenario says: exit {status}")
    for name in USERS:
        stage.check(stage.said(name, "BYE sip:", 3), f"the {name} is hung up on")
        stage.stop(name)
    stage.stop("capture")

    read = ["tshark", "-r", "heard.pcap", "-d", f"udp.port=={media},rtp", "-Y", "rtp.p_type == 8"]
    command = {"args": [*read, "-T", "fields", "-e", "rtp.payload"], "cwd": work, "timeout": 10}
    payloads = subprocess.run(**command, check=True, text=True, capture_output=True).stdout
    stage.check_ears("caller", array("h", map(from_alaw, bytes.fromhex(payloads.replace(":", "")))))
    for name in USERS:
        dumps = list((work / name).glob("dump-*-dec.wav"))
        if stage.check(len(dumps) == 1, f"the {name} had one call"):
            with wave.open(str(dumps[0]), "rb") as wav:
                stage.check_ears(name, array("h", wav.readframes(wav.getnframes())))


def interrupted(number, _):
    raise TimeoutError(signal.Signals(number).name)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--gateway", type=Path, required=True, help="the binary")
    args.add_argument("--port-offset", type=int, default=300)
    args.add_argument("--keep", type=Path, help="a new directory for logs, captures and recordings")
    args = args.parse_args()
    lacking = [tool for tool in ("baresip", "sipp", "tshark", "dumpcap") if not shutil.which(tool)]
    lacking += [str(MODULES)] * (not MODULES.is_dir()) + ["root's right to raw sockets"] * (os.geteuid() != 0)
    if lacking:
        print(f"skip: {lacking[0]} not found")
        return 1 if os.environ.get("GATEWAY_REQUIRE") == "all" else 0

    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, interrupted)
    signal.alarm(LIMIT)
    work = (args.keep or Path(tempfile.mkdtemp(prefix="three-way-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    stage = Stage(work)
    try:
        play(stage, args.gateway.resolve(), args.port_offset)
    except (OSError, ValueError, subprocess.SubprocessError, wave.Error) as error:
        stage.check(False, f"{type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
        for name in reversed(list(stage.started)):
            stage.stop(name)
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    print(f"three-way: {stage.passed} passed, {stage.failed} failed")
    return 0 if stage.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

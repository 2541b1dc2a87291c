#!/usr/bin/env python3
"""Peers nobody here wrote are bridged three ways: sipp calls, a baresip seat answers, a baresip officer joins.

Each sends a tone of its own; each must hear the two others' and not its own. Loopback only, about 25 seconds.
Needs the right to capture and to open raw sockets (sipp replays RTP through one). Exits 0 only if all holds.
"""

import argparse
import json
import math
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import wave
from array import array
from pathlib import Path

RATE = 8000
TONES = {"caller": 400, "seat": 700, "officer": 1500}
LOUD = 6000  # The amplitude every tone is sent with.
PRESENT = LOUD / 4
ABSENT_DB = -20
BLOCK = RATE // 5  # Whole periods of every tone.
TALK = 11  # Seconds from the caller's ACK to its BYE.
LIMIT = 60

SCENARIO = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="three-way">
  <send retrans="500"><![CDATA[
    INVITE sip:110@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: <sip:%(number)s@[local_ip]:[local_port]>;tag=[pid]-[call_number]
    To: <sip:110@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:%(number)s@[local_ip]:[local_port]>
    Max-Forwards: 70
    Content-Type: application/sdp
    Content-Length: [len]

    v=0
    o=sipp 1 1 IN IP4 [local_ip]
    s=-
    c=IN IP4 [media_ip]
    t=0 0
    m=audio [media_port] RTP/AVP 8
    a=rtpmap:8 PCMA/8000
    a=ptime:20
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
    ACK [next_url] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    [routes]
    From: <sip:%(number)s@[local_ip]:[local_port]>;tag=[pid]-[call_number]
    To: <sip:110@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Max-Forwards: 70
    Content-Length: 0
  ]]></send>
  <nop><action><exec play_pcap_audio="tone.pcap"/></action></nop>
  <pause milliseconds="%(talk)d"/>
  <send retrans="500"><![CDATA[
    BYE [next_url] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    [routes]
    From: <sip:%(number)s@[local_ip]:[local_port]>;tag=[pid]-[call_number]
    To: <sip:110@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 2 BYE
    Max-Forwards: 70
    Content-Length: 0
  ]]></send>
  <recv response="200"/>
</scenario>
"""

BARESIP = """sip_listen 127.0.0.1:%(port)d
net_interface 127.0.0.1
module_path %(modules)s
module g711.so
module sndfile.so
module aufile.so
module_tmp account.so
audio_source aufile,%(tone)s
audio_player nil
ausrc_srate 8000
snd_path %(heard)s
"""


def tone(hertz, seconds):
    step = 2 * math.pi * hertz / RATE
    return array("h", (round(LOUD * math.sin(step * i)) for i in range(seconds * RATE)))


def to_alaw(sample):
    sign = 0x80 if sample >= 0 else 0
    magnitude = (sample if sample >= 0 else ~sample) >> 4
    segment = max(magnitude.bit_length() - 4, 1)
    low = magnitude & 15 if magnitude < 16 else magnitude >> (segment - 1) & 15
    return (sign | (segment if magnitude >= 16 else 0) << 4 | low) ^ 0x55


def from_alaw(code):
    code ^= 0x55
    segment, low = code >> 4 & 7, (code & 15) << 4
    magnitude = low + 8 if segment == 0 else (low + 0x108) << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


def write_rtp_pcap(path, samples):
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n, at in enumerate(range(0, len(samples), 160)):
            rtp = struct.pack("!BBHII", 0x80, 8 | (n == 0) << 7, n, at, 0x110) + bytes(map(to_alaw, samples[at:at + 160]))
            udp = struct.pack("!HHHH", 4000, 4000, 8 + len(rtp), 0) + rtp
            home = socket.inet_aton("127.0.0.1")
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), n, 0, 64, 17, 0, home, home) + udp
            frame = bytes(12) + b"\x08\x00" + ip
            out.write(struct.pack("<IIII", at // RATE, at % RATE * 125, len(frame), len(frame)) + frame)


def read_wav(path):
    with wave.open(str(path), "rb") as wav:
        if (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) != (RATE, 1, 2):
            raise RuntimeError(f"{path.name}: not 16 bit mono at {RATE} Hz")
        return array("h", wav.readframes(wav.getnframes()))


def goertzel(block, hertz):
    """The amplitude of one frequency."""
    twice = 2 * math.cos(2 * math.pi * hertz / RATE)
    a = b = 0.0
    for sample in block:
        a, b = sample + twice * a - b, a
    return 2 * math.sqrt(max(a * a + b * b - twice * a * b, 0)) / len(block)


def levels(samples, hertz):
    """Sorted amplitudes of the blocks of the last three seconds; the very last half second is spared."""
    late = samples[-(RATE * 7 // 2):-(RATE // 2)]
    return sorted(goertzel(late[i:i + BLOCK], hertz) for i in range(0, len(late) - BLOCK + 1, BLOCK)) or [0.0]


class Stage:
    """Every process started, what each has said so far, and the verdicts."""

    def __init__(self, work):
        self.work, self.started, self.passed, self.failed = work, [], 0, 0

    def start(self, name, *command):
        log = open(self.work / f"{name}.log", "wb")
        process = subprocess.Popen([str(c) for c in command], cwd=self.work, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self.started.append(process)
        return process

    def wait_for(self, name, text, seconds):
        """Whether a process's log holds the text by then."""
        until = time.monotonic() + seconds
        while text not in (self.work / f"{name}.log").read_text(errors="replace"):
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def check(self, held, what):
        self.passed, self.failed = self.passed + bool(held), self.failed + (not held)
        print(f"{'ok  ' if held else 'FAIL'} {what}", flush=True)
        return held

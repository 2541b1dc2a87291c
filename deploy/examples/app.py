#!/usr/bin/env python3
"""A citizen's app in sixty lines: reports, and shows what 110 says. The protocol is docs/app-protocol.md.

    pip install websockets
    ./app.py http://127.0.0.1:8110 "有人落水，人民公园东门"
"""
import asyncio
import json
import sys
import urllib.request
import uuid

import websockets


def device(base):
    """A token; whoever reports needs no log-in."""
    request = urllib.request.Request(base + "/v1/device", data=b"", method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["token"]


async def report(base, text):
    token, sid, heard, came = device(base), None, 0, 0
    # What was said and is not on disk yet: it is said again after every connection, under the same id.
    unsent = [{"v": 1, "t": "report.create", "id": str(uuid.uuid4()), "seq": 1, "d": {"text": text}}]
    address = base.replace("http", "ws", 1) + "/v1/app"
    while True:
        try:
            async with websockets.connect(address, subprotocols=["gw1", "bearer." + token]) as socket:
                say = lambda frame: socket.send(json.dumps(frame, ensure_ascii=False))
                resume = {"sid": sid, "last_seq": heard} if sid else None
                await say({"v": 1, "t": "hello", "d": {"app": "example", "ver": "1", "resume": resume}})
                async for message in socket:
                    frame = json.loads(message)
                    d, kept = frame["d"], frame.get("ack", 0)
                    if frame["t"] == "welcome":
                        sid, came = d["sid"], d["last_seq"]
                        if not d["resumed"]:
                            heard = 0
                            for n, said in enumerate(unsent):
                                said["seq"] = n + 1
                        for said in unsent:
                            if said["seq"] > came:
                                await say(said)
                        continue
                    unsent = [said for said in unsent if said["seq"] > kept]
                    if frame["t"] == "report.created":
                        print("number", d["report_id"], flush=True)
                    elif frame["t"] == "chat.msg" and frame["seq"] > heard:
                        print(d["kind"], d["text"], flush=True)
                    elif frame["t"] == "error":
                        print("error", d["code"], d["msg"], flush=True)
                    if frame.get("seq", 0) > heard:
                        heard = frame["seq"]
                        await say({"v": 1, "t": "ack", "ack": heard})
        except (OSError, websockets.WebSocketException):
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(report(sys.argv[1].rstrip("/"), sys.argv[2]))

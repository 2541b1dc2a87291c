#!/usr/bin/env python3
"""deploy/examples/channel.py against `gateway run`: a report goes in, its number and its receipt come back."""
import argparse, json, pathlib, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import text_city

arguments = argparse.ArgumentParser()
arguments.add_argument("--gateway", required=True)
arguments.add_argument("--port", type=int, default=24000)
a = arguments.parse_args()
directory = tempfile.mkdtemp()
environment = text_city.write(directory, a.port)
gateway = subprocess.Popen([a.gateway, "run", "--config", f"{directory}/city.toml"], env=environment, stdout=subprocess.PIPE)
json.loads(gateway.stdout.readline())
example = HERE.parents[2] / "deploy" / "examples" / "channel.py"
command = [sys.executable, example, f"http://127.0.0.1:{a.port + 1}/hook/kiosk", environment["KIOSK"], f"127.0.0.1:{a.port + 20}", "2"]
out = subprocess.run(command, input="lobby-3\t有人受伤\n", text=True, stdout=subprocess.PIPE, timeout=30).stdout
gateway.kill()
print(out, end="")
rows = [line.split("\t") for line in out.splitlines()]
number = next(r[2] for r in rows if r[1] == "report")
receipt = next(r[2] for r in rows if r[1] == "receipt")
held = len(number) == 30 and number[-9:] in receipt and len(example.read_text().splitlines()) <= 60
print("✔ a channel in", len(example.read_text().splitlines()), "lines" if held else "✗")
sys.exit(0 if held else 1)

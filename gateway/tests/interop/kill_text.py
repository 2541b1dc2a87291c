#!/usr/bin/env python3
"""kill -9 at random moments while people write: nothing acknowledged is lost, nothing is there twice.

    kill_text.py --gateway PATH --loadtest PATH [--kills 50] [--channel cmpp] [--rate 200]

`loadtest messages` plays the carrier, or the platform, all the time: what was not acknowledged when the process died
it sends again, as they do. At the end every message it ever sent has to be in exactly one alert.
"""
import argparse, json, os, pathlib, random, signal, subprocess, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import text_city

arguments = argparse.ArgumentParser()
arguments.add_argument("--gateway", required=True)
arguments.add_argument("--loadtest", required=True)
arguments.add_argument("--kills", type=int, default=50)
arguments.add_argument("--channel", default="cmpp")
arguments.add_argument("--rate", type=int, default=200)
arguments.add_argument("--port", type=int, default=22000)
arguments.add_argument("--seed", type=int, default=110)
a = arguments.parse_args()


def start(directory, environment):
    begun = time.monotonic()
    process = subprocess.Popen([a.gateway, "run", "--config", f"{directory}/city.toml"], env=environment,
                               stdout=subprocess.PIPE, stderr=open(f"{directory}/stderr", "a"))
    if not process.stdout.readline():
        sys.exit(f"the gateway did not start: {open(f'{directory}/stderr').read()[-2000:]}")
    return process, time.monotonic() - begun


def main():
    chance = random.Random(a.seed)
    waits = [chance.uniform(0.15, 1.2) for _ in range(a.kills)]
    with tempfile.TemporaryDirectory() as directory:
        environment = text_city.write(directory, a.port)
        gateway, _ = start(directory, environment)
        load = subprocess.Popen([a.loadtest, "messages", "--channel", a.channel, "--page", f"{directory}/page.json",
                                 "--rate", str(a.rate), "--duration", "3600s", "--unanswered", "--patience", "30s",
                                 "--receipt-p99", "20000", "--json"], stdout=subprocess.PIPE, text=True)
        kills, slowest = 0, 0.0
        try:
            time.sleep(1.5)
            for wait in waits:
                time.sleep(wait)
                if load.poll() is not None:
                    break
                gateway.send_signal(signal.SIGKILL)
                gateway.wait()
                kills += 1
                gateway, took = start(directory, environment)
                slowest = max(slowest, took)
            time.sleep(1)
            load.send_signal(signal.SIGINT)
            out, _ = load.communicate(timeout=300)
        finally:
            gateway.kill()
            gateway.wait()
            load.kill()
        audit = subprocess.run([a.gateway, "audit", "verify", "--data", f"{directory}/data"], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    report = json.loads(out.strip().splitlines()[-1])
    lost = [t["value"] for t in report["thresholds"] if t["name"] == "messages lost"][0]
    doubled = [t["value"] for t in report["thresholds"] if t["name"] == "messages doubled"][0]
    print(f"{a.channel}: {kills} kills, {report['sent']} messages, {report['acknowledged']} acknowledged, "
          f"{report['receipts']} with their receipt, {report['in_alerts']} in exactly one alert, "
          f"lost {lost:.0f}, doubled {doubled:.0f}, slowest start {slowest * 1000:.0f} ms")
    print(audit.stdout.strip().splitlines()[-1])
    whole = report["acknowledged"] == report["sent"] == report["in_alerts"] and report["receipts"] == report["sent"]
    if kills < a.kills or lost or doubled or not whole or audit.returncode:
        sys.exit("✗ " + json.dumps(report))
    print("✔ nothing lost, nothing doubled")


main()

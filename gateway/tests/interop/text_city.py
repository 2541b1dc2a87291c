#!/usr/bin/env python3
"""Writes a city for `gateway run` whose every channel points at this machine, and a page like the demo's peers.json.

    text_city.py DIR [PORT]      DIR/city.toml, tables, DIR/page.json; PORT is the first of forty
"""
import json, os, sys

WECHAT = {"app_id": "wx1234567890abcdef", "token": "police110token",
          "aes_key": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"}
SECRETS = {"CARRIER": "demo", "PEER": "demo", "WECHAT_TOKEN": WECHAT["token"], "WECHAT_KEY": WECHAT["aes_key"],
           "WECHAT_SECRET": "demo", "QQ": "DG5g3B4j9X2KOErG", "WEIBO": "xyz123xyz", "WEIBO_TOKEN": "demo",
           "KIOSK": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


def write(directory, base=21000):
    os.makedirs(directory, exist_ok=True)
    at = lambda n: f"127.0.0.1:{base + n}"
    carriers = {"cmpp": at(10), "sgip": at(11), "smgp": at(13), "smpp": at(14)}
    toml = f'''config_version = 1
[city]
name = "text"
unit = "370400000000"
realm = "110.text"
[node]
digit = 1
data_dir = "data"
[listen]
sip = "{at(0)}"
rtp = {{ address = "127.0.0.1", ports = "{base + 100}-{base + 400}" }}
http = "{at(1)}"
admin = "{at(2)}"
[trunk.carrier]
sources = ["127.0.0.0/8"]
group = "load"
default_grid = "G-1"
outbound = "{at(30)}"
[group.load]
[group.load.floor]
sms = 1
other = 1
[unit.370400510000]
name = "station"
user = "u1"
secret = {{ env = "CARRIER" }}
[tables]
seats = "seats.csv"
officers = "officers.csv"
grids = "grids.geojson"
keywords = "keywords.csv"
[channel.ims]
kind = "sip"
group = "load"
trunk = "carrier"
[log]
level = "error"
'''
    for kind, address in carriers.items():
        toml += f'''[channel.{kind}]
kind = "{kind}"
group = "load"
default_grid = "G-1"
connect = "{address}"
account = "901234"
secret = {{ env = "CARRIER" }}
number = "12110"
service = "POLICE"
links = {1 if kind == "sgip" else 2}
window = 64
redial_max = "1s"
answer_within = "10s"
keep_alive = "10s"
'''
        if kind == "sgip":
            toml += f'listen = "{at(12)}"\npeer_account = "unicom"\npeer_secret = {{ env = "PEER" }}\nnode = 3063212345\n'
    web = f"http://{at(20)}"
    toml += f'''[channel.wechat]
kind = "wechat"
group = "load"
account = "{WECHAT['app_id']}"
secret = {{ env = "WECHAT_SECRET" }}
token = {{ env = "WECHAT_TOKEN" }}
aes_key = {{ env = "WECHAT_KEY" }}
api = "{web}"
[channel.wecom]
kind = "wecom"
group = "load"
account = "{WECHAT['app_id']}"
agent = 110
secret = {{ env = "WECHAT_SECRET" }}
token = {{ env = "WECHAT_TOKEN" }}
aes_key = {{ env = "WECHAT_KEY" }}
api = "{web}"
[channel.qq]
kind = "qq"
group = "load"
account = "11111111"
secret = {{ env = "QQ" }}
api = "{web}"
token_api = "{web}"
[channel.weibo]
kind = "weibo"
group = "load"
secret = {{ env = "WEIBO" }}
access_token = {{ env = "WEIBO_TOKEN" }}
api = "{web}"
[channel.kiosk]
kind = "http"
group = "load"
record = "kiosk"
secret = {{ env = "KIOSK" }}
send = "{web}/kiosk"
'''
    put = lambda name, text: open(os.path.join(directory, name), "w").write(text)
    put("city.toml", toml)
    seats = "".join(f"{n},taker {n},load,,sip,{n},demo,4\n" for n in range(3001, 3201))
    put("seats.csv", "id,name,group,skills,kind,user,secret,max_threads\n" + seats)
    put("officers.csv", "police_no,name,phone,user,secret,grid_ids,unit,on_duty\n"
        "4001,officer,,4001,demo,G-1,370400510000,true\n")
    ring = [[117.0, 34.0], [118.0, 34.0], [118.0, 35.0], [117.0, 35.0], [117.0, 34.0]]
    put("grids.geojson", json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"grid_id": "G-1", "unit": "370400510000", "kind": "town"},
         "geometry": {"type": "Polygon", "coordinates": [ring]}}]}))
    put("keywords.csv", "word,level,category,silent\n绑架,1,101000,true\n持刀,2,100200,false\n")
    put("page.json", json.dumps({
        "sip": at(0), "http": at(1), "admin": at(2), "password": "demo",
        "token_file": os.path.abspath(os.path.join(directory, "data", "token")),
        "load": {"source": "127.0.0.3", "seats": [3001, 3200]},
        "channels": {"account": "901234", "secret": "demo", "number": "12110", **carriers,
                     "sgip": {"connect": carriers["sgip"], "listen": at(12), "peer_account": "unicom",
                              "peer_secret": "demo"},
                     "web": at(20), "wechat": WECHAT, "qq": {"secret": SECRETS["QQ"]},
                     "weibo": {"secret": SECRETS["WEIBO"]}, "kiosk": {"secret": SECRETS["KIOSK"]}}}))
    return {**os.environ, **SECRETS}


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 21000)
    print(" ".join(f"{k}={v}" for k, v in SECRETS.items()))

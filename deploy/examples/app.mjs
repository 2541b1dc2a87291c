// A citizen's app in forty lines: reports, and shows what 110 says. The protocol is docs/app-protocol.md.
//
//     npm install ws
//     node app.mjs http://127.0.0.1:8110 "有人落水，人民公园东门"
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";

const WebSocket = createRequire(path.join(process.cwd(), "x.js"))("ws");
const [base, text] = process.argv.slice(2);
const { token } = await (await fetch(`${base}/v1/device`, { method: "POST" })).json();
// What was said and is not on disk yet: it is said again after every connection, under the same id.
let unsent = [{ v: 1, t: "report.create", id: randomUUID(), seq: 1, d: { text } }];
let sid;
let heard = 0;

function connect() {
  const socket = new WebSocket(`${base.replace("http", "ws")}/v1/app`, ["gw1", `bearer.${token}`]);
  const say = (frame) => socket.send(JSON.stringify(frame));
  const resume = sid ? { sid, last_seq: heard } : null;
  socket.on("open", () => say({ v: 1, t: "hello", d: { app: "example", ver: "1", resume } }));
  socket.on("error", () => {});
  socket.on("close", () => setTimeout(connect, 500));
  socket.on("message", (message) => {
    const { t, seq = 0, ack = 0, d } = JSON.parse(message);
    if (t === "welcome") {
      if (!d.resumed) {
        heard = 0;
        unsent.forEach((said, n) => (said.seq = n + 1));
      }
      sid = d.sid;
      unsent.filter((said) => said.seq > d.last_seq).forEach(say);
      return;
    }
    unsent = unsent.filter((said) => said.seq > ack);
    if (t === "report.created") console.log("number", d.report_id);
    if (t === "chat.msg" && seq > heard) console.log(d.kind, d.text);
    if (t === "error") console.log("error", d.code, d.msg);
    if (seq > heard) {
      heard = seq;
      say({ v: 1, t: "ack", ack: heard });
    }
  });
}
connect();

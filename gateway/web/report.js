// A report in writing: the app protocol over a WebSocket, from a page.
const words = JSON.parse(document.getElementById("words").textContent);
const by = (id) => document.getElementById(id);
const kept = (name) => JSON.parse(sessionStorage.getItem(name) || "null");
/** A name; the browser's own is only there in a secure context. */
const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
const keep = (name, value) => sessionStorage.setItem(name, JSON.stringify(value));

/** What was said and is not acknowledged: it is said again after every connection, under the same ids. */
let unsent = kept("unsent") || [];
let sid = kept("sid") || "";
let heard = kept("heard") || 0;
let counted = kept("counted") || 0;
let alertNo = kept("alert") || "";
let socket;
let wait = 200;
let beat;
let location_;
let resend = 0;
/** Another window has the connection: this one comes back when somebody writes here. */
let elsewhere = false;

function state(text, kind) {
  by("state").textContent = text;
  by("state").className = kind || "quiet";
}

function show(text, mine, note) {
  const item = document.createElement("li");
  item.className = mine ? "out" : "in";
  item.textContent = text;
  const small = document.createElement("div");
  small.className = "quiet";
  small.textContent = note;
  item.append(small);
  by("lines").hidden = false;
  by("lines").append(item);
  item.scrollIntoView({ block: "nearest" });
  return small;
}

function named(no) {
  alertNo = no;
  keep("alert", no);
  by("number").hidden = false;
  by("no").textContent = no.slice(-9);
  by("no").title = no;
  by("first").hidden = true;
  by("send").textContent = words.more;
}

const send = (frame) => socket?.readyState === 1 && socket.send(JSON.stringify({ v: 1, ...frame }));

/** One word is on disk; only its own answer says so. */
function acknowledged(id) {
  const note = document.querySelector(`[data-said="${id}"]`);
  if (note) note.textContent = words.kept;
  unsent = unsent.filter((s) => s.id !== id);
  keep("unsent", unsent);
}

function hear(frame) {
  if (frame.t === "welcome") {
    wait = 200;
    if (!frame.d.resumed) {
      heard = 0;
      keep("heard", heard);
    }
    // Numbers go on where the gateway is, whoever else of this browser has been there; ids stay, so that nothing is
    // reported twice.
    unsent.forEach((said, n) => (said.seq = frame.d.last_seq + n + 1));
    counted = frame.d.last_seq + unsent.length;
    keep("counted", counted);
    keep("unsent", unsent);
    sid = frame.d.sid;
    keep("sid", sid);
    unsent.forEach(send);
    state(words.online, "good");
    clearInterval(beat);
    beat = setInterval(() => send({ t: "ping", id: newId() }), frame.d.hb_ms);
    return;
  }
  if (frame.t === "error" && frame.re) refused(frame);
  if ((frame.t === "ack" || frame.t === "report.created") && frame.re) acknowledged(frame.re);
  if (frame.t === "report.created") named(frame.d.report_id);
  if (frame.t === "case.officer") officer(frame.d);
  if (frame.t === "chat.msg" && !(frame.seq <= heard)) {
    show(frame.d.text, false, new Date().toLocaleTimeString(document.documentElement.lang, { timeZone: "Asia/Shanghai" }));
    if (frame.d.report_id && !alertNo) named(frame.d.report_id);
  }
  if (frame.seq > heard) {
    heard = frame.seq;
    keep("heard", heard);
    send({ t: "ack", ack: heard });
  }
}

let stale = 0;
/** How far whoever comes is; what is old is not shown. */
function officer(d) {
  const far = d.distance_m < 1000 ? `${d.distance_m} m` : `${(d.distance_m / 1000).toFixed(1)} km`;
  const is = d.state === "arrived" ? words.officer_there : `${words.officer_comes} ${far} \u00b7 ${Math.round(d.eta_s / 60)} ${words.minutes}`;
  by("officer").hidden = false;
  by("officer").textContent = is;
  clearTimeout(stale);
  stale = setTimeout(() => (by("officer").hidden = true), 120000);
}

function refused(frame) {
  if (frame.d.code === "E_BUSY" || frame.d.code === "E_CONFLICT" || frame.d.code === "E_RATE") {
    state(words.keeping, "warn");
    resend ||= setTimeout(() => {
      resend = 0;
      unsent.slice(0, 10).forEach(send);
    }, 1000);
    return;
  }
  // Answered, and not kept: it is not said again.
  unsent = unsent.filter((said) => said.id !== frame.re);
  keep("unsent", unsent);
  const note = document.querySelector(`[data-said="${frame.re}"]`);
  if (note) note.textContent = words.try_call;
  state(words.try_call, "warn");
}

async function token() {
  const known = kept("token");
  if (known && known.expires * 1000 > Date.now() + 60000) return known.token;
  const answer = await fetch("/v1/device", { method: "POST" });
  if (!answer.ok) throw new Error(String(answer.status));
  const made = await answer.json();
  keep("token", made);
  return made.token;
}

/** Whether the token counts no more: a socket that is refused does not say why. */
async function isRefused() {
  const authorization = `Bearer ${kept("token")?.token}`;
  const answer = await fetch("/v1/app", { headers: { authorization } }).catch(() => null);
  return answer?.status === 401;
}

async function connect() {
  try {
    const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/app`;
    const mine = new WebSocket(address, ["gw1", `bearer.${await token()}`]);
    socket = mine;
    socket.onopen = () => send({ t: "hello", d: { app: "page", ver: "1", resume: sid ? { sid, last_seq: heard } : null } });
    socket.onmessage = (event) => hear(JSON.parse(event.data));
    let opened = false;
    socket.addEventListener("open", () => (opened = true));
    socket.onclose = async (event) => {
      if (event.code === 4001 || (!opened && (await isRefused()))) {
        // Another device from now on; what was not taken is said by it.
        sessionStorage.removeItem("token");
        [sid, heard] = ["", 0];
      }
      if (mine !== socket) return;
      elsewhere = event.code === 4009;
      if (elsewhere) return state(words.elsewhere, "warn");
      again();
    };
  } catch {
    again();
  }
}

function again() {
  clearInterval(beat);
  state(unsent.length ? words.offline : words.connecting, "warn");
  setTimeout(connect, wait * (0.7 + Math.random() * 0.6));
  wait = Math.min(wait * 2, 2000);
}

by("report").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = by("text").value.trim();
  if (!text && !location_) return;
  counted += 1;
  const phone = by("phone").value.trim();
  const d = { text, silent: by("silent").checked };
  if (phone) d.contact = { phone };
  if (location_) d.location = location_;
  const said = { t: alertNo || unsent.length ? "report.append" : "report.create", id: newId(), seq: counted, d };
  unsent.push(said);
  keep("unsent", unsent);
  keep("counted", counted);
  show(text || words.place_added, true, words.keeping).dataset.said = said.id;
  if (elsewhere) connect();
  else send(said);
  elsewhere = false;
  by("text").value = "";
  location_ = undefined;
  by("placed").textContent = "";
});

by("place").addEventListener("click", () => {
  const lost = () => (by("placed").textContent = words.no_place);
  if (!navigator.geolocation) return lost();
  navigator.geolocation.getCurrentPosition((found) => {
    location_ = { lat: found.coords.latitude, lon: found.coords.longitude, datum: "wgs84" };
    by("placed").textContent = words.place_added;
  }, lost, { enableHighAccuracy: true, timeout: 8000 });
});

if (alertNo) named(alertNo);
connect();

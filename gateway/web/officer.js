// The officer's page: what they are called to, what endangers them first, and the steps that they tell.
const words = JSON.parse(document.getElementById("words").textContent);
const officer = document.body.dataset.officer;
const results = JSON.parse(document.body.dataset.results || "{}");
const by = (id) => document.getElementById(id);
const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
/** In the order in which they happen. */
const STEPS = ["accepted", "contacted", "enroute", "arrived", "handled", "fed_back"];
/** How often what did not get through is sent again, and a position is told, in milliseconds. */
const AGAIN = 2000;
const POSITION_EVERY = 1000;

/** @type {Map<string, any>} alerts by number */
const alerts = new Map();
/** Steps that were pressed and of which nobody has said yet that they are on record. */
const pending = new Map();
/** What is being written of each. */
const drafts = new Map();
let here;

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function trouble(text) {
  by("trouble").hidden = !text;
  by("trouble").textContent = text || "";
}

const time = (at) => new Date(at).toLocaleTimeString(document.documentElement.lang, { timeZone: "Asia/Shanghai" });

/** What may hurt whoever goes there. */
function danger(a) {
  const named = ["weapons", "explosives", "suspect_present"].filter((name) => a.hazards?.[name]).map((name) => words[name]);
  const flags = (a.flags || []).map((flag) => words[`flag_${flag}`] || flag);
  return [...named, ...(a.keywords || []), ...flags].join(" \u00b7 ");
}

/** A draft of a report outlives what is drawn anew. */
function draft(no) {
  if (!drafts.has(no)) drafts.set(no, { text: "", code: "" });
  return drafts.get(no);
}

function report(no, a) {
  const form = element("form", undefined, "say");
  const kept = draft(no);
  const code = element("select");
  code.name = "code";
  code.setAttribute("aria-label", words.result);
  code.append(new Option(words.result, ""), ...Object.entries(results).map(([value, name]) => new Option(name, value)));
  code.value = kept.code;
  code.addEventListener("change", () => (kept.code = code.value));
  const text = element("textarea");
  text.name = "text";
  text.maxLength = 1000;
  text.value = kept.text;
  text.setAttribute("aria-label", words.remark);
  text.placeholder = words.remark;
  text.addEventListener("input", () => (kept.text = text.value));
  form.addEventListener("submit", (event) => event.preventDefault());
  if (Object.keys(results).length) form.append(code);
  form.append(text);
  const done = new Map((a.steps || []).map((s) => [s.step, s.at]));
  const keys = element("div", undefined, "keys");
  for (const step of STEPS) {
    const at = done.get(step);
    const waits = pending.has(`${no} ${step}`);
    const button = element("button", `${words[`step_${step}`]}${at ? ` ${time(at)}` : waits ? ` ${words.sending}` : ""}`);
    button.type = "button";
    button.dataset.step = step;
    button.disabled = waits || (!!at && step !== "fed_back");
    if (at) button.className = "good";
    else if (step === STEPS.find((s) => !done.has(s))) button.className = "main";
    button.addEventListener("click", () => tell(no, step));
    keys.append(button);
  }
  form.append(keys);
  return form;
}

function card(no, a) {
  const item = element("li");
  item.dataset.no = no;
  const hurts = danger(a);
  if (hurts) item.append(element("p", `${words.danger}: ${hurts}`, "warn"));
  if (a.silent) item.append(element("p", words.do_not_call, "warn"));
  const head = element("p");
  head.append(element("strong", no.slice(-9)), element("span", ` ${time(a.arrived || a.mine.tried_at)} `, "quiet"));
  const is = (text, kind) => text && head.append(element("span", ` ${text}`, kind));
  is(a.level && `${words.level} ${a.level}`);
  is(a.category);
  is(a.state === "closed" ? words.call_over : "", "quiet");
  item.append(head);
  if (a.description) item.append(element("p", a.description, "what"));
  const hurt = ["trapped", "injured", "dead"].filter((name) => a.casualties?.[name]);
  if (hurt.length) item.append(element("p", hurt.map((name) => `${words[name]} ${a.casualties[name]}`).join(" \u00b7 "), "warn"));
  const at = a.location?.wgs84;
  const where = element("p", [a.location?.civic, a.location?.grid_code].filter(Boolean).join(" \u00b7 "));
  if (at) {
    const map = element("a", ` ${at.lat.toFixed(5)}, ${at.lon.toFixed(5)}`);
    map.href = `geo:${at.lat},${at.lon}`;
    where.append(map);
  }
  if (where.childNodes.length) item.append(where);
  if (a.phone && !a.silent) {
    const who = element("p", a.name ? `${a.name} ` : "");
    const call = element("a", a.phone);
    call.href = `tel:${a.phone}`;
    who.append(call);
    item.append(who);
  }
  const lines = element("ul", undefined, "lines");
  for (const line of (a.text || []).filter((l) => l.dir)) {
    const mine = line.dir === "out";
    const made = element("li", line.body || (line.attachments || []).map((f) => f.kind).join(" "), mine ? "out" : "in");
    made.append(element("div", `${mine ? words.desk : words.reporter} ${time(line.at)}`, "quiet"));
    lines.append(made);
  }
  if (lines.childNodes.length) {
    lines.tabIndex = 0;
    lines.setAttribute("aria-label", words.reporter);
    item.append(lines);
  }
  item.append(report(no, a));
  return item;
}

/** Whether they are called to it still: somebody else went where they did not pick up. */
const isMine = (a) => !a.mine.result || a.mine.result === "answered";

function show() {
  const list = by("alerts");
  const active = document.activeElement;
  const [no, name] = [active?.closest?.("li[data-no]")?.dataset.no, active?.name];
  const [from, to] = name === "text" ? [active.selectionStart, active.selectionEnd] : [];
  const mine = [...alerts].filter(([, a]) => isMine(a));
  mine.sort((a, b) => (a[1].mine.tried_at < b[1].mine.tried_at ? 1 : -1));
  list.replaceChildren(...mine.map(([n, a]) => card(n, a)));
  by("nothing").hidden = mine.length > 0;
  // Whoever is writing goes on writing.
  const again = no && name && list.querySelector(`li[data-no="${no}"] [name="${name}"]`);
  if (again) {
    again.focus();
    if (from !== undefined) again.setSelectionRange(from, to);
  }
}

async function send(method, path, body, key) {
  try {
    const headers = { "content-type": "application/json" };
    if (key) headers["idempotency-key"] = key;
    const answer = await fetch(path, { method, headers, body: JSON.stringify(body) });
    if (answer.status === 401) location.reload();
    if (answer.ok) return { ok: true };
    const problem = await answer.json().catch(() => ({}));
    return { ok: problem.done === true, status: answer.status, code: problem.code, detail: problem.detail };
  } catch {
    return { ok: false };
  }
}

/** A step is told until it is on record, under one name: in a tunnel it waits, and is taken once. */
function tell(no, step) {
  const kept = draft(no);
  const body = { step };
  if (step === "fed_back") Object.assign(body, { text: kept.text.trim(), result_code: kept.code });
  else if (kept.text.trim()) body.text = kept.text.trim();
  if (step === "fed_back" && Object.keys(results).length && !kept.code) return trouble(words.choose_result);
  if (here) Object.assign(body, here);
  pending.set(`${no} ${step}`, { no, step, body, key: newId() });
  trouble("");
  show();
  flush();
}

let flushing = false;
async function flush() {
  if (flushing) return;
  flushing = true;
  for (const [name, { no, step, body, key }] of [...pending]) {
    const answer = await send("POST", `/v1/alerts/${no}/steps`, body, key);
    // Nobody has said no: it is said again.
    if (!answer.ok && (!answer.status || answer.status >= 500 || answer.status === 429)) break;
    pending.delete(name);
    if (answer.ok) {
      if (body.text && draft(no).text.trim() === body.text) draft(no).text = "";
      by("told").textContent = `${words[`step_${step}`]} ${words.on_record}`;
    } else trouble(`${words[`step_${step}`]}: ${answer.code || ""} ${answer.detail || ""}`);
  }
  flushing = false;
  show();
}

function hear(event) {
  const told = JSON.parse(event.data);
  const known = alerts.get(told.alert_no);
  if (known && known.rev > told.rev) return;
  const fresh = !known;
  alerts.set(told.alert_no, told);
  if (fresh && isMine(told) && !told.mine.result) by("told").textContent = `${words.called_to} ${told.alert_no.slice(-9)}`;
  show();
}

function listen() {
  const source = new EventSource(`/v1/officers/${encodeURIComponent(officer)}/events`);
  source.addEventListener("open", () => {
    by("state").textContent = words.connected;
    by("state").className = "good";
    flush();
  });
  source.addEventListener("called", hear);
  source.addEventListener("withheld", (event) => {
    alerts.delete(JSON.parse(event.data).alert_no);
    show();
  });
  source.addEventListener("error", () => {
    by("state").textContent = words.lost;
    by("state").className = "warn";
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  });
}

async function duty(on_duty) {
  const answer = await send("PUT", `/v1/officers/${encodeURIComponent(officer)}/duty`, { on_duty });
  trouble(answer.ok ? "" : `${answer.code || ""} ${answer.detail || words.lost}`);
  if (answer.ok) by("told").textContent = `${on_duty ? words.on_duty : words.off_duty} ${words.on_record}`;
}

let watching;
let lastTold = 0;
function sharePosition() {
  if (!navigator.geolocation || !isSecureContext) return trouble(words.position_unavailable);
  if (watching !== undefined) {
    navigator.geolocation.clearWatch(watching);
    watching = undefined;
    here = undefined;
  } else {
    watching = navigator.geolocation.watchPosition(
      ({ coords }) => {
        here = { lon: coords.longitude, lat: coords.latitude };
        if (Date.now() - lastTold < POSITION_EVERY) return;
        lastTold = Date.now();
        send("PUT", `/v1/officers/${encodeURIComponent(officer)}/position`, here);
      },
      () => trouble(words.position_unavailable),
      { enableHighAccuracy: true },
    );
  }
  by("position").setAttribute("aria-pressed", String(watching !== undefined));
}

by("on").addEventListener("click", () => duty(true));
by("off").addEventListener("click", () => duty(false));
by("position").addEventListener("click", sharePosition);
setInterval(() => pending.size && flush(), AGAIN);
show();
listen();

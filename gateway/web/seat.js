// The call taker's page: what the seat holds, as the gateway tells it, and the taker's answers.
import { like } from "/assets/similar.js";
import * as triage from "/assets/triage.js";

const words = JSON.parse(document.getElementById("words").textContent);
const seat = document.body.dataset.seat;
const by = (id) => document.getElementById(id);
/** A name; the browser's own is only there in a secure context. */
const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
const title = document.title;

/** @type {Map<string, any>} conversations and calls by alert number, in the order in which they came */
const held = new Map();
/** How alerts stand that are not in the list yet. */
const standing = new Map();
const STANDING_MAX = 100;
/** Calls that are over and were not put away yet, at most. */
const OVER_MAX = 5;
let chosen = "";
/** What is being written, by conversation: choosing another one loses nothing. */
const drafts = new Map();
/** Whom the taker answers, by conversation, where several write: as chosen, and while a line is being written. */
const towards = new Map();
const picked = new Map();
/** Who can be asked into a call besides, by number. */
let agencies = new Map();
/** A line of which nobody knows whether it was taken. */
let failed = {};

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

const short = (no) => no.slice(-9);
/** Whether somebody writes; otherwise it is a call. */
const writes = (c) => c.what !== undefined;
const myLeg = (alert) => (alert?.legs || []).filter((leg) => leg.role === "taker" && leg.party === seat).at(-1);
const onTheLine = (c) => !!c.alert && !c.alert.t.end && !!myLeg(c.alert) && !myLeg(c.alert).end;
const waits = (c) => writes(c) && !c.answered;
const lines = (c) => (c.text || []).filter((line) => line.dir);

const name = (who) => `${who.channel} ${who.user}`;

/** Those who write, with the last line of each: it is what an answer names. */
function people(c) {
  const theirs = new Map();
  for (const line of lines(c)) {
    const writes = line.dir === "in" && (c.writers || []).some((who) => name(who) === name(line));
    if (!writes || !line.ref) continue;
    theirs.delete(name(line));
    theirs.set(name(line), line.ref);
  }
  return theirs;
}

/** Whom an answer goes to: who was chosen, else who wrote last. */
function whom(no) {
  const theirs = people(held.get(no) || {});
  return [towards.get(no), picked.get(no)].find((who) => theirs.has(who)) || [...theirs.keys()].at(-1);
}

/** How long is left of the three seconds. */
function left(c) {
  if (!writes(c)) return !onTheLine(c) ? words.call_over : myLeg(c.alert).answered ? words.talking : words.ringing;
  if (c.answered) return words.answered;
  if (!c.due) return words.waiting;
  const seconds = (Date.parse(c.due) - Date.now()) / 1000;
  return seconds > 0 ? `${words.left} ${seconds.toFixed(1)} s` : `${words.late} ${Math.floor(-seconds)} s`;
}

function showList() {
  const list = by("list");
  list.replaceChildren();
  let n = 0;
  for (const [no, c] of held) {
    n += 1;
    const button = element("button");
    button.type = "button";
    button.dataset.no = no;
    if (no === chosen) button.setAttribute("aria-current", "true");
    const said = lines(c).filter((line) => line.dir === "in").at(-1);
    button.append(element("strong", `${n}. ${short(no)} `), element("span", left(c), waits(c) ? "warn left" : "good left"));
    button.append(element("span", said ? said.body : writes(c) ? "" : `${words.call} ${c.alert.phone}`, "last"));
    button.addEventListener("click", () => choose(no));
    const item = element("li");
    item.append(button);
    list.append(item);
  }
  const count = [...held.values()].filter(waits).length;
  by("nothing").hidden = held.size > 0;
  by("waiting").textContent = count ? `${words.waiting} ${count}` : "";
  document.title = count ? `(${count}) ${title}` : title;
}

/** What is expected by when, and who has been told. */
function showWork(alert) {
  const work = by("work");
  work.replaceChildren();
  for (const push of alert?.fanout || []) {
    const done = ["fed_back", "instructed", "signed", "ack", "sent"].find((step) => push[step]);
    const late = (push.breach || []).length ? ` \u00b7 ${words.overdue} ${push.breach.join(" ")}` : "";
    work.append(element("li", `${words.told} ${push.target}: ${words[done] || ""}${late}`, late ? "warn" : ""));
  }
  for (const timer of alert?.timers || []) {
    if (timer.met_at || timer.breach || timer.paused) continue;
    const item = element("li", "");
    item.dataset.due = timer.due;
    item.dataset.name = `${timer.name} ${timer.of || ""}`.trim();
    work.append(item);
  }
  count();
}

/** Who else is in the call, is being rung for it, or was not to be had. */
function showParties(c) {
  const parties = by("parties");
  parties.replaceChildren();
  if (!onTheLine(c)) return;
  for (const tried of c.alert.dispatch || []) {
    const leg = (c.alert.legs || []).filter((one) => one.party === tried.officer && one.role === tried.role).at(-1);
    const state = tried.result && tried.result !== "answered" ? tried.result : leg?.end ? "left" : tried.bridged_at ? "in_call" : "ringing";
    const name = `${tried.officer} ${agencies.get(tried.officer) || ""}`.trim();
    const kind = state === "in_call" ? "good" : state === "ringing" || state === "left" ? "" : "warn";
    const item = element("li", `${name}: ${words[`party_${state}`] || state} `, kind);
    if (state === "in_call" || state === "ringing") {
      const out = element("button", "\u2715");
      out.type = "button";
      out.setAttribute("aria-label", `${words.let_go} ${name}`);
      out.addEventListener("click", () => act("drop", { party: tried.officer }));
      item.append(out);
    }
    parties.append(item);
  }
}

/** One button an agency, and one for each that are asked in together. */
async function showAgencies() {
  const answer = await fetch("/v1/agencies").catch(() => undefined);
  if (!answer?.ok) return;
  const known = await answer.json();
  agencies = new Map(known.agencies.map((agency) => [agency.no, agency.name]));
  const button = (text, to) => {
    const made = element("button", text);
    made.type = "button";
    made.dataset.to = to;
    made.addEventListener("click", () => act("transfer", { to }));
    return made;
  };
  const single = known.agencies.map(({ no, name }) => button(`${no} ${name}`, no));
  const together = known.linkages.map(({ name, to }) => button(`${name} (${to.join("+")})`, name));
  by("agencies").replaceChildren(...together, ...single);
  show();
}

/** The seconds that run. */
function count() {
  for (const item of by("work").querySelectorAll("[data-due]")) {
    const seconds = (Date.parse(item.dataset.due) - Date.now()) / 1000;
    item.textContent = `${item.dataset.name} ${seconds > 0 ? `${words.left} ${Math.ceil(seconds)} s` : words.overdue}`;
    item.className = seconds < 6 ? "warn" : "";
  }
}

function showThread() {
  const c = held.get(chosen);
  by("open").hidden = !c;
  by("choose").hidden = !!c;
  if (!c) return;
  const alert = c.alert;
  const facts = by("facts");
  facts.replaceChildren(element("strong", chosen));
  const fact = (name, value, kind) => value && facts.append(element("span", `${name} ${value}`, kind));
  fact(words.level, alert?.level || c.level);
  fact(words.keyword, (alert?.keywords || c.keywords || []).join(" "), "warn");
  fact(writes(c) ? words.phone : words.call, alert?.phone || c.phone);
  fact(words.called, alert?.called);
  fact(words.subscriber, [alert?.subscriber?.name, alert?.subscriber?.address].filter(Boolean).join(" \u00b7 "));
  fact(words.owner, alert?.owner);
  fact(words.command, alert?.command);
  const location = alert?.location || c.location;
  const at = location?.wgs84;
  const where = [location?.civic, location?.grid_code, at && `${at.lat.toFixed(5)}, ${at.lon.toFixed(5)}`];
  fact(words.place, where.filter(Boolean).join(" \u00b7 "));
  if (c.silent || alert?.silent) facts.append(element("span", words.silent, "warn"));
  by("open").classList.toggle("call", !writes(c));
  by("call").hidden = !onTheLine(c);
  by("lines").hidden = !writes(c);
  for (const part of ["body", "next"]) by(part).hidden = !writes(c);
  by("say").querySelector("label").hidden = !writes(c);
  by("say").querySelector(".main").hidden = !writes(c);
  by("done").textContent = `${onTheLine(c) ? words.hang_up : writes(c) ? words.done : words.dismiss} (F10)`;
  showWork(alert);
  showParties(c);
  triage.fill(chosen, alert);
  like(chosen, alert?.rev, join);
  const theirs = people(c);
  const several = (c.writers || []).length > 1;
  by("towards").hidden = !writes(c) || !several;
  by("whom").replaceChildren(...[...theirs.keys()].map((who) => new Option(who, who)));
  by("whom").value = whom(chosen) || "";
  const list = by("lines");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.replaceChildren();
  for (const line of lines(c)) {
    const mine = line.dir === "out";
    const named = several ? `${words.reporter} ${name(line)}` : words.reporter;
    const to = several && line.by !== "gateway" ? `${words.you} \u2192 ${name(line)}` : words.you;
    const who = !mine ? named : line.by === "gateway" ? words.machine : to;
    const item = element("li", line.body, mine ? (line.by === "gateway" ? "out machine" : "out") : "in");
    const state = mine && line.state ? ` \u00b7 ${words[`state_${line.state}`] || ""}` : "";
    const at = new Date(line.at).toLocaleTimeString(document.documentElement.lang, { timeZone: "Asia/Shanghai" });
    item.append(element("div", `${who} ${at}${state}`, line.state === "failed" ? "warn" : "quiet"));
    list.append(item);
  }
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function show() {
  showList();
  showThread();
}

function trouble(text) {
  by("trouble").hidden = !text;
  by("trouble").textContent = text || "";
}

function choose(no) {
  drafts.set(chosen, by("body").value);
  chosen = no;
  by("body").value = drafts.get(no) || "";
  trouble("");
  show();
  if (writes(held.get(no) || {})) by("body").focus();
  else triage.focus();
}

/** The one that has waited longest. */
function next() {
  const waiting = [...held].filter(([no, c]) => waits(c) && no !== chosen);
  const first = waiting.sort((a, b) => Date.parse(a[1].due || 0) - Date.parse(b[1].due || 0))[0];
  if (first) choose(first[0]);
}

/** @returns {Promise<{ok: boolean, code?: string, detail?: string}>} */
async function post(path, body, key) {
  try {
    const headers = { "content-type": "application/json", "idempotency-key": key };
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    if (answer.ok) return { ok: true };
    const problem = await answer.json().catch(() => ({}));
    if (answer.status === 401) location.reload();
    // Done, though it is not on record yet: said again it would be said twice.
    return { ok: problem.done === true, code: problem.code, detail: problem.detail };
  } catch {
    return { ok: false, detail: words.lost };
  }
}

async function say(event) {
  event?.preventDefault();
  const no = chosen;
  const body = by("body").value.trim();
  if (!body || !held.has(no)) return;
  const path = `/v1/seats/${encodeURIComponent(seat)}/conversations/${no}/say`;
  const said = { body };
  // It names whom it answers: whoever writes meanwhile changes nothing.
  if ((held.get(no).writers || []).length > 1) said.answers = people(held.get(no)).get(whom(no));
  towards.delete(no);
  by("body").value = "";
  drafts.delete(no);
  // Said again after an answer that never came, it is the same line.
  const key = failed.no === no && failed.body === body ? failed.key : newId();
  failed = {};
  let answer = await post(path, said, key);
  if (answer.code === "GW-4410" && confirm(words.despite)) {
    answer = await post(path, { ...said, despite_silence: true }, newId());
  }
  if (answer.ok) return trouble("");
  // Nothing that was written is lost.
  if (!answer.code) failed = { no, body, key };
  const before = (text) => [body, text].filter(Boolean).join("\n");
  if (chosen === no) by("body").value = before(by("body").value);
  else drafts.set(no, before(drafts.get(no)));
  trouble(`${words.refused}: ${answer.code || ""} ${answer.detail || ""}`);
}

/** What the seat does in its call. */
async function act(action, body = {}) {
  const answer = await post(`/v1/seats/${encodeURIComponent(seat)}/${action}`, body, newId());
  trouble(answer.ok ? "" : `${answer.code || ""} ${answer.detail || ""}`);
  return answer.ok;
}

/** One goes on as the other: whoever reported first keeps the number. */
async function join(first, later) {
  const answer = await post(`/v1/alerts/${first}/join`, { other: later }, newId());
  trouble(answer.ok ? "" : `${answer.code || ""} ${answer.detail || ""}`);
}

async function saveTriage(event) {
  event?.preventDefault();
  const no = chosen;
  if (!held.get(no)?.alert || !triage.isValid()) return;
  const said = triage.changed();
  if (!said) return;
  const answer = await post(`/v1/alerts/${no}/triage`, said, newId());
  if (answer.ok) {
    triage.taken(no, said);
  }
  trouble(answer.ok ? "" : `${words.refused_work}: ${answer.code || ""} ${answer.detail || ""}`);
}

function putAway(no) {
  held.delete(no);
  if (chosen === no) {
    chosen = "";
    by("body").value = "";
  }
}

async function done() {
  const no = chosen;
  const c = held.get(no);
  if (!c) return;
  if (onTheLine(c)) return act("hangup");
  if (!writes(c)) {
    putAway(no);
    return show();
  }
  const answer = await post(`/v1/seats/${encodeURIComponent(seat)}/conversations/${no}/done`, {}, newId());
  if (!answer.ok) trouble(`${answer.code || ""} ${answer.detail || ""}`);
}

function hear(event) {
  const told = JSON.parse(event.data);
  const no = told.alert_no;
  if (told.what === "taken_back" || told.what === "ended") {
    held.delete(no);
    if (chosen === no) {
      // It may come back to this seat.
      if (told.what === "taken_back") drafts.set(no, by("body").value);
      chosen = "";
      by("body").value = "";
      if (told.what === "taken_back") trouble(words.gone);
    }
  } else {
    const fresh = !held.has(no);
    told.alert = held.get(no)?.alert || standing.get(no);
    standing.delete(no);
    held.set(no, told);
    if (fresh && waits(told)) {
      by("alarm").hidden = false;
      by("alarm").textContent = `${words.waiting} ${short(no)}`;
      // Never away from what somebody is writing.
      if (!chosen || (!by("body").value && !waits(held.get(chosen) || {}))) choose(no);
    }
  }
  show();
}

/** How an alert stands: a call of this seat's comes into the list by it. */
function hearAlert(event) {
  const told = JSON.parse(event.data);
  const no = told.alert_no;
  const c = held.get(no);
  if (c && (c.alert?.rev || 0) > told.rev) return;
  if (c) {
    c.alert = told;
    // Another seat has the call.
    if (!writes(c) && told.seat !== seat) putAway(no);
  } else if (told.seat === seat && onTheLine({ alert: told })) {
    held.set(no, { alert: told });
    by("alarm").hidden = false;
    by("alarm").textContent = `${words.call} ${told.phone}`;
    // Never away from what somebody is writing.
    if (!chosen || (!by("body").value && !onTheLine(held.get(chosen) || {}))) choose(no);
  } else {
    standing.set(no, told);
    if (standing.size > STANDING_MAX) standing.delete(standing.keys().next().value);
  }
  const over = [...held].filter(([other, o]) => !writes(o) && !onTheLine(o) && other !== chosen);
  over.slice(0, Math.max(0, over.length - OVER_MAX)).forEach(([other]) => held.delete(other));
  show();
}

function listen() {
  const source = new EventSource(`/v1/seats/${encodeURIComponent(seat)}/events?here=true`);
  source.addEventListener("open", () => {
    by("state").textContent = words.connected;
    by("state").className = "good";
    // Everything that the seat holds is told anew; a call that is over stays until it is put away.
    for (const [no, c] of held) if (writes(c) || onTheLine(c)) held.delete(no);
    show();
  });
  source.addEventListener("conversation", hear);
  source.addEventListener("alert", hearAlert);
  source.addEventListener("error", () => {
    by("state").textContent = words.lost;
    by("state").className = "warn";
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  });
}

by("say").addEventListener("submit", say);
by("whom").addEventListener("change", () => {
  picked.set(chosen, by("whom").value);
  towards.delete(chosen);
});
// Whoever is being answered stays the one, whoever else writes meanwhile.
by("body").addEventListener("input", () => {
  if (by("body").value && whom(chosen)) towards.set(chosen, whom(chosen));
  else towards.delete(chosen);
});
by("done").addEventListener("click", done);
by("next").addEventListener("click", next);
by("triage").addEventListener("submit", saveTriage);
by("three").addEventListener("click", () => act("three-way"));
by("ready").addEventListener("click", () => act("answer"));
by("transfer").addEventListener("click", async () => {
  const to = by("to").value.trim();
  if (to && (await act("transfer", { to }))) by("to").value = "";
});
by("body").addEventListener("keydown", (event) => {
  // A key of an input method is not ours.
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "Enter" && !event.shiftKey) say(event);
});
document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "F2") next();
  else if (event.key === "F4" && onTheLine(held.get(chosen) || {})) act("three-way");
  else if (event.key === "F6") by("agencies").querySelector("button")?.focus();
  else if (event.key === "F8") {
    if (by("triage").contains(document.activeElement)) saveTriage();
    else triage.focus();
  }
  else if (event.key === "F10") done();
  else if (event.altKey && /^Digit[1-9]$/.test(event.code)) {
    const no = [...held.keys()][Number(event.code.slice(5)) - 1];
    if (no) choose(no);
  } else return;
  event.preventDefault();
});
setInterval(() => {
  document.querySelectorAll("#list .left").forEach((mark) => {
    const c = held.get(mark.closest("button").dataset.no);
    if (c) mark.textContent = left(c);
  });
  count();
}, 200);
show();
showAgencies();
listen();

// A call taker and a citizen in a real browser: a report from the page /report (and from a WebSocket client that no one
// here wrote) is answered at /seat, by keyboard alone. Usage:
//   node pages.mjs --gateway target/release/gateway --tools DIR [--python PYTHON] [--pictures DIR]
// DIR holds node_modules with playwright-core, axe-core and ws; chromium is the system's; PYTHON has websockets.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

const option = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1];
};
const tools = createRequire(path.join(path.resolve(option("tools")), "node_modules", "x.js"));
const { chromium } = tools("playwright-core");
const axe = readFileSync(tools.resolve("axe-core/axe.min.js"), "utf8");
const WebSocket = tools("ws");
const pictures = option("pictures", "target/pages");
mkdirSync(pictures, { recursive: true });

const OFFSET = 300;
const origin = `http://127.0.0.1:${8110 + OFFSET}`;
const data = mkdtempSync(path.join(tmpdir(), "pages-"));
const gateway = spawn(
  path.resolve(option("gateway")),
  ["demo", "--no-script", "--port-offset", String(OFFSET), "--data", path.join(data, "demo")],
  { stdio: ["ignore", "pipe", "inherit"] },
);
const flags =
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --use-fake-ui-for-media-stream --use-fake-device-for-media-stream";
/** The pages by a name over plain HTTP, as a city's network has them: a browser withholds there what it keeps for TLS. */
const named = `http://gw.example:${8110 + OFFSET}`;

/** The way by which the citizen comes, which can be cut. */
const way = { port: 0, sockets: new Set(), open: true };
const proxy = createServer((socket) => {
  if (!way.open) return socket.destroy();
  const beyond = connect(8110 + OFFSET, "127.0.0.1");
  for (const one of [socket, beyond]) {
    way.sockets.add(one);
    one.on("error", () => {});
    one.on("close", () => (way.sockets.delete(one), socket.destroy(), beyond.destroy()));
  }
  socket.pipe(beyond).pipe(socket);
});
function cut() {
  way.open = false;
  way.sockets.forEach((socket) => socket.destroy());
}

async function until(what, probe, ms = 10_000) {
  for (const end = Date.now() + ms; ; ) {
    const found = await probe();
    if (found) return found;
    assert.ok(Date.now() < end, `not within ${ms} ms: ${what}`);
    await new Promise((go) => setTimeout(go, 20));
  }
}

async function api(method, where, body) {
  const token = readFileSync(path.join(data, "demo", "token"), "utf8").trim();
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  return fetch(origin + where, { method, headers, body: body && JSON.stringify(body) });
}

const held = [];
function check(text) {
  held.push(text);
  console.log(`ok ${text}`);
}

/** An example of deploy/ as a program: reports, and is answered at the seat. */
async function example(seat, command, args) {
  const examples = path.resolve("deploy/examples");
  const child = spawn(command, [path.join(examples, args[0]), origin, args[1]], {
    cwd: path.resolve(option("tools")),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (text) => (said += text));
  try {
    await until(`${args[0]} is kept`, async () => /^number \d{30}$/m.test(said) && /^receipt /m.test(said));
    await seat.locator("#list li button").filter({ hasText: args[1] }).click();
    await seat.keyboard.type(`答 ${args[0]}`);
    await seat.keyboard.press("Enter");
    await until(`${args[0]} is answered`, async () => said.includes(`message 答 ${args[0]}\n`));
    await seat.keyboard.press("F10");
  } finally {
    child.kill();
  }
}

/** Half a minute of a tone, as a phone has it to say. */
function tone(file, hertz) {
  const samples = 8000 * 30;
  const wav = Buffer.alloc(44 + samples * 2);
  wav.write("RIFF", 0);
  wav.writeUInt32LE(36 + samples * 2, 4);
  wav.write("WAVEfmt ", 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(8000, 24);
  wav.writeUInt32LE(16000, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write("data", 36);
  wav.writeUInt32LE(samples * 2, 40);
  for (let n = 0; n < samples; n += 1) wav.writeInt16LE(Math.round(6000 * Math.sin((2 * Math.PI * hertz * n) / 8000)), 44 + n * 2);
  writeFileSync(file, wav);
}

const phones = [];
/** A telephone that no one here wrote, registered and picking up by itself. */
function phone(user, n) {
  const home = path.join(data, `phone-${user}`);
  mkdirSync(home, { recursive: true });
  tone(path.join(home, "tone.wav"), 500 + 300 * n);
  const rtp = 42000 + 100 * n;
  writeFileSync(
    path.join(home, "config"),
    `sip_listen 127.0.0.1:${41000 + 10 * n}\nnet_interface 127.0.0.1\nrtp_ports ${rtp}-${rtp + 98}\nmodule_path /usr/lib/baresip/modules\n` +
      `module g711.so\nmodule aufile.so\nmodule_tmp account.so\naudio_source aufile,${home}/tone.wav\naudio_player nil\n`,
  );
  writeFileSync(path.join(home, "accounts"), `<sip:${user}@127.0.0.1:${15060 + OFFSET}>;auth_pass=demo;answermode=auto;regint=60\n`);
  const child = spawn("baresip", ["-s", "-f", home], { stdio: ["ignore", "pipe", "ignore"], cwd: home });
  phones.push(child);
  let said = "";
  child.stdout.on("data", (text) => (said += text));
  return until(`${user} is registered`, async () => /200 OK/.test(said));
}

/** The officer's page on a phone: what endangers them first, and each step is on record once, over a lost connection too. */
async function officer(browser, number) {
  const context = await browser.newContext({ locale: "zh-CN", viewport: { width: 390, height: 800 } });
  const page = await context.newPage();
  watch(page, "officer", named);
  const made = await (await api("POST", "/v1/links", { officer: "2291" })).json();
  await enter(page, named + made.url);
  await page.locator("#state.good").waitFor();
  assert.equal(page.url(), `${named}/officer`);
  const card = page.locator(`#alerts li[data-no="${number}"]`);
  await card.waitFor();
  const text = await card.textContent();
  assert.ok(text.indexOf("危险") >= 0 && text.indexOf("危险") < text.indexOf("有人持刀"), `danger comes first: ${text}`);
  assert.match(text, /持有凶器|凶器|武器/);
  await accessible(page, "officer");
  const steps = async () => (await (await api("GET", `/v1/alerts/${number}`)).json()).handling || [];
  await card.locator('[data-step="accepted"]').click();
  await until("accepted", async () => (await steps()).some((s) => s.step === "accepted" && s.by === "officer:2291"));
  await page.screenshot({ path: path.join(pictures, "officer.png") });
  // In a tunnel: what is pressed there is told when there is a connection again, once.
  await context.setOffline(true);
  await card.locator('[data-step="enroute"]').click();
  await card.locator('[data-step="enroute"]').filter({ hasText: "发送中" }).waitFor();
  await context.setOffline(false);
  await until("under way", async () => (await steps()).some((s) => s.step === "enroute"));
  await card.locator('[data-step="arrived"]').click();
  await until("arrived", async () => (await steps()).some((s) => s.step === "arrived"));
  await card.locator('[name="text"]').fill("已控制嫌疑人");
  await card.locator('[data-step="fed_back"]').click();
  const back = await until("fed back", async () => (await steps()).find((s) => s.step === "fed_back"));
  assert.equal(back.text, "已控制嫌疑人");
  assert.deepEqual((await steps()).map((s) => s.step), ["accepted", "enroute", "arrived", "fed_back"]);
  // Another's page is not theirs.
  const other = await page.evaluate(async () => (await fetch("/v1/officers/2292/events")).status);
  const record = await page.evaluate(async (no) => (await fetch(`/v1/alerts/${no}`)).status, number);
  assert.deepEqual([other, record], [403, 403]);
  await context.close();
  check("an officer sees what endangers them first, and their steps are on record once, over a lost connection too");
}

/** A telephone call, worked at the seat's page by keyboard. */
async function call(seat, browser) {
  await phone("1061", 1);
  await phone("2291", 2);
  const caller = spawn("sipp", ["-sn", "uac", `127.0.0.1:${15060 + OFFSET}`, "-i", "127.0.0.1", "-p", "41090", "-s", "110", "-m", "1", "-d", "60000", "-nostdin"], {
    stdio: "ignore",
    cwd: data,
  });
  phones.push(caller);
  const calls = seat.locator("#list li button").filter({ hasText: "通话" });
  await until("the call is at the seat", async () => (await calls.count()) === 1, 4000);
  await until("and is talked to", async () => /通话中/.test(await calls.textContent()));
  await until("and is chosen", async () => (await seat.locator('#list [aria-current="true"]').filter({ hasText: "通话" }).count()) === 1);
  const number = (await seat.locator("#facts strong").textContent()).trim();
  const begun = Date.now();
  await seat.keyboard.press("F4");
  const record = async () => (await api("GET", `/v1/alerts/${number}`)).json();
  await until("the officer is in it", async () => (await record()).call.officer_ms);
  check(`a telephone call is at the page, one key brings the officer into it after ${Date.now() - begun} ms`);
  // One key more, and three agencies ring at the same time.
  const rung = Date.now();
  await seat.keyboard.press("F6");
  await seat.keyboard.press("Enter");
  const agencies = async () => (await record()).dispatch.filter((d) => d.role === "agency" && d.bridged_at);
  await until("three agencies are in it", async () => (await agencies()).length === 3, 5000);
  const took = Date.now() - rung;
  await until("and the page says so", async () => (await seat.locator("#parties li.good").count()) === 4);
  await accessible(seat, "seat with agencies in the call");
  await seat.locator("#parties li").filter({ hasText: "122" }).locator("button").click();
  await until("one is let go", async () => (await seat.locator("#parties li.good").count()) === 3);
  check(`one key brings 119, 120 and 122 into the same call after ${took} ms`);
  await seat.keyboard.press("F8");
  await seat.keyboard.type("有人持刀，一人受伤");
  await seat.locator('[name="kind"]').selectOption("report");
  await seat.locator('[name="injured"]').fill("1");
  await seat.locator('[name="weapons"]').check();
  await seat.keyboard.press("F8");
  await seat.locator("#saved").filter({ hasText: "已保存" }).waitFor();
  await accessible(seat, "seat with a call");
  await seat.screenshot({ path: path.join(pictures, "seat-call.png"), fullPage: true });
  const during = await until("it is on record", async () => (await record()).incident.casualties && (await record()));
  assert.deepEqual([during.incident.casualties.injured, during.incident.hazards.weapons], [1, true]);
  assert.equal(during.incident.level, 2, "a word of danger raised it, and the triage did not lower it");
  assert.match(during.incident.triage[0].by, /^seat:1061$/);
  await officer(browser, number);
  // The page is loaded anew: the call goes on, and is there again.
  await seat.reload();
  await until("the call is there again", async () => (await calls.count()) === 1, 2000);
  assert.equal((await record()).call.t.end, undefined);
  await calls.click();
  await seat.keyboard.press("F10");
  await until("it is over", async () => /通话已结束/.test(await calls.textContent()));
  await seat.locator('[name="category"]').fill("100200");
  await seat.locator('[name="flag"][value="minor"]').check();
  await seat.keyboard.press("F8");
  const after = await until("triaged afterwards", async () => (await record()).reporter.flags && (await record()));
  assert.deepEqual([after.incident.category, after.reporter.flags, after.incident.level], ["100200", ["minor"], 2]);
  await seat.locator('[name="category"]').fill("12");
  await seat.keyboard.press("F8");
  assert.equal(await seat.locator('[name="category"]:invalid').count(), 1, "said before it is sent");
  await seat.locator('[name="category"]').fill("100200");
  await seat.keyboard.press("F10");
  await until("it is put away", async () => (await calls.count()) === 0);
  check("a call is triaged while it goes on and when it is over, and a page loaded anew has it back");
}

/** Nothing leaves the origin, no policy is broken, no script fails. */
function watch(page, name, origin) {
  page.on("request", (r) => assert.ok(r.url().startsWith(origin) || r.url().startsWith("data:"), `${name}: ${r.url()}`));
  page.on("pageerror", (error) => assert.fail(`${name}: ${error}`));
  page.on("console", (m) => assert.ok(!/Content.Security|Refused to/i.test(m.text()), `${name}: ${m.text()}`));
}

async function accessible(page, name) {
  // Not as the page's own script, which its policy would refuse.
  await page.evaluate(axe);
  const found = await page.evaluate(async () => (await globalThis.axe.run(document)).violations);
  const serious = found.filter((v) => ["serious", "critical"].includes(v.impact));
  assert.deepEqual(serious.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), [], name);
  // At twice the size nothing has to be scrolled sideways.
  const size = page.viewportSize();
  await page.setViewportSize({ width: Math.round(size.width / 2), height: Math.round(size.height / 2) });
  const [wide, there] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= there, `${name}: ${wide} of ${there} at 200 %`);
  await page.setViewportSize(size);
}

async function link(seat) {
  const answer = await (await api("POST", "/v1/links", { seat })).json();
  return named + answer.url;
}

/** Follows a link, as whoever was sent it: one key is enough. */
async function enter(page, key) {
  await page.goto(key);
  await page.locator("#enter:focus").waitFor();
  await page.keyboard.press("Enter");
}

/** Somebody else reports this; the alert's number, and what ends their connection. */
async function report(text) {
  const device = await (await fetch(`${origin}/v1/device`, { method: "POST" })).json();
  const socket = new WebSocket(origin.replace("http", "ws") + "/v1/app", ["gw1", `bearer.${device.token}`]);
  const heard = [];
  socket.on("message", (m) => heard.push(JSON.parse(m)));
  socket.on("open", () => {
    socket.send(JSON.stringify({ v: 1, t: "hello", d: {} }));
    socket.send(JSON.stringify({ v: 1, t: "report.create", id: "r1", seq: 1, d: { text } }));
  });
  const created = await until("a report is taken", async () => heard.find((f) => f.t === "report.created"));
  return { no: created.d.report_id, close: () => socket.close() };
}

/** A category that the words speak for is taken by a press; of two who tell of one event the later goes on as the first. */
async function alike(seat) {
  const before = await seat.locator("#list li").count();
  const first = await report("有个客服让我转账，还要我报验证码");
  await seat.locator(`#list button[data-no="${first.no}"]`).click();
  const offer = seat.locator("#suggested button").filter({ hasText: "100700" });
  await offer.filter({ hasText: "验证码" }).waitFor();
  assert.equal(await seat.locator('[name="category"]').inputValue(), "", "nothing is decided by it");
  await offer.click();
  assert.equal(await seat.locator('[name="category"]').inputValue(), "100700");
  await seat.keyboard.press("F8");
  await seat.locator("#saved").filter({ hasText: "已保存" }).waitFor();
  const second = await report("客服让我转账，还要我报验证码");
  await seat.locator(`#list button[data-no="${second.no}"]`).click();
  const like = seat.locator("#similar button").filter({ hasText: first.no.slice(-9) });
  await like.filter({ hasText: "文字相似" }).waitFor();
  await accessible(seat, "seat with suggestions");
  await like.click();
  await until("they are one", async () => (await seat.locator("#list li").count()) === before + 1);
  const joined = await (await api("GET", `/v1/alerts/${second.no}`)).json();
  assert.equal(joined.id.related.find((r) => r.kind === "duplicate")?.alert_no, first.no);
  await seat.locator(`#list button[data-no="${first.no}"]`).click();
  await seat.keyboard.press("F10");
  await until("put down", async () => (await seat.locator("#list li").count()) === before);
  first.close();
  second.close();
  check("a suggested category and a report of the same event are each taken by one press");
}

async function run(browser) {
  const taker = await browser.newContext({ locale: "zh-CN" });
  const seat = await taker.newPage();
  watch(seat, "seat", named);
  await seat.goto(`${named}/seat`);
  assert.equal(await seat.locator("#token").count(), 1, "whoever is nobody is asked who they are");
  await accessible(seat, "login");
  await seat.fill("#token", "wrong");
  await seat.keyboard.press("Enter");
  await seat.locator(".token_wrong").waitFor();
  const key = await link("1061");
  const looked = await fetch(key.replace(named, origin));
  assert.ok(looked.status === 200 && !looked.headers.has("set-cookie"), "whoever only looks, as the preview of a chat, uses nothing up");
  await seat.goto(key);
  await accessible(seat, "link");
  await enter(seat, key);
  await seat.locator("#state.good").waitFor();
  assert.equal(seat.url(), `${named}/seat`, "the link's key stays in no address");
  const again = await fetch(key.replace(named, origin));
  assert.equal(again.status, 403, "a link is good once");
  const [cookie] = await taker.cookies();
  assert.ok(cookie.httpOnly && cookie.sameSite === "Strict", JSON.stringify(cookie));
  check("a link logs one person in once, and its page is there");

  const citizen = await browser.newContext({ locale: "zh-CN", viewport: { width: 390, height: 800 } });
  const report = await citizen.newPage();
  const outside = `http://gw.example:${way.port}`;
  watch(report, "report", outside);
  let weight = 0;
  report.on("response", async (r) => (weight += (await r.body().catch(() => Buffer.alloc(0))).length));
  await report.goto(`${outside}/report`);
  await report.locator("#state.good").waitFor();
  assert.ok(weight > 0 && weight < 60 * 1024, `${weight} octets`);
  await accessible(report, "report");
  const begun = Date.now();
  await report.fill("#text", '有人落水，人民公园 <script>alert("x")</script>');
  await report.click("#send");
  await report.locator("#no").filter({ hasText: /\d{9}/ }).waitFor();
  // By keyboard alone: the new one is chosen by itself, the cursor is where the answer goes.
  await until("the report is at the seat", async () => (await seat.locator("#lines li.in").count()) === 1);
  assert.match(await seat.title(), /^\(1\)/);
  await seat.screenshot({ path: path.join(pictures, "seat-waiting.png") });
  await seat.keyboard.type("我是接警员，您现在安全吗？");
  await seat.keyboard.press("Enter");
  await report.locator("#lines li.in").filter({ hasText: "您现在安全吗" }).waitFor();
  const took = Date.now() - begun;
  assert.ok(took < 3000, `${took} ms`);
  await until("the taker sees that it got there", async () => /已送达/.test(await seat.locator("#lines").textContent()));
  check(`a report from the page is answered by keyboard, the human's first line after ${took} ms`);
  assert.match(await seat.locator("#lines li.in").first().textContent(), /<script>alert/);
  await accessible(seat, "seat");

  // An input method's keys are its own.
  await seat.fill("#body", "半句");
  await seat.evaluate(() => {
    const body = document.getElementById("body");
    body.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true }));
    body.dispatchEvent(new KeyboardEvent("keydown", { key: "F10", keyCode: 229, bubbles: true }));
  });
  assert.equal(await seat.inputValue("#body"), "半句");

  // Another one comes while something is being written: the words and the cursor stay where they are.
  const device = await (await fetch(`${origin}/v1/device`, { method: "POST" })).json();
  const socket = new WebSocket(origin.replace("http", "ws") + "/v1/app", ["gw1", `bearer.${device.token}`]);
  const told = [];
  socket.on("message", (m) => told.push(JSON.parse(m)));
  await until("welcome", async () => {
    if (socket.readyState === 1 && !told.length) socket.send(JSON.stringify({ v: 1, t: "hello", d: {} }));
    return told.some((f) => f.t === "welcome");
  });
  const say = (id, seq, t, d) => socket.send(JSON.stringify({ v: 1, t, id, seq, d }));
  say("n1", 1, "report.create", { text: "高速追尾，两车", silent: true });
  const created = await until("created", async () => told.find((f) => f.t === "report.created"));
  await until("the second is at the seat", async () => (await seat.locator("#list li").count()) === 2);
  assert.equal(await seat.inputValue("#body"), "半句");
  assert.equal(await seat.evaluate(() => document.activeElement.id), "body");
  await seat.keyboard.press("F2");
  assert.equal(await seat.inputValue("#body"), "");
  await seat.keyboard.press("Alt+1");
  assert.equal(await seat.inputValue("#body"), "半句", "what was begun is still there");
  await seat.keyboard.press("Alt+2");
  // Who must not be heard is written to only on purpose.
  let asked = "";
  seat.once("dialog", async (dialog) => {
    asked = dialog.message();
    await dialog.dismiss();
  });
  await seat.keyboard.type("请说");
  await seat.keyboard.press("Enter");
  await until("asked", async () => asked);
  await until("the words are back", async () => (await seat.inputValue("#body")) === "请说");
  assert.ok(!told.some((f) => f.t === "chat.msg" && f.d.kind === "message"), "silence is kept");
  seat.once("dialog", (dialog) => dialog.accept());
  await seat.keyboard.press("Enter");
  const line = await until("said on purpose", async () => told.find((f) => f.t === "chat.msg" && f.d.kind === "message"));
  assert.equal(line.d.report_id, created.d.report_id);
  socket.send(JSON.stringify({ v: 1, t: "ack", ack: line.seq }));
  check("a client from npm reports, and silence is kept until the taker says otherwise");

  // The seat's page is loaded anew: what it holds is there again.
  await seat.reload();
  await until("both again", async () => (await seat.locator("#list li").count()) === 2, 2000);
  await seat.keyboard.press("Alt+1");
  await seat.screenshot({ path: path.join(pictures, "seat.png") });
  check("a page that is loaded anew has everything again within 2 s");

  // Another witness's report goes on as the first: whom a line goes to is chosen, and stays so, whoever writes meanwhile.
  const third = await (await fetch(`${origin}/v1/device`, { method: "POST" })).json();
  const witness = new WebSocket(origin.replace("http", "ws") + "/v1/app", ["gw1", `bearer.${third.token}`]);
  const heard = [];
  const tell = (frame) => witness.send(JSON.stringify({ v: 1, ...frame }));
  witness.on("message", (m) => heard.push(JSON.parse(m)));
  witness.on("open", () => {
    tell({ t: "hello", d: {} });
    tell({ t: "report.create", id: "w1", seq: 1, d: { text: "我也看见了" } });
  });
  const seen = await until("the witness is heard", async () => heard.find((f) => f.t === "report.created"));
  const first = await seat.locator("#list li button").first().getAttribute("data-no");
  assert.equal(await seat.locator("#towards").isVisible(), false, "one reporter needs no choice");
  const joined = await api("POST", `/v1/alerts/${first}/join`, { other: seen.d.report_id });
  assert.equal(joined.status, 200, await joined.text());
  await seat.locator(`#list button[data-no="${first}"]`).click();
  await seat.locator("#towards").waitFor();
  const whom = await seat.locator("#whom option").allTextContents();
  assert.equal(whom.length, 2, whom.join());
  await seat.locator("#whom").selectOption(whom.at(-1));
  await seat.fill("#body", "只对目击者说");
  tell({ t: "ack", ack: heard.at(-1).seq || 0 });
  await report.fill("#text", "报警人又说");
  await report.click("#send");
  await until("they wrote meanwhile", async () => /报警人又说/.test(await seat.locator("#lines").textContent()));
  assert.equal(await seat.locator("#whom").inputValue(), whom.at(-1));
  await accessible(seat, "seat with two reporters");
  await seat.locator("#body").press("Enter");
  await until("the witness has it", async () => heard.some((f) => f.d?.text === "只对目击者说"));
  await new Promise((go) => setTimeout(go, 300));
  assert.ok(!/只对目击者说/.test(await report.locator("#lines").textContent()), "and nobody else");
  // Taken apart again, the witness has a conversation of their own, which is put down.
  const [channel, user] = whom.at(-1).split(" ");
  assert.equal((await api("POST", `/v1/alerts/${first}/split`, { channel, user })).status, 200);
  await seat.locator(`#list button[data-no="${seen.d.report_id}"]`).click();
  await seat.locator("#lines li").filter({ hasText: "只对目击者说" }).waitFor();
  await seat.keyboard.press("F10");
  await until("put down", async () => (await seat.locator("#list li").count()) === 2);
  witness.close();
  await seat.keyboard.press("Alt+1");
  check("of several reporters the one is answered who was chosen, whoever writes meanwhile");

  // The citizen's connection is lost, they write on, and both sides' words come when it is back.
  cut();
  await report.locator("#state.warn").waitFor();
  await report.fill("#text", "水很深");
  await report.click("#send");
  await seat.keyboard.type("民警已出发");
  await seat.keyboard.press("Enter");
  await until("the taker's line is on its way", async () => /发送中/.test(await seat.locator("#lines").textContent()));
  way.open = true;
  await report.locator("#lines li.in").filter({ hasText: "民警已出发" }).waitFor();
  await until("both words once", async () => {
    const text = await seat.locator("#lines").textContent();
    return text.split("水很深").length === 2 && text.split("民警已出发").length === 2;
  });
  await report.screenshot({ path: path.join(pictures, "report.png") });
  await report.locator("#state.good").waitFor();
  await new Promise((go) => setTimeout(go, 3000));
  assert.equal(await report.locator("#state.good").count(), 1, "one connection, and it stays");
  // The same page in another window: the first gives way, and has it again when somebody writes there.
  const twin = await citizen.newPage();
  await twin.goto(`${outside}/report`);
  const stored = await report.evaluate(() => JSON.stringify({ ...sessionStorage }));
  await twin.evaluate((all) => Object.entries(JSON.parse(all)).forEach(([k, v]) => sessionStorage.setItem(k, v)), stored);
  await twin.reload();
  await twin.locator("#state.good").waitFor();
  await report.locator("#state.warn").filter({ hasText: "另一窗口" }).waitFor();
  await report.fill("#text", "还在这里");
  await report.click("#send");
  await until("said once", async () => (await seat.locator("#lines").textContent()).split("还在这里").length === 2);
  await report.locator("#state.good").waitFor();
  await twin.close();
  check("what both say over a lost connection, and in two windows, comes once");

  await example(seat, process.execPath, ["app.mjs", "npm 报警"]);
  if (option("python")) await example(seat, option("python"), ["app.py", "PyPI 报警"]);
  check("the examples of deploy/ report and are answered");

  await call(seat, browser);

  await seat.locator("#list li button").first().click();
  await seat.keyboard.press("F8");
  await seat.keyboard.type("落水一人");
  await seat.locator('[name="level"]').selectOption("2");
  await seat.keyboard.press("F8");
  await seat.locator("#saved").filter({ hasText: "已保存" }).waitFor();
  check("a written report is triaged from the page");
  await alike(seat);
  await seat.locator("#list li button").first().click();
  await seat.locator("#body").focus();
  await seat.keyboard.press("F10");
  await until("put down", async () => (await seat.locator("#list li").count()) === 1);
  await seat.goto(`${named}/seat?lang=en`);
  await seat.getByText("Conversations").first().waitFor();
  await report.goto(`${outside}/report?lang=en`);
  await report.getByText("If you can speak, call 110").waitFor();
  check("both pages in English");

  await seat.getByRole("button", { name: "Log out" }).click();
  await seat.locator("#token").waitFor();
  assert.equal((await taker.cookies()).length, 0);
  const framed = await browser.newPage();
  await framed.setContent(`<iframe src="${named}/report"></iframe>`);
  await framed.waitForTimeout(300);
  const inside = framed.frames().find((f) => f.url().startsWith(named));
  assert.ok(!inside || (await inside.locator("#report").count()) === 0, "in nobody's frame");
  check("who logs out is out, and no page is in anybody's frame");

  // Whoever closes their page is gone within seconds: nothing waits for them there.
  const other = await browser.newContext();
  const closed = await other.newPage();
  await enter(closed, await link("1062"));
  await closed.locator("#state.good").waitFor();
  say("n2", 2, "chat.msg", { text: "还在吗" });
  await other.close();
  await new Promise((go) => setTimeout(go, 6000));
  const second = await (await fetch(`${origin}/v1/device`, { method: "POST" })).json();
  const late = new WebSocket(origin.replace("http", "ws") + "/v1/app", ["gw1", `bearer.${second.token}`]);
  let number = "";
  late.on("open", () => {
    late.send(JSON.stringify({ v: 1, t: "hello", d: {} }));
    late.send(JSON.stringify({ v: 1, t: "report.create", id: "l1", seq: 1, d: { text: "有人吗" } }));
  });
  late.on("message", (m) => (number ||= JSON.parse(m).d.report_id));
  const holder = await until("a seat", async () => {
    const record = number && (await (await api("GET", `/v1/alerts/${number}`)).json());
    return record && record.call?.seat?.no;
  });
  assert.notEqual(holder, "1062");
  late.close();
  check("a page that was closed is given nothing");
  socket.close();

  const no = created.d.report_id;
  const record = await (await api("GET", `/v1/alerts/${no}`)).json();
  assert.equal(record.source.channel, "app");
  assert.equal(record.call.seat.no, "1061");
  assert.ok(record.reporter.safety.silent);
  check("the record says who reported by what and who answered");
}

let browser;
let failed = false;
try {
  await until("ready", async () => (await fetch(`http://127.0.0.1:${9110 + OFFSET}/readyz`).catch(() => null))?.ok);
  way.port = await new Promise((go) => proxy.listen(0, "127.0.0.1", () => go(proxy.address().port)));
  browser = await chromium.launch({ executablePath: option("chromium", "/usr/bin/chromium"), args: [...flags.split(" "), "--host-resolver-rules=MAP gw.example 127.0.0.1"] });
  await run(browser);
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  await browser?.close();
  phones.forEach((child) => child.kill("SIGKILL"));
  cut();
  proxy.close();
  gateway.kill("SIGTERM");
  await new Promise((go) => gateway.once("exit", go));
  rmSync(data, { recursive: true, force: true });
}
console.log(failed ? "FAILED" : `${held.length} held`);
process.exit(failed ? 1 : 0);

// What a taker establishes about an alert: the form, and what of it has been changed.
const form = document.getElementById("triage");
const words = JSON.parse(document.getElementById("words").textContent);
const field = (name) => form.elements[name];
const flags = () => [...form.querySelectorAll('input[name="flag"]')];
const counts = ["trapped", "injured", "dead"];
const dangers = ["weapons", "explosives", "suspect_present"];
/** What the form was filled with: only what differs from it is said. */
let known = {};
let shown = "";

for (const category of words.categories.split("|")) {
  const option = document.createElement("option");
  option.value = category.slice(0, 6);
  option.label = category;
  document.getElementById("categories").append(option);
}
form.addEventListener("input", () => (document.getElementById("saved").textContent = ""));

/** An alert as the form has it. */
function read(alert) {
  const said = {
    grid: alert.location?.grid_code || "",
    text: alert.description || "",
    kind: alert.kind || "",
    category: alert.category || "",
    level: alert.level ? String(alert.level) : "",
    validity: alert.validity || "valid",
    complaint_of: alert.complaint_of || "",
    flags: [...(alert.flags || [])].sort().join(),
  };
  for (const name of counts) said[name] = alert.casualties?.[name]?.toString() ?? "";
  for (const name of dangers) said[name] = alert.hazards?.[name] === true;
  return said;
}

function now() {
  const said = { flags: flags().filter((f) => f.checked).map((f) => f.value).sort().join() };
  for (const name of ["grid", "text", "kind", "category", "level", "validity", "complaint_of", ...counts]) said[name] = field(name).value.trim();
  for (const name of dangers) said[name] = field(name).checked;
  return said;
}

/** Categories that the words speak for: one is taken by a press, and nothing is said before the form is sent. */
function offer(suggested) {
  const place = document.getElementById("suggested");
  const told = JSON.stringify(suggested || []);
  if (place.dataset.told === told) return;
  place.dataset.told = told;
  place.hidden = !suggested?.length;
  const buttons = (suggested || []).map(({ category, name, percent, words: said }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${category} ${name || ""} ${percent} % (${said.join(", ")})`;
    button.addEventListener("click", () => {
      field("category").value = category;
      document.getElementById("saved").textContent = "";
      field("category").focus();
    });
    return button;
  });
  place.replaceChildren(...buttons);
}

/** Shows an alert: what somebody is filling in stays, the rest follows. */
export function fill(no, alert) {
  form.hidden = !alert;
  if (!alert) return;
  offer(alert.suggested);
  const fresh = read(alert);
  const mine = shown === no ? now() : fresh;
  const kept = (name) => shown === no && mine[name] !== known[name];
  if (shown !== no) document.getElementById("saved").textContent = "";
  for (const name of ["grid", "text", "kind", "category", "level", "validity", "complaint_of", ...counts]) {
    if (!kept(name)) field(name).value = fresh[name];
  }
  for (const name of dangers) if (!kept(name)) field(name).checked = fresh[name];
  // Flags one by one: another's stay as they are.
  const [was, is] = [known.flags?.split(",") || [], fresh.flags.split(",")];
  for (const flag of flags()) {
    const touched = shown === no && flag.checked !== was.includes(flag.value);
    if (!touched) flag.checked = is.includes(flag.value);
  }
  shown = no;
  known = fresh;
}

/** What was changed, as it is sent; nothing: undefined. What cannot be unsaid stands as it was. */
export function changed() {
  const said = now();
  const body = {};
  for (const name of ["kind", "category", "validity", "grid"]) {
    if (said[name] !== known[name] && said[name]) body[name] = said[name];
  }
  if (said.text !== known.text) body.text = said.text;
  if (said.complaint_of !== known.complaint_of) body.complaint_of = said.complaint_of;
  if (said.level !== known.level && said.level) body.level = Number(said.level);
  if (said.flags !== known.flags) body.flags = said.flags ? said.flags.split(",") : [];
  const casualties = {};
  for (const name of counts) if (said[name] !== known[name] && said[name]) casualties[name] = Number(said[name]);
  if (Object.keys(casualties).length) body.casualties = casualties;
  const hazards = {};
  for (const name of dangers) if (said[name] !== known[name]) hazards[name] = said[name];
  if (Object.keys(hazards).length) body.hazards = hazards;
  for (const name of ["kind", "category", "level", "grid", ...counts]) if (!said[name]) field(name).value = known[name];
  return Object.keys(body).length ? body : undefined;
}

/** What was sent is on record: what is typed since is not. */
export function taken(no, body) {
  if (shown !== no) return;
  for (const name of ["grid", "text", "kind", "category", "validity"]) if (body?.[name] !== undefined) known[name] = body[name];
  if (body?.level) known.level = String(body.level);
  if (body?.flags) known.flags = [...body.flags].sort().join();
  for (const [name, n] of Object.entries(body?.casualties || {})) known[name] = String(n);
  Object.assign(known, body?.hazards);
  document.getElementById("saved").textContent = words.saved;
}

export const isValid = () => form.reportValidity();
export const focus = () => field("text").focus();

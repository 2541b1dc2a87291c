// Alerts that may be about the same event as the one that is open: shown with the reasons, joined by a press and never
// by themselves.
const words = JSON.parse(document.getElementById("words").textContent);
const place = document.getElementById("similar");
/** What is shown, and what is being asked. */
let shown = "";
let asking = "";

const reason = ({ of, metres, percent }) =>
  of === "place" ? `${metres} m` : of === "words" ? `${words.same_words} ${percent} %` : words[`same_${of}`] || of;

/** Asks for the like of an alert, once a revision; `join` is told which goes on as which. */
export async function like(no, rev, join) {
  const wanted = no && rev ? `${no}:${rev}` : "";
  if (wanted === shown || wanted === asking) return;
  if (!shown.startsWith(`${no}:`)) place.hidden = true;
  if (!wanted) return (shown = "");
  asking = wanted;
  const answer = await fetch(`/v1/alerts/${no}/similar`).catch(() => undefined);
  const found = answer?.ok ? (await answer.json().catch(() => ({}))).similar || [] : [];
  if (asking !== wanted) return;
  [shown, asking] = [wanted, ""];
  const offers = found.slice(0, 3).map((one) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${words.join} ${one.alert_no.slice(-9)} ${one.percent} % (${one.reasons.map(reason).join(", ")})`;
    // Whoever reported first is gone on with.
    const [first, later] = [no, one.alert_no].sort();
    button.addEventListener("click", () => join(first, later));
    return button;
  });
  place.replaceChildren(...offers);
  place.hidden = !offers.length;
}

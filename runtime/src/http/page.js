"use strict";
// Everything from outside goes in as text, never as markup.
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const byId = (id) => document.getElementById(id);
const percent = (x) => (100 * x).toFixed(1) + " %";
const gigabytes = (bytes) => (bytes / 2 ** 30).toFixed(1) + " GiB";

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// What has not changed stays the same node: whoever reads or operates it is not disturbed.
function keep(known, list, draw) {
  const kept = new Map();
  list.forEach((item) => {
    let key = JSON.stringify(item);
    while (kept.has(key)) key += "+";
    kept.set(key, known.get(key) ?? draw(item));
  });
  known.clear();
  kept.forEach((node, key) => known.set(key, node));
  return [...kept.values()];
}

function arrange(place, nodes) {
  const wanted = new Set(nodes);
  [...place.children].forEach((node) => wanted.has(node) || node.remove());
  nodes.forEach((node, at) => place.children[at] === node || place.insertBefore(node, place.children[at] ?? null));
}

// ---- who we are ----

let me = { name: null, role: null, csrf: "", log_in: false };
const mayOperate = () => me.role === "operate" || me.role === "administer";

async function post(path, body) {
  return fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": me.csrf },
    body: JSON.stringify(body ?? {}),
  });
}

async function arrive() {
  try {
    me = await (await fetch("session")).json();
  } catch {
    say("the box does not answer", "bad");
    setTimeout(arrive, 5000);
    return;
  }
  byId("who").textContent = me.name ? `${me.name} (may ${me.role})` : me.role ? "on this machine" : "";
  byId("enter").hidden = Boolean(me.name) || !me.log_in;
  byId("leave").hidden = !me.name;
  if (me.role) {
    listen();
  } else {
    say(me.log_in ? "log in to see findings" : "nobody can log in: no users are configured", "bad");
    if (me.log_in) openLogin();
  }
}

function openLogin() {
  if (!byId("login").open) byId("login").showModal();
  byId("name").focus();
}
byId("enter").onclick = openLogin;

byId("credentials").onsubmit = async (event) => {
  event.preventDefault();
  const said = byId("login-said");
  said.textContent = "";
  const response = await post("login", { name: byId("name").value, password: byId("password").value });
  byId("password").value = "";
  if (response.ok) {
    byId("login").close();
    await arrive();
    byId("images").focus();
  } else {
    said.textContent = (await response.json().catch(() => ({}))).error ?? "that did not work";
    byId("password").focus();
  }
};

byId("leave").onclick = async () => {
  await post("logout");
  location.reload();
};

// ---- what is new, as it comes ----

let source = null;
function listen() {
  source?.close();
  source = new EventSource("events");
  source.addEventListener("health", (event) => health(JSON.parse(event.data)));
  source.addEventListener("images", (event) => images(JSON.parse(event.data).images));
  source.addEventListener("queue", (event) => queue(JSON.parse(event.data)));
  source.onerror = () => {
    say("the box does not answer", "bad");
    // A browser tries again by itself unless it was refused: then somebody must log in.
    if (source.readyState === EventSource.CLOSED) setTimeout(arrive, 2000);
  };
}

function say(text, kind) {
  const status = byId("status");
  if (status.textContent !== text) status.textContent = text;
  status.className = "pill " + kind;
}

// ---- the box ----

function health(now) {
  const ready = now.status === "ok";
  say(ready ? "ready" : `${now.status}: ${now.reason ?? "unknown"}`, ready ? "good" : "bad");
  const pairs = [];
  const { bundle, queue, disk, configuration } = now;
  if (bundle) {
    pairs.push(["bundle", `${bundle.id} ${bundle.version}`], ["digest", bundle.digest.slice(0, 12)]);
    if (bundle.slot) pairs.push(["slot", bundle.slot]);
    pairs.push(["signed by", bundle.signed_by ? bundle.signed_by.slice(0, 12) : "nobody we trust"]);
  }
  pairs.push(["waiting", queue.waiting + queue.running], ["answered", queue.answered], ["spool", gigabytes(queue.bytes)]);
  if (disk) pairs.push(["disk free", gigabytes(disk.free)]);
  if (now.oldest_waiting_seconds) pairs.push(["oldest waits", duration(now.oldest_waiting_seconds)]);
  if (now.temperature_celsius !== undefined) pairs.push(["temperature", `${now.temperature_celsius.toFixed(0)} °C`]);
  pairs.push(["AE title", now.ae_title], ["version", now.version]);
  (now.warnings ?? []).forEach((warning) => pairs.push(["warning", warning]));
  if (configuration?.refused) pairs.push(["new configuration refused", configuration.refused]);
  byId("facts").replaceChildren(...pairs.map(([name, value]) =>
    make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
}

// ---- images ----

function finding(f) {
  const bar = make("i"), tick = make("b"), track = make("div", { className: "track" }, bar, tick);
  bar.style.width = 100 * f.probability + "%";
  tick.style.left = `calc(${100 * f.threshold}% - 1px)`;
  track.setAttribute("aria-hidden", "true");
  return make("li", { className: "finding" + (f.positive ? " positive" : "") },
    make("span", { textContent: f.name + (f.positive ? ", positive" : "") }),
    make("span", { textContent: percent(f.probability), title: "threshold " + percent(f.threshold) }), track);
}

function enlarge(src, alt) {
  const zoom = byId("zoom");
  Object.assign(zoom.querySelector("img"), { src, alt });
  zoom.showModal();
}

function picture(image) {
  const result = image.result;
  if (result?.status !== "analysed") return make("div", { className: "picture", textContent: result ? "not analysed" : image.state });
  const positive = (result.findings ?? []).filter((f) => f.positive).map((f) => f.name);
  const alt = `Radiograph of ${image.received}, ${positive.length ? "positive: " + positive.join(", ") : "no positive finding"}`;
  const src = `images/${image.sop_instance_uid}/overlay.png`;
  const button = make("button", { type: "button", onclick: () => enlarge(src, alt) }, make("img", { src, loading: "lazy", alt }));
  button.setAttribute("aria-label", "Enlarge: " + alt);
  return make("div", { className: "picture" }, button);
}

function about(image) {
  const result = image.result;
  const body = make("div", { className: "about" },
    make("h3", { className: "uid", textContent: image.sop_instance_uid, title: image.sop_instance_uid }),
    make("div", { className: "row" }, make("time", { dateTime: image.received, textContent: image.received.replace("T", " ").replace("Z", " UTC") }),
      make("span", { textContent: image.state })));
  if (!result) return body;
  if (result.status !== "analysed") {
    body.append(make("p", { className: "bad", textContent: result.reason }));
    return body;
  }
  const sorted = [...(result.findings ?? [])].sort((a, b) => b.positive - a.positive || b.probability - a.probability);
  const shown = Math.max(3, sorted.filter((f) => f.positive).length);
  if (sorted.length) body.append(make("ul", { className: "findings" }, ...sorted.slice(0, shown).map(finding)));
  if (sorted.length > shown) {
    body.append(make("details", {}, make("summary", { textContent: `${sorted.length - shown} more` }),
      make("ul", { className: "findings" }, ...sorted.slice(shown).map(finding))));
  }
  const rest = (result.masks?.length ? result.masks : result.mask ? [result.mask] : [])
    .map((mask) => `${mask.name}: ${percent(mask.area_fraction)} of the picture`);
  if (result.boxes?.length) rest.push(`${result.boxes.length} boxes`);
  rest.push(`${result.milliseconds.total.toFixed(1)} ms`, `${result.bundle.id} · ${result.bundle.digest.slice(0, 8)}`);
  body.append(make("div", { className: "row" }, ...rest.map((textContent) => make("span", { textContent }))));
  return body;
}

const cards = new Map();
function images(list) {
  const nodes = keep(cards, list, (image) => {
    const hit = image.result?.findings?.some((f) => f.positive);
    return make("li", {}, make("article", { className: "card" + (hit ? " hit" : "") }, picture(image), about(image)));
  });
  arrange(byId("cards"), nodes);
  byId("none").hidden = nodes.length > 0;
  trends(list.map((image) => image.result).filter((result) => result?.status === "analysed"));
}

// Of the images on the page: how many were positive for what, and how long each took.
function trends(results) {
  byId("trends").hidden = results.length < 2;
  if (results.length < 2) return;
  const counts = new Map();
  results.flatMap((r) => r.findings ?? []).forEach((f) => counts.set(f.name, (counts.get(f.name) ?? 0) + (f.positive ? 1 : 0)));
  const most = [...counts].filter(([, n]) => n).sort((a, b) => b[1] - a[1]).slice(0, 6);
  const facts = [["analysed", results.length], ...most.map(([name, n]) => [name, `${n} (${percent(n / results.length)})`])];
  const times = results.map((r) => r.milliseconds.total).reverse();
  const top = Math.max(...times, 0.1);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Milliseconds an image, oldest first: at most ${top.toFixed(1)}, last ${times.at(-1).toFixed(1)}`);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", times.map((t, i) => `${(100 * i) / (times.length - 1)},${38 - (36 * t) / top}`).join(" "));
  svg.append(line);
  byId("trend-body").replaceChildren(
    make("dl", { className: "facts" }, ...facts.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })))),
    make("figure", {}, svg, make("figcaption", { className: "dim", textContent: `ms an image, at most ${top.toFixed(1)}` })));
}

// ---- deliveries ----

async function decide(id, decision) {
  const said = byId("queue-said");
  const response = await post(`queue/${id}/${decision}`);
  const body = await response.json().catch(() => ({}));
  said.textContent = response.ok ? `Delivery ${id}: ${decision}, now ${body.held ? "held" : body.state}` : `Delivery ${id}: ${body.error ?? "that did not work"}`;
}

function action(row, decision, text) {
  const button = make("button", { type: "button", textContent: text, onclick: () => decide(row.id, decision) });
  button.dataset.action = `${row.id} ${decision}`;
  button.setAttribute("aria-label", `${text}: ${row.kind.toUpperCase()} to ${row.via}, delivery ${row.id}`);
  return button;
}

function delivery(row) {
  const age = make("td");
  age.dataset.created = row.created;
  const actions = make("div", { className: "actions" });
  if (mayOperate()) {
    if (row.state === "dead" || row.state === "waiting") actions.append(action(row, "retry", "Send again"));
    actions.append(row.held ? action(row, "release", "Release") : action(row, "hold", "Hold"));
  }
  const state = (row.urgent ? "urgent, " : "") + (row.held ? "held" : row.state);
  return make("tr", {},
    make("th", { scope: "row", textContent: `${row.kind.toUpperCase()} ${row.id}`, title: row.object }),
    make("td", { textContent: row.via === row.destination ? row.via : `${row.via} for ${row.destination}` }),
    make("td", { textContent: state, className: row.state === "dead" ? "bad" : row.urgent ? "positive" : "" }),
    age, make("td", { textContent: row.tries }), make("td", { textContent: row.reason ?? "" }), make("td", {}, actions));
}

function ages() {
  document.querySelectorAll("[data-created]").forEach((cell) => {
    cell.textContent = duration(Math.max(0, (Date.now() - Number(cell.dataset.created)) / 1000));
  });
}
setInterval(ages, 5000);

const rows = new Map();
function queue({ summary, destinations, deliveries }) {
  byId("queue").hidden = destinations.length === 0 && deliveries.length === 0;
  const down = destinations.filter((d) => d.link.failures > 0).map((d) => `${d.destination} does not answer: ${d.link.reason ?? "unknown"}`);
  byId("queue-summary").textContent = [
    `${summary.waiting} waiting, ${summary.sent} sent, ${summary.committed} committed, ${summary.dead} dead, ${summary.held} held`, ...down,
  ].join(". ");
  const focused = document.activeElement?.dataset?.action;
  const nodes = keep(rows, deliveries, delivery);
  arrange(byId("rows"), nodes);
  ages();
  // Whoever pressed a button finds the focus where it was, in the row as it is now.
  if (focused && !document.activeElement?.dataset?.action) {
    const number = focused.split(" ")[0];
    const next = document.querySelector(`[data-action^="${number} "]`) ?? document.querySelector("#queue .scroll");
    next.focus();
  }
}

arrive();

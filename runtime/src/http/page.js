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
    lookBack();
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
  source.addEventListener("shadow", (event) => shadow(JSON.parse(event.data)));
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
  computes(now.compute, pairs);
  pairs.push(["AE title", now.ae_title], ["version", now.version]);
  (now.warnings ?? []).forEach((warning) => pairs.push(["warning", warning]));
  if (configuration?.refused) pairs.push(["new configuration refused", configuration.refused]);
  exposures(now.exposures);
  byId("facts").replaceChildren(...pairs.map(([name, value]) =>
    make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
}

// Threads, power and heat; a box of before says nothing of them.
function computes(now, pairs) {
  if (!now) return;
  const threads = now.working < now.threads ? `${now.working} of ${now.threads}` : now.threads;
  pairs.push(["machine", now.profile], ["threads", threads]);
  if (now.cores.length) pairs.push(["on cores", now.cores.join(", ")]);
  now.power.forEach((power) => pairs.push([power.by, power.mode]));
}

// ---- exposures whose image never arrived ----

function exposures(now) {
  const missing = now?.missing_exposures ?? [];
  byId("exposures").hidden = missing.length === 0;
  const more = (now?.missing ?? 0) - missing.length;
  byId("exposures-said").textContent = more > 0 ? `${more} earlier ones are not listed.` : "";
  const row = (one) => [one.sequence, one.controller, `${duration(one.seconds)} ago`, one.kilovolts ?? "", one.milliampere_seconds ?? ""];
  byId("missing").replaceChildren(...missing.map((one) =>
    make("tr", {}, ...row(one).map((textContent) => make("td", { textContent })))));
}

// ---- images ----

// `phrases`: it was found by phrases, never trained.
function finding(f, phrases) {
  const bar = make("i"), tick = make("b"), track = make("div", { className: "track" }, bar, tick);
  bar.style.width = 100 * f.probability + "%";
  tick.style.left = `calc(${100 * f.threshold}% - 1px)`;
  track.setAttribute("aria-hidden", "true");
  return make("li", { className: "finding" + (f.positive ? " positive" : "") },
    make("span", { textContent: f.name + (phrases ? ", zero-shot" : "") + (f.positive ? ", positive" : "") }),
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
  const shown = make("img", { src: `images/${image.sop_instance_uid}/overlay.png`, loading: "lazy", alt });
  const button = make("button", { type: "button", onclick: () => enlarge(shown.src, shown.alt) }, shown);
  button.setAttribute("aria-label", "Enlarge: " + alt);
  return make("div", { className: "picture" }, button);
}

// Whose phrases the picture shows: those of positive findings, or of one.
function attention(image, shown) {
  const maps = image.result?.heat_maps ?? [];
  if (!maps.length || !shown) return [];
  const plain = shown.src, alt = shown.alt;
  const select = make("select", {}, make("option", { value: "", textContent: "positive findings" }),
    ...maps.map(({ name }) => make("option", { value: name, textContent: name })));
  select.onchange = () => {
    const name = select.value;
    shown.src = name ? `images/${image.sop_instance_uid}/overlay.png?finding=${encodeURIComponent(name)}` : plain;
    shown.alt = name ? `${alt}. Where the phrases of ${name} look` : alt;
    shown.closest("button").setAttribute("aria-label", "Enlarge: " + shown.alt);
  };
  return [make("p", { className: "choice" }, make("label", {}, "Phrases look at: ", select))];
}

function sentences(result) {
  const near = result.nearest ?? [];
  if (!near.length) return [];
  return [make("div", { className: "sentences" },
    make("h4", { textContent: "Nearest training sentences, not a report" }),
    make("ul", {}, ...near.map((one) => make("li", {}, make("span", { textContent: one.similarity.toFixed(2) }),
      make("q", { textContent: one.sentence })))))];
}

function about(image, shown) {
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
  const first = Math.max(3, sorted.filter((f) => f.positive).length);
  const phrases = new Set((result.heat_maps ?? []).map((heat) => heat.name));
  const rows = sorted.map((f) => finding(f, phrases.has(f.name)));
  if (rows.length) body.append(make("ul", { className: "findings" }, ...rows.slice(0, first)));
  if (rows.length > first) {
    body.append(make("details", {}, make("summary", { textContent: `${rows.length - first} more` }),
      make("ul", { className: "findings" }, ...rows.slice(first))));
  }
  body.append(...attention(image, shown), ...sentences(result));
  const rest = (result.masks?.length ? result.masks : result.mask ? [result.mask] : [])
    .map((mask) => `${mask.name}: ${percent(mask.area_fraction)} of the picture`);
  if (result.boxes?.length) rest.push(`${result.boxes.length} boxes`);
  rest.push(`${result.milliseconds.total.toFixed(1)} ms`, `${result.bundle.id} · ${result.bundle.digest.slice(0, 8)}`);
  body.append(make("div", { className: "row" }, ...rest.map((textContent) => make("span", { textContent }))));
  return body;
}

const cards = new Map();
let soon = null;
function images(list) {
  const nodes = keep(cards, list, (image) => {
    const hit = image.result?.findings?.some((f) => f.positive);
    const shown = picture(image);
    return make("li", {}, make("article", { className: "card" + (hit ? " hit" : "") }, shown, about(image, shown.querySelector("img"))));
  });
  arrange(byId("cards"), nodes);
  byId("none").hidden = nodes.length > 0;
  // Some more may come soon.
  clearTimeout(soon);
  soon = setTimeout(lookBack, 2000);
}

// ---- day by day ----

function drawn(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  node.append(...children);
  return node;
}

// One bar a day, lowest part first; `values` are numbers or null, one list for each part.
function chart(title, unit, days, parts) {
  const sums = days.map((_, day) => parts.reduce((sum, part) => sum + (part.values[day] ?? 0), 0));
  const top = Math.max(...sums), last = sums.at(-1), show = (x) => (Number.isInteger(x) ? x : x.toFixed(2)) + unit;
  const label = `${title}: at most ${show(top)} on ${days[sums.indexOf(top)].day}, ${show(last)} today`;
  const svg = drawn("svg", { viewBox: `0 0 ${4 * days.length} 40`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  days.forEach((day, at) => {
    let height = 0;
    for (const part of parts) {
      const more = top ? (38 * (part.values[at] ?? 0)) / top : 0;
      if (more) svg.append(drawn("rect", { x: 4 * at + 0.5, y: 40 - height - more, width: 3, height: more, class: part.kind }));
      height += more;
    }
  });
  return make("figure", {}, make("figcaption", { textContent: label }), svg);
}

const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);
const counted = (counts) => Object.entries(counts).map(([name, n]) => `${name} ${n}`).join(", ");

function trends(days) {
  byId("trends").hidden = !days.some((day) => day.images || day.delivery.objects);
  const of = (value) => days.map(value);
  const all = [
    chart("Images a day, those not analysed on top", "", days, [
      { kind: "plain", values: of((day) => day.analysed) }, { kind: "warn", values: of((day) => total(day.not_analysed)) }]),
    chart("95 % waited no longer than", " s", days, [{ kind: "plain", values: of((day) => day.waited_p95_seconds) }]),
    chart("Objects delivered, dead letters on top", "", days, [
      { kind: "plain", values: of((day) => day.delivery.delivered) }, { kind: "warn", values: of((day) => day.delivery.dead) }]),
  ];
  const positives = new Map();
  days.flatMap((day) => day.findings).forEach((f) => positives.set(f.name, (positives.get(f.name) ?? 0) + f.positive));
  const most = [...positives].filter(([, n]) => n).sort((a, b) => b[1] - a[1]).slice(0, 6);
  for (const [name] of most) {
    const share = of((day) => day.findings.find((f) => f.name === name)).map((f) => f && f.images ? (100 * f.positive) / f.images : null);
    all.push(chart(`${name}, positive of the analysed`, " %", days, [{ kind: "hit", values: share }]));
  }
  byId("charts").replaceChildren(...all);
  byId("days").replaceChildren(...[...days].reverse().map((day) => {
    const { objects, delivered, dead, p95_seconds } = day.delivery;
    const late = p95_seconds === null ? "" : `, 95 % within ${duration(p95_seconds)}`;
    const cells = [
      day.images, counted(day.not_analysed),
      day.findings.filter((f) => f.positive).map((f) => `${f.name} ${f.positive} of ${f.images}`).join(", "),
      day.findings.map((f) => `${f.name} ${percent(f.mean_probability)}`).join(", "),
      day.waited_p95_seconds === null ? "" : `${day.waited_p95_seconds.toFixed(1)} s`,
      objects ? `${delivered} of ${objects}${dead ? `, ${dead} dead` : ""}${late}` : "",
    ];
    return make("tr", {}, make("th", { scope: "row", textContent: day.day }), ...cells.map((textContent) => make("td", { textContent })));
  }));
}

// ---- whether images look as they did at calibration ----

// The highest of each day beside the limit, which is the line.
function limitChart(name, days, values) {
  const top = Math.max(1.25, ...values), last = values.at(-1) ?? 0, share = (x) => `${Math.round(100 * x)} %`;
  const label = `${name}: at most ${share(Math.max(0, ...values))} of the limit, ${share(last)} on the last day`;
  const svg = drawn("svg", { viewBox: `0 0 ${4 * days.length} 40`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  values.forEach((value, at) => {
    const height = (38 * value) / top;
    svg.append(drawn("rect", { x: 4 * at + 0.5, y: 40 - height, width: 3, height, class: value > 1 ? "warn" : "plain" }));
  });
  const y = 40 - 38 / top;
  svg.append(drawn("line", { x1: 0, x2: 4 * days.length, y1: y, y2: y, class: "limit" }));
  return make("figure", {}, make("figcaption", { textContent: label }), svg);
}

const driftDay = (day) => new Date(86400000 * day).toISOString().slice(0, 10);
let drifting = null;

function drift(now) {
  drifting = now;
  const { status, summary } = now;
  byId("drift").hidden = !summary;
  if (!summary) return;
  const said = [`Compared with ${summary.reference_images} calibration images; ${summary.streams[0].images} images so far`];
  if (status.left_out) said.push(`${status.left_out} left out since the start`);
  if (status.reason) said.push(status.reason);
  if (!status.alarms.length) said.push("no alarm");
  byId("drift-said").textContent = said.join(". ");
  byId("drift-alarms").replaceChildren(...status.alarms.map((alarm) => make("li", { className: "bad",
    textContent: `${alarm.source}: ${alarm.feature} ${alarm.text}, since ${driftDay(alarm.since / 86400)}` })));
  const choice = byId("drift-source"), sources = summary.streams.map((stream) => stream.source);
  if ([...choice.options].map((option) => option.value).join("\n") !== sources.join("\n")) {
    const chosen = choice.value;
    choice.replaceChildren(...sources.map((source) => make("option", { value: source, textContent: source })));
    if (sources.includes(chosen)) choice.value = chosen;
  }
  driftOf(summary, summary.streams[Math.max(0, choice.selectedIndex)]);
}

function driftOf({ features }, { days, features: now, windows }) {
  const highest = features.map((_, at) => Math.max(0, ...days.map((day) => day.peaks[at])));
  const order = features.map((_, at) => at).sort((a, b) => highest[b] - highest[a]);
  byId("drift-charts").replaceChildren(...order.slice(0, 6).map((at) =>
    limitChart(features[at], days, days.map((day) => day.peaks[at]))));
  const words = { higher: "higher", lower: "lower", wider: "wider spread", narrower: "less spread" };
  const beside = (value, limit) => (limit === undefined ? value.toFixed(3) : `${value.toFixed(3)} of ${limit.toFixed(3)}`);
  byId("drift-rows").replaceChildren(...order.map((at) => {
    const cells = [`${Math.round(100 * now[at].of_limit)} %`, now[at].of_limit ? words[now[at].change] : ""];
    for (const { distances, limits } of windows) {
      cells.push(beside(distances[at].ks, limits?.ks), beside(distances[at].psi, limits?.psi));
    }
    return make("tr", {}, make("th", { scope: "row", textContent: features[at] }), ...cells.map((textContent) => make("td", { textContent })));
  }));
}
byId("drift-source").onchange = () => drifting && drift(drifting);

async function lookBack() {
  if (me.role && !document.hidden) {
    const images = await fetch("drift").catch(() => null);
    if (images?.ok) drift(await images.json());
    const response = await fetch("trends?days=30").catch(() => null);
    if (response?.ok) trends((await response.json()).days);
  }
}
setInterval(lookBack, 60000);

// ---- deliveries ----

async function decide(id, decision, more, said = byId("queue-said")) {
  const response = await post(`queue/${id}/${decision}`, more);
  const body = await response.json().catch(() => ({}));
  if (response.ok) said = byId("queue-said");
  said.textContent = response.ok ? `Delivery ${id}: ${decision}, now ${body.held ? "held" : body.state}` : `Delivery ${id}: ${body.error ?? "that did not work"}`;
  return response.ok;
}

// Giving up needs a reason.
let given = null;
function giveUp(row) {
  given = row.id;
  byId("drop-what").textContent = `${row.kind.toUpperCase()} to ${row.via}, delivery ${row.id}. It is not sent, and its image may be removed.`;
  byId("drop-said").textContent = byId("why").value = "";
  byId("drop").showModal();
  byId("why").focus();
}
byId("drop-not").onclick = () => byId("drop").close();
byId("drop-form").onsubmit = async (event) => {
  event.preventDefault();
  if (await decide(given, "drop", { reason: byId("why").value }, byId("drop-said"))) byId("drop").close();
};

function action(row, decision, text, act = () => decide(row.id, decision)) {
  const button = make("button", { type: "button", textContent: text, onclick: act });
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
    actions.append(action(row, "drop", "Give up", () => giveUp(row)));
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

// ---- the bundle that looks on ----

const digits = (x) => (x === null ? "–" : x.toFixed(3));
function agreeing({ name, n, both_positive, only_answer, only_shadow, kappa, difference }) {
  const [low, high] = difference.limits ?? [null, null];
  const cells = [n, both_positive, only_answer, only_shadow, digits(kappa), `${digits(difference.mean)} (${digits(low)} to ${digits(high)})`];
  return make("tr", {}, make("th", { scope: "row", textContent: name }), ...cells.map((textContent) => make("td", { textContent })));
}

function shadow({ status, agreement }) {
  const called = (bundle) => `${bundle.id} ${bundle.version} (${bundle.digest.slice(0, 12)})`;
  const said = [status.bundle ? `${called(status.bundle)} looks on and answers nobody` : `nothing looks on: ${status.reason ?? "it is being loaded"}`];
  const { busy, not_ready, failed } = status.skipped;
  said.push(`${status.compared} compared since the start, ${busy} left out while others waited, ${not_ready} while it was not loaded, ${failed} failed`);
  if (agreement) said.push(`${agreement.pairs} images by ${agreement.bundles.map(called).join(" and ")}`);
  for (const mask of agreement?.masks ?? []) said.push(`${mask.name}: mean Dice ${digits(mask.mean_dice)}, lowest ${digits(mask.lowest_dice)}`);
  for (const box of agreement?.boxes ?? []) said.push(`${box.name}: ${box.same} boxes in both, ${box.only_answer} only in the first, ${box.only_shadow} only in the second`);
  byId("shadow").hidden = false;
  byId("shadow-said").textContent = said.join(". ");
  byId("shadow-rows").replaceChildren(...(agreement?.findings ?? []).map(agreeing));
}

arrive();

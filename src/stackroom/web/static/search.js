// Search as you type: the newest question alone is answered, hits are grouped by document.
import { $, h, count, debounced, isNowhere, number, placeText, recognised } from "./dom.js";
import { get } from "./api.js";
import { jobs } from "./events.js";

const K = 40;
const MOST = 200;
const SHOWN = 3;
const WIDTH = 330;

let asked = null;
let latest = "";
let words = "";
let limit = K;
let drawn = "";

const form = () => $("#search-form");

export function startSearch() {
  const search = debounced(() => ask(), 110);
  $("#query").addEventListener("input", search);
  form().addEventListener("change", (event) => { if (event.target.id !== "query") ask(); });
  form().addEventListener("submit", (event) => { event.preventDefault(); ask(); first(); });
  $("#clear-filters").addEventListener("click", () => { clearFilters(); ask(); $("#query").focus(); });
  restore();
}

export function fillFacets(facets, sets) {
  for (const select of [form().set, $("#ask-set")]) {
    fill(select, sets.map((name) => [name, name]));
    select.closest(".chip").hidden = !sets.length && !select.value;
  }
  fill(form().type, facets.types.map((type) => [type.name, `${type.name.toUpperCase()} (${number(type.sources)})`]));
  const folders = facets.folders.slice(0, 400);
  fill(form().folder, folders.map((folder) => [folder.path, `${shortened(folder.path)} (${number(folder.sources)})`]));
  filtersShown();
}

function fill(select, options) {
  // Who has it open is not disturbed.
  if (document.activeElement === select) return;
  const kept = select.value || select.dataset.wanted || "";
  const shown = select.options[0];
  select.replaceChildren(shown, ...options.map(([value, label]) => h("option", { value }, label)));
  if (kept && !options.some(([value]) => value === kept)) select.append(h("option", { value: kept }, kept));
  select.value = kept;
}

const shortened = (path) => path.split(/[/\\]/).slice(-2).join("/");

function given() {
  const data = new FormData(form());
  const query = { q: data.get("q").trim(), mode: data.get("mode"), type: data.get("type"), folder: data.get("folder"), date: data.get("date"), set: data.get("set"), active: data.get("active") ? "1" : "" };
  if (query.date === "between") Object.assign(query, { since: data.get("since"), until: data.get("until") });
  return query;
}

function restore() {
  const query = new URLSearchParams(location.search);
  $("#query").value = query.get("q") || "";
  for (const name of ["type", "folder", "set"]) {
    const value = query.get(name) || "";
    if (value) fill(form()[name], [[value, name === "folder" ? shortened(value) : name === "type" ? value.toUpperCase() : value]]);
    form()[name].value = value;
    form()[name].dataset.wanted = value;
  }
  form().date.value = query.get("date") || "";
  form().since.value = query.get("since") || "";
  form().until.value = query.get("until") || "";
  form().active.checked = query.get("active") === "1";
  for (const radio of form().mode) radio.checked = radio.value === (query.get("mode") || "");
  ask(true);
}

function clearFilters() {
  for (const name of ["type", "folder", "date", "set"]) { form()[name].value = ""; delete form()[name].dataset.wanted; }
  form().active.checked = false;
  form().mode[0].checked = true;
}

function filtersShown() {
  const query = given();
  $("#between").hidden = query.date !== "between";
  for (const chip of form().querySelectorAll(".chip:not(.toggle)")) {
    const field = chip.querySelector("select, input");
    chip.classList.toggle("on", Boolean(field.value));
  }
  $("#clear-filters").hidden = !(query.type || query.folder || query.date || query.set || query.active || query.mode);
}

function since(query) {
  if (query.date === "between") return { since: query.since, until: query.until };
  if (!query.date) return {};
  const day = new Date(Date.now() - Number(query.date) * 86_400_000);
  return { since: day.toISOString().slice(0, 10) };
}

/** Ask again what was asked, for the library has changed. Who is among the hits already keeps them, and is told. */
export function refresh() {
  if (!given().q) return null;
  if (!$("#results [aria-expanded=true]") && !$("#results").contains(document.activeElement) && scrollY < 40) return ask(true, true);
  const again = h("button.quiet", { type: "button", id: "again", onclick: () => { ask(true, true); $("#query").focus(); } }, "Search again");
  if (!$("#again")) $("#search-state").append(" · The library has changed. ", again);
  return null;
}

async function ask(keepAddress = false, again = false) {
  const query = given();
  filtersShown();
  const address = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  if (!keepAddress) history.replaceState(null, "", address ? `/?${address}` : "/");
  sessionStorage.setItem("stackroom-search", address ? `/?${address}` : "/");
  if (address === latest && !again) return;
  if (address !== latest) limit = K;
  latest = address;
  asked?.abort();
  if (!query.q) { idle(); return; }
  asked = new AbortController();
  const mine = asked;
  $("#results").classList.add("stale");
  $("#view-search").classList.remove("idle");
  try {
    const where = query.type ? [`type == ${JSON.stringify(query.type)}`] : [];
    const found = await get("/api/search", { q: query.q, k: limit, mode: query.mode, where, in: query.folder, set: query.set, active: query.active && "true", explain: "true", ...since(query) }, mine.signal);
    if (mine !== asked) return;
    words = query.q;
    show(found);
  } catch (error) {
    if (error.name === "AbortError" || mine !== asked) return;
    say([error.message, error.hint].filter(Boolean).join(" "), true);
    drawn = "";
    $("#results").replaceChildren();
  }
  $("#results").classList.remove("stale");
}

function say(message, trouble = false) {
  const state = $("#search-state");
  state.textContent = message;
  state.classList.toggle("trouble", trouble);
}

let note = null;
/** What is said while nothing is asked. */
export function setIdleNote(made) {
  note = made;
  if (!given().q) idle();
}

function idle() {
  $("#view-search").classList.add("idle");
  $("#results").classList.remove("stale");
  say("");
  drawn = "";
  $("#results").replaceChildren(...(note ? [note] : []));
}

function show(found) {
  const groups = new Map();
  for (const hit of found.hits) {
    const name = hit.document.source_id;
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(hit);
  }
  const filtered = !$("#clear-filters").hidden;
  if (!found.hits.length && jobs().some((job) => job.state === "running" && job.kind === "add")) say("Nothing was found yet. Documents are still being indexed.");
  else if (!found.hits.length) say(filtered ? "Nothing was found. Fewer filters, or other words, may help." : "Nothing was found. Other words may help.");
  else say(`${found.hits.length === limit ? `The ${limit} best passages` : count(found.hits.length, "passage")} in ${count(groups.size, "document")} · ${found.took_ms < 1000 ? `${Math.max(1, Math.round(found.took_ms))} ms` : `${(found.took_ms / 1000).toFixed(1)} s`}${found.reason ? " · by words alone: the library’s model is not at hand" : ""}`);
  // The same hits stay as they are, with what is open and what has the focus.
  const stamp = JSON.stringify([found.query, found.mode, found.hits]);
  if (stamp === drawn) return;
  drawn = stamp;
  const more = found.hits.length === limit && limit < MOST && h("button.more-results", { type: "button", onclick: showMore }, "Show more");
  $("#results").replaceChildren(...[...groups.values()].map((hits) => group(hits, found.mode)), ...(more ? [more] : []));
  const before = sessionStorage.getItem("stackroom-opened");
  const opened = before && $(`a[data-chunk="${CSS.escape(before)}"]`);
  sessionStorage.removeItem("stackroom-opened");
  if (opened) opened.focus();
}

/** As many again; the focus goes to the first document that was not there. */
async function showMore() {
  const before = new Set(links().map((link) => link.dataset.chunk));
  limit = Math.min(limit + K, MOST);
  await ask(true, true);
  const fresh = [...document.querySelectorAll("#results .group")].find((one) => !links(one).some((link) => before.has(link.dataset.chunk)));
  (fresh ? links(fresh)[0] : links().at(-1))?.focus();
}

function group(hits, mode) {
  const { document: found } = hits[0];
  const folder = found.path.split(/[/\\]/).slice(0, -1).join("/");
  const list = h("ol", {}, hits.slice(0, SHOWN).map((hit) => item(hit, mode)));
  const more = hits.length > SHOWN && h("button.more-hits", { type: "button", onclick: (event) => {
    list.append(...hits.slice(SHOWN).map((hit) => item(hit, mode)));
    list.children[SHOWN].querySelector("a").focus();
    event.target.remove();
  } }, `${number(hits.length - SHOWN)} more in this document`);
  return h("article.group", {},
    h("header", {}, h("h2", { dir: "auto" }, h("a", { href: address(hits[0]), title: found.path, onclick: () => remember(hits[0]), tabindex: -1 }, found.title)),
      found.type && h("span.badge", {}, found.type),
      h("span.folder", { title: found.path }, h("bdi", {}, folder))),
    list, more);
}

const address = (hit) => `/read?${new URLSearchParams({ chunk: hit.chunk_id, q: words })}`;
const remember = (hit) => sessionStorage.setItem("stackroom-opened", hit.chunk_id);

function item(hit, mode) {
  const place = placeText(hit.place, hit.document.title);
  const link = h("a", { href: address(hit), dir: "auto", dataset: { chunk: hit.chunk_id }, onclick: () => remember(hit) }, snippet(hit.text, hit.marks));
  const context = h("button", { type: "button", "aria-expanded": "false", dataset: { tool: "context" } }, "Context");
  const why = h("button", { type: "button", "aria-expanded": "false", dataset: { tool: "why" } }, "Why");
  const made = h("li.hit", {}, link, h("div.hit-meta", {},
    place.page && h("span.page", {}, place.page), recognised(hit), place.section && h("span.where", {}, place.section),
    h("span.tools", {}, context, why)));
  context.addEventListener("click", () => toggleContext(made, hit, link, context));
  why.addEventListener("click", () => toggle(made, why, ".why", () => { made.append(reasons(hit, mode)); made.lastElementChild.scrollIntoView({ block: "nearest" }); }));
  return made;
}

function toggle(item, button, shown, open) {
  const is = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!is));
  if (is) item.querySelectorAll(shown).forEach((part) => part.remove());
  else open();
}

async function toggleContext(item, hit, link, button) {
  if (button.getAttribute("aria-expanded") === "true") {
    button.setAttribute("aria-expanded", "false");
    item.classList.remove("open");
    item.querySelectorAll(".around").forEach((part) => part.remove());
    link.replaceChildren(...snippet(hit.text, hit.marks));
    return;
  }
  button.setAttribute("aria-expanded", "true");
  link.replaceChildren(...pieces([...hit.text], hit.marks));
  item.classList.add("open");
  try {
    const found = await get(`/api/passages/${encodeURIComponent(hit.chunk_id)}`, { context: 1 });
    if (button.getAttribute("aria-expanded") !== "true") return;
    for (const [where, passages] of [["before", found.before], ["after", found.after]]) {
      const text = passages.map((passage) => apart(passage, found.passage, where)).join("\n").trim();
      const part = text && h(`p.around.${where}`, { dir: "auto" }, text);
      if (part) where === "before" ? link.before(part) : link.after(part);
    }
    // The passage itself stays in sight, however much stands around it.
    if (item.offsetHeight > innerHeight / 2) link.scrollIntoView({ block: "center" });
    else item.scrollIntoView({ block: "nearest" });
  } catch (error) {
    say(error.message, true);
  }
}

/** A neighbour without what it shares with the passage. */
function apart(neighbour, passage, where) {
  const text = [...neighbour.text];
  const [a, b] = [neighbour.place, passage.place];
  if (a.start === null || b.start === null || a.end - a.start !== text.length) return neighbour.text;
  return (where === "before" ? text.slice(0, Math.max(0, b.start - a.start)) : text.slice(Math.max(0, b.end - a.start))).join("");
}

function reasons(hit, mode) {
  const legs = [];
  const { vector, text, matched } = hit.explain || {};
  for (const [name, leg, other] of [["meaning", vector, "text"], ["words", text, "vector"]]) {
    if (mode === other) continue;
    legs.push(leg ? `By ${name}: ${ordinal(leg.rank)}, score ${leg.score.toFixed(3)}${leg.share === null ? "" : `, adds ${leg.share.toFixed(3)}`}.` : `By ${name}: not among the best.`);
  }
  const looked = matched?.length ? ` Words looked up: ${matched.join(", ")}.` : "";
  return h("p.why", {}, h("strong", {}, `Score ${hit.score.toFixed(3)}`), ` · rank ${hit.rank}. ${legs.join(" ")}${looked}`);
}

function ordinal(rank) {
  const ending = rank % 100 > 10 && rank % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[rank % 10] || "th";
  return `${number(rank)}${ending}`;
}

/** The part of a passage with the most matches; marks are counted in code points. */
export function snippet(text, marks) {
  const points = [...text];
  if (points.length <= WIDTH) return pieces(points, marks);
  let best = 0;
  let most = -1;
  marks.forEach(([start], index) => {
    const inside = marks.slice(index).filter(([, end]) => end <= start + WIDTH).length;
    if (inside > most) [best, most] = [start, inside];
  });
  let start = Math.max(0, Math.min(best - Math.floor(WIDTH / 5), points.length - WIDTH));
  let end = Math.min(points.length, start + WIDTH);
  if (start) { const space = points.indexOf(" ", start); if (space >= 0 && space < start + 40) start = space + 1; }
  if (end < points.length) { const space = points.lastIndexOf(" ", end); if (space > start + WIDTH / 2) end = space; }
  const shifted = marks.filter(([a, b]) => a >= start && b <= end).map(([a, b]) => [a - start, b - start]);
  return [start ? "… " : "", ...pieces(points.slice(start, end), shifted), end < points.length ? " …" : ""];
}

function pieces(points, marks) {
  const made = [];
  let at = 0;
  for (const [start, end] of marks) {
    if (start < at) continue;
    made.push(points.slice(at, start).join(""), h("mark", {}, points.slice(start, end).join("")));
    at = end;
  }
  made.push(points.slice(at).join(""));
  return made;
}

const links = (within = $("#results")) => [...within.querySelectorAll(".hit > a")];

function first() { links()[0]?.focus(); }

/** Keys while the search is shown; returns whether one was meant for it. */
export function searchKey(event) {
  const all = links();
  const at = all.findIndex((link) => link.closest(".hit").contains(document.activeElement));
  const inField = document.activeElement === $("#query");
  if (event.key === "ArrowDown" && (inField || at >= 0 || isNowhere())) {
    (all[Math.min(at + 1, all.length - 1)] || all[0])?.focus();
  } else if (event.key === "ArrowUp" && at >= 0) {
    at === 0 ? $("#query").focus() : all[at - 1].focus();
  } else if (event.key === "Escape") {
    if (inField && $("#query").value) { $("#query").value = ""; ask(); }
    $("#query").focus();
  } else if ((event.key === "c" || event.key === "w") && at >= 0 && !inField) {
    all[at].closest(".hit").querySelector(`[data-tool=${event.key === "c" ? "context" : "why"}]`).click();
  } else return false;
  return true;
}

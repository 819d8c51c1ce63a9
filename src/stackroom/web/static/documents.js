// The whole library, however large: only the rows in sight are there.
import { $, h, count, debounced, isNowhere, number, reasonOf, size } from "./dom.js";
import { get, post } from "./api.js";
import { jobs } from "./events.js";
import { isRunning, recogniseIn } from "./jobs.js";
import { sayError, toast } from "./toast.js";

const ROW = 58;
const PAGE = 100;
const UNDO = 8;

let total = 0;
let all = 0;
let pages = new Map();
let asking = new Map();
let generation = 0;
let chosen = new Set();
let changed = () => {};
let invite = null;
let held = null;

export function startDocuments({ onChanged, emptyNote }) {
  changed = onChanged;
  invite = emptyNote;
  $("#documents-filter").addEventListener("input", debounced(() => load(true), 120));
  for (const name of ["#documents-state", "#documents-sort"]) $(name).addEventListener("change", () => load(true));
  addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  addEventListener("resize", () => requestAnimationFrame(draw));
  document.addEventListener("click", (event) => { if (!event.target.closest(".row-menu")) closeMenu(); });
  startSets();
  select();
}

function query() {
  const [sort, descending] = [$("#documents-sort").value.replace("-", ""), $("#documents-sort").value.endsWith("-")];
  const [kind, ...name] = $("#documents-state").value.split(":");
  return { filter: $("#documents-filter").value.trim(), [kind]: name.join(":"), sort, descending: descending && "true" };
}

/** The set that is shown. */
const shownSet = () => query().set || null;

/** Ask for what is in sight anew. `anew`: it is another list. */
export async function load(anew = false) {
  generation += 1;
  const mine = generation;
  asking = new Map();
  if (anew) { chosen.clear(); select(); }
  const first = anew ? 0 : Math.max(0, Math.floor(top() / ROW / PAGE));
  const last = anew ? 0 : Math.max(first, Math.floor((top() + innerHeight) / ROW / PAGE));
  try {
    const found = await get("/api/sources", { ...query(), offset: first * PAGE, limit: (last - first + 1) * PAGE });
    if (mine !== generation) return;
    pages = new Map();
    for (let page = first; page <= last; page += 1) pages.set(page, found.sources.slice((page - first) * PAGE, (page - first + 1) * PAGE));
    [total, all] = [found.total, found.library_total];
    draw();
    select();
  } catch (error) {
    if (mine === generation) say(error.message, true);
  }
}

function say(message, trouble = false) {
  $("#documents-state-text").textContent = message;
  $("#documents-state-text").classList.toggle("trouble", trouble);
}

const top = () => -$("#rows").getBoundingClientRect().top;

async function want(page) {
  if (pages.has(page) || asking.has(page)) return;
  asking.set(page, true);
  const mine = generation;
  try {
    const found = await get("/api/sources", { ...query(), offset: page * PAGE, limit: PAGE });
    if (mine !== generation) return;
    pages.set(page, found.sources);
    draw();
  } catch (error) {
    if (mine === generation) say(error.message, true);
  }
}

const at = (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE];

function draw() {
  const rows = $("#rows");
  if ($("#view-documents").hidden) return;
  rows.hidden = !total;
  rows.style.height = `${total * ROW}px`;
  rows.setAttribute("aria-rowcount", total);
  $("#view-documents .toolbar").hidden = $("#selection").hidden = !all;
  const old = $("#view-documents .empty");
  old?.remove();
  if (!all) {
    say("");
    rows.replaceChildren();
    if (!jobs().some(isRunning)) $("#rows").after(invite());
    return;
  }
  say(total ? "" : "No document fits.");
  const first = Math.max(0, Math.floor(top() / ROW) - 8);
  const last = Math.min(total, Math.ceil((top() + innerHeight) / ROW) + 8);
  for (let page = Math.floor(first / PAGE); page <= Math.floor(Math.max(first, last - 1) / PAGE); page += 1) want(page);
  const focus = document.activeElement?.closest?.(".row");
  held = focus ? [focus.dataset.id, document.activeElement.dataset.part] : null;
  const kept = new Map([...rows.children].map((row) => [row.dataset.id, row]));
  const shown = [];
  for (let index = first; index < last; index += 1) {
    const source = at(index);
    if (!source) continue;
    const stamp = `${JSON.stringify(source)} ${chosen.has(source.id)}`;
    let row = kept.get(source.id);
    if (!row || row.stamp !== stamp) { row = rowOf(source); row.stamp = stamp; }
    row.style.transform = `translateY(${index * ROW}px)`;
    row.setAttribute("aria-rowindex", index + 1);
    row.dataset.index = index;
    shown.push(row);
  }
  const same = shown.length === rows.children.length && shown.every((row, index) => row === rows.children[index]);
  if (!same) rows.replaceChildren(...shown);
  if (held && document.activeElement === document.body) {
    rows.querySelector(`[data-id="${CSS.escape(held[0])}"] [data-part="${held[1]}"]`)?.focus({ preventScroll: true });
  }
}

function rowOf(source) {
  const label = source.title;
  const choose = h("input.box", { type: "checkbox", checked: chosen.has(source.id), dataset: { part: "choose" }, "aria-label": `Choose ${label}`, onchange: (event) => { choose.checked ? chosen.add(source.id) : chosen.delete(source.id); event.target.closest(".row").stamp = ""; select(); } });
  const active = h("input.switch", { type: "checkbox", role: "switch", checked: source.active, dataset: { part: "active" }, "aria-label": `${label} is active`, title: "Active: searched by “Active only”", onchange: () => setActive([source.id], active.checked) });
  const menu = h("button.more.row-menu", { type: "button", dataset: { part: "menu" }, "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": `More about ${label}`, onclick: () => openMenu(menu, source) }, "⋯");
  const link = source.chunks
    ? h("a", { href: `/read?${new URLSearchParams({ source: source.id })}`, dir: "auto", dataset: { part: "name" }, title: source.path }, label)
    : h("a", { role: "link", "aria-disabled": "true", tabindex: 0, dir: "auto", dataset: { part: "name" }, title: source.path }, label);
  return h(`div.row${source.active ? "" : ".idle"}`, { role: "row", dataset: { id: source.id } },
    h("div.choose", { role: "cell" }, choose),
    h("div.name", { role: "cell" }, link, under(source)),
    h("div.number", { role: "cell" }, source.type ? h("span.badge", {}, source.type) : "–"),
    h("div.number", { role: "cell" }, source.chunks ? count(source.chunks, "passage") : "–"),
    h("div.number", { role: "cell" }, size(source.size)),
    h("div", { role: "cell" }, active),
    h("div", { role: "cell" }, menu));
}

/** The line under a title: what is wrong with it, or where it is. */
function under(source) {
  const reason = source.error && reasonOf(source.error, source.path);
  if (reason) return h("span.path.bad", { title: source.error }, source.chunks ? `The newest reading failed: ${reason}` : reason);
  if (source.state === "partial") return h("span.path.warn", {}, "Not finished: add it again to go on.");
  const recognised = source.recognised_pages && `${number(source.recognised_pages)} recognised in pictures`;
  if (source.pages_without_text) return h("span.path.warn", { title: source.path }, [`${number(source.pages_without_text)} of ${count(source.pages, "page")} without text`, recognised].filter(Boolean).join(" · "));
  if (recognised) return h("span.path", { title: source.path }, source.pages === null ? "Recognised in a picture" : `Of ${count(source.pages, "page")} ${recognised}`);
  return h("span.path.whole", { title: source.path }, h("bdi", {}, source.path));
}

const day = (text) => (text ? new Date(text).toLocaleString() : null);

/** All that is known of one document. */
function showAbout(source, button) {
  const pages = source.pages === null ? null : [count(source.pages, "page"), source.pages_without_text && `${number(source.pages_without_text)} without text`, source.recognised_pages && `${number(source.recognised_pages)} recognised in pictures`];
  const facts = [
    ["Where", source.path], ["Type", source.type || "unknown"], ["Size", size(source.size)], ["Pages", pages?.filter(Boolean).join(", ")],
    ["Passages", number(source.chunks)], ["Model", source.chunks ? model : null], ["File of", day(source.modified_at)], ["Indexed", day(source.indexed_at)],
    ["Active", source.active ? "yes" : "no"], ["Reading", source.error || (source.state === "partial" ? "not finished: add it again to go on" : "all of it was read")],
  ].filter(([, value]) => value);
  $("#about-title").textContent = source.title;
  $("#about-facts").replaceChildren(...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const dialog = $("#about-dialog");
  dialog.addEventListener("close", () => button.isConnected && button.focus(), { once: true });
  dialog.showModal();
}

let model = null;
export const sayModel = (text) => { model = text; };

function closeMenu() {
  document.querySelector(".menu.of-row")?.remove();
  document.querySelector(".row-menu[aria-expanded=true]")?.setAttribute("aria-expanded", "false");
}

function openMenu(button, source) {
  const was = button.getAttribute("aria-expanded") === "true";
  closeMenu();
  if (was) return;
  button.setAttribute("aria-expanded", "true");
  const file = source.path.startsWith("/") || source.path[1] === ":";
  const items = [
    source.chunks && ["Read", () => { location.href = `/read?${new URLSearchParams({ source: source.id })}`; }],
    source.chunks && ["Search in it", () => { location.href = `/?${new URLSearchParams({ folder: source.path, q: "" })}`; }],
    ["About it", () => showAbout(source, button)],
    file && ["Read the file again", () => post("/api/rebuild", { sources: [source.id] }).catch(sayError)],
    file && source.pages_without_text && ["Recognise its pictures", () => recogniseIn([source])],
    ["Remove", () => { const index = Number(button.closest(".row").dataset.index); remove([source.id]).then(() => focusRow(Math.min(index, total - 1))); }, true],
  ].filter(Boolean);
  const menu = h("div.menu.of-row", { role: "menu" }, items.map(([label, run, danger]) =>
    h(`button${danger ? ".danger" : ""}`, { type: "button", role: "menuitem", onclick: () => { closeMenu(); button.focus(); run(); } }, label)));
  const place = button.getBoundingClientRect();
  $("#main").append(menu);
  menu.style.left = `${Math.max(8, place.right + scrollX - menu.offsetWidth)}px`;
  menu.style.right = "auto";
  menu.style.top = `${place.bottom + scrollY + (place.bottom + menu.offsetHeight > innerHeight ? -menu.offsetHeight - place.height : 4)}px`;
  menusKeys(menu, button);
}

/** Arrows, Home and End within a menu; Esc closes it. */
export function menusKeys(menu, button) {
  const items = [...menu.querySelectorAll("button")];
  items[0].focus();
  // One that is opened again must not hear a key twice.
  menu.onkeydown = (event) => {
    const now = items.indexOf(document.activeElement);
    const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) items[(to + items.length) % items.length].focus();
    else if (event.key === "Escape") { closeMenu(); menu.hidden = true; button.setAttribute("aria-expanded", "false"); button.focus(); }
    else if (event.key === "Tab") { closeMenu(); return; }
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
}

async function setActive(sources, active) {
  try {
    const told = await post("/api/active", { sources, active });
    if (sources === null || sources.length > 1) toast(`${number(told.active_sources)} of ${count(told.sources, "document")} are active.`);
    for (const page of pages.values()) for (const source of page) if (sources === null || sources.includes(source.id)) source.active = active;
    draw();
    changed();
  } catch (error) {
    sayError(error);
    load();
  }
}

async function remove(ids) {
  try {
    const told = await post("/api/remove", { sources: ids, undo_seconds: UNDO });
    ids.forEach((id) => chosen.delete(id));
    const undo = () => post("/api/undo", { removal: told.removal }).then(() => { load(); changed(); }).catch(sayError);
    toast(`${count(told.removed, "document")} removed. The files themselves stay.`, { label: "Undo", run: undo }, UNDO - 1);
    await load();
    changed();
  } catch (error) {
    sayError(error);
  }
}

/** What documents can be narrowed to besides their state: their types, and the sets that were saved. */
export function known(types, names) {
  $("#set-names").replaceChildren(...names.map((name) => h("option", { value: name })));
  const select = $("#documents-state");
  // Who has it open is not disturbed.
  if (document.activeElement === select) return;
  const before = select.value;
  const group = (label, options) => options.length > 0 && h("optgroup", { label }, options.map(([value, text]) => h("option", { value }, text)));
  select.querySelectorAll("optgroup").forEach((old) => old.remove());
  select.append(...[
    group("Type", types.length > 1 ? types.map((type) => [`type:${type.name}`, `${type.name.toUpperCase()} (${number(type.sources)})`]) : []),
    group("Set", names.map((name) => [`set:${name}`, name])),
  ].filter(Boolean));
  select.value = before;
  if (select.selectedIndex < 0) { select.value = ""; load(true); }
}

function startSets() {
  const [dialog, name] = [$("#set-dialog"), $("#set-name")];
  $("#set-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const named = name.value.trim();
    if (!named) { name.focus(); return; }
    try {
      await post("/api/sets", { name: named, sources: [...chosen] });
      dialog.close();
      toast(`${count(chosen.size, "document")} saved as ${named}.`);
      changed();
      if (shownSet() === named) load(true);
    } catch (error) { sayError(error); }
  });
  $("#set-close").addEventListener("click", () => dialog.close());
}

async function forgetSet(name) {
  try {
    await post("/api/sets/delete", { sets: [name] });
    toast(`The set ${name} is gone; its documents stay.`);
    changed();
  } catch (error) { sayError(error); }
}

function askForSet() {
  $("#set-name").value = shownSet() || "";
  $("#set-dialog").showModal();
}

async function everyId() {
  return (await get("/api/sources", query())).sources.map((source) => source.id);
}

function select() {
  const bar = $("#selection");
  const focused = bar.contains(document.activeElement) ? document.activeElement.dataset.part : null;
  bar.classList.toggle("some", chosen.size > 0);
  const whole = h("input.box", { type: "checkbox", checked: chosen.size > 0 && chosen.size >= total, indeterminate: chosen.size > 0 && chosen.size < total, dataset: { part: "whole" }, onchange: async (event) => {
    if (event.target.checked) chosen = new Set(await everyId()); else chosen.clear();
    select();
    draw();
  } });
  const label = chosen.size ? `${number(chosen.size)} chosen` : total === all ? count(total, "document") : `${number(total)} of ${count(all, "document")}`;
  const act = (part, name, run, danger) => h(`button${danger ? ".danger" : ".quiet"}`, { type: "button", dataset: { part }, onclick: run }, name);
  bar.replaceChildren(h("label", {}, whole, h("span", {}, label)), ...(chosen.size ? [
    act("on", "Make active", () => setActive([...chosen], true)),
    act("off", "Make inactive", () => setActive([...chosen], false)),
    act("only", "Search only these", async () => { const these = [...chosen]; await post("/api/active", { sources: null, active: false }).catch(sayError); await setActive(these, true); load(); }),
    act("set", "Save as set", askForSet),
    act("remove", "Remove", () => remove([...chosen]), true),
  ] : shownSet() ? [
    act("search", "Search in it", () => { location.href = `/?${new URLSearchParams({ set: shownSet() })}`; }),
    act("forget", "Forget this set", () => forgetSet(shownSet()), true),
  ] : [
    act("all", "All active", () => setActive(null, true)),
    act("none", "None active", () => setActive(null, false)),
  ]));
  if (focused) bar.querySelector(`[data-part=${focused}]`)?.focus();
}

/** Keys while documents are shown; returns whether one was meant for them. */
export function documentsKey(event) {
  const row = document.activeElement?.closest?.(".row");
  const index = row ? Number(row.dataset.index) : -1;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (!row && !isNowhere() && document.activeElement !== $("#documents-filter")) return false;
    const to = event.key === "ArrowDown" ? index + 1 : index - 1;
    if (to < 0) { $("#documents-filter").focus(); return true; }
    focusRow(Math.min(to, total - 1));
  } else if (row && event.key === " " && document.activeElement.dataset.part === "name") row.querySelector(".switch").click();
  else if (row && event.key === "x") row.querySelector(".box").click();
  else if (row && event.key === "Delete") { const id = row.dataset.id; remove(chosen.has(id) ? [...chosen] : [id]).then(() => focusRow(Math.min(index, total - 1))); }
  else if (event.key === "Escape") {
    if (document.activeElement === $("#documents-filter") && $("#documents-filter").value) { $("#documents-filter").value = ""; load(true); }
    else if (chosen.size) { chosen.clear(); select(); draw(); }
    else $("#documents-filter").focus();
  } else return false;
  return true;
}

function focusRow(index) {
  if (index < 0) { $("#documents-filter").focus(); return; }
  const rows = $("#rows").getBoundingClientRect();
  const [above, below] = [rows.top + index * ROW, rows.top + (index + 1) * ROW];
  if (above < 70) scrollBy(0, above - 70);
  else if (below > innerHeight - 10) scrollBy(0, below - innerHeight + 10);
  draw();
  $(`.row[data-index="${index}"] [data-part=name]`)?.focus({ preventScroll: true });
}

// The page: which view is shown, what the library is like, and keys.
import { $, h, count, isTyping, size } from "./dom.js";
import { get, post } from "./api.js";
import { listen, onChange } from "./events.js";
import { isRunning, recogniseAll, startJobs, retryFailed } from "./jobs.js";
import { startSearch, searchKey, fillFacets, refresh, setIdleNote } from "./search.js";
import { startDocuments, documentsKey, known, load, menusKeys, sayModel } from "./documents.js";
import { startAdding, openAdding, sayWhere } from "./adding.js";
import { startAsking, showAsking } from "./ask.js";
import { askWhere, sayLibrary, startCopying } from "./copying.js";
import { showTrouble } from "./migrating.js";
import { sayError } from "./toast.js";

const VIEWS = ["search", "documents", "ask"];
let view = "search";
let ready = false;

function go(name, push = true) {
  if (push && name !== view) history.pushState(null, "", name === "search" ? sessionStorage.getItem("stackroom-search") || "/" : `/?view=${name}`);
  view = name;
  for (const one of VIEWS) $(`#view-${one}`).hidden = !ready || one !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = { search: "Stackroom", documents: "Documents · Stackroom", ask: "Ask · Stackroom" }[name];
  scrollTo(0, 0);
  if (!ready) return;
  if (name === "documents") load();
  if (name === "search") $("#query").focus();
  if (name === "ask") showAsking();
}

async function look() {
  try {
    const told = await get("/api/status");
    const first = !ready;
    ready = told.state === "ready";
    showTrouble(told, look);
    sayWhere(told.uploads);
    sayLibrary(told.path);
    sayFallback(told.status ?? {});
    if (ready) {
      fillFacets(told.facets, told.sets);
      known(told.facets.types, told.sets);
      facts(told);
      if (first) {
        startSearch();
        go(view, false);
      }
    } else go(view, false);
  } catch (error) {
    sayError(error);
  }
}

function facts({ status, facets, words_only: wordsOnly, path }) {
  const model = status.embedder ? `${status.embedder.name}, ${status.embedder.dim} dimensions` : "no model yet";
  sayModel(model);
  const told = [count(status.sources, "document"), count(status.chunks, "passage"), size(status.bytes.total)];
  $("#library-facts").textContent = [...told, status.embedder?.name, status.missing && `${count(status.missing, "file")} gone from disk`].filter(Boolean).join(" · ");
  $("#library-facts").title = `${path}\nModel: ${model}`;
  setIdleNote(status.sources
    ? h("div.idle-note", {}, h("p", {}, told.slice(0, 2).join(" · ")),
      h("p.small", {}, wordsOnly ? `Only words are searched: ${wordsOnly}` : facets.states.active < status.sources ? `${facets.states.active} active` : ""))
    : emptyNote());
}

/** A copy that answers while the engine is away is for reading, and stays until the page is started anew. What was copied in part says so. */
function sayFallback({ fallback: copy, copied }) {
  const moment = (said) => `${said.slice(0, 16).replace("T", " ")} UTC`;
  const part = copied?.begun_at;
  const ofPart = copied?.origin_unfinished;
  $("#fallback").hidden = !copy && !part && !ofPart;
  if (copy) {
    const since = [copy.unfinished && "partly newer", copy.changed && "changed here since", copy.origin_unfinished && "of a library whose push had not finished"].filter(Boolean).map((said) => `, ${said}`).join("");
    $("#fallback").textContent = `The engine of this library was away: this is its copy of ${moment(copy.taken_at)}${since}, for reading. Start the page anew once the engine is there.`;
  } else if (part) {
    $("#fallback").textContent = `This may be a part of the library: a ${copied.url ? "pull" : "push"} that began at ${moment(part)} did not finish, or goes on. Run it again.`;
  } else if (ofPart) {
    $("#fallback").textContent = "This may be a part of the library: it is a copy of one whose push had not finished. Make it again once that has.";
  }
}

function emptyNote() {
  return h("div.empty", {}, h("h2", {}, "Nothing is in the library yet"),
    h("p", {}, "Add a folder of documents, or drop files anywhere on this page. PDFs, books, pages, notes, mail and Office files are read."),
    h("div.buttons", {}, h("button.primary", { type: "button", onclick: openAdding }, "Add documents")));
}

function libraryMenu() {
  const button = $("#library-menu-button");
  const menu = $("#library-menu");
  const items = [
    ["Read again what changed", () => post("/api/refresh").catch(sayError)],
    ["Read again what failed", retryFailed],
    ["Recognise pages without text", recogniseAll],
    ["Check every byte", () => post("/api/verify").catch(sayError)],
    ["Measure its searches", () => post("/api/measure").catch(sayError)],
    ["Give disk space back", () => post("/api/compact").catch(sayError)],
    ["Back up …", () => askWhere("backup")],
    ["Export …", () => askWhere("export")],
  ];
  menu.append(...items.map(([label, run]) => h("button", { type: "button", role: "menuitem", onclick: () => { close(); button.focus(); run(); } }, label)));
  const close = () => { menu.hidden = true; button.setAttribute("aria-expanded", "false"); };
  button.addEventListener("click", () => {
    menu.hidden = !menu.hidden;
    button.setAttribute("aria-expanded", String(!menu.hidden));
    if (!menu.hidden) menusKeys(menu, button);
  });
  document.addEventListener("click", (event) => { if (!event.target.closest(".actions")) close(); });
}

function keys(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest?.(".menu")) return;
  const typing = isTyping(event.target);
  const field = { search: $("#query"), documents: $("#documents-filter"), ask: $("#question") }[view];
  // Who is in the empty field already means to go there, not to look for a stroke.
  if (event.key === "/" && view !== "documents" && event.target === field && !field.value) { event.preventDefault(); return; }
  if (!typing) {
    if (event.key === "/") { event.preventDefault(); field.focus(); field.select(); return; }
    if (event.key === "?") { event.preventDefault(); $("#help-dialog").showModal(); return; }
    if (VIEWS[Number(event.key) - 1]) { event.preventDefault(); go(VIEWS[Number(event.key) - 1]); return; }
  }
  if (typing && event.target.type !== "search") return;
  if (typing && !["ArrowDown", "ArrowUp", "Escape"].includes(event.key)) return;
  const took = view === "search" ? searchKey(event) : view === "documents" && documentsKey(event);
  if (took) event.preventDefault();
}

for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.dataset.view);
  });
}
const shown = () => VIEWS.find((name) => name === new URLSearchParams(location.search).get("view")) || "search";
addEventListener("popstate", () => go(shown(), false));
addEventListener("keydown", keys);
$("#help-button").addEventListener("click", () => $("#help-dialog").showModal());
view = shown();
startDocuments({ onChanged: look, emptyNote });
startAdding(go);
startAsking();
startCopying();
startJobs(go);
libraryMenu();
await look();
listen();

let timer = 0;
let took = 0;
onChange((now, before) => {
  if (now.version === before.version && now.removals === before.removals) return;
  if (before.version === -1 || timer) return;
  // While a run commits one thing after the other, the page looks again now and then, and spends a fifth of its time on it.
  const pause = Math.max(now.jobs.some(isRunning) ? 2000 : 400, 4 * took);
  timer = setTimeout(async () => {
    timer = 0;
    const begun = performance.now();
    await Promise.all([look(), view === "documents" ? load() : view === "search" ? refresh() : null]);
    took = performance.now() - begun;
  }, pause);
});

// A conversation: each answer is written as it comes, with citations that open the passage. Without a model the passages are the answer.
import { $, h, count, placeText, recognised } from "./dom.js";
import { get, post, streamed } from "./api.js";
import { sayError, toast } from "./toast.js";

const KEPT = "stackroom-conversation";
let conversation = sessionStorage.getItem(KEPT);
let loaded = conversation === null;
let turns = [];
let running = null;

export function startAsking() {
  $("#ask-form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  $("#question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
    if (event.key === "Escape") { if (running) stop(); else event.target.blur(); }
  });
  $("#stop-button").addEventListener("click", stop);
  $("#new-conversation").addEventListener("click", () => { anew(); $("#question").focus(); });
  $("#model").addEventListener("change", () => localStorage.setItem("stackroom-model", $("#model").value));
  $("#ask-keep").checked = localStorage.getItem("stackroom-keep") !== "no";
  $("#ask-keep").addEventListener("change", () => localStorage.setItem("stackroom-keep", $("#ask-keep").checked ? "yes" : "no"));
  $("#conversations-button").addEventListener("click", showConversations);
  draw();
}

function anew() {
  stop();
  turns = [];
  goOn(null);
  draw();
}

function goOn(id) {
  conversation = id;
  if (id) sessionStorage.setItem(KEPT, id); else sessionStorage.removeItem(KEPT);
}

/** Show a conversation that the library keeps. */
async function open(id) {
  stop();
  const told = await get(`/api/conversations/${encodeURIComponent(id)}`);
  turns = told.turns.map((turn) => ({
    ...turn, text: turn.outcome === "not_in_documents" ? "" : turn.answer, note: "",
    passages: turn.passages.map((one) => ({ ...one, document: { title: one.title }, place: { page: one.page, page_end: null, page_label: null, unit: null, first: null, last: null, section: null } })),
  }));
  goOn(id);
  draw();
}

async function showConversations() {
  const dialog = $("#conversations-dialog");
  try {
    const { conversations } = await get("/api/conversations");
    const row = (one) => {
      const made = h("li", {},
        h("button.quiet.title", { type: "button", dir: "auto", onclick: () => { dialog.close(); open(one.id).catch(sayError); } }, one.title),
        h("span.small", {}, `${new Date(one.begun_at).toLocaleDateString()} · ${count(one.turns, "question")}`),
        h("button.quiet.danger", { type: "button", "aria-label": `Delete: ${one.title}`, onclick: async () => {
          try {
            await post("/api/conversations/delete", { conversations: [one.id] });
            made.remove();
            if (one.id === conversation) anew();
            if (!$("#conversations-list").children.length) dialog.close();
          } catch (error) { sayError(error); }
        } }, "Delete"));
      return made;
    };
    $("#conversations-list").replaceChildren(...conversations.map(row));
    $("#no-conversations").hidden = conversations.length > 0;
    dialog.showModal();
  } catch (error) { sayError(error); }
}

/** A model's name without its service and its address. */
const short = (name) => name.replace(/^(ollama|openai):/, "").split("@")[0];

export async function showAsking() {
  $("#question").focus();
  if (!loaded) {
    loaded = true;
    await open(conversation).catch(() => goOn(null));
  }
  try {
    const found = await get("/api/models");
    const options = found.models.map((model) => [model.name, `${short(model.name)} (${model.program})`]);
    if (found.named && !options.some(([name]) => name === found.named)) {
      options.unshift([found.named, found.sent_to ? `${short(found.named)}, at ${found.sent_to}` : short(found.named)]);
    }
    const select = $("#model");
    const wanted = localStorage.getItem("stackroom-model");
    select.replaceChildren(h("option", { value: "" }, "No model: passages only"), ...options.map(([value, label]) => h("option", { value }, label)));
    const chosen = wanted !== null && options.some(([name]) => name === wanted) ? wanted : wanted === "" ? "" : found.named || options[0]?.[0] || "";
    select.value = chosen;
    $("#ask-note").textContent = options.length ? "" : "No language model was found on this machine (Ollama, LM Studio, llama.cpp, vLLM). Answers are the best passages, quoted.";
  } catch { /* a question says what is wrong */ }
}

function stop() {
  running?.abort();
}

async function ask() {
  const question = $("#question").value.trim();
  if (!question || running) return;
  $("#question").value = "";
  const history = turns.filter((turn) => turn.text && turn.outcome !== "not_in_documents").flatMap((turn) => [{ role: "user", text: turn.question }, { role: "assistant", text: turn.text }]).slice(-20);
  const turn = { question, text: "", passages: [], citations: [], quotes: [], outcome: null, note: "" };
  turns.push(turn);
  running = new AbortController();
  busy(true);
  draw();
  const body = { question, history, active: $("#ask-active").checked, keep: $("#ask-keep").checked };
  if (body.keep && conversation) body.conversation = conversation;
  if ($("#ask-set").value) body.set = $("#ask-set").value;
  if ($("#model").value) body.model = $("#model").value;
  try {
    for await (const [name, told] of streamed("/api/ask", body, running.signal)) {
      if (name === "passages" && told.conversation) goOn(told.conversation);
      if (name === "passages") Object.assign(turn, { passages: told.passages, model: told.model, sent_to: told.sent_to, query: told.query });
      else if (name === "text") turn.text += told.text;
      else if (name === "citations") Object.assign(turn, { citations: told.citations, quotes: told.quotes });
      else if (name === "done") Object.assign(turn, { outcome: told.outcome, text: told.outcome === "not_in_documents" ? "" : told.answer || turn.text, note: told.not_kept ? `This could not be kept: ${told.not_kept}` : "" });
      else if (name === "error") Object.assign(turn, { outcome: "failed", note: [told.error.message, told.error.hint].filter(Boolean).join(" ") });
      redraw(turn);
    }
  } catch (error) {
    if (error.name === "AbortError") turn.outcome = "stopped";
    else Object.assign(turn, { outcome: "failed", note: [error.message, error.hint].filter(Boolean).join(" ") });
  }
  turn.outcome ||= "stopped";
  running = null;
  busy(false);
  redraw(turn);
}

function busy(is) {
  $("#ask-button").hidden = is;
  $("#stop-button").hidden = !is;
  $("#turns").setAttribute("aria-busy", String(is));
}

function draw() {
  $("#new-conversation").hidden = !turns.length;
  $("#turns").replaceChildren(...(turns.length ? turns.map(turnOf) : [invitation()]));
  if (turns.length) $("#turns").lastElementChild?.scrollIntoView({ block: "start" });
}

function invitation() {
  return h("div.empty", {}, h("h2", {}, "Ask your documents"),
    h("p", {}, "An answer comes from your documents alone, and each statement names the passage behind it. Without a language model you get the best passages, quoted."));
}

function redraw(turn) {
  const old = $("#turns").children[turns.indexOf(turn)];
  if (!old) return;
  const limit = $("#ask-form").getBoundingClientRect().top;
  const end = (article) => article.lastElementChild.getBoundingClientRect().bottom;
  // Who reads the end goes along with it; who has gone elsewhere stays there.
  const follows = !turn.outcome && end(old) < limit + 120;
  const made = turnOf(turn);
  old.replaceWith(made);
  if (follows) scrollBy(0, Math.max(0, end(made) + 12 - limit));
}

const NOTES = {
  not_in_documents: "Your documents do not answer this. The nearest passages:",
  quoted: "The passages that answer best:",
  uncited: "This answer names no passage: check it.",
  stopped: "Stopped. What it says was not checked.",
};

function turnOf(turn) {
  const writing = !turn.outcome;
  const note = turn.note || NOTES[turn.outcome] || (writing && !turn.text ? (turn.passages.length ? `Reading ${count(turn.passages.length, "passage")} …` : "Searching …") : "");
  const cited = new Set(turn.citations.filter((one) => one.exists).map((one) => one.number));
  const unfound = turn.quotes.filter((one) => !one.found).length;
  const shown = turn.text && cited.size ? turn.passages.filter((passage) => cited.has(passage.number)) : turn.outcome && turn.outcome !== "answered" ? turn.passages.slice(0, 5) : [];
  return h("article.turn-of", { "aria-label": turn.question },
    h("h2", { dir: "auto" }, turn.question),
    turn.text && h(`div.answer${writing ? ".writing" : ""}`, { dir: "auto", "aria-live": writing ? "off" : "polite" }, pieces(turn)),
    note && h(`p.answer-note${turn.outcome === "failed" ? ".bad" : ""}`, { role: "status" }, note),
    turn.outcome && unfound > 0 && h("p.answer-note.bad", {}, `${count(unfound, "quotation")} could not be found in the passages, and ${unfound === 1 ? "is" : "are"} marked.`),
    turn.outcome && turn.text && h("div.answer-tools", {}, h("button.quiet", { type: "button", onclick: (event) => copy(turn, event.target) }, "Copy"),
      turn.sent_to && h("span.answer-note", {}, `Question and passages were sent to ${turn.sent_to}.`)),
    shown.length > 0 && h("ol.cited", {}, shown.map((passage) => passageOf(passage, turn))));
}

async function copy(turn, button) {
  try {
    await navigator.clipboard.writeText(turn.text);
    button.textContent = "Copied";
  } catch {
    // A browser gives the clipboard to no page from elsewhere without TLS.
    getSelection().selectAllChildren(button.closest(".turn-of").querySelector(".answer"));
    toast("The browser does not let this page copy. The answer is selected: copy it with the keyboard.");
  }
}

/** Where a passage is shown; null where neither it nor its document is there any more. */
function address(passage, turn) {
  if (passage.text !== null) return `/read?${new URLSearchParams({ chunk: passage.chunk_id, q: turn.query || turn.question })}`;
  return passage.source_id ? `/read?${new URLSearchParams({ source: passage.source_id })}` : null;
}

function passageOf(passage, turn) {
  const place = placeText(passage.place, passage.document.title);
  const where = [place.page, place.section].filter(Boolean).join(", ");
  const href = address(passage, turn);
  const mark = recognised(passage);
  return h("li", {}, h(href ? "a" : "span.gone", { href },
    h("span.cite", {}, passage.number), h("span.title", {}, h("bdi", {}, passage.document.title), where && h("span", {}, ` · ${where}`), mark && [h("span", {}, " · "), mark]),
    h("span.quote", { dir: "auto" }, passage.text === null ? "This passage was changed or removed after the answer was written." : passage.text.slice(0, 400))));
}

/** The answer's text with its citations as links, and what it quotes wrongly marked. Offsets are code points. */
function pieces(turn) {
  const points = [...turn.text];
  const checked = turn.citations.length || turn.outcome === "answered";
  const spans = [
    ...(checked ? turn.citations : numbers(turn)).map((one) => ({ ...one, kind: "cite" })),
    ...turn.quotes.filter((one) => !one.found).map((one) => ({ ...one, kind: "quote" })),
  ].sort((a, b) => a.start - b.start);
  const made = [];
  let at = 0;
  for (const [index, span] of spans.entries()) {
    if (span.kind === "cite") {
      const same = index > 0 && spans[index - 1].start === span.start;
      if (!same && span.start < at) continue;
      if (!same) made.push(...worded(points.slice(at, span.start)));
      const passage = turn.passages.find((one) => one.number === span.number);
      made.push(passage && span.exists && !address(passage, turn)
        ? h("span.cite", { title: `${passage.document.title} was removed` }, span.number)
        : passage && span.exists
        ? h("a.cite", { href: address(passage, turn), title: passage.document.title, "aria-label": `Passage ${span.number}: ${passage.document.title}` }, span.number)
        : h("span.cite.bad", { title: "There is no such passage" }, span.number));
      at = span.end;
    } else if (span.start >= at) {
      made.push(...worded(points.slice(at, span.start)), h("span.unfound", { title: "These words are not in the passage" }, worded(points.slice(span.start, span.end))));
      at = span.end;
    }
  }
  made.push(...worded(points.slice(at)));
  return made;
}

/** The citations of an answer that is still being written, or was stopped: it was not checked yet, but a number opens its passage. */
function numbers(turn) {
  const found = [];
  for (const match of turn.text.matchAll(/\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]/g)) {
    const start = [...turn.text.slice(0, match.index)].length;
    for (const number of match[1].split(/[,;]/).map(Number)) found.push({ number, start, end: start + match[0].length, exists: turn.passages.some((one) => one.number === number) });
  }
  return found;
}

/** Bold and code, as most models write them. */
function worded(points) {
  return points.join("").split(/(\*\*[^*\n]+\*\*|`[^`\n]+`)/).map((part, index) => (index % 2 === 0 ? part : part[0] === "*" ? h("strong", {}, part.slice(2, -2)) : h("code", {}, part.slice(1, -1))));
}

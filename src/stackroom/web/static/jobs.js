// What runs: progress, rate and time left, failures with their reasons; kept on show until its user has seen the outcome.
import { $, h, count, duration, number, reasonOf } from "./dom.js";
import { get, post } from "./api.js";
import { onChange } from "./events.js";
import { sayError, toast } from "./toast.js";

const VERBS = {
  add: "Indexing", recognise: "Recognising", verify: "Checking", repair: "Repairing", compact: "Compacting", rebuild: "Reading again", backup: "Copying", export: "Writing",
  push: "Sending", pull: "Fetching", measure: "Measuring", migrate: "Converting", inventory: "Looking at the old index",
};
const ENDED = ["done", "failed", "cancelled"];
const dismissed = new Set(JSON.parse(sessionStorage.getItem("stackroom-dismissed") || "[]"));
const opened = new Set();

const adds = (job) => job.kind === "add" || job.kind === "recognise";
export const isRunning = (job) => !ENDED.includes(job.state);

export function startJobs(go) {
  onChange((now, before) => {
    draw(now.jobs);
    pill(now.jobs, go);
    for (const job of now.jobs) {
      const was = before.jobs.find((item) => item.id === job.id && item.created_at === job.created_at);
      if (was && isRunning(was) && !isRunning(job)) announce(job);
    }
  });
}

const nameOf = (job) => `${job.created_at} ${job.id}`;

/** A card stays the same element as long as its job is in the same state: a button that is replaced under a pressed mouse is never clicked. */
function draw(jobs) {
  const shown = jobs.filter((job) => isRunning(job) || (!dismissed.has(nameOf(job)) && job.kind !== "inventory" && job.kind !== "migrate")).slice(0, 4);
  const all = $("#jobs");
  const old = new Map([...all.children].map((made) => [made.dataset.job, made]));
  const cards = shown.map((job) => advanced(old.get(nameOf(job)), job) || card(job));
  if (cards.length === all.children.length && cards.every((made, at) => made === all.children[at])) return;
  const held = document.activeElement;
  const holder = held?.closest?.(".job")?.dataset.job;
  all.replaceChildren(...cards);
  if (all.contains(held)) held.focus();
  else if (holder) cards.find((made) => made.dataset.job === holder)?.querySelector("button").focus();
}

/** The card with what has changed in it; null where it must be made anew. */
function advanced(made, job) {
  if (made?.dataset.state !== job.state) return null;
  if (isRunning(job)) {
    $("strong", made).textContent = headline(job);
    measured($("progress", made), job);
    $(".job-facts", made).replaceWith(facts(job));
  }
  return made;
}

function card(job) {
  const running = isRunning(job);
  const made = h("section.job", { "aria-label": `${VERBS[job.kind]} ${job.title}`, dataset: { job: nameOf(job), state: job.state } },
    h("div.job-head", {}, h("strong", {}, headline(job)),
      running
        ? h("button", { type: "button", onclick: () => post(`/api/jobs/${job.id}/cancel`).catch(sayError) }, "Cancel")
        : h("button.quiet", { type: "button", "aria-label": `Dismiss ${job.title}`, onclick: () => dismiss(job) }, "Dismiss")));
  if (job.state === "failed" || job.result?.failures?.some((failure) => !failure.before)) made.classList.add("bad");
  if (running) made.append(measured(h("progress", { "aria-label": "Progress" }), job));
  made.append(facts(job));
  if (job.result?.failures?.length) made.append(failures(job));
  const broken = (job.result?.notes || []).filter((note) => note.kind === "incomplete");
  if (broken.length) made.append(readInPart(job, broken));
  if (job.kind === "add" && job.result?.pages_without_text) {
    made.append(h("div.buttons", {}, h("button", { type: "button", onclick: () => { dismiss(job); recogniseAll(); } }, "Recognise pages without text")));
  }
  if (job.kind === "verify" && job.result?.ok === false) {
    made.append(h("div.buttons", {}, h("button", { type: "button", onclick: () => { dismiss(job); post("/api/repair").catch(sayError); } }, "Bring back what can be")));
  }
  return made;
}

function headline(job) {
  const verb = VERBS[job.kind];
  if (job.state === "queued") return `Next: ${job.title}`;
  if (job.state === "waiting") return `Waiting to add ${job.title}`;
  if (isRunning(job)) return job.progress.stage === "scan" && adds(job) ? `Looking through ${job.title}` : `${verb} ${adds(job) ? job.title : ""}`;
  if (job.state === "cancelled") return `Stopped: ${job.title}`;
  if (job.state === "failed") return `Not done: ${job.title}`;
  return { add: `Indexed ${job.title}`, recognise: `Recognised ${job.title}`, verify: "Checked every byte", backup: "Backed up the library", export: "Exported the library", measure: "Measured searches of this library" }[job.kind] || job.title;
}

/** The bar with how far the job has come. */
export function measured(bar, job) {
  const { done, total } = job.progress;
  if (job.state === "running" && total) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
  return bar;
}

function facts(job) {
  const { progress, result, error } = job;
  const told = [];
  if (job.state === "waiting" || job.state === "failed") told.push([error.message, job.state === "failed" ? error.hint : "It goes on by itself."].filter(Boolean).join(" "));
  else if (isRunning(job)) {
    if (progress.total) told.push(`${number(progress.done)} of ${number(progress.total)}`);
    else if (progress.done) told.push(number(progress.done));
    if (progress.chunks && adds(job)) told.push(count(progress.chunks, "passage"));
    if (progress.rate >= 1) told.push(`${number(Math.round(progress.rate))} passages/s`);
    if (progress.seconds_left) told.push(`about ${duration(progress.seconds_left)} left`);
    if (progress.failed) told.push(`${number(progress.failed)} failed`);
    const name = progress.current?.split(/[/\\]/).pop();
    if (name) told.push(h("span.current", {}, name));
  } else if (result) told.push(...outcome(job, result));
  return h("div.job-facts", {}, told.map((one) => (typeof one === "string" ? h("span", {}, one) : one)));
}

function outcome(job, result) {
  if (job.state === "cancelled" && !(adds(job) || "added" in result)) return [LEFT[job.kind] || "What was done stays."];
  if (job.kind === "verify") return [result.ok ? `${result.incomplete.length ? "Nothing is damaged" : "All is well"}: ${count(result.chunks, "passage")} and ${count(result.rows, "vector")} checked.${result.incomplete.length ? ` ${count(result.incomplete.length, "document")} incomplete: ${result.incomplete[0].message}` : ""}` : `${count(result.damage.length, "thing")} damaged: ${result.damage[0].message}`];
  if (job.kind === "compact") return [`${(result.bytes_before / 1e6).toFixed(1)} MB before, ${(result.bytes_after / 1e6).toFixed(1)} MB now.`];
  if (job.kind === "repair") return [result.ok ? `All is well again${result.restored.length ? `: ${result.restored.join(", ")}` : ""}.` : `${count(result.lost.length + result.waiting.length, "thing")} could not be brought back: ${[...result.lost, ...result.waiting][0].message}`];
  if (result.copied === false) return [`Nothing was copied: ${result.folder} holds its newest commit already.`];
  if (job.kind === "backup" || job.kind === "export") return [`It is in ${result.folder}.`];
  if (job.kind === "measure") return measurement(result);
  const told = ["added", "updated", "moved", "unchanged", "removed", "failed"].filter((name) => result[name]).map((name) => `${number(result[name])} ${name}`);
  if (!told.length) told.push("Nothing to do");
  if (result.chunks) told.push(`${count(result.chunks, "passage")} in ${duration(job.seconds)}`);
  if (result.pages_without_text) told.push(`${count(result.pages_without_text, "page")} without text`);
  const others = Object.values(result.skipped || {}).reduce((sum, one) => sum + one, 0);
  if (others) told.push(`${count(others, "file")} of other kinds left alone`);
  if (job.state === "cancelled") told.push("What was committed stays. Add it again to go on.");
  return told;
}

/** What a run that was stopped leaves. */
const LEFT = { verify: "Not everything was checked.", backup: "No copy was left behind.", export: "No copy was left behind.", measure: "Not all was measured." };

function measurement({ questions, recall, searches }) {
  const took = [["hybrid", "by both"], ["text", "by words"], ["vector", "by meaning"]].filter(([name]) => searches[name])
    .map(([name, words]) => `${milliseconds(searches[name].median)} ${words}`);
  return [`Half of ${count(questions, "question")} took no longer than ${took.join(", ")}.`, `By meaning ${(100 * recall).toFixed(1)} % of the exact ten best are found.`];
}

const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function failures(job) {
  const { failures: listed, failed } = job.result;
  const items = listed.map((failure) => h("li", {}, failure.path, h("span", {}, reasonOf(failure.reason, failure.path))));
  const more = failed > listed.length && h("li", {}, `and ${number(failed - listed.length)} more: choose “Failed” below`);
  return h("details", { open: opened.has(job.id), ontoggle: (event) => (event.target.open ? opened.add(job.id) : opened.delete(job.id)) },
    h("summary", {}, `${count(failed, "file")} could not be read`), h("ul.failures", {}, items, more),
    h("button", { type: "button", onclick: () => { dismiss(job); retryFailed(); } }, "Try again"));
}

/** Files that are broken in part: what is good of them was added. */
function readInPart(job, notes) {
  const id = `${job.id} in part`;
  return h("details", { open: opened.has(id), ontoggle: (event) => (event.target.open ? opened.add(id) : opened.delete(id)) },
    h("summary", {}, `${count(notes.length, "file")} read in part`),
    h("ul.failures", {}, notes.map((note) => h("li", {}, note.path, h("span", {}, note.reason)))));
}

/** Pages without text of the whole library: scans, and pictures. */
export async function recogniseAll() {
  try {
    recogniseIn((await get("/api/sources", { state: "without_text", limit: 10_000 })).sources);
  } catch (error) { sayError(error); }
}

export function recogniseIn(sources) {
  const paths = sources.map((source) => source.path).filter((path) => path.startsWith("/") || path[1] === ":");
  if (paths.length) post("/api/add", { paths, ocr: true }).catch(sayError);
  else toast("There is no page without text.");
}

export const retryFailed = () => post("/api/retry").catch(sayError);

function dismiss(job) {
  dismissed.add(nameOf(job));
  sessionStorage.setItem("stackroom-dismissed", JSON.stringify([...dismissed].slice(-50)));
  $(`[data-job="${CSS.escape(nameOf(job))}"]`)?.remove();
}

function announce(job) {
  if (job.kind === "inventory" || $("#view-documents").hidden === false) return;
  toast(`${headline(job)}. ${job.result ? outcome(job, job.result).join(", ") : job.error?.message || ""}`);
}

function pill(jobs, go) {
  const running = jobs.filter(isRunning);
  const shown = $("#job-pill");
  shown.hidden = !running.length;
  if (!running.length) return;
  const { progress, kind } = running.find((job) => job.state === "running") || running[0];
  const share = progress.total ? ` ${Math.floor((100 * progress.done) / progress.total)} %` : " …";
  shown.replaceChildren(h("span.wide", {}, VERBS[kind]), share);
  shown.setAttribute("aria-label", `${VERBS[kind]}${share}: to Documents`);
  shown.onclick = () => go("documents");
}

// A library in an old format: what is in it, what converting takes, and the way there.
import { $, h, count, duration, number, size } from "./dom.js";
import { post } from "./api.js";
import { jobs, onChange } from "./events.js";
import { isRunning, measured } from "./jobs.js";
import { sayError } from "./toast.js";

let watching = null;
let done = () => {};

/** Shows what keeps the library from being used; null when nothing does. */
export function showTrouble(told, again) {
  done = again;
  const notice = $("#trouble");
  notice.hidden = told.state === "ready";
  if (told.state === "ready") return;
  if (told.state === "failed") {
    const mend = told.error.type === "DamagedError" && h("button", { type: "button", id: "repair", onclick: (event) => repair(event.target, again) }, "Bring back what can be");
    notice.replaceChildren(h("h1", {}, told.error.message), h("p", {}, told.error.hint || ""),
      h("div.buttons", {}, ...[h("button.primary", { type: "button", onclick: again }, "Try again"), mend].filter(Boolean)));
    return;
  }
  if (!watching) {
    watching = true;
    onChange((now) => draw(now.jobs));
    if (!jobs().some((job) => ["inventory", "migrate"].includes(job.kind) && !["failed", "cancelled"].includes(job.state))) {
      post("/api/migrate", { dry_run: true }).catch(sayError);
    }
  }
  draw(jobs());
}

async function repair(button, again) {
  button.disabled = true;
  try {
    const { job } = await post("/api/repair");
    let waiting = true;
    onChange((now) => {
      if (!waiting || !now.jobs.some((one) => one.id === job.id && !isRunning(one))) return;
      waiting = false;
      again();
    });
  } catch (error) {
    button.disabled = false;
    sayError(error);
  }
}

function draw(listed) {
  const notice = $("#trouble");
  if (notice.hidden) return;
  const converting = listed.find((job) => job.kind === "migrate");
  const look = listed.find((job) => job.kind === "inventory");
  if (converting?.state === "done") { done(); return; }
  const bar = $("progress", notice);
  if (converting && isRunning(converting) && bar?.dataset.job === converting.id) {
    // Its elements stay: a button that is replaced under a pressed mouse is never clicked.
    $("p", notice).textContent = stageOf(converting);
    measured(bar, converting);
    $(".job-facts", notice).replaceWith(factsOf(converting));
    return;
  }
  const stamp = JSON.stringify([converting, look]);
  if (notice.dataset.stamp === stamp) return;
  notice.dataset.stamp = stamp;
  const parts = [h("h1", {}, "An old index was found")];
  if (converting && isRunning(converting)) parts.push(...running(converting));
  else {
    if (converting?.error) parts.push(h("p", {}, [converting.error.message, converting.error.hint].filter(Boolean).join(" ")));
    if (converting?.state === "cancelled") parts.push(h("p", {}, "Stopped. The old files are as they were; converting goes on from there."));
    if (look?.result) parts.push(...inventory(look.result));
    else if (look?.error) parts.push(h("p", {}, [look.error.message, look.error.hint].filter(Boolean).join(" ")));
    else parts.push(h("p", {}, `Looking at what is in it … ${look?.progress.done ? count(look.progress.done, "passage") : ""}`));
  }
  notice.replaceChildren(...parts);
}

function inventory(found) {
  const rows = [
    ["Made by", `${found.made_by} (${found.format})`], ["Holds", `${count(found.chunks, "passage")} of ${count(found.documents, "document")}, ${count(found.vectors, "vector")}`],
    ["Size", `${size(found.bytes)} in ${count(found.files.length, "file")}`],
    ["Takes", `about ${duration(found.seconds)}, and ${size(found.disk)} of disk (${size(found.disk_free)} free)`],
    ["Model", found.models[0]?.agrees ? `${found.models[0].name} made its vectors` : "not known here: it is searched by words until the model is named"],
    ...found.anomalies.map((item) => ["Note", `${number(item.count)} × ${item.kind}. ${item.rule}`]),
  ];
  return [
    h("p", {}, "Convert it once, and it opens at once from then on. Nothing is embedded again, every vector is proven, and the old files stay as they are."),
    h("dl.facts-list", {}, rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("div.buttons", {}, h("button.primary", { type: "button", id: "convert", onclick: () => post("/api/migrate").catch(sayError) }, "Convert it")),
  ];
}

function running(job) {
  return [
    h("p", {}, stageOf(job)),
    h("div.job", {}, measured(h("progress", { "aria-label": "Progress", dataset: { job: job.id } }), job), factsOf(job)),
    h("div.buttons", {}, h("button", { type: "button", onclick: () => post(`/api/jobs/${job.id}/cancel`).catch(sayError) }, "Cancel")),
  ];
}

const stageOf = (job) => (job.progress.stage === "verify" ? "Proving that all of it arrived …" : "Converting: this happens once, and future loads are immediate.");

function factsOf({ progress }) {
  return h("div.job-facts", {}, h("span", {}, progress.total ? `${number(progress.done)} of ${number(progress.total)}` : count(progress.done, "passage")),
    progress.seconds_left && h("span", {}, `about ${duration(progress.seconds_left)} left`));
}

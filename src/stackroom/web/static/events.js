// One stream of what changes: jobs, and the library's version. While it is away for longer than a moment, the page says so.
import { $ } from "./dom.js";

const MOMENT = 2500;

const listeners = new Set();
let last = { version: -1, jobs: [], removals: 0 };

export function onChange(listener) {
  listeners.add(listener);
  if (last.version !== -1 || last.jobs.length) listener(last, last);
}

export const jobs = () => last.jobs;

export function listen() {
  const source = new EventSource("/api/events");
  source.addEventListener("change", (event) => {
    const before = last;
    last = JSON.parse(event.data);
    for (const listener of listeners) listener(last, before);
  });
  let timer = 0;
  source.addEventListener("error", () => { timer ||= setTimeout(() => { $("#away").hidden = false; }, MOMENT); });
  source.addEventListener("open", () => {
    clearTimeout(timer);
    timer = 0;
    $("#away").hidden = true;
  });
}

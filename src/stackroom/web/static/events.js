// One stream of what changes: jobs, and the library's version.

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
}

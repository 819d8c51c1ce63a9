// The HTTP API of this page's own program.

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.type = error.type;
    this.hint = error.hint;
  }
}

async function answered(response) {
  let told = null;
  try {
    told = await response.json();
  } catch {
    throw new ApiError(response.status, { type: "InternalError", message: "The answer could not be read.", hint: null });
  }
  if (!response.ok) throw new ApiError(response.status, told.error);
  return told;
}

async function asked(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { type: "Gone", message: "Stackroom does not answer.", hint: "Start it again: stackroom ui" });
  }
  return answered(response);
}

export function get(path, query = {}, signal = undefined) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "" || value === false) continue;
    for (const one of [value].flat()) parameters.append(name, one);
  }
  const text = parameters.toString();
  return asked(text ? `${path}?${text}` : path, { signal });
}

export function post(path, body = {}) {
  return asked(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

export function upload(file, name) {
  return asked(`/api/upload?${new URLSearchParams({ name })}`, {
    method: "POST", headers: { "content-type": "application/octet-stream" }, body: file,
  });
}

/** Server-sent events of a POST: each as [name, data]. `signal` ends them. */
export async function* streamed(path, body, signal) {
  const response = await fetch(path, {
    method: "POST", credentials: "same-origin", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
  });
  if (!response.ok) await answered(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
      const lines = held.slice(0, end).split("\n");
      held = held.slice(end + 2);
      const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

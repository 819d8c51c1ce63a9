// Short messages at the foot of the page; some with a way back.
import { $, h } from "./dom.js";

/** Shows a message for some seconds; `action` is {label, run}. Returns what takes it away. */
export function toast(message, action = null, seconds = 6) {
  const close = () => shown.remove();
  const shown = h("div.toast", {}, h("span", {}, message),
    action && h("button", { type: "button", onclick: () => { close(); action.run(); } }, action.label));
  $("#toasts").append(shown);
  setTimeout(close, seconds * 1000);
  return close;
}

export function sayError(error) {
  if (error.name !== "AbortError") toast([error.message, error.hint].filter(Boolean).join(" "), null, 9);
}

// Elements made of names and texts; never of markup.

export const $ = (selector, root = document) => root.querySelector(selector);

/** h("a.name", {href: "/"}, "text", child) */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(made.dataset, value);
    else if (["checked", "value", "disabled", "indeterminate", "hidden"].includes(key)) made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const numbers = new Intl.NumberFormat("en");
export const number = (value) => numbers.format(value);
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  if (bytes < 1000) return `${bytes} B`;
  const power = Math.min(Math.floor(Math.log10(bytes) / 3), 3);
  const value = bytes / 1000 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${["", "kB", "MB", "GB"][power]}`;
}

export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return count(Math.round(seconds), "second");
  const minutes = seconds / 60;
  return minutes < 90 ? count(Math.round(minutes), "minute") : `${(minutes / 60).toFixed(1)} hours`;
}

/** What a place is called: p. 12, rows 2-9, Chapter › Section. */
export function placeText(place, title) {
  const label = place.page_label && place.page_label !== String(place.page) ? place.page_label : null;
  let page = null;
  if (place.page !== null) {
    const last = place.page_end !== null && place.page_end !== place.page ? `–${place.page_end}` : "";
    page = `p. ${place.page}${last}${label ? ` (${label})` : ""}`;
  } else if (place.page_label) page = `p. ${place.page_label}`;
  let counted = null;
  if (place.page === null && place.unit !== null && place.first !== null) {
    const several = place.last !== null && place.last !== place.first;
    if (place.unit === "second") counted = several ? `${clock(place.first)}–${clock(place.last)}` : clock(place.first);
    else counted = several ? `${place.unit}s ${place.first}–${place.last}` : `${place.unit} ${place.first}`;
  }
  const section = (place.section || []).filter((heading) => heading !== title).slice(-2).join(" › ");
  return { page: page || counted, section };
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (value) => String(value).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** Says of a hit or passage that its text was recognised; null where it was printed. */
export const recognised = ({ metadata }) => (metadata?.recognised === true
  ? h("span.recognised", { title: "Recognised in a picture of the page (OCR): it may hold mistakes." }, "recognised") : null);

/** Why a file failed, without its path, which stands beside it. */
export const reasonOf = (reason, path) => {
  const name = path.split(/[/\\]/).pop();
  const short = reason.replaceAll(path, name);
  return short.startsWith(`${name} is `) ? `It is ${short.slice(name.length + 4)}` : short;
};

/** Runs after `wait` ms without another call. */
export function debounced(run, wait) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), wait);
  };
}

/** Whether nothing in the view has the focus. */
export const isNowhere = () => document.activeElement === document.body || Boolean(document.activeElement?.closest("header.bar, main:focus"));

export function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || target.tagName === "SELECT"
    || target.tagName === "TEXTAREA" || (target.tagName === "INPUT" && !["checkbox", "radio"].includes(target.type)));
}

// Copies of the library in a folder that its user names: a backup, and what LlamaIndex opens.
import { $ } from "./dom.js";
import { post } from "./api.js";
import { sayError } from "./toast.js";

const KINDS = {
  backup: ["Back up the library", "A whole copy, made while the library is used. It opens like any other library, here or on another machine."],
  export: ["Export for LlamaIndex", "Passages, vectors and metadata as a folder of JSON, which LlamaIndex opens. The library stays as it is."],
};

let library = "";
/** Where the library is: copies are suggested beside it. */
export const sayLibrary = (path) => { library = path; };

let kind = "backup";

export function startCopying() {
  const [dialog, folder] = [$("#copy-dialog"), $("#copy-folder")];
  $("#copy-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = { folder: folder.value.trim() };
    if (!body.folder) { folder.focus(); return; }
    if (kind === "backup" && $("#copy-refresh").checked) body.refresh = true;
    try {
      await post(`/api/${kind}`, body);
      dialog.close();
    } catch (error) { sayError(error); }
  });
  $("#copy-close").addEventListener("click", () => dialog.close());
}

export function askWhere(which) {
  kind = which;
  [$("#copy-title").textContent, $("#copy-note").textContent] = KINDS[kind];
  $("#copy-refresh").checked = false;
  $("#copy-again").hidden = kind !== "backup";
  const today = new Date();
  const day = [today.getFullYear(), today.getMonth() + 1, today.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
  $("#copy-folder").value = library.includes("://") ? "" : `${library}-${kind}-${day}`;
  $("#copy-dialog").showModal();
  $("#copy-folder").focus();
}

// Ways in: a path on this computer, files and folders that are dropped or chosen.
import { $, h, count, debounced, number } from "./dom.js";
import { get, post, upload } from "./api.js";
import { sayError, toast } from "./toast.js";

export function startAdding(go) {
  const dialog = $("#add-dialog");
  $("#add-button").addEventListener("click", openAdding);
  const path = $("#add-path");
  const add = async () => {
    const wanted = path.value.trim();
    if (!wanted) { path.focus(); return; }
    try {
      await post("/api/add", { paths: [wanted] });
      dialog.close();
      go("documents");
    } catch (error) { sayError(error); }
  };
  $("#add-path-button").addEventListener("click", add);
  path.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); add(); } });
  path.addEventListener("input", debounced(() => show(path.value.trim(), false), 250));
  for (const input of [$("#files-input"), $("#folder-input")]) {
    input.addEventListener("change", () => {
      dialog.close();
      take([...input.files].map((file) => [file, file.webkitRelativePath || file.name]), go);
      input.value = "";
    });
  }
  dropping(go);
}

export function openAdding() {
  $("#add-dialog").showModal();
  show($("#add-path").value.trim(), true);
  $("#add-path").focus();
}

export const sayWhere = (folder) => { $("#uploads-folder").textContent = folder; };

let asked = 0;

/** List the folders within one. What is typed may be no folder yet: then the list stays. What was typed while the answer was on its way stays too. */
async function show(path, fill) {
  const mine = (asked += 1);
  const before = $("#add-path").value;
  try {
    const found = await get("/api/folders", { path });
    if (mine !== asked || $("#add-path").value !== before) return;
    if (fill) $("#add-path").value = found.path;
    // Who clicks goes on with the path, which Enter adds; who uses keys stays in the list.
    const into = (name) => async (event) => {
      $("#add-path").value = name;
      await show(name, true);
      (event.detail ? $("#add-path") : $("#folders button") || $("#add-path")).focus();
    };
    const below = (name) => (found.path.endsWith("/") ? found.path + name : `${found.path}/${name}`);
    $("#folders").replaceChildren(
      ...(found.parent ? [h("button.up", { type: "button", role: "option", onclick: into(found.parent) }, "Up")] : []),
      ...found.folders.map((name) => h("button", { type: "button", role: "option", onclick: into(below(name)) }, name)),
      h("p.small", {}, found.folders.length ? `${count(found.files, "file")} here` : `No folders; ${count(found.files, "file")} here`));
  } catch (error) {
    if (fill && mine === asked && $("#add-path").value === before) { $("#add-path").value = ""; if (path) show("", true); else sayError(error); }
  }
}

/** Send files one after the other, then index what arrived. */
async function take(files, go) {
  if (!files.length) return;
  go("documents");
  const paths = [];
  let close = () => {};
  for (const [index, [file, name]] of files.entries()) {
    if (name.split("/").some((part) => part.startsWith("."))) continue;
    if (files.length > 3 && index % 10 === 0) { close(); close = toast(`Copying ${number(index + 1)} of ${number(files.length)} …`, null, 60); }
    try {
      paths.push((await upload(file, name)).path);
    } catch (error) { sayError(error); if (error.status === 0) break; }
  }
  close();
  for (let at = 0; at < paths.length; at += 5000) {
    try { await post("/api/add", { paths: paths.slice(at, at + 5000) }); } catch (error) { sayError(error); }
  }
}

function dropping(go) {
  let depth = 0;
  const shown = (is) => { $("#drop").hidden = !is; };
  const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth += 1; shown(true); } });
  addEventListener("dragleave", (event) => { if (hasFiles(event)) { depth -= 1; if (depth <= 0) { depth = 0; shown(false); } } });
  addEventListener("dragover", (event) => { if (hasFiles(event)) { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; } });
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    shown(false);
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...event.dataTransfer.files];
    const files = [];
    if (entries.length) for (const entry of entries) await walk(entry, "", files);
    else files.push(...plain.map((file) => [file, file.name]));
    take(files, go);
  });
}

async function walk(entry, above, files) {
  if (entry.isFile) {
    files.push([await new Promise((done, failed) => entry.file(done, failed)), above + entry.name]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const inner of some) await walk(inner, `${above}${entry.name}/`, files);
  }
}

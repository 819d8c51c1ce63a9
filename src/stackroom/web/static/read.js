// The reading page: to the passage, back to the hits, and from side to side on a narrow screen.
const back = document.querySelector("#back");
back.href = sessionStorage.getItem("stackroom-search") || back.getAttribute("href");

const wanted = document.querySelector("#here");
const show = () => wanted?.scrollIntoView({ block: wanted.offsetHeight > innerHeight / 2 ? "start" : "center" });
show();

for (const radio of document.querySelectorAll("[name=side]")) {
  radio.addEventListener("change", () => {
    document.body.classList.toggle("text-side", radio.value === "text" && radio.checked);
    show();
  });
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" || event.key === "Backspace") { event.preventDefault(); location.href = back.href; }
  if (event.key === "/") { event.preventDefault(); sessionStorage.removeItem("stackroom-opened"); location.href = back.href; }
});

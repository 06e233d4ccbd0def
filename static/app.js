// Small helps on top of pages that work without them. No framework; nothing here is needed to finish a task.
"use strict";

const root = document.documentElement;
root.classList.add("js");

// --- copy buttons ---------------------------------------------------------
async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.querySelector("span");
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText((source.value ?? source.textContent).trim());
    label.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    label.textContent = "Press Ctrl+C";
  }
  announce(label.textContent);
  setTimeout(() => { label.textContent = before; }, 2000);
}

function announce(text) {
  const live = document.getElementById("announce");
  if (live) live.textContent = text;
}

// --- picking a value of the event into a field ------------------------------
const TAKES_VALUES = "[data-templated], [data-path]";
// Somebody may have begun to write before this script arrived.
let lastField = document.activeElement?.matches(TAKES_VALUES) ? document.activeElement : null;

function insert(path) {
  const field = lastField?.isConnected ? lastField : document.querySelector(TAKES_VALUES);
  if (!field) return;
  const text = "path" in field.dataset ? path : `{{ ${path} }}`;
  if ("path" in field.dataset) field.value = text;
  else field.setRangeText(text, field.selectionStart, field.selectionEnd, "end");
  field.focus();
  field.dispatchEvent(new Event("input", { bubbles: true }));
  announce(`${text} inserted`);
}

function upgradeChips(scope) {
  for (const chip of scope.querySelectorAll("code[data-insert]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = chip.className;
    button.dataset.insert = chip.dataset.insert;
    button.textContent = chip.dataset.insert;
    button.setAttribute("aria-label", `Insert ${chip.dataset.insert}`);
    chip.replaceWith(button);
  }
}

// On a narrow screen the list of values comes to the field instead of the reader going to the list.
function openPicker(link) {
  const picker = document.getElementById("picker");
  const field = link.closest(".field, li");
  lastField = field.querySelector(TAKES_VALUES);
  if (matchMedia("(max-width: 68rem)").matches) field.after(picker);
  picker.open = true;
  picker.querySelector("button.chip")?.focus();
}

// --- rows that repeat (headers, conditions) ---------------------------------
function addRow(button) {
  const list = document.getElementById(button.dataset.addRow);
  const row = list.lastElementChild.cloneNode(true);
  for (const control of row.querySelectorAll("input, select, textarea")) {
    control.value = control.tagName === "SELECT" ? control.options[0].value : "";
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-describedby");
  }
  row.querySelectorAll(".error-text").forEach((text) => text.remove());
  for (const named of row.querySelectorAll("[id], [for]")) {
    const attribute = named.id ? "id" : "for";
    named.setAttribute(attribute, `${named.getAttribute(attribute)}-${list.children.length}`);
  }
  list.append(row);
  row.querySelector("input, select").focus();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-insert], [data-add-row], [data-pick]");
  if (!target) return;
  if (target.dataset.copy) copy(target);
  else if (target.dataset.addRow) addRow(target);
  else if (target.matches("button[data-insert]")) insert(target.dataset.insert);
  else if ("pick" in target.dataset) { event.preventDefault(); openPicker(target); }
});

document.addEventListener("focusin", (event) => {
  if (event.target.matches(TAKES_VALUES)) lastField = event.target;
});

// --- forms --------------------------------------------------------------------
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (event.defaultPrevented || !button || event.target.method !== "post") return;
  setTimeout(() => { button.disabled = true; button.dataset.sent = ""; });  // after the browser has read the button's own value
  setTimeout(() => { button.disabled = false; }, 8000);
});

// A page kept by the back button must not keep its pressed button disabled.
addEventListener("pageshow", () => {
  document.querySelectorAll("button[data-sent]").forEach((button) => { button.disabled = false; });
});

// Escape closes an open question and gives the focus back.
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && event.target.closest("details.confirm[open]");
  if (open) { open.open = false; open.querySelector("summary").focus(); }
});

// --- live parts (htmx) ----------------------------------------------------------
document.addEventListener("htmx:before:request", (event) => {
  if (document.hidden) event.preventDefault();
});
document.addEventListener("htmx:before:response", (event) => {
  if (!event.detail.ctx.response.raw.redirected) return;
  event.preventDefault();  // logged out meanwhile: show that page whole, not inside this one
  location.reload();
});
document.addEventListener("htmx:after:request", (event) => {
  root.classList.toggle("stale", event.detail.ctx.response.status >= 400);
});
document.addEventListener("htmx:error", () => root.classList.add("stale"));
document.addEventListener("htmx:after:swap", () => upgradeChips(document));

document.querySelectorAll("input[data-zone]").forEach((input) => {
  input.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone;
});
document.querySelectorAll("select[data-zone]").forEach((select) => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if ([...select.options].some((option) => option.value === zone)) select.value = zone;
});
upgradeChips(document);

// What is live on every page: rows, facts and the log's end, by server-sent events; and small helps.
"use strict";
const link = document.getElementById("link");
const live = document.querySelector("[data-live]");
let source = null;

function watch() {
  if (!live || source) return;
  const names = live.dataset.charts ? JSON.parse(live.dataset.charts) : [];
  const query = new URLSearchParams(names.map(name => ["run", name]));
  if (live.dataset.live === "rows") query.set("rows", "1");
  source = new EventSource(`/events?${query}`);
  source.onopen = () => say("live", false);
  source.onerror = () => say("no connection: the board has ended", true);
  source.onmessage = message => document.dispatchEvent(new CustomEvent("news", { detail: JSON.parse(message.data) }));
}

function say(text, lost) {
  link.textContent = text;
  link.classList.toggle("lost", lost);
}

// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    source?.close();
    source = null;
  } else watch();
});

const made = html => {
  const template = document.createElement("template");
  template.innerHTML = html; // the server's own, in which every text is escaped
  return template.content.firstElementChild;
};

const table = document.getElementById("runs");
const filter = document.getElementById("filter");

function sift() {
  const words = filter.value.toLowerCase().split(/\s+/);
  for (const row of table.tBodies[0].rows)
    row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
}

function renew(name, html) {
  const body = table.tBodies[0];
  const old = [...body.rows].find(row => row.dataset.run === name);
  if (html === null) return old?.remove();
  const row = made(html);
  if (!old) return body.prepend(row);
  row.querySelector("input").checked = old.querySelector("input").checked;
  const focus = old.contains(document.activeElement) ? document.activeElement.localName : null;
  old.replaceWith(row);
  if (focus) row.querySelector(focus)?.focus();
}

function order() {
  const column = [...table.tHead.rows[0].cells].findIndex(head => head.hasAttribute("aria-sort"));
  if (column >= 0) sort(table, column, table.tHead.rows[0].cells[column].getAttribute("aria-sort") === "descending");
}

document.addEventListener("news", ({ detail }) => {
  if (detail.rows && table) {
    for (const [name, html] of Object.entries(detail.rows)) renew(name, html);
    order();
    sift();
    document.getElementById("none").hidden = table.tBodies[0].rows.length > 0;
  }
  for (const [name, run] of Object.entries(detail.runs ?? {})) {
    const facts = document.querySelector(`[data-facts="${CSS.escape(name)}"]`);
    if (facts && run.facts) {
      const open = [...facts.querySelectorAll("details")].map(each => each.open);
      facts.innerHTML = run.facts;
      facts.querySelectorAll("details").forEach((each, place) => { if (place in open) each.open = open[place]; });
    }
    const log = document.querySelector(`[data-log="${CSS.escape(name)}"]`);
    if (log && run.log) {
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
      log.textContent = run.log.join("\n");
      if (atEnd) log.scrollTop = log.scrollHeight;
    }
  }
});

filter?.addEventListener("input", sift);

document.addEventListener("click", async event => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  } catch { // not allowed, or not over https
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = "press Ctrl-C";
  }
});

for (const choice of document.querySelectorAll("[data-send]"))
  choice.addEventListener("change", () => choice.form.requestSubmit());

for (const frame of document.querySelectorAll("iframe.report")) {
  const fit = () => {
    const page = frame.contentDocument;
    if (!page?.body) return;
    for (const figure of page.querySelectorAll('a[href^="figures/"]')) figure.target = "_blank";
    new ResizeObserver(() => { frame.style.height = `${page.documentElement.scrollHeight}px`; }).observe(page.body);
  };
  frame.addEventListener("load", fit);
  if (frame.contentDocument?.readyState === "complete") fit();
}

const tail = document.getElementById("tail");
if (tail) tail.scrollTop = tail.scrollHeight;
watch();

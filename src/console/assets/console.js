// Comfort for the pages: live filter, counts, keys, regrouping without lost ticks, and progress.
// Everything else works without it. It talks to its own origin only.
"use strict";

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
document.documentElement.classList.add("scripted");

// The way to the pages. The module of Cockpit has another one.
const way = {
  path: () => location.pathname + location.search,
  page: async (path, headers) => {
    const answer = await fetch(path, { headers, redirect: "error" }).catch(() => null);
    if (!answer || answer.status === 401) over();
    if (!answer?.ok) throw new Error(String(answer?.status));
    return answer.text();
  },
  go: path => location.assign(path),
  note: path => history.replaceState(null, "", path),
};

// The code of the link is in the fragment, which no browser sends. The form swaps it for a session.
const opening = one("form#open");
if (opening && location.hash.length > 1) {
  opening.elements.code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  opening.submit();
}

// Says that nothing on this page can be sent any more.
let isOver = false;
function over() {
  if (isOver) return;
  isOver = true;
  const notice = document.createElement("div");
  [notice.className, notice.role] = ["notice bad", "alert"];
  notice.textContent = "The console has ended, and nothing on this page can be sent. Run rosterctl console again.";
  one("main").prepend(notice);
  for (const button of all("button")) button.disabled = true;
}

// A person who works on a page uses the session, also without a request.
let used = Date.now();
for (const kind of ["input", "keydown", "scroll"]) {
  document.addEventListener(kind, () => {
    if (isOver || Date.now() - used < 60000) return;
    used = Date.now();
    way.page("/here").catch(() => {});
  }, { capture: true, passive: true });
}

let plan, decision, search;
const rows = () => all("tr[data-text]", plan);
const ticks = () => all("input[name=who]", plan);
const shown = () => rows().filter(row => !row.hidden && row.closest("details").open);

// Hides the rows that do not match. Their ticks stay.
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows()) row.hidden = !words.every(word => row.dataset.text.includes(word));
  for (const group of all("details.group", plan)) {
    group.hidden = all("tr[data-text]", group).every(row => row.hidden);
  }
  count();
}

function count() {
  for (const group of all("details.group", plan)) {
    const box = one("[data-all]", group);
    if (!box) continue;
    const own = all("input[name=who]", group);
    const ticked = own.filter(tick => tick.checked).length;
    box.checked = ticked === own.length;
    box.indeterminate = ticked > 0 && ticked < own.length;
  }
  if (!decision) return;
  const chosen = ticks().filter(tick => tick.checked);
  for (const tick of ticks()) tick.closest("tr").classList.toggle("off", !tick.checked);
  const unseen = chosen.filter(tick => tick.closest("tr").hidden).length;
  const number = chosen.length.toLocaleString("en");
  one("#chosen").textContent = one("#approved").textContent = number;
  one("#hidden").textContent = unseen ? `, ${unseen.toLocaleString("en")} of them hidden by the search` : "";
  one("#approve").disabled = isOver || chosen.length === 0;
  const typed = one("#typed");
  if (typed) {
    const isNeeded = chosen.length > Number(decision.dataset.typedAbove);
    typed.hidden = !isNeeded;
    const field = one("input", typed);
    field.placeholder = String(chosen.length);
    field.setCustomValidity(!isNeeded || field.value.replace(/\D/g, "") === String(chosen.length) ? "" : `Type ${chosen.length}, the number of selected people`);
  }
}

// Fetches a page, and returns one element of it.
async function part(path, selector, headers = {}) {
  return one(selector, new DOMParser().parseFromString(await way.page(path, headers), "text/html"));
}

// Groups the people by another value, with the ticks as they are.
async function regroup(select) {
  const url = new URL(select.form.getAttribute("action"), location.origin);
  url.searchParams.set(select.name, select.value);
  if (search.defaultValue) url.searchParams.set("q", search.defaultValue);
  const path = url.pathname + url.search;
  const left = new Set(ticks().filter(tick => !tick.checked).map(tick => tick.value));
  const fresh = await part(path, select.dataset.swap);
  if (decision && (!one("form#decision") || ticks().length !== all("input[name=who]", fresh).length)) return way.go(path);
  plan.replaceChildren(...fresh.childNodes);
  for (const tick of ticks()) tick.checked = !left.has(tick.value);
  if (decision) decision.elements.by.value = select.value;
  way.note(path);
  filter();
}

// Ticks and comment of a plan stay in the tab while a person looks at another page.
function keep() {
  const left = ticks().filter(tick => !tick.checked).map(tick => tick.value);
  sessionStorage.setItem(decision.elements.digest.value, JSON.stringify({ left, comment: decision.elements.comment.value }));
}
function restore() {
  const kept = JSON.parse(sessionStorage.getItem(decision.elements.digest.value));
  if (!kept) return;
  for (const tick of ticks()) if (kept.left.includes(tick.value)) tick.checked = false;
  decision.elements.comment.value ||= kept.comment;
}

// Brings the present page to life.
function begin() {
  [plan, decision, search, here] = [one("#plan"), one("form#decision"), one("#search"), null];
  refresh();
  if (!plan) return;
  plan.addEventListener("change", event => {
    if (event.target.matches("[data-all]")) {
      const group = event.target.closest("details");
      for (const tick of all("tr:not([hidden]) input[name=who]", group)) tick.checked = event.target.checked;
    }
    count();
  });
  // A tick of a whole group is counted when it has changed the ticks of its people.
  if (decision) decision.addEventListener("input", event => { if (!event.target.matches("[data-all]")) count(); });
  for (const select of all("select[data-swap]")) select.addEventListener("change", () => regroup(select).catch(() => select.form.requestSubmit()));
  if (search && "filter" in search.dataset) {
    search.addEventListener("input", filter);
    search.form.addEventListener("submit", event => event.preventDefault());
  }
  if (decision) {
    restore();
    for (const kind of ["input", "change"]) decision.addEventListener(kind, keep);
  }
  filter();
}

// Keys: j and k move, x ticks, / searches, a goes to the approval.
let here = null;
function move(step) {
  const list = shown();
  if (list.length === 0) return;
  const at = list.indexOf(here);
  here?.classList.remove("here");
  here = list[Math.min(list.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  here.classList.add("here");
  (one("input[name=who]", here) || one("a", here)).focus({ preventScroll: true });
  here.scrollIntoView({ block: "nearest" });
}
const keys = {
  j: () => move(1),
  k: () => move(-1),
  x: () => { const tick = here && one("input[name=who]", here); if (tick) tick.click(); },
  "/": () => search?.focus(),
  a: () => { const typed = one("#typed:not([hidden]) input"); (typed || one("#approve"))?.focus(); },
};
document.addEventListener("keydown", event => {
  const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && isTyping) event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
});

// Evidence is printed, too.
addEventListener("beforeprint", () => { for (const evidence of all("details.evidence")) evidence.open = true; });

// Keeps the overview fresh. Such requests do not prolong the session.
let timer;
function refresh() {
  clearTimeout(timer);
  const live = one("#live");
  if (!live || isOver) return;
  timer = setTimeout(async () => {
    const isTyping = live.contains(document.activeElement) && document.activeElement.matches("input");
    if (!document.hidden && !isTyping) {
      const fresh = await part(way.path(), "#live", { "rosterd-refresh": "1" }).catch(() => null);
      if (fresh) live.replaceWith(fresh);
    }
    refresh();
  }, "refresh" in live.dataset ? 2000 : 30000);
}
begin();

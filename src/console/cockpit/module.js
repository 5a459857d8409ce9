// The pages of `rosterctl console` inside Cockpit. One process of rosterctl, which runs as the user
// that is logged in, answers all requests of this tab. The address of a page is behind the #.
"use strict";

const waiting = [];
let buffer = "";
const rosterctl = cockpit.spawn(["rosterctl", "console", "--stdio"], { err: "message" });
rosterctl.stream(text => {
  buffer += text;
  const lines = buffer.split("\n");
  buffer = lines.pop();
  for (const line of lines) waiting.shift()?.(JSON.parse(line));
});
rosterctl.then(() => end("rosterctl has ended."), error => end(error.message || error.problem));

function end(sentence) {
  const [title, text, again] = ["h1", "p", "button"].map(name => document.createElement(name));
  [title.textContent, text.textContent, again.textContent] = ["rosterd does not answer", sentence, "Try again"];
  again.addEventListener("click", () => location.reload());
  const main = document.createElement("main");
  main.append(title, text, again);
  document.body.replaceChildren(main);
}

function ask(path, form) {
  return new Promise(done => {
    waiting.push(done);
    rosterctl.input(JSON.stringify(form === undefined ? { path } : { path, form }) + "\n", true);
  });
}

way.path = () => (location.hash.startsWith("#/") ? location.hash.slice(1) : "/");
way.page = async path => {
  const answer = await ask(path);
  if (answer.status !== 200) throw new Error(String(answer.status));
  return answer.body;
};
way.go = path => { if (path === way.path()) show(path); else location.hash = path; };
way.note = path => history.replaceState(null, "", `#${path}`);

async function show(path, form) {
  const { location: other, file, body } = await ask(path, form);
  if (other) return way.go(other);
  if (file) return save(file, body);
  const page = new DOMParser().parseFromString(body, "text/html");
  document.title = page.title;
  document.body.replaceChildren(...page.body.childNodes);
  document.documentElement.scrollTop = 0;
  begin();
}

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

document.addEventListener("click", event => {
  const path = event.target.closest("a")?.getAttribute("href");
  if (!path || event.button !== 0 || event.ctrlKey || event.metaKey) return;
  if (path.startsWith("#")) event.preventDefault();
  if (!path.startsWith("/")) return;
  event.preventDefault();
  if (/\.csv(\?|$)|\/csv(\?|$)/.test(path)) show(path); else way.go(path);
});
document.addEventListener("submit", event => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented) return;
  event.preventDefault();
  const path = submitter?.getAttribute("formaction") || form.getAttribute("action") || way.path().split("?")[0];
  const fields = new URLSearchParams(new FormData(form)).toString();
  if (form.method === "post") show(path, fields); else way.go(`${path}?${fields}`);
});
window.addEventListener("hashchange", () => show(way.path()));
show(way.path());

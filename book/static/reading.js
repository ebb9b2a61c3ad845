/* What a reader has read and solved, kept in this browser and nowhere else,
   and a few comforts. Every page can be read without any of it. */
(() => {
  "use strict";
  const KEY = "backpropagation-literally";
  const page = document.body.dataset.page;
  const landing = document.body.classList.contains("landing");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // Memory: null where the browser keeps none, and then no mark is offered.
  let memory = null;
  try {
    memory = { read: {}, solved: {}, last: "" };
    const kept = JSON.parse(localStorage.getItem(KEY) || "{}");
    for (const name of ["read", "solved"]) {
      if (kept[name] && typeof kept[name] === "object") memory[name] = kept[name];
    }
    if (typeof kept.last === "string") memory.last = kept.last;
    localStorage.setItem(KEY, JSON.stringify(memory));
  } catch (closed) {
    if (!(closed instanceof SyntaxError)) memory = null;
  }
  function remember() {
    try {
      localStorage.setItem(KEY, JSON.stringify(memory));
    } catch (full) { /* then this visit alone remembers */ }
    mark();
  }

  // Marks beside the chapters, in the contents and on the landing page.
  const entries = all("#contents a[data-page]");
  const here = entries.find((link) => link.dataset.page === page);
  const chapters = entries.filter((link) => link.dataset.chapter !== undefined);
  function mark() {
    const read = new Set(
      chapters.filter((link) => memory.read[link.dataset.page]).map((link) => link.href)
    );
    const links = landing ? [...entries, ...all('[id^="the-chapters"] a')] : entries;
    for (const link of links) {
      const old = link.querySelector(".read");
      if (read.has(link.href) && !old) {
        link.append(element("span", { className: "read" },
          element("span", { className: "unseen", textContent: ", read" })));
      } else if (!read.has(link.href) && old) {
        old.remove();
      }
    }
    if (landing) tell(read.size);
  }

  function tell(count) {
    const solved = Object.values(memory.solved).filter(Boolean).length;
    const place = document.getElementById("progress");
    place.hidden = !count && !solved && !memory.last;
    const words = [];
    if (count) words.push(`You have read ${count} of ${chapters.length} chapters`);
    if (solved) {
      const total = chapters.reduce((sum, link) => sum + Number(link.dataset.chapter), 0);
      words.push(`${count ? "" : "You have "}solved ${solved} of ${total} exercises`);
    }
    const last = entries.find((link) => link.dataset.page === memory.last);
    const told = element("p", { textContent: words.join(" and ") + (words.length ? ". " : "") });
    if (last) {
      const name = [".number", ".title"]
        .map((part) => last.querySelector(part)?.textContent).filter(Boolean).join(" ");
      told.append("Go on with ", element("a", { href: last.href, textContent: name }), ". ");
    }
    const forget = element("button", { type: "button", textContent: "Forget all this" });
    forget.addEventListener("click", () => {
      memory = { read: {}, solved: {}, last: "" };
      remember();
      document.querySelector("h1")?.focus();
    });
    place.replaceChildren(told, forget);
  }

  function box(text, checked, act) {
    const input = element("input", { type: "checkbox", checked });
    input.addEventListener("change", () => act(input.checked));
    return element("label", { className: "done" }, input, ` ${text}`);
  }

  function offerMarks() {
    for (const heading of all(".bd-article h3")) {
      const name = heading.textContent.match(/^Exercise (\d+\.\d+)/)?.[1];
      if (!name) continue;
      const label = box("I have solved this", Boolean(memory.solved[name]), (yes) => {
        memory.solved[name] = yes;
        remember();
      });
      label.querySelector("input").setAttribute("aria-label", `I have solved exercise ${name}`);
      heading.after(label);
    }
    const turn = document.querySelector(".turn");
    if (!turn || here?.dataset.chapter === undefined) return;
    memory.last = page;
    const label = box("I have read this chapter", Boolean(memory.read[page]), (yes) => {
      memory.read[page] = yes;
      remember();
    });
    turn.before(label);
    new IntersectionObserver((seen, observer) => {
      if (!seen.some((one) => one.isIntersecting)) return;
      observer.disconnect();
      if (memory.read[page] !== undefined) return; // the reader has decided
      memory.read[page] = label.querySelector("input").checked = true;
      remember();
    }).observe(label);
    remember();
  }

  // Light and dark: the button overrules the system until it agrees with it again.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.querySelector("button.theme");
  function paint(theme) {
    document.documentElement.dataset.theme = theme;
    button?.setAttribute("aria-pressed", String(theme === "dark"));
  }
  paint(document.documentElement.dataset.theme);
  button?.addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    paint(theme);
    try {
      if ((theme === "dark") === system.matches) localStorage.removeItem("mode");
      else localStorage.setItem("mode", theme);
    } catch (closed) { /* then for this page alone */ }
  });
  system.addEventListener("change", () => {
    let mode = null;
    try { mode = localStorage.getItem("mode"); } catch (closed) { /* follow the system */ }
    if (!mode) paint(system.matches ? "dark" : "light");
  });

  // Code can be copied.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch (refused) {
      const area = element("textarea", { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  for (const block of all(".cell_input .highlight, .pytorch .highlight")) {
    const copier = element("button", { type: "button", className: "copy icon", title: "Copy" });
    copier.setAttribute("aria-label", "Copy this code");
    copier.addEventListener("click", async () => {
      await copy(block.querySelector("pre").textContent.trimEnd() + "\n");
      copier.classList.add("copied");
      copier.setAttribute("aria-label", "Copied");
      setTimeout(() => {
        copier.classList.remove("copied");
        copier.setAttribute("aria-label", "Copy this code");
      }, 2000);
    });
    block.append(copier);
  }

  // The contents follow the reader.
  const sections = new Map(
    all("#contents .sections a").map((link) => [decodeURIComponent(link.hash.slice(1)), link])
  );
  const visible = new Set();
  const watch = new IntersectionObserver((changes) => {
    for (const change of changes) {
      visible[change.isIntersecting ? "add" : "delete"](change.target.id);
    }
    const first = [...sections.keys()].find((id) => visible.has(id));
    if (!first) return;
    for (const [id, link] of sections) {
      if (id === first) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-10% 0px -70% 0px" });
  for (const id of sections.keys()) {
    const section = document.getElementById(id);
    if (section) watch.observe(section);
  }
  const contents = document.getElementById("contents");
  for (const link of sections.values()) {
    link.addEventListener("click", () => {
      if (contents.matches(":popover-open")) contents.hidePopover();
    });
  }
  const middle = contents.clientHeight / 2;
  if (here && here.offsetTop > middle) contents.scrollTop = here.offsetTop - middle;

  addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
    const field = all(".bd-search input").find((one) => one.offsetParent);
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  // Asides unfold on paper; solutions and plotting code stay as the reader left them.
  const folded = () => all(".bd-article details.sd-dropdown:not([open])");
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = folded();
    for (const one of unfolded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of unfolded) one.open = false;
  });

  if (memory) {
    if (!landing) offerMarks();
    mark();
  }
})();

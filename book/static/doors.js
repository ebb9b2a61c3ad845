// A term, a letter or a formula's number says what it means when the pointer rests
// on it, when it has the focus, or at the first tap. Esc closes. What is said comes
// from the glossary, from the notation and from the chapter's own box of letters;
// it is loaded when it is first asked for, by a script so that file:// works too.
"use strict";
window.doors = (() => {
  const self = document.currentScript;
  const known = {}, waiting = {};
  const touch = (event) => event.pointerType === "touch";

  const ask = (name) => known[name] ??= new Promise((done) => {
    waiting[name] = done;
    const script = document.createElement("script");
    script.src = new URL(`doors/${name}.js`, self.src);
    script.onerror = () => done(null);
    document.head.append(script);
  });
  const told = (name, value) => waiting[name]?.(value);

  // Letters -------------------------------------------------------------------

  const bare = (node) => (node?.textContent ?? "").replace(/[\u200b\s]/g, "");
  const LETTER = "span.mathnormal, span.mord:not([class*=' '])";
  const isLetter = (span) =>
    span.matches(LETTER) && !span.firstElementChild && /^\p{L}$/u.test(bare(span));

  // KaTeX puts what stands below first, and marks a list that has depth.
  const scripts = (box) => {
    const list = box?.querySelector(":scope > .vlist-t");
    const parts = list ? [...list.querySelector(".vlist").children] : [];
    if (!list) return {};
    if (!list.classList.contains("vlist-t2")) return { above: parts[0] };
    return { below: parts[0], above: parts[1] };
  };

  // The letter with its index and its hat: what a table of letters has in a row.
  const symbol = (letter) => {
    for (let box = letter.closest(".msupsub"); box; box = box.parentElement.closest(".msupsub")) {
      const whole = box.previousElementSibling;
      if (whole && scripts(box).below?.contains(letter)) {
        const base = isLetter(whole) ? whole : [...whole.querySelectorAll("span")].find(isLetter);
        if (base) return symbol(base);
      }
    }
    const hat = letter.closest(".accent");
    const whole = hat ?? letter;
    const next = whole.nextElementSibling;
    const around = next?.classList.contains("msupsub") ? scripts(next) : {};
    return {
      base: bare(letter),
      hat: bare(hat?.querySelector(".accent-body")),
      below: bare(around.below),
      above: bare(around.above).replace(/^[\d⊤T∗*]+$/, ""),
      at: next && around.below ? whole.parentElement : whole,
    };
  };

  // A row of a table, or a clause that begins with letters and says "is" or ":".
  const rows = (html) => {
    const box = document.createElement("div");
    box.innerHTML = html ?? "";
    const found = [];
    for (const row of box.querySelectorAll("tbody tr")) {
      const [letters, ...rest] = row.cells;
      const last = html.includes("others write") ? rest[1] : rest.at(-1);
      found.push({ keys: keys(letters), html: `<b>${inner(letters)}</b> · ${inner(last)}` });
    }
    for (const text of box.querySelectorAll("li, p")) {
      if (text.querySelector("p") || text.matches(".admonition-title, td *, th *")) continue;
      for (const clause of clauses(text)) {
        const parts = [...clause.querySelectorAll(":scope > .math")];
        const head = document.createElement("div");
        for (const node of clause.childNodes) {
          if (node.nodeType === 3 && !/^[\s,]*(and\s)?$/.test(node.data)) break;
          head.append(node.cloneNode(true));
        }
        if (parts.length && head.querySelector(".math") && !/\bchapter\b/.test(clause.textContent))
          found.push({ keys: keys(head), html: clause.innerHTML });
      }
    }
    return found;
  };
  const inner = (cell) => (cell.querySelector(":scope > p:only-child") ?? cell).innerHTML;
  const clauses = (text) => {
    const found = [document.createElement("div")];
    for (const node of text.childNodes) {
      const parts = node.nodeType === 3 ? node.data.split(/[;.]\s/) : [node.cloneNode(true)];
      parts.forEach((part, index) => {
        if (index) found.push(document.createElement("div"));
        if (part && !(typeof part === "string" && !part.trim() && !found.at(-1).firstChild))
          found.at(-1).append(part);
      });
    }
    return found;
  };
  const keys = (cell) => {
    const letters = [...cell.querySelectorAll(".katex-html span")].filter(isLetter);
    const found = letters.map(symbol).filter((key, at) => key.base === bare(letters[at]));
    const words = cell.cloneNode(true);
    words.querySelectorAll(".katex, code").forEach((node) => node.remove());
    for (const [letter] of words.textContent.matchAll(/(?<!\p{L})\p{L}(?!\p{L})/gu))
      found.push({ base: letter, hat: "", below: "", above: "" });
    return found;
  };
  const likeness = (key, asked) => {
    if (key.base !== asked.base || key.hat !== asked.hat) return 0;
    if (key.above && key.above !== asked.above) return 0;
    if (key.below === asked.below) return 5 + (key.above ? 1 : 0);
    if (/^[ijklqc]+$/.test(key.below)) return asked.below ? 4 : 2;
    return key.below ? 0 : 3;
  };
  const best = (table, asked) => {
    let found = null, most = 0;
    for (const row of table)
      for (const key of row.keys) {
        const like = likeness(key, asked);
        if (like > most) [found, most] = [row, like];
      }
    return found;
  };

  // A chapter's own box comes first. Sections that the box excepts are silent.
  const tables = async (letter) => {
    const entry = letter.closest("div.formula");
    if (entry) {
      const name = [...entry.classList].find((word) => word.startsWith("letters-"));
      return name ? [rows(await ask(name.slice(8))), rows(await ask("notation"))] : [];
    }
    const box = document.querySelector(".admonition.letters");
    if (!box || box.contains(letter)) return [];
    for (const link of box.querySelectorAll('a[href^="#"]')) {
      const target = document.getElementById(link.hash.slice(1));
      if (target?.closest("section")?.contains(letter)) return [];
    }
    return [rows(box.innerHTML), rows(await ask("notation"))];
  };
  const meaning = async (letter) => {
    const asked = symbol(letter);
    for (const table of await tables(letter)) {
      const row = best(table, asked);
      if (row) return row.html;
    }
    return null;
  };
  const legend = async (formula) => {
    const letters = [...formula.querySelectorAll(".katex-html span")].filter(isLetter);
    const found = await Promise.all(letters.map(meaning));
    return [...new Set(found.filter(Boolean))];
  };

  // The tip -------------------------------------------------------------------

  const tip = document.createElement("div");
  Object.assign(tip, { id: "door-tip", hidden: true });
  tip.setAttribute("role", "tooltip");
  let owner = null, marked = null, pointed = null, timer = 0;

  const close = () => {
    clearTimeout(timer);
    owner?.removeAttribute("aria-describedby");
    marked?.classList.remove("told");
    owner = marked = pointed = null;
    tip.hidden = true;
  };
  const place = (target) => {
    const at = target.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tip;
    const line = target.closest(".katex-display")?.getBoundingClientRect();
    if (line && line.bottom - at.bottom < 60) at.height = line.bottom - at.top;
    const left = Math.min(Math.max(at.left, 8), innerWidth - width - 8);
    const below = at.bottom + 6 + height < innerHeight;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${below ? at.bottom + 6 : Math.max(at.top - height - 6, 8)}px`;
  };
  const show = async (target) => {
    if (target === owner) return clearTimeout(timer);
    const under = pointed;
    close();
    pointed = under;
    owner = target;
    const parts = await content(target);
    if (owner !== target || !parts.length) return owner === target && close();
    tip.innerHTML = parts.map((part) => `<div>${part}</div>`).join("");
    tip.querySelectorAll("[id]").forEach((node) => node.removeAttribute("id"));
    tip.querySelectorAll("a").forEach((link) => link.replaceWith(...link.childNodes));
    document.body.append(tip);
    tip.hidden = false;
    if (target.matches("a")) target.setAttribute("aria-describedby", "door-tip");
    else (marked = symbol(target).at).classList.add("told");
    place(marked ?? target);
  };
  const content = async (target) => {
    if (target.matches("a.term")) {
      const terms = await ask("glossary");
      return [terms?.[target.hash.slice(1)] ?? target.dataset.told];
    }
    if (target.matches("a.number")) {
      const letters = await legend(target.closest("div.math"));
      const more = '<span class="more">The number leads to the code and the proof.</span>';
      return [...letters, more];
    }
    const found = await meaning(target);
    return found ? [found] : [];
  };

  // KaTeX lays boxes over letters, so a letter is looked for under all of them.
  const door = ({ target: node, clientX: x, clientY: y }) => {
    const link = node.closest?.("a.term, a.number");
    if (link || !node.closest?.(".bd-article .katex-html")) return link;
    return document.elementsFromPoint(x, y).find((under) => isLetter(under)) ?? null;
  };
  const later = (action, wait) => { clearTimeout(timer); timer = setTimeout(action, wait); };
  const start = () => {
    for (const link of document.querySelectorAll("a.term[title]")) {
      link.dataset.told = link.title;
      link.removeAttribute("title");
    }
    document.addEventListener("pointermove", (event) => {
      if (touch(event)) return;
      const inside = tip.contains(event.target);
      const target = inside ? tip : door(event);
      if (target === pointed) return;
      pointed = target;
      if (inside) clearTimeout(timer);
      else if (target) later(() => show(target), owner ? 60 : 250);
      else if (owner?.matches(":focus-visible")) clearTimeout(timer);
      else later(close, 250);
    }, { passive: true });
    document.addEventListener("focusin", (event) => {
      const target = event.target.closest?.("a.term, a.number");
      if (target?.matches(":focus-visible")) show(target);
    });
    document.addEventListener("focusout", (event) => { if (event.target === owner) close(); });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
    document.addEventListener("click", (event) => {
      const target = door(event);
      if (!target && !tip.contains(event.target)) return close();
      if (target && touch(event) && target !== owner) {
        event.preventDefault();
        show(target);
      }
    }, true);
    addEventListener("scroll", (event) => {
      if (tip.contains(event.target)) return;
      if (owner?.matches(":focus-visible")) place(owner);
      else close();
    }, true);
  };
  start();
  return { told };
})();

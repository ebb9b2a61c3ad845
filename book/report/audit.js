// Runs in a page of the site, beside axe-core, and judges it. See report.py.
globalThis.audit = (() => {
  "use strict";

  // How far a page is wider than the window, in pixels, and what makes it so.
  function sideways() {
    const page = document.documentElement;
    return page.scrollWidth - page.clientWidth;
  }

  function unfold() {
    document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
    document.querySelectorAll(".doc-toggle input").forEach((fold) => { fold.checked = true; });
    const still = document.createElement("style");
    still.textContent = `*, ::before, ::after {
      transition: none !important; animation: none !important;
      content-visibility: visible !important;
    }`;
    document.head.append(still);
  }

  async function paint(scheme) {
    document.documentElement.dataset.theme = scheme;
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)));
  }

  // What scrolls sideways is focusable, or holds something that is.
  function unreachable() {
    const faults = [];
    for (const region of document.body.querySelectorAll("*")) {
      if (region.scrollWidth <= region.clientWidth + 1 || !region.clientWidth) continue;
      if (!/auto|scroll/.test(getComputedStyle(region).overflowX)) continue;
      if (region.tabIndex >= 0 || !region.checkVisibility()) continue;
      if (region.querySelector("a[href], button, input, select, summary, [tabindex='0']")) continue;
      faults.push(`no key scrolls ${region.tagName.toLowerCase()}.${region.className}`);
    }
    return faults;
  }

  const TAGS = [
    "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice",
  ];
  async function axe(rules, left = []) {
    const all = { type: "tag", values: TAGS };
    const found = await globalThis.axe.run(document, {
      runOnly: rules ? { type: "rule", values: rules } : all,
      rules: Object.fromEntries(left.map((rule) => [rule, { enabled: false }])),
      resultTypes: ["violations"],
    });
    return found.violations.map(
      ({ id, nodes }) => `${id}: ${nodes.length} × ${nodes[0].target.join(" ")}`
    );
  }

  // Take away what axe has no rule for (the drawn half of formulas, the insides of
  // MathML and of labeled pictures, colored words of code), and it is ten times faster.
  // One text of each kind stays, for its contrast.
  function thin() {
    const kept = new Set();
    for (let [, at] of kinds) for (; at && !kept.has(at); at = at.parentElement) kept.add(at);
    for (const drawn of document.querySelectorAll(".katex-html, math, svg[role=img]")) {
      if (kept.has(drawn)) continue;
      const said = [...drawn.children].filter((child) => /^(title|desc)$/.test(child.tagName));
      drawn.replaceChildren(...said, drawn.matches("math") ? "formula" : "");
    }
    for (const word of document.querySelectorAll(".highlight span:not(:has(*)):not([id])")) {
      if (!kept.has(word)) word.replaceWith(word.textContent);
    }
    document.querySelectorAll(".highlight pre").forEach((code) => code.normalize());
  }

  // Contrast of every kind of text, also where axe cannot tell: in formulas and in drawings.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  function rgba(color) {
    if (!known.has(color)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(color, [r, g, b, a / 255]);
    }
    return known.get(color);
  }
  const over = (top, under) =>
    [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  function luminance(color) {
    const [r, g, b] = color.slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function ratio(one, two) {
    const [dark, light] = [luminance(one), luminance(two)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  }

  // What a color lies on, and how strong it is, both from the ancestors on.
  const surfaces = new Map(), strengths = new Map();
  function surface(element) {
    if (!element) return [255, 255, 255, 1];
    if (!surfaces.has(element)) {
      const own = rgba(getComputedStyle(element).backgroundColor);
      surfaces.set(element, own[3] === 1 ? own : over(own, surface(element.parentElement)));
    }
    return surfaces.get(element);
  }
  function opacity(element) {
    if (!element) return 1;
    if (!strengths.has(element)) {
      const own = Number(getComputedStyle(element).opacity);
      strengths.set(element, own * opacity(element.parentElement));
    }
    return strengths.get(element);
  }

  // In a drawing, what lies under a text are the shapes before it that hold its middle.
  const SHAPES = "rect, circle, ellipse, path, polygon";
  function painted(text) {
    const drawing = text.ownerSVGElement;
    const box = text.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    let under = surface(drawing.parentElement);
    for (const shape of drawing.querySelectorAll(SHAPES)) {
      if (shape.closest("defs, marker, clipPath")) continue;
      if (!(shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) break;
      const style = getComputedStyle(shape);
      if (style.fill === "none") continue;
      const area = shape.getBoundingClientRect();
      if (x < area.left || x > area.right || y < area.top || y > area.bottom) continue;
      const place = new DOMPoint(x, y).matrixTransform(shape.getScreenCTM().inverse());
      if (!shape.isPointInFill(place)) continue;
      const [r, g, b, a] = rgba(style.fill);
      under = over([r, g, b, a * style.fillOpacity * style.opacity], under);
    }
    return under;
  }

  // Texts are of one kind if no class, tag or style on their way to the root differs;
  // inside a formula the way is left out.
  const kinds = new Map(), ways = new Map();
  function way(element) {
    if (!element) return "";
    if (!ways.has(element)) {
      const formula = element.closest(".katex-html");
      const above = formula && formula !== element ? formula : element.parentElement;
      const own = [element.tagName, element.getAttribute("class"), element.style.color,
        element.style.background, element.getAttribute("fill")];
      const known = `${way(above)} ${own}`;
      if (!numbers.has(known)) numbers.set(known, numbers.size);
      ways.set(element, numbers.get(known));
    }
    return ways.get(element);
  }
  const numbers = new Map();

  function contrast() {
    surfaces.clear();
    strengths.clear();
    const faults = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode, element = text.parentElement;
      if (!/[^\s\u200b]/.test(text.data)) continue;
      const kind = way(element);
      if (kinds.has(kind) && kinds.get(kind) !== element) continue;
      if (element.closest("math, script, style, title, desc, option, :disabled")) continue;
      if (!element.checkVisibility({ visibilityProperty: true })) continue;
      const style = getComputedStyle(element);
      const box = element.getBoundingClientRect();
      if (box.width <= 1 || box.height <= 1 || !opacity(element)) continue; // not for eyes
      kinds.set(kind, element);
      const drawn = element.ownerSVGElement;
      const under = drawn ? painted(element.closest("text") || element) : surface(element);
      const [r, g, b, a] = rgba(drawn ? style.fill : style.color);
      const strength = a * opacity(element) * (drawn ? style.fillOpacity : 1);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      const found = ratio(over([r, g, b, strength], under), under);
      if (found < (large ? 3 : 4.5)) {
        const where = `${element.tagName.toLowerCase()}.${element.getAttribute("class") || ""}`;
        const fault = `contrast ${found.toFixed(2)} of ${style[drawn ? "fill" : "color"]}`
          + ` on rgb(${under.slice(0, 3).map(Math.round)}) in ${where}`;
        if (!faults.has(fault)) faults.set(fault, text.data.trim().slice(0, 30));
      }
    }
    return [...faults].map(([fault, words]) => `${fault}: “${words}”`);
  }

  // Formulas: MathML that a screen reader meets, beside a drawing that it skips.
  function formulas() {
    return [...document.querySelectorAll(".katex")].flatMap((formula) => {
      const spoken = formula.querySelector("math"), drawn = formula.querySelector(".katex-html");
      const faults = [];
      if (!spoken || spoken.closest("[aria-hidden=true]")) faults.push("has no MathML");
      else if (!spoken.checkVisibility({ visibilityProperty: true })
        && formula.checkVisibility()) faults.push("hides its MathML");
      if (drawn?.getAttribute("aria-hidden") !== "true") faults.push("is read twice");
      return faults.map((fault) => `the formula ${formula.textContent.slice(0, 40)} ${fault}`);
    });
  }

  // Headings: one of the first order, and none that skips an order.
  function headings() {
    const faults = [];
    let before = 0;
    for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
      if (!heading.checkVisibility()) continue;
      const order = Number(heading.tagName[1]);
      if (order > before + 1) faults.push(`h${order} after h${before}: ${heading.textContent.trim()}`);
      before = order;
    }
    const first = document.querySelectorAll("h1").length;
    return first === 1 ? faults : [...faults, `${first} headings of the first order`];
  }

  return {
    axe, contrast, formulas, headings, paint, sideways, thin, unfold, unreachable,
  };
})();

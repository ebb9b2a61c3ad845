/* What scrolls sideways can be reached with the keyboard, and says what it is.
   Current browsers let the keyboard reach such regions without a script too. */
(() => {
  "use strict";
  const KINDS = { TABLE: "Table", PRE: "Code", FIGURE: "Figure" };
  const SCROLLERS = "pre, table, figure, figure > div, .katex-display, .text_html, .numbers, .wide";

  function name(region) {
    if (region.matches(".katex-display")) return "Formula";
    if (region.closest("figure")) return "Figure";
    return KINDS[region.tagName] || "Output";
  }

  function mark(region) {
    const wide = region.scrollWidth > region.clientWidth + 1;
    const scrolls = wide && /auto|scroll/.test(getComputedStyle(region).overflowX);
    if (scrolls && !region.hasAttribute("tabindex")) {
      region.tabIndex = 0;
      if (region.tagName !== "TABLE") region.setAttribute("role", "group");
      region.setAttribute("aria-label", `${name(region)}, scrolls sideways`);
      region.dataset.scrolls = "";
    } else if (!scrolls && "scrolls" in region.dataset) {
      for (const given of ["tabindex", "role", "aria-label", "data-scrolls"]) {
        region.removeAttribute(given);
      }
    }
  }

  const watch = new ResizeObserver((sizes) => sizes.forEach(({ target }) => mark(target)));
  document.querySelectorAll(SCROLLERS).forEach((region) => watch.observe(region));
})();

// Pictures to touch. A picture has frames, written in the list that folds below
// it; its parts say in "data-at" in which frames they are seen. Without this
// script it is a picture like the others.
(() => {
  "use strict";

  const ICONS = {
    first: "M6 5v14M18 5l-8 7 8 7",
    back: "M15 5l-8 7 8 7",
    play: "M8 5v14l11-7z",
    pause: "M8 5v14M16 5v14",
    next: "M9 5l8 7-8 7",
    last: "M18 5v14M6 5l8 7-8 7",
  };
  const WORDS = {
    first: "To the beginning", back: "One step back", play: "Play",
    pause: "Pause", next: "Next step", last: "To the end",
  };
  const PAUSE = 1800; // milliseconds between two steps that play

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes))
      element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const icon = (button, name) => {
    button.innerHTML =
      `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
    button.setAttribute("aria-label", WORDS[name]);
    button.title = WORDS[name];
  };
  const range = (name, low, high, step, value) =>
    make("input", {type: "range", "aria-label": name, min: low, max: high,
                   step, value});

  // What all of them have: a panel, and words that are seen and spoken.
  const panelOf = (figure) => {
    const panel = make("div", {class: "panel", role: "group",
                               "aria-label": `Controls: ${figure.dataset.title}`});
    const said = make("div", {class: "said"});
    const spoken = make("p", {class: "spoken", role: "status"});
    panel.append(said, spoken);
    figure.querySelector("details").before(panel);
    return {panel, said, spoken};
  };

  // A slider, and for steps the buttons, keys and taps: all say go(frame).
  const withFrames = (figure) => {
    const {panel, said, spoken} = panelOf(figure);
    const items = [...figure.querySelectorAll("ol > li")];
    const last = items.length - 1;
    const parts = [...figure.querySelectorAll("[data-at]")].map(
      (part) => [part, new Set(part.dataset.at.split(" ").map(Number))]);
    const words = items.map((item) => make("div"));
    words.forEach((word, k) => { word.innerHTML = items[k].innerHTML; });
    said.append(...words);
    const {name, kind} = figure.dataset;
    const slide = range(name, 0, last, 1, 0);
    const label = make("label", {}, slide);
    if (kind === "slider") label.prepend(name);
    panel.prepend(label);
    let now = -1;
    const buttons = {};

    const show = (frame) => {
      now = Math.min(Math.max(frame, 0), last);
      for (const [part, seen] of parts) {
        part.style.visibility = seen.has(now) ? "visible" : "hidden";
        part.style.opacity = seen.has(now) ? 1 : 0;
      }
      words.forEach((word, k) => {
        word.style.visibility = k === now ? "visible" : "hidden";
      });
      slide.value = now;
      slide.setAttribute("aria-valuetext", items[now].dataset.label);
      figure.dataset.now = now;
      for (const [key, end] of
           [["first", 0], ["back", 0], ["next", last], ["last", last]])
        buttons[key]?.setAttribute("aria-disabled", now === end);
    };
    const go = (frame) => {
      show(frame);
      spoken.textContent =
        [...items[now].children].map((line) => line.textContent).join("; ")
        || items[now].textContent;
    };
    slide.addEventListener("input", () => go(Number(slide.value)));
    if (kind === "steps") steps(figure, panel, buttons, slide, last, () => now, go);
    show(Number(figure.dataset.start));
  };

  const steps = (figure, panel, buttons, slide, last, now, go) => {
    let timer = 0;
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      icon(buttons.play, "play");
    };
    const by = (move) => { stop(); go(now() + move); };
    const act = {
      first: () => by(-now()),
      back: () => by(-1),
      play: () => {
        if (timer) return stop();
        go(now() === last ? 0 : now() + 1);
        icon(buttons.play, "pause");
        timer = setInterval(() => {
          go(now() + 1);
          if (now() === last || !figure.isConnected) stop();
        }, PAUSE);
      },
      next: () => by(1),
      last: () => by(last - now()),
    };
    for (const name of Object.keys(act)) {
      buttons[name] = make("button", {type: "button", class: name});
      icon(buttons[name], name);
      buttons[name].addEventListener("click", act[name]);
    }
    panel.prepend(...Object.values(buttons));
    slide.addEventListener("input", stop);

    const KEYS = {ArrowLeft: act.back, ArrowRight: act.next,
                  Home: act.first, End: act.last};
    panel.addEventListener("keydown", (event) => {
      if (!KEYS[event.key] || event.ctrlKey || event.altKey || event.metaKey)
        return;
      event.preventDefault();
      event.stopPropagation(); // some pages turn their leaves by arrow
      KEYS[event.key]();
    });

    // A tap on the right two thirds goes on, on the left third back; a swipe
    // to the left goes on, unless the picture itself scrolls sideways.
    const picture = figure.firstElementChild;
    let from = null;
    picture.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
    });
    picture.addEventListener("pointerup", (event) => {
      if (!from || event.button) return;
      const across = event.clientX - from[0], down = event.clientY - from[1];
      const scrolls = picture.scrollWidth > picture.clientWidth + 1;
      from = null;
      const box = picture.getBoundingClientRect();
      if (Math.hypot(across, down) < 10)
        by(event.clientX < box.left + box.width / 3 ? -1 : 1);
      else if (!scrolls && Math.abs(across) > Math.max(30, 2 * Math.abs(down)))
        by(across < 0 ? 1 : -1);
      else return;
      slide.focus({preventScroll: true});
    });
    picture.addEventListener("pointercancel", () => { from = null; });
  };

  // Optimizers on a surface: the one computation that is made here, since a
  // start may be anywhere. The rules are those of PyTorch.
  const surface = (terms) => ([x, y]) => {
    let e = 0, gx = 0, gy = 0;
    for (const [c, i, j] of terms) {
      e += c * x ** i * y ** j;
      if (i) gx += c * i * x ** (i - 1) * y ** j;
      if (j) gy += c * j * x ** i * y ** (j - 1);
    }
    return [e, [gx, gy]];
  };
  const RULES = {
    SGD: ({lr, momentum = 0}) => {
      let a = [0, 0];
      return (theta, g) => {
        a = a.map((old, i) => momentum * old + g[i]);
        return theta.map((x, i) => x - lr * a[i]);
      };
    },
    Adam: ({lr, betas: [b1, b2] = [0.9, 0.999], eps = 1e-8}) => {
      let m = [0, 0], q = [0, 0], k = 0;
      return (theta, g) => {
        k += 1;
        m = m.map((old, i) => b1 * old + (1 - b1) * g[i]);
        q = q.map((old, i) => b2 * old + (1 - b2) * g[i] * g[i]);
        return theta.map((x, i) => x - lr * (m[i] / (1 - b1 ** k))
          / (Math.sqrt(q[i] / (1 - b2 ** k)) + eps));
      };
    },
  };
  const walk = (rule, loss, start, count, lost) => {
    const step = RULES[rule.rule](rule), path = [start];
    let theta = start, [e, g] = loss(theta);
    while (path.length <= count && e <= lost) {
      theta = step(theta, g);
      path.push(theta);
      [e, g] = loss(theta);
    }
    return {path, e};
  };
  const number = (x) => {
    if (!(x < 1e6)) return "over 1,000,000: lost";
    const [digits, power] = x.toExponential(1).split("e");
    if (Math.abs(power) < 3) return `${Number(x.toPrecision(2))}`;
    return `${digits}·10<sup>${power.replace("+", "").replace("-", "−")}</sup>`;
  };

  const onSurface = (figure) => {
    const {panel, said, spoken} = panelOf(figure);
    const data = JSON.parse(
      figure.querySelector("script[type='application/json']").textContent);
    const loss = surface(data.terms);
    const plane = figure.querySelector("[data-plane]");
    const [x0, dx, y0, dy] = data.plane;
    const place = ([x, y]) => [x0 + dx * x, y0 + dy * y];
    const names = Object.keys(data.rules);
    const slides = data.limits.map(([low, high], i) =>
      range(`start θ${"₁₂"[i]}`, low, high, 0.05, data.start[i]));
    panel.prepend(...slides.map((slide, i) =>
      make("label", {}, `start θ${"₁₂"[i]}`, slide)));
    const words = make("p");
    said.append(words);

    const show = (start, speak) => {
      const ends = {};
      slides.forEach((slide, i) => {
        slide.value = start[i];
        slide.setAttribute("aria-valuetext", start[i].toFixed(2));
      });
      const lines = names.map((name, k) => {
        const {path, e} = walk(data.rules[name], loss, start, data.steps, data.lost);
        ends[name] = [path.length - 1, e, ...path[path.length - 1]];
        const points = path.map((theta) => place(theta).map(
          (x) => Math.min(Math.max(x, -1e4), 1e4).toFixed(1)).join(" "));
        plane.querySelector(`[data-walk="${k}"]`)
          .setAttribute("d", `M${points.join("L")}`);
        const dot = plane.querySelector(`[data-end="${k}"]`);
        const [cx, cy] = place(path[path.length - 1]);
        dot.setAttribute("cx", cx.toFixed(1));
        dot.setAttribute("cy", cy.toFixed(1));
        return `<span style="color:${data.colors[k]}">${name}</span> ${number(e)}`;
      });
      for (const handle of plane.querySelectorAll("[data-handle]")) {
        const [cx, cy] = place(start);
        handle.setAttribute("cx", cx.toFixed(1));
        handle.setAttribute("cy", cy.toFixed(1));
      }
      words.innerHTML = `From (${start.map((x) => x.toFixed(2)
        .replace("-", "−")).join(", ")}), loss after ${data.steps} steps: `
        + lines.join("; ");
      figure.dataset.ends = JSON.stringify(ends);
      if (speak) spoken.textContent = words.textContent;
    };
    const read = () => slides.map((slide) => Number(slide.value));
    for (const slide of slides)
      slide.addEventListener("input", () => show(read(), true));

    // Tap where to start, or drag the start.
    const move = (event, speak) => {
      const matrix = plane.getScreenCTM().inverse();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
      const raw = [(at.x - x0) / dx, (at.y - y0) / dy];
      if (raw.some((q, i) => q < data.limits[i][0] - 0.1
                             || q > data.limits[i][1] + 0.1)) return;
      slides.forEach((slide, i) => { slide.value = raw[i]; });
      show(read(), speak);
    };
    const picture = figure.firstElementChild;
    picture.addEventListener("click", (event) => move(event, true));
    for (const handle of plane.querySelectorAll("[data-handle]")) {
      handle.addEventListener("pointerdown", (event) => {
        handle.setPointerCapture(event.pointerId);
        event.preventDefault();
      });
      handle.addEventListener("pointermove", (event) => {
        if (handle.hasPointerCapture(event.pointerId)) move(event, false);
      });
    }
    show(data.start, false);
  };

  const start = () => {
    for (const figure of document.querySelectorAll("figure.touch:not(.ready)")) {
      figure.classList.add("ready");
      (figure.dataset.kind === "walks" ? onSurface : withFrames)(figure);
    }
  };
  if (document.readyState === "loading")
    document.addEventListener("DOMContentLoaded", start);
  else start();
})();

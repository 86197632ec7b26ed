// Draws every figure of the page, in the reader's colours and width. Figures name colours as CSS variables, "var(--arm-1)"
// or "var(--arm-1)/0.15" with an opacity, so that one description serves the light and the dark page.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const hidden = new Set();

  function colour(name, alpha, styles) {
    const hex = styles.getPropertyValue(name).trim();
    if (alpha === undefined) return hex;
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    return `rgba(${r},${g},${b},${alpha})`;
  }

  function resolve(value, styles) {
    if (typeof value === "string") {
      const found = /^var\((--[\w-]+)\)(?:\/([\d.]+))?$/.exec(value);
      return found ? colour(found[1], found[2], styles) : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolve(item, styles));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, styles)]));
    }
    return value;
  }

  function axis(own, narrow, styles) {
    const line = colour("--line", undefined, styles), soft = colour("--soft", undefined, styles);
    const base = {
      automargin: true, gridcolor: colour("--grid", undefined, styles), linecolor: line, tickcolor: line, ticks: "outside",
      ticklen: 4, zeroline: false, fixedrange: true,
       tickfont: { color: soft, size: narrow ? 11 : 12 },
    };
    const title = { text: (own.title || {}).text, standoff: narrow ? 6 : 10, font: { size: narrow ? 12 : 13, color: soft } };
    return { ...base, ...own, title };
  }

  function layout(own, narrow, styles) {
    const result = {
      ...own,
      font: { family: getComputedStyle(document.body).fontFamily, color: colour("--ink", undefined, styles), size: 13 },
      paper_bgcolor: colour("--surface", undefined, styles), plot_bgcolor: colour("--surface", undefined, styles), autosize: true, showlegend: false, dragmode: false,
      margin: { l: narrow ? 44 : 56, r: narrow ? 10 : 16, t: 10, b: narrow ? 40 : 46, pad: 0 },
      hoverlabel: {
        bgcolor: colour("--surface", undefined, styles), bordercolor: colour("--line", undefined, styles), align: "left",
        font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink", undefined, styles) },
        namelength: -1,
      },
    };
    for (const key of Object.keys(own)) if (/^[xy]axis/.test(key)) result[key] = axis(result[key], narrow, styles);
    if (result.hovermode === "x unified") {
      Object.assign(result.xaxis, { showspikes: true, spikemode: "across", spikedash: "dot", spikethickness: 1, spikecolor: colour("--soft", undefined, styles) });
    }
    return result;
  }

  function draw(element) {
    if (!element.clientWidth) return;
    const styles = getComputedStyle(root), own = figures[element.dataset.figure];
    const plain = resolve(own, styles), narrow = element.clientWidth < 420;
    const data = plain.data.map((trace) => ({ ...trace, visible: !hidden.has((trace.meta || {}).arm) }));
    const config = { displayModeBar: false, displaylogo: false, responsive: true, scrollZoom: false, doubleClick: false };
    Plotly.react(element, data, layout(plain.layout, narrow, styles), config);
  }

  const plots = [...document.querySelectorAll(".plot")];
  const drawAll = () => plots.forEach(draw);
  drawAll();
  // A chart in a closed box has no width to be drawn in.
  document.querySelectorAll("details").forEach((box) => {
    if (box.querySelector(".plot")) box.addEventListener("toggle", () => box.querySelectorAll(".plot").forEach(draw));
  });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", drawAll);
  let width = innerWidth, timer;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAll, 150);
  });

  // An arm's key hides and shows the arm on every chart.
  const keys = [...document.querySelectorAll(".legend button")];
  keys.forEach((button) => button.addEventListener("click", () => {
    const arm = button.dataset.arm;
    if (!hidden.delete(arm)) hidden.add(arm);
    keys.filter((key) => key.dataset.arm === arm).forEach((key) => key.setAttribute("aria-pressed", String(!hidden.has(arm))));
    drawAll();
  }));

  // The grid's words appear at once under the pointer or after a tap; without JavaScript the title attribute shows them.
  const tip = document.getElementById("tip");
  const cells = [...document.querySelectorAll(".problems [title]")];
  cells.forEach((cell) => { cell.dataset.tip = cell.title; cell.removeAttribute("title"); cell.setAttribute("aria-label", cell.dataset.tip); });
  function show(event) {
    const cell = event.target.closest && event.target.closest("[data-tip]");
    if (!cell) { tip.hidden = true; return; }
    tip.textContent = cell.dataset.tip;
    tip.hidden = false;
    const box = cell.getBoundingClientRect();
    const left = Math.min(Math.max(box.left + box.width / 2 - tip.offsetWidth / 2, 8), root.clientWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 6;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 4 ? above : box.bottom + 6) + scrollY}px`;
  }
  if (tip && cells.length) { addEventListener("pointerover", show); addEventListener("click", show); }
})();

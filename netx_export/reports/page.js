"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const SPACE = "http://www.w3.org/2000/svg";
let width = 640;

function draw(parent, name, attributes, text) {
  const node = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function clear(id, height, label) {
  const svg = document.getElementById(id);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", label);
  return svg;
}

function axis(svg, bottom, left, step) {
  draw(svg, "line", { class: "axis", x1: left, x2: width, y1: bottom, y2: bottom });
  const every = Math.ceil(data.steps * 36 / (width - left));
  for (let t = 0; t < data.steps; t += every)
    draw(svg, "text", { x: left + (t + 0.5) * step, y: bottom + 13, "text-anchor": "middle" }, t);
  draw(svg, "text", { x: 0, y: bottom + 13 }, "step");
}

function drawRaster(layer, shown) {
  const left = 70, step = (width - left) / data.steps, row = 9;
  const bottom = shown.rows.length * row + 4;
  let spikes = 0;
  for (const line of shown.rows) for (const digit of line) spikes += digit !== "0";
  const svg = clear("raster", bottom + 18, `Raster of ${layer.name}: ${spikes} messages of ${shown.rows.length} neurons`);
  shown.rows.forEach((line, y) => {
    if (y % Math.ceil(shown.rows.length / 16) === 0)
      draw(svg, "text", { x: left - 6, y: y * row + 9, "text-anchor": "end" }, layer.rows[y]);
    [...line].forEach((digit, t) => {
      if (digit === "0") return;
      const size = { x: left + t * step + 0.5, y: y * row + 2, width: Math.max(1, step - 1), height: row - 2 };
      draw(svg, "rect", { class: "spike", opacity: 0.3 + 0.7 * digit / data.levels, ...size });
    });
  });
  axis(svg, bottom, left, step);
  return spikes;
}

function drawMembranes(layer, shown) {
  const left = 70, height = 160, step = (width - left) / data.steps;
  const thresholds = layer.thresholds.filter((value) => value !== null);
  const values = shown.potentials.flat().concat(thresholds, 0);
  const low = Math.min(...values), high = Math.max(...values), span = Math.max(1, high - low);
  const y = (value) => 12 + (high - value) / span * (height - 20);
  const svg = clear("membrane", shown.potentials.length ? height + 18 : 24, `Membrane potentials of ${layer.name}`);
  if (!shown.potentials.length) {
    draw(svg, "text", { x: 6, y: 16 }, "the input has no membrane");
    return;
  }
  for (const value of new Set([high, low, 0]))
    draw(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toLocaleString("en"));
  shown.potentials.forEach((line, i) => {
    const points = line.map((value, t) => `${(left + (t + 0.5) * step).toFixed(1)},${y(value).toFixed(1)}`);
    draw(svg, "polyline", { class: `line${i}`, points: points.join(" ") });
    const threshold = layer.thresholds[i];
    if (threshold !== null)
      draw(svg, "line", { class: `threshold line${i}`, x1: left, x2: width, y1: y(threshold), y2: y(threshold) });
  });
  axis(svg, height, left, step);
}

const picks = { sample: document.getElementById("sample"), layer: document.getElementById("layer") };

function drawPicked() {
  width = Math.max(280, document.getElementById("raster").clientWidth);
  const sample = data.samples[picks.sample.value], index = picks.layer.value;
  const layer = data.layers[index];
  const spikes = drawRaster(layer, sample.layers[index]);
  drawMembranes(layer, sample.layers[index]);
  const traced = layer.traced.map((place, i) => `(${place}) ${["solid", "dashed", "dotted"][i]}`);
  document.getElementById("picked").textContent =
    `${sample.title}. ${layer.name}: ${spikes} messages of ${layer.rows.length} of ${layer.neurons} neurons (channel,row,column) shown` +
    (traced.length ? `; potentials of neurons ${traced.join(", ")}, thresholds as thin lines.` : ".");
}

for (const [name, list] of [["sample", data.samples.map((one) => one.title)], ["layer", data.layers.map((one) => one.name)]]) {
  list.forEach((text, value) => picks[name].add(new Option(text, value)));
  picks[name].addEventListener("change", drawPicked);
}
picks.layer.value = Math.min(1, data.layers.length - 1);
for (const [id, way] of [["previous", -1], ["next", 1]])
  document.getElementById(id).addEventListener("click", () => {
    const count = data.samples.length;
    picks.sample.value = (Number(picks.sample.value) + way + count) % count;
    drawPicked();
  });
addEventListener("resize", drawPicked);
drawPicked();

for (const map of document.querySelectorAll(".map")) {
  const cores = [...map.querySelectorAll(".core")], columns = Number(map.dataset.columns);
  let at = -1;
  const go = (index) => {
    if (index < 0 || index >= cores.length) return;
    cores[at]?.classList.remove("at");
    at = index;
    cores[at].classList.add("at");
    document.getElementById("core").textContent = cores[at].querySelector("title").textContent;
  };
  const ways = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  map.addEventListener("keydown", (event) => {
    if (!(event.key in ways)) return;
    event.preventDefault();
    go(at < 0 ? 0 : at + ways[event.key]);
  });
  map.addEventListener("focus", () => go(Math.max(at, 0)));
  map.addEventListener("click", (event) => go(cores.indexOf(event.target)));
}

const folded = [...document.querySelectorAll("details")];
let closed = [];
addEventListener("beforeprint", () => {
  closed = folded.filter((one) => !one.open);
  closed.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

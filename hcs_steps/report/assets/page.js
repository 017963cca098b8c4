"use strict";
(() => {
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const plate = JSON.parse(byId("plate-data").textContent);
let pictures = null; // megabytes: parsed when a well is opened first
const wells = plate.wells;
const at = new Map(wells.map((well, index) => [well.row * plate.columns + well.column, index]));
const NO_VALUE = "#e4e7ea";
const ROLES = {negative: "−", positive: "+"};

function make(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

function html(name, parent, text) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

function pair(list, label, value) {
  html("dt", list, label);
  html("dd", list, value);
}

function rowName(row) {
  return row < 26 ? String.fromCharCode(65 + row) : "A" + String.fromCharCode(39 + row);
}

const show = (value) => value === null ? "no value" : String(value).replace("-", "−");
const rounded = (value) => show(Number(value.toPrecision(4)));

// A plate of wells in an <svg>: one tab stop, arrow keys between wells, one listener for all of them.
function wellGrid(svg, cell, rows, columns, gap, open, describe) {
  const left = cell * 1.1, top = cell * 0.9;
  // Letters of some 12 px, whatever the size of the plate.
  const shown = Math.min(64, 880 / (columns + 1.1));
  const size = Math.min(cell * 0.6, cell * 12 / shown);
  svg.setAttribute("viewBox", `${-left} ${-top} ${columns * cell + left + 3} ${rows * cell + top + 3}`);
  for (let row = 0; row < rows; row++) {
    make("text", {class: "axis", x: -left / 2, y: (row + 0.5) * cell, "font-size": size, "aria-hidden": true}, svg, rowName(row));
  }
  for (let column = 0; column < columns; column++) {
    make("text", {class: "axis", x: (column + 0.5) * cell, y: -top / 2, "font-size": size, "aria-hidden": true}, svg, String(column + 1));
  }
  // A small plate does not need the whole width.
  svg.style.maxWidth = `${(columns + 1.1) * 64}px`;
  const group = make("g", {}, svg);
  const rects = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const place = {x: column * cell + gap, y: row * cell + gap, width: cell - 2 * gap, height: cell - 2 * gap};
      const index = at.get(row * plate.columns + column);
      if (index === undefined) make("rect", {class: "empty", ...place}, group);
      else rects[index] = make("rect", {class: "well", role: "button", tabindex: -1, "data-index": index, "data-well": wells[index].name, ...place}, group);
    }
  }
  const halo = make("rect", {class: "halo", width: cell, height: cell}, svg);
  const here = make("rect", {class: "here", width: cell, height: cell}, svg);
  let current = 0;
  if (rects[0]) rects[0].setAttribute("tabindex", 0);
  const indexOf = (event) => event.target.dataset && event.target.dataset.index !== undefined ? Number(event.target.dataset.index) : -1;

  function focus(index) {
    if (!rects[index]) return;
    rects[current].setAttribute("tabindex", -1);
    rects[index].setAttribute("tabindex", 0);
    rects[index].setAttribute("aria-label", describe(index));
    rects[index].focus({preventScroll: true});
  }
  svg.addEventListener("focusin", (event) => {
    const index = indexOf(event);
    if (index < 0) return;
    rects[current].setAttribute("tabindex", -1);
    current = index;
    rects[index].setAttribute("tabindex", 0);
    rects[index].setAttribute("aria-label", describe(index));
    for (const frame of [halo, here]) {
      frame.setAttribute("x", wells[index].column * cell);
      frame.setAttribute("y", wells[index].row * cell);
    }
    tip(rects[index], index);
  });
  svg.addEventListener("focusout", hideTip);
  svg.addEventListener("pointerover", (event) => { const index = indexOf(event); if (index >= 0) tip(rects[index], index); });
  svg.addEventListener("pointerleave", hideTip);
  svg.addEventListener("click", (event) => { const index = indexOf(event); if (index >= 0) { focus(index); open(index, focus); } });
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(current, focus); return; }
    if (event.key === "Escape") { hideTip(); return; }
    const next = neighbour(current, event.key);
    if (next !== null) { event.preventDefault(); if (next >= 0) focus(next); }
  });
  return {rects};
}

const STEPS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -99], End: [0, 99]};

// The next well in the direction of a key (-1: none), or null for another key.
function neighbour(index, key) {
  const step = STEPS[key];
  if (!step) return null;
  let {row, column} = wells[index];
  if (Math.abs(step[1]) === 99) column = step[1] < 0 ? -1 : plate.columns;
  const dc = Math.abs(step[1]) === 99 ? -Math.sign(step[1]) : step[1];
  for (row += step[0], column += dc; row >= 0 && row < plate.rows && column >= 0 && column < plate.columns; row += step[0], column += dc) {
    const found = at.get(row * plate.columns + column);
    if (found !== undefined) return found;
  }
  return -1;
}

const tipBox = byId("tip");
function hideTip() { tipBox.hidden = true; }
function tip(rect, index) {
  const well = wells[index];
  tipBox.replaceChildren();
  html("strong", tipBox, well.name);
  const list = html("dl", tipBox);
  for (const [label, value] of facts(well, index, false)) pair(list, label, value);
  tipBox.hidden = false;
  const box = rect.getBoundingClientRect();
  const wide = tipBox.offsetWidth, high = tipBox.offsetHeight;
  const x = box.right + 8 + wide > innerWidth ? box.left - wide - 8 : box.right + 8;
  const y = Math.min(Math.max(box.top, 50), innerHeight - high - 8);
  tipBox.style.left = `${Math.max(x, 4) + scrollX}px`;
  tipBox.style.top = `${Math.max(y, 4) + scrollY}px`;
}

function facts(well, index, all) {
  const found = [];
  const feature = plate.features[chosen];
  if (feature) {
    found.push([feature.name + (feature.unit ? ` (${feature.unit})` : ""), show(feature.values[index])]);
    if (feature.scores) found.push(["robust z", show(feature.scores[index])]);
  }
  if (all) {
    for (const other of plate.features) {
      if (other !== feature && plate.readouts.includes(other.name)) found.push([other.name, show(other.values[index])]);
    }
  }
  if (well.objects !== null) found.push(["objects", String(well.objects)]);
  if (well.status !== "done") found.push(["status", well.status]);
  if (all && well.error) found.push(["error", well.error]);
  if (ROLES[well.role]) found.push(["control", well.role]);
  plate.mapColumns.forEach((name, column) => { if (well.map[column]) found.push([name, well.map[column]]); });
  if (well.flags) found.push(["QC flags", well.flags]);
  return found;
}

function describe(index) {
  const well = wells[index];
  return [well.name, ...facts(well, index, false).map(([label, value]) => `${label} ${value}`)].join(", ");
}

// The heat map.
let chosen = plate.first;
const heat = heatMap();

function heatMap() {
  const cell = 36;
  const svg = byId("heatmap");
  const defs = make("defs", {}, svg);
  const hatch = make("pattern", {id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)"}, defs);
  make("rect", {width: 6, height: 6, fill: "#fff"}, hatch);
  make("rect", {width: 1.6, height: 6, fill: "#aab2b9"}, hatch);
  const dots = make("pattern", {id: "dots", width: 6, height: 6, patternUnits: "userSpaceOnUse"}, defs);
  make("rect", {width: 6, height: 6, fill: "#fff"}, dots);
  make("circle", {cx: 3, cy: 3, r: 1.1, fill: "#555"}, dots);
  const grid = wellGrid(svg, cell, plate.rows, plate.columns, 1, openWell, describe);
  const marks = make("g", {"aria-hidden": true}, svg);
  svg.insertBefore(marks, svg.querySelector(".halo"));
  const seen = new Set();
  for (const well of wells) {
    const x = well.column * cell, y = well.row * cell;
    if (ROLES[well.role]) {
      make("text", {class: "mark", x: x + cell / 2, y: y + cell / 2, "font-size": cell * (plate.columns > 24 ? 0.85 : 0.62)}, marks, ROLES[well.role]);
      seen.add(well.role);
    }
    if (well.status === "failed") {
      make("path", {d: `M${x + 6} ${y + 6}l${cell - 12} ${cell - 12}m0 ${12 - cell}l${12 - cell} ${cell - 12}`, stroke: "#111", "stroke-width": 2, fill: "none", "pointer-events": "none"}, marks);
    }
    if (well.flags) {
      make("path", {class: "corner", d: `M${x + cell - 13} ${y + 2}h11v11z`}, marks);
      seen.add("flags");
    }
    if (well.status !== "done") seen.add(well.status);
  }
  if (wells.length < plate.rows * plate.columns) seen.add("empty");
  legend(seen);
  return grid;
}

function legend(seen) {
  const list = byId("marks");
  const items = [
    ["negative", "negative control", (svg) => make("text", {class: "mark", x: 8, y: 8, "font-size": 15}, svg, "−")],
    ["positive", "positive control", (svg) => make("text", {class: "mark", x: 8, y: 8, "font-size": 15}, svg, "+")],
    ["failed", "failed", (svg) => { make("rect", {x: 1, y: 1, width: 14, height: 14, fill: "url(#hatch)", stroke: "#8b949c"}, svg); make("path", {d: "M3 3l10 10m0 -10l-10 10", stroke: "#111", "stroke-width": 1.6}, svg); }],
    ["incomplete", "incomplete", (svg) => make("rect", {x: 1, y: 1, width: 14, height: 14, fill: "url(#dots)", stroke: "#8b949c"}, svg)],
    ["flags", "QC flag", (svg) => make("path", {class: "corner", d: "M3 3h11v11z"}, svg)],
    ["none", "no value", (svg) => make("rect", {x: 1, y: 1, width: 14, height: 14, fill: NO_VALUE, stroke: "#8b949c"}, svg)],
    ["empty", "not in the plan", (svg) => make("rect", {class: "empty", x: 1, y: 1, width: 14, height: 14}, svg)],
  ];
  for (const [name, text, draw] of items) {
    if (!seen.has(name) && !(name === "none" && wells.some((well) => well.status === "done"))) continue;
    const item = html("li", list);
    item.id = `mark-${name}`;
    const svg = make("svg", {viewBox: "0 0 16 16", class: "plate", style: "display:inline-block", "aria-hidden": true}, item);
    draw(svg);
    item.append(text);
  }
}

function quantile(sorted, part) {
  const place = part * (sorted.length - 1), low = Math.floor(place);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (place - low);
}

function picked(name) {
  return document.querySelector(`input[name=${name}]:checked`).value;
}

const without = (well) => well.status === "failed" ? "url(#hatch)" : well.status === "incomplete" ? "url(#dots)" : NO_VALUE;

function paint() {
  const feature = plate.features[chosen];
  if (!feature) {
    wells.forEach((well, index) => heat.rects[index].setAttribute("fill", without(well)));
    return;
  }
  byId("kind").disabled = !feature.scores;
  const scored = feature.scores && picked("kind") === "scores";
  const values = scored ? feature.scores : feature.values;
  const colours = scored ? plate.scales.scores : plate.scales.values;
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  const full = picked("range") === "full";
  let low = sorted.length ? (full ? sorted[0] : quantile(sorted, 0.01)) : 0;
  let high = sorted.length ? (full ? sorted[sorted.length - 1] : quantile(sorted, 0.99)) : 0;
  if (scored) { high = Math.max(Math.abs(low), Math.abs(high)); low = -high; }
  const span = high - low;
  let missing = 0;
  wells.forEach((well, index) => {
    const value = values[index];
    let fill;
    if (value !== null) fill = colours[Math.min(colours.length - 1, Math.max(0, Math.round((span ? (value - low) / span : 0.5) * (colours.length - 1))))];
    else fill = without(well);
    if (fill === NO_VALUE) missing++;
    heat.rects[index].setAttribute("fill", fill);
  });
  if (byId("mark-none")) byId("mark-none").hidden = !missing;
  byId("map-caption").textContent = feature.name + (scored ? ", robust z-score" : feature.unit ? ` (${feature.unit})` : "");
  drawScale(colours, low, high, scored);
  const below = sorted.filter((value) => value < low).length, above = sorted.filter((value) => value > high).length;
  byId("clipped").textContent = below + above
    ? `Drawn in the end colours: ${[below ? `${below} below (down to ${rounded(sorted[0])})` : "", above ? `${above} above (up to ${rounded(sorted[sorted.length - 1])})` : ""].filter(Boolean).join(", ")}.`
    : sorted.length ? "All values are within the scale." : "No well has a value.";
  numbers(values, sorted);
}

function drawScale(colours, low, high, scored) {
  const svg = byId("scale");
  svg.replaceChildren();
  colours.forEach((colour, index) => make("rect", {x: 6 + index * 248 / colours.length, y: 2, width: 248 / colours.length + 0.5, height: 16, fill: colour}, svg));
  make("rect", {x: 6, y: 2, width: 248, height: 16, fill: "none", stroke: "#8b949c", "stroke-width": 0.6}, svg);
  for (const [part, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    make("path", {d: `M${6 + 248 * part} 18v4`, stroke: "#555"}, svg);
    make("text", {x: part === 0 ? 2 : part === 1 ? 258 : 130, y: 36, "text-anchor": anchor}, svg, scored && part === 0.5 ? "0" : rounded(low + (high - low) * part));
  }
  svg.setAttribute("aria-label", `Colour scale from ${rounded(low)} to ${rounded(high)}`);
}

function numbers(values, sorted) {
  const list = byId("numbers");
  list.replaceChildren();
  pair(list, "wells with a value", String(sorted.length));
  if (!sorted.length) {
    if (picked("kind") === "scores") pair(list, "no scores", "the reference wells are all alike");
    return;
  }
  pair(list, "median", rounded(quantile(sorted, 0.5)));
  pair(list, "lowest", rounded(sorted[0]));
  pair(list, "highest", rounded(sorted[sorted.length - 1]));
  for (const role in ROLES) {
    const own = values.filter((value, index) => value !== null && wells[index].role === role).sort((a, b) => a - b);
    if (own.length) pair(list, `median of ${role} controls`, rounded(quantile(own, 0.5)));
  }
}

function listFeatures() {
  const select = byId("feature");
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = new Map();
  plate.features.forEach((feature, index) => {
    const text = feature.name.toLowerCase();
    if (!words.every((word) => text.includes(word))) return;
    if (!groups.has(feature.group)) groups.set(feature.group, []);
    groups.get(feature.group).push([feature.name, index]);
  });
  select.replaceChildren();
  for (const [name, features] of groups) {
    const group = html("optgroup", select);
    group.label = name;
    for (const [text, index] of features) {
      const option = html("option", group, text);
      option.value = index;
      option.title = text;
      option.selected = index === chosen;
    }
  }
}

paint();
if (plate.features.length) {
  listFeatures();
  byId("filter").addEventListener("input", listFeatures);
  byId("filter").addEventListener("keydown", (event) => {
    const first = byId("feature").options[0];
    if ((event.key === "Enter" || event.key === "ArrowDown") && first) {
      event.preventDefault();
      first.selected = true;
      byId("feature").focus();
      byId("feature").dispatchEvent(new Event("change"));
    }
  });
  byId("feature").addEventListener("change", (event) => {
    if (event.target.value === "") return;
    chosen = Number(event.target.value);
    paint();
  });
  for (const input of document.querySelectorAll("input[name=kind], input[name=range]")) input.addEventListener("change", paint);
}

// The montage.
const montage = byId("montage");
if (montage) {
  const {tile, rows, columns} = montage.dataset;
  wellGrid(montage, Number(tile), Number(rows), Number(columns), 0, openWell, describe);
}

// One well in a dialog.
const dialog = byId("well");
let shown = -1, giveBack = null;

function openWell(index, focus) {
  hideTip();
  giveBack = focus;
  fill(index);
  dialog.showModal();
  byId("well-title").focus();
}

function fill(index) {
  shown = index;
  pictures = pictures || JSON.parse(byId("picture-data").textContent);
  const well = wells[index], picture = Object.hasOwn(pictures, well.name) ? pictures[well.name] : null;
  byId("well-title").textContent = `Well ${well.name}`;
  byId("frame").hidden = !picture;
  byId("no-picture").hidden = Boolean(picture);
  byId("contours-label").hidden = !(picture && picture.contours);
  if (picture) {
    byId("frame").style.aspectRatio = `${picture.width} / ${picture.height}`;
    byId("frame").style.maxWidth = `calc(${picture.width / picture.height} * 72vh)`;
    byId("shot").src = picture.image;
    byId("shot").alt = `Well ${well.name}. ${picture.caption}`;
    if (picture.contours) byId("contours").src = picture.contours;
    else byId("contours").removeAttribute("src");
  }
  byId("shot-caption").textContent = picture ? picture.caption : "";
  showContours();
  const body = byId("well-values");
  body.replaceChildren();
  for (const [label, value] of [["status", well.status], ...facts(well, index, true).filter(([label]) => label !== "status")]) {
    const row = html("tr", body);
    html("th", row, label).scope = "row";
    html("td", row, value);
  }
  byId("previous").disabled = neighbour(index, "ArrowLeft") < 0;
  byId("next").disabled = neighbour(index, "ArrowRight") < 0;
}

function showContours() {
  byId("contours").hidden = !byId("contours-on").checked || !byId("contours").hasAttribute("src");
}

function step(key) {
  const next = neighbour(shown, key);
  if (next === null) return false;
  if (next >= 0) fill(next);
  return true;
}

byId("contours-on").addEventListener("change", showContours);
byId("previous").addEventListener("click", () => step("ArrowLeft"));
byId("next").addEventListener("click", () => step("ArrowRight"));
byId("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("keydown", (event) => { if (step(event.key)) event.preventDefault(); });
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => { if (giveBack) giveBack(shown); hideTip(); });

// Copy buttons.
document.addEventListener("click", async (event) => {
  const button = event.target.closest && event.target.closest("button.copy");
  if (!button) return;
  let done = true;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const range = document.createRange();
    range.selectNodeContents(button.previousElementSibling);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Press Ctrl+C";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});
})();

"use strict";
// Draws the page's figures, gives each a legend of buttons, and saves them as PNG. Knows nothing of what they show.
(() => {
  // Told apart with any one kind of cone missing; the test says how far.
  const SERIES = {
    light: ["#0072B2", "#D55E00", "#8F3FD9", "#A0104A", "#0A3D2A"],
    dark: ["#56B4E9", "#E69F00", "#8C6BFF", "#C7509A", "#B5F2A0"],
  };
  const BASE = {
    light: {
      ink: "#1f2328", muted: "#5d646c", grid: "#e7e5df", zero: "#8b9098", paper: "#ffffff",
      temperature: "#D55E00", "temperature-band": "rgba(213,94,0,0.14)", rain: "#0072B2",
      "heat-occasion": [[0, "#f3f1ec"], [1, "#B37400"]], "heat-trend": [[0, "#f3f1ec"], [1, "#007A5A"]],
    },
    dark: {
      ink: "#e4e6e8", muted: "#a0a7ae", grid: "#2d3237", zero: "#767d85", paper: "#191c1f",
      temperature: "#E69F00", "temperature-band": "rgba(230,159,0,0.20)", rain: "#56B4E9",
      "heat-occasion": [[0, "#24282c"], [1, "#E69F00"]], "heat-trend": [[0, "#24282c"], [1, "#35B893"]],
    },
  };
  const NARROW = 480;
  const font = getComputedStyle(document.body).fontFamily;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const hidden = new Map();

  const translucent = (hex) => {
    const part = (at) => parseInt(hex.slice(at, at + 2), 16);
    return `rgba(${part(1)},${part(3)},${part(5)},0.18)`;
  };

  const palette = () => {
    const name = getComputedStyle(document.documentElement).getPropertyValue("--scheme").trim();
    const colors = { ...BASE[name] };
    SERIES[name].forEach((color, i) => {
      colors[`series${i}`] = color;
      colors[`band${i}`] = translucent(color);
    });
    return colors;
  };

  // Only keys that hold colours are looked up: a policy may be called "@ink" and keep its name.
  const paint = (value, colors, key = "") => {
    if (Array.isArray(value)) return value.map((each) => paint(each, colors));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, paint(v, colors, k)]));
    }
    const isColor = /color(scale)?$/.test(key) && typeof value === "string" && value.startsWith("@");
    return isColor ? colors[value.slice(1)] : value;
  };

  const groupOf = (trace) => trace.legendgroup ?? trace.name;
  const hiddenIn = (chart) => hidden.get(chart) ?? hidden.set(chart, new Set()).get(chart);
  // Names were escaped for the plotting library, which reads them as HTML.
  const plain = (name) =>
    name.replaceAll("%\u200b{", "%{").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

  const corners = (count, turn, inner = 1) =>
    Array.from({ length: count }, (_, i) => {
      const angle = (2 * Math.PI * i) / count + turn;
      const far = 5.5 * (i % 2 ? inner : 1);
      return `${(12 + far * Math.cos(angle)).toFixed(2)},${(7 + far * Math.sin(angle)).toFixed(2)}`;
    }).join(" ");
  const UP = -Math.PI / 2;
  const SHAPES = {
    square: () => corners(4, UP / 2), "triangle-up": () => corners(3, UP), "triangle-down": () => corners(3, -UP),
    pentagon: () => corners(5, UP), hexagon: () => corners(6, 0), star: () => corners(10, UP, 0.45),
    diamond: () => corners(4, UP), "diamond-open": () => corners(4, UP),
  };

  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };

  const swatch = (trace) => {
    const picture = svg("svg", { width: 24, height: 14, "aria-hidden": "true" });
    const first = (value) => (Array.isArray(value) ? value[0] : value);
    const mode = trace.mode ?? "";
    if (trace.type === "bar") {
      picture.append(svg("rect", { x: 6, y: 1, width: 12, height: 12, fill: first(trace.marker.color) }));
    }
    if (mode.includes("lines")) {
      const dash = { dot: "2 3", dash: "6 3" }[trace.line.dash] ?? "none";
      const line = { x1: 1, x2: 23, y1: 7, y2: 7, stroke: trace.line.color, "stroke-width": 2, "stroke-dasharray": dash };
      picture.append(svg("line", line));
    }
    if (mode.includes("markers")) {
      const symbol = first(trace.marker.symbol) ?? "circle";
      const color = first(trace.marker.color);
      const look = symbol.endsWith("-open")
        ? { fill: "none", stroke: color, "stroke-width": 1.6 } : { fill: color };
      const shape = SHAPES[symbol];
      if (shape) picture.append(svg("polygon", { points: shape(), ...look }));
      else if (symbol === "x") {
        picture.append(svg("path", { d: "M8 3l8 8M16 3l-8 8", stroke: color, "stroke-width": 2.6, fill: "none" }));
      } else picture.append(svg("circle", { cx: 12, cy: 7, r: 4.5, ...look }));
    }
    return picture;
  };

  const legend = (box, figure) => {
    const place = box.parentElement.querySelector(".legend");
    const focused = [...place.children].indexOf(document.activeElement);
    place.replaceChildren();
    if (figure.layout.showlegend === false) return;
    const entries = figure.data.filter((trace) => trace.name && trace.showlegend !== false);
    const off = hiddenIn(box.dataset.chart);
    entries.sort((one, other) => (one.legendrank ?? 1000) - (other.legendrank ?? 1000));
    entries.forEach((trace) => {
      const entry = document.createElement(entries.length > 1 ? "button" : "span");
      entry.append(swatch(trace), plain(trace.name));
      if (entries.length > 1) {
        const group = groupOf(trace);
        entry.type = "button";
        entry.setAttribute("aria-pressed", String(!off.has(group)));
        entry.addEventListener("click", () => {
          if (!off.delete(group)) off.add(group);
          draw(box);
        });
      }
      place.append(entry);
    });
    if (focused >= 0) place.children[focused]?.focus();
  };

  const painted = (box) => {
    const figure = paint(charts[box.dataset.chart], palette());
    const off = hiddenIn(box.dataset.chart);
    figure.layout.font.family = font;
    figure.data.forEach((trace) => {
      if (off.has(groupOf(trace))) trace.visible = false;
    });
    return figure;
  };

  const draw = (box) => {
    const figure = painted(box);
    legend(box, figure);
    figure.layout.showlegend = false;
    const { width } = box.dataset;
    if (width) Object.assign(figure.layout, { width: Number(width), autosize: false });
    return Plotly.react(box, figure.data, figure.layout, { responsive: !width, displayModeBar: false });
  };

  const save = (box) => {
    const figure = painted(box);
    const width = Math.max(box.clientWidth, NARROW);
    const room = 40 + (figure.layout.showlegend ? 26 : 0);
    const height = box.clientHeight + room;
    const title = box.closest("figure").querySelector("figcaption");
    figure.layout.margin.t += room;
    figure.layout.title = {
      text: (title ? title.textContent : "").replaceAll("&", "&amp;").replaceAll("<", "&lt;"),
      x: 0, xanchor: "left", xref: "container", y: 1, yanchor: "top", yref: "container",
      pad: { t: 12, l: 8 }, font: { size: 15 },
    };
    figure.layout.legend.y = 1 - 38 / height;
    const form = { format: "png", scale: 2, width, height, filename: box.dataset.file };
    return Plotly.downloadImage({ data: figure.data, layout: figure.layout }, form);
  };

  // A figure in a closed fold has no width yet; it is drawn when the fold opens.
  const boxes = [...document.querySelectorAll("[data-chart]")];
  const drawAll = (within = document) =>
    boxes.filter((box) => within.contains(box) && box.offsetParent !== null).forEach(draw);
  drawAll();
  document.addEventListener("toggle", (event) => event.target.open && drawAll(event.target), true);
  document.addEventListener("redraw", () => drawAll());

  document.querySelectorAll("select[data-for]").forEach((select) => {
    const box = document.getElementById(select.dataset.for);
    const tables = [...select.options].map((option) => document.getElementById(`${option.value}-numbers`));
    const show = () => {
      box.dataset.chart = select.value;
      box.dataset.file = box.dataset.file.replace(/[^-]*-\d+$/, select.value);
      box.setAttribute("aria-details", `${select.value}-numbers`);
      tables.forEach((table) => (table.hidden = table.id !== `${select.value}-numbers`));
      draw(box);
    };
    select.addEventListener("change", show);
    // A reloaded page may come back with the reader's earlier choice.
    show();
  });

  document.querySelectorAll("button[data-save]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => save(document.getElementById(button.dataset.save)));
  });
})();

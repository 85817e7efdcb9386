"use strict";
(() => {
  const SERIES = {
    light: ["#0072B2", "#D55E00", "#007A5A", "#A8568A", "#B37400"],
    dark: ["#56B4E9", "#E69F00", "#35B893", "#CC79A7", "#F0E442"],
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
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  const font = getComputedStyle(document.body).fontFamily;
  const charts = JSON.parse(document.getElementById("charts").textContent);

  const translucent = (hex) => {
    const part = (at) => parseInt(hex.slice(at, at + 2), 16);
    return `rgba(${part(1)},${part(3)},${part(5)},0.18)`;
  };

  const palette = () => {
    const name = scheme.matches ? "dark" : "light";
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

  const draw = (box) => {
    const figure = paint(charts[box.dataset.chart], palette());
    figure.layout.font.family = font;
    return Plotly.react(box, figure.data, figure.layout, {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [["toImage"]],
      toImageButtonOptions: { format: "png", scale: 2, filename: box.dataset.file },
    });
  };

  const boxes = [...document.querySelectorAll("[data-chart]")];
  const drawAll = () => boxes.forEach(draw);
  drawAll();
  scheme.addEventListener("change", drawAll);

  document.querySelectorAll("select[data-for]").forEach((select) => {
    const box = document.getElementById(select.dataset.for);
    const show = () => {
      box.dataset.chart = select.value;
      draw(box);
    };
    select.addEventListener("change", show);
    // A reloaded page may come back with the reader's earlier choice.
    if (select.value !== box.dataset.chart) show();
  });

  document.querySelectorAll("button[data-save]").forEach((button) => {
    const box = document.getElementById(button.dataset.save);
    button.hidden = false;
    button.addEventListener("click", () => {
      const { clientWidth: width, clientHeight: height } = box;
      Plotly.downloadImage(box, { format: "png", scale: 2, width, height, filename: box.dataset.file });
    });
  });
})();

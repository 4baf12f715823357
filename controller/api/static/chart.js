// A small chart of counts over time, with the same as a table for who cannot see it.

import { h } from "./dom.js";
import { table } from "./words.js";

const [WIDTH, HEIGHT] = [720, 180];
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 8, 10, 22];

// series: [{name, value(point), kind}]; points: [{at, ...}] in the order of time.
export function chart({ title, points, series, write }) {
  if (points.length < 2) return h("p", { class: "quiet" }, "Not long enough yet for a picture over time.");
  const times = points.map((point) => Date.parse(point.at));
  const [from, to] = [times[0], times[times.length - 1]];
  const top = nice(Math.max(...points.flatMap((point) => series.map((one) => one.value(point) ?? 0))));
  const x = (time) => LEFT + ((time - from) / Math.max(to - from, 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  return h("figure", { class: "chart" },
    h("figcaption", null, title, h("span", { class: "legend" }, series.map((one, at) =>
      h("span", null, h("svg", { class: `sample series-${at}`, viewBox: "0 0 24 8", "aria-hidden": "true" }, h("line", { x1: 0, y1: 4, x2: 24, y2: 4 })), one.name)))),
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}; the table below has the numbers` },
      (top > 1 ? [0, 0.5, 1] : [0, 1]).map((part) => h("g", { class: "tick" },
        h("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(part * top), y2: y(part * top) }),
        h("text", { x: LEFT - 6, y: y(part * top) + 4, "text-anchor": "end" }, write(part * top)))),
      [[from, "start"], [(from + to) / 2, "middle"], [to, "end"]].map(([time, anchor]) => h("text", { class: "time", x: x(time), y: HEIGHT - 6, "text-anchor": anchor },
        new Date(time).toLocaleTimeString("en-GB"))),
      series.map((one, at) => h("polyline", { class: `series-${at}`, points: points.map((point, i) => `${x(times[i]).toFixed(1)},${y(one.value(point) ?? 0).toFixed(1)}`).join(" ") }))),
    h("details", null, h("summary", null, "The numbers"), table({
      caption: title,
      items: points.slice(-60).reverse(),
      keyOf: (point) => point.at,
      columns: [
        { head: "At", cell: (point) => new Date(point.at).toLocaleTimeString("en-GB") },
        ...series.map((one) => ({ head: one.name, num: true, cell: (point) => write(one.value(point)) })),
      ],
    })));
}

// The next of 1, 2, 5, 10, 20 ... that is not below.
function nice(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value);
}

// Lines between elements of a picture, drawn behind them; drawn again when the picture changes size.

import { h, render } from "./dom.js";

export const layer = () => h("div", { class: "wires", "aria-hidden": "true", foreign: true });

export class Wires {
  #wires = [];
  #options = {};
  #picture = null;
  #watch = new ResizeObserver(() => this.#lay());

  // [{from, to: ids of elements, kind, text}]
  set(wires, options) {
    this.#wires = wires;
    this.#options = options;
  }

  draw(picture) {
    if (picture !== this.#picture) {
      this.#watch.disconnect();
      this.#picture = picture;
      if (picture) this.#watch.observe(picture);
    }
    this.#lay();
  }

  stop() {
    this.#watch.disconnect();
  }

  #lay() {
    const picture = this.#picture;
    if (!picture?.isConnected) return;
    const layer = picture.querySelector(".wires");
    const box = picture.getBoundingClientRect();
    const middle = (id) => {
      const rect = document.getElementById(id)?.getBoundingClientRect();
      return rect && { x: rect.x - box.x + rect.width / 2, y: rect.y - box.y + rect.height / 2, w: rect.width / 2, h: rect.height / 2 };
    };
    const places = this.#wires.map((wire) => ({ ...wire, a: middle(wire.from), b: middle(wire.to) })).filter((wire) => wire.a && wire.b);
    render(layer, h("svg", { width: box.width, height: box.height, viewBox: `0 0 ${box.width} ${box.height}` },
      places.map(({ a, b, kind }) => h("line", { class: `wire ${kind}`, x1: a.x, y1: a.y, x2: b.x, y2: b.y })),
      this.#options.labels && places.map(({ a, b, kind, text }) => text && label(a, b, kind, text))));
  }
}

// In the middle of what is seen of the line, between the edges of the two boxes.
function label(a, b, kind, text) {
  const [p, q] = [edge(a, b), edge(b, a)];
  const [x, y] = [(p.x + q.x) / 2, (p.y + q.y) / 2];
  const width = 7 * text.length + 12;
  return h("g", { class: `label ${kind}` },
    h("rect", { x: x - width / 2, y: y - 10, width, height: 20, rx: 10 }),
    h("text", { x, y: y + 4, "text-anchor": "middle" }, text));
}

function edge(from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const scale = Math.min(from.w / Math.abs(dx || 1e-9), from.h / Math.abs(dy || 1e-9), 1);
  return { x: from.x + dx * scale, y: from.y + dy * scale };
}

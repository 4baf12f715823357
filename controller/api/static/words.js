// How values are written, and the small pieces that several views are made of.

import { h } from "./dom.js";

const INTEGER = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => (n === null || n === undefined ? "–" : INTEGER.format(n));
export const compact = (n) => (n === null || n === undefined ? "–" : COMPACT.format(n));
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) {
    n /= 1000;
    at += 1;
  }
  return `${at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[at]}`;
}

export function rate(n) {
  if (n === null || n === undefined) return "–";
  return n === 0 ? "0" : n < 10 ? n.toFixed(n < 1 ? 2 : 1) : count(Math.round(n));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return "under 1 s";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

export const ms = (n) => (n === null || n === undefined ? "–" : `${n < 0.1 ? n.toFixed(2) : n < 10 ? n.toFixed(1) : Math.round(n)} ms`);
export const clock = (date) => date.toLocaleTimeString("en-GB");
export const when = (text) => clock(new Date(text));

// A host's session state: shape, word and colour say the same.
const STATES = {
  LIVE: ["ok", "live"],
  DEGRADED: ["warning", "degraded"],
  DISCONNECTED: ["error", "disconnected"],
  HELD: ["warning", "held"],
  WAITING: ["busy", "waiting"],
  AUDITING: ["busy", "auditing"],
  SYNCING: ["busy", "syncing"],
};
export const stateOf = (host) => STATES[host.state] ?? ["unknown", String(host.state).toLowerCase()];

const SHAPES = {
  ok: h("circle", { cx: 6, cy: 6, r: 4.5 }),
  warning: h("path", { d: "M6 1 11.2 10.5H.8z" }),
  error: h("path", { d: "M2 2 10 10M10 2 2 10", class: "stroke" }),
  busy: h("path", { d: "M6 1.5a4.5 4.5 0 1 0 4.5 4.5", class: "stroke" }),
  unknown: h("circle", { cx: 6, cy: 6, r: 4, class: "stroke" }),
};

export function mark(kind) {
  const shape = SHAPES[kind] ? kind : "unknown";
  return h("svg", { class: `mark ${shape}`, viewBox: "0 0 12 12", "aria-hidden": "true" }, SHAPES[shape]);
}

export const badge = (kind, text) => h("span", { class: `badge ${kind}` }, mark(kind), text);
export const hostBadge = (host) => badge(...stateOf(host));
export const tunnelKind = (state) => ({ up: "ok", down: "error" })[state] ?? "unknown";

export const code = (text) => h("code", null, text);
export const notice = (kind, ...children) =>
  h("p", { class: `notice ${kind}` }, mark(kind === "info" ? "unknown" : kind), h("span", null, children));
export const empty = (text, ...next) => h("div", { class: "empty" }, h("p", null, text), next);
export const absent = (what) =>
  notice("info", `${what}: not available from this controller.`);

// Networks are told apart by name, and by colour: each takes the next one when it is first seen.
const NET_COLOURS = 10;
const colours = new Map(); // by vni
export function netClass(vni) {
  if (!colours.has(vni)) colours.set(vni, colours.size % NET_COLOURS);
  return `net-${colours.get(vni)}`;
}
export const netText = (networks, vni) => {
  const name = networks.get(vni)?.name;
  return name ? `${name} (${vni})` : `network ${vni}`;
};
export const netLink = (networks, vni) =>
  h("a", { href: `#/networks/${vni}`, class: "net" }, h("span", { class: `dot ${netClass(vni)}`, "aria-hidden": "true" }), netText(networks, vni));

// A host, or the address of a foreign VTEP, by the name people gave it.
export function placeText(shared, place) {
  const host = shared.hosts.get(place);
  return host ? host.name || shortDpid(host.dpid) : shared.vteps.get(place)?.name || place;
}
export const shortDpid = (dpid) => dpid.replace(/^0+(?=.{4})/, "");
export function placeLink(shared, place) {
  if (!place) return "–";
  const text = placeText(shared, place);
  return shared.hosts.has(place) ? h("a", { href: `#/hosts/${place}` }, text) : h("span", { title: "foreign VTEP" }, text, h("small", null, " foreign"));
}

// A list without spaces, which may be broken behind its commas.
export const breakable = (text) => text.split(",").flatMap((part, at, all) => (at < all.length - 1 ? [`${part},`, h("wbr")] : [part]));

// columns: [{head, cell(item), num?, sort?, wide?, mono?, whole? (one line)}]; sorting: {now, set} for those with `sort`.
export function table({ caption, columns, items, keyOf, sorting, rowClass, head = true }) {
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      null,
      h("caption", { class: "for-ears" }, caption),
      head && h("thead", null, h("tr", null, columns.map((column) => headCell(column, sorting)))),
      h("tbody", null, items.map((item) =>
        h("tr", { key: keyOf(item), class: rowClass?.(item) }, columns.map((column, at) =>
          h(at === 0 ? "th" : "td", { scope: at === 0 && "row", class: cellClass(column) }, column.cell(item)))))),
    ),
  );
}

const cellClass = (column) => [column.num && "num", column.wide && "wide", column.mono && "mono", column.whole && "whole"].filter(Boolean).join(" ") || null;

function headCell(column, sorting) {
  const props = { scope: "col", class: cellClass(column) };
  if (!column.sort || !sorting) return h("th", props, column.head);
  const name = sorting.now.replace(/^-/, "");
  const falls = sorting.now.startsWith("-");
  const active = name === column.sort;
  const next = active && !falls ? `-${column.sort}` : column.sort;
  return h("th", { ...props, "aria-sort": active ? (falls ? "descending" : "ascending") : "none" },
    h("button", { class: "sort", type: "button", onclick: () => sorting.set(next) }, column.head,
      h("span", { class: "arrow", "aria-hidden": "true" }, active ? (falls ? "▼" : "▲") : "")));
}

export function field(label, control, hint) {
  return h("label", { class: "field" }, h("span", null, label), control, hint && h("small", null, hint));
}

// A command to type, and a button that copies it.
export function command(text, say) {
  return h("div", { class: "command" }, h("code", null, text),
    h("button", { type: "button", "aria-label": `Copy: ${text}`, onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        say("Copied");
      } catch {
        say("The browser does not let this page copy; select the text instead");
      }
    } }, "Copy"));
}

export function pager({ shown, total, page, onPrevious, onNext }) {
  return h("div", { class: "pager" },
    h("button", { type: "button", disabled: !onPrevious, onclick: onPrevious ?? null }, "Previous"),
    h("span", { class: "quiet" }, total === 0 ? "none" : `${shown} of ${count(total)}`, page > 1 && `, page ${page}`),
    h("button", { type: "button", disabled: !onNext, onclick: onNext ?? null }, "Next"));
}

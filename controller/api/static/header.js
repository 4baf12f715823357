// The top of the page: the fabric in numbers, the connection's state, the ways to go.

import { h, render } from "./dom.js";
import { clock, count, mark } from "./words.js";

const NAV = [
  ["", "Fabric"], ["vms", "VMs"], ["addresses", "Addresses"], ["networks", "Networks"],
  ["trace", "Trace"], ["doctor", "Doctor"], ["events", "Events"],
];
const PARENTS = { "hosts/": "", "networks/": "networks" };
const THEMES = { system: "Auto", light: "Light", dark: "Dark" };

export function drawNav(name) {
  const active = PARENTS[name] ?? name;
  render(document.getElementById("nav"), NAV.map(([to, text]) =>
    h("a", { href: `#/${to}`, "aria-current": to === active ? "page" : null }, text)));
}

export function drawHeader(shared, live, awaySince) {
  const { status } = shared;
  document.getElementById("version").textContent = status?.version ?? "";
  const hosts = [...shared.hosts.values()];
  const up = hosts.filter((host) => host.state === "LIVE").length;
  const facts = shared.loadedAt === null ? [] : [
    ["Hosts live", `${count(up)} of ${count(hosts.length)}`, up < hosts.length],
    ["VMs", count(shared.vms)],
    ["Networks", count(shared.networks.size)],
    shared.drifts !== null && ["Flows mended", count(shared.drifts), shared.drifts > 0],
  ].filter(Boolean);
  render(document.getElementById("facts"), facts.map(([name, value, odd]) =>
    h("span", { class: odd ? "fact odd" : "fact" }, h("b", null, value), " ", name)));
  render(document.getElementById("live"), indicator(shared, live, awaySince));
}

function indicator(shared, live, awaySince) {
  if (awaySince !== null) {
    const since = shared.loadedAt ?? awaySince;
    return h("span", { class: "badge error", title: "The controller does not answer" }, mark("error"), `stale since ${clock(since)}`);
  }
  if (live.state === "live") return h("span", { class: "badge ok", title: "Shown as it happens" }, mark("ok"), "live");
  if (live.state === "polling") {
    return h("span", { class: "badge busy", title: "No live events; asked every few seconds" }, mark("busy"), "reconnecting");
  }
  return h("span", { class: "badge busy" }, mark("busy"), "connecting");
}

export function setUpTheme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const show = () => {
    const now = root.dataset.theme ?? "system";
    button.textContent = THEMES[now];
    button.setAttribute("aria-label", `Colours: ${THEMES[now]}`);
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(root.dataset.theme ?? "system") + 1) % names.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    localStorage.setItem("vxlan-l2-theme", next);
    show();
  });
  show();
}

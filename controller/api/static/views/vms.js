// The registered VMs: searched, filtered, sorted and paged by the controller.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count, empty, field, netLink, netText, pager, placeLink, placeText, table } from "../words.js";

const PAGE = 100;
const TYPING_MS = 250;
const CHOICES_MAX = 500;

export function open(ctx) {
  let page = null;
  const cursors = []; // of the pages before this one, for the way back
  let cursor = null;
  let asked = "";
  let typing = null;
  const shared = ctx.shared;
  const value = (name) => ctx.query.get(name) ?? "";

  function restart() {
    cursors.length = 0;
    cursor = null;
  }

  function turn(to) {
    cursor = to;
    ctx.reload();
    document.querySelector(".vms .scroll")?.scrollTo(0, 0);
  }

  return {
    topics: new Set(["vm", "vms", "moved", "host", "network", "reset"]),
    title: () => "VMs",
    asked: restart,
    async load(signal) {
      const query = { q: value("q").trim(), vni: value("vni"), host: value("host"), sort: value("sort"), limit: PAGE };
      const found = await get("/vms", { ...query, cursor }, signal);
      page = found;
      const question = `${JSON.stringify(query)}${cursor ?? ""}`;
      if (question !== asked) ctx.say(`${count(page.total)} VMs found`);
      asked = question;
    },
    leave: () => clearTimeout(typing),
    render: () => [
      h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
        field("Search", h("input", {
          type: "search", name: "q", value: value("q"), placeholder: "name, 52:54:…, 10.1.…", autocomplete: "off", spellcheck: "false",
          "aria-describedby": "vms-hint",
          oninput: (event) => {
            clearTimeout(typing);
            const text = event.target.value;
            typing = setTimeout(() => ctx.ask({ q: text }, { replace: true }), TYPING_MS);
          },
        })),
        choice("Network", "vni", value("vni"), [...shared.networks.keys()].map((vni) => [String(vni), netText(shared.networks, vni)])),
        choice("Host", "host", value("host"), [
          ...[...shared.hosts.values()].filter((host) => host.state !== "HELD").map((host) => [host.dpid, placeText(shared, host.dpid)]),
          ...[...shared.vteps.values()].map((vtep) => [vtep.vtep, `${vtep.name ?? vtep.vtep} (foreign)`]),
        ]),
        h("span", { class: "quiet", id: "vms-hint" }, "A part of the name or MAC, or how an IP begins."),
      ),
      found(),
    ],
  };

  // A network or host out of few is chosen; out of many it is typed.
  function choice(label, name, now, options) {
    if (options.length > CHOICES_MAX) {
      return field(label, h("input", { name, value: now, autocomplete: "off", onchange: (event) => ctx.ask({ [name]: event.target.value.trim() }) }));
    }
    if (now && !options.some(([key]) => key === now)) options.push([now, now]);
    return field(label, h("select", { name, value: now, onchange: (event) => ctx.ask({ [name]: event.target.value }) },
      h("option", { value: "" }, "all"), options.map(([key, text]) => h("option", { key, value: key }, text))));
  }

  function found() {
    if (page === null) return null;
    if (page.total === 0) {
      const filtered = value("q") || value("vni") || value("host");
      return filtered ? empty("No VM fits.", h("button", { type: "button", onclick: () => ctx.ask({ q: null, vni: null, host: null }) }, "Show all"))
        : empty("No VMs are registered yet. MACs are learned from traffic all the same.",
          h("p", null, "Register one: ", h("code", null, "vxlanctl vm add MAC --host HOST --ip IP --name NAME")));
    }
    const first = cursors.length * PAGE + 1;
    return [
      pager({
        shown: `${count(first)} to ${count(first + page.items.length - 1)}`, total: page.total, page: cursors.length + 1,
        onPrevious: cursors.length > 0 && (() => turn(cursors.pop())),
        onNext: page.next && (() => {
          cursors.push(cursor);
          turn(page.next);
        }),
      }),
      table({
        caption: "Registered VMs",
        keyOf: (vm) => `${vm.vni} ${vm.mac}`,
        items: page.items,
        sorting: { now: value("sort") || "vni", set: (sort) => ctx.ask({ sort: sort === "vni" ? null : sort }) },
        columns: [
          { head: "Name", sort: "name", cell: (vm) => vm.name ?? "–" },
          { head: "Network", sort: "vni", cell: (vm) => netLink(shared.networks, vm.vni) },
          { head: "MAC", sort: "mac", mono: true, cell: (vm) => vm.mac },
          { head: "IPs", sort: "ip", mono: true, cell: (vm) => vm.ips.join(", ") || "–" },
          { head: "Host", sort: "host", cell: (vm) => placeLink(shared, vm.host) },
          { head: "Answered for", cell: (vm) => (vm.respond ? "yes" : "no") },
          { head: "Ask", cell: (vm) => h("a", { href: `#/trace?vni=${vm.vni}&src=${encodeURIComponent(vm.mac)}`, "aria-label": `Trace from ${vm.name ?? vm.mac}` }, "Trace") },
        ],
      }),
    ];
  }
}

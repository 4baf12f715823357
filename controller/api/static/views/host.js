// One host: its session, ports and tunnels, the flows it should hold and why, and whether it does.

import { get, seg } from "../api.js";
import { h } from "../dom.js";
import { fromPorts, loadTunnels, tunnelTable, unprobed } from "../tunnels.js";
import { breakable, count, empty, field, hostBadge, notice, pager, plural, shortDpid, table } from "../words.js";

const PAGE = 100;
const LISTED_MAX = 12;
const RANK = (tunnel) => ["down", "unknown", "up"].indexOf(tunnel.state);
const SHOWN_LIVE_MAX = 5000;
const TYPING_MS = 250;
const TABLES = {
  0: "CLASSIFY", 1: "FROM_LOCAL", 2: "FROM_TUNNEL", 3: "TO_LOCAL", 10: "SENDER", 11: "SOURCE_IP", 12: "SPLIT",
  20: "UNICAST", 21: "FLOOD", 22: "ND_REPLY", 30: "EGRESS",
};

export function open(ctx) {
  const { shared } = ctx;
  const dpid = ctx.rest;
  let host = null;
  let tunnels = null;
  let flows = null;
  let diff = null; // null, "asking", an error or the answer
  let cursor = null;
  const cursors = [];
  let typing = null;
  let asked = null; // the question that `flows` answers
  const value = (name) => ctx.query.get(name) ?? "";

  return {
    topics: new Set(["host", "vm", "vms", "moved", "tunnel", "drift", "network", "reset"]),
    title: () => `Host ${host?.name ?? shortDpid(dpid)}`,
    leave: () => clearTimeout(typing),
    asked() {
      cursors.length = 0;
      cursor = null;
    },
    async load(signal) {
      await shared.ready;
      const query = { q: value("q").trim(), table: value("table"), limit: PAGE, cursor };
      const question = JSON.stringify(query);
      host = await get(`/hosts/${seg(dpid)}`, {}, signal);
      if (host.state === "HELD") { // it is no host yet, and nothing else is known of it
        [tunnels, flows, asked] = [{ items: [] }, { items: [], total: 0, next: null }, null];
        return;
      }
      tunnels = await loadTunnels({ host: dpid }, signal);
      // Each search walks all flows of the host: of many, only when somebody asks.
      if (question !== asked || host.flows <= SHOWN_LIVE_MAX) {
        flows = await get(`/hosts/${seg(dpid)}/flows`, query, signal);
        asked = question;
      }
    },
    render: () => [
      h("p", { class: "summary" }, hostBadge(host), host.reason && h("span", null, host.reason)),
      h("dl", { class: "facts" }, [
        ["Datapath id", h("code", null, host.dpid)],
        ["VTEP", host.vtep ? h("code", null, host.vtep) : "not known"],
        ["VMs", host.state === "HELD" ? "none" : h("a", { href: `#/vms?host=${host.dpid}` }, count(host.vms))],
        ["Connects from", host.address ?? "–"],
        ["Certificate", host.certificate_seen ?? (host.connected ? "none" : "–")],
        ["Flows it should hold", count(host.flows)],
        ["Neighbour solicitations", host.nd_responder ? `answered by the ${host.nd_responder}` : "–"],
      ].map(([name, text]) => h("div", null, h("dt", null, name), h("dd", null, text)))),
      h("h2", null, "Tunnel ports"),
      host.tunnel_ports.length === 0 ? empty(host.connected ? "br-tun has no tunnel port that the controller knows by its name." : "Not known while the host is not connected.")
        : table({ caption: "Tunnel ports", items: host.tunnel_ports, keyOf: (port) => port.port, columns: [
          { head: "Port", cell: (port) => port.port },
          { head: "Name", cell: (port) => port.name },
          { head: "Leads to", cell: (port) => (port.remote === "flow" ? "any VTEP, as the flow says" : port.remote ?? "not known yet") },
        ] }),
      h("h2", null, "Tunnels"),
      tunnels === null ? [unprobed(), list(fromPorts([host], shared))] : list(tunnels.items),
      h("h2", null, "Installed against desired"),
      h("div", { class: "diff", "aria-live": "polite" },
        h("button", { type: "button", onclick: compare, disabled: diff === "asking" || host.state === "HELD" }, "Ask the switch"), " ", compared()),
      h("h2", { id: "flows" }, "Flows"),
      h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
        field("Search", h("input", { type: "search", value: value("q"), placeholder: "VM, address or cookie", autocomplete: "off", spellcheck: "false",
          oninput: (event) => {
            clearTimeout(typing);
            const text = event.target.value;
            typing = setTimeout(() => ctx.ask({ q: text }, { replace: true }), TYPING_MS);
          } })),
        field("Table", h("select", { value: value("table"), onchange: (event) => ctx.ask({ table: event.target.value }, { replace: true }) },
          h("option", { value: "" }, "all"), Object.entries(TABLES).map(([number, name]) => h("option", { key: number, value: number }, `${number} ${name}`))))),
      flowPages(),
    ],
  };

  function list(items) {
    if (items.length === 0) return h("p", { class: "quiet" }, "None.");
    const shown = tunnelTable("Tunnels of this host", [...items].sort((a, b) => RANK(a) - RANK(b)), shared, { withHost: false });
    if (items.length <= LISTED_MAX) return shown;
    const of = (state) => items.filter((tunnel) => tunnel.state === state).length;
    return h("details", null, h("summary", null, `${count(items.length)} tunnels: ${count(of("up"))} up, ${count(of("down"))} down`), shown);
  }

  async function compare() {
    diff = "asking";
    ctx.redraw();
    try {
      diff = await get(`/hosts/${seg(dpid)}/diff`);
    } catch (error) {
      diff = error;
    }
    ctx.redraw();
  }

  function compared() {
    if (diff === null) return h("span", { class: "quiet" }, "Reads what is installed, changes nothing.");
    if (diff === "asking") return "Asking.";
    if (diff instanceof Error) return notice("error", diff.message);
    if (diff.in_sync) return notice("ok", "In sync: it holds exactly what it should.");
    return [
      notice("error", `${plural(diff.missing.length, "flow")} missing, ${count(diff.extra.length)} extra.`),
      flowTable("Flows that differ", [...diff.missing.map((flow) => ({ ...flow, how: "missing" })), ...diff.extra.map((flow) => ({ ...flow, how: "extra" }))].slice(0, 500), true),
    ];
  }

  function flowPages() {
    if (flows.items.length === 0) return empty(value("q") || value("table") ? "No flow fits." : "No flows yet: they are known once the host has connected.");
    const first = cursors.length * PAGE + 1;
    const turn = (to) => {
      cursor = to;
      ctx.reload();
    };
    return [
      pager({ shown: `${count(first)} to ${count(first + flows.items.length - 1)}`, total: flows.total, page: cursors.length + 1,
        onPrevious: cursors.length > 0 && (() => turn(cursors.pop())),
        onNext: flows.next && (() => {
          cursors.push(cursor);
          turn(flows.next);
        }) }),
      flowTable("Flows", flows.items, false),
    ];
  }

  function flowTable(caption, items, withHow) {
    return table({ caption, items, keyOf: (flow) => `${flow.how ?? ""}${flow.cookie}`, columns: [
      { head: "Table", whole: true, cell: (flow) => `${flow.table} ${TABLES[flow.table] ?? ""}` },
      withHow && { head: "", cell: (flow) => flow.how },
      { head: "Why", wide: true, cell: (flow) => flow.why },
      { head: "Priority", num: true, cell: (flow) => flow.priority },
      { head: "Match", mono: true, wide: true, cell: (flow) => breakable(flow.match || "any") },
      { head: "Actions", mono: true, wide: true, cell: (flow) => breakable(flow.actions) },
      { head: "Cookie", mono: true, cell: (flow) => flow.cookie },
    ].filter(Boolean) });
  }
}

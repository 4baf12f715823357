// What happened since the page was opened, newest first.

import { h } from "../dom.js";
import { badge, count, empty, netText, placeText, plural, table, when } from "../words.js";

const SHOWN_MAX = 300;
const WORDS = {
  live: ["ok", "live"], polling: ["busy", "reconnecting; the events of now may be missed"],
  away: ["error", "the controller does not answer"], connecting: ["busy", "connecting"],
};

export function open(ctx) {
  const { shared, recent, live } = ctx;
  let held = null; // what was there when it was paused
  const type = () => ctx.query.get("type") ?? "";

  return {
    always: true,
    topics: new Set(),
    title: () => "Events",
    load: async () => {},
    happened: () => held === null && ctx.soonDrawn(),
    render() {
      const all = held ?? recent;
      const types = [...new Set([...all.map((event) => event.type), ...(type() ? [type()] : [])])].sort();
      const shown = all.filter((event) => !type() || event.type === type());
      return [
        h("div", { class: "filters" },
          badge(...WORDS[live.state]),
          h("button", { type: "button", "aria-pressed": held ? "true" : "false", onclick: () => {
            held = held ? null : [...recent];
            ctx.redraw();
          } }, held ? `Go on (${count(fresh())} new)` : "Pause"),
          h("label", { class: "field" }, h("span", null, "Type"), h("select", { value: type(), onchange: (event) => ctx.ask({ type: event.target.value }, { replace: true }) },
            h("option", { value: "" }, "all"), types.map((name) => h("option", { key: name, value: name }, name))))),
        shown.length === 0 ? empty(type() ? "No such event so far." : "Nothing happened since this page was opened. Register a VM, move one, or unplug a tunnel.")
          : table({
            caption: "Events, newest first",
            items: shown.slice(0, SHOWN_MAX),
            keyOf: (event) => event.number,
            rowClass: (event) => (TROUBLE(event) ? "bad" : null),
            columns: [
              { head: "At", cell: (event) => when(event.data.at) },
              { head: "Type", cell: (event) => event.type },
              { head: "What", wide: true, cell: (event) => sentence(event) },
            ],
          }),
        shown.length > SHOWN_MAX && h("p", { class: "quiet" }, `The newest ${count(SHOWN_MAX)} of ${count(shown.length)} kept here.`),
      ];
    },
  };

  function fresh() {
    const newest = held[0]?.number ?? 0;
    return recent.filter((event) => event.number > newest).length;
  }

  function sentence({ type: kind, data }) {
    const host = data.host_name ?? (data.host && placeText(shared, data.host));
    const who = data.name ?? data.mac;
    const net = data.vni === undefined || data.vni === null ? null : netText(shared.networks, data.vni);
    switch (kind) {
      case "host": return `${host} is ${data.state}${data.reason ? `: ${data.reason}` : ""}`;
      case "vm": return `VM ${who} in ${net} ${data.action}${data.host ? `, on ${host}` : ""}`;
      case "vms": return `${[["added", data.added], ["changed", data.changed], ["moved", data.moved], ["removed", data.removed]].filter(([, n]) => n).map(([word, n]) => `${count(n)} VMs ${word}`).join(", ")}${net ? ` in ${net}` : ""}`;
      case "network": return `${net} ${data.action}`;
      case "vtep": return `foreign VTEP ${data.name ?? data.ip} ${data.action}`;
      case "vip": return `virtual IP ${data.ip} in ${net} ${data.action}`;
      case "learned": return `${data.mac} in ${net} ${data.action}${host || data.vtep ? `, on ${host ?? placeText(shared, data.vtep)}` : ""}`;
      case "learned_many": return `${count(data.count)} MACs learned or forgotten within a second`;
      case "moved": return `${data.registered ? "VM" : "learned"} ${who} in ${net} moved from ${data.from && placeText(shared, data.from)} to ${data.to && placeText(shared, data.to)}, told by ${data.by}`;
      case "drift": return `${host}: ${plural(data.missing, "flow")} missing, ${count(data.extra)} extra${data.mended ? ", mended" : ""}; seen by ${data.seen_by}`;
      case "suppressed": return `${data.name ?? net}: ${count(data.answered)} answered, ${count(data.suppressed)} suppressed, ${count(data.flooded)} flooded`;
      case "tunnel": return `tunnel ${host} to ${data.peer ? placeText(shared, data.peer) : data.vtep} is ${data.state}`;
      case "reset": return `events were missed: ${data.reason}`;
      default: return JSON.stringify(data);
    }
  }
}

const TROUBLE = ({ type, data }) => type === "drift" || (type === "host" && !["LIVE", "SYNCING", "AUDITING", "WAITING"].includes(data.state)) || (type === "tunnel" && data.state === "down");

// What is not registered VM by VM: learned MACs, foreign VTEPs, virtual IPs.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count, duration, empty, netLink, pager, placeLink, table } from "../words.js";

const PAGE = 200;
const TABS = [["learned", "Learned MACs"], ["vteps", "Foreign VTEPs"], ["vips", "Virtual IPs"]];

export function open(ctx) {
  let page = null;
  let at = 0;
  let cursor = null;
  const cursors = [];
  const tab = () => ctx.query.get("show") ?? "learned";
  const { shared } = ctx;
  const passed = () => (performance.now() - at) / 1000;
  const TABLES = {
    learned: {
      caption: "Learned MACs",
      keyOf: (entry) => `${entry.vni} ${entry.mac}`,
      columns: [
        { head: "MAC", mono: true, cell: (entry) => entry.mac },
        { head: "Network", cell: (entry) => netLink(shared.networks, entry.vni) },
        { head: "IPs", mono: true, cell: (entry) => entry.ips.join(", ") || "–" },
        { head: "Where", cell: (entry) => placeLink(shared, entry.host ?? entry.vtep) },
        { head: "Moves", num: true, cell: (entry) => count(entry.generation) },
        { head: "Last seen", num: true, cell: (entry) => `${duration(entry.age_s + passed())} ago` },
        { head: "Forgotten in", num: true, cell: (entry) => duration(Math.max(0, entry.expires_in_s - passed())) },
      ],
    },
    vteps: {
      caption: "Foreign VTEPs",
      keyOf: (vtep) => vtep.vtep,
      columns: [
        { head: "VTEP", mono: true, cell: (vtep) => vtep.vtep },
        { head: "Name", cell: (vtep) => vtep.name ?? "–" },
        { head: "Networks", wide: true, cell: (vtep) => vtep.vnis.map((vni) => [netLink(shared.networks, vni), " "]) },
        { head: "Learning", cell: (vtep) => (vtep.learning ? "yes" : "no") },
        { head: "VMs", num: true, cell: (vtep) => count(vtep.vms) },
        { head: "Learned", num: true, cell: (vtep) => count(vtep.learned) },
      ],
    },
    vips: {
      caption: "Virtual IPs",
      keyOf: (vip) => `${vip.vni} ${vip.ip}`,
      columns: [
        { head: "IP", mono: true, cell: (vip) => vip.ip },
        { head: "Network", cell: (vip) => netLink(shared.networks, vip.vni) },
        { head: "Name", cell: (vip) => vip.name ?? "–" },
        { head: "Held by", mono: true, cell: (vip) => vip.holder ?? "nobody yet" },
        { head: "Shared by", mono: true, wide: true, cell: (vip) => vip.macs.join(", ") },
      ],
    },
  };

  return {
    topics: new Set(["learned", "learned_many", "moved", "vtep", "vip", "vm", "vms", "reset"]),
    title: () => "Addresses",
    asked() {
      cursors.length = 0;
      cursor = null;
      page = null;
    },
    async load(signal) {
      const wanted = tab();
      const found = await get(`/${wanted}`, { limit: PAGE, cursor, vni: wanted === "vteps" ? null : ctx.query.get("vni") }, signal);
      page = found;
      at = performance.now();
    },
    render: () => [
      h("nav", { class: "tabs", "aria-label": "Kinds of addresses" }, TABS.map(([name, text]) =>
        h("a", { href: `#/addresses?show=${name}`, "aria-current": name === tab() ? "page" : null }, text))),
      page && (page.total === 0 ? NONE[tab()]() : [pages(), table({ items: page.items, ...TABLES[tab()] })]),
    ],
  };

  function pages() {
    const first = cursors.length * PAGE + 1;
    const turn = (to) => {
      cursor = to;
      ctx.reload();
    };
    return pager({
      shown: `${count(first)} to ${count(first + page.items.length - 1)}`, total: page.total, page: cursors.length + 1,
      onPrevious: cursors.length > 0 && (() => turn(cursors.pop())),
      onNext: page.next && (() => {
        cursors.push(cursor);
        turn(page.next);
      }),
    });
  }
}

const NONE = {
  learned: () => empty("No MAC is learned now. A MAC that is not registered is learned from its first frame, and forgotten when it falls silent."),
  vteps: () => empty("No foreign VTEPs: tunnel endpoints that do not connect here.",
    h("p", null, "Declare one: ", h("code", null, "curl -X PUT …/v1/vteps/192.168.33.20 -H 'Content-Type: application/json' -d '{\"vnis\": [100]}'"))),
  vips: () => empty("No virtual IPs: addresses that several MACs share.",
    h("p", null, "Declare one: ", h("code", null, "curl -X PUT …/v1/vips/100/10.1.1.100 -H 'Content-Type: application/json' -d '{\"macs\": [\"52:54:00:00:00:01\"]}'"))),
};

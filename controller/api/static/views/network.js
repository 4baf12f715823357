// One network: what it is, and its ledger over time, by host and by talker.

import { get, maybe } from "../api.js";
import { chart } from "../chart.js";
import { h } from "../dom.js";
import { absent, bytes, compact, count, netText, placeLink, placeText, rate, table } from "../words.js";
import { totals } from "./networks.js";

const LEDGER_EVERY_MS = 5000;

export function open(ctx) {
  const { shared } = ctx;
  const vni = ctx.rest;
  let network = null;
  let ledger = null;
  let vms = null;
  const again = setInterval(() => ctx.soon(), LEDGER_EVERY_MS);

  return {
    topics: new Set(["suppressed", "network", "vm", "vms", "reset"]),
    leave: () => clearInterval(again),
    title: () => (network ? netText(new Map([[network.vni, network]]), network.vni) : `Network ${vni}`),
    async load(signal) {
      await shared.ready;
      [network, ledger, vms] = await Promise.all([
        get(`/networks/${vni}`, {}, signal), maybe(`/ledger/${vni}`, {}, signal), get("/vms", { vni, limit: 1 }, signal),
      ]);
    },
    render: () => [
      h("dl", { class: "facts" },
        [
          ["VMs", h("a", { href: `#/vms?vni=${vni}` }, count(vms.total))],
          ["Local VLAN", network.vlan ?? "untagged"],
          ["Subnets", network.subnets.join(", ") || "–"],
          ["Mode", network.mode],
          ["Unknown unicast", network.unknown_unicast],
          ["Unknown ARP", network.unknown_arp],
          ["Multicast", network.multicast],
          ["ARP and ND answered", network.arp_responder ? "yes" : "no"],
          ["Learning", network.learning ? "yes" : "no"],
          ["Port security", network.port_security ? "yes" : "no"],
          ["DHCP", network.dhcp ? `yes, MTU ${network.mtu}` : "no"],
        ].map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
      h("h2", null, "Ledger"),
      ledger === null ? absent("The ledger of broadcasts") : [
        totals(ledger, ledger.since),
        h("div", { class: "charts" },
          chart({ title: "Frames per interval", points: ledger.history ?? [], series: FRAMES, write: compact }),
          chart({ title: "Bytes that did not cross the underlay", points: ledger.history ?? [], series: SAVED, write: bytes })),
        h("h2", null, "Who sends most broadcast and multicast"),
        (ledger.talkers ?? []).length === 0 ? h("p", { class: "quiet" }, "Nobody so far.") : table({
          caption: "Top talkers", items: ledger.talkers, keyOf: (talker) => talker.mac, columns: [
            { head: "MAC", mono: true, cell: (talker) => talker.mac },
            { head: "Name", cell: (talker) => talker.name ?? "–" },
            { head: "Host", cell: (talker) => placeLink(shared, talker.host) },
            { head: "Frames", num: true, cell: (talker) => count(talker.frames) },
            { head: "Bytes", num: true, cell: (talker) => bytes(talker.bytes) },
            { head: "Frames/s", num: true, cell: (talker) => rate(talker.per_s) },
          ],
        }),
        h("h2", null, "By host"),
        table({
          caption: "The ledger by host", items: byName(ledger.hosts ?? []), keyOf: (entry) => entry.host, columns: [
            { head: "Host", cell: (entry) => placeLink(shared, entry.host) },
            { head: "Answered", num: true, cell: (entry) => count(entry.answered.frames) },
            { head: "Suppressed", num: true, cell: (entry) => count(entry.suppressed.frames) },
            { head: "Flooded", num: true, cell: (entry) => count(entry.flooded.frames) },
            { head: "Unknown unicast", num: true, cell: (entry) => count(entry.unknown_unicast.frames) },
            { head: "Saved", num: true, cell: (entry) => bytes(entry.saved.bytes) },
          ],
        }),
      ],
    ],
  };

  function byName(entries) {
    const name = (entry) => placeText(shared, entry.host);
    return [...entries].sort((a, b) => name(a).localeCompare(name(b), "en", { numeric: true }));
  }
}

const FRAMES = [
  { name: "answered", value: (point) => point.answered },
  { name: "suppressed", value: (point) => point.suppressed },
  { name: "flooded", value: (point) => point.flooded },
  { name: "unknown unicast", value: (point) => point.unknown_unicast },
];
const SAVED = [{ name: "saved", value: (point) => point.saved_bytes }];

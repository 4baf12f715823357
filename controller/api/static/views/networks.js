// All networks, and what the overlay saves in each: the BUM ledger.

import { maybe } from "../api.js";
import { h } from "../dom.js";
import { absent, bytes, compact, count, netLink, rate, table } from "../words.js";

const LISTED_MAX = 2000;

export function open(ctx) {
  const { shared } = ctx;
  let ledger; // by vni, null where the controller keeps none
  let sum = null;
  let since = null;

  return {
    topics: new Set(["suppressed", "network", "reset"]),
    followsShared: true,
    title: () => "Networks",
    async load(signal) {
      await shared.ready;
      const first = await maybe("/ledger", { limit: LISTED_MAX }, signal);
      ledger = first && new Map(first.items.map((entry) => [entry.vni, entry]));
      sum = first?.sum ?? null;
      since = first?.since ?? null;
    },
    render: () => [
      ledger === null ? absent("The ledger of broadcasts") : sum && totals(sum, since),
      table({
        caption: "Networks",
        items: [...shared.networks.values()].slice(0, LISTED_MAX),
        keyOf: (network) => network.vni,
        columns: [
          { head: "Network", cell: (network) => netLink(shared.networks, network.vni) },
          { head: "VLAN", num: true, cell: (network) => network.vlan ?? "untagged" },
          { head: "Policy", wide: true, cell: policy },
          ...(ledger ? COLUMNS.map((column) => ({ ...column, num: true, cell: (network) => cellOf(ledger.get(network.vni), column.of) })) : []),
        ],
      }),
      shared.networks.size > LISTED_MAX && h("p", { class: "quiet" }, `The first ${count(LISTED_MAX)} of ${count(shared.networks.size)}.`),
    ],
  };
}

const cellOf = (entry, of) => (entry ? of(entry) : "–");
const COLUMNS = [
  { head: "Answered", of: (entry) => compact(entry.answered.frames + (entry.answered_by_controller?.frames ?? 0)) },
  { head: "Suppressed", of: (entry) => compact(entry.suppressed.frames) },
  { head: "Flooded", of: (entry) => compact(entry.flooded.frames) },
  { head: "Unknown unicast", of: (entry) => compact(entry.unknown_unicast.frames) },
  { head: "Saved", of: (entry) => bytes(entry.saved.bytes) },
  { head: "Answered/s", of: (entry) => rate(entry.per_s?.answered) },
  { head: "Flooded/s", of: (entry) => rate(entry.per_s?.flooded) },
];

export function totals(sum, since) {
  const fact = (name, value, hint) => h("div", { class: "total" }, h("span", null, name), h("b", null, value), h("small", null, hint));
  return h("div", { class: "totals", role: "group", "aria-label": "The ledger's totals" },
    fact("Answered in the switch", compact(sum.answered.frames), "ARP and neighbour solicitations"),
    fact("Answered by the controller", compact(sum.answered_by_controller?.frames), "DHCP and new conversations"),
    fact("Suppressed", compact(sum.suppressed.frames), "dropped by policy"),
    fact("Flooded", compact(sum.flooded.frames), `${compact(sum.flooded.copies)} copies on the underlay`),
    fact("Saved", bytes(sum.saved.bytes), `${compact(sum.saved.copies)} copies that never crossed the underlay`),
    since && h("small", { class: "quiet since" }, `since ${new Date(since).toLocaleString("en-GB")}`));
}

function policy(network) {
  return [
    network.mode === "reactive" && "reactive",
    network.port_security && "port security",
    !network.arp_responder && "no responder",
    !network.learning && "no learning",
    network.unknown_unicast === "drop" && "unknown unicast dropped",
    network.unknown_arp === "drop" && "unknown ARP dropped",
    network.multicast === "drop" && "multicast dropped",
    network.quiet && "quiet",
    network.dhcp && "DHCP",
    network.follow_moves && "follows moves",
  ].filter(Boolean).join(", ") || "as by default";
}

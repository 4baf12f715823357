// Tunnels as the controller's probes see them, or, without probes, as the hosts' ports tell.

import { maybe } from "./api.js";
import { h } from "./dom.js";
import { badge, ms, placeLink, table, tunnelKind, duration, count, notice } from "./words.js";

export const PROBED_MAX = 2000;

// {items, total}: of one host, or of the fabric as far as it can be shown; null without probes.
export async function loadTunnels(query, signal) {
  const page = await maybe("/tunnels", { limit: PROBED_MAX, ...query }, signal);
  return page && { items: page.items, total: page.total };
}

// What ports alone say: where each leads, and nothing of how it is there.
export function fromPorts(hosts, shared) {
  const found = [];
  for (const host of hosts) {
    for (const port of host.tunnel_ports) {
      const peers = port.remote === "flow" ? [...shared.hosts.values()].filter((other) => other !== host && other.vtep).map((other) => other.vtep)
        : port.remote ? [port.remote] : [];
      for (const vtep of peers) {
        const peer = shared.hostAt(vtep);
        found.push({ host: host.dpid, vtep, peer: peer?.dpid ?? null, peer_name: peer?.name ?? null,
          port: port.port, port_name: port.name, state: "unknown", rtt_ms: null });
      }
    }
  }
  return found;
}


export function tunnelTable(caption, items, shared, { withHost }) {
  return table({
    caption,
    items,
    keyOf: (tunnel) => `${tunnel.host} ${tunnel.vtep} ${tunnel.port}`,
    rowClass: (tunnel) => (tunnel.state === "down" ? "bad" : null),
    columns: [
      withHost && { head: "From", cell: (tunnel) => placeLink(shared, tunnel.host) },
      { head: "To", cell: (tunnel) => placeLink(shared, tunnel.peer ?? tunnel.vtep) },
      { head: "VTEP", mono: true, cell: (tunnel) => tunnel.vtep },
      { head: "Port", cell: (tunnel) => (tunnel.port_name ? `${tunnel.port_name} (${tunnel.port})` : "–") },
      { head: "State", cell: (tunnel) => badge(tunnelKind(tunnel.state), tunnel.state) },
      { head: "Round trip", num: true, cell: (tunnel) => ms(tunnel.rtt_ms) },
      { head: "Seen", num: true, cell: (tunnel) => (tunnel.last_seen_s === undefined || tunnel.last_seen_s === null ? "–" : `${duration(tunnel.last_seen_s)} ago`) },
      { head: "Lost", num: true, cell: (tunnel) => (tunnel.sent ? `${count(tunnel.lost)} of ${count(tunnel.sent)}` : "–") },
      { head: "MTU", num: true, cell: mtu },
    ].filter(Boolean),
  });
}

function mtu(tunnel) {
  if (tunnel.mtu === null || tunnel.mtu === undefined) return "–";
  return tunnel.mtu_ok === false ? badge("error", `${tunnel.mtu}, wants ${tunnel.mtu_needed}`) : String(tunnel.mtu);
}

export const unprobed = () => notice("info", "Tunnels are shown as the hosts' ports tell; this controller does not probe them.");

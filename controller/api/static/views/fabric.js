// The fabric as a picture. Few hosts: boxes, what runs on them, and the tunnels between them. Many:
// tiles in the order of their state, and tunnels only where they are down or asked for.

import { get } from "../api.js";
import { h } from "../dom.js";
import { fromPorts, loadTunnels, tunnelTable, unprobed } from "../tunnels.js";
import {
  badge, compact, count, empty, hostBadge, mark, ms, netClass, netText, notice, placeText, plural, shortDpid, stateOf, table, tunnelKind,
} from "../words.js";
import { Wires, layer } from "../wires.js";

const DRAWN_HOSTS_MAX = 8;
const LABELLED_HOSTS_MAX = 5;
const DOTS_MAX = 60;
const NAMED_MAX = 10;
const [NAME_MAX, TAIL] = [14, 6];
const ORDER = ["error", "warning", "busy", "unknown", "ok"];
const SORTS = { state: "State", name: "Name", vms: "VMs" };

const line = (kind, text) => h("span", null, h("svg", { class: `sample wire ${kind}`, viewBox: "0 0 24 8", "aria-hidden": "true" },
  h("line", { x1: 0, y1: 4, x2: 24, y2: 4 })), text);
const tunnelText = (tunnel) => h("span", { class: `tunnel ${tunnelKind(tunnel?.state)}` },
  tunnel ? (tunnel.state === "up" ? ms(tunnel.rtt_ms) : `tunnel ${tunnel.state}`) : "no tunnel seen");

// A name's first label; of a long one the middle goes, since its end tells it from its neighbours.
function shortName(host) {
  const name = host.name?.split(".")[0] || host.name || shortDpid(host.dpid);
  return name.length <= NAME_MAX ? name : `${name.slice(0, NAME_MAX - TAIL - 1)}…${name.slice(-TAIL)}`;
}

export function open(ctx) {
  const { shared } = ctx;
  const wires = new Wires();
  let dots = new Map(); // by dpid: some of the VMs there
  let tunnels; // {items, total}, null without probes, undefined while not known
  let chosen = null; // tunnels of the chosen host

  const few = () => shared.hosts.size <= DRAWN_HOSTS_MAX;
  const pick = () => shared.hosts.get(ctx.query.get("host")) ?? null;

  return {
    topics: new Set(["tunnel"]),
    followsShared: true,
    title: () => "Fabric",
    async load(signal) {
      await shared.ready;
      const host = pick();
      const [all, own] = await Promise.all([
        loadTunnels(few() ? {} : { state: "down" }, signal),
        host && host.state !== "HELD" && !few() ? loadTunnels({ host: host.dpid }, signal) : null,
      ]);
      tunnels = all;
      chosen = own;
      if (few()) {
        const known = [...shared.hosts.values()].filter((each) => each.state !== "HELD").map((each) => each.dpid);
        const pages = await Promise.all(known.map((dpid) => get("/vms", { host: dpid, limit: DOTS_MAX }, signal)));
        dots = new Map(known.map((dpid, at) => [dpid, pages[at].items]));
      }
    },
    always: true,
    leave: () => wires.stop(),
    drawn: () => wires.draw(document.querySelector(".canvas")),
    render() {
      if (shared.loadedAt === null) return h("p", { class: "loading" }, "Loading.");
      if (shared.hosts.size === 0) {
        return empty("No hosts yet.", h("p", null, "Point a hypervisor's br-tun at this controller: ",
          h("code", null, `ovs-vsctl set-controller br-tun tcp:${location.hostname}:${openflowPort()}`)),
        h("p", { class: "quiet" }, "First: fail mode secure, out-of-band control, OpenFlow13. ", h("code", null, "vxlanctl host script"), " prints it all."));
      }
      return [summary(), few() ? drawn() : tiled(), asText()];
    },
  };

  function openflowPort() {
    return shared.status?.openflow?.split(":").pop() ?? "6653";
  }

  function summary() {
    const states = new Map();
    for (const host of shared.hosts.values()) {
      const [kind, text] = stateOf(host);
      states.set(text, { kind, n: (states.get(text)?.n ?? 0) + 1 });
    }
    const of = (state) => tunnels.items.filter((tunnel) => tunnel.state === state).length;
    const down = tunnels && (few() ? of("down") : tunnels.total);
    return h("div", { class: "summary" },
      [...states].map(([text, { kind, n }]) => badge(kind, `${count(n)} ${text}`)),
      tunnels && few() && badge("ok", plural(of("up"), "tunnel up", "tunnels up")),
      tunnels && badge(down ? "error" : "ok", plural(down, "tunnel down", "tunnels down")),
      few() && h("span", { class: "legend" }, "Lines: ", line("ok", "up"), line("error", "down"), line("unknown", "not probed")));
  }

  function items() {
    return tunnels?.items ?? fromPorts([...shared.hosts.values()], shared);
  }

  // ---- few hosts

  function drawn() {
    const hosts = ordered("name");
    wires.set(pairs(items()), { labels: hosts.length <= LABELLED_HOSTS_MAX });
    return h("div", { class: "canvas" }, layer(), h("ul", { class: `drawn of-${hosts.length}`, "aria-label": "Hosts" },
      hosts.map((host) => h("li", { key: host.dpid, id: `host-${host.dpid}` }, card(host)))));
  }

  function card(host) {
    const vms = dots.get(host.dpid) ?? [];
    const groups = new Map();
    for (const vm of vms) groups.set(vm.vni, [...(groups.get(vm.vni) ?? []), vm]);
    return h("a", { class: `host card ${stateOf(host)[0]}`, href: `#/hosts/${host.dpid}` },
      h("span", { class: "top" }, h("strong", null, host.name ?? shortDpid(host.dpid)), hostBadge(host)),
      h("span", { class: "quiet mono" }, host.vtep ? `VTEP ${host.vtep}` : "VTEP not known"),
      h("span", { class: "quiet" }, `br-tun: ${plural(host.flows, "flow")}, ${plural(host.tunnel_ports.length, "tunnel port")}`),
      host.reason && h("span", { class: "reason" }, host.reason),
      [...groups].map(([vni, members]) => h("span", { class: "group", key: vni },
        h("span", { class: "name" }, netText(shared.networks, vni)),
        h("span", { class: "dots", role: "img", "aria-label": members.map((vm) => vm.name ?? vm.mac).join(", ") },
          members.map((vm) => h("span", { key: vm.mac, class: `dot ${netClass(vni)}`, title: `${vm.name ?? vm.mac}  ${vm.ips.join(", ")}` }))))),
      host.vms > vms.length && h("span", { class: "quiet" }, `and ${plural(host.vms - vms.length, "more VM")}`),
      host.vms === 0 && h("span", { class: "quiet" }, "no registered VMs"));
  }

  // The two directions of a tunnel are one line, in the worse state of the two.
  function pairs(list) {
    const found = new Map();
    for (const tunnel of list) {
      if (!tunnel.peer || !shared.hosts.has(tunnel.peer)) continue;
      const [a, b] = [tunnel.host, tunnel.peer].sort();
      const key = `${a} ${b}`;
      const pair = found.get(key) ?? { a, b, state: tunnel.state, rtt: null };
      if (tunnel.state === "down" || (pair.state === "up" && tunnel.state !== "up")) pair.state = tunnel.state;
      if (tunnel.rtt_ms !== null) pair.rtt = Math.max(pair.rtt ?? 0, tunnel.rtt_ms);
      found.set(key, pair);
    }
    return [...found.values()].map((pair) => ({
      ends: [pair.a, pair.b], from: `host-${pair.a}`, to: `host-${pair.b}`, kind: tunnelKind(pair.state),
      text: pair.state === "down" ? "down" : pair.rtt === null ? "" : ms(pair.rtt),
    }));
  }

  // ---- many hosts

  function tiled() {
    const sort = ctx.query.get("sort") ?? "state";
    const host = pick();
    const down = downs();
    const text = (ctx.query.get("find") ?? "").toLowerCase();
    const hosts = ordered(sort).filter((each) => !text || `${each.name ?? ""} ${each.dpid} ${each.vtep ?? ""}`.toLowerCase().includes(text));
    const toHost = new Map((host && chosen ? chosen.items : []).map((tunnel) => [tunnel.peer, tunnel]));
    const broken = tunnels ? pairs(tunnels.items) : [];
    return [
      h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
        h("label", { class: "field" }, h("span", null, "Find a host"), h("input", { type: "search", value: ctx.query.get("find") ?? "",
          oninput: (event) => ctx.ask({ find: event.target.value }, { replace: true }) })),
        h("label", { class: "field" }, h("span", null, "In the order of"), h("select", { value: sort, onchange: (event) => ctx.ask({ sort: event.target.value }) },
          Object.entries(SORTS).map(([key, name]) => h("option", { key, value: key }, name)))),
        h("span", { class: "quiet" }, "Choose a host to see its tunnels on all others.")),
      broken.length > 0 && h("p", { class: "notice error" }, mark("error"), h("span", null, plural(tunnels.total, "tunnel"), " down",
        tunnels.items.length < tunnels.total && ` (the first ${count(tunnels.items.length)} are marked)`, ": ",
        broken.slice(0, NAMED_MAX).map((pair, at) => [at > 0 && ", ", pair.ends.map((dpid, end) => [end > 0 && " to ", h("a", { href: `#/hosts/${dpid}` }, placeText(shared, dpid))])]),
        broken.length > NAMED_MAX && ", and others")),
      host && chosenPanel(host),
      hosts.length === 0 && empty("No host fits."),
      h("ul", { class: "tiles", "aria-label": "Hosts" }, hosts.map((each) => h("li", { key: each.dpid, id: `host-${each.dpid}` },
        h("button", { type: "button", class: `tile ${stateOf(each)[0]}`, "aria-pressed": each === host ? "true" : "false",
          title: `${each.name ?? each.dpid}: ${each.reason ?? `VTEP ${each.vtep ?? "not known"}`}`,
          onclick: () => ctx.ask({ host: each === host ? null : each.dpid }, { replace: true }) },
        h("span", { class: "top" }, mark(stateOf(each)[0]), h("strong", null, shortName(each))),
        h("span", { class: "quiet" }, stateOf(each)[0] === "ok" ? plural(each.vms, "VM") : stateOf(each)[1]),
        host ? each !== host && tunnels && tunnelText(toHost.get(each.dpid))
          : down.has(each.dpid) && h("span", { class: "tunnel error" }, `${plural(down.get(each.dpid), "tunnel")} down`))))),
    ];
  }

  // By dpid: how many of a host's tunnels are down.
  function downs() {
    const found = new Map();
    for (const tunnel of tunnels?.items ?? []) if (tunnel.state === "down") found.set(tunnel.host, (found.get(tunnel.host) ?? 0) + 1);
    return found;
  }

  function chosenPanel(host) {
    return h("section", { class: "card chosen", "aria-label": `Host ${placeText(shared, host.dpid)}` },
      h("h2", null, h("a", { href: `#/hosts/${host.dpid}` }, placeText(shared, host.dpid)), " ", hostBadge(host)),
      host.reason && h("p", null, host.reason),
      h("p", { class: "quiet" }, `VTEP ${host.vtep ?? "not known"}, ${plural(host.vms, "VM")}, ${plural(host.flows, "flow")}. `,
        h("a", { href: `#/hosts/${host.dpid}` }, "Ports, tunnels and flows"),
        host.state !== "HELD" && [", ", h("a", { href: `#/vms?host=${host.dpid}` }, "its VMs")]),
      tunnels === null && unprobed());
  }

  function ordered(sort) {
    const hosts = [...shared.hosts.values()];
    const name = (host) => host.name ?? host.dpid;
    const byName = (a, b) => name(a).localeCompare(name(b), "en", { numeric: true });
    if (sort === "name") return hosts.sort(byName);
    if (sort === "vms") return hosts.sort((a, b) => b.vms - a.vms || byName(a, b));
    const down = downs();
    const rank = (host) => (stateOf(host)[0] === "ok" && down.has(host.dpid) ? ORDER.indexOf("ok") - 0.5 : ORDER.indexOf(stateOf(host)[0]));
    return hosts.sort((a, b) => rank(a) - rank(b) || byName(a, b));
  }

  // ---- the same in words

  function asText() {
    return h("details", { class: "as-text", open: ctx.query.get("text") === "1" },
      h("summary", null, "The same as tables"),
      table({
        caption: "Hosts",
        items: ordered("name"),
        keyOf: (host) => host.dpid,
        columns: [
          { head: "Host", cell: (host) => h("a", { href: `#/hosts/${host.dpid}` }, host.name ?? shortDpid(host.dpid)) },
          { head: "State", cell: hostBadge },
          { head: "Reason", wide: true, cell: (host) => host.reason ?? "–" },
          { head: "VTEP", mono: true, cell: (host) => host.vtep ?? "–" },
          { head: "VMs", num: true, cell: (host) => count(host.vms) },
          { head: "Flows", num: true, cell: (host) => compact(host.flows) },
        ],
      }),
      h("h2", null, few() ? "Tunnels" : "Tunnels that are down"),
      !few() && tunnels === null ? unprobed() : (few() ? items() : tunnels?.items ?? []).length === 0
        ? notice("ok", few() ? "No tunnels." : "None.")
        : tunnelTable("Tunnels", few() ? items() : tunnels.items, shared, { withHost: true }));
  }
}

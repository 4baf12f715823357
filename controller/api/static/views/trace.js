// What becomes of a packet, hop by hop, and why one VM does or does not reach another.

import { maybe } from "../api.js";
import { h } from "../dom.js";
import { absent, badge, command, empty, field, mark, notice, placeLink, plural } from "../words.js";

const KINDS = [["", "ARP or ND, then ICMP"], ["arp", "ARP"], ["nd", "ND"], ["icmp", "ICMP"], ["tcp", "TCP"], ["udp", "UDP"]];
const EVENT_MARKS = { drop: "error", lost: "error", answer: "ok", deliver: "ok", tunnel: "busy", flood: "busy", underlay: "busy", controller: "warning" };

export function open(ctx) {
  let trace = null;
  let why = null;
  let asked = null; // the question that is answered here
  const value = (name) => ctx.query.get(name) ?? "";
  const question = () => ctx.query.toString();

  return {
    topics: new Set(),
    always: true,
    title: () => "Trace",
    async load(signal) {
      const now = question();
      if (!value("src") || !value("dst")) {
        trace = why = null;
        asked = now;
        return;
      }
      const who = { vni: value("vni"), src: value("src"), dst: value("dst") };
      [trace, why] = await Promise.all([
        maybe("/trace", { ...who, kind: value("kind"), live: value("live") }, signal),
        value("dst") === "broadcast" ? null : maybe("/why", who, signal),
      ]);
      asked = now;
      ctx.say(trace?.verdict ?? why?.sentence ?? "");
    },
    render: () => [form(), asked === question() ? answer() : value("src") && value("dst") && h("p", { class: "loading" }, "Asking. A VM that does not answer is given some seconds.")],
  };

  function form() {
    return h("form", { class: "filters trace-form", onsubmit: (event) => {
      event.preventDefault();
      const data = new FormData(event.target);
      const wanted = Object.fromEntries(["src", "dst", "vni", "kind", "live"].map((name) => [name, (data.get(name) ?? "").trim()]));
      if (Object.entries(wanted).every(([name, text]) => value(name) === text)) ctx.reload();
      else ctx.ask(wanted);
    } },
    field("From", h("input", { name: "src", value: value("src"), required: true, placeholder: "a VM's name, MAC or IP", autocomplete: "off", spellcheck: "false" })),
    field("To", h("input", { name: "dst", value: value("dst"), required: true, placeholder: "name, MAC, IP or broadcast", autocomplete: "off", spellcheck: "false" })),
    field("Network", h("input", { name: "vni", value: value("vni"), inputmode: "numeric", placeholder: "VNI, if needed", class: "short", autocomplete: "off" })),
    field("Packet", h("select", { name: "kind", value: value("kind") }, KINDS.map(([key, text]) => h("option", { key, value: key }, text)))),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "live", value: "true", checked: value("live") === "true" }), "by what is installed now"),
    h("button", { class: "primary" }, "Trace"));
  }

  function answer() {
    if (!value("src") || !value("dst")) {
      return empty("Ask what becomes of a packet from one VM to another: by which tables and flows it goes, where it ends, and if it does not arrive, where it is lost and what mends it.");
    }
    return [
      why && reasons(why),
      trace === null ? absent("Traces") : [
        (!why || why.reachable !== trace.delivered || value("live")) && notice(trace.delivered ? "ok" : "error", trace.verdict),
        trace.cure && trace.cure !== why?.command && [h("p", null, "What mends it:"), command(trace.cure, ctx.say)],
        (trace.stages ?? []).map((stage, at) => drawStage(stage, at)),
      ],
    ];
  }

  function reasons(answered) {
    return h("section", { class: "card why", "aria-label": "Why" },
      h("p", { class: "sentence" }, mark(answered.reachable ? "ok" : "error"), answered.sentence),
      answered.command && command(answered.command, ctx.say),
      (answered.evidence ?? []).length > 0 && h("details", { open: !answered.reachable }, h("summary", null, "Evidence"),
        h("ul", { class: "evidence" }, answered.evidence.map((fact) => h("li", null, badge(fact.status, fact.what), " ", fact.detail)))));
  }

  function drawStage(stage, at) {
    const kind = stage.ok === false || stage.outcome === "lost" ? "error" : "ok";
    return h("section", { class: "stage", "aria-label": stage.what },
      h("h2", null, `${at + 1}. ${stage.what} `, badge(kind, stage.outcome)),
      h("ol", { class: "hops" }, byHost(stage.hops ?? []).map((part) =>
        h("li", { class: "at-host" },
          h("div", { class: "where" }, "on ", placeLink(ctx.shared, part.host)),
          h("ol", null, part.hops.map(drawHop))))),
      (stage.ends ?? []).length > 0 && h("ul", { class: "ends" }, stage.ends.map((end) =>
        h("li", null, h("b", null, end.how), end.host && [" on ", placeLink(ctx.shared, end.host)], end.detail && [": ", end.detail]))));
  }

  function drawHop(hop) {
    const kind = EVENT_MARKS[hop.event] ?? "unknown";
    return h("li", { class: `hop ${kind}` },
      h("span", { class: "table-name" }, hop.table === null ? "underlay" : `${hop.table} ${hop.table_name ?? ""}`),
      h("div", null,
        h("p", null, hop.event !== "next" && hop.table !== null && [badge(kind, hop.event), " "], hop.why ?? "no flow matches",
          hop.packets !== null && hop.packets !== undefined && h("span", { class: "quiet" }, ` (${plural(hop.packets, "probe frame")} counted here)`)),
        hop.reason && h("p", { class: "quiet" }, hop.reason),
        hop.flow && h("details", null, h("summary", null, "The flow"),
          h("code", { class: "flow" }, `cookie=${hop.flow.cookie}, table=${hop.flow.table}, priority=${hop.flow.priority}, ${hop.flow.match || "any"} actions=${hop.flow.actions}`))));
  }
}

function byHost(hops) {
  const parts = [];
  for (const hop of hops) {
    const last = parts[parts.length - 1];
    if (last && last.host === hop.host) last.hops.push(hop);
    else parts.push({ host: hop.host, hops: [hop] });
  }
  return parts;
}

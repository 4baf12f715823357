// What commonly goes wrong, each with its cause and the command that mends it.

import { maybe } from "../api.js";
import { h } from "../dom.js";
import { absent, badge, command, count, mark, notice } from "../words.js";

const ORDER = ["error", "warning", "ok"];

export function open(ctx) {
  let found = null;
  let loadedAt = null;
  return {
    topics: new Set(["host", "tunnel", "drift", "reset"]),
    title: () => "Doctor",
    async load(signal) {
      found = await maybe("/doctor", {}, signal);
      loadedAt = new Date();
    },
    render() {
      if (found === null) return absent("The doctor");
      const of = (status) => found.checks.filter((check) => check.status === status);
      return [
        h("div", { class: "summary" },
          badge(found.healthy ? "ok" : "error", found.healthy ? "healthy" : "unhealthy"),
          ORDER.slice(0, 2).map((status) => of(status).length > 0 && badge(status, `${count(of(status).length)} ${status}${of(status).length > 1 ? "s" : ""}`)),
          h("span", { class: "quiet" }, `as of ${loadedAt.toLocaleTimeString("en-GB")} `),
          h("button", { type: "button", onclick: ctx.reload }, "Check again")),
        found.healthy && of("warning").length === 0 && notice("ok", `All ${count(found.checks.length)} checks are good.`),
        h("ul", { class: "checks" }, [...of("error"), ...of("warning")].map((check) => h("li", { class: `card ${check.status}`, key: `${check.check} ${check.subject}` },
          h("h2", null, mark(check.status), `${check.check}${check.subject ? `: ${check.subject}` : ""}`),
          h("p", null, check.summary),
          check.cause && h("p", { class: "quiet" }, check.cause),
          check.command && command(check.command, ctx.say)))),
        of("ok").length > 0 && h("details", { open: found.healthy }, h("summary", null, `${count(of("ok").length)} good`),
          h("ul", { class: "good" }, of("ok").map((check) => h("li", null, badge("ok", `${check.check}${check.subject ? `: ${check.subject}` : ""}`), " ", check.summary)))),
      ];
    },
  };
}

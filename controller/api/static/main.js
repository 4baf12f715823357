// The frame around the views: which one is shown, what the header says, and when to ask again.

import { ApiError, Unreachable, get } from "./api.js";
import { h, render } from "./dom.js";
import { drawHeader, drawNav, setUpTheme } from "./header.js";
import { Live } from "./live.js";
import { Refresher } from "./refresher.js";
import { Shared } from "./shared.js";
import { clock, notice } from "./words.js";
import * as addresses from "./views/addresses.js";
import * as doctor from "./views/doctor.js";
import * as events from "./views/events.js";
import * as fabric from "./views/fabric.js";
import * as host from "./views/host.js";
import * as network from "./views/network.js";
import * as networks from "./views/networks.js";
import * as trace from "./views/trace.js";
import * as vms from "./views/vms.js";

const VIEWS = { "": fabric, vms, addresses, networks, "networks/": network, "hosts/": host, trace, doctor, events };
const POLL_MS = 5000;
const STATUS_MS = 10_000;
const REPAINT_MS = 1000;
const EVENTS_KEPT = 1000;

const main = document.getElementById("main");
const shared = new Shared();
const recent = []; // what happened since the page was opened, newest first: [{type, data}]
let current = null;
let loggedOut = false;
let awaySince = null; // null while the controller answers
let starting = false;

// ---- connection

const live = new Live({
  onEvent: (type, data) => {
    recent.unshift({ type, data, number: (recent[0]?.number ?? 0) + 1 });
    if (recent.length > EVENTS_KEPT) recent.length = EVENTS_KEPT;
    if (type === "reset") refreshAll();
    if (shared.concerns(type)) core.soon();
    if (current?.view.topics?.has(type)) current.refresher.soon();
    current?.view.happened?.();
  },
  onState: (state, before) => {
    if (state !== "away") answered();
    else wentAway();
    if (before !== "live" || state !== "live") drawFrame();
    if (state === "live" && before !== "connecting") refreshAll();
  },
  alive: async () => {
    try {
      return (await fetch("/healthz", { signal: AbortSignal.timeout(4000) })).ok;
    } catch {
      return false;
    }
  },
});

function wentAway() {
  if (awaySince !== null) return;
  awaySince = new Date();
  say("The controller does not answer");
  drawFrame();
}

function answered() {
  if (awaySince === null) return;
  awaySince = null;
  say("The controller answers again");
  refreshAll();
}

// What went wrong in a call, as far as it concerns the whole page; true if it does.
function troubled(error) {
  if (error instanceof Unreachable) wentAway();
  else if (error instanceof ApiError && error.status === 401) loggedOut = true;
  else if (error instanceof ApiError && error.status === 503) starting = true;
  else return false;
  drawFrame();
  return true;
}

function refreshAll() {
  core.soon();
  current?.refresher.soon();
}

const core = new Refresher(
  () => shared.load(),
  (error) => {
    if (error) troubled(error);
    else {
      starting = loggedOut = false;
      if (live.state !== "away") answered();
      if (current?.view.followsShared) current.refresher.soon();
      current?.redraw();
    }
    drawFrame();
  },
);

setInterval(() => {
  if (document.hidden) return;
  if (live.state === "polling" || starting) refreshAll();
  else if (awaySince !== null && live.state === "live") core.soon();
}, POLL_MS);
setInterval(() => {
  if (!document.hidden && !loggedOut) core.soon();
}, STATUS_MS);

// ---- frame

function drawFrame() {
  drawHeader(shared, live, awaySince);
  main.classList.toggle("stale", awaySince !== null || loggedOut);
  const banner = document.getElementById("banner");
  if (loggedOut) {
    render(banner, notice("error", "The controller wants you to log in again; what is shown may be old. ",
      h("button", { type: "button", onclick: () => {
        sessionStorage.setItem("vxlan-l2-return", location.hash);
        location.assign("/");
      } }, "Log in")));
  } else if (awaySince !== null) {
    render(banner, notice("error", `The controller does not answer since ${clock(awaySince)}. What is shown was so then. `
      + "Switches go on forwarding by the flows they have. Trying again."));
  } else if (starting) {
    render(banner, notice("warning", "The controller is starting: it is loading its store. Trying again."));
  } else render(banner);
}

function say(text) {
  document.getElementById("said").textContent = text;
}

// ---- views

class Shown {
  constructor(module, name, rest, query) {
    this.error = null;
    this.loaded = false;
    this.name = name;
    this.rest = rest;
    this.context = {
      shared, recent, live, say, query, rest,
      redraw: () => this.redraw(),
      reload: () => this.refresher.now(),
      soon: () => this.refresher.soon(),
      soonDrawn: () => this.soonDrawn(),
      // Change the query in the address: null takes a parameter away.
      ask: (changes, { replace = false } = {}) => {
        const wanted = new URLSearchParams(this.context.query);
        for (const [key, value] of Object.entries(changes)) {
          if (value === null || value === "" || value === false) wanted.delete(key);
          else wanted.set(key, value);
        }
        const text = wanted.toString();
        const hash = `#/${[name.replace(/\/$/, ""), ...(rest ? [rest] : [])].join("/")}${text ? `?${text}` : ""}`;
        if (replace) {
          history.replaceState(null, "", hash);
          route();
        } else location.hash = hash;
      },
    };
    this.view = module.open(this.context);
    this.refresher = new Refresher(
      (signal) => this.view.load(signal),
      (error) => {
        if (this !== current) return;
        if (error && !troubled(error)) this.error = error;
        else if (!error) {
          this.error = null;
          this.loaded = true;
          if (starting) core.soon();
        }
        this.redraw();
      },
    );
  }

  redraw() {
    if (this !== current || this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      if (this === current) this.draw();
    });
  }

  // For what comes many times a second.
  soonDrawn() {
    this.later ??= setTimeout(() => {
      this.later = null;
      this.redraw();
    }, REPAINT_MS);
  }

  draw() {
    const title = this.view.title();
    document.title = `${title}: vxlan-l2`;
    const failed = this.error && notice("error", this.error.message, " ",
      h("button", { type: "button", onclick: () => this.refresher.now() }, "Try again"));
    const body = this.loaded || this.view.always ? this.view.render()
      : failed ? null : h("p", { class: "loading" }, awaySince ? "Waiting for the controller." : "Loading.");
    render(main, h("div", { key: `${this.name}${this.rest ?? ""}`, class: `view ${this.name.replace(/\W/g, "") || "fabric"}` },
      h("h1", { tabindex: -1 }, title), failed, body));
    this.view.drawn?.();
  }
}

function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const params = new URLSearchParams(query);
  const [first, ...others] = path.split("/").filter(Boolean);
  const rest = others.length ? decodeURIComponent(others.join("/")) : null;
  const name = rest === null ? first ?? "" : `${first}/`;
  if (current && current.name === name && current.rest === rest) {
    current.context.query = params;
    current.view.asked?.();
    current.refresher.now();
    current.redraw();
    return;
  }
  const before = current;
  before?.refresher.stop();
  before?.view.leave?.();
  current = new Shown(VIEWS[name] ?? lost, name, rest, params);
  drawNav(name);
  current.draw();
  current.refresher.now();
  if (before) {
    main.querySelector("h1").focus();
    scrollTo(0, 0);
  }
}

const lost = {
  open: () => ({
    title: () => "No such page",
    load: async () => {},
    render: () => h("p", null, "There is nothing here. ", h("a", { href: "#/" }, "To the fabric")),
  }),
};

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
setUpTheme();
const back = sessionStorage.getItem("vxlan-l2-return");
sessionStorage.removeItem("vxlan-l2-return");
if (back && !location.hash) history.replaceState(null, "", back);
addEventListener("hashchange", route);
drawFrame();
core.now();
route();
live.start();

// What happens, as it happens: /v1/events. Where there is none, or it is away, views ask instead.

const TYPES = [
  "host", "vm", "vms", "network", "vtep", "vip", "learned", "learned_many", "moved", "drift",
  "suppressed", "tunnel", "reset",
];
const RETRY_MS = [1000, 2000, 4000, 8000, 10_000];
const HIDDEN_MS = 60_000;

// states: "connecting", "live", "polling" (no events to be had, the API answers), "away".
export class Live {
  constructor({ onEvent, onState, alive }) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.alive = alive;
    this.state = "connecting";
    this.since = new Date();
    this.last = null;
    this.tries = 0;
    this.source = null;
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  start() {
    clearTimeout(this.timer);
    this.source?.close();
    const source = new EventSource(`/v1/events${this.last ? `?after=${encodeURIComponent(this.last)}` : ""}`);
    this.source = source;
    source.onopen = () => {
      this.tries = 0;
      this.#become("live");
    };
    source.onerror = () => {
      source.close();
      if (this.source === source) this.#lost();
    };
    for (const type of TYPES) {
      source.addEventListener(type, (event) => {
        if (event.lastEventId) this.last = event.lastEventId;
        this.onEvent(type, JSON.parse(event.data));
      });
    }
  }

  // Whether the controller answers at all decides what is said and when it is tried again.
  async #lost() {
    const wait = RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)];
    this.tries += 1;
    const answers = await this.alive();
    this.#become(answers ? "polling" : "away");
    this.timer = setTimeout(() => this.start(), wait);
  }

  #become(state) {
    if (state !== this.state) this.since = new Date();
    const before = this.state;
    this.state = state;
    this.onState(state, before);
  }

  // A browser has six connections to one origin: a page that nobody looks at gives its own back.
  #visibility() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiding = setTimeout(() => {
        clearTimeout(this.timer);
        this.source?.close();
        this.source = null;
      }, HIDDEN_MS);
    } else if (this.source === null) this.start();
  }
}

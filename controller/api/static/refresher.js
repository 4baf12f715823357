// Loads something again when it may have changed: never twice at once, at most once a second, and
// less often where an answer takes long.

const AT_MOST_MS = 1000;
const SHARE = 10; // an answer that takes a second is asked for every ten

export class Refresher {
  constructor(load, done) {
    this.load = load;
    this.done = done;
    this.busy = null;
    this.again = false;
    this.notBefore = 0;
    this.stopped = false;
  }

  // Because something happened.
  soon() {
    if (this.stopped) return;
    if (this.busy) this.again = true;
    else if (!this.timer) {
      this.timer = setTimeout(() => this.#run(), Math.max(0, this.notBefore - performance.now()));
    }
  }

  // Because somebody asked: what is under way answers another question.
  now() {
    if (this.stopped) return;
    this.busy?.abort();
    this.busy = null;
    this.#run();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    this.busy?.abort();
  }

  async #run() {
    clearTimeout(this.timer);
    this.timer = null;
    this.again = false;
    const busy = new AbortController();
    this.busy = busy;
    const began = performance.now();
    let failure = null;
    try {
      await this.load(busy.signal);
    } catch (error) {
      failure = error;
    }
    if (this.busy !== busy || busy.signal.aborted) return;
    this.busy = null;
    const took = performance.now() - began;
    this.notBefore = performance.now() + Math.max(AT_MOST_MS, SHARE * took);
    this.done(failure);
    if (this.again) this.soon();
  }
}

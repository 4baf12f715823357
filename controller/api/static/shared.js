// What the header and most views need: hosts, the names of networks and foreign VTEPs, totals.

import { all, get, maybe } from "./api.js";
import { netClass } from "./words.js";

const CONCERNS = new Set(["host", "vm", "vms", "network", "vtep", "vip", "learned", "learned_many", "moved", "drift", "reset"]);

export class Shared {
  #isReady;

  constructor() {
    this.status = null; // of /v1/status, null while unknown or not available
    this.hosts = new Map(); // by dpid
    this.networks = new Map(); // by vni
    this.vteps = new Map(); // foreign ones, by address
    this.vms = null; // how many
    this.loadedAt = null;
    this.ready = new Promise((resolve) => {
      this.#isReady = resolve;
    });
  }

  concerns(type) {
    return CONCERNS.has(type);
  }

  async load() {
    const [status, hosts, networks, vteps] = await Promise.all([
      maybe("/status"), all("/hosts"), all("/networks"), all("/vteps"),
    ]);
    this.vms = status?.vms ?? (await get("/vms", { limit: 1 })).total;
    this.status = status;
    this.hosts = new Map(hosts.items.map((host) => [host.dpid, host]));
    this.networks = new Map(networks.items.map((network) => [network.vni, network]));
    this.vteps = new Map(vteps.items.map((vtep) => [vtep.vtep, vtep]));
    for (const vni of this.networks.keys()) netClass(vni); // in the order of VNIs, whatever is shown first
    this.loadedAt = new Date();
    this.#isReady();
  }

  hostAt(vtep) {
    for (const host of this.hosts.values()) if (host.vtep === vtep) return host;
    return null;
  }

  // The flows missing, extra or changed that were found in switches since the start, or null.
  get drifts() {
    const found = this.status?.drifts;
    if (found === null || found === undefined || typeof found === "number") return found ?? null;
    return Object.values(found).reduce((sum, n) => sum + (Number.isFinite(n) ? n : 0), 0);
  }
}

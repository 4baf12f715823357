// Calls of the controller's REST interface, and how it is with the connection to it.

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail || `the controller answers ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

export class Unreachable extends Error {}

const TIMEOUT_MS = 20_000;

// GET a path under /v1; query values that are null, undefined or "" are left out.
export async function get(path, query = {}, signal = undefined) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") params.set(name, value);
  }
  const text = params.toString();
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  let body;
  try {
    response = await fetch(`/v1${path}${text ? `?${text}` : ""}`, {
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    body = response.headers.get("content-type")?.includes("json") ? await response.json() : null;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(error.message);
  }
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

// The answer, or null where this controller has no such endpoint.
export async function maybe(path, query, signal) {
  try {
    return await get(path, query, signal);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404 && error.message.startsWith("there is no '/v1/")) return null;
    throw error;
  }
}

// Every page of a list, up to `most` items: {items, total}.
export async function all(path, query = {}, most = 10_000) {
  const items = [];
  let cursor = null;
  let total = 0;
  do {
    const limit = Math.min(most - items.length, 5000);
    const page = await get(path, { ...query, limit, cursor });
    items.push(...page.items);
    cursor = page.next;
    total = page.total;
  } while (cursor && items.length < most);
  return { items, total };
}

export const seg = encodeURIComponent;

// Paths and metadata of secrets. No request of this page reads a value.

import { eachOf, query, resource } from "./api.js";

// How many secrets are described at a time.
const AT_A_TIME = 8;
// For how long a description is shown without asking again: each look is recorded in the audit.
const FRESH = 30_000;

export class Catalog {
  #api;
  #described = new Map();

  constructor(api) {
    this.#api = api;
  }

  // The first paths of a listing, and whether there are more.
  async list(filter, limit, signal) {
    const paths = [];
    let page;
    do {
      const answer = await this.#api.get(query("/v1/secrets", { ...filter, page }), { signal });
      paths.push(...answer.paths);
      page = answer.next;
    } while (page !== undefined && paths.length < limit);
    return { paths: paths.slice(0, limit), more: page !== undefined || paths.length > limit };
  }

  // The version and the metadata of a secret.
  async describe(path, signal) {
    const known = this.#described.get(path);
    if (known !== undefined && Date.now() - known.at < FRESH) return known.described;
    const described = await this.#api.get(resource("metadata", path), { signal });
    this.#described.set(path, { at: Date.now(), described });
    return described;
  }

  // Describes several, and tells of each as it comes: a description, or the problem.
  describeAll(paths, signal, onEach) {
    return eachOf(paths, AT_A_TIME, signal, async (path) => {
      const answer = await this.describe(path, signal).then(
        (described) => ({ described }), (problem) => ({ problem }));
      if (!signal.aborted) onEach(path, answer);
    });
  }

  async versions(path, signal) {
    return (await this.#api.get(resource("versions", path), { signal })).versions;
  }

  forget(path) {
    this.#described.delete(path);
  }
}

// When a secret expires and when it is to be rotated, in milliseconds since 1970.
export function dates({ metadata }) {
  const interval = metadata.rotation_interval_seconds;
  const changed = Date.parse(metadata.updated_at ?? metadata.created_at ?? "");
  return {
    expires: metadata.expires_at === undefined ? undefined : Date.parse(metadata.expires_at),
    due: interval === undefined || Number.isNaN(changed) ? undefined : changed + interval * 1000,
  };
}

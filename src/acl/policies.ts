/** A set of stored policies: look-up by name, compiled for a list of names. Immutable: a reload makes a new one. */
import { hash } from "node:crypto";
import { compileAcl, type PolicyAcl } from "./acl.ts";
import type { Rules } from "./rules.ts";

export const policyNamePattern = /^[a-zA-Z0-9-]{1,128}$/;

export interface StoredPolicy {
  readonly name: string;
  /** The document's own text in the JSON form. */
  readonly text: string;
  readonly rules: Rules;
  /** Base64, changes with the document. */
  readonly hash: string;
  readonly index: number;
}

export const policyHash = (name: string, text: string): string =>
  hash("sha256", JSON.stringify([name, text]), "base64");

export class Policies {
  readonly #byName: ReadonlyMap<string, StoredPolicy>;
  /** One evaluator for each list of names that tokens hold, so that a thousand tokens share one. */
  readonly #compiled = new Map<string, PolicyAcl>();

  constructor(policies: readonly StoredPolicy[]) {
    const sorted = policies.toSorted((a, b) =>
      Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)),
    );
    this.#byName = new Map(sorted.map((policy) => [policy.name, policy]));
  }

  /** By name. */
  get all(): readonly StoredPolicy[] {
    return [...this.#byName.values()];
  }

  get(name: string): StoredPolicy | undefined {
    return this.#byName.get(name);
  }

  /** Those of the names that exist, sorted, once each; the others are skipped as Nomad skips them. */
  existing(names: Iterable<string>): readonly string[] {
    return [...new Set(names)].filter((name) => this.#byName.has(name)).sort();
  }

  /** The evaluator of a token that holds these policies. */
  compile(names: Iterable<string>): PolicyAcl {
    const held = this.existing(names);
    const key = held.join(","); // names hold no comma
    const known = this.#compiled.get(key);
    if (known) return known;
    const acl = compileAcl(held.flatMap((name) => this.#byName.get(name)?.rules ?? []));
    if (this.#compiled.size < maxCompiled) this.#compiled.set(key, acl);
    return acl;
  }
}

/** More lists of names than this are compiled without being kept. */
const maxCompiled = 4096;

/**
 * Policies compiled into an evaluator (nomad-acl.md §1.6 to §1.8). Pure and without I/O; merging does not depend on the
 * order of the policies. Look-ups of names without a glob are one map access.
 */
import type { Acl, Level } from "../ports.ts";
import { closest, type Ranked, rankGlobs } from "./glob.ts";
import type { CapabilityRule, LabelledRule, LevelRule, Rules } from "./rules.ts";

/** Everything Nomad's policies can say; `Acl` is the part the routes ask. */
export interface PolicyAcl extends Acl {
  operator(level: Level): boolean;
  operatorCapability(capability: string): boolean;
  sentinel(capability: string): boolean;
  quota(level: Level): boolean;
  plugin(level: "list" | "read"): boolean;
  nodePool(pool: string, operation: string): boolean;
  hostVolume(volume: string, operation: string): boolean;
  variable(namespace: string, path: string, operation: string): boolean;
}

type Capabilities = ReadonlySet<string>;

/** Adds to a set; once `deny` is in it, it is just `{deny}` and stays so. */
const addTo = (set: Set<string>, capabilities: readonly string[]): void => {
  for (const capability of capabilities) {
    if (set.has("deny")) return;
    if (capability === "deny") set.clear();
    set.add(capability);
  }
};

/** One set per exact label text; labels with `*` apart from those without. */
class Labelled {
  readonly #exact = new Map<string, Capabilities>();
  readonly #globs: readonly Ranked<Capabilities>[];

  constructor(rules: Iterable<LabelledRule>) {
    const sets = new Map<string, Set<string>>();
    for (const { Name, Capabilities } of rules) {
      const set = sets.get(Name) ?? new Set();
      sets.set(Name, set);
      addTo(set, Capabilities);
    }
    const globs = new Map<string, Capabilities>();
    for (const [label, set] of sets) (label.includes("*") ? globs : this.#exact).set(label, set);
    this.#globs = rankGlobs(globs);
  }

  /** The one set that counts for a name: the exact label's, even when it grants nothing, else the closest glob's. */
  find(name: string): Capabilities | undefined {
    return this.#exact.get(name) ?? closest(this.#globs, name);
  }

  /** True when the test holds for every name: `*` is a label, and no closer one takes away what it gives. */
  every(test: (set: Capabilities) => boolean): boolean {
    const catchAll = this.#globs.some(({ label }) => label === "*");
    return (
      catchAll && this.#exact.values().every(test) && this.#globs.every(({ value }) => test(value))
    );
  }

  some(test: (set: Capabilities) => boolean): boolean {
    for (const set of this.#exact.values()) if (test(set)) return true;
    return this.#globs.some(({ value }) => test(value));
  }
}

const strength = ["", "list", "read", "write", "deny"];

/** The strongest of deny > write > read > list; `scale` counts as nothing. */
const mergeLevels = (rules: readonly (LevelRule | null)[]): string =>
  strength[Math.max(0, ...rules.map((rule) => strength.indexOf(rule?.Policy ?? "")))] ?? "";

const reaches = (held: string, level: Level): boolean =>
  held === "write" || (level === "read" && held === "read");

const mergeCapabilities = (rules: readonly (CapabilityRule | null)[]): Capabilities => {
  const set = new Set<string>();
  for (const rule of rules) addTo(set, rule?.Capabilities ?? []);
  return set;
};

const isRight = (set: Capabilities): boolean => set.size > 0 && !set.has("deny");

const pathKey = (namespace: string, path: string): string => `${namespace}\0${path}`;

/** One set per (namespace label, path label), plain union: here `deny` clears nothing that another policy grants. */
const variableSets = (documents: readonly Rules[]): Map<string, Set<string>> => {
  const sets = new Map<string, Set<string>>();
  for (const { Name, Variables } of documents.flatMap(({ Namespaces }) => Namespaces))
    for (const { PathSpec, Capabilities } of Variables?.Paths ?? []) {
      const key = pathKey(Name, PathSpec);
      sets.set(key, new Set([...(sets.get(key) ?? []), ...Capabilities]));
    }
  return sets;
};

/** Compiles the policies of one token. None at all grants nothing. */
export const compileAcl = (documents: readonly Rules[]): PolicyAcl => {
  const namespaces = new Labelled(documents.flatMap(({ Namespaces }) => Namespaces));
  const nodePools = new Labelled(documents.flatMap(({ NodePools }) => NodePools));
  const hostVolumes = new Labelled(documents.flatMap(({ HostVolumes }) => HostVolumes));
  const variables = variableSets(documents);
  const variableGlobs = rankGlobs(new Map([...variables].filter(([label]) => label.includes("*"))));
  const agent = mergeLevels(documents.map(({ Agent }) => Agent));
  const node = mergeLevels(documents.map(({ Node }) => Node));
  const quota = mergeLevels(documents.map(({ Quota }) => Quota));
  const plugin = mergeLevels(documents.map(({ Plugin }) => Plugin));
  const operator = mergeLevels(documents.map(({ Operator }) => Operator));
  const sentinel = mergeLevels(documents.map(({ Sentinel }) => Sentinel));
  const operatorSet = mergeCapabilities(documents.map(({ Operator }) => Operator));
  const sentinelSet = mergeCapabilities(documents.map(({ Sentinel }) => Sentinel));
  return {
    management: false,
    namespace: (namespace, capability) =>
      namespace === "*"
        ? namespaces.some((set) => set.has(capability))
        : namespaces.find(namespace)?.has(capability) === true,
    everywhere: (capability) => namespaces.every((set) => set.has(capability)),
    anyIn(namespace) {
      if (namespace === "*") return namespaces.some(isRight);
      const set = namespaces.find(namespace);
      return set !== undefined && isRight(set);
    },
    node: (level) => reaches(node, level),
    agent: (level) => reaches(agent, level),
    quota: (level) => reaches(quota, level),
    operator: (level) => reaches(operator, level),
    operatorCapability: (capability) => operator === "write" || operatorSet.has(capability),
    sentinel: (capability) => sentinel === "write" || sentinelSet.has(capability),
    // As Nomad: level `write` gives neither.
    plugin: (level) => plugin === "read" || (level === "list" && plugin === "list"),
    nodePool: (pool, operation) => nodePools.find(pool)?.has(operation) === true,
    hostVolume: (volume, operation) => hostVolumes.find(volume)?.has(operation) === true,
    variable(namespace, path, operation) {
      const key = pathKey(namespace, path);
      const exact = key.includes("*") ? undefined : variables.get(key);
      return (exact ?? closest(variableGlobs, key))?.has(operation) === true;
    },
  };
};

const always = (): boolean => true;

const everything = (sentinel: boolean): PolicyAcl => ({
  management: true,
  namespace: always,
  everywhere: always,
  anyIn: always,
  node: always,
  agent: always,
  operator: always,
  operatorCapability: always,
  sentinel: () => sentinel,
  quota: always,
  plugin: always,
  nodePool: always,
  hostVolume: always,
  variable: always,
});

/** A management token's. */
export const managementAcl: PolicyAcl = everything(true);

/** ACLs off: every check passes but Sentinel's (§5). */
export const disabledAcl: PolicyAcl = everything(false);

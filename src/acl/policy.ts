/**
 * A policy document in Nomad's JSON form, parsed, checked and expanded (nomad-acl.md §1.1 to §1.5). Strict is how a policy
 * is written, lenient how a stored one is read. All faults are collected, in Nomad's order of checks and with its beginnings.
 */
import { goQuote } from "../lib/go.ts";
import { isJsonObject, type Json, type JsonObject } from "../lib/json.ts";
import {
  expandLevel,
  expandVariable,
  type Family,
  hostVolumeFamily,
  levelWords,
  namespaceFamily,
  nodePoolFamily,
  operatorFamily,
  pluginLevels,
  sentinelFamily,
  variableCapabilities,
  withImplied,
} from "./capabilities.ts";
import {
  attributes,
  capabilitiesOf,
  Faults,
  type Item,
  labelledItems,
  objectsOf,
  type PolicyFault,
  policyOf,
} from "./policy-items.ts";
import {
  type CapabilityRule,
  type LabelledRule,
  type LevelRule,
  type NamespaceRule,
  noRules,
  type Rules,
  type VariablePath,
} from "./rules.ts";

export type ParsedPolicy =
  | { readonly ok: true; readonly rules: Rules }
  | { readonly ok: false; readonly faults: readonly PolicyFault[] };

export type PolicyMode = "strict" | "lenient";

const knownBlocks = [
  "namespace",
  "node_pool",
  "host_volume",
  "agent",
  "node",
  "operator",
  "sentinel",
  "quota",
  "plugin",
] as const;
type Block = (typeof knownBlocks)[number];

const isBlock = (name: string): name is Block => knownBlocks.some((block) => block === name);

interface LabelWords {
  readonly pattern: RegExp;
  readonly name: (label: string) => string;
  readonly policy: (policy: string, label: string) => string;
  readonly capability: (capability: string, label: string) => string;
}

const namespaceWords: LabelWords = {
  pattern: /^[a-zA-Z0-9\-*]{1,128}$/,
  name: (label) => `Invalid namespace name: ${goQuote(label)}`,
  policy: (policy) => `Invalid namespace policy: ${goQuote(policy)}`,
  capability: (capability) => `Invalid namespace capability '${capability}'`,
};

const nodePoolWords: LabelWords = {
  pattern: /^[a-zA-Z0-9\-_*]{1,128}$/,
  name: (label) => `Invalid node pool name '${label}'`,
  policy: (policy, label) => `Invalid node pool policy '${policy}' for '${label}'`,
  capability: (capability, label) => `Invalid node pool capability '${capability}' for '${label}'`,
};

const hostVolumeWords: LabelWords = {
  pattern: /^[a-zA-Z0-9\-*]{1,128}$/,
  name: (label) => `Invalid host volume name: ${goQuote(label)}`,
  policy: (policy) => `Invalid host volume policy: ${goQuote(policy)}`,
  capability: (capability) => `Invalid host volume capability '${capability}'`,
};

const labelledRule = (
  item: Item,
  family: Family,
  words: LabelWords,
  faults: Faults,
): LabelledRule => {
  const { label, path } = item;
  const policy = policyOf(item, faults) ?? "";
  const explicit = capabilitiesOf(item, faults);
  if (!words.pattern.test(label)) faults.add(path, words.name(label));
  if (policy !== "" && !family.levels.has(policy))
    faults.add(`${path}.policy`, words.policy(policy, label));
  for (const one of explicit)
    if (!family.capabilities.has(one))
      faults.add(`${path}.capabilities`, words.capability(one, label));
  return {
    Name: label,
    Policy: policy,
    Capabilities: [...explicit, ...expandLevel(family, policy)],
  };
};

const variablePath = (item: Item, namespace: string, faults: Faults): VariablePath => {
  const { label, path } = item;
  const capabilities = capabilitiesOf(item, faults);
  if (label === "") faults.add(path, `Invalid missing variable path in namespace ${namespace}`);
  if (label.startsWith("/"))
    faults.add(
      path,
      `Invalid variable path ${goQuote(label)} in namespace ${namespace}: cannot start with a leading '/'`,
    );
  for (const one of capabilities)
    if (!variableCapabilities.has(one))
      faults.add(path, `Invalid variable capability '${one}' in namespace ${namespace}`);
  return { PathSpec: label, Capabilities: expandVariable(capabilities) };
};

/**
 * Lists at every level: `variables: [{path: [{"a/*": {...}}]}]`. The short chain of objects is refused, because Nomad's
 * decoder reads it as something else.
 */
const isList = (value: Json, path: string, form: string, faults: Faults): boolean => {
  if (Array.isArray(value)) return true;
  faults.syntax(path, `must be a list: ${form}`);
  return false;
};

const pathsOf = (block: Item, namespace: string, faults: Faults): readonly VariablePath[] =>
  attributes(block.body, "path").flatMap(([name, list]) => {
    const at = `${block.path}.${name}`;
    if (!isList(list, at, '[{"a/path": {...}}]', faults)) return [];
    const noLabel = (): void =>
      faults.add(at, `Invalid missing variable path in namespace ${namespace}`);
    return labelledItems(list, at, faults, noLabel).map((entry) =>
      variablePath(entry, namespace, faults),
    );
  });

const variablesOf = (item: Item, faults: Faults): NamespaceRule["Variables"] => {
  const found = attributes(item.body, "variables");
  if (found.length === 0) return null;
  const before = faults.list.length;
  const paths = found.flatMap(([key, value]) => {
    const where = `${item.path}.${key}`;
    if (!isList(value, where, '[{"path": [{"a/path": {...}}]}]', faults)) return [];
    return objectsOf(value, where, faults).flatMap((block) => pathsOf(block, item.label, faults));
  });
  if (paths.length === 0 && faults.list.length === before)
    faults.add(item.path, `Invalid variable policy: no variable paths in namespace ${item.label}`);
  return { Paths: paths };
};

/** Blocks of one name decoded one after another: a later level replaces an earlier one, capabilities add up. */
const singleton = (
  items: readonly Item[],
  faults: Faults,
): { readonly policy: string; readonly capabilities: readonly string[] } => ({
  policy: items.map((item) => policyOf(item, faults)).findLast((one) => one !== undefined) ?? "",
  capabilities: items.flatMap((item) => capabilitiesOf(item, faults)),
});

const levelRule = (
  name: Block,
  items: readonly Item[],
  faults: Faults,
  words = levelWords,
): LevelRule | null => {
  if (items.length === 0) return null;
  const policy = items.map((item) => policyOf(item, faults)).findLast((one) => one !== undefined);
  if (!words.has(policy ?? ""))
    faults.add(`${name}.policy`, `Invalid ${name} policy: ${goQuote(policy ?? "")}`);
  return { Policy: policy ?? "" };
};

const capabilityRule = (
  name: Block,
  items: readonly Item[],
  family: Family,
  faults: Faults,
): CapabilityRule | null => {
  if (items.length === 0) return null;
  const { policy, capabilities } = singleton(items, faults);
  if (policy !== "" && !family.levels.has(policy))
    faults.add(`${name}.policy`, `Invalid ${name} policy: ${goQuote(policy)}`);
  for (const one of capabilities)
    if (!family.capabilities.has(one))
      faults.add(`${name}.capabilities`, `Invalid ${name} capability '${one}'`);
  return { Policy: policy, Capabilities: [...capabilities, ...expandLevel(family, policy)] };
};

/** Collects each known block's items, and the keys that strict mode refuses. */
const collect = (
  document: JsonObject,
  faults: Faults,
): {
  readonly items: Readonly<Record<Block, readonly Item[]>>;
  readonly keys: readonly string[];
} => {
  const items: Record<Block, Item[]> = {
    namespace: [],
    node_pool: [],
    host_volume: [],
    agent: [],
    node: [],
    operator: [],
    sentinel: [],
    quota: [],
    plugin: [],
  };
  const keys = new Set<string>();
  const noLabel = {
    namespace: namespaceWords,
    node_pool: nodePoolWords,
    host_volume: hostVolumeWords,
  };
  for (const [key, value] of Object.entries(document)) {
    const name = key.toLowerCase();
    if (!isBlock(name)) {
      keys.add(key);
    } else if (name === "namespace" || name === "node_pool" || name === "host_volume") {
      const unlabelled = (path: string): void =>
        faults.add(path, `${noLabel[name].name("")}: a label is required`);
      items[name].push(...labelledItems(value, key, faults, unlabelled));
    } else {
      items[name].push(...objectsOf(value, key, faults));
      if (items[name].length > 1) keys.add(name);
    }
  }
  return { items, keys: [...keys].sort() };
};

/** Parses a document that has been read from JSON or YAML. The empty string is the document that grants nothing. */
export const parsePolicy = (document: Json, mode: PolicyMode): ParsedPolicy => {
  if (document === "") return { ok: true, rules: noRules };
  const faults = new Faults();
  if (!isJsonObject(document)) {
    faults.add("", "Failed to parse ACL Policy: the document is not an object");
    return { ok: false, faults: faults.list };
  }
  if (!Object.keys(document).some((key) => isBlock(key.toLowerCase()))) {
    faults.add("", `Invalid policy: no known block, expected one of ${knownBlocks.join(", ")}`);
    return { ok: false, faults: faults.list };
  }
  const { items, keys } = collect(document, faults);
  const namespaces = items.namespace.map((item): NamespaceRule => {
    const rule = labelledRule(item, namespaceFamily, namespaceWords, faults);
    return {
      ...rule,
      Capabilities: withImplied(rule.Capabilities),
      Variables: variablesOf(item, faults),
    };
  });
  const nodePools = items.node_pool.map((item) =>
    labelledRule(item, nodePoolFamily, nodePoolWords, faults),
  );
  const hostVolumes = items.host_volume.map((item) =>
    labelledRule(item, hostVolumeFamily, hostVolumeWords, faults),
  );
  if (mode === "strict" && keys.length > 0)
    faults.add("", `Invalid or duplicate policy keys: ${keys.join(", ")}`);
  const rules: Rules = {
    Namespaces: namespaces,
    NodePools: nodePools,
    HostVolumes: hostVolumes,
    Agent: levelRule("agent", items.agent, faults),
    Node: levelRule("node", items.node, faults),
    Operator: capabilityRule("operator", items.operator, operatorFamily, faults),
    Sentinel: capabilityRule("sentinel", items.sentinel, sentinelFamily, faults),
    Quota: levelRule("quota", items.quota, faults),
    Plugin: levelRule("plugin", items.plugin, faults, pluginLevels),
  };
  return faults.list.length === 0 ? { ok: true, rules } : { ok: false, faults: faults.list };
};

/** Rules: a policy parsed and expanded, as Nomad's API gives it in `RulesJSON` (nomad-acl.md §3), with its field names. */
import { isJsonObject, type Json, type JsonObject } from "../lib/json.ts";

export interface LabelledRule {
  readonly Name: string;
  readonly Policy: string;
  readonly Capabilities: readonly string[];
}

export interface VariablePath {
  readonly PathSpec: string;
  readonly Capabilities: readonly string[];
}

export interface NamespaceRule extends LabelledRule {
  readonly Variables: { readonly Paths: readonly VariablePath[] } | null;
}

export interface LevelRule {
  readonly Policy: string;
}

export interface CapabilityRule extends LevelRule {
  readonly Capabilities: readonly string[];
}

export interface Rules {
  readonly Namespaces: readonly NamespaceRule[];
  readonly NodePools: readonly LabelledRule[];
  readonly HostVolumes: readonly LabelledRule[];
  readonly Agent: LevelRule | null;
  readonly Node: LevelRule | null;
  readonly Operator: CapabilityRule | null;
  readonly Sentinel: CapabilityRule | null;
  readonly Quota: LevelRule | null;
  readonly Plugin: LevelRule | null;
}

export const noRules: Rules = {
  Namespaces: [],
  NodePools: [],
  HostVolumes: [],
  Agent: null,
  Node: null,
  Operator: null,
  Sentinel: null,
  Quota: null,
  Plugin: null,
};

const orNull = <T>(list: readonly T[]): readonly T[] | null => (list.length === 0 ? null : list);

const labelledJson = ({ Capabilities, Name, Policy }: LabelledRule): JsonObject => ({
  Capabilities: orNull(Capabilities),
  Name,
  Policy,
});

const capabilityJson = (rule: CapabilityRule | null): Json =>
  rule && { Capabilities: orNull(rule.Capabilities), Policy: rule.Policy };

const levelJson = (rule: LevelRule | null): Json => rule && { Policy: rule.Policy };

const namespaceJson = (rule: NamespaceRule): JsonObject => ({
  ...labelledJson(rule),
  Variables: rule.Variables && {
    Paths: rule.Variables.Paths.map(({ Capabilities, PathSpec }) => ({
      Capabilities: orNull(Capabilities),
      PathSpec,
    })),
  },
});

/** `RulesJSON` as Nomad writes it: absent parts are null, `Raw` is the document's own text. */
export const toRulesJson = (rules: Rules, raw: string): JsonObject => ({
  Agent: levelJson(rules.Agent),
  ExtraKeysHCL: null,
  HostVolumes: orNull(rules.HostVolumes.map(labelledJson)),
  Namespaces: orNull(rules.Namespaces.map(namespaceJson)),
  Node: levelJson(rules.Node),
  NodePools: orNull(rules.NodePools.map(labelledJson)),
  Operator: capabilityJson(rules.Operator),
  Plugin: levelJson(rules.Plugin),
  Quota: levelJson(rules.Quota),
  Raw: raw,
  Sentinel: capabilityJson(rules.Sentinel),
});

/** A `RulesJSON` that is not one. Whoever reads it refuses: a policy that is not understood grants nothing to anybody. */
export class RulesError extends Error {
  override readonly name = "RulesError";
}

const textOf = (value: Json | undefined, where: string): string => {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") throw new RulesError(`${where} is not a string`);
  return value;
};

const listOf = (value: Json | undefined, where: string): readonly Json[] => {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new RulesError(`${where} is not a list`);
  return value;
};

const objectOf = (value: Json | undefined, where: string): JsonObject => {
  if (!isJsonObject(value)) throw new RulesError(`${where} is not an object`);
  return value;
};

const capabilitiesOf = (rule: JsonObject, where: string): readonly string[] =>
  listOf(rule["Capabilities"], `${where}.Capabilities`).map((word) =>
    textOf(word, `${where}.Capabilities`),
  );

const labelledOf = (value: Json, where: string): LabelledRule => {
  const rule = objectOf(value, where);
  return {
    Name: textOf(rule["Name"], `${where}.Name`),
    Policy: textOf(rule["Policy"], `${where}.Policy`),
    Capabilities: capabilitiesOf(rule, where),
  };
};

const variablesOf = (value: Json | undefined, where: string): NamespaceRule["Variables"] => {
  if (value === undefined || value === null) return null;
  const paths = listOf(objectOf(value, where)["Paths"], `${where}.Paths`);
  return {
    Paths: paths.map((item) => {
      const path = objectOf(item, `${where}.Paths`);
      return {
        PathSpec: textOf(path["PathSpec"], `${where}.PathSpec`),
        Capabilities: capabilitiesOf(path, `${where}.Paths`),
      };
    }),
  };
};

const capabilityRuleOf = (value: Json | undefined, where: string): CapabilityRule | null => {
  if (value === undefined || value === null) return null;
  const rule = objectOf(value, where);
  return {
    Policy: textOf(rule["Policy"], `${where}.Policy`),
    Capabilities: capabilitiesOf(rule, where),
  };
};

const levelRuleOf = (value: Json | undefined, where: string): LevelRule | null =>
  value === undefined || value === null
    ? null
    : { Policy: textOf(objectOf(value, where)["Policy"], `${where}.Policy`) };

/** Reads a `RulesJSON` off the wire; unknown fields are ignored. Throws RulesError. */
export const readRules = (value: Json | undefined): Rules => {
  const document = objectOf(value, "RulesJSON");
  return {
    Namespaces: listOf(document["Namespaces"], "Namespaces").map((item) => ({
      ...labelledOf(item, "Namespaces"),
      Variables: variablesOf(objectOf(item, "Namespaces")["Variables"], "Variables"),
    })),
    NodePools: listOf(document["NodePools"], "NodePools").map((one) =>
      labelledOf(one, "NodePools"),
    ),
    HostVolumes: listOf(document["HostVolumes"], "HostVolumes").map((one) =>
      labelledOf(one, "HostVolumes"),
    ),
    Agent: levelRuleOf(document["Agent"], "Agent"),
    Node: levelRuleOf(document["Node"], "Node"),
    Operator: capabilityRuleOf(document["Operator"], "Operator"),
    Sentinel: capabilityRuleOf(document["Sentinel"], "Sentinel"),
    Quota: levelRuleOf(document["Quota"], "Quota"),
    Plugin: levelRuleOf(document["Plugin"], "Plugin"),
  };
};

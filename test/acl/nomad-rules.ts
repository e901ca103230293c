/** `RulesJSON` as Nomad's servers expand it, for a few policies. */

const absent = {
  HostVolumes: null,
  NodePools: null,
  Operator: null,
  Plugin: null,
  Quota: null,
  Sentinel: null,
  ExtraKeysHCL: null,
  Raw: "",
};

export interface SourceRules {
  readonly Namespaces: readonly object[] | null;
  readonly Node: { readonly Policy: string } | null;
  readonly Agent: { readonly Policy: string } | null;
}

export const rules = (given: Partial<SourceRules>): SourceRules => ({
  ...absent,
  Namespaces: null,
  Node: null,
  Agent: null,
  ...given,
});

export const inNamespace = (Name: string, ...Capabilities: readonly string[]): SourceRules =>
  rules({ Namespaces: [{ Name, Policy: "", Capabilities, Variables: null }] });

export const onNodes = (Policy: string): SourceRules => rules({ Node: { Policy } });

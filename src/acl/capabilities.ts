/** Nomad's fixed words: levels, capabilities, and what the coarse levels expand to (nomad-acl.md §1.2 to §1.4). */

const namespaceRead = [
  "list-jobs",
  "parse-job",
  "read-job",
  "csi-list-volume",
  "csi-read-volume",
  "read-job-scaling",
  "list-scaling-policies",
  "read-scaling-policy",
  "host-volume-read",
] as const;

const namespaceWrite = [
  ...namespaceRead,
  "scale-job",
  "submit-job",
  "dispatch-job",
  "read-logs",
  "read-fs",
  "alloc-exec",
  "alloc-lifecycle",
  "csi-mount-volume",
  "csi-write-volume",
  "submit-recommendation",
  "host-volume-create",
] as const;

const namespaceScale = [
  "list-scaling-policies",
  "read-scaling-policy",
  "read-job-scaling",
  "scale-job",
  "read-job",
  "submit-recommendation",
] as const;

/** Capabilities that no coarse level holds. */
const namespaceFine = [
  "alloc-node-exec",
  "sentinel-override",
  "csi-register-plugin",
  "host-volume-register",
  "host-volume-write",
  "host-volume-delete",
  "register-job",
  "revert-job",
  "deregister-job",
  "purge-job",
  "evaluate-job",
  "plan-job",
  "tag-job-version",
  "stable-job",
  "fail-deployment",
  "pause-deployment",
  "promote-deployment",
  "unblock-deployment",
  "cancel-deployment",
  "set-alloc-health-deployment",
  "gc-allocation",
  "pause-allocation",
  "force-periodic-job",
  "delete-service-registration",
] as const;

const operatorAll = [
  "snapshot-save",
  "license-read",
  "keyring-rotate",
  "keyring-read",
  "keyring-delete",
] as const;

const sentinelAll = ["sentinel-read", "sentinel-submit", "sentinel-delete"] as const;

type Expansion = Readonly<Record<string, readonly string[]>>;

/** One family of rules: the levels it accepts, the capabilities it knows, what each level adds. */
export interface Family {
  readonly levels: ReadonlySet<string>;
  readonly capabilities: ReadonlySet<string>;
  readonly expansion: Expansion;
}

const levels: ReadonlySet<string> = new Set(["deny", "read", "write", "scale"]);
const family = (capabilities: readonly string[], expansion: Expansion): Family => ({
  levels,
  capabilities: new Set([...capabilities, "deny"]),
  expansion: { deny: ["deny"], ...expansion },
});

export const namespaceFamily = family([...namespaceWrite, ...namespaceFine], {
  read: namespaceRead,
  write: namespaceWrite,
  scale: namespaceScale,
});

export const nodePoolFamily = family(["read", "write", "delete"], {
  read: ["read"],
  write: ["delete", "read", "write"],
});

export const hostVolumeFamily = family(["mount-readonly", "mount-readwrite"], {
  read: ["mount-readonly"],
  write: ["mount-readonly", "mount-readwrite"],
});

export const operatorFamily = family(operatorAll, {
  read: ["license-read", "keyring-read"],
  write: operatorAll,
});

export const sentinelFamily = family(sentinelAll, {
  read: ["sentinel-read"],
  write: sentinelAll,
});

/** `node`, `agent` and `quota` know levels alone. */
export const levelWords: ReadonlySet<string> = levels;
export const pluginLevels: ReadonlySet<string> = new Set(["deny", "list", "read", "write"]);
export const variableCapabilities: ReadonlySet<string> = new Set([
  "list",
  "read",
  "write",
  "destroy",
  "deny",
]);

/** What a level of a family adds; nothing for "" and for levels without a meaning there. */
export const expandLevel = ({ expansion }: Family, level: string): readonly string[] =>
  Object.hasOwn(expansion, level) ? (expansion[level] ?? []) : [];

const implied: Expansion = {
  "host-volume-write": [
    "host-volume-register",
    "host-volume-create",
    "host-volume-delete",
    "host-volume-read",
  ],
  "host-volume-register": ["host-volume-create", "host-volume-read"],
  "host-volume-create": ["host-volume-read"],
};

/** The only implications between namespace capabilities are those of host volumes. Repeats are harmless. */
export const withImplied = (capabilities: readonly string[]): readonly string[] => [
  ...capabilities,
  ...capabilities.flatMap((one) => (Object.hasOwn(implied, one) ? (implied[one] ?? []) : [])),
];

/** `read` of a variable brings `list`; `deny` anywhere leaves only `deny`. */
export const expandVariable = (capabilities: readonly string[]): readonly string[] => {
  if (capabilities.includes("deny")) return ["deny"];
  return capabilities.includes("read") && !capabilities.includes("list")
    ? [...capabilities, "list"]
    : capabilities;
};

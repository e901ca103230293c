/** Jobs for a real Nomad: a task that talks and has files to read. */
import type { JsonObject } from "../../src/lib/json.ts";

export const awkwardNames = ["awkward name & 100%.txt", "дорога.txt", "a+b=c?d#e.txt"] as const;
export const largeFileBytes = 64 * 1024 * 1024;
/** A PNG of one dot. */
export const dot =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** Writes the files first and says so, then a line to stdout and one to stderr five times a second. */
const talk = `
cd "$NOMAD_ALLOC_DIR/data"
printf 'Hello from Nomad.\\n' > hello.txt; : > empty.txt; mkdir -p sub/deep; echo deep > sub/deep/file.txt
${awkwardNames.map((name) => `echo 'a name' > '${name}'`).join("; ")}
ln -sf hello.txt link.txt; seq 1 20000 > numbers.txt; echo '${dot}' | base64 -d > dot.png
[ -n "$LARGE" ] && head -c ${largeFileBytes} /dev/urandom > large.bin
trap 'echo got USR1' USR1; trap 'echo goodbye; exit 0' TERM INT
echo ready; echo ready >&2
n=0; while :; do n=$((n+1)); echo "line $n"; echo "error $n" >&2; sleep 0.2; done`;

export interface Talker {
  readonly id: string;
  readonly count?: number;
  readonly namespace?: string;
  /** A name of a client that it must run on. */
  readonly on?: string;
  /** Also writes large.bin, 64 MiB. */
  readonly large?: boolean;
  /** Merged into its only task group. */
  readonly group?: JsonObject;
  /** Merged into its only task. */
  readonly task?: JsonObject;
}

/** A service of one group `main` with one task `talk`. */
export const talker = (given: Talker): JsonObject => ({
  ID: given.id,
  Name: given.id,
  Type: "service",
  Namespace: given.namespace ?? "default",
  Datacenters: ["*"],
  Constraints:
    given.on === undefined
      ? null
      : [{ LTarget: `\${node.unique.name}`, RTarget: given.on, Operand: "=" }],
  TaskGroups: [
    {
      Name: "main",
      Count: given.count ?? 1,
      RestartPolicy: { Attempts: 3, Interval: 60_000_000_000, Delay: 100_000_000, Mode: "fail" },
      ...given.group,
      Tasks: [
        {
          Name: "talk",
          Driver: "raw_exec",
          KillTimeout: 2_000_000_000,
          Config: { command: "/bin/sh", args: ["-c", talk] },
          Env: given.large === true ? { LARGE: "yes" } : {},
          Resources: { CPU: 20, MemoryMB: 20 },
          ...given.task,
        },
      ],
    },
  ],
});

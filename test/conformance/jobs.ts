/** The corpus' nodes and jobs: the same ids, the same commands, so that recorded requests and answers fit as they are. */
import type { TaskConfig, WorkloadConfig } from "../../src/agent/ports.ts";

export interface Planned {
  readonly id: string;
  readonly workload: WorkloadConfig;
}

export interface PlannedNode {
  readonly name: string;
  readonly id: string;
  readonly pool: string;
  readonly meta: Readonly<Record<string, string>>;
  readonly allocations: readonly Planned[];
}

const task = (
  name: string,
  command: string,
  args: readonly string[],
  others: Partial<TaskConfig> = {},
): TaskConfig => ({
  name,
  command,
  args,
  env: {},
  meta: {},
  lifecycle: undefined,
  killTimeoutMs: 5_000,
  killSignal: "",
  logs: { maxFiles: 10, maxFileSizeMb: 10, disabled: false },
  resources: { cpu: 20, memoryMb: 20 },
  leader: false,
  ...others,
});

const workload = (
  job: string,
  tasks: readonly TaskConfig[],
  others: Partial<WorkloadConfig> = {},
): WorkloadConfig => ({
  job,
  namespace: "golden",
  type: "batch",
  group: "g",
  count: 1,
  meta: {},
  ports: [],
  restart: { attempts: 0, intervalMs: 86_400_000, delayMs: 15_000, mode: "fail" },
  services: [],
  tasks,
  ...others,
});

const check = (name: string, type: "tcp" | "http", path = "/") => ({
  name,
  type,
  path,
  port: undefined,
  intervalMs: 1_000,
  timeoutMs: 1_000,
});

const rotScript =
  "seq -f 'line %08.0f 0123456789' 1 90000; echo end; while true; do sleep 0.2; if [ -e $NOMAD_ALLOC_DIR/data/rot ]; then rm -f $NOMAD_ALLOC_DIR/data/rot; seq -f 'more %08.0f 0123456789' 1 50000; fi; done";

const web = (job: string): WorkloadConfig =>
  workload(
    job,
    [
      task("init", "/bin/sh", ["-c", "echo init out; echo init err >&2"], {
        lifecycle: { hook: "prestart", sidecar: false },
      }),
      task("web", "/bin/bash", ["local/run.sh"], {
        env: { GREETING: "hello" },
        killTimeoutMs: 2_000,
        killSignal: "SIGTERM", // its script goes on after the interrupt that would come else
        resources: { cpu: 50, memoryMb: 64 },
      }),
      task("quiet", "/bin/sleep", ["86400"], {
        logs: { maxFiles: 10, maxFileSizeMb: 10, disabled: true },
      }),
      task("rot", "/bin/bash", ["-c", rotScript], {
        logs: { maxFiles: 2, maxFileSizeMb: 1, disabled: false },
      }),
      task("later", "/bin/sh", ["-c", "echo later"], {
        lifecycle: { hook: "poststop", sidecar: false },
      }),
    ],
    {
      type: "service",
      ports: [{ label: "http", static: undefined }],
      restart: { attempts: 3, intervalMs: 600_000, delayMs: 1_000, mode: "fail" },
      services: [
        {
          name: `${job}`,
          port: "http",
          task: undefined,
          tags: ["a", "b"],
          checks: [
            check("tcp-ok", "tcp"),
            check("http-ok", "http", "/hello.txt"),
            check("http-404", "http", "/missing"),
          ],
        },
      ],
    },
  );

const done = (job: string): WorkloadConfig =>
  workload(job, [task("b", "/bin/sh", ["-c", "echo done; echo oops >&2"])]);
const failing = workload("golden-fail", [task("b", "/bin/sh", ["-c", "exit 3"])]);
const sleeping = (job: string, namespace = "golden"): WorkloadConfig =>
  workload(job, [task("b", "/bin/sleep", ["86400"])], { namespace });
const acting = workload("golden-act", [task("t", "/bin/sleep", ["86400"])], {
  type: "service",
  restart: { attempts: 3, intervalMs: 600_000, delayMs: 1_000, mode: "fail" },
});

const client2: readonly Planned[] = [
  { id: "307b0057-418f-b6f1-922f-691b03e2fdef", workload: web("golden-web") },
  { id: "f178c12b-22ce-8273-4feb-2db8aaf3979c", workload: done("golden-batch") },
  { id: "3558e9bc-b40f-674a-ff71-2f30066f5717", workload: failing },
  { id: "5e499d4f-42ce-b8f4-39d4-e7ce61fb7c27", workload: sleeping("golden-other", "golden-b") },
  { id: "98176011-1cf5-8d7f-d196-75b4c9895b74", workload: { ...acting, group: "first" } },
  { id: "804797c1-9fbf-7548-f5f3-08a700c39e22", workload: acting },
];

const golden3: readonly Planned[] = [
  { id: "208d94f2-4f97-e36f-1366-270d5c875c96", workload: web("golden-web3") },
  { id: "d18e0bc0-e8bd-5fd6-54f1-841809c7cb37", workload: { ...web("golden-web3"), group: "h" } },
  { id: "2eb88f8d-6c00-06b8-0285-858c7d3c9c7b", workload: done("golden-batch3-6") },
  { id: "8360b343-7f46-89cf-797e-5cff0897b95d", workload: done("golden-batch3-7") },
  { id: "9b70b1b8-c8f2-fa36-4a65-e36f9818b797", workload: done("golden-batch3-8") },
  { id: "b716af9f-8741-e8da-6180-f01532b02b7b", workload: done("golden-batch3-9") },
  { id: "98cc0372-bf7a-e867-66ab-b5833516290a", workload: sleeping("golden-stop0") },
  { id: "7eb2f6df-979d-2492-ad4f-c615a349db8f", workload: sleeping("golden-stop1") },
  { id: "eeec5bd8-e037-efbf-0976-d9f9af450150", workload: sleeping("golden-stop2") },
];

export const webId = "307b0057-418f-b6f1-922f-691b03e2fdef";

export const nodes = [
  {
    name: "client-1",
    id: "a7d2c342-c719-82a4-0780-ef4200313be6",
    pool: "default",
    meta: { rack: "r1" },
    allocations: [],
  },
  {
    name: "client-2",
    id: "97f516e4-4611-169d-81ac-e99860b1284c",
    pool: "default",
    meta: { rack: "r2" },
    allocations: client2,
  },
  {
    name: "golden-3",
    id: "54bc24bf-b455-d16b-fb44-abb740ea7b4b",
    pool: "golden",
    meta: { rack: "r3", owner: "ops" },
    allocations: golden3,
  },
] as const satisfies readonly PlannedNode[];

export type NodeName = (typeof nodes)[number]["name"];

/** What the task `web` runs; `serve` is a program that serves the data directory. */
export const runScript = (node: string): string =>
  String.raw`D=$NOMAD_ALLOC_DIR/data
trap 'echo got USR1' USR1
trap 'echo got HUP' HUP
trap 'echo got INT' INT
mkdir -p $D/sub/deep
printf 'hello\n' > $D/hello.txt
printf '23 bytes of plain text\n' > $D/23.txt
: > $D/empty.txt
printf '<html><script>alert(1)</script></html>\n' > $D/page.html
printf '{"a":1,"t":1735689600123456789}\n' > $D/data.json
printf '\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR' > $D/img.png
printf 'caf\xc3\xa9 \xe2\x82\xac\n' > $D/utf8.txt
printf '\xff\xfe\x00\x01raw' > $D/bytes.bin
printf 'x' > "$D/a b&c+d%.txt"
head -c 65536 /dev/zero | tr '\0' a > $D/64k.txt
head -c 150000 /dev/zero | tr '\0' b > $D/150k.txt
head -c 3000 /dev/zero | tr '\0' c > $D/3k.txt
head -c 2000 /dev/zero | tr '\0' d > $D/2k.txt
ln -sf hello.txt $D/link.txt
ln -sf /etc/hostname $D/escape.txt
ln -sf nowhere $D/broken.txt
printf 'first\n' > $D/grow.txt
printf 'secret\n' > $NOMAD_SECRETS_DIR/s.txt
"${node}" $NOMAD_TASK_DIR/serve.mjs $D $NOMAD_PORT_http >/dev/null 2>&1 &
echo out line 1
echo err line 1 >&2
echo out line 2
trap 'kill $!; exit 0' TERM
while true; do sleep 0.2; if [ -e $D/say ]; then cat $D/say; rm -f $D/say; fi; done
`;

export const serveProgram = `import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
const [directory, port] = process.argv.slice(2);
createServer((request, response) => {
  const file = directory + new URL(request.url, "http://x").pathname;
  if (statSync(file, { throwIfNoEntry: false })?.isFile()) createReadStream(file).pipe(response);
  else response.writeHead(404).end("not here");
}).listen(Number(port), "127.0.0.1");
`;

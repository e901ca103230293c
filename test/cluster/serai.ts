/** serai as an operator starts it in front of a cluster: a process with a settings file and a token of its own. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { request } from "undici";
import { stringify } from "yaml";
import type { NomadCluster } from "../support/nomad-cluster.ts";
import { createHome, type GatewayProgram, until } from "../support/processes.ts";

/** What docs/operating.md says the gateway's own token needs. */
const ownRules = `
namespace "*" { capabilities = ["read-job"] }
node { policy = "read" }
`;

export interface Serai extends AsyncDisposable, Pick<GatewayProgram, "url" | "adminUrl" | "port"> {
  readonly output: readonly string[];
  readonly metrics: () => Promise<string>;
  readonly isReady: () => Promise<boolean>;
}

/** Ready when it resolves. `addresses` are origins of servers. */
export const startSerai = async (
  nomad: NomadCluster,
  addresses: readonly string[],
  settings: {
    readonly nomad?: object;
    readonly reach?: object;
    readonly acl?: object;
  } = {},
): Promise<Serai> => {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(createHome());
  const file = path.join(home.directory, "serai.yaml");
  const token = await nomad.tokenWith("serai", ownRules);
  const given = {
    data_dir: path.join(home.directory, "gateway"),
    registry: "nomad",
    http: { listen: "127.0.0.1:0" },
    admin: { listen: "127.0.0.1:0" },
    timeouts: { drain: "1s", drain_delay: "0s" },
    ...settings,
    nomad: { addresses, token, ...settings.nomad },
  };
  writeFileSync(file, stringify(given), { mode: 0o600 });
  const program = home.spawn(["server", "--config", file]);
  const line = await program.logged("gateway listens");
  const [url, adminUrl] = [String(line["url"]), String(line["admin"])];
  const admin = async (target: string) => {
    const { statusCode, body } = await request(`${adminUrl}${target}`);
    return { status: statusCode, text: await body.text() };
  };
  let why = "";
  await until(
    () => `ready: ${why}`,
    async () => {
      const { status, text } = await admin("/readyz?verbose");
      why = text;
      return status === 200;
    },
  );
  const running = stack.move();
  return {
    url,
    adminUrl,
    port: Number(new URL(url).port),
    output: program.output,
    metrics: async () => (await admin("/metrics")).text,
    isReady: async () => (await admin("/readyz")).status === 200,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

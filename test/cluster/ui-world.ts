/** A cluster for two walks through the web UI beside each other: a job for each, at a server's origin and at serai's. */
import { type NomadCluster, startNomad } from "../support/nomad-cluster.ts";
import { talker } from "../support/nomad-jobs.ts";
import { until } from "../support/processes.ts";
import { startSerai } from "./serai.ts";
import type { Walk } from "./ui-walk.ts";
import type { Side } from "./world.ts";

export interface UiWorld extends AsyncDisposable {
  readonly hasUi: boolean;
  readonly walkOf: (side: Side) => Promise<Omit<Walk, "page">>;
}

const shop = (id: string) =>
  talker({
    id,
    large: true,
    group: {
      Networks: [{ Mode: "host", DynamicPorts: [{ Label: "http" }] }],
      Services: [{ Name: "web", Provider: "nomad", PortLabel: "http" }],
      Update: {
        MaxParallel: 1,
        HealthCheck: "task_states",
        MinHealthyTime: 100_000_000,
        HealthyDeadline: 60_000_000_000,
        ProgressDeadline: 120_000_000_000,
      },
      RestartPolicy: { Attempts: 5, Interval: 60_000_000_000, Delay: 100_000_000, Mode: "fail" },
    },
    task: { Actions: [{ Name: "greet", Command: "/bin/sh", Args: ["-c", "echo hello"] }] },
  });

const stirOf = (nomad: NomadCluster) => async (): Promise<void> => {
  for (const at of [...nomad.servers, ...nomad.clients]) await nomad.ask("/v1/agent/self", { at });
};

export const startUiWorld = async (): Promise<UiWorld> => {
  await using stack = new AsyncDisposableStack();
  const nomad = stack.use(await startNomad({ servers: 1 }));
  const [server] = nomad.servers;
  const origin = server?.origin ?? "";
  const serai = stack.use(await startSerai(nomad, [origin]));
  const page = await nomad.ask("/ui/");
  await nomad.ask("/v1/namespace/other", { method: "PUT", body: { Name: "other" } });
  // a page's image is asked for without its token
  await nomad.ask("/v1/acl/policy/anonymous", {
    method: "PUT",
    body: { Name: "anonymous", Rules: `namespace "default" { capabilities = ["read-fs"] }` },
  });
  await nomad.tokenWith("operator", `namespace "*" { policy = "write" }`);
  const running = stack.move();
  return {
    hasUi: page.text.includes("nomad-ui"),
    walkOf: async (side) => {
      const job = `shop-${side}`;
      const { allocations } = await nomad.run(shop(job));
      const [first] = allocations;
      const allocation = first?.id ?? "";
      await until("the task has written its files", async () => {
        const log = `/v1/client/fs/logs/${allocation}?task=talk&type=stdout&plain=true`;
        return (await nomad.ask(log)).text.includes("ready");
      });
      return {
        origin: side === "nomad" ? origin : serai.url,
        secret: nomad.token,
        job,
        allocation,
        node: first?.nodeId ?? "",
        server: `${server?.name}.global`,
        scale: async (count) => {
          const body = { Count: count, Target: { Group: "main" } };
          await until("no deployment stands in the way of scaling", async () => {
            const { status } = await nomad.ask(`/v1/job/${job}/scale`, { method: "POST", body });
            return status === 200;
          });
        },
        stir: stirOf(nomad),
      };
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

/** A gateway and an agent with one allocation, each a process of its own. */
import path from "node:path";
import {
  createHome,
  type GatewayProgram,
  shellWorkload,
  until,
} from "../../test/support/processes.ts";

export interface Bench extends AsyncDisposable {
  readonly gateway: GatewayProgram;
  /** `http://host:port` of the agent. */
  readonly agent: string;
  readonly agentPid: number;
  readonly token: string;
  readonly allocation: string;
  /** The allocation's `alloc/data`. */
  readonly directory: string;
}

interface Announced {
  readonly ID: string;
  readonly ClientStatus: string;
}

const bound = 1_000_000;
/** Of the gateway: a bench has one caller. */
export const roomyLimits = {
  max_sockets: bound,
  sockets_per_address: bound,
  live_per_principal: bound,
};

export const openBench = async (node: readonly string[]): Promise<Bench> => {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(createHome());
  const gateway = await home.gateway({ limits: roomyLimits }, { node });
  const agent = await home.agent("bench", gateway.url, {
    workloads: [shellWorkload("bench", "exec sleep 100000")],
  });
  const { address } = await agent.logged("agent listens");
  const token = home.secrets.operator;
  const allocation = await until("the allocation runs", async () => {
    const answer = await fetch(`${gateway.url}/v1/allocations`, {
      headers: { "x-nomad-token": token },
    });
    const list = (await answer.json()) as readonly Announced[]; // the gateway's own words
    return list.find((one) => one.ClientStatus === "running")?.ID;
  });
  const running = stack.move();
  return {
    gateway,
    agent: `http://${address}`,
    agentPid: agent.pid,
    token,
    allocation,
    directory: path.join(home.directory, "agents/bench/alloc", allocation, "alloc/data"),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

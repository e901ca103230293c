/** What is kept of a target for the audit is its own: who else asks for the same is told of as who they are. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { test } from "node:test";
import { eventually, type Rig, startRig } from "../support/rig.ts";

interface Asker {
  readonly token: "one" | "other" | "none" | "anonymous";
  readonly localAddress: string;
}

/** Who comes next differs in one thing from who came before. */
const askers: readonly Asker[] = ["127.0.0.1", "127.0.0.2"].flatMap((localAddress) =>
  (["one", "other", "none", "anonymous", "one"] as const).map((token) => ({ token, localAddress })),
);

/** On a kept connection; answers with what both of its records are to tell. */
const ask = async (rig: Rig, target: string, { token, localAddress }: Asker, readers: number) => {
  const headers = token === "anonymous" ? {} : { "X-Nomad-Token": rig.secret(token) };
  const asked = request(`${rig.url}${target}`, { localAddress, headers });
  const [answer] = await once(asked.end(), "response");
  await once(answer.resume(), "end");
  const isRefused = answer.statusCode === 403;
  assert.equal(isRefused, !["one", "other"].slice(0, readers).includes(token));
  return {
    requestId: answer.headers["x-request-id"],
    accessor: token === "anonymous" ? token : rig.accessor(token),
    address: localAddress,
    path: new URL(target, rig.url).searchParams.get("path"),
    namespace: isRefused ? undefined : "default",
    result: isRefused ? "denied" : "ok",
  };
};

type Told = Awaited<ReturnType<typeof ask>>;

const checkRecords = async (rig: Rig, { result, ...told }: Told): Promise<void> => {
  const records = await eventually("both records", () => {
    const found = rig.audit().filter((record) => record["requestId"] === told.requestId);
    return found.length === 2 ? found : undefined;
  });
  const seen = records.map((record) => {
    const { requestId, accessor, address, path, namespace } = record;
    return { requestId, accessor, address, path, namespace, result: record["result"] };
  });
  assert.deepEqual(seen, [
    { ...told, result: undefined },
    { ...told, result },
  ]);
};

test("whoever asks for what others have asked for is told of in the audit with their own name, address and fate", async () => {
  const main = { name: "main", command: "/bin/sleep", args: ["1000"], kill_timeout: "1s" };
  const rights = { policy: "read", capabilities: ["read-fs"] };
  await using rig = await startRig({
    policies: { reader: { namespace: [{ "*": rights }] } },
    tokens: { one: { policies: ["reader"] }, other: { policies: ["reader"] }, none: {} },
    agents: [{ workloads: [{ job: "files", group: "main", tasks: [main] }] }],
  });
  await rig.until("files", "running");
  const list = `/v1/client/fs/ls/${rig.allocation("files")}`;
  const told: Told[] = [];
  const askAll = async (readers: number): Promise<void> => {
    for (const asker of [...askers, ...askers.slice(0, 1)])
      for (const path of ["alloc/data", "alloc"])
        told.push(await ask(rig, `${list}?path=${path}`, asker, readers));
  };
  await askAll(2);
  await askAll(2);
  rig.writePolicy("reader", { namespace: [{ "*": { policy: "deny" } }] });
  await rig.gateway.reload();
  await askAll(0); // the last asker is the first: no more has changed than what it may do
  for (const one of told) await checkRecords(rig, one);
});

/** The faults that come before the token, in Nomad's order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GatewayError } from "../../../src/errors.ts";
import { parseQuery } from "../../../src/parameters.ts";
import { registryParameterCheck } from "../../../src/registry/answers/parameter-check.ts";

const bool = (name: string): string =>
  `Failed to parse value of "${name}" (x) as a bool: strconv.ParseBool: parsing "x": invalid syntax`;

const cases: readonly (readonly [route: string, query: string, status: number, text: string])[] = [
  ["allocs.list", "", 200, ""],
  ["allocs.list", "wait=x&resources=x", 400, "Invalid wait time"],
  ["allocs.list", "wait=2562048h", 400, "Invalid wait time"],
  ["allocs.list", "wait=2562047h", 200, ""],
  ["allocs.list", "resources=x&task_states=x", 500, bool("resources")],
  ["allocs.list", "task_states=x", 500, bool("task_states")],
  ["allocs.list", "region=mars&resources=x", 500, bool("resources")],
  ["allocs.list", "region=mars", 500, "No path to region"],
  ["allocs.list", "region=r1", 200, ""],
  ["allocs.list", "region=global", 200, ""],
  ["alloc.read", "stale=maybe", 400, "Expect `true` or `false` for `stale` query string parameter"],
  ["alloc.read", "resources=x", 200, ""],
  ["alloc.stop", "no_shutdown_delay=x", 500, bool("no_shutdown_delay")],
  ["alloc.stop", "reschedule=x&region=mars", 500, bool("reschedule")],
  ["alloc.stop", "wait=x", 200, ""],
  ["nodes.list", "os=x", 400, `Failed to parse node list fields: ${bool("os")}`],
  ["nodes.list", "os=x&resources=x", 400, `Failed to parse node list fields: ${bool("resources")}`],
  ["evaluation.read", "related=x", 500, bool("related")],
  ["jobs.list", "meta=x", 500, bool("meta")],
  ["job.versions", "diffs=x&wait=x", 500, bool("diffs")],
  ["volumes.list", "type=nfs&wait=x", 404, "resource not found"],
  ["volumes.list", "type=csi&wait=x", 400, "Invalid wait time"],
  ["agent.self", "wait=x&region=mars", 200, ""],
  ["agent.members", "region=mars", 200, ""],
  ["agent.health", "wait=x", 400, "Invalid wait time"],
  ["agent.health", "region=mars", 500, "No path to region"],
  ["regions.list", "region=mars", 200, ""],
  ["regions.list", "wait=x", 400, "Invalid wait time"],
  ["status.leader", "index=-1", 400, "Invalid index"],
]; // biome-ignore format: a table

for (const [route, query, status, text] of cases)
  test(`${route}?${query} is ${status} before the token`, () => {
    const check = () => registryParameterCheck(route, parseQuery(query), "r1");
    if (status === 200) assert.doesNotThrow(check);
    else
      assert.throws(check, (error) => {
        assert.ok(error instanceof GatewayError);
        assert.deepEqual([error.status, error.words], [status, text]);
        return true;
      });
  });

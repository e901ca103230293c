/** The list of `serai dev --workloads`: who runs what, and what is told of its mistakes. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { z } from "zod";
import { readWorkloads } from "../../src/cli/dev/workloads.ts";
import { root, temporaryDirectory } from "./support.ts";

const workload = (job: string, more = ""): string =>
  `- {job: ${job}, group: g, ${more} tasks: [{name: t, command: /bin/true}]}\n`;

const mistakes: readonly (readonly [name: string, text: string | undefined, words: RegExp])[] = [
  ["a file that is not there", undefined, /^FILE: no such file$/],
  ["no YAML", "- {job: [", /^FILE: .* at line 1, column \d+$/],
  ["a key twice", "- {job: a, job: b}", /^FILE: Map keys must be unique at line 1, column \d+$/],
  ["no list", "job: web", /^FILE: must be a list of workloads$/],
  ["an empty file", "", /^FILE: must be a list of workloads$/],
  ["an entry that is a word", "- web", /^FILE: entry 1: must be a group of settings$/],
  [
    "an unknown setting",
    workload("a") + workload("b", "colour: red,"),
    /^FILE: entry 2: colour: unknown setting$/,
  ],
  [
    "an agent that is a word",
    workload("a", "agent: first,"),
    /^FILE: entry 1: agent: must be a whole number from 1$/,
  ],
  [
    "an agent 0",
    workload("a", "agent: 0,"),
    /^FILE: entry 1: agent: must be a whole number from 1$/,
  ],
  [
    "one name twice on one agent",
    workload("a", "agent: 1,") + workload("a", "agent: 1,"),
    /^FILE: on one agent: two are default\/a\/g \(namespace\/job\/group\)$/,
  ],
  [
    "no task",
    `${workload("a")}- {job: b, group: g, tasks: []}`,
    /^FILE: entry 2: tasks: needs at least one task$/,
  ],
  [
    "two mistakes",
    "- {job: a, group: g, tasks: [{name: t, comand: x}]}",
    /^FILE: entry 1: tasks\.0\.command: is required\nFILE: entry 1: tasks\.0: comand: unknown setting$/,
  ],
];

for (const [name, text, words] of mistakes)
  test(`what is told of ${name}`, () => {
    using directory = temporaryDirectory();
    const file = path.join(directory.path, "mine.yaml");
    if (text !== undefined) writeFileSync(file, text);
    assert.throws(
      () => readWorkloads(file, 2),
      ({ message }: Error) => {
        assert.match(message.replaceAll(file, "FILE"), words);
        return true;
      },
    );
  });

test("entries go to the agent they name, the last one when there are fewer, and in turn without a name", () => {
  using directory = temporaryDirectory();
  const file = path.join(directory.path, "mine.yaml");
  writeFileSync(
    file,
    workload("a") +
      workload("b") +
      workload("c") +
      workload("d", "agent: 1,") +
      workload("e", "agent: 9,"),
  );
  const jobs = z.array(z.array(z.object({ job: z.string() }).transform(({ job }) => job)));
  assert.deepEqual(jobs.parse(readWorkloads(file, 2)), [
    ["a", "c", "d"],
    ["b", "e"],
  ]);
  assert.deepEqual(jobs.parse(readWorkloads(file, 1)), [["a", "b", "c", "d", "e"]]);
});

test("the samples are sound for any number of agents", () => {
  for (const agents of [1, 2, 3, 16])
    assert.equal(
      readWorkloads(path.join(root, "config/dev-workloads.yaml"), agents).flat().length,
      4,
    );
});

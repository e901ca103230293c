/** The recorded answers of Nomad 2.0.5, asked again of a gateway and of agents over real sockets. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { commandsLeftOut } from "./cli.ts";
import { cliCommands, corpus, fileNames } from "./corpus.ts";
import { leftOut, leftOutBy } from "./left-out.ts";
import { type Results, runAll, staleDifferences, type Tally, tallyOf } from "./run.ts";

let results: Results;

before(async () => {
  results = await runAll();
});

const listed = ({ unexpected }: Tally): string =>
  unexpected
    .flatMap(({ one, unexpected: found }) =>
      found.map(
        ({ aspect, recorded, got }) =>
          `${one.name}: ${aspect}\n    recorded ${recorded.slice(0, 300)}\n    got      ${got.slice(0, 300)}`,
      ),
    )
    .join("\n");

for (const file of fileNames)
  for (const via of ["server", "agent"] as const) {
    if (!corpus.get(file)?.some((one) => one.via === via)) continue;
    test(`${file} via ${via} answers as recorded`, (t) => {
      const tally = tallyOf(results, file, via);
      const { same, permitted, leftOut: left, unexpected } = tally;
      t.diagnostic(
        `${file} via ${via}: ${same} passed, ${permitted} with permitted differences, ${left} left out`,
      );
      assert.equal(unexpected.length, 0, `${unexpected.length} unexpected\n${listed(tally)}`);
    });
  }

test("every request of Nomad's command line gets the status it got from Nomad", (t) => {
  const unlike = results.cli.filter((outcome) => outcome.unlike.length > 0);
  t.diagnostic(
    `${results.cli.length} commands passed, ${cliCommands().length - results.cli.length} left out`,
  );
  const lines = unlike.map(
    ({ command, unlike: found }) => `${command}\n    ${found.join("\n    ")}`,
  );
  assert.equal(unlike.length, 0, lines.join("\n"));
});

test("every permitted difference still occurs", () => {
  const stale = staleDifferences(results).map(({ serai }) => serai);
  assert.deepEqual(stale, []);
});

test("every reason to leave cases out still fits some", () => {
  const used = new Set([...corpus.values()].flat().map(leftOutBy));
  assert.deepEqual(
    leftOut.filter((rule) => !used.has(rule)).map(({ why }) => why),
    [],
  );
  const commands = cliCommands();
  for (const { of, why } of commandsLeftOut)
    assert.ok(
      commands.some(({ command }) => of.test(command)),
      why,
    );
});

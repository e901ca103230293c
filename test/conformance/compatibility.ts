/**
 * docs/compatibility.md holds the list of differences as tables. Run as a program it writes them anew:
 * `node test/conformance/compatibility.ts`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { permitted } from "../cluster/differences.ts";
import { differences, type Kind } from "./differences.ts";
import { leftOut } from "./left-out.ts";

export const page = new URL("../../docs/compatibility.md", import.meta.url);

type Cells = readonly [string, string];

/** A table as the formatters of Markdown leave it: columns of one width. */
const table = (head: Cells, rows: readonly Cells[]): string => {
  const width = Math.max(...[head, ...rows].map(([first]) => first.length));
  const last = Math.max(...[head, ...rows].map(([, second]) => second.length));
  const line = ([first, second]: Cells): string =>
    `| ${first.padEnd(width)} | ${second.padEnd(last)} |`;
  return [line(head), `| ${"-".repeat(width)} | ${"-".repeat(last)} |`, ...rows.map(line)].join(
    "\n",
  );
};

const kinds: readonly Kind[] = ["better", "choice", "agent", "documents"];

const tables: ReadonlyMap<string, () => string> = new Map([
  ...kinds.map((kind): [string, () => string] => [
    kind,
    () =>
      table(
        ["Nomad 2.0.5", "serai"],
        differences
          .filter((row) => row.kind === kind)
          .map(({ nomad, serai }): Cells => [nomad, serai]),
      ),
  ]),
  [
    "cluster",
    () =>
      table(
        ["Nomad 2.0.5", "serai in front of it"],
        permitted
          .filter(({ known }) => known !== true)
          .map(({ nomad, serai }): Cells => [nomad, serai]),
      ),
  ],
  ["left out", () => leftOut.map(({ why }) => `- ${why}`).join("\n")],
]);

/** The page with its tables made anew. */
export const rendered = (text: string): string =>
  text.replaceAll(
    /(<!-- made from the tests: ([a-z ]+) -->)[\s\S]*?(<!-- end -->)/g,
    (_all, begin: string, name: string, end: string) =>
      `${begin}\n\n${tables.get(name)?.() ?? ""}\n\n${end}`,
  );

export const readPage = (): string => readFileSync(page, "utf8");

if (import.meta.main) writeFileSync(page, rendered(readPage()));

/** docs/checklist.md tells the truth: every test that it names is there, every line has one or says why not. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";

interface Row {
  readonly id: string;
  readonly requirement: string;
  readonly shown: string;
}

const rows: readonly Row[] = readFileSync("docs/checklist.md", "utf8")
  .split("\n")
  .filter((line) => /^\| [A-Z]\d+ /.test(line))
  .map((line) => {
    const [, id = "", requirement = "", shown = ""] = line.split("|").map((cell) => cell.trim());
    return { id, requirement, shown };
  });

const plain = (text: string): string => text.replace(/\s+/g, " ");

interface Named {
  readonly file: string;
  readonly titles: readonly string[];
}

/** `file` “title”, “title”. */
const namedIn = (shown: string): readonly Named[] =>
  [...shown.matchAll(/`(test\/[^`]+)`((?:,? “[^”]+”)*)/g)].map(([, file = "", titles = ""]) => ({
    file,
    titles: [...titles.matchAll(/“([^”]+)”/g)].map(([, title = ""]) => title),
  }));

const isReason = (shown: string): boolean => /(?:^|; )\*\*(?:open|not here)\*\*: \S/.test(shown);

test("the checklist has its lines, each once", () => {
  assert.ok(rows.length > 100, String(rows.length));
  assert.equal(new Set(rows.map(({ id }) => id)).size, rows.length);
});

for (const { id, requirement, shown } of rows)
  test(`${id}: ${requirement}`, () => {
    const all = namedIn(shown);
    assert.ok(all.some(({ titles }) => titles.length > 0) || isReason(shown), "shown by nothing");
    for (const { file, titles } of all) {
      assert.ok(existsSync(file), `${file} is not there`);
      assert.ok(titles.length > 0, `${file} is named without a title`);
      const source = plain(readFileSync(file, "utf8"));
      for (const title of titles)
        assert.ok(
          source.includes(`"${title}"`) || source.includes(`\`${title}\``),
          `${file} has no test “${title}”`,
        );
    }
  });

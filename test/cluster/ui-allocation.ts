/** What the web UI does with an allocation's own agent: logs, files, terminals and actions. */
import assert from "node:assert/strict";
import { patienceMs } from "../support/browser.ts";
import { awkwardNames, largeFileBytes } from "../support/nomad-jobs.ts";
import { until } from "../support/processes.ts";
import { answered, go, jobOf, logBox, type Step, type Walk } from "./ui-walk.ts";

const screen = `(() => {
  const { active } = window.execTerminal.buffer;
  return Array.from({ length: active.length }, (_, at) => active.getLine(at)?.translateToString(true) ?? "").join("\\n");
})()`;

const follow = async ({ page }: Walk, line: string): Promise<void> => {
  await page.holds(`/${line} \\d+/.test(${logBox}?.innerText)`);
  await page.holds(
    `(() => { const now = Number(${logBox}.innerText.match(/${line} (\\d+)(?!.*${line})/s)?.[1]);
      window.first ??= now; return now > window.first + 5; })()`,
  );
  await page.evaluate("delete window.first");
};

const staysWhileTheLogGrows = async ({ page, allocation, secret }: Walk): Promise<void> => {
  const log = `/v1/client/fs/logs/${allocation}?task=talk&type=stdout&plain=true`;
  const length = async (): Promise<number> => {
    const asked = `fetch(${JSON.stringify(log)}, { headers: { "X-Nomad-Token": ${JSON.stringify(secret)} } })`;
    return Number(
      await page.evaluate(`${asked}.then((answer) => answer.text()).then((text) => text.length)`),
    );
  };
  const before = await length();
  const shown = await page.evaluate(`${logBox}.innerText`);
  await until("the log has grown", async () => (await length()) > before + 50, patienceMs);
  assert.equal(await page.evaluate(`${logBox}.innerText`), shown);
};

export const logs: Step["walk"] = async (walk) => {
  const { page, allocation } = walk;
  await go(walk, `/allocations/${allocation}/talk/logs`);
  await follow(walk, "line");
  await page.click("button[title='Stop log streaming']");
  await page.holds(`document.querySelector("button[title='Start log streaming']") !== null`);
  await staysWhileTheLogGrows(walk);
  await page.click("button", "stderr");
  await page.click("button[title='Start log streaming']");
  await follow(walk, "error");
  await page.click("button", "stdout");
  await follow(walk, "line");
  await page.click("button", "Head");
  await page.holds(`${logBox}.innerText.startsWith("ready\\nline 1\\n")`);
  await page.click("button", "Tail");
  await page.holds(`/line \\d{2,}/.test(${logBox}.innerText)`);
};

const openEntry = async ({ page }: Walk, name: string): Promise<void> => {
  await page.click("tr a", name);
};

export const files: Step["walk"] = async (walk) => {
  const { page, allocation } = walk;
  await go(walk, `/allocations/${allocation}/fs`);
  for (const name of ["alloc", "data"]) await openEntry(walk, name);
  await page.shows("hello.txt");
  for (const name of awkwardNames) await page.shows(name);
  const view = async (name: string, shown: string): Promise<void> => {
    await openEntry(walk, name);
    await page.holds(shown);
    await page.evaluate("history.back()");
  };
  const says = (words: RegExp): string => `${words}.test(${logBox}?.innerText)`;
  await view("hello.txt", says(/Hello from Nomad\./));
  for (const name of awkwardNames) await view(name, says(/a name/));
  await view(
    "dot.png",
    `[...document.images].some(({ src, naturalWidth }) => src.includes("dot.png") && naturalWidth === 1)`,
  );
  await openEntry(walk, "numbers.txt");
  await page.holds(says(/^1\n2\n/));
  await page.click("button", "Tail");
  await page.holds(says(/20000/));
  await page.evaluate("history.back()");
  await openEntry(walk, "large.bin");
  await page.shows("Unsupported File Type");
  await page.click("button", "View Raw File");
  await until(
    "all of the large file has come",
    () =>
      page.asked.some(
        ({ url, status, bytes }) =>
          url.includes("large.bin") && status === 200 && bytes > largeFileBytes,
      ),
    patienceMs,
  );
};

export const exec: Step["walk"] = async (walk) => {
  const { page, allocation, job } = walk;
  await go(walk, `/exec/${job}/main/talk?allocation=${allocation.slice(0, 8)}&namespace=default`);
  const shows = (words: string): Promise<void> =>
    page.holds(`window.execTerminal && ${words}.test(${screen})`);
  await shows("/hit ‘return’ to run[^]*bin\\/bash/");
  await page.click(".xterm-screen");
  await page.press("Enter");
  await shows("/[#$] *$/m");
  await page.type("echo $((6 * 7)) дорога; stty size");
  await page.press("Enter");
  await shows("/^42 дорога\\s+\\d+ \\d+/m");
  await page.type("exit");
  await page.press("Enter");
  await shows("/The connection has closed/");
};

export const action: Step["walk"] = async (walk) => {
  const { page } = walk;
  await go(walk, `/jobs/${jobOf(walk)}`);
  await page.click("button", "Actions");
  await page.click("button", "greet");
  await page.shows("hello");
  await answered(walk, new RegExp(`/v1/job/${walk.job}/action`), { status: 101 });
};

/** Nomad's own web UI in a real browser, at a server's origin and at serai's: what a person sees and does is the same. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { noBrowser, startBrowser } from "../support/browser.ts";
import { noNomad } from "../support/nomad-cluster.ts";
import type { Asked } from "../support/page-log.ts";
import { steps } from "./ui-steps.ts";
import type { Walk } from "./ui-walk.ts";
import { startUiWorld, type UiWorld } from "./ui-world.ts";
import { type Side, sides } from "./world.ts";

/** Where pictures of the pages go; unset: nowhere. */
const pictures = process.env["UI_PICTURES"];

const pictureOf = async ({ page }: Walk, side: Side, at: number, name: string): Promise<void> => {
  if (pictures === undefined) return;
  mkdirSync(pictures, { recursive: true });
  const file = `${String(at).padStart(2, "0")}-${name.replace(/\W+/g, "-")}-${side}.png`;
  await page.screenshot(path.join(pictures, file));
};

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/** What failed, without what differs between the two walks. */
const failuresOf = ({ page, job }: Walk): readonly string[] =>
  page.asked
    .filter(({ status, failed }) => status >= 400 || failed !== undefined)
    .map(({ method, url, status, failed }: Asked) => {
      const { pathname } = new URL(url);
      return `${method} ${pathname.replaceAll(uuid, "{id}").replaceAll(job, "{job}")} ${status} ${failed ?? ""}`;
    });

const complaintsOf = ({ page, origin, job }: Walk): readonly string[] =>
  page.complaints.map((one) =>
    one
      .replaceAll(origin, "")
      .replaceAll(uuid, "{id}")
      .replaceAll(job, "{job}")
      .replace(/\?\S*/g, ""),
  );

describe("Nomad's web UI", { skip: noNomad || noBrowser, timeout: 1_200_000 }, () => {
  const stack = new AsyncDisposableStack();
  let world: UiWorld;
  const walks = new Map<Side, Walk>();

  before(async () => {
    world = stack.use(await startUiWorld());
    if (!world.hasUi) return;
    for (const side of sides) {
      const { page } = stack.use(await startBrowser());
      walks.set(side, { page, ...(await world.walkOf(side)) });
    }
  });
  after(async () => {
    await stack.disposeAsync();
  });

  const walkOf = (context: TestContext, side: Side): Walk | undefined => {
    const walk = walks.get(side);
    if (walk === undefined) context.skip("this binary of Nomad was built without its web UI");
    return walk;
  };

  for (const [at, step] of steps.entries())
    for (const side of sides)
      test(`${step.name} (${side})`, { timeout: 300_000 }, async (context) => {
        const walk = walkOf(context, side);
        if (walk === undefined) return;
        try {
          await step.walk(walk);
        } finally {
          await pictureOf(walk, side, at, step.name);
        }
      });

  test("the pages asked nobody but serai", (context) => {
    const walk = walkOf(context, "serai");
    if (walk === undefined) return;
    const hosts = new Set(
      walk.page.asked
        .map(({ url }) => new URL(url))
        .filter(({ protocol }) => !/^(data|blob|about):/.test(protocol))
        .map(({ host }) => host),
    );
    assert.deepEqual([...hosts], [new URL(walk.origin).host]);
    assert.ok(walk.page.asked.length > 100);
  });

  test("nothing failed that does not fail at a server too", (context) => {
    const [nomad, serai] = [walkOf(context, "nomad"), walkOf(context, "serai")];
    if (nomad === undefined || serai === undefined) return;
    const usual = new Set(failuresOf(nomad));
    const told = (walk: Walk): string =>
      `${walk.page.asked.length} requests, of which fail: ${[...new Set(failuresOf(walk))].join(", ")}`;
    context.diagnostic(`at a server ${told(nomad)}; at serai ${told(serai)}`);
    assert.deepEqual(
      failuresOf(serai).filter((one) => !usual.has(one)),
      [],
    );
  });

  test("the console complains of nothing that it does not complain of at a server too", (context) => {
    const [nomad, serai] = [walkOf(context, "nomad"), walkOf(context, "serai")];
    if (nomad === undefined || serai === undefined) return;
    const usual = new Set(complaintsOf(nomad));
    assert.deepEqual(
      complaintsOf(serai).filter((one) => !usual.has(one)),
      [],
    );
  });
});

/**
 * Debian's chromium, driven over its own protocol: pages that are looked at, clicked and typed into as a person does, and a
 * list of all that they asked for. It can reach nothing but loopback.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { isJsonObject, type Json, type JsonObject } from "../../src/lib/json.ts";
import { connectDevtools, objectOf, type Protocol, textOf } from "./devtools.ts";
import { type Asked, watchPage } from "./page-log.ts";
import { until } from "./processes.ts";

const program = process.env["CHROMIUM_BIN"] ?? "chromium";

/** Undefined: there is none, and tests that need it are skipped with `noBrowser` as their reason. */
const version = spawnSync(program, ["--version"], { encoding: "utf8" }).stdout;

export const noBrowser: string | false =
  !version && "needs a browser: install chromium, or name one with CHROMIUM_BIN";

export interface Page {
  readonly asked: readonly Asked[];
  /** What its console and the browser complain of, in their words. */
  readonly complaints: readonly string[];
  readonly open: (url: string) => Promise<void>;
  readonly evaluate: (expression: string) => Promise<Json>;
  /** What a person can read, fields included. */
  readonly text: () => Promise<string>;
  /** Waits until the page shows it. */
  readonly shows: (what: string | RegExp) => Promise<void>;
  /** Waits until the expression is true in the page. */
  readonly holds: (expression: string) => Promise<void>;
  /** Clicks the first of `selector` whose own text is, or else holds, `words`, once it is there and can be clicked. */
  readonly click: (selector: string, words?: string) => Promise<void>;
  /** Gives the field the focus and types. */
  readonly fill: (selector: string, text: string) => Promise<void>;
  readonly type: (text: string) => Promise<void>;
  readonly press: (key: "Enter") => Promise<void>;
  readonly screenshot: (file: string) => Promise<void>;
}

/** One page each: a page in the background is held up. */
export interface Browser extends AsyncDisposable {
  readonly page: Page;
}

/** A page of a busy machine may take long. */
export const patienceMs = 60_000;

/** Evaluated in the page: the middle of what is to be clicked, in view. */
const findToClick = (selector: string, words: string): string => `(() => {
  const words = ${JSON.stringify(words)};
  const all = [...document.querySelectorAll(${JSON.stringify(selector)})]
    .filter((one) => one.getClientRects().length > 0 && !one.disabled);
  const said = (one) => one.innerText?.trim() ?? "";
  const found = words === "" ? all[0] :
    all.find((one) => said(one) === words) ?? all.find((one) => said(one).includes(words));
  if (!found) return null;
  found.scrollIntoView({ block: "center", inline: "center" });
  const { x, y, width, height } = found.getClientRects()[0];
  const [atX, atY] = [x + width / 2, y + height / 2];
  const top = document.elementFromPoint(atX, atY);
  return found.contains(top) || top?.contains(found) ? { x: atX, y: atY } : null;
})()`;

const readable = `document.body.innerText + [...document.querySelectorAll("input, textarea")].map((one) => "\\n" + one.value).join("")`;

const openPage = async (protocol: Protocol): Promise<Page> => {
  const { targetId } = await protocol.send("Target.createTarget", { url: "about:blank" });
  const attached = await protocol.send("Target.attachToTarget", { targetId, flatten: true });
  const session = textOf(attached["sessionId"]);
  const send = (method: string, params: object = {}): Promise<JsonObject> =>
    protocol.send(method, params, session);
  const asked = new Map<string, Asked>();
  const complaints: string[] = [];
  const note = watchPage(asked, complaints);
  protocol.listen(session, (method, params) => {
    if (method === "Page.javascriptDialogOpening")
      void send("Page.handleJavaScriptDialog", { accept: true }).catch(() => {}); // it has been closed
    note(method, params);
  });
  for (const domain of ["Page", "Runtime", "Network", "Log"]) await send(`${domain}.enable`);
  await protocol.send("Browser.setDownloadBehavior", { behavior: "deny" });
  await send("Emulation.setDeviceMetricsOverride", {
    width: 1400, height: 1000, deviceScaleFactor: 1, mobile: false,
  }); // biome-ignore format: a size

  const evaluate = async (expression: string): Promise<Json> => {
    const given = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = await send("Runtime.evaluate", given);
    assert.equal(exceptionDetails, undefined, `${expression}: ${textOf(exceptionDetails)}`);
    return objectOf(result)["value"] ?? null;
  };
  const text = async (): Promise<string> => textOf(await evaluate(readable));
  const seen = async (what: string, look: () => Promise<boolean>): Promise<void> => {
    let last = "";
    await until(
      () => `${what}; complaints: ${complaints.slice(-3).join(" | ")}; the page says: ${last}`,
      async () => {
        try {
          if (await look()) return true;
          last = (await text()).slice(0, 1500);
        } catch (error) {
          last = String(error); // between two documents
        }
        return false;
      },
      patienceMs,
    );
  };
  const mouse = (type: string, { x, y }: JsonObject): Promise<JsonObject> =>
    send("Input.dispatchMouseEvent", {
      type,
      x: Number(x),
      y: Number(y),
      button: "left",
      clickCount: 1,
    });
  const click: Page["click"] = async (selector, words = "") => {
    await seen(`${selector} "${words}" can be clicked`, async () => {
      const at = await evaluate(findToClick(selector, words));
      if (!isJsonObject(at)) return false;
      for (const type of ["mouseMoved", "mousePressed", "mouseReleased"]) await mouse(type, at);
      return true;
    });
  };
  const type: Page["type"] = async (given) =>
    void (await send("Input.insertText", { text: given }));
  return {
    get asked() {
      return [...asked.values()];
    },
    complaints,
    open: async (url) => {
      const { errorText } = await send("Page.navigate", { url });
      assert.equal(errorText, undefined, `${url}: ${textOf(errorText)}`);
    },
    evaluate,
    text,
    shows: (what) =>
      seen(`the page shows ${what}`, async () => {
        const now = await text();
        return typeof what === "string" ? now.includes(what) : what.test(now);
      }),
    holds: (expression) => seen(expression, async () => (await evaluate(expression)) === true),
    click,
    fill: async (selector, given) => {
      await click(selector);
      await type(given);
    },
    type,
    press: async (key) => {
      const given = { key, code: key, text: "\r", windowsVirtualKeyCode: 13 };
      await send("Input.dispatchKeyEvent", { type: "keyDown", ...given });
      await send("Input.dispatchKeyEvent", { type: "keyUp", ...given });
    },
    screenshot: async (file) => {
      const { data } = await send("Page.captureScreenshot", { format: "png" });
      writeFileSync(file, Buffer.from(textOf(data), "base64"));
    },
  };
};

const endpointOf = async (child: ChildProcess): Promise<string> => {
  assert.ok(child.stderr !== null);
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    said.push(line);
    const found = /^DevTools listening on (ws:.*)$/.exec(line)?.[1];
    if (found !== undefined) return found;
  }
  throw new Error(`the browser does not start: ${said.slice(-5).join(" ")}`);
};

export const startBrowser = async (): Promise<Browser> => {
  await using stack = new AsyncDisposableStack();
  const profile = mkdtempSync(path.join(tmpdir(), "serai-browser-"));
  const clear = (): void => rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  stack.defer(clear);
  const child = spawn(
    program,
    [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
      "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-default-browser-check",
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0", `--user-data-dir=${profile}`,
      "about:blank",
    ], // biome-ignore format: a list
    { stdio: ["ignore", "ignore", "pipe"], detached: true },
  );
  const ended = once(child, "close");
  const kill = (): void => {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined)
      process.kill(-child.pid, "SIGKILL");
  };
  const cut = (): void => {
    kill();
    clear();
  };
  process.on("exit", cut);
  stack.defer(async () => {
    process.off("exit", cut);
    kill();
    await ended;
  });
  const protocol = await connectDevtools(await endpointOf(child));
  child.stderr?.resume();
  stack.defer(() => protocol.close());
  const page = await openPage(protocol);
  const running = stack.move();
  return {
    page,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

#!/usr/bin/env -S node --max-semi-space-size=8 --no-parallel-scavenge --expose-gc
// A young generation that holds some hundred requests and no more: with V8's own size a busy gateway holds tens of MiB more, with a smaller one
// it is collected so often that most of what is found in it is half done. One that small is collected before other threads have woken up to
// help. What large files leave in it is collected when the gateway says so (src/lib/young.ts).
// Plain JavaScript for any Node, so that an old one gets one clear line. Runs the built program, or the sources in a checkout.
import { existsSync } from "node:fs";
import * as module from "node:module";

const needed = [24, 12];
const [major, minor] = process.versions.node.split(".").map(Number);

if (major < needed[0] || (major === needed[0] && minor < needed[1])) {
  process.stderr.write(
    `serai needs Node ${needed.join(".")} or newer; this is Node ${process.versions.node} (${process.execPath}).\n`,
  );
  process.exit(1);
}

module.enableCompileCache?.();
const built = new URL("../lib/cli.js", import.meta.url);
await import(existsSync(built) ? built.href : new URL("../src/cli.ts", import.meta.url).href);

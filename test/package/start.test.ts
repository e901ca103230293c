/** What a gateway's start loads: time of every start, and memory of every gateway. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { root } from "../cli/support.ts";

/** Prints the files and the parts of Node that are there when everything is that a gateway is made of. */
const look = `
  const files = [];
  process.getBuiltinModule("node:module").registerHooks({
    load: (url, context, next) => { files.push(url); return next(url, context); },
  });
  await import("./src/cli/server.ts");
  await import("./src/gateway.ts");
  console.log(JSON.stringify([files, process.moduleLoadList]));
`;

const [files = [], parts = []]: readonly (readonly string[])[] = JSON.parse(
  execFileSync(process.execPath, ["--input-type=module", "--eval", look], {
    cwd: root,
    encoding: "utf8",
  }),
);

const later = [
  "express",
  "http-proxy-middleware",
  "jsonwebtoken",
  "jwks-rsa",
  "undici",
  "re2js",
  "@opentelemetry/api",
];

for (const name of later)
  test(`${name} is loaded when it is needed, not at the start`, () => {
    assert.ok(files.some((url) => url.includes("/node_modules/zod/")));
    assert.deepEqual(
      files.filter((url) => url.includes(`/node_modules/${name}/`)),
      [],
    );
  });

test("Node's own fetch is not loaded, which importing node:http would do", () => {
  assert.ok(parts.includes("NativeModule http"));
  assert.deepEqual(
    parts.filter((part) => part.includes("undici")),
    [],
  );
});

/** An agent that answers at once: nginx before it keeps what it said to a short call, so that gateways are what is at its limit. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePort } from "../../test/support/free-port.ts";
import { listening, nginxOf } from "./peers.ts";
import type { Before } from "./tunnel-setting.ts";

const config = (port: number, agent: number, directory: string): string =>
  nginxOf(
    directory,
    `open_file_cache max=100; proxy_cache_path ${directory}/kept keys_zone=kept:1m;
  server {
    listen 127.0.0.1:${port};
    proxy_http_version 1.1; proxy_set_header Connection "";
    location ~ ^/v1/client/(fs/(ls|stat)/|allocation/[^/]+/stats$) {
      proxy_pass http://127.0.0.1:${agent};
      proxy_cache kept; proxy_cache_key $request_uri; proxy_cache_valid 200 1d;
      proxy_ignore_headers Cache-Control Expires Vary X-Accel-Buffering;
    }
    location / { proxy_pass http://127.0.0.1:${agent}; proxy_buffering off; }
  }`,
  );

export interface QuickAgent extends AsyncDisposable {
  readonly before: Before;
}

export const createQuickAgent = (): QuickAgent => {
  const stack = new AsyncDisposableStack();
  return {
    async before(agent) {
      const directory = mkdtempSync(path.join(tmpdir(), "serai-bench-quick-"));
      stack.defer(() => rmSync(directory, { recursive: true, force: true }));
      const port = await freePort();
      const file = path.join(directory, "nginx.conf");
      writeFileSync(file, config(port, agent, directory));
      const child = spawn("nginx", ["-c", file], { stdio: ["ignore", "ignore", "inherit"] });
      stack.defer(async () => {
        const gone = child.exitCode === null && once(child, "exit");
        child.kill("SIGKILL");
        await gone;
      });
      await listening(port);
      return port;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
};

/** What the tests of this folder share: a clock that is moved, a log that is read, a directory that goes away. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { mintToken, type TokenEntry, type TokenRequest } from "../../src/acl/secrets.ts";
import type { Clock, Log, Principal } from "../../src/ports.ts";

export interface MovedClock extends Clock {
  move(ms: number): void;
}

/** Starts at the real time (JWTs are signed by it), then stands still until moved. */
export const movedClock = (): MovedClock => {
  let at = 0;
  const startMs = Date.now();
  return {
    now: () => startMs + at,
    monotonic: () => at,
    move(ms) {
      at += ms;
    },
  };
};

export interface ReadLog extends Log {
  readonly lines: { readonly level: string; readonly fields: object; readonly message: string }[];
}

export const readLog = (): ReadLog => {
  const lines: ReadLog["lines"] = [];
  const at = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields, message });
  };
  return { lines, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
};

export interface AclDirectory extends Disposable {
  readonly directory: string;
  readonly tokensFile: string;
  readonly policiesDirectory: string;
  write(name: string, text: string): void;
  /** Writes the tokens file. */
  tokens(entries: readonly object[], roles?: readonly object[]): void;
  remove(name: string): void;
}

export const aclDirectory = (policies: Readonly<Record<string, unknown>> = {}): AclDirectory => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-acl-"));
  const policiesDirectory = path.join(directory, "policies");
  mkdirSync(policiesDirectory);
  const write = (name: string, text: string): void =>
    writeFileSync(path.join(directory, name), text);
  const tokens: AclDirectory["tokens"] = (entries, roles = []) =>
    write("tokens.json", JSON.stringify({ tokens: entries, roles }));
  tokens([]);
  for (const [name, policy] of Object.entries(policies))
    write(`policies/${name}.json`, JSON.stringify(policy));
  return {
    directory,
    tokensFile: path.join(directory, "tokens.json"),
    policiesDirectory,
    write,
    tokens,
    remove: (name) => rmSync(path.join(directory, name)),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true }),
  };
};

export const mint = (
  request: Partial<TokenRequest> = {},
): { readonly secretId: string; readonly entry: TokenEntry } =>
  mintToken({
    name: "test",
    type: "client",
    policies: ["reader"],
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
    ...request,
  });

export const reader = { namespace: [{ default: { policy: "read" } }] };

/** What a step gives, whether at once or later. */
export const awaited = async (resolve: () => Principal | Promise<Principal>): Promise<Principal> =>
  await resolve();

export const never = new AbortController().signal;

export interface TestServer extends AsyncDisposable {
  readonly origin: string;
}

/** A real HTTP server on a loopback port. */
export const listen = async (listener: RequestListener): Promise<TestServer> => {
  const server = createServer(listener);
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    origin: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeAllConnections();
      await closed.promise;
    },
  };
};

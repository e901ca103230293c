/**
 * A program that a test runs in another network namespace: what comes to a path (which every namespace sees) goes on to a host
 * and port there, and what breaks on one side is broken on the other. Arguments: `path host port [authority of its TLS]`.
 */
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { connect as connectTls } from "node:tls";

const [at = "", host = "", port = "", caFile] = process.argv.slice(2);
const ca = caFile === undefined ? undefined : readFileSync(caFile);

const server = createServer({ allowHalfOpen: true }, (caller) => {
  const onward =
    ca === undefined
      ? connect({ host, port: Number(port) })
      : connectTls({ host, port: Number(port), ca });
  for (const [one, other] of [
    [caller, onward],
    [onward, caller],
  ] as const) {
    one.on("error", () => other.destroy());
    one.once("close", () => other.destroy());
    one.pipe(other);
  }
});
server.listen(at, () => process.stdout.write("open\n"));

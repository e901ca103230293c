/** Authorities and certificates of a test's own, made with openssl by the lines that docs/tunnel.md gives to operators. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export interface Wanted {
  /** Another authority's name; itself without one. */
  readonly by?: string;
  readonly names?: readonly string[];
  readonly purpose?: "clientAuth" | "serverAuth";
  readonly authority?: boolean;
  /** Negative: it has expired. */
  readonly days?: number;
}

export interface Certificates extends Disposable {
  readonly directory: string;
  make(name: string, wanted: Wanted): void;
  certFile(name: string): string;
  keyFile(name: string): string;
  /** PEM texts, as Node's `tls` takes them. */
  pair(name: string): { readonly cert: string; readonly key: string };
  cert(name: string): string;
}

const newKey = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

const extensions = ({ names = [], purpose, authority = false }: Wanted): string =>
  [
    `basicConstraints=critical,CA:${authority ? "TRUE" : "FALSE"}`,
    ...(purpose === undefined ? [] : [`extendedKeyUsage=${purpose}`]),
    ...(names.length === 0 ? [] : [`subjectAltName=${names.join(",")}`]),
  ].join("\n");

/** In a temporary directory of its own; needs the `openssl` program. */
export const createCertificates = (): Certificates => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-certificates-"));
  const certFile = (name: string): string => path.join(directory, `${name}.crt`);
  const keyFile = (name: string): string => path.join(directory, `${name}.key`);
  const cert = (name: string): string => readFileSync(certFile(name), "utf8");
  const openssl = (line: string): void => {
    const done = spawnSync("openssl", line.split(" "), { cwd: directory, encoding: "utf8" });
    assert.equal(done.status, 0, `openssl ${line}: ${done.stderr}`);
  };
  return {
    directory,
    certFile,
    keyFile,
    cert,
    pair: (name) => ({ cert: cert(name), key: readFileSync(keyFile(name), "utf8") }),
    make(name, wanted) {
      const { by, days = 2 } = wanted;
      const signer = by === undefined ? `-signkey ${name}.key` : `-CA ${by}.crt -CAkey ${by}.key`;
      openssl(`req ${newKey} -keyout ${name}.key -out ${name}.csr -subj /CN=${name}`);
      writeFileSync(path.join(directory, `${name}.ext`), `${extensions(wanted)}\n`);
      openssl(
        `x509 -req -in ${name}.csr ${signer} -set_serial ${Date.now()} -days ${days} -extfile ${name}.ext -out ${name}.crt`,
      );
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
};

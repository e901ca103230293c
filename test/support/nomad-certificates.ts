/** An authority of a test's own, and the certificates a Nomad cluster with TLS expects of its members and callers. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

type Role = "server" | "client" | "caller";

export interface NomadCertificates {
  readonly caFile: string;
  readonly certFile: (role: Role) => string;
  readonly keyFile: (role: Role) => string;
  /** Nomad's `tls` block for a member. */
  readonly stanza: (role: "server" | "client") => string;
  /** What a caller of Node's `tls` says. */
  readonly client: {
    readonly ca: Buffer;
    readonly cert: Buffer;
    readonly key: Buffer;
  };
}

const openssl = (directory: string, line: string): void => {
  const done = spawnSync("openssl", line.split(" "), { cwd: directory, encoding: "utf8" });
  assert.equal(done.status, 0, `openssl ${line}: ${done.stderr}`);
};

const key = (name: string): string =>
  `ecparam -name prime256v1 -genkey -noout -out ${name}-key.pem`;

const names: Readonly<Record<Role, string>> = {
  server: "DNS:server.global.nomad,DNS:localhost,IP:127.0.0.1",
  client: "DNS:client.global.nomad,DNS:localhost,IP:127.0.0.1",
  caller: "DNS:serai.example",
};

/** Written under `<directory>/tls`; needs the `openssl` program. */
export const makeCertificates = (directory: string): NomadCertificates => {
  const home = path.join(directory, "tls");
  mkdirSync(home);
  openssl(home, key("ca"));
  openssl(home, "req -x509 -new -key ca-key.pem -days 2 -subj /CN=test-authority -out ca.pem");
  for (const [role, subjects] of Object.entries(names)) {
    openssl(home, key(role));
    openssl(home, `req -new -key ${role}-key.pem -subj /CN=${role} -out ${role}.csr`);
    writeFileSync(path.join(home, `${role}.ext`), `subjectAltName=${subjects}\n`);
    openssl(
      home,
      `x509 -req -in ${role}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile ${role}.ext -out ${role}.pem`,
    );
  }
  const caFile = path.join(home, "ca.pem");
  const certFile = (role: Role): string => path.join(home, `${role}.pem`);
  const keyFile = (role: Role): string => path.join(home, `${role}-key.pem`);
  return {
    caFile,
    certFile,
    keyFile,
    stanza: (role) => `tls {
  http = true
  rpc = true
  ca_file = "${caFile}"
  cert_file = "${certFile(role)}"
  key_file = "${keyFile(role)}"
  verify_server_hostname = true
  verify_https_client = true
}`,
    client: {
      ca: readFileSync(caFile),
      cert: readFileSync(certFile("caller")),
      key: readFileSync(keyFile("caller")),
    },
  };
};

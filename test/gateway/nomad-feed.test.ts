/**
 * What the servers' event streams mean to callers and operators of a gateway in front of them: rights that change act at
 * once, faults are told in one sentence, and what is known goes on being served.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { inNamespace } from "../acl/nomad-rules.ts";
import {
  type ClusterOptions,
  type ClusterRig,
  type Following,
  secrets,
  startCluster,
} from "../support/cluster-rig.ts";
import { deadAddress } from "../support/faulty-agent.ts";
import { shellWorkload } from "../support/processes.ts";
import { eventually } from "../support/rig.ts";
import type { ScriptedNomad } from "../support/scripted-nomad.ts";
import { execClient } from "../support/ws-client.ts";

const workloads = [shellWorkload("web", "echo first; sleep 1000")];

const start = (options: Partial<ClusterOptions> = {}): Promise<ClusterRig> =>
  startCluster({ workloads, ...options });

const ready = async (rig: ClusterRig): Promise<void> => {
  await eventually("the task runs", () =>
    rig.agent.workloads.allocations.every(({ tasks }) =>
      tasks.every(({ pid }) => pid !== undefined),
    ),
  );
  await eventually("ready", async () => (await rig.readiness()) === 200);
};

const figure = async (rig: ClusterRig, name: string): Promise<number> => {
  const line = (await rig.metrics()).split("\n").find((text) => text.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1) ?? Number.NaN);
};

const listPath = (id: string): string => `/v1/client/fs/ls/${id}?path=/`;

/* ---- rights that change ---- */

interface Lives {
  readonly exec: ReturnType<typeof execClient>;
  readonly log: Following;
  readonly kept: Following;
}

/** A command and a followed log of `reader`, and a log of somebody else. */
const openLives = async (rig: ClusterRig): Promise<Lives> => {
  const { id } = rig.placement("web");
  const logs = `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`;
  const exec = execClient({
    url: rig.url,
    allocation: id,
    token: secrets.reader,
    task: "main",
    command: ["/bin/cat"],
  });
  await exec.opened;
  exec.stdin("begun\n");
  await exec.seen("begun");
  const [log, kept] = await Promise.all([
    rig.follow(logs, "reader"),
    rig.follow(logs, "management"),
  ]);
  await Promise.all([log.until("first\n"), kept.until("first\n")]);
  return { exec, log, kept };
};

/** Both end with their audit records; who keeps the right goes on. */
const bothEnd = async (rig: ClusterRig, { exec, log, kept }: Lives, words: RegExp) => {
  const { code, reason } = await exec.closed;
  assert.deepEqual([code, exec.exitCode()], [1008, undefined]);
  assert.match(reason, words);
  await assert.rejects(log.until("never"), /ended before/);
  const records = await eventually("two audit records", () => {
    const found = rig
      .audit()
      .filter((one) => one["audit"] === "end" && one["accessor"] === "accessor-reader");
    return found.length === 2 ? found : undefined;
  });
  for (const { result, code: ended } of records)
    assert.deepEqual([result, ended], ["denied", "right_ended"]);
  assert.equal(
    (await rig.ask({ path: listPath(rig.placement("web").id), token: "reader" })).status,
    403,
  );
  const still = await Promise.race([
    kept.until("never").catch(() => "ended"),
    rig.metrics().then(() => "going on"),
  ]);
  assert.equal(still, "going on");
  kept.end();
};

/** Each has a cluster of its own, and mostly waits. */
const together = { concurrency: 4 };

/** What is remembered of a token lasts twenty seconds: what ends sooner ended by the event. */
const soon = { timeout: 15_000 };

describe("rights that change", together, () => {
  test(
    "a token that is deleted ends its command and its log as soon as the event has come",
    soon,
    async () => {
      await using rig = await start({ ownToken: "management" });
      await ready(rig);
      await eventually("both streams are open", () => rig.nomad.streams === 2);
      const lives = await openLives(rig);
      rig.revoke("reader");
      await bothEnd(rig, lives, /the token was revoked/);
    },
  );

  test(
    "a policy that shrinks ends what it allowed as soon as the event has come",
    soon,
    async () => {
      await using rig = await start({ ownToken: "management" });
      await ready(rig);
      await eventually("both streams are open", () => rig.nomad.streams === 2);
      const lives = await openLives(rig);
      rig.allow("reader", inNamespace("default", "read-job"));
      await bothEnd(rig, lives, /its policies do not allow it any more/);
    },
  );

  test(
    "what is revoked while the stream of rights is lost ends as soon as it is back",
    soon,
    async () => {
      await using rig = await start({ ownToken: "management" });
      await ready(rig);
      await eventually("both streams are open", () => rig.nomad.streams === 2);
      const lives = await openLives(rig);
      rig.nomad.cutStreams();
      rig.nomad.forgetEvents();
      rig.revoke("reader");
      rig.nomad.forgetEvents();
      await bothEnd(rig, lives, /the token was revoked/);
    },
  );

  test("without the right to see them what is revoked ends when its time is over, and one line says so", async () => {
    await using rig = await start();
    await ready(rig);
    const lives = await openLives(rig);
    rig.revoke("reader");
    rig.clock.aheadMs += 21_000; // what is remembered of a token, and no more; what lasts is checked each 5 s
    await bothEnd(rig, lives, /the token was revoked/);
    const lines = rig
      .logText()
      .split("\n")
      .filter((line) => line.includes("ACL events"));
    assert.equal(lines.length, 1, lines.join("\n"));
    assert.match(lines[0] ?? "", /"level":"info".*count within 30 s/);
    assert.deepEqual(
      rig.nomad
        .asked("/v1/event/stream")
        .filter(({ query }) => query.getAll("topic").includes("ACLToken")),
      [],
    );
  });
});

/* ---- what is wrong, in one sentence ---- */

interface Certificates extends Disposable {
  readonly directory: string;
  readonly file: (name: string) => string;
}

/** An authority, and a server's certificate of it: as good as new, or of years ago. */
const makeCertificates = (dates: readonly string[]): Certificates => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-tls-"));
  const openssl = (line: string, more: readonly string[] = []): void => {
    execFileSync("openssl", [...line.split(" "), ...more], { cwd: directory, stdio: "ignore" });
  };
  const key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
  openssl(`req -x509 ${key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority`);
  openssl(
    `req -new ${key} -keyout server.key -out server.csr -subj /CN=server -addext subjectAltName=DNS:server.global.nomad`,
  );
  writeFileSync(
    path.join(directory, "ca.cnf"),
    "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\ncopy_extensions=copy\n[p]\ncommonName=supplied\n",
  );
  writeFileSync(path.join(directory, "index.txt"), "");
  writeFileSync(path.join(directory, "serial"), "01\n");
  openssl(
    "ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -in server.csr -out server.pem",
    dates,
  );
  return {
    directory,
    file: (name) => path.join(directory, name),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
};

const inForce = ["-days", "2"];
const expired = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"];

interface Fault {
  readonly options: Partial<ClusterOptions>;
  readonly sentence: RegExp;
}

/** Not ready, for a reason that is told in the log once however often it was tried. */
const isTold = async ({ options, sentence }: Fault): Promise<void> => {
  await using rig = await start(options);
  const line = await eventually("the sentence", async () =>
    (await rig.health()).split("\n").find((text) => sentence.test(text)),
  );
  assert.match(line, /^\[-\] registry failed: not synced yet: /);
  assert.equal(await rig.readiness(), 503);
  await eventually("it was tried again", async () => {
    const losses = (await rig.metrics()).matchAll(/index_stream_losses_total\{[^}]*\} (\d+)/g);
    return [...losses].reduce((sum, [, count]) => sum + Number(count), 0) >= 3;
  });
  const told = rig
    .logText()
    .split("\n")
    .filter((text) => sentence.test(text));
  assert.equal(told.length, 1, told.join("\n"));
  assert.match(told[0] ?? "", /"level":"warn"/);
};

/** A server that never gets as far as HTTP. */
const isToldOverTls = async (
  dates: readonly string[],
  trust: boolean,
  sentence: RegExp,
): Promise<void> => {
  using certificates = makeCertificates(dates);
  const { file } = certificates;
  const server = createServer({
    cert: readFileSync(file("server.pem")),
    key: readFileSync(file("server.key")),
  });
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  const addresses = [`https://127.0.0.1:${port}`];
  try {
    await isTold({
      options: {
        settings: { nomad: { addresses, ...(trust && { ca_file: file("ca.pem") }) } },
      },
      sentence,
    });
  } finally {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  }
};

const overridden =
  (contentType: string, text: string): ((nomad: ScriptedNomad) => void) =>
  ({ overrides }) => {
    overrides.set("/v1/event/stream", (_request, response) => {
      response.writeHead(200, { "content-type": contentType }).end(text);
    });
  };

const faults: Readonly<Record<string, Fault>> = {
  "a server that answers with a web page is no Nomad server": {
    options: {
      prepare: overridden("text/html; charset=utf-8", "<html><body>Welcome</body></html>"),
    },
    sentence:
      /answers 200 with a web page: something else is at that address, check nomad.addresses/,
  },
  "a stream of garbage is told as such": {
    options: { prepare: overridden("application/json", "%&$!\n%&$!\n") },
    sentence:
      /sends an event stream that cannot be read: check nomad.addresses and what lies between/,
  },
  "a server that speaks TLS where http:// is set is told as such": {
    options: {
      prepare: ({ overrides }) =>
        overrides.set("/v1/event/stream", (_request, response) => {
          response.writeHead(400).end("Client sent an HTTP request to an HTTPS server.\n");
        }),
    },
    sentence: /speaks TLS: use https:\/\/ in nomad.addresses/,
  },
};
describe("what is wrong, in one sentence", together, () => {
  test("a server that cannot be reached is told with its address", async () => {
    const address = `http://${await deadAddress()}`;
    await isTold({
      options: { settings: { nomad: { addresses: [address] } } },
      sentence: new RegExp(
        `the Nomad server at ${address} cannot be reached \\(connection refused\\): check nomad.addresses`,
      ),
    });
  });

  test("a certificate that has expired is told as such", async () => {
    await isToldOverTls(expired, true, /https:\S+ shows a certificate that has expired: renew/);
  });

  test("a certificate of an unknown authority is told with the setting that would trust it", async () => {
    await isToldOverTls(inForce, false, /authority that is not trusted: set nomad.ca_file/);
  });

  test("a certificate of another region's servers is told as such", async () => {
    using certificates = makeCertificates(inForce);
    const { file } = certificates;
    await using rig = await start({
      settings: { region: "eu", nomad: { ca_file: file("ca.pem") } },
      tls: { cert: readFileSync(file("server.pem")), key: readFileSync(file("server.key")) },
    });
    await eventually("the sentence", async () =>
      /another name than server.<region>.nomad: check region/.test(await rig.health()),
    );
  });

  for (const [title, fault] of Object.entries(faults)) test(title, () => isTold(fault));

  test("a token without a right is told with the right that it lacks, before a refusal is noticed", async () => {
    await using rig = await start({
      ownToken: "reader",
      prepare: (nomad) => {
        nomad.permits = () => false;
      },
    });
    const sentence =
      /lacks read-job in every namespace \(not held in "\*"\).*; and node \{ policy = "read" \}.*docs\/operating\.md/;
    await eventually("the sentence", async () => sentence.test(await rig.health()));
    assert.equal(await rig.readiness(), 503);
    const lines = await eventually("its line", () => {
      const told = rig
        .logText()
        .split("\n")
        .filter((text) => text.includes("lacks read-job"));
      return told.length > 0 ? told : undefined;
    });
    assert.match(lines[0] ?? "", /"level":"warn"/);
    assert.equal(lines.length, 1);
  });

  test("a token that nobody knows is told as such", async () => {
    const unknown = "0dd00000-1111-4222-8333-444444444444";
    await using rig = await start({ settings: { nomad: { token: unknown } } });
    await eventually("the sentence", async () =>
      /lacks a valid token: the servers do not know this one, or it has expired/.test(
        await rig.health(),
      ),
    );
    assert.ok(!rig.logText().includes(unknown));
  });
});

/* ---- while the servers are not themselves ---- */

describe("servers that are not themselves", together, () => {
  test("while the servers answer nonsense what is known is served, and the gateway stays ready", async () => {
    await using rig = await start();
    await ready(rig);
    const { id } = rig.placement("web");
    for (const seen of ["/v1/event/stream", "/v1/allocations", "/v1/nodes"])
      rig.nomad.overrides.set(seen, (_request, response) => {
        response.writeHead(200, { "content-type": "text/html" }).end("<html>down for maintenance");
      });
    rig.nomad.cutStreams();
    const line = await eventually("the sentence", async () =>
      (await rig.health()).split("\n").find((text) => text.includes("with a web page")),
    );
    assert.match(line, /^\[~\] registry degraded: the Nomad server at http/);
    assert.equal(await rig.readiness(), 200);
    assert.equal((await rig.ask({ path: listPath(id), token: "reader" })).status, 200);
    rig.nomad.overrides.delete("/v1/event/stream");
    await eventually("all is well again", async () =>
      (await rig.health()).includes("[+] registry ok"),
    );
  });

  test("the lag is a figure: it grows while the stream is gone or silent, and is none once it is back", async () => {
    await using rig = await start();
    await ready(rig);
    const lag = (): Promise<number> => figure(rig, "serai_index_lag_seconds");
    assert.equal(await lag(), 0);
    rig.nomad.speaks = false;
    await eventually("silent, once what it had said before has come", async () => {
      rig.clock.aheadMs += 50_000;
      return (await lag()) >= 50;
    });
    assert.match(
      await rig.health(),
      /\[~\] registry degraded: its source was not heard for \d{2,3} s/,
    );
    rig.nomad.speaks = true;
    await eventually("it is heard", async () => (await lag()) === 0);
    await rig.nomad.lose();
    await eventually("gone", async () => (await lag()) > 0);
    rig.clock.aheadMs += 100_000;
    assert.ok((await lag()) >= 100);
    await rig.nomad.listen();
    await eventually("it is back", async () => (await lag()) === 0);
    assert.equal(await rig.readiness(), 200);
  });

  test("losses by their kind, lists by their time and pages that fail are figures", async () => {
    await using rig = await start({
      prepare: (nomad) =>
        nomad.overrides.set("/v1/nodes", (_request, response) => {
          nomad.overrides.delete("/v1/nodes");
          response.writeHead(500).end("No cluster leader");
        }),
    });
    await ready(rig);
    assert.equal(await figure(rig, "serai_index_list_duration_seconds_count"), 1);
    assert.equal(await figure(rig, "serai_index_list_failures_total"), 1);
    assert.equal(await figure(rig, 'serai_index_resyncs_total{reason="start"}'), 1);
    assert.equal(await figure(rig, 'serai_index_stream_losses_total{reason="ended"}'), 0);
    rig.nomad.cutStreams("end");
    await eventually(
      "the end is counted",
      async () => (await figure(rig, 'serai_index_stream_losses_total{reason="ended"}')) === 1,
    );
    await eventually("it is back", () => rig.nomad.streams === 1);
    rig.nomad.say("garbage\n");
    await eventually(
      "the garbage is counted",
      async () => (await figure(rig, 'serai_index_stream_losses_total{reason="garbled"}')) === 1,
    );
  });

  test("an allocation made a moment ago is reached though the stream has stopped", async () => {
    await using rig = await start({ unknown: ["web"] });
    await eventually("ready", async () => (await rig.readiness()) === 200);
    rig.nomad.speaks = false;
    const web = rig.placement("web");
    const status = async (): Promise<number> =>
      (await rig.ask({ path: listPath(web.id), token: "reader" })).status;
    assert.equal(await status(), 404);
    rig.nomad.know(web);
    await eventually("it is reached", async () => (await status()) === 200, 5_000);
  });
});

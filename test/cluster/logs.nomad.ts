/** What serai adds to a real agent's logs and files: logs that go on over rotations and restarts of the gateway, and ETags. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { request } from "undici";
import { type NomadCluster, noNomad, startNomad } from "../support/nomad-cluster.ts";
import { talker } from "../support/nomad-jobs.ts";
import { until } from "../support/processes.ts";
import { type Serai, startSerai } from "./serai.ts";

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** About 7 MB of lines, in files of a MB of which four are kept, and the same beside them as one file. */
const write = `
cd "$NOMAD_ALLOC_DIR/data"
head -c 3000000 /dev/urandom > old.bin; touch -d '5 minutes ago' old.bin
n=0; while [ $n -lt 120 ]; do n=$((n+1)); head -c 45000 /dev/urandom | base64 | tee -a whole; sleep 0.05; done
echo over | tee -a whole; exec sleep 1000`;

const writer = talker({
  id: "writer",
  task: {
    Config: { command: "/bin/sh", args: ["-c", write] },
    LogConfig: { MaxFiles: 4, MaxFileSizeMB: 1 },
    Resources: { CPU: 20, MemoryMB: 20, DiskMB: 100 },
  },
});

interface Frame {
  readonly Data?: string;
  readonly Resume?: string;
}

const last = Buffer.from("over\n");

const framesIn = (text: string): readonly Frame[] =>
  text
    .split(/(?<=\})(?=\{)/)
    .filter((one) => one !== "")
    .map((one) => JSON.parse(one));

/** What a caller keeps of a log. */
class Kept {
  readonly #parts: Buffer[] = [];
  #tail = Buffer.alloc(0);
  #token = "true";
  #since = 0;

  /** The log's last line is there, however it came. */
  get isOver(): boolean {
    return this.#tail.equals(last);
  }
  get query(): string {
    const skip = this.#token !== "true" && this.#since > 0 ? `&skip=${this.#since}` : "";
    return `resume=${this.#token}${skip}`;
  }
  begin(token: string): void {
    this.#token = token;
    this.#since = 0;
  }
  keep(bytes: Buffer): void {
    this.#parts.push(bytes);
    this.#tail = Buffer.concat([this.#tail, bytes]).subarray(-last.length);
    this.#since += bytes.length;
  }
  frames(text: string): void {
    for (const { Data: data, Resume: token } of framesIn(text)) {
      if (data !== undefined) this.keep(Buffer.from(data, "base64"));
      if (token !== undefined) this.begin(token);
    }
  }
  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

describe("logs and files of a real agent", { skip: noNomad, timeout: 120_000 }, () => {
  let nomad: NomadCluster;
  let serai: Serai;
  let id = "";
  /** Of where the log began. */
  let firstToken = "";
  const stack = new AsyncDisposableStack();

  before(async () => {
    nomad = stack.use(await startNomad({ servers: 1, clients: 1 }));
    serai = stack.use(await startSerai(nomad, [nomad.servers[0]?.origin ?? ""]));
    id = (await nomad.run(writer)).allocations[0]?.id ?? "";
  });
  after(() => stack.disposeAsync());

  const at = ({ url }: Pick<Serai, "url">, path: string, headers = {}, token = nomad.token) =>
    request(`${url}${path}`, { headers: { "x-nomad-token": token, ...headers } });
  const logsPath = (query: string): string =>
    `/v1/client/fs/logs/${id}?task=talk&type=stdout&${query}`;

  /** Reads so many bytes on and leaves in the midst of what comes. */
  const readOn = async (gate: Serai, kept: Kept, plain: boolean, bytes: number): Promise<void> => {
    const path = logsPath(`follow=true&plain=${plain}&${kept.query}`);
    const { statusCode, headers, body } = await at(gate, path);
    assert.equal(statusCode, 200);
    const token = String(headers["x-serai-resume"]);
    if (firstToken === "") firstToken = token;
    kept.begin(token);
    let text = "";
    let came = 0;
    for await (const chunk of body) {
      came += chunk.length;
      if (plain) kept.keep(chunk);
      else {
        text += String(chunk);
        const whole = text.lastIndexOf("}") + 1;
        kept.frames(text.slice(0, whole));
        text = text.slice(whole);
      }
      if (came >= bytes || kept.isOver) break;
    }
  };

  test("cut at any place, over rotations and by gateways started anew, a log has its own hash", async () => {
    const kept = new Kept();
    await until("the log has begun", async () => {
      const { statusCode, body } = await at(serai, logsPath("offset=0"));
      await body.dump();
      return statusCode === 200 || undefined;
    });
    let cuts = 0;
    for (; !kept.isOver; cuts++) {
      assert.ok(cuts < 200, "each piece brings it on");
      const bytes = 150_000 + ((cuts * 77_777) % 400_000);
      if (cuts % 6 !== 5) await readOn(serai, kept, cuts % 2 === 0, bytes);
      else {
        await using anew = await startSerai(nomad, [nomad.servers[0]?.origin ?? ""]);
        await readOn(anew, kept, cuts % 4 === 1, bytes);
      }
    }
    const files = await nomad.ask(`/v1/client/fs/ls/${id}?path=alloc/logs`);
    assert.doesNotMatch(files.text, /stdout\.0"/); // the first were pruned
    const { body } = await at(serai, `/v1/client/fs/cat/${id}?path=alloc/data/whole`);
    const whole = Buffer.from(await body.arrayBuffer());
    assert.ok(cuts > 10 && whole.length > 7_000_000);
    assert.equal(kept.bytes.length, whole.length);
    assert.equal(sha(kept.bytes), sha(whole));
  });

  test("through a server the place is the same", async () => {
    const reach = { deny: ["127.0.0.0/8"] };
    await using around = await startSerai(nomad, [nomad.servers[0]?.origin ?? ""], { reach });
    const begun = await at(around, logsPath("resume=true&origin=end&offset=1000000"));
    assert.equal(begun.headers["x-serai-reach"], "servers; reason=address");
    const all = Buffer.concat(
      framesIn(await begun.body.text()).map(({ Data: data = "" }) => Buffer.from(data, "base64")),
    );
    assert.equal(all.length, 1_000_000);
    const token = String(begun.headers["x-serai-resume"]);
    const rest = await at(serai, logsPath(`plain=true&resume=${token}&skip=500000`));
    assert.equal(sha(Buffer.from(await rest.body.arrayBuffer())), sha(all.subarray(500_000)));
  });

  test("a place that was pruned is gone, and said so", async () => {
    const { statusCode, body } = await at(serai, logsPath(`follow=true&resume=${firstToken}`));
    assert.equal(statusCode, 410);
    assert.match(await body.text(), /lost from byte \d+ of alloc\/logs\/talk\.stdout\.\d+ on/);
  });

  test("who may read logs alone is told what resume needs", async () => {
    const rules = 'namespace "default" { capabilities = ["read-logs"] }';
    const token = await nomad.tokenWith("logs", rules);
    const plain = await at(serai, logsPath("offset=0"), {}, token);
    await plain.body.dump();
    const { statusCode, body } = await at(serai, logsPath("resume=true"), {}, token);
    assert.deepEqual([plain.statusCode, statusCode], [200, 403]);
    assert.match(await body.text(), /resume needs read-fs/);
  });

  test("a large file has the ETag that If-Range takes", async () => {
    const path = `/v1/client/fs/cat/${id}?path=alloc/data/old.bin`;
    const whole = await at(serai, path);
    const all = Buffer.from(await whole.body.arrayBuffer());
    const tag = String(whole.headers["etag"]);
    assert.match(tag, /^"3000000-/);
    const rest = await at(serai, path, { range: "bytes=1000000-", "if-range": tag });
    assert.equal(rest.statusCode, 206);
    assert.equal(sha(Buffer.from(await rest.body.arrayBuffer())), sha(all.subarray(1_000_000)));
    const young = await at(serai, `/v1/client/fs/cat/${id}?path=alloc/data/whole`);
    await young.body.dump();
    assert.equal(young.headers["etag"], undefined);
  });
});

/** What passes of a caller's socket before its first message was looked at: nothing but control frames. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { firstMessage } from "../../../src/carry/pass-through/first-message.ts";
import { GatewayError } from "../../../src/errors.ts";
import { clientFrame } from "../../support/ws-client.ts";

const text = 0x81;
const ping = 0x89;

/** A frame with a mask that is none of zeros. */
const masked = (payload: string): Buffer => {
  const mask = Buffer.from([1, 2, 3, 4]);
  const bytes = Buffer.from(payload).map((byte, at) => byte ^ (mask[at % 4] ?? 0));
  return Buffer.concat([Buffer.from([text, 0x80 | bytes.length]), mask, bytes]);
};

interface Passed {
  readonly bytes: Buffer;
  readonly checked: readonly string[];
  readonly error: unknown;
}

const pass = async (
  chunks: readonly Buffer[],
  check: (message: string) => void = () => {},
): Promise<Passed> => {
  const checked: string[] = [];
  const stream = firstMessage((message) => {
    checked.push(message);
    check(message);
  });
  const bytes: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => bytes.push(chunk));
  const ended = new Promise<unknown>((resolve) => {
    stream.once("error", resolve);
    stream.once("end", () => resolve(undefined));
  });
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  const error = await ended;
  return { bytes: Buffer.concat(bytes), checked, error };
};

test("however its bytes are cut, the first message is looked at once and all of it passes", async () => {
  const whole = Buffer.concat([
    clientFrame(ping, Buffer.from("p")),
    masked('{"version":1}'),
    Buffer.from("anything after it"),
  ]);
  for (let at = 0; at <= whole.length; at++) {
    const { bytes, checked, error } = await pass([whole.subarray(0, at), whole.subarray(at)]);
    assert.deepEqual(
      [bytes, checked, error],
      [whole, ['{"version":1}'], undefined],
      `cut at ${at}`,
    );
  }
});

test("a longer one passes as well", async () => {
  const frame = clientFrame(text, Buffer.alloc(60_000, "x"));
  const { bytes, checked } = await pass([frame.subarray(0, 100), frame.subarray(100)]);
  assert.equal(checked[0]?.length, 60_000);
  assert.deepEqual(bytes, frame);
});

test("one that must not pass does not, nor does what comes after it", async () => {
  const frames = [clientFrame(ping, Buffer.from("p")), masked("mine"), masked("more")];
  const { bytes, error } = await pass([Buffer.concat(frames)], () => {
    throw new GatewayError("permission_denied");
  });
  assert.deepEqual(bytes, frames[0]);
  assert.ok(error instanceof GatewayError && error.code === "permission_denied");
});

test("one that is cut short does not pass", async () => {
  const { bytes, checked } = await pass([masked("secret").subarray(0, 9)]);
  assert.deepEqual([bytes.length, checked], [0, []]);
});

const wrong: Readonly<Record<string, readonly [frame: Buffer, code: string]>> = {
  "an unmasked frame": [Buffer.from([text, 2, 0x68, 0x69]), "bad_request"],
  "a part of a message": [clientFrame(0x01, Buffer.from("a part")), "bad_request"],
  "a compressed message": [clientFrame(0xc1, Buffer.from("small")), "bad_request"],
  "more than 64 KiB": [
    Buffer.concat([Buffer.from([text, 0xff]), Buffer.alloc(12)]),
    "message_too_large",
  ],
};
for (const [name, [frame, code]] of Object.entries(wrong))
  test(`refused as a first message: ${name}`, async () => {
    const { bytes, checked, error } = await pass([frame]);
    assert.deepEqual([bytes.length, checked], [0, []]);
    assert.ok(error instanceof GatewayError && error.code === code, String(error));
  });

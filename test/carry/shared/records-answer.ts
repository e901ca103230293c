/** What an agent answers in records, by hand. */
import { enteredRecord, toldRecord } from "../../../src/logs/records.ts";

export const head =
  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Serai-Form: records\r\nTransfer-Encoding: chunked\r\n\r\n";
export const last = Buffer.from("0\r\n\r\n");

export const chunk = (bytes: Buffer | string): Buffer =>
  Buffer.from(`${bytes.length.toString(16)}\r\n${bytes.toString("latin1")}\r\n`, "latin1");

export const enteredAt = (offset: number): Buffer =>
  chunk(
    Buffer.from(
      enteredRecord({
        file: "alloc/logs/web.stdout.0",
        index: 0,
        inode: "7",
        offset,
        size: offset,
        missing: undefined,
      }),
    ),
  );
export const entered = enteredAt(0);

export const told = (text: string, end: number): Buffer =>
  chunk(toldRecord({ bytes: Buffer.from(text), end, size: end, event: undefined }));

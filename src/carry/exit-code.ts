/** The exit frame of an exec (nomad-http.md §7.3), found without parsing the rest of the output. Pure. */
import type { RawData } from "ws";
import { toBuffer } from "../lib/web-socket.ts";

const maxFrameBytes = 4096;
const marker = Buffer.from('"exited"');

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** The exit code when the message is an exit frame; a code left out is 0. */
export const exitCodeOf = (data: RawData): number | undefined => {
  const bytes = toBuffer(data);
  if (bytes.length > maxFrameBytes || !bytes.includes(marker)) return undefined;
  const frame = parsed(bytes.toString());
  if (fieldOf(frame, "exited") !== true) return undefined;
  const code = fieldOf(fieldOf(frame, "result"), "exit_code");
  return typeof code === "number" ? code : 0;
};

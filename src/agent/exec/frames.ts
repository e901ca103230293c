/** The JSON frames of an exec socket (nomad-http.md §7.3), as Nomad writes and reads them. */
import { decodeMessage, type Shape } from "../../lib/go-json.ts";
import { isJsonObject, type Json } from "../../lib/json.ts";
import { decodeBase64 } from "./base64.ts";

export type OutputName = "stdout" | "stderr";

/** Bytes of output in one frame. */
export const maxFrameBytes = 4096;

export const dataFrame = (name: OutputName, data: Buffer): string =>
  `{"${name}":{"data":"${data.toString("base64")}"}}`;

export const closeFrame = (name: OutputName): string => `{"${name}":{"close":true}}`;

/** Zero fields are left out, so a good end is `"result":{}`. */
export const exitFrame = (exitCode: number): string =>
  exitCode === 0
    ? '{"exited":true,"result":{}}'
    : `{"exited":true,"result":{"exit_code":${exitCode}}}`;

export type Input =
  | { readonly kind: "stdin"; readonly data: Buffer; readonly close: boolean }
  | { readonly kind: "resize"; readonly height: number; readonly width: number }
  | { readonly kind: "nothing" };

const int32: Shape = { kind: "int", goType: "int32" };

const shape: Shape = {
  kind: "struct",
  goType: "proto.ExecTaskStreamingRequest",
  name: "ExecTaskStreamingRequest",
  fields: {
    stdin: {
      kind: "struct",
      goType: "proto.ExecTaskStreamingIOOperation",
      name: "ExecTaskStreamingIOOperation",
      fields: {
        data: { kind: "string", goType: "[]uint8" },
        close: { kind: "bool", goType: "bool" },
      },
    },
    tty_size: {
      kind: "struct",
      goType: "proto.ExecTaskStreamingRequest_TerminalSize",
      name: "ExecTaskStreamingRequest_TerminalSize",
      fields: { height: int32, width: int32 },
    },
  },
};

const plainInput = /^\{"stdin":\{"data":"([A-Za-z0-9+/=]*)"\}\}$/;
const nothing: Input = { kind: "nothing" };

const member = (value: Json, name: string): Json =>
  isJsonObject(value) ? (value[name] ?? null) : null;

/** One message of the client. Input wins over a size in the same frame. Throws GoJsonError with Go's words. */
export const decodeInput = (text: string): Input => {
  const plain = plainInput.exec(text); // what bulk input looks like: no need to walk it
  if (plain) return { kind: "stdin", data: decodeBase64(plain[1] ?? ""), close: false };
  const frame = decodeMessage(text, shape);
  const stdin = member(frame, "stdin");
  const data = decodeBase64(String(member(stdin, "data") ?? ""));
  const close = member(stdin, "close") === true;
  if (data.length > 0 || close) return { kind: "stdin", data, close };
  const size = member(frame, "tty_size");
  const height = Number(member(size, "height"));
  const width = Number(member(size, "width"));
  return height > 0 && width > 0 ? { kind: "resize", height, width } : nothing;
};
